"""Names the automatic backups in a folder and keeps only the last seven."""

import re
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from studio.database import copying

KEEP = 7
_AUTOMATIC = re.compile(r"(daily|before-m\d{3})-\d{8}-\d{6}-\d{3}\.db")
_STAMP = 19
"""Letters of the time in a name."""


def before_migration(connection: sqlite3.Connection, database: Path, migration: str) -> Path:
    """Back the database up before it is changed by this migration; returns the backup."""
    folder = database.parent / "backups"
    made = copying.copy(connection, folder / f"before-{migration[:4]}-{stamp()}.db")
    rotate(folder)
    return made


def rotate(folder: Path) -> None:
    """Remove all automatic backups but the last seven; those made by hand stay."""
    found = automatic(folder)
    for path in found[: max(0, len(found) - KEEP)]:
        path.unlink(missing_ok=True)


def automatic(folder: Path) -> list[Path]:
    """Return the automatic backups, oldest first."""
    try:
        found = [path for path in folder.iterdir() if _AUTOMATIC.fullmatch(path.name)]
    except OSError:
        return []
    return sorted(found, key=lambda path: path.stem[-_STAMP:])


def stamp() -> str:
    """Return the time in UTC as part of a file name."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")[:_STAMP]
