"""Decides how the parts of a source are read: by which family, under which names of columns, as which kind.

Nothing is guessed. Where no family fits, or several do, or a column that looks like a judgement is not understood, the
person is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from studio.datasets import unread
from studio.datasets.formats.family import Family, Kind
from studio.datasets.formats.item import JUDGED, Dropped, Item
from studio.datasets.formats.table import NAMED, recognise
from studio.datasets.mapping import Mapped
from studio.datasets.readers import MAX_GIB, Part, RawData
from studio.errors import ImportRefused
from studio.preferences.prompts import SPLITS

Wanted = Kind | Literal["auto"]
NEEDED = {
    "auto": "chosen and rejected; messages; prompt with response, completion or output; instruction with output; "
    "or prompt alone",
    "preferences": "chosen and rejected (with a prompt column or the prompt inside), or prompt, response_a, response_b "
    "and preference",
    "demonstrations": "messages, prompt with response, completion or output, or instruction with output",
    "prompts": "prompt or messages",
}


class Asks(ImportRefused):
    """A person must say how a file is to be read: by one of `choices`, or by mapping its columns."""

    def __init__(self, sentence: str, columns: Sequence[str], choices: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.columns = list(columns)
        self.choices = list(choices)


@dataclass(frozen=True)
class Request:
    """How a person wants a source to be read; what is left out is found out.

    Attributes:
        kind: auto decides by the columns. Preferences also serve as demonstrations (the chosen side) and everything serves as prompts.
        format: a family's name.
        map: names of columns, such as `prompt=question,chosen=good`; they are remembered.
        axis: go by what was said of this criterion, such as safety, where a source judges several.
        category: put all prompts into this category; empty honours the rows' own.
        split: put all prompts into this split; None honours the rows' own, else a hash of the first user turn decides.
        max_gib: refuse a file of which more than this would be held in memory.
    """

    kind: Wanted = "auto"
    format: str = ""
    map: str = ""
    axis: str = ""
    category: str = ""
    split: str | None = None
    max_gib: float = MAX_GIB

    def __post_init__(self) -> None:
        if self.split is not None and self.split not in SPLITS:
            raise ImportRefused(f"There is no split {self.split!r}; use one of {', '.join(SPLITS)}.")

    @property
    def is_open(self) -> bool:
        """Whether everything is left to be found out."""
        return self == Request(max_gib=self.max_gib)

    def placed(self, item: Item) -> Item:
        """Return an item with the category and the split that the person gave."""
        if not (self.category or self.split):
            return item
        return replace(item, category=self.category or item.category, split=self.split or item.split)


OPEN = Request()


@dataclass(frozen=True)
class PartPlan:
    """A part with the family that reads it, and its columns under other names."""

    part: Part
    family: Family
    mapped: Mapped | None = None

    @cached_property
    def names(self) -> frozenset[str]:
        """Columns of the first rows, under our names."""
        return frozenset(column for row in self.rows for column in row)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The first rows, under our names."""
        return [self.mapped.of(row) for row in self.part.sample] if self.mapped else self.part.sample

    @property
    def must_be_read(self) -> bool:
        """Whether a column that sounds like a judgement must be one that is read: nobody said what the columns are."""
        return self.mapped is None and not self.family.is_open

    def reads(self, column: str) -> bool:
        """Return whether a column of the file is read."""
        return self.mapped.reads(column) if self.mapped else self.family.understands(column)


def decide(raw: RawData, wanted: Wanted, family: str, mapped: Sequence[Mapped | None]) -> tuple[list[PartPlan], Kind]:
    """Return the plan of each part, and the kind to read them as; all parts must be of one kind.

    Args:
        raw: the source.
        wanted: the kind that the person wants.
        family: the family that the person named; empty recognises it.
        mapped: for each part, names of columns that a person or a description gave.

    Raises:
        ImportRefused: a part cannot be read as the kind.
        Asks: a person must say how.
    """
    plans = [
        PartPlan(part, _family(part, wanted, family, names), names)
        for part, names in zip(raw.parts, mapped, strict=True)
    ]
    kinds = {plan.family.kind for plan in plans}
    if wanted == "auto" and len(kinds) > 1:
        named = ", ".join(f"{plan.part.name} ({plan.family.kind})" for plan in plans)
        raise ImportRefused(f"{raw.name} holds several kinds of data: {named}. Import its files one by one.")
    if any(plan.family.read_all for plan in plans) and len({plan.family.name for plan in plans}) > 1:
        named = ", ".join(f"{plan.part.name} ({plan.family.says})" for plan in plans)
        raise ImportRefused(f"{raw.name} holds several formats: {named}. Import its files one by one.")
    kind = plans[0].family.kind if wanted == "auto" else wanted
    for plan in plans:
        _refuse_unread(plan, kind, wanted)
        if kind != "prompts":
            check_clear(plan, plan.rows)
    return plans, kind


