"""Hides the rows of an import until all of it is there: the owner of `unfinished_imports`.

A long import is brought in piece by piece, so that others can write in between. Meanwhile the ids of its rows stand in that table, and
each connection has temporary views, of the same names as the tables concerned, that leave these rows out. The last transaction removes
the ids, and the import is there at once. An INSERT into one of these tables names `main`, since nothing can be put into a view.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlite_utils import Database

TABLES = {
    "imports": ("id", "imports"),
    "prompts": ("id", "prompts"),
    "responses": ("id", "responses"),
    "comparisons": ("id", "comparisons"),
    "comparison_responses": ("comparison_id", "comparisons"),
    "waiting_comparisons": ("comparison_id", "comparisons"),
    "rating_events": ("id", "rating_events"),
}
"""Table to the column, and the rows, by whose ids it is hidden."""
_VIEWS = ("ratings", "all_demonstrations", "demonstrations")
"""Views of these tables, in an order in which they can be made."""


class Piece(NamedTuple):
    """Rows with ids in a row."""

    rows_of: str
    first: int
    last: int


def is_needed(db: Database) -> bool:
    """Return whether an import is on its way in, or was killed there."""
    try:
        return db.conn.execute("SELECT 1 FROM main.unfinished_imports LIMIT 1").fetchone() is not None
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # a database that is yet to be brought up to date
            return False
        raise


def draw(db: Database) -> None:
    """Hide what is unfinished now or later from this connection; nothing is done where nothing is unfinished."""
    if not is_needed(db) or _is_drawn(db):
        return
    for table, (
        column,
        rows_of,
    ) in TABLES.items():  # pieces do not overlap: the last one that begins before a row tells
        db.conn.execute(
            f"CREATE TEMP VIEW {table} AS SELECT * FROM main.{table} WHERE {table}.{column} > coalesce((SELECT u.last"
            f" FROM main.unfinished_imports u WHERE u.rows_of = '{rows_of}' AND u.first <= {table}.{column}"
            " ORDER BY u.first DESC LIMIT 1), 0)"
        )
    for view in _VIEWS:
        (sql,) = db.conn.execute(
            "SELECT sql FROM main.sqlite_master WHERE type = 'view' AND name = ?", [view]
        ).fetchone()
        db.conn.execute(sql.replace("CREATE VIEW", "CREATE TEMP VIEW", 1))


def lift(db: Database) -> None:
    """Let this connection see everything."""
    if _is_drawn(db):
        for name in (*reversed(_VIEWS), *TABLES):
            db.conn.execute(f"DROP VIEW temp.{name}")


def hide(db: Database, piece: Piece) -> None:
    """Hide rows, in the transaction in which they are brought in."""
    grown = db.conn.execute(
        "UPDATE main.unfinished_imports SET last = ? WHERE rows_of = ? AND last = ?",
        [piece.last, piece.rows_of, piece.first - 1],
    )
    if not grown.rowcount:
        db.conn.execute("INSERT INTO main.unfinished_imports (rows_of, first, last) VALUES (?, ?, ?)", piece)


def show(db: Database) -> list[Piece]:
    """Show all that is hidden; returns what it was."""
    found = hidden(db)
    db.conn.execute("DELETE FROM main.unfinished_imports")
    return found


def hidden(db: Database) -> list[Piece]:
    """Return what is hidden, in the order in which it was brought in."""
    return [
        Piece(*row) for row in db.conn.execute("SELECT rows_of, first, last FROM main.unfinished_imports ORDER BY id")
    ]


@contextmanager
def unguarded(db: Database, table: str) -> Iterator[None]:
    """Let rows of an append-only table be deleted in this block, in the caller's transaction."""
    sql = "SELECT name, sql FROM main.sqlite_master WHERE type = 'trigger' AND name = ?"
    guards = db.conn.execute(sql, [f"{table}_refuse_delete"]).fetchall()
    for name, _ in guards:
        db.conn.execute(f"DROP TRIGGER main.{name}")
    yield
    for _, statement in guards:
        db.conn.execute(statement)


def take_out(db: Database, size: int) -> bool:
    """Delete so many hidden rows, the last ones first, in the caller's transaction; returns whether any was left to delete.

    The connection must not check foreign keys: nothing can refer to what nobody saw, and looking for it would take hours.
    """
    found = db.conn.execute(
        "SELECT id, rows_of, first, last FROM main.unfinished_imports ORDER BY id DESC LIMIT 1"
    ).fetchone()
    if found is None:
        return False
    number, rows_of, first, last = found
    start = max(first, last - size + 1)
    with unguarded(db, rows_of):
        for table, (column, by) in TABLES.items():
            if by == rows_of:
                db.conn.execute(f"DELETE FROM main.{table} WHERE {column} BETWEEN ? AND ?", [start, last])
    if start == first:
        db.conn.execute("DELETE FROM main.unfinished_imports WHERE id = ?", [number])
    else:
        db.conn.execute("UPDATE main.unfinished_imports SET last = ? WHERE id = ?", [start - 1, number])
    return True


def _is_drawn(db: Database) -> bool:
    return db.conn.execute("SELECT 1 FROM sqlite_temp_master WHERE name = 'prompts'").fetchone() is not None
