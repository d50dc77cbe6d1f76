"""The process of a run: ``python -m studio.worker WORKSPACE RUN``. Never imported; `studio.runs.launcher` starts it.

On several devices there is one such process for each (see `studio.worker.ranks`); the first one does the following.

It is started with the lock of its device (a kernel lock, released even on kill -9) or waits for it, reports that it is
alive, hands over to `studio.worker.training`, and writes how the run ended: a state and a plain sentence.
"""

import gc
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType

from sqlite_utils import Database

from studio import redaction
from studio.database import connection
from studio.errors import RunError, StudioError, WorkspaceError
from studio.runs import devices, gpus, held, launcher, marks, processes, queue, runs, signals, turns
from studio.runs.row import Ending, Run
from studio.worker import failures, ranks
from studio.workspace import Workspace

POLL_S = 0.5
HEARTBEAT_S = 5.0
ROOM_S = 600.0
"""Seconds that an ended run waits for a writable database before it exits without storing how it ended."""
PATIENCE_S = 3600.0
"""Seconds that a run waits for a database that another program holds: long, since hours of work are at stake."""


def main(root: str, name: str) -> int:
    """Execute a queued run until it ends. Returns 0 when it finished or was stopped, else 1."""
    environment = dict(os.environ)  # as it was before this process was given devices and ranks
    if ranks.rank() > 0:
        signals.ignore()
        return ranks.follow(root, name, _work)
    signals.heed()
    connection.BUSY_TIMEOUT_S = PATIENCE_S
    ws = held.hold(Workspace.existing(root), PATIENCE_S)
    with ws.read() as db:
        run = runs.get(db, name)
    if run.state != "queued":
        raise RunError(f"Run {run.name} is already {run.state}; start another, or resume it.")
    mark = _carry_mark(ws, run)
    signals.pass_on(lambda: _request_stop(ws, run))
    with ws.kept_open(), _turn(ws, run, mark) as is_ours:
        if not is_ours:
            with ws.read() as db:
                is_ended = runs.get(db, run.id).is_ended
            if is_ended and ranks.has_others(run):
                ranks.lay_copy(ws, run)
            return 0
        with _heartbeat(ws, run), ranks.shared(ws, run):
            with ws.write() as db:
                runs.beat(db, run.id, 0.0, "loading the libraries")
            ending = _work(ws, run)
        _say_last_word(ws, run, ending)
    print(f"{run.name}: {ending.state}. {ending.message}", flush=True)
    if not ranks.is_started_elsewhere() and turns.is_waiter_wanted(ws):
        turns.ensure_waiter(ws, environment)
    return 0 if ending.state in ("finished", "stopped") else 1


def _request_stop(ws: Workspace, run: Run) -> None:
    """Request a stop as a person would, as soon as the database can be written."""
    while True:
        with suppress(WorkspaceError):
            with ws.write() as db:
                runs.request_stop(db, run.name)
            return
        time.sleep(POLL_S)


def _carry_mark(ws: Workspace, run: Run) -> str:
    """Put the run's mark into the environment and return it: the launcher's, or a new one where others started it."""
    if not run.mark or os.environ.get(marks.VARIABLE) != run.mark:
        os.environ[marks.VARIABLE] = marks.make(runs.folder(ws, run.name))
    return os.environ[marks.VARIABLE]


def _work(ws: Workspace, run: Run) -> Ending:
    """Do the stage's work, and say how it ended with the paths that a person knows."""
    ending = _attempt(ws, run)
    return ending._replace(message=held.named(ws, ending.message))


def _attempt(ws: Workspace, run: Run) -> Ending:
    """Do the stage's work; every failure becomes a sentence, with the traceback in the log."""
    try:
        ranks.check(run.config)
        return _load_training().work(ws, run)
    except WorkspaceError as error:
        with ws.read() as db:
            return Ending("failed", f"{error} {_next_step(db, run)}")
    except StudioError as error:
        return Ending("failed", str(error))
    except SystemExit:
        if not signals.received():
            raise
        with ws.read() as db:
            return Ending("stopped", f"Stopped by {signals.received()}. {_next_step(db, run)}")
    except Exception as error:
        traceback.print_exc()
        if ranks.is_lost_connection(error):
            return ranks.explain(ws, run)
        said = failures.explain(error, gpus.others({os.getpid()}) if "CUDA" in str(error) else "")
        said = said or f"Unexpected {type(error).__name__}: {error}. The log has the details."
        with ws.read() as db:
            return Ending("failed", f"{said} {_next_step(db, run)}")


