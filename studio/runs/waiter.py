"""The process that starts waiting runs while nobody else does: ``python -m studio.runs.waiter WORKSPACE LOCK``.

A workspace has one, and only while runs wait: it starts them when their device is free, also with no page open and every
terminal closed. It loads no torch, and ends when nothing waits.
"""

import sys
import time
from contextlib import suppress

from studio import redaction
from studio.errors import WorkspaceError
from studio.files import locks
from studio.runs import held, launcher, signals, turns
from studio.workspace import Workspace

POLL_S = 1.0


def main(root: str, lock: int) -> int:
    """Look until nothing waits; `lock` is the open file that makes this the only waiter. Returns the exit code."""
    ws = held.hold(Workspace.existing(root))
    while True:
        while turns.is_waiter_wanted(ws):
            with suppress(WorkspaceError):
                launcher.reap(ws)
            time.sleep(POLL_S)
        locks.unlock(lock)  # a run handed over from here on gets another waiter
        if not turns.is_waiter_wanted(ws):
            return 0
        if not locks.try_lock(lock):
            return 0


if __name__ == "__main__":
    signals.take_interrupts()
    redaction.hide_in_output()
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
