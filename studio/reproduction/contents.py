"""What a bundle holds: a zip with `bundle.json`, the frozen rows as they lie in the run's folder, and its metrics."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints

FORMAT = "rlhf-studio-run/1"
HEAD = "bundle.json"
METRICS = "metrics.jsonl"
"""One row [name, step, value] a logged value, in the order of names and steps."""
FIELDS = ("sft_checkpoint", "reward_checkpoint", "policy_checkpoint", "snapshot")
"""Settings that name what may be called otherwise elsewhere."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Part = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,40}$")]


class Saved(BaseModel):
    """A checkpoint: its files with their hashes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    step: int
    base_model: str
    base_fingerprint: str
    files: dict[str, Sha256]


class Contents(BaseModel):
    """`bundle.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str
    run: str
    stage: str
    state: str
    message: str
    command: str
    """What a person would type, with the checkpoints' names in its workspace."""
    config: dict[str, Any]
    revision: str
    """Of the studio's code."""
    surroundings: dict[str, str]
    """Packages and machine; see `surroundings`."""
    has_own_surroundings: bool
    """False where the run did not write them down: then they are those of the moment at which it was bundled."""
    parents: dict[str, Saved]
    """Role to checkpoint."""
    resumed_from: Saved | None
    snapshot: Sha256 | None
    """Of the ratings that it was trained on."""
    data: dict[Part, Sha256]
    """Part of the frozen rows to the hash of its file."""
    steered: list[tuple[str, float, int]] = []
    """Settings that changed on the way: name, value, iterations done by then."""
    metrics: Sha256
    checkpoints: list[Saved]
    """Those that it has, by step."""


def is_compared(name: str) -> bool:
    """Return whether a checkpoint's file holds weights or state; the others name settings and paths, which may differ."""
    return name == "state.json" or name.endswith(".safetensors")


def of_file(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
