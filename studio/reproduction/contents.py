"""What a bundle holds: a zip with `bundle.json`, the frozen rows as they lie in the run's folder, its metrics and what it measured."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints

from studio.runs import metrics

FORMAT = "rlhf-studio-run/1"
FORMAT_MEASURED = "rlhf-studio-run/2"
"""Of a run that saves no model: with what it sampled or measured."""
HEAD = "bundle.json"
METRICS = "metrics.jsonl"
"""One row [name, step, value] a logged value, in the order of names and steps."""
MEASURED = "measured.jsonl"
"""One row [name, place, value], in the order of names and places."""
FIELDS = (
    "sft_checkpoint", "reward_checkpoint", "policy_checkpoint", "gold_checkpoint", "checkpoint", "opponent", "checkpoints", "snapshot",
)  # fmt: skip
"""Settings that name what may be called otherwise elsewhere; `checkpoints` holds several names."""

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
    measured: Sha256 | None = None
    """Of what it sampled or measured; None for a run that trains a model to keep."""


def is_repeated(name: str) -> bool:
    """Return whether another run of the same has the same values of a metric: neither seconds, nor how many pairs were new."""
    return not metrics.is_of_time(name) and not name.startswith("sample/")


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
