"""Writes all records of texts and ratings into one JSONL file, and reads it back into an empty workspace.

A line is a row of the database, so nothing is lost: undone votes, the order on every screen, predictions, the
rows of every snapshot. An imported archive gives the same file again, byte for byte. Runs and checkpoints are included
as rows, so that each response has its origin; their folders are not. This is the only module that reads and writes
the tables of others. What it reads may be anybody's: each row is checked (`studio.untrusted`), and of a run comes in what
describes it, nothing that has to do with processes.

The first line tells the format, the migrations of the writer, the number of rows of each table and a sha256 of all lines
after it (without line ends), so that a file that was cut or changed is noticed. Older archives have neither number nor
sha256; they are read as they are. A reader takes plain and gzipped files.
"""

import gzip
import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from sqlite_utils import Database

from studio.database import migrations
from studio.database.schema import imported, restores
from studio.datasets import untrusted_rows as untrusted
from studio.errors import DataError, ImportRefused, WorkspaceError
from studio.files import earlier, whole
from studio.preferences import text_search
from studio.workspace import Workspace

NAME = "rlhf-studio-archive/"
FORMAT = f"{NAME}1"
TABLES = (
    "imports",
    "prompts",
    "runs",
    "checkpoints",
    "checkpoint_notes",
    "handed_on",
    "run_parents",
    "steering",
    "responses",
    "demonstration_events",
    "text_events",
    "comparisons",
    "comparison_responses",
    "showings",
    "conversations",
    "turns",
    "conversation_votes",
    "predictions",
    "guidelines",
    "sessions",
    "session_events",
    "session_items",
    "session_runs",
    "rating_events",
    "import_rows",
    "prediction_views",
    "settlements",
    "snapshots",
    "snapshot_rows",
    "evaluation_suites",
    "evaluation_items",
    "evaluation_results",
    "learning_curves",
    "learning_results",
    "label_studio_projects",
    "label_studio_tasks",
    "label_studio_answers",
)
"""In an order in which they can be imported: predictions before votes, as they were made."""
LOOK_AT = 2**16
LONGEST_LINE = 2**26
"""Most bytes of a row; a pasted text has some thousand."""
_HEAD = re.compile(rb'(?<!\\)"' + NAME.encode())
_ROW = re.compile(rb'\s*{\s*"table"\s*:\s*"(\w+)"\s*,\s*"\w*id"\s*:')
"""A row names its table first, then an id; the rows of no other data set do."""
_NO_SHA256 = "0" * 64
_GZIP = b"\x1f\x8b"
_FAULTS = (OSError, EOFError, zlib.error, ValueError, RecursionError)
"""Errors from reading a damaged file; a broken encoding is a ValueError too."""


@dataclass(frozen=True)
class Contents:
    """An archive's path, and its rows by table."""

    path: Path
    rows: dict[str, int]

    @property
    def sentence(self) -> str:
        """The counts in words."""
        named = {"prompts": "prompts", "responses": "responses", "comparisons": "comparisons", "showings": "showings"}
        named |= {"rating_events": "rating events", "sessions": "sessions", "predictions": "predictions"}
        named |= {"snapshots": "snapshots", "evaluation_results": "evaluation results"}
        counts = ", ".join(f"{self.rows.get(table, 0):,} {words}" for table, words in named.items())
        return f"{self.path.name}, an archive: {counts}."


def write(ws: Workspace) -> Contents:
    """Write the archive to `exports/archive.jsonl`, all tables as of one moment.

    Raises:
        DataError: the workspace is empty.
        WorkspaceError: the file cannot be written.
    """
    path = ws.exports / "archive.jsonl"
    try:
        with whole.beside(path) as part, ws.read() as db, part.open("xb") as file:
            db.execute("BEGIN")  # later writes are in the next one
            counted = {table: num for table in TABLES if (num := db.table(table).count)}
            if not counted.get("prompts"):
                raise DataError("There is nothing to export: the workspace has no prompts yet.")
            head = {"format": FORMAT, "migrations": _migrations(db), "rows": counted, "sha256": _NO_SHA256}
            file.write(_line(head))
            digest = hashlib.sha256()
            for table in TABLES:
                for row in db.query(f"SELECT * FROM {table} ORDER BY {_order(db, table)}"):
                    line = _line({"table": table} | (untrusted.as_archived(row) if table == "runs" else row))
                    file.write(line)
                    digest.update(line.rstrip())
            file.seek(0)
            file.write(_line(head | {"sha256": digest.hexdigest()}))  # same length as the first head
            file.flush()
            whole.place(part, path)
        earlier.bound(path)
        return Contents(path, counted)
    except OSError as error:
        cause = error.strerror or str(error)
        raise WorkspaceError(f"The archive could not be written: {cause}. Free some space and try again.") from error