def check_clear(plan: PartPlan, rows: Sequence[Mapping[str, Any]]) -> None:
    """Ask how rows are to be read, where their family can read them in several ways after the first rows.

    Raises:
        Asks: with the ways to choose from.
    """
    if plan.family.unclear is None or not plan.family.unclear(rows):
        return
    if not (why := plan.family.unclear([*plan.rows, *rows])):
        return
    told = "; ".join(f"--format {name} ({NAMED[name].says})" for name in plan.family.readings)
    raise Asks(f"{plan.part.name}: {why}. Say which it is: {told}.", plan.part.columns, plan.family.readings)


def _family(part: Part, wanted: Wanted, named: str, mapped: Mapped | None) -> Family:
    if named:
        if named not in NAMED:
            raise ImportRefused(f"There is no format {named!r}. Known are {', '.join(NAMED)}.")
        return NAMED[named]
    if mapped:
        mapped.check(part.sample, part.name)
    found = recognise([mapped.of(row) for row in part.sample] if mapped else part.sample)
    if len(found) > 1 and not _say_the_same(found, part, mapped):
        told = "; ".join(f"{family.name} ({family.says})" for family in found)
        raise Asks(
            f"{part.name} can be read in several ways: {told}. Say which: --format {found[0].name}. Rows that are not of it are dropped and counted; import the file again with the other one to have those.",
            part.columns,
            [f.name for f in found],
        )
    if (
        not found
        or (wanted == "preferences" and found[0].kind != wanted and not _has_thumbs(found[0], part))
        or (wanted == "demonstrations" and found[0].kind == "prompts")
    ):
        raise Asks(
            f"{part.name} has the columns {listed(part.columns)}. Needed for "
            f"{'an import' if wanted == 'auto' else wanted}: {NEEDED[wanted]}. Rename the columns, say what they are "
            "(--map prompt=question,chosen=good), or choose another kind.",
            part.columns,
        )
    return found[0]


def _say_the_same(families: Sequence[Family], part: Part, mapped: Mapped | None) -> bool:
    """Return whether families read the same from the first rows, such as a conversation and, in columns, its last exchange."""
    rows = [mapped.of(row) for row in part.sample] if mapped else part.sample
    columns = frozenset(column for row in rows for column in row)
    told = {_told(family, rows, columns) for family in families}
    return len(told) == 1 and None not in told


def _told(family: Family, rows: Sequence[Mapping[str, Any]], columns: frozenset[str]) -> str | None:
    """Return the items of the first rows as a text; None where one of the rows cannot be read."""
    if family.read is None:
        return None
    try:
        return str([list(family.read(row, columns)) for row in rows])
    except (Dropped, AttributeError, LookupError, TypeError, ArithmeticError, RecursionError):
        return None


def _has_thumbs(family: Family, part: Part) -> bool:
    """Return whether single responses have thumbs, of which a person can ask for pairs."""
    if family.name in ("prodigy", "comparia-reactions"):
        return True
    return family.name in ("prompt-response", "chat") and bool({"label", "kto_tag", "thumbs_up"} & set(part.columns))


def _refuse_unread(plan: PartPlan, kind: Kind, wanted: Wanted) -> None:
    """Refuse what sounds like a judgement and is not read, unless only prompts are asked for, or columns were mapped."""
    if not plan.must_be_read or wanted == "prompts":
        return
    rows, reads = plan.part.sample, plan.family.understands
    judges = unread.DECIDES.fullmatch if plan.family.kind == "preferences" else unread.JUDGES.search
    found = unread.columns(rows, reads, judges)
    if plan.family.kind == "prompts":
        found = found or unread.answers(rows, reads)
    elif plan.family.kind == "preferences" and (
        against := [name for row in rows if (name := unread.rejected(row, reads))]
    ):
        found = [*found, *dict.fromkeys(against)]
    elif plan.family.kind == "preferences" and _is_unrated(plan):
        found = list(dict.fromkeys(path for row in rows for path in unread.of_pair(row, reads)))
    elif plan.family.kind == "demonstrations":
        found = list(dict.fromkeys(path for row in rows for path in unread.of_answer(row, reads)))
    if found:
        raise Asks(
            f"{plan.part.name} holds {listed(found)}, which may be a judgement and {'is' if len(found) == 1 else 'are'} not understood in "
            f"{plan.family.says}. Say what the columns are (--map prompt=...,{'preference' if kind == 'preferences' else 'response'}=...), "
            "or take only the prompts (--kind prompts).",
            plan.part.columns,
        )


def _is_unrated(plan: PartPlan) -> bool:
    """Return whether the first rows hold pairs, and no judgement of any."""
    kinds = {item.kind for row in plan.rows for item in _items(plan, row) if not item.axes}
    return "unrated" in kinds and kinds.isdisjoint(JUDGED)


def _items(plan: PartPlan, row: Mapping[str, Any]) -> list[Item]:
    """Return the items of a row; none where it cannot be read."""
    try:
        found = plan.family.read(row, plan.names) if plan.family.read else ()
        return [item for item in found if isinstance(item, Item)]
    except (Dropped, AttributeError, LookupError, TypeError, ArithmeticError, RecursionError):
        return []


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return names for a sentence, not more than a person reads."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "") or "(none)"
