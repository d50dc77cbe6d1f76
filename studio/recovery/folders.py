"""Compares the folders of runs with the database, and adds those that it does not know.

A run's folder has its config and, in each checkpoint, a descriptive `meta.json`. That is enough to use the checkpoints;
what only the database held (curves, samples, ratings, how the run ended) does not come back.
"""

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from modules.config import STAGES
from studio.database import connection, high_water
from studio.database.rotation import stamp
from studio.errors import WorkspaceError
from studio.workspace import Workspace

_NAME = re.compile(r"([a-z]+)-([1-9][0-9]{0,8})")
_ROLES = {"sft_checkpoint": "sft", "policy_checkpoint": "policy", "reward_checkpoint": "reward", "checkpoint": "policy", "opponent": "opponent"}  # fmt: skip
"""Settings that name a checkpoint -> the role that it has in the run."""
MESSAGE = "Recovered from its folder by doctor --repair; how it ended is not known."

MESSAGE_LOST = "Its process ended without a message; its checkpoint was recovered from its folder by doctor --repair."


@dataclass
class Found:
    """The differences, by name."""

    unknown_runs: list[str] = field(default_factory=list)
    """Folders whose run is not in the database."""
    unknown_checkpoints: list[str] = field(default_factory=list)
    """Complete checkpoints on disk that are not in the database, of known and unknown runs."""
    incomplete: list[str] = field(default_factory=list)
    """Folders of checkpoints that lack a file."""
    gone_checkpoints: list[str] = field(default_factory=list)
    """Checkpoints in the database whose folder is missing though their run's exists."""
    gone_runs: list[str] = field(default_factory=list)
    """Runs in the database without a folder."""


def compare(ws: Workspace) -> Found:
    """Compare database and folders; nothing is changed."""
    with ws.read() as db:
        return _compare(ws, db)


def take_up(ws: Workspace) -> Found:
    """Add the unknown runs and checkpoints on disk to the database; returns the differences before that.

    No folder is changed. An added run counts as stopped.
    """
    with ws.write() as db:
        found = _compare(ws, db)
        for name in sorted(found.unknown_runs, key=_age_of(ws)):
            _enter_run(db, ws.runs / name)
        for name in found.unknown_checkpoints:
            run, _, step = name.partition("@")
            _enter_checkpoint(db, ws, run, int(step))
            said = f"{MESSAGE_LOST} Resume continues from {name}."
            db.execute("UPDATE runs SET message = ? WHERE name = ? AND state = 'lost'", [said, run])
        for name in found.unknown_runs:
            _enter_parents(db, ws.runs / name)
    high_water.forget(ws.database)  # the database as it is now is the newest
    return found


def make_new(root: Path) -> Path | None:
    """Replace a missing or empty database with a new one; returns the folder to which the old file was moved.

    Raises:
        WorkspaceError: the database exists and is not empty, or a -wal of it is left.
    """
    ws = Workspace(root)
    if not connection.is_blank(ws.database):
        return None
    wal = ws.database.with_name(f"{ws.database.name}-wal")
    if connection.is_gone(ws.database) and wal.exists() and wal.stat().st_size:
        raise WorkspaceError(
            f"{wal} belongs to the database that is gone, and holds what was recorded last. Put {ws.database.name} back next to it, or "
            "move it elsewhere first."
        )
    aside = ws.backups / f"replaced-{stamp()}"
    aside.mkdir(parents=True)
    for suffix in ("-wal", "-shm", "-mark", "-lost", ""):
        path = ws.database.with_name(ws.database.name + suffix)
        if path.exists():
            path.rename(aside / path.name)
    connection.migrate(ws.database)
    return aside


