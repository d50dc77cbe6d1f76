"""Runs and their states: the owner of `runs` and `run_parents`.

    queued -> running -> finished | stopped | failed | lost
    queued ------------> stopped | failed | lost

A pause is not a state: a running run waits after its step, a queued one keeps its place and lets others pass.

`move` is the one function that changes a state, and it refuses every other move. The row is the truth, never an exit
code. Creating a run freezes its config and training rows in the run folder: labels that arrive later do not move it.
"""

import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from modules.config import StageConfig
from studio import redaction, settings
from studio.errors import CheckpointError, RunError, WorkspaceError
from studio.files import folders
from studio.models import checkpoints, parents
from studio.models.checkpoints import Checkpoint
from studio.runs import changes, earlier_configs, marks, prepare, processes, revision, steering
from studio.runs.changes import Continuation
from studio.runs.row import ENDED, MEASURING, Run
from studio.workspace import Workspace, now

MOVES = {
    "queued": ("running", "stopped", "failed", "lost"),
    "running": ("finished", "stopped", "failed", "lost"),
}


def folder(ws: Workspace, name: str) -> Path:
    """Return the run's folder.

    Raises:
        RunError: the name, which came from elsewhere, leads out of the workspace.
    """
    if name != Path(name).name or name in ("", ".."):
        raise RunError(
            f"The run {name!r} in the database has a name that leads out of the workspace's runs: it is left alone."
        )
    return ws.runs / name


def create(ws: Workspace, config: StageConfig) -> Run:
    """Create a queued run from a config: defaults resolved, parents and training rows frozen.

    Raises:
        StudioError: what the stage needs is missing (no demonstrations, no ratings, no checkpoint); nothing is created.
    """
    return create_prepared(ws, prepare.resolve(ws, config))


def create_prepared(ws: Workspace, prepared: prepare.Prepared) -> Run:
    """Create a queued run from a config that was resolved already, such as one that was checked before the start.

    Raises:
        StudioError: there is no rating to train on any more, or the base model has damaged weights or lacks a word; nothing
            is created.
    """
    with ws.read() as db:
        prepare.check_model(db, prepared)
    return _create(ws, prepared, resumed_from=None, rows_from=None)


def resume(ws: Workspace, name: str, given: Sequence[str] = ()) -> Run:
    """Create a queued run that continues run or checkpoint `name` on the same rows; it knows where it came from.

    Args:
        ws: The workspace.
        name: A run, for its last checkpoint, or, where it saved none, the one that it began with; a run that never began
            is created again. Or a checkpoint, for exactly that one, also while its run is still going. A run that
            measures has no checkpoint: it is created again, and skips what is measured.
        given: ``key=value`` settings that differ from the run's; see `studio.runs.changes`.

    Raises:
        StudioError: As `continuation` does.
    """
    found = continuation(ws, name, given)
    run, origin = found.run, found.origin and found.origin.id
    with ws.read() as db:
        prepared = prepare.Prepared(found.config, parents_of(db, run), {}, run.snapshot_id)
    chosen = {setting.partition("=")[0].strip() for setting in given}
    return _create(ws, prepared, resumed_from=origin, rows_from=folder(ws, run.name), chosen=chosen)


def repeat(
    ws: Workspace,
    prepared: prepare.Prepared,
    resumed_from: int | None,
    rows_from: Path,
    steered: Sequence[tuple[str, float, int]] = (),
) -> Run:
    """Create a queued run from a config that names everything, on rows that lie in a folder's `data` as in a run's.

    `steered` are settings that change on the way, as `steering.taken` gives them.

    Raises:
        StudioError: the base model has damaged weights or lacks a word, or the folder cannot be written; nothing is created.
    """
    with ws.read() as db:
        prepare.check_model(db, prepared)
    return _create(ws, prepared, resumed_from, rows_from, steered=steered)