def is_archive(source: str | Path) -> bool:
    """Return whether a file is an archive of any version, gzipped or not, also without a sound first line."""
    path = Path(source).expanduser()
    try:
        if not path.is_file():
            return False
        with _open(path) as file:
            first, *others = file.read(LOOK_AT).split(b"\n")[:2]
    except _FAULTS:
        return False
    return bool(_HEAD.search(first)) or any(_is_row(line) for line in (first, *others))


def look(source: str | Path) -> Contents:
    """Read every line of an archive and return its contents; nothing is imported.

    Raises:
        ImportRefused: the file is damaged or cut off, or from a newer version.
    """
    path = Path(source).expanduser()
    counted: Counter[str] = Counter()
    rows = untrusted.Rows()
    for number, row in _rows(path):
        table = row.pop("table", None)
        if table not in TABLES:
            raise _unknown_row(path, number)
        _checked(rows, path, number, table, row)
        counted[table] += 1
    return Contents(path, dict(counted))


def check_empty(ws: Workspace, source: str | Path) -> None:
    """Refuse an archive if the workspace is not empty.

    Raises:
        ImportRefused: the workspace has something in it.
    """
    with ws.read() as db:
        _check_empty(db, ws, Path(source))


def read(ws: Workspace, source: str | Path) -> Contents:
    """Import an archive into an empty workspace: all of it, or nothing. Many texts are left for `text_search.catch_up` to index.

    Raises:
        ImportRefused: the workspace has something in it, the file is damaged or cut off, or it is from a newer version.
    """
    path = Path(source).expanduser()
    with ws.write() as db, text_search.many_texts(db):
        _check_empty(db, ws, path)
        db.execute("PRAGMA defer_foreign_keys = ON")  # runs and checkpoints name each other
        counted = _read_all(db, path)
        _check(db, path)
    return Contents(path, dict(counted))


def _check_empty(db: Database, ws: Workspace, path: Path) -> None:
    if any(list(db.query(f"SELECT 1 FROM main.{table} LIMIT 1")) for table in TABLES):
        raise ImportRefused(
            f"An archive goes into an empty workspace, and {ws.root.name} is not empty. Import it into a new folder: "
            f"rlhf-studio import {path.name} --workspace NEW_FOLDER"
        )
    if ws.runs.is_dir() and any(ws.runs.iterdir()):
        raise ImportRefused(
            f"An archive goes into an empty workspace, and {ws.root.name} has folders of runs, which would be taken for those "
            f"of the archive. Import it into a new folder: rlhf-studio import {path.name} --workspace NEW_FOLDER"
        )


def _read_all(db: Database, path: Path) -> Counter[str]:
    columns = {table: {column.name for column in db.table(table).columns} for table in TABLES}
    counted: Counter[str] = Counter()
    rows = untrusted.Rows()
    for number, row in _rows(path):
        table = row.pop("table", None)
        if table not in columns or not row.keys() <= columns[table]:
            raise _unknown_row(path, number)
        row = _checked(rows, path, number, table, row)
        if table == "rating_events" and "restores" not in row:  # of an archive older than that column
            row["restores"] = restores.restored_by(db, row)
        if table == "rating_events" and "is_imported" not in row:
            row["is_imported"] = int(imported.was_imported(row))
        names = list(row)
        marks = ", ".join("?" * len(names))
        try:
            db.execute(f"INSERT INTO main.{table} ({', '.join(names)}) VALUES ({marks})", list(row.values()))
        except (db.conn.Error, OverflowError) as error:
            raise ImportRefused(
                f"Line {number} of {path.name} cannot be stored: {error}. Nothing was imported."
            ) from error
        counted[table] += 1
    return counted


