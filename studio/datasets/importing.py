"""Imports prompts, demonstrations and preferences; the preview and the import read the rows with the same code.

All usable rows are imported in one transaction, or none. The hash of the raw file is recorded, so a second import of
the same file is recognised and adds nothing.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from studio.datasets import archive, mapping, plan, readers, sifting, storing
from studio.datasets.formats.family import Kind
from studio.datasets.formats.item import COMPARED, Dropped, Item
from studio.datasets.mapping import Mapped
from studio.datasets.plan import PartPlan, Wanted, listed
from studio.datasets.readers import MAX_GIB, Part, RawData
from studio.datasets.sifting import Progress, Tally
from studio.datasets.storing import Stored
from studio.errors import ImportRefused
from studio.preferences import prompts, text_search
from studio.workspace import Workspace


@dataclass(frozen=True)
class Choice:
    """How a person wants a source to be read, where it is not to be found out: a family's name, and names of columns."""

    format: str = ""
    map: str = ""
    """Such as `prompt=question,chosen=good`."""


@dataclass(frozen=True)
class Preview:
    """The contents of a source and what would be kept. `dropped`: reason to number of rows.

    Each example has `messages` (the prompt), `category` and `split`; a demonstration also `response`; a preference
    `chosen`, `rejected` (for a tie or an unrated pair the two sides as given), `outcome`, `strength` and `rater`; a ranking
    `groups`, best first.
    """

    source: str
    kind: Kind
    format: str
    num_rows: int
    num_kept: int
    dropped: dict[str, int]
    examples: list[dict[str, Any]]
    notes: tuple[str, ...] = ()
    columns: list[str] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    """Column that is not read to the number of rows in which it holds something."""

    @property
    def counts(self) -> str:
        """How many are kept, of how many."""
        return _counted(self.num_kept, self.num_rows, self.dropped)

    @property
    def sentence(self) -> str:
        """The counts and what was left out, in words."""
        counts = f"{self.counts} are {self.kind} ({self.format})"
        return " ".join([f"{self.source}: {counts}{_reasons(self.dropped)}.", *self.notes])


@dataclass(frozen=True)
class ImportResult:
    """The result of an import; `num_new` counts what the workspace did not have before.

    Of the preferences whose pair was known, `num_judged` brought the first judgement of a waiting pair, `num_added` one
    more on a judged pair, `num_corrected` a later version of a judgement, and `num_contrary` a judgement of nobody in
    particular that differs from the one that counts, which was kept.
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
    num_added: int = 0
    num_corrected: int = 0
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The counts in words."""
        if self.is_repeat:
            return f"{self.source} was imported before as {self.kind}; nothing was added."
        others = self.num_judged + self.num_contrary + self.num_added + self.num_corrected
        known = self.num_kept - self.num_new - others
        told = [f"{known:,} were already here"] if known else []
        if self.num_judged:
            told.append(f"{self.num_judged:,} were waiting here and are now judged")
        if self.num_added:
            told.append(f"{self.num_added:,} are one more judgement of a pair that was judged here")
        if self.num_corrected:
            told.append(f"{self.num_corrected:,} correct a judgement that was here")
        if self.num_contrary:
            told.append(f"{self.num_contrary:,} are here with another judgement, which was kept: see Rate, History")
        already = f" ({'; '.join(told)})" if told else ""
        counts = f"{self.num_new:,} new {self.kind} from {self.num_rows:,} rows{already} ({self.format})"
        return " ".join([f"{self.source}: {counts}{_reasons(self.dropped)}.", *self.notes])


def look(
    source: str,
    kind: Wanted = "auto",
    limit: int = 5,
    max_gib: float = MAX_GIB,
    *,
    choice: Choice = Choice(),  # frozen
    ws: Workspace | None = None,
    progress: Progress | None = None,
) -> Preview | archive.Contents:
    """Look at a source, an archive or rows, without importing it.

    Raises:
        ImportRefused: as `preview` and `archive.look`.
    """
    if archive.is_archive(source):
        return archive.look(source)
    return preview(source, kind, limit, max_gib, choice=choice, ws=ws, progress=progress)


def take(
    ws: Workspace,
    source: str,
    kind: Wanted = "auto",
    *,
    category: str = "",
    split: str | None = None,
    max_gib: float = MAX_GIB,
    choice: Choice = Choice(),  # frozen
    progress: Progress | None = None,
) -> str:
    """Import a source, an archive into an empty workspace or rows into any; returns what was imported, in words.

    Raises:
        ImportRefused: as `import_source` and `archive.read`; nothing was imported.
    """
    if not archive.is_archive(source):
        options: dict[str, Any] = {"category": category, "split": split, "max_gib": max_gib}
        return import_source(ws, source, kind, **options, choice=choice, progress=progress).sentence
    if kind != "auto" or category or split or choice != Choice():
        raise ImportRefused(
            f"{Path(source).name} is an archive, which brings its own kinds, categories and splits. Do not set them."
        )
    return archive.read(ws, source).sentence