def continuation(ws: Workspace, name: str, given: Sequence[str] = ()) -> Continuation:
    """Return how a run would be resumed, without creating anything; arguments as in `resume`.

    Raises:
        RunError: the run was deleted, is still going, has done all its steps, or is a sampling run that began.
        CheckpointError: it has no checkpoint to continue from.
        ConfigError: it was trained differently from the checkpoints that it began from, or a setting cannot be changed so.
    """
    with ws.read() as db:
        run = get(db, name.partition("@")[0])
    if run.deleted_at:
        raise RunError(f"{checkpoints.was_deleted(f'Run {run.name}', run.deleted_at)} Start a new run.")
    if not run.is_ended and "@" not in name:
        raise RunError(
            f"Run {run.name} is {run.state}; only an ended run can be resumed. Stop it first, or name one of its checkpoints."
        )
    if run.stage == "sample" and run.started_at:
        raise RunError(f"Run {run.name} sampled pairs, which has no state to resume. Start a new sampling run instead.")
    if run.unread:
        raise RunError(
            f"Run {run.name} was made by another version of the studio with settings that this one does not know "
            f"({', '.join(run.unread)}), so it would not continue as it began. Start a new run."
        )
    with ws.read() as db:
        ids = checkpoints.parents_of_run(db, run.id)
        began_from = [parents.read(db, checkpoints.get(db, parent)) for parent in ids.values()]
    file = folder(ws, run.name) / "config.json"
    way_out = settings.command_of_run(ws, run.stage, file, {"method": "auto", "quantisation": "auto"})
    parents.check_resumed(run.name, run.config, began_from, way_out)
    with ws.read() as db:
        origin = _origin(db, run, name)
        now_on = replace(run, config=steering.config_at(db, run, origin.step if origin else 0))
    found = Continuation(run, origin, changes.apply(ws, now_on, given, file.parent))
    if run.stage in MEASURING and run.state == "finished":
        other = "other suites" if run.stage == "evaluate" else "more seeds, or with newer ratings"
        raise RunError(f"Run {run.name} is finished: everything is measured. Start a new run with {other}.")
    with ws.read() as db:
        changes.check_steps(found, is_done=run.state == "finished" and origin == checkpoints.last(db, run.name))
        if given:
            parts = [part for part in ("validation", "demonstrations") if read_rows(ws, run.name, part)]
            prepare.check_changed(db, found.config, parts)
    return found


def newest_state(db: Database, run: Run) -> Checkpoint | None:
    """Return the checkpoint with most of a run's work: its last one, or the one it began with if that is further.

    A resumed run saves a copy of the best checkpoint before its first step; that one is handed on, not resumed from.
    None where it has neither.

    Raises:
        CheckpointError: the folder of that checkpoint is gone, or not whole.
    """
    known = [c for c in checkpoints.list_all(db, run.stage) if c.run_id == run.id or c.id == run.resumed_from]
    newest = max(known, key=lambda c: (c.step, c.run_id == run.id), default=None)
    return newest and checkpoints.last(db, newest.name)


def _origin(db: Database, run: Run, name: str) -> Checkpoint | None:
    """Return the checkpoint to continue from; None where the run never began."""
    if "@" in name:
        return checkpoints.last(db, name)
    if found := newest_state(db, run):
        return found
    if run.started_at and run.stage not in MEASURING:
        raise CheckpointError(
            f"Run {run.name} ended before its first checkpoint, so there is nothing to resume. Start a new run; a smaller save_every saves earlier."
        )
    return None


def get(db: Database, name: str | int) -> Run:
    """Return the run with this name or id.

    Raises:
        RunError: there is none.
    """
    rows = list(db.query("SELECT * FROM runs WHERE name = ? OR id = ?", [str(name), name]))
    if not rows:
        raise RunError(f"There is no run named {name!r}. See them with: rlhf-studio runs")
    return of_row(rows[0])


def chosen_or_newest(db: Database, name: str) -> Run | None:
    """Return the run with this name, the newest one where the name is empty; None where there is none."""
    of_name = "SELECT * FROM runs WHERE name = ?" if name else "SELECT * FROM runs ORDER BY id DESC LIMIT 1"
    rows = db.query(of_name, [name] if name else [])
    return next((of_row(row) for row in rows), None)


def list_all(db: Database, *, stage: str | None = None, state: str | None = None) -> list[Run]:
    """Return the runs, newest first."""
    given = {"stage": stage, "state": state}
    wanted = " AND ".join(f"{name} = :{name}" for name, value in given.items() if value is not None) or "1"
    rows = db.query(f"SELECT * FROM runs WHERE {wanted} ORDER BY id DESC", given)
    return [of_row(row) for row in rows]


