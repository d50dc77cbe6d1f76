"""Imports prompts, demonstrations and preferences; the preview and the import read the rows with the same code.

All usable rows are imported in one transaction, or none. The hash of the raw file is recorded, so a second import of
the same file is recognised and adds nothing.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from studio.datasets import archive, readers
from studio.datasets.readers import MAX_GIB, Part, RawData
from studio.datasets.row_formats import Dropped, Format, Item, Kind, read_row, recognise
from studio.errors import ImportRefused
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.workspace import Workspace

NEEDED = {
    "auto": "chosen and rejected; messages; prompt with response, completion or output; instruction with output; "
    "or prompt alone",
    "preferences": "chosen and rejected (with a prompt column or the prompt inside), or prompt, response_a, response_b "
    "and preference",
    "demonstrations": "messages, prompt with response, completion or output, or instruction with output",
    "prompts": "prompt or messages",
}
LOOK_AT = 100
Stored = Literal["new", "known", "judged", "contrary"]


@dataclass(frozen=True)
class Preview:
    """The contents of a source and what would be kept. `dropped`: reason to number of rows.

    Each example has `messages` (the prompt), `category` and `split`; a demonstration also `response`; a preference
    `chosen`, `rejected` (for a tie or an unrated pair the two sides as given), `outcome` and `strength`.
    """

    source: str
    kind: Kind
    format: str
    num_rows: int
    num_kept: int
    dropped: dict[str, int]
    examples: list[dict[str, Any]]
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The counts and what was left out, in words."""
        counts = f"{self.num_kept:,} of {self.num_rows:,} rows are {self.kind} ({self.format})"
        return " ".join([f"{self.source}: {counts}{_reasons(self.dropped)}.", *self.notes])


