"""Copies the readable rows of a damaged database into a new workspace, and counts the others.

The damaged file is only copied, never written. Unreadable pages are skipped by looking for the next readable id. Rows
are copied only as this version would write them: one with an invalid text or invalid JSON counts as lost.
"""

import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from studio.database import connection, curtain
from studio.database.schema import imported
from studio.datasets import archive
from studio.datasets import untrusted_rows as untrusted
from studio.errors import WorkspaceError
from studio.workspace import Workspace

TABLES = (*archive.TABLES, "metrics", "samples", "rollouts", "drafts")
"""All tables but those that triggers and sessions fill again, and the texts of single tokens."""
_MAGIC = b"SQLite format 3\0"
_LATER = {"runs": ("snapshot_id", "resumed_from")}
"""Columns that name later rows."""
_OPTIONAL = ("import_id", "run_id", "checkpoint_id", "edited_from", "supersedes", "restores", "edited_response_id", "guideline_id", "repeat_of")  # fmt: skip
"""Columns that may be empty where the row that they name is lost."""
NEAR = 1000
"""Ids that are tried one by one after an unreadable row; some ten thousandths of a second each."""
Row = dict[str, Any]


@dataclass
class Rescued:
    """The number of rows copied, and of rows that were lost."""

    saved: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    unlisted: list[str] = field(default_factory=list)
    """Tables whose entry in the list of tables cannot be read, so that their rows cannot be found."""

    @property
    def lines(self) -> list[str]:
        """The counts in words, a line for each table that has any."""
        tables = [table for table in TABLES if self.saved[table] or self.lost[table]]
        counts = [f"{table:<22} {self.saved[table]:>10,} saved {self.lost[table]:>10,} lost" for table in tables]
        return counts + [f"{table:<22} cannot be found: all of it is lost" for table in self.unlisted]


def rescue(root: Path, new: Path) -> Rescued:
    """Copy the readable rows of the database in `root` into a new workspace in the folder `new`.

    Raises:
        WorkspaceError: there is no database, `new` is not empty, or nothing at all can be read.
    """
    source = Workspace(root).database
    if connection.is_gone(source):
        raise WorkspaceError(
            f"There is nothing to rescue: {source} is gone or empty. Restore a backup: rlhf-studio restore FILE"
        )
    if new.exists() and (not new.is_dir() or any(new.iterdir())):
        raise WorkspaceError(f"{new} is not empty. Name a new folder for what is rescued.")
    ws = Workspace.open(new)
    copied = new / ".damaged" / "studio.db"
    copied.parent.mkdir()
    try:
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{source}{suffix}", f"{copied}{suffix}")
        _mend_head(copied)
        with closing(sqlite3.connect(copied)) as damaged, ws.write() as db:
            damaged.text_factory = bytes
            damaged.execute("PRAGMA writable_schema = ON")  # use the readable part of the list of tables
            unlisted = _unlisted(damaged, source)
            found = _copy(damaged, db)
            found.unlisted = unlisted
    except OSError as error:
        raise WorkspaceError(f"The database could not be copied to {new}: {error.strerror}.") from error
    finally:
        shutil.rmtree(copied.parent, ignore_errors=True)  # made above
    if not found.saved:
        raise WorkspaceError(f"Nothing of {source} can be read. Restore a backup: rlhf-studio restore FILE")
    return found


def _mend_head(path: Path) -> None:
    """Restore a database's first bytes, and the length of a file that was cut: otherwise nothing can be read."""
    with path.open("r+b") as file:
        head = file.read(32)
        if head[: len(_MAGIC)] != _MAGIC:
            file.seek(0)
            file.write(_MAGIC)
        size, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
        length = file.seek(0, os.SEEK_END)
        if length < size * pages <= 100 * length:
            file.truncate(size * pages)  # with zeros, which are not a page