def _compare(ws: Workspace, db: Database) -> Found:
    found = Found()
    known = {row["name"]: row["deleted_at"] for row in db.query("SELECT name, deleted_at FROM runs")}
    rows = list(db.query("SELECT c.folder, c.name, c.deleted_at FROM checkpoints c JOIN runs r ON r.id = c.run_id"))
    stored = {row["folder"]: row["name"] for row in rows}
    on_disk = {path.name for path in ws.runs.iterdir() if path.is_dir()} if ws.runs.is_dir() else set()
    found.gone_runs = sorted(name for name, deleted_at in known.items() if not deleted_at and name not in on_disk)
    for name in sorted(on_disk, key=_number):
        match = _NAME.fullmatch(name)
        if not match or match[1] not in STAGES or not (ws.runs / name / "config.json").is_file():
            continue
        if name not in known:
            found.unknown_runs.append(name)
        for folder in _checkpoints(ws.runs / name):
            if str(folder.relative_to(ws.root)) in stored:
                continue
            step = whole_step(folder)
            if step is None:
                found.incomplete.append(str(folder.relative_to(ws.root)))
            elif f"{name}@{step}" not in (*stored.values(), *found.unknown_checkpoints):
                found.unknown_checkpoints.append(f"{name}@{step}")
    found.gone_checkpoints = [
        row["name"]
        for row in rows
        if not row["deleted_at"] and row["name"].partition("@")[0] in on_disk and not (ws.root / row["folder"]).is_dir()
    ]
    return found


def whole_step(folder: Path) -> int | None:
    """Return the step of a checkpoint folder; None if its meta.json is unreadable or a file it names is missing."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        is_whole = all((folder / name).is_file() for name in meta.get("checksums", {}))
        return int(meta["step"]) if is_whole and meta["base_model"] and meta["base_fingerprint"] else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _enter_run(db: Database, folder: Path) -> None:
    config = _config(folder)
    times = sorted(path.stat().st_mtime for path in [folder / "config.json", *_checkpoints(folder)])
    begun, ended = (datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds") for at in (times[0], times[-1]))
    db.table("runs").insert(
        {
            "name": folder.name,
            "stage": folder.name.partition("-")[0],
            "state": "stopped",
            "config": json.dumps(config),
            "revision": "",
            "message": MESSAGE,
            "created_at": begun,
            "started_at": begun,
            "ended_at": ended,
            "gone_at": ended,
        }
    )


def _enter_checkpoint(db: Database, ws: Workspace, run: str, step: int) -> None:
    folder = next(each for each in _checkpoints(ws.runs / run) if whole_step(each) == step)
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    made = datetime.fromtimestamp((folder / "meta.json").stat().st_mtime, UTC).isoformat(timespec="milliseconds")
    db.table("checkpoints").insert(
        {
            "name": f"{run}@{step}",
            "run_id": next(db.query("SELECT id FROM runs WHERE name = ?", [run]))["id"],
            "step": step,
            "folder": str(folder.relative_to(ws.root)),
            "base_model": str(meta["base_model"]),
            "base_fingerprint": str(meta["base_fingerprint"]),
            "metrics": "{}",
            "created_at": made,
        }
    )


def _enter_parents(db: Database, folder: Path) -> None:
    """Store the checkpoints that the config names, as far as they are known."""
    run = next(db.query("SELECT id FROM runs WHERE name = ?", [folder.name]))["id"]
    for setting, role in _ROLES.items():
        name = _config(folder).get(setting)
        for row in db.query("SELECT id FROM checkpoints WHERE name = ?", [name if isinstance(name, str) else ""]):
            db.table("run_parents").insert({"run_id": run, "role": role, "checkpoint_id": row["id"]}, ignore=True)


def _config(folder: Path) -> dict[str, Any]:
    """Return the run's settings; {} where they cannot be read, which gives the defaults."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _checkpoints(run: Path) -> list[Path]:
    """Return the folders of its checkpoints, without unfinished ones."""
    folder = run / "checkpoints"
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")) if folder.is_dir() else []


def _number(name: str) -> tuple[str, int]:
    match = _NAME.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, 0)


def _age_of(ws: Workspace) -> Any:
    return lambda name: (ws.runs / name / "config.json").stat().st_mtime
