"""Coordinates the processes of a run on several devices: their ranks, the others' database copy, a common end.

Lightning (on one machine), torchrun or SLURM start the same worker once per device. The first process is the run as the
rest of the studio knows it, and only it opens the database: the others read a copy, which it puts into the run folder
when its turn has come and removes at the end, and leave a sentence there if they fail.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlite_utils import Database

from modules.config import StageConfig, TrainConfig
from studio import redaction
from studio.errors import RunError
from studio.runs import processes, runs
from studio.runs.row import Ending
from studio.runs.runs import Run
from studio.workspace import Workspace

POLL_S = 0.25
PATIENCE_S = 2.0
COPY = "processes.db"
FAILURE = "failure-of-process-"
_seen: set[psutil.Process] = set()
"""The other processes of this run that were seen alive."""
LOST = "The connection to another process of the run was lost. The log has the details; the last checkpoint is whole."


@dataclass(frozen=True)
class ReadOnly(Workspace):
    """The workspace of a process that is not the first: its database is the copy in a run's folder."""

    run_name: str

    @property
    def database(self) -> Path:
        """The copy."""
        return self.runs / self.run_name / COPY

    @contextmanager
    def write(self) -> Iterator[Database]:
        """Refuse: these processes never write."""
        raise AssertionError("only the first process of a run writes to the database")
        yield


def rank() -> int:
    """Return this process's number in its run; 0 is the first, and any process that was started alone."""
    return _from_environment("RANK", "LOCAL_RANK", "SLURM_PROCID")


def local_rank() -> int:
    """Return this process's number on its machine, which is also its device's number."""
    return _from_environment("LOCAL_RANK", "SLURM_LOCALID")


def size(config: StageConfig) -> int:
    """Return the number of processes that a run needs."""
    return config.devices * config.num_nodes if isinstance(config, TrainConfig) else 1


def is_started_elsewhere() -> bool:
    """Return whether torchrun or SLURM started this process, with others that do not take our locks."""
    return _from_environment("WORLD_SIZE", "SLURM_NTASKS") > 1


def check(config: StageConfig) -> None:
    """Refuse to begin with a wrong number of processes; they would wait for each other forever.

    Raises:
        RunError: torchrun or SLURM started too many or too few, or none can be started on the other machines.
    """
    needed, started = size(config), _from_environment("WORLD_SIZE", "SLURM_NTASKS")
    if needed > 1 and started not in (0, needed):
        raise RunError(
            f"torchrun or SLURM started {started} processes, but the run's devices x num_nodes is {needed}: start as many, "
            "or make a run with other settings."
        )
    if isinstance(config, TrainConfig) and config.num_nodes > 1 and started == 0:
        raise RunError(
            "num_nodes is more than 1, and the studio starts processes on this machine only: make the run with --queue, and "
            "let torchrun or SLURM start its worker on each machine (studio/README.md has the lines)."
        )


def has_others(run: Run) -> bool:
    """Return whether other processes wait for a message from the first one, or soon will."""
    return max(size(run.config), _from_environment("WORLD_SIZE", "SLURM_NTASKS")) > 1


def lay_copy(ws: Workspace, run: Run) -> Path:
    """Copy the database for the other processes, with the run's state now: begun, or ended."""
    copy = runs.folder(ws, run.name) / COPY
    part = copy.with_suffix(".part")
    part.unlink(missing_ok=True)
    with ws.read() as db:
        db.execute("VACUUM INTO ?", [str(part)])
    return part.rename(copy)


@contextmanager
def shared(ws: Workspace, run: Run) -> Iterator[None]:
    """Let the other processes begin, watch them, and wait for their end; called in the first process.

    If any process of the run fails, this one ends too and says so in the run's row.
    """
    if not has_others(run):
        yield
        return
    copy = lay_copy(ws, run)
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(POLL_S):
            _seen.update(_others())
            sentence = _failure(ws, run)
            if sentence and not is_over.wait(PATIENCE_S):  # this process may notice and report it itself
                try:
                    with ws.write() as db:
                        runs.move(db, run.id, "failed", sentence)
                    print(f"{run.name}: failed. {sentence}", flush=True)
                finally:
                    _exit_at_once()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        copy.unlink(missing_ok=True)
        _, alive = psutil.wait_procs(_others(), timeout=5 * PATIENCE_S)
        _kill(alive)