def _unlisted(damaged: sqlite3.Connection, source: Path) -> list[str]:
    """Return the tables that the damaged list of tables lacks. A sound list of an earlier version lacks some too.

    Raises:
        WorkspaceError: it has none.
    """
    missing = [table for table in TABLES if not damaged.execute(f"PRAGMA table_info({table})").fetchall()]
    try:
        listed = {bytes(name) for (name,) in damaged.execute("SELECT name FROM sqlite_master")}
    except (*connection.FAULTS, TypeError) as error:
        if len(missing) < len(TABLES):
            return missing
        raise WorkspaceError(
            f"Not even the list of tables of {source} can be read ({' '.join(str(error).split())[:100]}), so nothing can be rescued. Restore a "
            "backup: rlhf-studio restore FILE"
        ) from error
    return [table for table in missing if table.encode() in listed]


def _copy(damaged: sqlite3.Connection, db: Database) -> Rescued:
    found, rows, later = Rescued(), untrusted.Rows(), []
    hidden = _hidden(damaged)
    for table in TABLES:
        names = {column.name for column in db.table(table).columns}
        for row in _readable(damaged, table, found.lost):
            if _is_hidden(table, row, hidden):
                continue
            try:
                clean = rows.check(table, _decoded({k: v for k, v in row.items() if k in names}))
            except ValueError:
                found.lost[table] += 1
                continue
            if table == "rating_events" and "is_imported" not in clean:
                clean["is_imported"] = int(imported.was_imported(clean))
            waiting = {name: clean.pop(name) for name in _LATER.get(table, ()) if clean.get(name) is not None}
            if waiting:
                later.append((clean["id"], waiting))
            _insert(db, table, clean, found)
    for run_id, waiting in later:
        for name, value in waiting.items():
            with suppress(sqlite3.IntegrityError):
                db.execute(f"UPDATE runs SET {name} = ? WHERE id = ?", [value, run_id])
    _drop_halves(db, found)
    return found


def _hidden(damaged: sqlite3.Connection) -> list[curtain.Piece]:
    """Return the rows of imports that were not whole, as far as they can be read."""
    try:
        rows = damaged.execute("SELECT rows_of, first, last FROM unfinished_imports").fetchall()
    except connection.FAULTS:
        return []
    return [curtain.Piece(rows_of.decode(), first, last) for rows_of, first, last in rows]


def _is_hidden(table: str, row: Row, hidden: list[curtain.Piece]) -> bool:
    if not hidden or table not in curtain.TABLES:
        return False
    column, rows_of = curtain.TABLES[table]
    return any(piece.rows_of == rows_of and piece.first <= row[column] <= piece.last for piece in hidden)


def _insert(db: Database, table: str, row: Row, found: Rescued) -> None:
    """Store the row, if necessary without references to lost rows."""
    for attempt in (row, {name: value for name, value in row.items() if name not in _OPTIONAL}):
        marks = ", ".join("?" * len(attempt))
        try:
            db.execute(f"INSERT INTO main.{table} ({', '.join(attempt)}) VALUES ({marks})", list(attempt.values()))
        except (sqlite3.Error, OverflowError):
            continue
        found.saved[table] += 1
        return
    found.lost[table] += 1


def _drop_halves(db: Database, found: Rescued) -> None:
    """Remove comparisons that lost an answer, which cannot be shown, and the rows that depend on them."""
    half = (
        "SELECT c.id FROM comparisons c WHERE (SELECT count(*) FROM comparison_responses f WHERE f.comparison_id = c.id"
        " AND f.slot IN (0, 1)) < 2"
    )
    halves = [row["id"] for row in db.query(half)]
    if halves:
        db.execute(f"DELETE FROM waiting_comparisons WHERE comparison_id IN ({half})")
        for row in list(db.query(f"SELECT comparison_id FROM comparison_responses WHERE comparison_id IN ({half})")):
            db.execute("DELETE FROM comparison_responses WHERE comparison_id = ?", [row["comparison_id"]])
            found.saved["comparison_responses"] -= 1
            found.lost["comparison_responses"] += 1
        for each in halves:
            with suppress(sqlite3.IntegrityError):  # a judged one keeps its row
                db.execute("DELETE FROM comparisons WHERE id = ?", [each])
                found.saved["comparisons"] -= 1
                found.lost["comparisons"] += 1


def _decoded(row: Row) -> Row:
    """Return the row with its bytes decoded to texts.

    Raises:
        ValueError: they are not valid text.
    """
    return {
        name: value.decode() if isinstance(value, bytes) and name != "tokens" else value for name, value in row.items()
    }


