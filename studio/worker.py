"""The process of one run: ``python -m studio.worker WORKSPACE RUN``. Nobody imports it; `studio.launcher` starts it.

On several devices there is one such process for each (see `studio.ranks`), and what follows is what the first one does.

It waits for its turn (a kernel lock that is released even on kill -9; the oldest queued run first), says that it is
alive, hands over to `studio.training`, and writes the run's last word: one state and one plain sentence.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from studio import confidential, database, faults, gpus, lanes, launcher, processes, ranks, runs
from studio.errors import RunError, StudioError, WorkspaceError
from studio.runs import Run
from studio.workspace import Workspace

POLL_S = 0.5
HEARTBEAT_S = 5.0
ROOM_S = 600.0
"""How long a run that has ended waits until the database can be written, before it goes without a last word."""
PATIENCE_S = 3600.0
"""How long a run waits for a database that another program holds; nobody sits before it, and hours of work hang on it."""


def main(root: str, name: str) -> int:
    """Work on a queued run until it ends. Returns 0 when it finished or was stopped, else 1."""
    if ranks.rank() > 0:
        return ranks.follow(root, name, _work_along)
    database.BUSY_TIMEOUT_S = PATIENCE_S
    ws = Workspace.open(root)
    run = runs.get(ws, name)
    if run.is_ended:
        raise RunError(f"Run {run.name} is {run.state} already; make another, or resume it.")
    runs.set_process(ws, run.id, os.getpid(), processes.birth(os.getpid()))
    runs.beat(ws, run.id, text="waiting for its turn")
    with ws.kept_open(), _turn(ws, run) as is_ours:
        if not is_ours:
            runs.move(ws, run.id, "stopped", "Cancelled before it started.")
            if ranks.has_others(run):
                ranks.lay_copy(ws, run)
            return 0
        with _heartbeat(ws, run), ranks.shared(ws, run):
            runs.beat(ws, run.id, 0.0, "loading the libraries")
            state, message = _work(ws, run)
        _say_last_word(ws, run, state, message)
    print(f"{run.name}: {state}. {message}", flush=True)
    return 0 if state in ("finished", "stopped") else 1


def _work(ws: Workspace, run: Run) -> tuple[str, str]:
    """Do the stage's work; every failure becomes a sentence, with the traceback in the log."""
    try:
        ranks.check(run.config)
        from studio import training  # torch takes seconds to load, and a cancelled run never needs it

        return training.work(ws, run)
    except WorkspaceError as error:
        return "failed", f"{error} {launcher.next_step(ws, runs.get(ws, run.id))}"
    except StudioError as error:
        return "failed", str(error)
    except Exception as error:
        traceback.print_exc()
        if ranks.is_lost_connection(error):
            return "failed", ranks.explain(ws, run)
        said = faults.of_work(error, gpus.others({os.getpid()}) if "CUDA" in str(error) else "")
        said = said or f"Unexpected {type(error).__name__}: {error}. The log has the details."
        return "failed", f"{said} {launcher.next_step(ws, runs.get(ws, run.id))}"


def _say_last_word(ws: Workspace, run: Run, state: str, message: str) -> None:
    """End the run; on a disk that is full, as soon as it has room again.

    Raises:
        WorkspaceError: it had none for a long time.
    """
    deadline = time.monotonic() + ROOM_S
    while True:
        try:
            return runs.move(ws, run.id, state, message)
        except WorkspaceError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)


def _work_along(ws: Workspace, run: Run) -> str | None:
    """The part of a process that is not the first; returns a sentence if it failed."""
    state, message = _work(ws, run)
    return message if state == "failed" else None


@contextmanager
def _turn(ws: Workspace, run: Run) -> Iterator[bool]:
    """Wait until a device is free for this run and nobody before it wants that one; yields False when it was cancelled.

    Where this process is the only one, it sees no other GPU than its own.
    """
    while True:
        if runs.beat(ws, run.id):
            yield False
            return
        ahead = [other.config for other in runs.ahead_of(ws, run.id)]
        with lanes.taken(ws, run.config, ahead) as mine:
            if mine and runs.begin(ws, run.id, "+".join(mine)):
                if mine != (lanes.CPU,) and not ranks.is_started_elsewhere():
                    os.environ["CUDA_VISIBLE_DEVICES"] = gpus.visible(mine)
                yield True
                return
        launcher.reap(ws)  # a dead run at the head of the queue must not hold it up
        time.sleep(POLL_S)


@contextmanager
def _heartbeat(ws: Workspace, run: Run) -> Iterator[None]:
    """Write a sign of life every few seconds, also while one long step computes."""
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(HEARTBEAT_S):
            with suppress(WorkspaceError):  # the next one may be written again
                runs.beat(ws, run.id)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


if __name__ == "__main__":
    confidential.hide_in_output()  # before torch and Lightning take hold of the streams
    try:
        sys.exit(main(sys.argv[1], sys.argv[2]))
    except RunError as gone:  # the run was killed or given up by the launcher while this process still worked
        sys.exit(str(gone))
