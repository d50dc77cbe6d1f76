"""Starts workers as child processes that outlive the page and the server, and finds out what became of them.

A worker is known by its pid and the start time of the process, because a pid alone is reused. A running row whose
process is gone is `lost`; one whose process lives is simply still running, whoever started it.
"""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import psutil

from studio import runs
from studio.errors import RunError
from studio.runs import Run
from studio.workspace import Workspace

KILL_TIMEOUT_S = 15.0
ADOPTION_S = 30.0
_children: list[subprocess.Popen[bytes]] = []


def start(ws: Workspace, run: Run) -> Run:
    """Start the worker of a queued run in a session of its own, its output going to log.txt.

    Raises:
        RunError: the process could not be started; the run is then failed.
    """
    command = [sys.executable, "-m", "studio.worker", str(ws.root), run.name]
    try:
        with (runs.folder(ws, run.name) / "log.txt").open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=runs.folder(ws, run.name),
                env=os.environ | {"PYTHONPATH": str(runs.CODE), "TOKENIZERS_PARALLELISM": "false"},
            )
    except OSError as error:
        runs.move(ws, run.id, "failed", f"The worker could not be started: {error.strerror}.")
        raise RunError(f"The worker of {run.name} could not be started: {error.strerror}.") from error
    _children.append(child)
    runs.set_process(ws, run.id, child.pid, psutil.Process(child.pid).create_time())
    return runs.get(ws, run.id)


def kill(ws: Workspace, name: str) -> Run:
    """Kill a run's whole process group now, and say so only when it is gone.

    Raises:
        RunError: it did not die in time.
    """
    run = runs.get(ws, name)
    if run.is_ended:
        return run
    if run.pid is not None and is_alive(run):
        _kill_group(run)
    runs.move(
        ws, run.id, "stopped", "Killed. What came after the last checkpoint is lost; resume continues from there."
    )
    return runs.get(ws, run.id)


def is_alive(run: Run) -> bool:
    """True if the process that was started for this run still works."""
    if run.pid is None:
        return False
    for child in [c for c in _children if c.poll() is not None]:  # polling removes the zombie
        _children.remove(child)
    try:
        process = psutil.Process(run.pid)
        is_same = abs(process.create_time() - (run.pid_started or 0.0)) < 1.0
        return is_same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def reap(ws: Workspace) -> list[str]:
    """Mark runs whose process is gone as lost; returns their names."""
    lost = []
    for run in [*runs.list_all(ws, state="running"), *runs.list_all(ws, state="queued")]:
        if is_alive(run) or run.is_awaited or (run.pid is None and _age_s(run) < ADOPTION_S):
            continue
        try:
            runs.move(ws, run.id, "lost", "Its process ended without a word (killed, out of memory, or power loss).")
            lost.append(run.name)
        except RunError:
            pass  # it wrote its own last word in this moment
    return lost


def _age_s(run: Run) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(run.created_at)).total_seconds()


def _kill_group(run: Run) -> None:
    """SIGKILL the group and wait until no member is left. The worker leads its own session, so pid = group id."""
    assert run.pid is not None
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            os.killpg(run.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        if not _group_members(run.pid):
            return
        time.sleep(0.05)
    raise RunError(f"Run {run.name} (process {run.pid}) could not be killed. Look at it with: ps {run.pid}")


def _group_members(group: int) -> list[int]:
    """Living members of a process group; zombies hold nothing and do not count."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found