def _readable(damaged: sqlite3.Connection, table: str, lost: Counter[str]) -> Iterator[Row]:
    """Yield the rows by id, skipping unreadable ones."""
    last = 0
    while True:
        try:
            cursor = damaged.execute(
                f"SELECT rowid AS row_number, * FROM {table} WHERE rowid > ? ORDER BY rowid", [last]
            )
            names = [column[0] for column in cursor.description]
            for values in cursor:
                row = dict(zip(names, values, strict=True))
                number = row.pop("row_number")
                is_far = last > 0 and number > last + NEAR
                if number <= last or (is_far and _soon(damaged, table, last + 1)):
                    raise sqlite3.DatabaseError(
                        "a row's number is damaged"
                    )  # continuing from it would lose rows, or never end
                last = number
                yield row
            return
        except connection.FAULTS:
            following = _next(damaged, table, last)
            if following is None or following <= last:
                return
            lost[table] += following - last - 1
            last = following
            row = _one(
                damaged, table, following
            )  # alone: a cursor reads one row ahead, and fails before it returns this one
            lost[table] += row is None
            if row is not None:
                yield row


def _one(damaged: sqlite3.Connection, table: str, number: int) -> Row | None:
    try:
        cursor = damaged.execute(f"SELECT * FROM {table} WHERE rowid = ?", [number])
        values = cursor.fetchone()
    except connection.FAULTS:
        return None
    return dict(zip([column[0] for column in cursor.description], values, strict=True)) if values else None


def _next(damaged: sqlite3.Connection, table: str, last: int) -> int | None:
    """Return the first id after `last` whose row can be read; None where there is none."""
    if (near := _soon(damaged, table, last)) is not None:
        return near
    step, failed = NEAR, last + NEAR
    while step < 2**40:
        number = _first_from(damaged, table, last + step)
        if number is not None and number > 0:
            return _nearest(damaged, table, failed, last + step)
        failed, step = last + step, step * 2
    return None


def _soon(damaged: sqlite3.Connection, table: str, last: int) -> int | None:
    """Return the next readable id among the near ones; each is tried, since damaged pages mislead a search."""
    for start in range(last + 1, last + 1 + NEAR):
        number = _first_from(damaged, table, start)
        if number is not None and start <= number <= last + NEAR:
            return number
    return None


def _nearest(damaged: sqlite3.Connection, table: str, failed: int, worked: int) -> int | None:
    """Search by halves for the first readable id between one that failed and one that worked."""
    while worked - failed > 1:
        middle = (failed + worked) // 2
        number = _first_from(damaged, table, middle)
        if number is not None and number > 0:
            worked = middle
        else:
            failed = middle
    number = _first_from(damaged, table, worked)
    return number if number else None


def _first_from(damaged: sqlite3.Connection, table: str, start: int) -> int | None:
    """Return the first id from here on; None where there is none, -1 where it cannot be read."""
    try:
        found = damaged.execute(
            f"SELECT rowid, * FROM {table} WHERE rowid >= ? ORDER BY rowid LIMIT 1", [start]
        ).fetchone()
    except connection.FAULTS:
        return -1
    return None if not found else found[0] if found[0] >= start else -1


def check(ws: Workspace) -> None:
    """Refuse to list or export from a damaged database, since gaps would go unseen. Large ones: see the doctor.

    Raises:
        WorkspaceError: it is damaged.
    """
    if ws.database.stat().st_size > CHECKED:
        return
    verdict = connection.quick_check(ws.database)
    if verdict != "ok":
        raise connection.damaged(ws.database, verdict)


CHECKED = 100 * 2**20
"""Bytes up to which the whole file is checked before a list, in some tenths of a second."""


def told(root: Path, error: BaseException) -> WorkspaceError | None:
    """Return the error to show if a damaged database caused `error`; None if it is sound or had no part in it."""
    path = Workspace(root).database
    if connection.is_gone(path):
        return None
    verdict = connection.quick_check(path)
    if verdict != "ok":
        return connection.damaged(path, verdict)
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | sqlite3.DatabaseError):
        return connection.damaged(path, f"a record cannot be read: {error}")
    return None