def parents_of(db: Database, run: Run) -> dict[str, int]:
    """Map each role to its checkpoint id."""
    rows = db.query("SELECT role, checkpoint_id FROM run_parents WHERE run_id = ?", [run.id])
    return {row["role"]: row["checkpoint_id"] for row in rows}


def move(db: Database, run_id: int, state: str, message: str = "", *, is_fault: bool = False) -> None:
    """Move a run to a state with a plain sentence; `is_fault`: it stopped itself, since a step could not be taken.

    Raises:
        RunError: the move is not allowed from the state it is in.
    """
    current = next(db.query("SELECT name, state, pid FROM runs WHERE id = ?", [run_id]))
    if state not in MOVES.get(current["state"], ()):
        raise RunError(f"Run {current['name']} is {current['state']} and cannot become {state}.")
    stamps = {"started_at" if state == "running" else "ended_at": now()}
    if state in ENDED and current["pid"] is None:
        stamps["gone_at"] = now()
    said = {"state": state, "message": redaction.redact(message), "is_fault": int(is_fault)}
    db.table("runs").update(run_id, said | stamps)


def list_ending(db: Database) -> list[Run]:
    """Return the ended runs whose processes were not yet seen gone."""
    return [of_row(row) for row in db.query("SELECT * FROM runs WHERE ended_at IS NOT NULL AND gone_at IS NULL")]


def begin(db: Database, run_id: int, device: str) -> bool:
    """Move a queued run to running on this device; False if it was stopped or held meanwhile."""
    row = next(db.query("SELECT state, stop_requested, pause_requested FROM runs WHERE id = ?", [run_id]))
    if row["state"] != "queued" or row["stop_requested"] or row["pause_requested"]:
        return False
    stamps = {"started_at": now(), "heartbeat_at": now(), "advanced_at": now()}
    db.table("runs").update(run_id, {"state": "running", "lane": device} | stamps)
    return True


def set_gone(db: Database, run_id: int) -> None:
    """Store that the processes of an ended run were seen gone, and their GPU memory free."""
    db.table("runs").update(run_id, {"gone_at": now()})


def hand_over(ws: Workspace, run: Run, environment: str = "{}") -> Run:
    """Let the studio start a queued run's worker when its device is free; returns it with its mark."""
    values = {"starter": "studio", "mark": marks.make(folder(ws, run.name)), "environment": environment}
    with ws.write() as db:
        db.table("runs").update(run.id, values | {"progress_text": "waiting for its turn"})
        return get(db, run.id)


def set_process(db: Database, run_id: int, pid: int, pid_started: float, **new: str) -> None:
    """Store the process that works on the run; with `new`, its `mark`, and as `environment` its `turns.settings`."""
    values = {"pid": pid, "pid_started": pid_started, "boot": marks.boot(), "heartbeat_at": now()}
    db.table("runs").update(run_id, values | new)


def claim(ws: Workspace, run: Run) -> processes.Claim:
    """Return the row's claim about the run's processes, to be proven."""
    return processes.Claim(run.pid, run.pid_started, run.boot, run.mark, folder(ws, run.name))


def is_of_another_workspace(ws: Workspace, run: Run) -> bool:
    """Return whether the run was handed over in the workspace that this one copies: its processes are not ours."""
    if run.is_ended:
        return False
    if run.mark:
        return not marks.is_for(run.mark, folder(ws, run.name))
    theirs = processes.works_for(claim(ws, run)) if run.pid else None
    return theirs is not None and theirs.exists() and not theirs.samefile(ws.root)


def beat(
    db: Database, run_id: int, progress: float | None = None, text: str | None = None, *, paused: bool = False
) -> bool:
    """Store a heartbeat with the progress (0 to 1) and what is happening; returns True when a stop was asked for.

    `text` says what the run does now; `paused` means that it waits between two steps.
    """
    values: dict[str, Any] = {"heartbeat_at": now()}
    if progress is not None:
        values["progress"] = progress
    if text is not None:
        values |= {"progress_text": text, "paused_at": now() if paused else None}
    if len(values) > 1:
        values["advanced_at"] = now()
    db.table("runs").update(run_id, values)
    return bool(next(db.query("SELECT stop_requested FROM runs WHERE id = ?", [run_id]))["stop_requested"])


