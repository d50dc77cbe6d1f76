"""Backups of a workspace's database: by hand, daily while a server runs, before a migration; the last seven of these stay.

Only the database: the folders of runs are large and change in other ways. A backup is a plain SQLite file.
"""

import json
import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from studio.database import copying, high_water, migrations
from studio.database.rotation import automatic, rotate, stamp
from studio.errors import WorkspaceError
from studio.workspace import Workspace, now


@dataclass(frozen=True)
class Backup:
    """A finished backup."""

    path: Path
    made_at: str


def make(ws: Workspace, target: str | Path | None = None, *, is_replacing: bool = False) -> Backup:
    """Back the database up to `target`, or under a new name to `backups/`.

    Raises:
        WorkspaceError: there is such a file already, or it cannot be written.
    """
    path = Path(target).expanduser().absolute() if target else ws.backups / f"by-hand-{stamp()}.db"
    if path.is_dir():
        raise WorkspaceError(f"{path} is a folder. Name the file, such as {path / 'studio-backup.db'}")
    if path.exists() and ws.database.exists() and path.samefile(ws.database):
        raise WorkspaceError(f"{path} is the database itself. Name another file for its backup.")
    if path.name.startswith(ws.database.name) and path.parent.resolve() == ws.root.resolve():
        raise WorkspaceError(
            f"{path.name} is the name of one of the database's own files. Name another file for its backup."
        )
    return _make(ws, path, is_replacing)


def make_daily(ws: Workspace) -> Backup:
    """Make an automatic backup, and remove the oldest ones beyond the last seven."""
    made = _make(ws, ws.backups / f"daily-{stamp()}.db", False)
    rotate(ws.backups)
    return made


def last(ws: Workspace) -> Backup | None:
    """Return the newest backup made of this workspace, also one outside it; None where there is none."""
    found: list[Backup] = []
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads((ws.backups / "last.json").read_text(encoding="utf-8"))
        datetime.fromisoformat(told["made_at"])
        found.append(Backup(Path(told["path"]), told["made_at"]))
    for path in automatic(ws.backups)[-1:]:
        with suppress(OSError):
            made = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="milliseconds")
            found.append(Backup(path, made))
    return max(found, key=lambda backup: backup.made_at, default=None)


def restore(root: Path, file: str | Path) -> Path:
    """Replace the workspace's database with a backup; returns the folder to which the old one was moved.

    The caller ensures that no process uses the database, and opens the workspace afterwards.

    Raises:
        WorkspaceError: the file is not a sound database of the studio, or cannot be copied.
    """
    ws, source = Workspace(root), Path(file).expanduser().absolute()
    if not source.is_file():
        raise WorkspaceError(f"There is no file {source}. See the backups in {ws.backups}")
    if ws.database.exists() and source.samefile(ws.database):
        raise WorkspaceError(f"{source} is the database itself. Name a backup of it.")
    aside = ws.backups / f"replaced-{stamp()}"
    new = ws.root / f".restored-{os.getpid()}.db"
    try:
        with closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as connection:
            _check(connection, source)
            copying.copy(connection, new, is_replacing=True)
        aside.mkdir(parents=True)
        for suffix in ("-wal", "-shm", "-mark", "-lost", ""):
            with suppress(FileNotFoundError):
                path = ws.database.with_name(ws.database.name + suffix)
                path.rename(aside / path.name)
        new.rename(ws.database)
    except sqlite3.Error as error:
        raise WorkspaceError(f"{source} is not a sound database ({error}). Choose another backup.") from error
    except OSError as error:
        raise WorkspaceError(f"{source} could not be restored: {error.strerror}. Nothing was removed.") from error
    finally:
        new.unlink(missing_ok=True)
    high_water.forget(ws.database)
    return aside


def _check(connection: sqlite3.Connection, source: Path) -> None:
    """Refuse a file that is not a sound database of this or an earlier version."""
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise WorkspaceError(f"{source} is damaged ({verdict}). Choose another backup.")
    query = "SELECT count(*) FROM sqlite_master WHERE name IN ('_sqlite_migrations', 'rating_events')"
    if connection.execute(query).fetchone()[0] != 2:
        raise WorkspaceError(f"{source} is not a database of RLHF Studio. Choose another backup.")
    applied = {name for (name,) in connection.execute("SELECT name FROM _sqlite_migrations")}
    if newer := applied - set(migrations.names()):
        raise WorkspaceError(
            f"{source} was written by a newer version of RLHF Studio (it has {', '.join(sorted(newer))}). Update the studio first."
        )


def _make(ws: Workspace, path: Path, is_replacing: bool) -> Backup:
    with ws.read() as db:
        copying.copy(db.conn, path, is_replacing=is_replacing)
    made = Backup(path, now())
    with suppress(OSError):
        ws.backups.mkdir(exist_ok=True)
        told = ws.backups / ".last.json.part"
        told.write_text(json.dumps({"path": str(path), "made_at": made.made_at}), encoding="utf-8")
        told.replace(ws.backups / "last.json")
    return made
