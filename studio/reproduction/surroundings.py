"""What a run's numbers may depend on besides its settings and data: packages, Python, processor, threads, GPU."""

import json
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

NAME = "surroundings.json"
"""In a run's folder, written when its training begins."""
PACKAGES = ("torch", "transformers", "tokenizers", "peft", "bitsandbytes", "lightning", "numpy", "safetensors")


def here(**more: Any) -> dict[str, str]:
    """Return the versions of Python and the packages, the processor, and what is given besides, as texts."""
    found = {name: _version(name) for name in PACKAGES}
    found |= {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    return found | {"processor": _processor()} | {name: str(value) for name, value in more.items()}


def write(folder: Path, **more: Any) -> None:
    """Write them into a run's folder.

    Raises:
        OSError: it cannot be written.
    """
    (folder / NAME).write_text(json.dumps(here(**more), indent=2) + "\n", encoding="utf-8")


def read(folder: Path) -> dict[str, str]:
    """Return what was written into a run's folder; empty where nothing was, as by earlier versions."""
    try:
        found = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """Return the processor's model and the number of its cores that this process may use."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model[1] if model else platform.processor() or 'unknown'}, {cores} cores"