def preview(
    source: str,
    kind: Wanted = "auto",
    limit: int = 5,
    max_gib: float = MAX_GIB,
    *,
    choice: Choice = Choice(),  # frozen
    ws: Workspace | None = None,
    progress: Progress | None = None,
) -> Preview:
    """Look at a file, a folder or a hub data set without importing it; shows at most `limit` examples.

    Args:
        source: as in `import_source`.
        kind: how to read it.
        limit: the number of examples.
        max_gib: refuse a file of which more than this would be held in memory.
        choice: how to read it, where it is not to be found out.
        ws: the workspace that remembers mapped columns.
        progress: gets the rows read and the share of the source.

    Raises:
        ImportRefused: it cannot be read as this kind.
        Asks: a person must say how.
    """
    with readers.opened(source, max_gib) as raw:
        plans, kind, notes = _decide(raw, kind, choice, ws)
        tally = Tally()
        examples = [_example(item) for at, item in enumerate(sifting.items(plans, kind, tally, progress)) if at < limit]
        columns = list(dict.fromkeys(column for each in plans for column in each.part.columns))
    told = (*raw.notes, *notes, *_notes(plans, kind, tally))
    dropped = dict(tally.dropped.most_common())
    return Preview(
        raw.name,
        kind,
        plans[0].family.says,
        tally.num_rows,
        tally.num_kept,
        dropped,
        examples,
        told,
        columns,
        dict(tally.ignored),
    )


def import_source(
    ws: Workspace,
    source: str,
    kind: Wanted = "auto",
    *,
    category: str = "",
    split: str | None = None,
    max_gib: float = MAX_GIB,
    choice: Choice = Choice(),  # frozen
    progress: Progress | None = None,
) -> ImportResult:
    """Import a file, a folder, a zip file or a hub data set.

    Args:
        ws: the workspace.
        source: a path, or a hub id such as Anthropic/hh-rlhf (owner/name:config:split for a configuration and a split).
        kind: how to read it; auto decides by the columns. Preferences also serve as demonstrations (the chosen
            side) and everything serves as prompts.
        category: put all prompts into this category; empty honours the rows' own.
        split: put all prompts into this split; None honours the rows' own, else a hash of the first user turn decides.
        max_gib: refuse a file of which more than this would be held in memory.
        choice: how to read it, where it is not to be found out; mapped columns are remembered.
        progress: gets the rows read and the share of the source; what it raises ends the import with nothing imported.

    Raises:
        ImportRefused: it cannot be read as this kind; nothing was imported.
        Asks: a person must say how.
    """
    if split is not None and split not in prompts.SPLITS:
        raise ImportRefused(f"There is no split {split!r}; use one of {', '.join(prompts.SPLITS)}.")
    with readers.opened(source, max_gib) as raw:
        plans, kind, notes = _decide(raw, kind, choice, ws)
        tally = Tally()
        stored: Counter[Stored] = Counter()
        sha256 = _sha256(raw, plans, choice)
        with ws.write() as db:
            known = prompts.find_import(db, sha256, kind)
            import_id = known or prompts.record_import(db, raw.name, sha256, kind)
            if known:
                _count(plans, kind, tally, progress)
            else:
                with text_search.many_texts(db):
                    for item in sifting.items(plans, kind, tally, progress):
                        chosen = (
                            item
                            if not category and not split
                            else replace(item, category=category or item.category, split=split or item.split)
                        )
                        _store(db, chosen, import_id, tally, stored)
                dropped = dict(tally.dropped.most_common())
                if not tally.num_kept:
                    raise ImportRefused(
                        f"No row of {raw.name} can be used as {kind}{_reasons(dropped)}. Nothing was imported."
                    )
                prompts.close_import(db, import_id, tally.num_kept, dropped)
                if mapped := mapping.parse(choice.map):
                    mapping.remember(db, plans[0].part.columns, mapped)
    return ImportResult(
        source=raw.name,
        kind=kind,
        format=plans[0].family.says,
        num_rows=tally.num_rows,
        num_kept=tally.num_kept,
        dropped=dict(tally.dropped.most_common()),
        import_id=import_id,
        num_new=stored["new"],
        is_repeat=known is not None,
        num_judged=stored["judged"],
        num_contrary=stored["contrary"],
        num_added=stored["added"],
        num_corrected=stored["corrected"],
        notes=(*raw.notes, *notes, *_notes(plans, kind, tally)),
    )


