"""The archive: everything that was recorded about texts and ratings in one JSONL file, and back into an empty workspace.

A line is a row as the database holds it, so nothing is lost: undone votes, the order on every screen, predictions, the
rows of every snapshot. An archive that was read in gives the same file again, byte for byte. Runs and checkpoints come
along as rows, so that each response has its origin; their folders do not. This is the one module that reads and writes
the tables of others, and it takes them as they are.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from studio.errors import DataError, ImportRefused, WorkspaceError
from studio.workspace import Workspace

FORMAT = "rlhf-studio-archive/1"
TABLES = (
    "imports",
    "prompts",
    "runs",
    "checkpoints",
    "run_parents",
    "responses",
    "comparisons",
    "comparison_responses",
    "showings",
    "guidelines",
    "sessions",
    "session_events",
    "session_items",
    "session_runs",
    "predictions",
    "rating_events",
    "prediction_views",
    "snapshots",
    "snapshot_rows",
)
"""In an order in which they can be read back: predictions before votes, as they were made."""


@dataclass(frozen=True)
class Contents:
    """What an archive holds: its path, and rows by table."""

    path: Path
    rows: dict[str, int]

    @property
    def sentence(self) -> str:
        """The counts in words."""
        named = {"prompts": "prompts", "responses": "responses", "comparisons": "comparisons", "showings": "showings"}
        named |= {"rating_events": "rating events", "sessions": "sessions", "predictions": "predictions"}
        named |= {"snapshots": "snapshots"}
        return ", ".join(f"{self.rows.get(table, 0):,} {words}" for table, words in named.items())


def write(ws: Workspace) -> Contents:
    """Write the archive to `exports/archive.jsonl`, all tables as of one moment.

    Raises:
        DataError: the workspace is empty.
        WorkspaceError: the file cannot be written.
    """
    path = ws.exports / "archive.jsonl"
    temporary = path.with_name(f".{path.name}.part")
    counted: Counter[str] = Counter()
    try:
        with ws.read() as db, temporary.open("w", encoding="utf-8") as file:
            db.execute("BEGIN")  # what is written meanwhile is in the next one
            file.write(json.dumps({"format": FORMAT, "migrations": _migrations(db)}) + "\n")
            for table in TABLES:
                for row in db.query(f"SELECT * FROM {table} ORDER BY {_order(db, table)}"):
                    file.write(json.dumps({"table": table} | row, ensure_ascii=False) + "\n")
                    counted[table] += 1
        if not counted["prompts"]:
            temporary.unlink()
            raise DataError("There is nothing to export: the workspace has no prompts yet.")
        return Contents(temporary.replace(path), dict(counted))
    except OSError as error:
        temporary.unlink(missing_ok=True)
        cause = error.strerror or str(error)
        raise WorkspaceError(f"The archive could not be written: {cause}. Free some space and try again.") from error


def is_archive(source: str) -> bool:
    """True for a file that begins as an archive does."""
    try:
        with Path(source).expanduser().open(encoding="utf-8") as file:
            return f'"{FORMAT}"' in file.readline(200)
    except (OSError, UnicodeDecodeError):
        return False


def read(ws: Workspace, source: str) -> Contents:
    """Bring an archive into an empty workspace: all of it, or nothing.

    Raises:
        ImportRefused: the workspace has something in it, the file is damaged, or it is from a newer version.
    """
    path = Path(source).expanduser()
    with ws.write() as db:
        if any(list(db.query(f"SELECT 1 FROM {table} LIMIT 1")) for table in TABLES):
            raise ImportRefused(
                f"An archive goes into an empty workspace, and {ws.root.name} has something in it. Give another folder with "
                "--workspace."
            )
        db.execute("PRAGMA defer_foreign_keys = ON")  # runs and checkpoints name each other
        counted = _read_all(db, path)
        _check(db, path)
    return Contents(path, dict(counted))


def _read_all(db: Database, path: Path) -> Counter[str]:
    columns = {table: {column.name for column in db.table(table).columns} for table in TABLES}
    counted: Counter[str] = Counter()
    for number, row in enumerate(_lines(path), start=2):
        table = row.pop("table", None)
        if table not in columns or not row.keys() <= columns[table]:
            raise ImportRefused(f"Line {number} of {path.name} is no row this version knows. Nothing was imported.")
        names = list(row)
        marks = ", ".join("?" * len(names))
        try:
            db.execute(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", list(row.values()))
        except db.conn.Error as error:
            raise ImportRefused(
                f"Line {number} of {path.name} cannot be stored: {error}. Nothing was imported."
            ) from error
        counted[table] += 1
    return counted


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows behind the first line."""
    try:
        with path.open(encoding="utf-8") as file:
            head = json.loads(file.readline())
            if head.get("format") != FORMAT:
                raise ImportRefused(
                    f"{path.name} is no archive of this version. Export it again with a studio like this one."
                )
            for line in file:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("a line is no object")
                yield row
    except (OSError, ValueError, AttributeError) as error:
        raise ImportRefused(f"{path.name} cannot be read: {error}. Nothing was imported.") from error


def _check(db: Database, path: Path) -> None:
    """Refuse an archive with a row that names one which is not there; the commit would, in words for nobody."""
    fault = next(db.query("PRAGMA foreign_key_check"), None)
    if fault:
        raise ImportRefused(
            f"{path.name} is incomplete: a row of {fault['table']} names one that it lacks. Nothing was imported."
        )


def _order(db: Database, table: str) -> str:
    return ", ".join(db.table(table).pks)


def _migrations(db: Database) -> list[str]:
    from studio.database import migrations

    return sorted(migration.name for migration in migrations.applied(db))
