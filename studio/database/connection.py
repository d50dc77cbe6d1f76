"""Opens the SQLite file of a workspace and migrates its schema.

STRICT tables, WAL, ``synchronous=FULL`` (an acknowledged rating survives a power cut), foreign keys on. Ratings, responses
and showings are append-only: triggers refuse UPDATE and DELETE. Each table is read and written by one module only; that
module's name is next to it.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlite_utils import Database, Migrations

from studio.database import faults, notice, rotation
from studio.database.schema import curves, first, pages, queue, ratings, restores, search, sessions
from studio.database.schema import processes as running_schema
from studio.errors import WorkspaceDamaged, WorkspaceError, WorkspaceUnavailable

BUSY_TIMEOUT_S = 40.0
"""A backup or a database browser may hold the file for half a minute: that only delays."""

FAULTS = (sqlite3.DatabaseError, UnicodeDecodeError)
"""Errors of an unusable database; the second where SQLite's message quotes a damaged schema."""
LARGE = 50 * 2**20
"""Bytes from which a migration is slow enough to be announced."""

migrations = Migrations("rlhf-studio")


@migrations()
def m001_first_schema(db: Database) -> None:
    """Prompts, responses, comparisons, showings, ratings, snapshots, runs, metrics, samples, checkpoints."""
    for statement in _statements(first.FIRST):
        db.execute(statement)
    for table in ("responses", "showings", "rating_events", "snapshots", "snapshot_rows"):
        _refuse_changes(db, table)


@migrations()
def m002_chosen_checkpoint(db: Database) -> None:
    """Mark the checkpoint that a run hands on, where it is not the run's last one."""
    db.execute("ALTER TABLE checkpoints ADD COLUMN is_chosen INTEGER NOT NULL DEFAULT 0 CHECK (is_chosen IN (0, 1))")
    db.execute("CREATE UNIQUE INDEX checkpoints_one_chosen ON checkpoints(run_id) WHERE is_chosen")


@migrations()
def m003_rollouts(db: Database) -> None:
    """Store responses of PPO with their numbers per token; the components of a sample's score."""
    for statement in first.ROLLOUTS:
        db.execute(statement)


@migrations()
def m004_open_showings(db: Database) -> None:
    """Keep the showings nobody has judged yet in their own table: finding the next pair then reads only a few rows."""
    for statement in first.OPEN_SHOWINGS:
        db.execute(statement)


@migrations()
def m005_sessions(db: Database) -> None:
    """Add guidelines, sessions and their items, and predictions made before a vote."""
    for statement in sessions.SESSIONS:
        db.execute(statement)
    for table in sessions.APPEND_ONLY:
        _refuse_changes(db, table)


@migrations()
def m006_richer_ratings(db: Database) -> None:
    """Add rankings, notes, flags, attributes and edits; triggers keep what waits, what was undone and the counts."""
    ratings.enrich(db)


@migrations()
def m007_queue(db: Database) -> None:
    """Add the queue's order and pauses, a run's lane, and the verified end of its processes."""
    for statement in queue.STATEMENTS:
        db.execute(statement)


@migrations()
def m008_curves(db: Database) -> None:
    """Add means of stretches of steps: a curve of 100,000 points is then read in a few hundred rows."""
    for statement in curves.STATEMENTS:
        db.execute(statement)


@migrations()
def m009_predictions_come_first(db: Database) -> None:
    """Refuse a prediction of a judged comparison. After m006, which rebuilds a table that this names."""
    for statement in sessions.GUARDS:
        db.execute(statement)


@migrations()
def m010_processes_of_runs(db: Database) -> None:
    """Add columns for a run's starter, the mark of its processes, and paused and faulty runs."""
    for statement in running_schema.STATEMENTS:
        db.execute(statement)


@migrations()
def m011_search(db: Database) -> None:
    """Index the texts of prompts and answers, so that a search need not read them all. After m006, which names responses."""
    for statement in search.STATEMENTS:
        db.execute(statement)


@migrations()
def m012_restored_judgements(db: Database) -> None:
    """Store in a column, not in the uuid, which judgement an event lets count again."""
    restores.add(db)


@migrations()
def m015_many_runs(db: Database) -> None:
    """Find the active runs, and count the others, without reading all of them."""
    for statement in pages.STATEMENTS:
        db.execute(statement)


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script one by one: `executescript` would commit the open transaction."""
    kept = ""
    for line in script.splitlines(keepends=True):
        kept += line
        if sqlite3.complete_statement(kept):
            yield kept
            kept = ""


def _refuse_changes(db: Database, table: str) -> None:
    """Make a table append-only."""
    for action in ("UPDATE", "DELETE"):
        db.execute(
            f"CREATE TRIGGER {table}_refuse_{action.lower()} BEFORE {action} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def connect(path: Path, *, may_create: bool = False) -> Database:
    """Open the database file; the caller closes it. Only `migrate` creates a missing file.

    Raises:
        WorkspaceError: the file cannot be opened, or is gone.
    """
    if not may_create and is_gone(path):
        raise _gone(path)
    mode = "rwc" if may_create else "rw"
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT_S)
        db = Database(connection, strict=True)
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA synchronous = FULL")
    except FAULTS as error:
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
        WorkspaceError: the file cannot be opened, or is no database.
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
            unknown = {m.name for m in migrations.applied(db)} - set(known_migrations())
            if unknown:
                raise WorkspaceError(
                    f"The database {path.name} was written by a newer version of RLHF Studio (it has {', '.join(sorted(unknown))}). "
                    "Update the studio, or choose another workspace."
                )
            if waiting := migrations.pending(db):
                _apply(db, path, [migration.name for migration in waiting])
        except FAULTS as error:
            raise refusal(path, error) from error


def _apply(db: Database, path: Path, names: list[str]) -> None:
    """Apply the pending migrations. A database with content is backed up first, and a large one is announced."""
    is_large = path.stat().st_size >= LARGE
    if migrations.applied(db):
        if is_large:
            notice.say(
                f"{path.name} is from an earlier version: it is backed up and brought up to date, which may take minutes."
            )
        made = rotation.before_migration(db.conn, path, names[0])
        if is_large:
            notice.say(f"Backup: {made}")
    with db.atomic(), notice.shown(db.conn, f"{path.name}: {names[0]} to {names[-1]}" if is_large else ""):
        migrations.apply(db)


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
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def known_migrations() -> list[str]:
    """Return the names of this version's migrations, in their order."""
    return sorted(name for name, value in globals().items() if name.startswith("m0") and callable(value))


def refusal(path: Path, error: sqlite3.Error | UnicodeDecodeError) -> WorkspaceError:
    """Return the error to raise when SQLite could not use the file."""
    if is_gone(path):
        return _gone(path)
    if said := faults.of_database(error, path.name, BUSY_TIMEOUT_S):
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
        "nothing new was made in its place."
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
