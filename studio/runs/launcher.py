"""Starts workers as child processes that outlive the page and the server, and finds out how they ended.

A worker is known by its pid and its birth, because a pid alone is reused, and by the mark that its processes carry.
A running row whose process is gone is `lost`; one whose process lives is still running, whoever started it. An ended
run is still ending until its processes are seen gone and their GPU memory free, which is then stored.
"""

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlite_utils import Database

from modules.config import StageConfig
from studio.errors import CheckpointError, RunError, WorkspaceError
from studio.runs import devices, gpus, processes, runs, turns
from studio.runs.prepare import Prepared
from studio.runs.row import MEASURING
from studio.runs.runs import Run
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
"""A file in a run's folder: the run was killed on purpose, so it is not lost when its process is gone."""


def start(ws: Workspace, run: Run) -> Run:
    """Put a new run into the queue, and start its worker at once where its device is free.

    Raises:
        RunError: the process could not be started; the run is then failed.
    """
    run = runs.hand_over(ws, run, turns.settings())
    look(ws)
    with ws.read() as db:
        run = runs.get(db, run.id)
    if run.state == "failed" and run.pid is None:
        raise RunError(f"{run.name}: {run.message}")
    return run


def look(ws: Workspace) -> None:
    """Start the runs whose turn it is; ensure a waiter where others go on waiting."""
    turns.look(ws)
    if turns.is_waiter_wanted(ws):
        turns.ensure_waiter(ws)


def start_once(ws: Workspace, prepared: Prepared) -> tuple[Run, bool]:
    """Create and start a run; where one with the same settings was made a moment ago, return that one and False.

    Raises:
        StudioError: as `runs.create_prepared` and `start`.
    """
    config = prepared.config
    devices.check_here(config)
    with _starting:
        last = _last_started.get(ws.root)
        if last and last[1] == config and time.monotonic() - last[0] < DOUBLE_CLICK_S:
            with ws.read() as db:
                return runs.get(db, last[2]), False
        run = start(ws, runs.create_prepared(ws, prepared))
        _last_started[ws.root] = (time.monotonic(), config, run.name)
        return run, True


def kill(ws: Workspace, name: str) -> Run:
    """Kill all processes that are proven to be the run's, and store the kill only when none is left.

    Raises:
        RunError: the run belongs to another workspace, a process cannot be proven to be the run's, did not die, or its GPU
            memory did not become free, in time.
    """
    with ws.read() as db:
        run = runs.get(db, name)
    if run.is_waiting_here and not run.is_ended:
        with ws.write() as db:
            run = runs.request_stop(db, name)
    if run.is_ended:
        return run
    claim = runs.claim(ws, run)
    if runs.is_of_another_workspace(ws, run):
        raise RunError(_elsewhere(ws, run))
    if processes.unproven(claim):
        raise RunError(
            f"Process {run.pid} is recorded as working on {run.name}, but shows no sign of it, so it is left alone. Look at it with: "
            f"ps -f {run.pid}; if it is the run's, end it with: kill {run.pid}"
        )
    with suppress(OSError):  # on a full disk another server may call it lost
        (runs.folder(ws, run.name) / KILLED).touch()
    family = processes.family(claim)
    if left := processes.end(family, KILL_TIMEOUT_S):
        raise RunError(
            f"Run {run.name} could not be killed within {KILL_TIMEOUT_S:.0f} s: process {', '.join(map(str, sorted(left)))} still "
            f"works or holds GPU memory. Look at it with: ps {min(left)}"
        )
    try:
        with ws.read() as db:
            said = _killed(db, run, len(family))
        with ws.write() as db:
            runs.move(db, run.id, "stopped", said)
    except RunError:  # it wrote its own last word in this moment, or was killed from another page
        with ws.read() as db:
            if not runs.get(db, run.id).is_ended:
                raise
    with ws.write() as db:
        runs.set_gone(db, run.id)
        return runs.get(db, run.id)


def is_alive(run: Run) -> bool:
    """Return whether the process that was started for this run still lives."""
    processes.see_children()
    return processes.is_alive(run.pid, run.pid_started, run.boot)


def reap(ws: Workspace) -> list[str]:
    """Mark runs whose process is gone as lost, finish ending runs, and start those whose turn it is.

    Returns:
        The names of the lost runs.
    """
    lost = []
    with ws.read() as db:
        queued = runs.list_all(db, state="queued")
        running = runs.list_all(db, state="running")
    try:
        for run in [*running, *queued]:
            lost += [run.name] if _is_found_lost(ws, run) else []
        with ws.read() as db:
            ending = runs.list_ending(db)
        for run in ending:
            _see_off(ws, run)
        if any(run.is_waiting_here for run in queued):
            look(ws)
    except WorkspaceError:
        pass  # a disk that is full or read-only: what is known can be shown all the same
    return lost


