"""Reports the progress of a stage that is no Lightning fit, and heeds a pause or a stop. Only the worker imports it."""

import time

from studio.runs import queue, runs
from studio.runs.runs import Run
from studio.workspace import Workspace

PAUSE_POLL_S = 0.5


class Stopped(Exception):
    """The person asked for a stop."""


def beat(ws: Workspace, run: Run, share: float, text: str) -> None:
    """Report the share that is done and what is done now; wait while the run is paused.

    Raises:
        Stopped: a stop was asked for.
    """
    with ws.write() as db:
        runs.beat(db, run.id, share, text)
        asked = queue.requested(db, run.id)
    while asked == "pause":
        with ws.write() as db:
            runs.beat(db, run.id, share, f"paused after {text}; its memory stays in use", paused=True)
        time.sleep(PAUSE_POLL_S)
        with ws.read() as db:
            asked = queue.requested(db, run.id)
    if asked == "stop":
        raise Stopped


class Steps:
    """Counts items, reports them, and heeds a pause or a stop after each batch."""

    def __init__(self, ws: Workspace, run: Run, total: int) -> None:
        self.ws, self.run, self.total, self.num_done = ws, run, max(1, total), 0
        self.notes: dict[str, None] = {}
        """Sentences for the end."""

    def add(self, num: int, what: str) -> None:
        """Count items as done."""
        self.num_done += num
        self.tell(f"{what}: item {self.num_done:,} of {self.total:,}")

    def tell(self, text: str) -> None:
        """Report what is done now."""
        beat(self.ws, self.run, min(1.0, self.num_done / self.total), text)
