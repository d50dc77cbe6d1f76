"""Chooses the build of torch for this machine: by TORCH_INDEX, else by the driver that `nvidia-smi` names.

torch 2.13.0 is published for CUDA 12.6, 12.9, 13.0 and 13.2; the wheels for Linux on the Python Package Index are those
for 13.0 (pytorch/pytorch#182849 and #197555, googlecolab/colabtools#6053). A driver of CUDA 13 runs all of them, one of
CUDA 12 those for 12 (NVIDIA, CUDA Compatibility, table 1).
"""

from __future__ import annotations

import os
import re
import subprocess
from typing import NamedTuple

from assets.install.state import ROOT, VENV

OLDEST_OF_CUDA_13, OLDEST_BLACKWELL = 7.5, 10.0
"""Compute capabilities: builds for CUDA 13 leave out cards before Turing, the one for 12.6 those from Blackwell on."""


class Build(NamedTuple):
    """A build of torch.

    Attributes:
        name: such as cu126, as PyTorch calls its indexes; "" for what the package index offers.
        reason: why this one.
        has_card: there is a card that it should use.
    """

    name: str
    reason: str
    has_card: bool = True

    @property
    def sentence(self) -> str:
        """Say which build, and why."""
        return f"torch {version()}: {self.name or 'the build of your package index'}, since {self.reason}."


def choose() -> Build:
    """Choose by TORCH_INDEX, whose last part may name a build, else by driver and cards."""
    if given := os.environ.get("TORCH_INDEX", "").rstrip("/"):
        name = given.rpartition("/")[2]
        is_build = re.fullmatch(r"cpu|xpu|(cu|rocm)[\d.]+", name)
        return Build(name if is_build else "", "TORCH_INDEX says so", has_card=name != "cpu")
    driver = _driver()
    if driver is None:
        return Build("", "nvidia-smi names no driver", has_card=False)
    cuda, cards = driver
    says = f"the driver knows CUDA {cuda[0]}.{cuda[1]}"
    if cuda < (12, 0):
        return Build("", f"{says}, and torch needs 12 or newer: update the driver to use the card")
    if cuda >= (13, 0) and min(cards, default=OLDEST_OF_CUDA_13) >= OLDEST_OF_CUDA_13:
        return Build("", f"{says}, and the Python Package Index has the one for 13.0")
    if cuda >= (13, 0):
        return Build("cu126", f"builds for CUDA 13 leave out a card of compute capability {min(cards)}")
    if max(cards, default=0.0) >= OLDEST_BLACKWELL:
        return Build("cu129", f"{says}, and a card of compute capability {max(cards)} needs 12.8 or newer")
    return Build("cu126", says)


def version() -> str:
    """Return the version of torch that was tested."""
    found = re.search(r"^torch==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    return found[1] if found else ""


def outcome(build: Build) -> str:
    """Say for what the installed torch was built, as its own file has it; torch is not loaded for that."""
    files = list(VENV.glob("lib/python*/site-packages/torch/version.py"))
    found = re.search(r"^cuda\b[^=]*= *'([\d.]+)'", files[0].read_text(encoding="utf-8"), re.M) if files else None
    if found:
        return f"torch is built for CUDA {found[1]}."
    return "torch computes on the CPU, and the card stays idle." if build.has_card else "torch computes on the CPU."


def _driver() -> tuple[tuple[int, int], list[float]] | None:
    """Return the newest CUDA that the driver knows and the cards' compute capabilities; None without a driver."""
    shown = _nvidia_smi()
    found = re.search(r"CUDA (?:UMD )?Version\s*:\s*(\d+)\.(\d+)", shown)
    if not found:
        return None
    cards = re.findall(r"^(\d+\.\d+)\s*$", _nvidia_smi("--query-gpu=compute_cap", "--format=csv,noheader"), re.M)
    return (int(found[1]), int(found[2])), [float(card) for card in cards]


def _nvidia_smi(*arguments: str) -> str:
    try:
        command = ["nvidia-smi", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
