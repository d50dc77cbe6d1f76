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