def _checked(rows: untrusted.Rows, path: Path, number: int, table: str, row: dict[str, Any]) -> dict[str, Any]:
    try:
        return rows.check(table, row)
    except ValueError as error:
        raise ImportRefused(
            f"Line {number} of {path.name} is not one that this studio writes: {error}. Nothing was imported."
        ) from error


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows after the first line with their line numbers; at the end, check that all of them were there."""
    counted: Counter[Any] = Counter()
    digest = hashlib.sha256()
    number = 1
    try:
        with _open(path) as file:
            head = _head(path, file.readline(LONGEST_LINE))
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), start=2):
                if len(line) == LONGEST_LINE:
                    raise ValueError(f"it is longer than {LONGEST_LINE // 2**20} MiB")
                row = json.loads(line.decode())
                if not isinstance(row, dict):
                    raise ValueError("it is not an object")
                counted[str(row.get("table"))] += 1
                digest.update(line.rstrip())
                yield number, row
            number += 1
    except _FAULTS as error:
        cause = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise ImportRefused(
            f"{path.name} cannot be read at line {number} ({cause}): it was cut off or damaged there. Nothing was "
            "imported; copy or export it again."
        ) from error
    _check_whole(path, head, counted, digest.hexdigest())


def _head(path: Path, line: bytes) -> dict[str, Any]:
    """Return the first line, if this version can read what follows it."""
    try:
        head = json.loads(line.decode("utf-8-sig"))
        form, applied = head["format"], set(head["migrations"])
        sum(dict(head.get("rows", {})).values())  # numbers
    except (ValueError, KeyError, TypeError, RecursionError):
        if not _HEAD.search(line) or FORMAT.encode() in line:
            raise ImportRefused(
                f"{path.name} looks like an archive without its first line, or with a broken one, so nothing tells whether "
                "it is whole. Nothing was imported; copy or export it again."
            ) from None
        head, form, applied = {}, "", set()
    newer = applied - set(migrations.names())
    if form != FORMAT or newer:
        has = f" (it has {', '.join(sorted(map(str, newer)))})" if newer else ""
        raise ImportRefused(
            f"{path.name} was written by a newer version of RLHF Studio{has}. Nothing was imported; update the studio."
        )
    return head


def _check_whole(path: Path, head: dict[str, Any], counted: Counter[Any], sha256: str) -> None:
    """Refuse a file that was cut between two lines, or changed. Older archives have neither number nor sha256."""
    wanted = head.get("rows")
    if wanted is not None and wanted != dict(counted):
        raise ImportRefused(
            f"{path.name} has {sum(counted.values()):,} rows where {sum(wanted.values()):,} were written: it was cut off "
            "or changed. Nothing was imported; copy or export it again."
        )
    if head.get("sha256", sha256) != sha256:
        raise ImportRefused(
            f"{path.name} was changed after it was written: its sha256 is not the one in its first line. Nothing was "
            "imported; copy or export it again."
        )


def _open(path: Path) -> BinaryIO:
    """Return the file, unpacked where it is gzipped, whatever its name."""
    with path.open("rb") as raw:
        is_packed = raw.read(len(_GZIP)) == _GZIP
    return cast(BinaryIO, gzip.open(path)) if is_packed else path.open("rb")


def _is_row(line: bytes) -> bool:
    found = _ROW.match(line)
    return found is not None and found[1].decode() in TABLES


def _line(row: dict[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode()


def _unknown_row(path: Path, number: int) -> ImportRefused:
    return ImportRefused(f"Line {number} of {path.name} is not a row that this version knows. Nothing was imported.")


def _check(db: Database, path: Path) -> None:
    """Refuse an archive with a row that names a missing one; the commit would too, but without a clear message."""
    fault = next(db.query("PRAGMA foreign_key_check"), None)
    if fault:
        raise ImportRefused(
            f"{path.name} is incomplete: a row of {fault['table']} refers to one that is missing. Nothing was imported."
        )
    for query, words in untrusted.TOGETHER:
        if next(db.query(f"{query} LIMIT 1"), None):
            raise ImportRefused(f"{path.name} contradicts itself: {words}. Nothing was imported.")


def _order(db: Database, table: str) -> str:
    """Return the columns of a table's primary key; asked of the table itself, which a view may stand before."""
    rows = db.query("SELECT name FROM pragma_table_info(?, 'main') WHERE pk ORDER BY pk", [table])
    return ", ".join(row["name"] for row in rows)


def _migrations(db: Database) -> list[str]:
    return sorted(migration.name for migration in migrations.ALL.applied(db))