def _store(db: Any, item: Item, import_id: int, tally: Tally, stored: Counter[Stored]) -> None:
    try:
        stored[storing.store(db, item, import_id)] += 1
    except Dropped as reason:
        tally.num_kept -= 1
        tally.dropped[str(reason)] += 1


def _count(plans: list[PartPlan], kind: Kind, tally: Tally, progress: Progress | None) -> None:
    for _ in sifting.items(plans, kind, tally, progress):
        pass


def _decide(
    raw: RawData, wanted: Wanted, choice: Choice, ws: Workspace | None
) -> tuple[list[PartPlan], Kind, tuple[str, ...]]:
    """Return how each part is read, as which kind, and what a person should know of it."""
    given = mapping.parse(choice.map)
    mapped = [given or part.mapped for part in raw.parts]
    notes = tuple(
        f"Columns as {mapping.DESCRIPTION} says ({part.mapped.sentence})."
        for part in raw.parts
        if part.mapped and not given
    )
    try:
        plans, kind = plan.decide(raw, wanted, _format(choice), mapped)
    except plan.Asks:
        found = None if given or choice.format or ws is None else _remembered(ws, raw.parts)
        if found is None:
            raise
        plans, kind = plan.decide(raw, wanted, "", [found] * len(raw.parts))
        notes = (f"Columns mapped as before ({found.sentence}).",)
    return plans, kind, notes


def _format(choice: Choice) -> str:
    return choice.format


def _remembered(ws: Workspace, parts: list[Part]) -> Mapped | None:
    with ws.read() as db:
        return mapping.remembered(db, parts[0].columns)


def _sha256(raw: RawData, plans: list[PartPlan], choice: Choice) -> str:
    """Return the hash by which a second import is recognised: of the content, and of how it is read where a person said so."""
    if choice == Choice() and not any(each.mapped for each in plans):
        return raw.sha256
    said = "".join(f"{each.family.name} {each.mapped.sentence if each.mapped else ''}\n" for each in plans)
    return hashlib.sha256(f"{raw.sha256}\n{said}".encode()).hexdigest()


def _notes(plans: list[PartPlan], kind: Kind, tally: Tally) -> tuple[str, ...]:
    """Say which columns were not read, and what is odd."""
    odd = tuple(
        f"In {count:,} {'row' if count == 1 else 'rows'}, {told}." for told, count in tally.warnings.most_common()
    )
    if not tally.ignored:
        return odd
    if kind == "prompts" and not any(each.mapped for each in plans):
        return (*odd, _only_prompts(list(tally.ignored)))
    told = [f"{column} ({count:,})" for column, count in tally.ignored.most_common()]
    return (*odd, f"Not read: {listed(told)}.")


def _only_prompts(unread: list[str]) -> str:
    columns = f"the column {unread[0]} was" if len(unread) == 1 else f"the columns {listed(unread)} were"
    return f"Only prompts are read; {columns} not. If one holds answers, rename it response (or chosen and rejected)."


def _example(item: Item) -> dict[str, Any]:
    shown: dict[str, Any] = {"messages": item.prompt, "category": item.category, "split": item.split}
    if item.kind == "ranking":
        groups = [[item.responses[at] for at in group] for group in item.groups]
        shown |= {"groups": groups, "outcome": "ranking", "rater": item.rater}
    elif item.kind in COMPARED:
        sides = (item.chosen, item.rejected) if item.kind == "pair" else item.responses
        outcome = {"pair": "left"}.get(item.kind, item.kind)
        shown |= {
            "chosen": sides[0],
            "rejected": sides[1],
            "outcome": outcome,
            "strength": item.strength,
            "rater": item.rater,
        }
    elif item.responses:
        shown["response"] = item.responses[0]
    return shown


def _counted(kept: int, rows: int, dropped: dict[str, int]) -> str:
    """Say how many were kept: of rows, or, where a row holds several judgements, of judgements."""
    all_read = kept + sum(dropped.values())
    return f"{kept:,} of {rows:,} rows" if all_read == rows else f"{kept:,} of {all_read:,} judgements in {rows:,} rows"


def _reasons(dropped: dict[str, int]) -> str:
    if not dropped:
        return ""
    named = ", ".join(f"{reason} ({count:,})" for reason, count in dropped.items())
    return f"; {sum(dropped.values()):,} dropped: {named}"