@dataclass(frozen=True)
class ImportResult:
    """The result of an import; `num_new` counts what the workspace did not have before.

    Of the preferences whose pair was known, `num_judged` brought the first judgement of a waiting pair, and
    `num_contrary` a judgement that differs from the one that counts, which was kept.
    """

    source: str
    kind: Kind
    format: str
    num_rows: int
    num_kept: int
    dropped: dict[str, int]
    import_id: int
    num_new: int
    is_repeat: bool = False
    num_judged: int = 0
    num_contrary: int = 0
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The counts in words."""
        if self.is_repeat:
            return f"{self.source} was imported before as {self.kind}; nothing was added."
        known = self.num_kept - self.num_new - self.num_judged - self.num_contrary
        told = [f"{known:,} were already here"] if known else []
        if self.num_judged:
            told.append(f"{self.num_judged:,} were waiting here and are now judged")
        if self.num_contrary:
            told.append(f"{self.num_contrary:,} are here with another judgement, which was kept: see Rate, History")
        already = f" ({'; '.join(told)})" if told else ""
        counts = f"{self.num_new:,} new {self.kind} from {self.num_rows:,} rows{already} ({self.format})"
        return " ".join([f"{self.source}: {counts}{_reasons(self.dropped)}.", *self.notes])


def look(
    source: str, kind: Kind | Literal["auto"] = "auto", limit: int = 5, max_gib: float = MAX_GIB
) -> Preview | archive.Contents:
    """Look at a source, an archive or rows, without importing it.

    Raises:
        ImportRefused: as `preview` and `archive.look`.
    """
    return archive.look(source) if archive.is_archive(source) else preview(source, kind, limit, max_gib)


def take(
    ws: Workspace,
    source: str,
    kind: Kind | Literal["auto"] = "auto",
    *,
    category: str = "",
    split: str | None = None,
    max_gib: float = MAX_GIB,
) -> str:
    """Import a source, an archive into an empty workspace or rows into any; returns what was imported, in words.

    Raises:
        ImportRefused: as `import_source` and `archive.read`; nothing was imported.
    """
    if not archive.is_archive(source):
        return import_source(ws, source, kind, category=category, split=split, max_gib=max_gib).sentence
    if kind != "auto" or category or split:
        raise ImportRefused(
            f"{Path(source).name} is an archive, which brings its own kinds, categories and splits. Do not set them."
        )
    return archive.read(ws, source).sentence


def preview(source: str, kind: Kind | Literal["auto"] = "auto", limit: int = 5, max_gib: float = MAX_GIB) -> Preview:
    """Look at a file, a folder or a hub data set without importing it; shows at most `limit` examples.

    Raises:
        ImportRefused: it cannot be read as this kind.
    """
    raw = readers.read(source, max_gib)
    items, form, kind, num_rows, dropped = _sift(raw, kind)
    examples = [_example(item, kind) for item in items[:limit]]
    return Preview(raw.name, kind, form, num_rows, len(items), dropped, examples, _notes(raw, kind))


def import_source(
    ws: Workspace,
    source: str,
    kind: Kind | Literal["auto"] = "auto",
    *,
    category: str = "",
    split: str | None = None,
    max_gib: float = MAX_GIB,
) -> ImportResult:
    """Import a file, a folder or a hub data set.

    Args:
        ws: the workspace.
        source: a path, or a hub id such as Anthropic/hh-rlhf (owner/name:config for a configuration).
        kind: how to read it; auto decides by the columns. Preferences also serve as demonstrations (the chosen
            side) and everything serves as prompts.
        category: put all prompts into this category; empty honours the rows' own.
        split: put all prompts into this split; None honours the rows' own, else a hash of the first user turn decides.
        max_gib: refuse a file that holds more than this when unpacked.

    Raises:
        ImportRefused: it cannot be read as this kind; nothing was imported.
    """
    if split is not None and split not in prompts.SPLITS:
        raise ImportRefused(f"There is no split {split!r}; use one of {', '.join(prompts.SPLITS)}.")
    raw = readers.read(source, max_gib)
    items, form, kind, num_rows, dropped = _sift(raw, kind)
    if not items:
        raise ImportRefused(f"No row of {raw.name} can be used as {kind}{_reasons(dropped)}. Nothing was imported.")
    stored: Counter[Stored] = Counter()
    with ws.write() as db:
        known = prompts.find_import(db, raw.sha256, kind)
        import_id = known or prompts.record_import(db, raw.name, raw.sha256, kind)
        if not known:
            for item in items:
                chosen = replace(item, category=category or item.category, split=split or item.split)
                stored[_store(db, chosen, kind, import_id)] += 1
            prompts.close_import(db, import_id, len(items), dropped)
    return ImportResult(
        source=raw.name,
        kind=kind,
        format=form,
        num_rows=num_rows,
        num_kept=len(items),
        dropped=dropped,
        import_id=import_id,
        num_new=stored["new"],
        is_repeat=known is not None,
        num_judged=stored["judged"],
        num_contrary=stored["contrary"],
        notes=_notes(raw, kind),
    )


def _sift(raw: RawData, wanted: Kind | Literal["auto"]) -> tuple[list[Item], str, Kind, int, dict[str, int]]:
    """Read every row: the items kept, the format, the kind, the number of rows, and why the others were dropped."""
    form, kind = _decide(raw, wanted)
    items: list[Item] = []
    dropped: Counter[str] = Counter()
    seen: dict[str, str] = {}
    for row, part_form, split in _rows(raw):
        try:
            item = read_row(row, part_form, kind)
            _refuse_again(item, seen)
        except Dropped as reason:
            dropped[str(reason)] += 1
        else:
            items.append(item if item.split else replace(item, split=split))
    num_rows = sum(len(part.rows) for part in raw.parts)
    return items, form.name, kind, num_rows, dict(dropped.most_common())


def _rows(raw: RawData) -> Iterator[tuple[dict[str, Any], Format, str | None]]:
    for part in raw.parts:
        form = _format(part)
        assert form is not None  # _decide refused all others
        for row in part.rows:
            yield row, form, part.split


def _decide(raw: RawData, wanted: Kind | Literal["auto"]) -> tuple[Format, Kind]:
    """Return the format of the data and the kind to read it as; all parts must be of one kind."""
    forms = [(part, _format(part)) for part in raw.parts]
    for part, form in forms:
        if (
            form is None
            or (wanted == "preferences" and form.kind != wanted)
            or (wanted == "demonstrations" and form.kind == "prompts")
        ):
            raise ImportRefused(
                f"{part.name or raw.name} has the columns {_listed(part.columns)}. Needed for "
                f"{'an import' if wanted == 'auto' else wanted}: {NEEDED[wanted]}. Rename the columns, or choose another kind."
            )
    kinds = {form.kind for _, form in forms if form}
    if wanted == "auto" and len(kinds) > 1:
        named = ", ".join(f"{part.name} ({form.kind})" for part, form in forms if form)
        raise ImportRefused(f"{raw.name} holds several kinds of data: {named}. Import its files one by one.")
    form = forms[0][1]
    assert form is not None
    return form, form.kind if wanted == "auto" else wanted


def _format(part: Part) -> Format | None:
    return recognise(part.columns, part.rows[:LOOK_AT])


def _refuse_again(item: Item, seen: dict[str, str]) -> None:
    """Drop an item that this source had before, whichever way round its pair is."""
    key = json.dumps([item.messages, *sorted([item.response, item.rejected])])
    verdict = item.response if item.outcome == "left" else item.outcome
    if key in seen:
        raise Dropped("duplicate" if seen[key] == verdict else "the same pair with another preference came before")
    seen[key] = verdict


def _store(db: Database, item: Item, kind: Kind, import_id: int) -> Stored:
    """Store an item, and say whether the workspace had it."""
    before = db.conn.total_changes
    prompt_id = prompts.add_prompt(db, NewPrompt(item.messages, item.category, item.split), import_id)
    if kind == "preferences":
        return _store_pair(db, item, prompt_id, import_id)
    if kind == "demonstrations":
        before = db.conn.total_changes
        prompts.add_response(db, prompt_id, item.response, "demonstration", import_id=import_id)
    return "new" if db.conn.total_changes > before else "known"


def _store_pair(db: Database, item: Item, prompt_id: int, import_id: int) -> Stored:
    """Store a pair with its judgement; for a known pair without a judgement, only the judgement."""
    first, second = (
        prompts.add_response(db, prompt_id, text, "import", import_id=import_id)
        for text in (item.response, item.rejected)
    )
    comparison_id = comparisons.add_comparison(db, prompt_id, (first, second))
    if comparison_id is not None:
        if item.outcome != "unrated":
            ratings.record_import(db, comparison_id, item.strength, outcome=item.outcome)
        return "new"
    comparison_id = comparisons.find_comparison(db, prompt_id, (first, second))
    assert comparison_id is not None
    if item.outcome == "unrated":
        return "known"
    verdict = first if item.outcome == "left" else item.outcome
    here = comparisons.verdict(db, comparison_id)
    if here is not None:
        return "known" if here == verdict else "contrary"
    is_swapped = item.outcome == "left" and comparisons.slot_of(db, comparison_id, first) == 1
    ratings.record_import(db, comparison_id, item.strength, outcome="right" if is_swapped else item.outcome)
    return "judged"


def _notes(raw: RawData, kind: Kind) -> tuple[str, ...]:
    """Say which files were left out, and, where only prompts are imported, which columns were not read."""
    if kind != "prompts":
        return raw.notes
    unread: list[str] = []
    for part in raw.parts:
        form = _format(part)
        reads = {*(form.reads if form else ()), "category", "split"}
        unread += [column for column in part.columns if column not in reads and column not in unread]
    if not unread:
        return raw.notes
    columns = f"the column {unread[0]} was" if len(unread) == 1 else f"the columns {_listed(unread)} were"
    return (
        *raw.notes,
        f"Only prompts are read; {columns} not. If one holds answers, rename it response (or chosen and rejected).",
    )


def _example(item: Item, kind: Kind) -> dict[str, Any]:
    shown: dict[str, Any] = {"messages": item.messages, "category": item.category, "split": item.split}
    if kind == "demonstrations":
        shown["response"] = item.response
    elif kind == "preferences":
        shown |= {
            "chosen": item.response,
            "rejected": item.rejected,
            "outcome": item.outcome,
            "strength": item.strength,
        }
    return shown


def _reasons(dropped: dict[str, int]) -> str:
    if not dropped:
        return ""
    named = ", ".join(f"{reason} ({count:,})" for reason, count in dropped.items())
    return f"; {sum(dropped.values()):,} dropped: {named}"


def _listed(names: list[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "") or "(none)"
