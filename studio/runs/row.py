"""A run as its row in the database says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from modules.config import StageConfig

ENDED = ("finished", "stopped", "failed", "lost")
Starter = Literal["", "studio", "others"]
"""Who starts the worker of a queued run: nobody yet, since it is only just made; the studio, when its lane is free; torchrun
or SLURM."""


@dataclass(frozen=True)
class Run:
    """One run as its row says."""

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
    """Since when it waits between two steps."""
    is_fault: bool
    """It stopped itself, its state saved, since a step could not be taken."""
    mark: str
    """What its processes carry in their environment; it also says for which folder it was made."""
    boot: str
    """The machine, and its start, in which the process was born."""
    environment: str
    """JSON: settings of the shell that it was queued from, such as CUDA_VISIBLE_DEVICES."""

    unread: Mapping[str, Any] = field(default_factory=dict)
    """Settings of its config that this version does not know, or whose value it does not take; the default stands for them."""

    @property
    def is_ended(self) -> bool:
        """True in a state that is never left."""
        return self.state in ENDED

    @property
    def is_ending(self) -> bool:
        """True while it has said its last word, but its processes were not yet seen gone and their GPU memory free."""
        return self.is_ended and self.gone_at is None

    @property
    def is_paused(self) -> bool:
        """True while it waits between two steps."""
        return self.state == "running" and self.pause_requested and self.paused_at is not None

    @property
    def shown_state(self) -> str:
        """The state as people are told it: `ending` until it is seen that nothing is left of an ended run."""
        return "ending" if self.is_ending else "paused" if self.is_paused else self.state

    @property
    def is_waiting_here(self) -> bool:
        """True until the studio starts its worker: nothing but a row."""
        return self.state == "queued" and self.pid is None and self.starter == "studio"

    @property
    def is_awaited(self) -> bool:
        """True until torchrun or SLURM starts the worker of a run that was left to them."""
        return self.state == "queued" and self.pid is None and self.starter == "others"


class Ending(NamedTuple):
    """How a worker ends its run: a state, one plain sentence, and what others decide by."""

    state: str
    message: str
    is_fault: bool = False
    """It stopped itself, its state saved, since a step could not be taken."""
    is_connection_lost: bool = False
    """Another process of the run is gone: that one knows why, this one does not."""
