"""Exports ratings and demonstrations as JSONL.

The file of ratings holds all records. Each export is written under a temporary name and then renamed.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from studio.datasets import export_rows
from studio.errors import DataError
from studio.files import whole
from studio.workspace import Workspace


def export_ratings(ws: Workspace) -> Path:
    """Write all comparisons to `exports/ratings.jsonl` and return the file; `studio.exchange` has the field's formats.

    One comparison a line, with prompt, responses and their provenance, every showing and every event, undone ones too.

    Raises:
        DataError: there is nothing to export.
    """
    with ws.read() as db:
        db.execute("BEGIN")  # later ratings are in the next export
        rows = ({"format": "rlhf-studio/1"} | row for row in export_rows.comparisons(db))
        nothing = "There are no comparisons to export. Sample some pairs or import preferences first."
        return _write_lines(ws.exports / "ratings.jsonl", rows, nothing)


def count_lines(path: Path) -> int:
    """Count the rows of an exported file."""
    with path.open("rb") as file:
        return sum(1 for _ in file)


def export_demonstrations(ws: Workspace) -> Path:
    """Write all demonstrations to `exports/demonstrations.jsonl` as chat messages and return the file.

    Raises:
        DataError: there are none.
    """
    with ws.read() as db:
        db.execute("BEGIN")
        rows = export_rows.demonstrations(db)
        return _write_lines(
            ws.exports / "demonstrations.jsonl",
            rows,
            "There are no demonstrations to export. Import some or write one first.",
        )


def _write_lines(path: Path, rows: Iterator[dict[str, Any]], nothing: str) -> Path:
    """Write a line for each row; where there is none, raise `nothing` and keep an earlier file."""
    first = next(rows, None)
    if first is None:
        raise DataError(nothing)
    return _write(path, (json.dumps(row, ensure_ascii=False) + "\n" for row in chain([first], rows)))


def _write(path: Path, texts: Iterable[str]) -> Path:
    """Write the file under a temporary name as its parts come, then rename; an earlier one that differs is put aside."""
    with whole.exported(path) as part, part.open("x", encoding="utf-8") as file:
        file.writelines(texts)
    return path