def request_stop(db: Database, name: str) -> Run:
    """Ask a run to finish its step, save and stop; a queued run stops at once. An ended run is left as it is."""
    run = get(db, name)
    state = next(db.query("SELECT state FROM runs WHERE id = ?", [run.id]))["state"]
    if state == "queued":
        move(db, run.id, "stopped", "Cancelled before it started.")
    elif state not in ENDED:
        db.table("runs").update(run.id, {"stop_requested": 1})
    return get(db, run.id)


def read_rows(ws: Workspace, name: str, part: str) -> list[dict[str, Any]]:
    """Read the run's frozen rows of a part (train, validation, demonstrations, ptx, prompts, rewards); [] if none."""
    return rows_of(folder(ws, name), part)


def rows_of(folder: Path, part: str) -> list[dict[str, Any]]:
    """Read the frozen rows of a part from a folder that holds them as a run's does; [] if none."""
    path = folder / "data" / f"{part}.jsonl"
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def tail_log(ws: Workspace, name: str, num_lines: int = 200) -> str:
    """Return the last lines of the run's log; empty where there is none yet."""
    path = folder(ws, name) / "log.txt"
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 200 * num_lines))
        text = log.read().decode("utf-8", errors="replace")
    return "\n".join(line.rsplit("\r", 1)[-1] for line in text.splitlines()[-num_lines:])


def _create(
    ws: Workspace,
    prepared: prepare.Prepared,
    resumed_from: int | None,
    rows_from: Path | None,
    *,
    chosen: Collection[str] = (),
    steered: Sequence[tuple[str, float, int]] | None = None,
) -> Run:
    """Insert the row and write the folder; afterwards both exist, or neither.

    A resumed run changes settings as its origin's run did, but for those `chosen` again; or as `steered` says.
    """
    stage = prepare.stage_of(prepared.config)
    path: Path | None = None
    try:
        with ws.write() as db:
            checkpoints.check_present(db, [*prepared.parents.values(), *([resumed_from] if resumed_from else [])])
            prepared = prepared if rows_from else prepare.freeze(db, prepared)
            run_id, name = _insert(ws, db, stage, prepared, resumed_from)
            if steered is not None:
                steering.repeat(db, run_id, steered)
            elif resumed_from:
                steering.hand_on(db, resumed_from, run_id, chosen)
            folders.make_run(folder(ws, name), prepared.config, prepared.rows, rows_from)
            path = folder(ws, name)
    except OSError as error:
        raise RunError(
            f"The run folder could not be written: {error.strerror}. Free some space and try again."
        ) from error
    except WorkspaceError:
        if path:  # made by this call, whose row could not be committed
            shutil.rmtree(path, ignore_errors=True)
        raise
    with ws.read() as db:
        return get(db, run_id)


def _insert(
    ws: Workspace, db: Database, stage: str, prepared: prepare.Prepared, resumed_from: int | None
) -> tuple[int, str]:
    names = {row["name"] for row in db.query("SELECT name FROM runs WHERE stage = ?", [stage])}
    row = {
        "name": folders.free_name(ws.runs, stage, len(names) + 1, names),
        "stage": stage,
        "state": "queued",
        "config": prepared.config.model_dump_json(),
        "snapshot_id": prepared.snapshot_id,
        "resumed_from": resumed_from,
        "revision": revision.current(),
        "created_at": now(),
    }
    run_id: Any = db.table("runs").insert(row).last_pk
    db.table("run_parents").insert_all(
        {"run_id": run_id, "role": role, "checkpoint_id": checkpoint_id}
        for role, checkpoint_id in prepared.parents.items()
    )
    return run_id, row["name"]


def of_row(row: dict[str, Any]) -> Run:
    """Return a table row as a run; columns that a newer version has added meanwhile are left out."""
    parsed: dict[str, Any] = {name: bool(row[name]) for name in ("stop_requested", "pause_requested", "is_fault")}
    parsed["config"], parsed["unread"] = earlier_configs.read(row["stage"], row["config"])
    return Run(**{name: value for name, value in (row | parsed).items() if name in Run.__dataclass_fields__})
