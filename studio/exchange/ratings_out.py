"""Writes the ratings that count in a format of the field, and a sidecar `.loss.json` that counts what it cannot carry.

One table says what each format holds (`rating_formats`). The loss is counted from it while the rows are written.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from studio.datasets import export_rows
from studio.errors import DataError
from studio.exchange import rating_formats, ratings_files
from studio.exchange.files import json_text, write_text
from studio.exchange.rating_formats import FACTS, Format, Left
from studio.preferences import comparisons
from studio.workspace import Workspace

NOTHING = "There are no preferences to export. Rate some pairs first, or import preferences."


@dataclass(frozen=True)
class Exported:
    """A file or folder of ratings, and what it could not carry."""

    path: Path
    num: int
    loss: dict[str, Any]

    @property
    def sentence(self) -> str:
        """The number of rows and the loss, in words."""
        dropped = {name: count for name, count in self.loss["rows_dropped"].items() if count}
        facts = {name: count for name, count in self.loss["facts_dropped"].items() if count}
        said = [f"{self.num:,} rows in {self.path.name}: {self.loss['format']}."]
        if dropped:
            said.append(f"Left out: {_counted(dropped)}.")
        if facts:
            said.append(f"Not carried: {_counted(facts)}.")
        return " ".join(said)


def export(ws: Workspace, form: str) -> Exported:
    """Write the ratings to `exports/` in a format (a key of FORMATS).

    Raises:
        DataError: there is nothing that the format can hold.
        WorkspaceError: the file cannot be written.
    """
    chosen = rating_formats.FORMATS[form]
    seen: Counter[str] = Counter()
    path = ws.exports / chosen.file
    with ws.read() as db:
        db.execute("BEGIN")  # later ratings are in the next export
        seen["events"] = export_rows.count_events(db)
        seen["unrated"] = comparisons.counts(db)["unrated"]
        rows = _rows(export_rows.judgements(db), chosen, seen)
        first = next(rows, None)
        if first is None:
            held = f" (of {seen['judged']:,} judgements, {form} can hold none)" if seen["judged"] else ""
            raise DataError(f"{NOTHING}{held}")
        ratings_files.write(path, chain([first], rows))
    loss = _loss(chosen, seen)
    for name, text in chosen.extra.items():
        write_text(path.with_name(name), [text])
    write_text(loss_file(path), [json_text(loss)])
    return Exported(path, seen["written"], loss)


def loss_file(path: Path) -> Path:
    """Return the sidecar of an exported file or folder."""
    return path.with_name(f"{path.name.removesuffix(path.suffix)}.loss.json")


def _rows(judgements: Iterable[dict[str, Any]], form: Format, seen: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows that the format can hold; count in `seen` what it cannot."""
    for judgement in judgements:
        seen["judged"] += 1
        if judgement["outcome"] not in form.outcomes:
            seen[f"row {judgement['outcome']}"] += 1
            continue
        try:
            row = form.row(judgement)
        except Left as reason:
            seen[f"row {reason}"] += 1
            continue
        seen["written"] += 1
        for fact in FACTS.keys() - form.facts:
            seen[f"fact {fact}"] += FACTS[fact](judgement)
        yield row


def _loss(form: Format, seen: Counter[str]) -> dict[str, Any]:
    """Count what the file leaves out: whole judgements, and facts about those it has."""
    usual = [f"row {outcome}" for outcome in ("tie", "both_bad", "skip") if outcome not in form.outcomes]
    rows = [*usual, *sorted(name for name in seen if name.startswith("row ") and name not in usual)]
    facts = [fact for fact in FACTS if fact not in form.facts and seen[f"fact {fact}"]]
    loss: dict[str, Any] = {
        "format": form.title,
        "rows": seen["written"],
        "rows_dropped": {name.removeprefix("row "): seen[name] for name in rows} | {"unrated": seen["unrated"]},
        "facts_dropped": {fact: seen[f"fact {fact}"] for fact in facts}
        | {
            "sampling parameters and tokens of the responses": seen["written"],
            "events undone or superseded": seen["events"] - seen["judged"],
        },
    }
    if form.row is rating_formats.trl:
        loss["extra_columns"] = "category, split, strength: TRL ignores them; strength is not a margin"
    return loss


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} ({count:,})" for name, count in counts.items())
