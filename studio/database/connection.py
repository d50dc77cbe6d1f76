"""Opens, migrates and checks the SQLite file of a workspace.

WAL, ``synchronous=FULL`` (an acknowledged rating survives a power cut), foreign keys on.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlite_utils import Database

from studio.database import faults, migrations, notice, rotation
from studio.errors import WorkspaceDamaged, WorkspaceError, WorkspaceUnavailable
from studio.files import locks

BUSY_TIMEOUT_S = 40.0
"""A backup or a database browser may hold the file for half a minute: that only delays."""

FAULTS = (sqlite3.DatabaseError, UnicodeDecodeError)
"""Errors of an unusable database; the second where SQLite's message quotes a damaged schema."""
LARGE = 50 * 2**20
"""Bytes from which a migration is slow enough to be announced."""


def connect(path: Path, root: Path | None = None, *, may_create: bool = False) -> Database:
    """Open the database file; the caller closes it. Only `migrate` creates a missing file.

    SQL on it may call `workspace()`: `root`, from which stored paths are counted, or the folder that the file lies in.

    Raises:
        WorkspaceError: the file cannot be opened, or is gone.
    """
    if not may_create and is_gone(path):
        raise _gone(path)
    mode = "rwc" if may_create else "rw"
    connection = None
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT_S)
        connection.create_function("workspace", 0, lambda: str(root or path.parent), deterministic=True)
        db = Database(connection, strict=True)
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA synchronous = FULL")
    except FAULTS as error:
        if connection is not None:
            connection.close()
        raise refusal(path, error) from error
    return db


def is_gone(path: Path) -> bool:
    """Return whether the file is missing or empty: the studio leaves no such file behind."""
    try:
        return path.stat().st_size == 0
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # SQLite will say why


def is_blank(path: Path) -> bool:
    """Return whether the file is gone or holds no table: no workspace was made in it, or its content is lost.

    Raises:
        WorkspaceError: the file cannot be opened, or is not a database.
    """
    if is_gone(path):
        return True
    with closing(connect(path)) as db:
        try:
            return not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        except FAULTS as error:
            raise refusal(path, error) from error


def migrate(path: Path) -> None:
    """Create the schema or bring it up to date, completely or not at all; one program at a time, the others wait.

    Raises:
        WorkspaceError: the file is damaged, not a database, or was written by a newer version of the studio.
    """
    with _alone(path.parent), closing(connect(path, may_create=True)) as db:
        try:
            if (others := set(db.table_names()) - {"_sqlite_migrations"}) and not db["_sqlite_migrations"].exists():
                raise WorkspaceError(
                    f"{path} is the database of another program: it has the table {min(others)}, and none of RLHF Studio. Nothing was "
                    "changed. Choose another workspace, or put studio.db back (a backup: rlhf-studio restore FILE)."
                )
            db.enable_wal()
            db.execute("PRAGMA foreign_keys = OFF")  # a migration may rebuild a table; it checks them itself
            if unknown := _unknown(db):
                raise WorkspaceError(
                    f"The database {path.name} was written by a newer version of RLHF Studio (it has {', '.join(unknown)}). "
                    "Update the studio, or choose another workspace."
                )
            if waiting := migrations.ALL.pending(db):
                _apply(db, path, [migration.name for migration in waiting])
        except FAULTS as error:
            raise refusal(path, error) from error


def newer(path: Path) -> str:
    """Return what to say where a newer version has changed the schema while this program was running; else empty."""
    try:
        with closing(connect(path)) as db:
            unknown = _unknown(db)
    except (*FAULTS, WorkspaceError):
        return ""
    if not unknown:
        return ""
    return (
        f"The database {path.name} was brought up to date by a newer version of RLHF Studio (it has {', '.join(unknown)}) while this "
        "program was running, which cannot continue with it. Nothing was changed. Start it again with the newer version."
    )


def _unknown(db: Database) -> list[str]:
    """Return the migrations of the database that this version does not have."""
    return sorted({m.name for m in migrations.ALL.applied(db)} - set(migrations.names()))


def _apply(db: Database, path: Path, names: list[str]) -> None:
    """Apply the pending migrations. A database with content is backed up first, and a large one is announced."""
    is_large = path.stat().st_size >= LARGE
    if migrations.ALL.applied(db):
        if is_large:
            notice.say(
                f"{path.name} is from an earlier version: it is backed up and brought up to date, which may take minutes."
            )
        made = rotation.before_migration(db.conn, path, names[0])
        notice.say(f"{path.name} is brought up to date by this version; a copy of the old one is kept in {made}")
    with db.atomic(), notice.shown(db.conn, f"{path.name}: {names[0]} to {names[-1]}" if is_large else ""):
        migrations.ALL.apply(db)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's kernel lock: SQLite lets no second program wait while the first switches a new file to WAL."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise WorkspaceError(
            f"The workspace folder {folder} cannot be read: {error.strerror}. Choose another with --workspace."
        ) from error
    try:
        locks.lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def refusal(path: Path, error: sqlite3.Error | UnicodeDecodeError) -> WorkspaceError:
    """Return the error to raise when SQLite could not use the file."""
    if is_gone(path):
        return _gone(path)
    if said := faults.explain(error, path.name, BUSY_TIMEOUT_S):
        return WorkspaceUnavailable(said)
    return damaged(path, str(error))


def damaged(path: Path, why: str) -> WorkspaceDamaged:
    """Return the error to raise when the file is damaged."""
    return WorkspaceDamaged(
        f"The file {path.name} is damaged, not a usable database ({' '.join(why.split())[:200]}). Keep a copy of it; then restore it from a "
        f"backup (rlhf-studio restore FILE), or copy what can still be read: rlhf-studio rescue NEW_FOLDER --workspace {path.parent}"
    )


def _gone(path: Path) -> WorkspaceUnavailable:
    what = "is empty (0 bytes) in" if path.exists() else "is gone from"
    return WorkspaceUnavailable(
        f"The database {path.name} {what} {path.parent.resolve()}. Put it back, with its {path.name}-wal where it had one; "
        "nothing new was made instead."
    )


def quick_check(path: Path) -> str:
    """Return the result of SQLite's integrity check: ok, or the first fault it found."""
    try:
        db = connect(path)
    except WorkspaceError as error:
        return str(error)
    try:
        return str(next(iter(db.query("PRAGMA quick_check(1)")))["quick_check"])
    except FAULTS as error:
        return str(error)
    finally:
        db.close()