def _next_step(db: Database, run: Run) -> str:
    """Say what is kept of the run as it is now, and what to do next."""
    now = runs.get(db, run.id)
    return launcher.next_step(db, now)


def _load_training() -> ModuleType:
    """Import the training only now: torch takes seconds to load, and a cancelled run never needs it.

    The libraries' objects live as long as the process, so nothing is collected meanwhile (a tenth faster), and later
    collections skip them.
    """
    gc.disable()
    from studio.worker import training

    gc.freeze()
    gc.enable()
    return training


def _say_last_word(ws: Workspace, run: Run, ending: Ending) -> None:
    """End the run; on a full disk, as soon as it has room again.

    Raises:
        WorkspaceError: it had no room for too long.
    """
    is_by_signal = ending.state == "stopped" and not ending.is_fault and signals.received()
    message = f"{ending.message} {signals.received()} asked for it." if is_by_signal else ending.message
    deadline = time.monotonic() + ROOM_S
    while True:
        try:
            with ws.write() as db:
                return runs.move(db, run.id, ending.state, message, is_fault=ending.is_fault)
        except WorkspaceError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)


@contextmanager
def _turn(ws: Workspace, run: Run, mark: str) -> Iterator[bool]:
    """Begin on the devices that were locked for this process, or wait for them where torchrun or SLURM started it.

    Yields False when the run was cancelled or held meanwhile. Where this process is the only one, it sees only its own
    GPU.
    """
    handed_on = turns.inherited()
    if handed_on:
        try:
            with ws.write() as db:
                is_ours = _begin(db, run, tuple(handed_on), mark)
            if is_ours:
                _see_only(tuple(handed_on))
            yield is_ours
        finally:
            for descriptor in handed_on.values():
                os.close(descriptor)
        return
    with ws.write() as db:
        runs.set_process(db, run.id, os.getpid(), processes.birth(os.getpid()), mark=mark, environment=turns.settings())
        runs.beat(db, run.id, text="waiting for its turn")
    while True:
        with ws.read() as db:
            if runs.get(db, run.id).is_ended:
                break
            claimed = queue.claimed(queue.ahead_of(db, run.id))
        with devices.taken(ws, run.config, claimed) as mine:
            if mine:
                with ws.write() as db:
                    is_ours = _begin(db, run, mine, mark)
                if is_ours:
                    _see_only(mine)
                    yield True
                    return
        devices.ask_for(ws, run.config)
        with ws.write() as db:
            runs.beat(db, run.id)
        launcher.reap(ws)  # a dead run at the head of the queue must not hold it up
        time.sleep(POLL_S)
    yield False


def _begin(db: Database, run: Run, mine: tuple[str, ...], mark: str) -> bool:
    """Store that the run is running; False if it was cancelled, held or begun by another process meanwhile."""
    if not runs.begin(db, run.id, "+".join(mine)):
        queue.give_back(db, run.id, os.getpid())
        return False
    runs.set_process(db, run.id, os.getpid(), processes.birth(os.getpid()), mark=mark)
    return True


def _see_only(mine: tuple[str, ...]) -> None:
    """Let a process that is its run's only one see its own GPUs and no other."""
    if mine != (devices.CPU,) and not ranks.is_started_elsewhere():
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus.visible(mine)


@contextmanager
def _heartbeat(ws: Workspace, run: Run) -> Iterator[None]:
    """Write a heartbeat every few seconds, also during a long step."""
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(HEARTBEAT_S):
            with suppress(WorkspaceError), ws.write() as db:  # the next one may succeed
                runs.beat(db, run.id)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


if __name__ == "__main__":
    redaction.hide_in_output()  # before torch and Lightning take the streams
    try:
        sys.exit(main(sys.argv[1], sys.argv[2]))
    except RunError as gone:  # the run was killed or given up by the launcher while this process was still running
        sys.exit(str(gone))
