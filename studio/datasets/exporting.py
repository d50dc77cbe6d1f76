"""Exports ratings and demonstrations as JSONL.

The native file holds all records. The TRL file holds what its format can, and a sidecar `.loss.json` counts the rest.
Each export is written under a temporary name and then renamed.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from studio.datasets import export_rows
from studio.errors import DataError
from studio.files import whole
from studio.preferences import comparisons
from studio.preferences.vocabulary import OUTCOMES, SIDES
from studio.workspace import Workspace


def export_ratings(ws: Workspace, form: Literal["native", "trl"] = "native") -> Path:
    """Write the ratings to `exports/` and return the file.

    native: one comparison a line, with prompt, responses and their provenance, every showing and every event, undone
    ones too. trl: one preference a line as prompt, chosen and rejected messages, with category, split and strength as
    extra columns, and `preferences.loss.json` next to it.

    Raises:
        DataError: there is nothing to export.
    """
    return _native(ws) if form == "native" else _trl(ws)


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


def _native(ws: Workspace) -> Path:
    with ws.read() as db:
        db.execute("BEGIN")  # later ratings are in the next export
        rows = ({"format": "rlhf-studio/1"} | row for row in export_rows.comparisons(db))
        nothing = "There are no comparisons to export. Sample some pairs or import preferences first."
        return _write_lines(ws.exports / "ratings.jsonl", rows, nothing)


def _trl(ws: Workspace) -> Path:
    seen: Counter[str] = Counter()
    with ws.read() as db:
        db.execute("BEGIN")
        rows = _trl_rows(export_rows.preferences(db), seen)
        nothing = "There are no preferences to export. Rate some pairs first, or import preferences."
        path = _write_lines(ws.exports / "preferences.jsonl", rows, nothing)
        seen["events"] = export_rows.count_events(db)
        seen["unrated"] = comparisons.counts(db)["unrated"]
    _write(ws.exports / "preferences.loss.json", [json.dumps(_trl_loss(seen), indent=2) + "\n"])
    return path


def _trl_rows(rated: Iterable[dict[str, Any]], seen: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows that the format can hold; count in `seen` what it cannot."""
    for row in rated:
        seen["rated"] += 1
        seen[row["outcome"]] += 1
        if row["outcome"] in SIDES:
            seen["written"] += 1
            seen["shown"] += row["showing_id"] is not None
            seen["timed"] += row["elapsed_ms"] is not None
            yield _trl_row(row)


def _trl_row(row: dict[str, Any]) -> dict[str, Any]:
    sides = (row["left"], row["right"]) if row["outcome"] == "left" else (row["right"], row["left"])
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in sides)
    kept = {"prompt": row["messages"], "chosen": chosen, "rejected": rejected}
    extra = {"category": row["category"], "split": row["split"], "strength": row["strength"]}
    return kept | {name: value for name, value in extra.items() if value}


def _trl_loss(seen: Counter[str]) -> dict[str, Any]:
    """Count what the TRL file leaves out: whole judgements, and facts about those it has."""
    return {
        "format": "TRL preference (prompt, chosen, rejected)",
        "rows": seen["written"],
        "rows_dropped": {
            name: seen[name] for name in OUTCOMES if name not in SIDES and (name != "ranking" or seen[name])
        }
        | {"unrated": seen["unrated"]},
        "facts_dropped": {
            "order on the screen": seen["shown"],
            "time taken": seen["timed"],
            "rater": seen["written"],
            "provenance of the responses": seen["written"],
            "events undone or superseded": seen["events"] - seen["rated"],
        },
        "extra_columns": "category, split, strength: TRL ignores them; strength is not a margin",
    }


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
