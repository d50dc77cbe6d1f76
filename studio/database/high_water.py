"""Numbers the transactions of a database and keeps the largest number seen in a file next to it.

A database behind that mark is not the newest one of its folder: an older copy was put back, or it was copied without
its -wal. The mark is written after the commit, so it is never ahead of the disk. Without the mark, nothing is known.
Before the next transaction goes on from such a database, the number of those that are missing is stored in a file of its
own, since their numbers are then given again.
"""

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

LARGEST = 2**31 - 1


def advance(db: Any) -> int:
    """Count this transaction; returns the new number."""
    number = min(LARGEST, of(db) + 1)
    db.execute(f"PRAGMA user_version = {number:d}")
    return number


def of(db: Any) -> int:
    """Return the number in a database."""
    return db.execute("PRAGMA user_version").fetchone()[0]


def settle(db: Any, database: Path) -> None:
    """Remember how many transactions the database lacks, before this one, which holds the lock for writing, takes their numbers."""
    missing = noted(database) - of(db)
    if missing > 0:
        with suppress(OSError):
            _lost(database).write_text(str(_number(_lost(database)) + missing), encoding="ascii")
            note(database, of(db))


def note(database: Path, number: int) -> None:
    """Store the number next to the database; where the disk has no room, an older one stays."""
    with suppress(OSError):
        _path(database).write_text(str(number), encoding="ascii")


def noted(database: Path) -> int:
    """Return the largest number that was kept; 0 where there is none."""
    return _number(_path(database))


def num_missing(database: Path) -> int:
    """Count the transactions that the database has lost, as far as that is known."""
    try:
        connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True, timeout=5)
    except sqlite3.Error:
        return 0
    try:
        return _number(_lost(database)) + max(0, noted(database) - of(connection))
    except sqlite3.Error:
        return 0
    finally:
        connection.close()


def sentence(database: Path) -> str:
    """Say that transactions are missing; empty where none is known to be."""
    number = num_missing(database)
    if not number:
        return ""
    writes = f"{number:,} writes that were" if number > 1 else "a write that was"
    return f"{database.name} lacks {writes} made here: it is an older copy, or one without its {database.name}-wal"


def forget(database: Path) -> None:
    """Reset the mark: the database as it is now is the newest one."""
    for path in (_path(database), _lost(database)):
        path.unlink(missing_ok=True)


def _number(path: Path) -> int:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return 0
    return int(text) if text.isdecimal() and len(text) < 11 else 0


def _lost(database: Path) -> Path:
    return database.with_name(f"{database.name}-lost")


def _path(database: Path) -> Path:
    return database.with_name(f"{database.name}-mark")
