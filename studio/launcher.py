"""Starts workers as child processes that outlive the page and the server, and finds out what became of them.

A worker is known by its pid and its birth, because a pid alone is reused. A running row whose process is gone is `lost`;
one whose process lives is simply still running, whoever started it. That the processes of an ended run are gone, and
their GPU memory free, is looked at and then stored; until then the run is still ending.
"""

import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from modules.config import StageConfig
from studio import confidential, gpus, lanes, processes, runs
from studio.errors import CheckpointError, RunError, WorkspaceError
from studio.runs import Run
from studio.workspace import Workspace

KILL_TIMEOUT_S = 15.0
ADOPTION_S = 30.0
ENDING_S = 30.0
SILENT_S = 60.0
STUCK_S = 600.0
DOUBLE_CLICK_S = 3.0
_starting = threading.Lock()
_last_started: dict[Path, tuple[float, StageConfig, str]] = {}
KILLED = "killed"
"""A file in a run's folder: somebody chose to kill it, so it is not lost when its process is gone."""
_children: list[subprocess.Popen[bytes]] = []
_exit_codes: dict[int, int] = {}


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
                env=confidential.environment() | {"PYTHONPATH": str(runs.CODE), "TOKENIZERS_PARALLELISM": "false"},
            )
    except OSError as error:
        runs.move(ws, run.id, "failed", f"The worker could not be started: {error.strerror}.")
        raise RunError(f"The worker of {run.name} could not be started: {error.strerror}.") from error
    _children.append(child)
    runs.set_process(ws, run.id, child.pid, processes.birth(child.pid))
    return runs.get(ws, run.id)


def start_once(ws: Workspace, config: StageConfig) -> tuple[Run, bool]:
    """Create and start a run, unless one with these very settings was made a moment ago: then that one, and False.

    Raises:
        StudioError: as `runs.create` and `start`.
    """
    lanes.check_here(config)
    with _starting:
        last = _last_started.get(ws.root)
        if last and last[1] == config and time.monotonic() - last[0] < DOUBLE_CLICK_S:
            return runs.get(ws, last[2]), False
        run = start(ws, runs.create(ws, config))
        _last_started[ws.root] = (time.monotonic(), config, run.name)
        return run, True


def kill(ws: Workspace, name: str) -> Run:
    """Kill a run's whole process group and all that descends from it, and say so only when nothing is left of it.

    Raises:
        RunError: a process did not die, or its GPU memory did not become free, in time.
    """
    run = runs.get(ws, name)
    if run.is_ended:
        return run
    with suppress(OSError):  # on a full disk another server may call it lost
        (runs.folder(ws, run.name) / KILLED).touch()
    family = processes.family(run.pid, run.pid_started)
    if left := processes.end(family, KILL_TIMEOUT_S):
        raise RunError(
            f"Run {run.name} could not be killed within {KILL_TIMEOUT_S:.0f} s: process {', '.join(map(str, sorted(left)))} still "
            f"works or holds GPU memory. Look at it with: ps {min(left)}"
        )
    try:
        runs.move(ws, run.id, "stopped", _killed(ws, run, len(family)))
    except RunError:  # it wrote its own last word in this moment, or was killed from another page
        if not runs.get(ws, run.id).is_ended:
            raise
    runs.set_gone(ws, run.id)
    return runs.get(ws, run.id)


def is_alive(run: Run) -> bool:
    """True if the process that was started for this run still works."""
    for child in [c for c in _children if c.poll() is not None]:  # polling removes the zombie
        _exit_codes[child.pid] = child.returncode
        _children.remove(child)
    return processes.is_alive(run.pid, run.pid_started)