def is_lost_connection(error: Exception) -> bool:
    """Return whether an error only says that another process is gone."""
    return type(error).__name__.startswith("Dist") or "gloo" in str(error)


def explain(ws: Workspace, run: Run) -> Ending:
    """Explain a lost connection: in the first process, how the others ended; elsewhere, only the loss."""
    deadline = time.monotonic() + PATIENCE_S
    while rank() == 0 and time.monotonic() < deadline:
        if sentence := _failure(ws, run):
            return Ending("failed", sentence)
        time.sleep(POLL_S)
    return Ending("failed", LOST, is_connection_lost=True)


def follow(root: str, name: str, work: Callable[[Workspace, Run], Ending]) -> int:
    """Wait for the first process, do the work, and stay until the first has ended; called in the others.

    Args:
        root: The workspace's folder.
        name: The run.
        work: Does this process's part.
    """
    threading.Thread(target=_die_with_parent, args=(os.getppid(),), daemon=True).start()
    ws = ReadOnly(Path(root).expanduser().resolve(), name)
    while not ws.database.exists():
        time.sleep(POLL_S)
    with ws.read() as db:
        run = runs.get(db, name)
    if run.is_ended or rank() >= size(run.config):
        return 0
    ending = work(ws, run)
    has_failed = ending.state == "failed"
    if has_failed and not ending.is_connection_lost:
        (runs.folder(ws, name) / f"{FAILURE}{rank()}").write_text(redaction.redact(ending.message), encoding="utf-8")
    deadline = time.monotonic() + (5 * PATIENCE_S if has_failed else float("inf"))
    while ws.database.exists() and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return 1 if has_failed else 0


def _from_environment(*names: str) -> int:
    """Return the first of these variables that torchrun, Lightning or SLURM set, as a number; 0 if none."""
    is_interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")  # a shell on a node is not a task
    for name in names:
        if name in os.environ and not (is_interactive and name.startswith("SLURM_")):
            return int(os.environ[name])
    return 0


def _failure(ws: Workspace, run: Run) -> str | None:
    """Return the message of another process of the run that failed, or say that one vanished."""
    for file in sorted(runs.folder(ws, run.name).glob(f"{FAILURE}*")):
        return f"Process {file.name.removeprefix(FAILURE)} of the run failed: {file.read_text(encoding='utf-8')}"
    if any(not _is_alive(process) for process in tuple(_seen)):
        return (
            "A process of the run was killed from outside or ran out of memory. Resume; the last checkpoint is whole."
        )
    return None


def _others() -> list[psutil.Process]:
    """Return the living processes that Lightning started for the run's other devices.

    A child is one of them by the rank in its environment: a library's helper that is starting still has this process's
    command line, and once it has ended it looks like a killed process of the run.
    """
    return [process for process in psutil.Process().children() if _is_other(process)]


def _is_other(process: psutil.Process) -> bool:
    try:
        return (
            any(word in processes.WORKER for word in process.cmdline())
            and process.environ().get("LOCAL_RANK", "0") != "0"
        )
    except psutil.Error:  # it has ended, or is about to
        return False


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _exit_at_once() -> None:
    """End this process and the run's others: any of them may be waiting for one that is gone."""
    _kill(_others())
    os._exit(1)


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        if _is_alive(process):
            process.kill()


def _die_with_parent(parent: int) -> None:
    """Exit at once when the parent process is gone: this one may be waiting in a collective forever."""
    while os.getppid() == parent:
        time.sleep(POLL_S)
    os.kill(os.getpid(), signal.SIGKILL)
