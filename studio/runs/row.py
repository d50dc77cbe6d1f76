"""A run as stored in its database row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from modules.config import StageConfig

ENDED = ("finished", "stopped", "failed", "lost")
MEASURING = ("evaluate", "curve")
"""Stages that save no checkpoint: what they measured is stored, and a resume measures the rest."""
Starter = Literal["", "studio", "others"]
"""Starter of a queued run's worker: nobody yet (just made); the studio, when its device is free; torchrun or SLURM."""


@dataclass(frozen=True)
class Run:
    """A run as stored in its row."""

    id: int
    name: str
    stage: str
    state: str
    config: StageConfig
    snapshot_id: int | None
    resumed_from: int | None
    revision: str
    pid: int | None
    pid_started: float | None
    heartbeat_at: str | None
    stop_requested: bool
    message: str
    progress: float
    progress_text: str
    created_at: str
    started_at: str | None
    ended_at: str | None
    place: float | None
    pause_requested: bool
    lane: str
    advanced_at: str | None
    gone_at: str | None
    starter: Starter
    paused_at: str | None
    """The time since which it waits between two steps."""
    is_fault: bool
    """It stopped itself, its state saved, since a step could not be taken."""
    mark: str
    """The mark in its processes' environment; it also names the folder it was made for."""
    boot: str
    """The machine, and its start, in which the process was born."""
    environment: str
    """JSON: settings of the shell from which it was queued, such as CUDA_VISIBLE_DEVICES."""

    deleted_at: str | None = None
    """The time at which its folder was deleted."""
    unread: Mapping[str, Any] = field(default_factory=dict)
    """Settings of its config that this version does not know or accept; their defaults are used."""

    @property
    def is_ended(self) -> bool:
        """True in a state that is never left."""
        return self.state in ENDED

    @property
    def is_ending(self) -> bool:
        """True while it has ended, but its processes were not yet seen gone and their GPU memory free."""
        return self.is_ended and self.gone_at is None

    @property
    def is_paused(self) -> bool:
        """True while it waits between two steps."""
        return self.state == "running" and self.pause_requested and self.paused_at is not None

    @property
    def shown_state(self) -> str:
        """The state as shown: `ending` until nothing is left of an ended run, `deleted` once its folder is deleted."""
        if self.deleted_at:
            return "deleted"
        return "ending" if self.is_ending else "paused" if self.is_paused else self.state

    @property
    def is_waiting_here(self) -> bool:
        """True until the studio starts its worker: only the row exists."""
        return self.state == "queued" and self.pid is None and self.starter == "studio"

    @property
    def is_awaited(self) -> bool:
        """True until torchrun or SLURM starts the worker of a run that was left to them."""
        return self.state == "queued" and self.pid is None and self.starter == "others"


class Ending(NamedTuple):
    """The end of a run by its worker: a state, a plain sentence, and flags that others decide by."""

    state: str
    message: str
    is_fault: bool = False
    """It stopped itself, its state saved, since a step could not be taken."""
    is_connection_lost: bool = False
    """Another process of the run is gone; only that one knows why."""
