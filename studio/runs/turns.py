"""Starts waiting runs in turn: a waiting run is only a row; whoever looks here starts its worker when its device is free.

Servers, commands and the waiter look (`studio.runs.waiter`), one at a time. The device is locked before the worker is
started, and the worker inherits the lock: there is no moment in which two could take the same device, or start one run twice.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from studio import children, redaction
from studio.errors import WorkspaceError
from studio.files import locks
from studio.runs import devices, gpus, marks, processes, queue, runs
from studio.runs.row import Run
from studio.workspace import Workspace

DEVICES = "RLHF_STUDIO_LANES"
"""Environment variable of a worker: JSON of its devices and the open files that hold their locks."""
_WAITER = "waiter"
_SHELL = (
    "CUDA_",
    "NVIDIA_",
    "HF_",
    "TRANSFORMERS_",
    "TORCH",
    "PYTORCH_",
    "NCCL_",
    "OMP_",
    "MKL_",
    "TMPDIR",
    "XDG_CACHE_HOME",
)
"""Prefixes of the shell's settings that belong to a run, whoever starts it in the end."""


def settings() -> str:
    """Return this process's environment settings that a run must have, as JSON; never a secret."""
    found = {name: value for name, value in redaction.child_environment().items() if name.startswith(_SHELL)}
    return json.dumps({k: v for k, v in found.items() if not redaction.is_secret(k) and redaction.redact(v) == v})


def look(ws: Workspace) -> list[str]:
    """Start the waiting runs whose devices are free, in their order; returns their names.

    Does nothing while another process is looking, or where the disk cannot be written.
    """
    started: list[str] = []
    claimed: set[str] = set()
    with suppress(OSError), _alone(ws) as is_mine:
        if not is_mine:
            return []
        with ws.read() as db:
            waiting = queue.waiting(db)
        for run in waiting:
            if run.pause_requested:
                continue
            if (
                run.is_waiting_here
                and not runs.is_of_another_workspace(ws, run)
                and _start_where_free(ws, run, claimed)
            ):
                started.append(run.name)
            claimed |= queue.claimed([run])
    return started


def is_waiter_wanted(ws: Workspace) -> bool:
    """Return whether a run waits here to be started, held ones included."""
    try:
        with ws.read() as db:
            waiting = queue.waiting(db)
        return any(run.is_waiting_here and not runs.is_of_another_workspace(ws, run) for run in waiting)
    except WorkspaceError:
        return ws.database.exists()  # another process holds it, or it is ending


def ensure_waiter(ws: Workspace, environment: Mapping[str, str] | None = None) -> None:
    """Start the workspace's waiter unless it is running; its output goes to lanes/waiter.log."""
    given = redaction.child_environment() if environment is None else environment
    given = {name: value for name, value in given.items() if name != marks.VARIABLE} | {
        "PYTHONPATH": str(children.CODE)
    }
    with suppress(OSError), devices.lock_file(ws, _WAITER) as file:
        if not locks.try_lock(file):
            return
        with (ws.root / devices.FOLDER / f"{_WAITER}.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "studio.runs.waiter", str(ws.root.resolve()), str(file.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=ws.root,
                env=given,
                pass_fds=(file.fileno(),),
            )
        processes.remember(child)


def inherited() -> dict[str, int]:
    """Return the devices that were locked for this process before it was started, with the open files that hold them."""
    found = json.loads(os.environ.pop(DEVICES, "{}"))
    for descriptor in found.values():
        os.set_inheritable(descriptor, False)
    return found


def _start_where_free(ws: Workspace, run: Run, claimed: set[str]) -> bool:
    with gpus.seen_as(json.loads(run.environment)), devices.held(ws, run.config, claimed) as mine:
        if mine:
            _spawn(ws, run, {device: file.fileno() for device, file in mine.items()})
        else:
            devices.ask_for(ws, run.config)
        return bool(mine)


def _spawn(ws: Workspace, run: Run, mine: dict[str, int]) -> None:
    """Start the worker in its own session, its output going to log.txt; the run fails if that cannot be done."""
    given = {
        name: value
        for name, value in redaction.child_environment().items()
        if not name.startswith(_SHELL) or redaction.is_secret(name)
    }
    own = {
        "PYTHONPATH": str(children.CODE),
        "TOKENIZERS_PARALLELISM": "false",
        marks.VARIABLE: run.mark,
        DEVICES: json.dumps(mine),
    }
    folder = runs.folder(ws, run.name)
    try:
        with (folder / "log.txt").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "studio.worker", str(ws.root.resolve()), run.name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=folder,
                env=given | json.loads(run.environment) | own,
                pass_fds=tuple(mine.values()),
            )
    except OSError as error:
        with ws.write() as db:
            runs.move(db, run.id, "failed", f"The worker could not be started: {error.strerror}.")
        return
    processes.remember(child)
    with ws.write() as db:
        runs.set_process(db, run.id, child.pid, processes.birth(child.pid))


@contextmanager
def _alone(ws: Workspace) -> Iterator[bool]:
    """Yield whether no other process is looking; none begins to for the length of the block."""
    with devices.lock_file(ws, "start") as file:
        yield locks.try_lock(file)
