"""Pauses runs: a waiting run is held in the queue, a running one saves after its step and waits, keeping its memory."""

from studio.errors import RunError
from studio.runs import runs
from studio.runs.runs import Run
from studio.workspace import Workspace


def pause(ws: Workspace, name: str) -> Run:
    """Hold a waiting run in the queue; let a running one save after its step and wait there.

    Raises:
        RunError: it has ended, or it is stopping.
    """
    return _set(ws, _open(ws, name, "be paused"), 1)


def go_on(ws: Workspace, name: str) -> Run:
    """Let a paused or held run go on; any other is left as it is.

    Raises:
        RunError: it has ended, or it is stopping.
    """
    return _set(ws, _open(ws, name, "go on"), 0)


def wish(ws: Workspace, run_id: int) -> str:
    """Return what a running run is asked to do: stop, pause, or nothing ("")."""
    with ws.read() as db:
        row = next(db.query("SELECT stop_requested, pause_requested FROM runs WHERE id = ?", [run_id]))
    return "stop" if row["stop_requested"] else "pause" if row["pause_requested"] else ""


def _open(ws: Workspace, name: str, what: str) -> Run:
    run = runs.get(ws, name)
    if run.is_ended or run.stop_requested:
        state = f"is {run.state}" if run.is_ended else "is stopping"
        raise RunError(f"Run {run.name} {state} and cannot {what}. Resume continues an ended run.")
    return run


def _set(ws: Workspace, run: Run, value: int) -> Run:
    with ws.write() as db:
        db.table("runs").update(run.id, {"pause_requested": value} | ({} if value else {"paused_at": None}))
    return runs.get(ws, run.id)