def reap(ws: Workspace) -> list[str]:
    """Mark runs whose process is gone as lost, and see ended ones to their end; returns the names of the lost."""
    lost = []
    for run in [*runs.list_all(ws, state="running"), *runs.list_all(ws, state="queued")]:
        if is_alive(run) or run.is_awaited or (run.pid is None and abs(_age_s(run.created_at)) < ADOPTION_S):
            continue
        try:
            if (runs.folder(ws, run.name) / KILLED).exists():  # by another server, which has not said so yet
                runs.move(ws, run.id, "stopped", _killed(ws, run, 1))
                continue
            runs.move(ws, run.id, "lost", _lost(ws, run))
            lost.append(run.name)
        except RunError:
            pass  # it wrote its own last word in this moment
        except WorkspaceError:
            return lost  # a disk that is full or read-only: what is known can be shown all the same
    for run in runs.list_ending(ws):
        with suppress(WorkspaceError):
            _see_off(ws, run)
    return lost


def trouble(run: Run) -> str:
    """A sentence on a running process that gives no sign of life, or gets no further; empty where all is well."""
    if run.state != "running":
        return ""
    if run.heartbeat_at and (silent := abs(_age_s(run.heartbeat_at))) > SILENT_S:
        return (
            f"No sign of life for {silent:.0f} s: its process is suspended, or waits for a disk or a driver. "
            "If it does not come back, Kill now ends it; what is saved stays."
        )
    if run.advanced_at and not run.pause_requested and (stuck := _age_s(run.advanced_at)) > STUCK_S:
        return (
            f"No step has ended for {stuck / 60:.0f} min: it computes a long one, or hangs. The log may say which; "
            "Kill now ends it, and what is saved stays."
        )
    return ""


def _see_off(ws: Workspace, run: Run) -> None:
    """Store that nothing is left of an ended run; end what is left of it when it takes too long, or when it was lost."""
    is_alive(run)
    family = processes.family(run.pid, run.pid_started)
    if family and (run.state == "lost" or abs(_age_s(run.ended_at or "")) > ENDING_S):
        family = processes.end(family, KILL_TIMEOUT_S)
    if not family and run.pid not in gpus.pids():
        runs.set_gone(ws, run.id)


def _killed(ws: Workspace, run: Run, num: int) -> str:
    gone = "no process was left" if not num else "its process is gone" if num == 1 else f"its {num} processes are gone"
    free = " and their GPU memory is free" if run.lane.startswith("gpu") else ""
    return f"Killed: {gone}{free}. {next_step(ws, run)}"


def _lost(ws: Workspace, run: Run) -> str:
    """What became of a run that left no last word, as far as that can be known, and what to do next."""
    code = _exit_codes.get(run.pid or 0)
    if run.started_at is None:
        cause = "Its process ended before its turn came (a restart of the machine, or a kill)."
    elif processes.machine_started_after(run.heartbeat_at):
        cause = "The machine was restarted while it ran."
    elif code is not None and code < 0:
        cause = f"Its process was ended from outside by signal {-code}{' (out of memory, or kill -9)' if code == -9 else ''}."
    elif code:
        cause = f"Its process ended with exit code {code}; the end of the log may say why."
    else:
        cause = "Its process ended without a word (killed, out of memory, or power loss)."
    return f"{cause} {next_step(ws, run)}"


def next_step(ws: Workspace, run: Run) -> str:
    """What is kept of a run that ended before its time, and what to do next."""
    if run.started_at is None:
        return "Nothing was computed; Resume puts it into the queue again."
    if run.stage == "sample":
        return "Nothing of it was stored; start it again on the Train page."
    try:
        newest = runs.newest_state(ws, run)
    except CheckpointError as error:
        return f"To resume it, see to its newest checkpoint: {error}"
    if newest is None:
        return "It had not saved anything yet: start it again on the Train page; a smaller save_every saves earlier."
    if newest.run_id != run.id:
        return f"It had not saved yet; Resume continues from where it began, {newest.name}."
    return f"Resume continues from {newest.name}; what came after it is lost."


def _age_s(when: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(when)).total_seconds()