def _is_found_lost(ws: Workspace, run: Run) -> bool:
    """Check a run that has not ended; if its process is gone without a message, store it as lost and return True."""
    try:
        if runs.is_of_another_workspace(ws, run):
            with ws.read() as db:
                said = f"{_elsewhere(ws, run)} {next_step(db, run)}"
            with ws.write() as db:
                runs.move(db, run.id, "lost", said)
                runs.set_gone(db, run.id)
            return True
        if run.is_awaited or run.is_waiting_here or is_alive(run) or _may_come_yet(run):
            return False
        was_killed = (runs.folder(ws, run.name) / KILLED).exists()  # by another server, which has not said so yet
        with ws.read() as db:
            state, said = ("stopped", _killed(db, run, 1)) if was_killed else ("lost", _lost(db, run))
        with ws.write() as db:
            runs.move(db, run.id, state, said)
        return not was_killed
    except RunError:
        return False  # it wrote its own last word in this moment


def _may_come_yet(run: Run) -> bool:
    """Return whether a run without a process here was just made, or is running on another machine."""
    if run.pid is None:
        return abs(_age_s(run.created_at)) < ADOPTION_S
    is_fresh = run.heartbeat_at is not None and abs(_age_s(run.heartbeat_at)) < SILENT_S
    return is_fresh and not processes.is_of_this_boot(run.boot)


def _elsewhere(ws: Workspace, run: Run) -> str:
    """Say to which workspace a run belongs that was handed over before this workspace was copied."""
    if not (own := runs.folder(ws, run.name)).exists():
        return f"The folder of {run.name} is gone ({own.relative_to(ws.root)}), and with it what was saved."
    place = processes.works_for(runs.claim(ws, run)) if not run.mark else processes.working_folder(run.mark)
    if place is None:
        return f"This workspace is a copy, or was restored from one, made before {run.name} had ended there."
    own_place = place.parent.parent if run.mark else place
    return f"This workspace is a copy of {own_place}: {run.name} belongs to that one and continues there."


def trouble(run: Run) -> str:
    """Describe a running process that gives no sign of life or makes no progress; empty where all is well."""
    if run.state != "running":
        return ""
    if run.heartbeat_at and (silent := abs(_age_s(run.heartbeat_at))) > SILENT_S:
        return (
            f"No sign of life for {silent:.0f} s: its process is suspended, or waits for a disk or a driver. "
            "If it does not come back, Kill now ends it; what is saved stays."
        )
    if run.advanced_at and not run.pause_requested and (stuck := _age_s(run.advanced_at)) > STUCK_S:
        return (
            f"No step has ended for {stuck / 60:.0f} min: it is a long step, or the run hangs. The log may say which; "
            "Kill now ends it, and what is saved stays."
        )
    return ""


def _see_off(ws: Workspace, run: Run) -> None:
    """Store that no process of an ended run is left; kill the rest when it takes too long, or the run was lost."""
    processes.see_children()
    family = processes.family(runs.claim(ws, run))
    if family and (run.state == "lost" or abs(_age_s(run.ended_at or "")) > ENDING_S):
        family = processes.end(family, KILL_TIMEOUT_S)  # what is left, as numbers
    if not family and run.pid not in gpus.pids():
        with ws.write() as db:
            runs.set_gone(db, run.id)


def _killed(db: Database, run: Run, num: int) -> str:
    gone = "no process was left" if not num else "its process is gone" if num == 1 else f"its {num} processes are gone"
    free = " and their GPU memory is free" if run.lane.startswith("gpu") else ""
    return f"Killed: {gone}{free}. {next_step(db, run)}"


def _lost(db: Database, run: Run) -> str:
    """Say how a run ended that left no message, as far as that is known, and what to do next."""
    code = processes.exit_code(run.pid)
    if run.started_at is None:
        cause = "Its process ended before it began (a restart of the machine, or a kill)."
    elif processes.machine_started_after(run.heartbeat_at):
        cause = "The machine was restarted while it ran."
    elif code is not None and code < 0:
        cause = f"Its process was ended from outside by signal {-code}{' (out of memory, or kill -9)' if code == -9 else ''}."
    elif code:
        cause = f"Its process ended with exit code {code}; the end of the log may say why."
    else:
        cause = "Its process ended without a message (killed, out of memory, or power loss)."
    return f"{cause} {next_step(db, run)}"


def next_step(db: Database, run: Run) -> str:
    """Say what is kept of a run that ended early, and what to do next."""
    if run.started_at is None:
        return "Nothing was computed; Resume puts it into the queue again."
    if run.stage == "sample":
        return "Nothing was stored; start it again on the Train page."
    if run.stage in MEASURING:
        return "What it measured is stored; Resume measures the rest."
    try:
        newest = runs.newest_state(db, run)
    except CheckpointError as error:
        return f"To resume it, fix its newest checkpoint: {error}"
    if newest is None:
        return "It had not saved anything yet: start it again on the Train page; a smaller save_every saves earlier."
    if newest.run_id != run.id:
        return f"It had not saved yet; Resume continues from where it began, {newest.name}."
    return f"Resume continues from {newest.name}; what came after it is lost."


def _age_s(when: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(when)).total_seconds()
