"""The queue: which runs wait for a device, in which order, and which are held or paused.

A waiting run that is paused is held in the queue; a running one saves after its step and waits, keeping its memory.
"""

import json
from collections.abc import Iterable

from sqlite_utils import Database

from studio.errors import RunError
from studio.runs import devices, gpus, runs
from studio.runs.runs import Run

_QUEUE = "SELECT * FROM runs WHERE state = 'queued' AND (pid IS NOT NULL OR starter <> 'others') ORDER BY coalesce(place, id), id"


def waiting(db: Database) -> list[Run]:
    """Return the runs that wait for a device, in their order; held ones keep their place, awaited ones have none."""
    return [runs.of_row(row) for row in db.query(_QUEUE)]


def places(db: Database) -> dict[str, str]:
    """Return what is said of each waiting run by its name: its place, that it is held, or what became of its GPU."""
    found = waiting(db)
    said = {}
    for number, run in enumerate(found, start=1):
        with gpus.seen_as(json.loads(run.environment)):
            why = ["held"] if run.pause_requested else _lost(run) or _elsewhere(db, run)
        said[run.name] = ", ".join([f"{number} of {len(found)} in the queue", *why])
    return said


def claimed(found: Iterable[Run]) -> set[str]:
    """Return the devices that these runs could go to, as `devices.cards` names them, each seen as its own shell sees them."""
    cards = set()
    for run in found:
        with gpus.seen_as(json.loads(run.environment)):
            cards |= devices.cards(run.config)
    return cards


def ahead_of(db: Database, run_id: int) -> list[Run]:
    """Return the runs before this one in the queue that are not held."""
    found = waiting(db)
    before = found[: next((n for n, run in enumerate(found) if run.id == run_id), len(found))]
    return [run for run in before if not run.pause_requested]


def shift(db: Database, name: str, by: int) -> None:
    """Move a waiting run in the queue: -1 is one place earlier, 1 one later; at either end it stays.

    Raises:
        RunError: there is no such run, or it does not wait.
    """
    runs.get(db, name)
    rows = list(db.query(_QUEUE))
    at = next((n for n, row in enumerate(rows) if row["name"] == name), None)
    if at is None:
        raise RunError(
            f"Run {name} is not waiting in the queue, so it cannot be moved. See the queue with: rlhf-studio runs"
        )
    places = [row["id"] if row["place"] is None else row["place"] for row in rows]
    rows.insert(max(0, at + by), rows.pop(at))
    for row, place in zip(rows, places, strict=True):
        db.table("runs").update(row["id"], {"place": float(place)})


def pause(db: Database, name: str) -> Run:
    """Hold a waiting run in the queue; let a running one save after its step and wait there.

    Raises:
        RunError: it has ended, or it is stopping.
    """
    return _set(db, _open(db, name, "be paused"), 1)


def go_on(db: Database, name: str) -> Run:
    """Let a paused or held run go on; any other is left as it is.

    Raises:
        RunError: it has ended, or it is stopping.
    """
    return _set(db, _open(db, name, "go on"), 0)


def give_back(db: Database, run_id: int, pid: int) -> None:
    """Turn a run that this process was to begin, but that was held meanwhile, back into a waiting row."""
    db.execute(
        "UPDATE runs SET pid = NULL, pid_started = NULL, heartbeat_at = NULL"
        " WHERE id = ? AND pid = ? AND state = 'queued' AND starter = 'studio'",
        [run_id, pid],
    )


def leave_to_others(db: Database, run_id: int) -> None:
    """Let a queued run wait, as long as it takes, until torchrun or SLURM starts its worker."""
    db.table("runs").update(run_id, {"starter": "others"})
    runs.beat(db, run_id, text="waiting for torchrun or SLURM to start its worker")


def requested(db: Database, run_id: int) -> str:
    """Return what a running run is asked to do: stop, pause, or nothing ("")."""
    row = next(db.query("SELECT stop_requested, pause_requested FROM runs WHERE id = ?", [run_id]))
    return "stop" if row["stop_requested"] else "pause" if row["pause_requested"] else ""


def _open(db: Database, name: str, what: str) -> Run:
    run = runs.get(db, name)
    if run.is_ended or run.stop_requested:
        state = f"is {run.state}" if run.is_ended else "is stopping"
        raise RunError(f"Run {run.name} {state} and cannot {what}. Resume continues an ended run.")
    return run


def _set(db: Database, run: Run, value: int) -> Run:
    db.table("runs").update(run.id, {"pause_requested": value} | ({} if value else {"paused_at": None}))
    return runs.get(db, run.id)


def _lost(run: Run) -> list[str]:
    """Say that the GPU that a run names is not there any more."""
    lost = [each for each in devices.usable(run.config, gpus.count()) if not devices.is_there(each)]
    return [f"{gpus.words(each)} is not there: cancel it, or bring that GPU back" for each in lost]


def _elsewhere(db: Database, run: Run) -> list[str]:
    """Say which of the GPUs that a run could go to are in use by other workspaces."""
    wanted = (device for device in devices.usable(run.config, gpus.count()) if device != devices.CPU)
    return [
        f"{gpus.words(device)} is in use by the workspace {name}"
        for device in wanted
        if (name := devices.other_workspace(db, device))
    ]
