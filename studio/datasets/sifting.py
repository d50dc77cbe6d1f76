"""Reads all rows of a source as items of one kind, one after the other, and counts what was dropped, ignored and odd."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from studio.datasets import unread
from studio.datasets.formats.family import Kind, Outcome
from studio.datasets.formats.item import ANONYMOUS, COMPARED, Dropped, Item, by_axis, criteria, pick
from studio.datasets.plan import PartPlan, check_clear
from studio.datasets.splits import split_name

LONGEST_ROW = 10_000_000
"""Most characters; a longer row is neither prompt nor answer, and would slow every page that shows it."""
OTHERWISE = "its values are of other types than the format has"
EVERY = 2000
"""Rows between two reports of progress."""
Progress = Callable[[int, float, str], None]
"""Gets the number of rows read, the share done of what is done, and what that is: read or stored. What it raises ends an import
with nothing imported."""


@dataclass
class Tally:
    """What became of the rows so far."""

    num_rows: int = 0
    num_kept: int = 0
    num_answers: int = 0
    """Of those that are kept, how many are demonstrations."""
    dropped: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    """Column to the number of rows in which it holds something that is not read."""
    warnings: Counter[str] = field(default_factory=Counter)
    axes: dict[str, bool] = field(default_factory=dict)
    """Criteria of which the source says something, and whether its judgements go by them where nobody chose another."""


def items(
    plans: list[PartPlan], kind: Kind, axis: str, tally: Tally, progress: Progress | None = None
) -> Iterator[Item]:
    """Yield the items to keep, as `kind`, judged by `axis` where it is given; fills `tally`."""
    seen: dict[int, int] = {}
    pairing = _Thumbs() if kind == "preferences" else None
    for outcome, split in _outcomes(plans, tally, progress, kind):
        try:
            if isinstance(outcome, Dropped):
                raise outcome
            if axis or outcome.axes or outcome.scores:
                outcome = _by_axis(outcome, axis, tally)
            found = pairing.pairs(outcome) if pairing and outcome.kind == "unpaired" else [as_kind(outcome, kind)]
            for item in map(_without_twins, found):
                _check_text(item)
                _refuse_again(item, seen)
                tally.num_kept += 1
                tally.num_answers += item.kind == "demonstration"
                tally.warnings.update(item.warnings)
                yield item if item.split or not split else replace(item, split=split)
        except Dropped as reason:
            tally.dropped[str(reason)] += 1


def _outcomes(
    plans: list[PartPlan], tally: Tally, progress: Progress | None, kind: Kind = "preferences"
) -> Iterator[tuple[Outcome, str | None]]:
    read_all = plans[0].family.read_all
    if read_all is not None:
        rows = chain.from_iterable(_rows(plan, tally, progress) for plan in plans)
        for outcome in read_all(rows):
            yield outcome, None
        return
    for plan in plans:
        for row in _rows(plan, tally, progress):
            for outcome in _unclear(plan, row, kind) or _of_row(plan, row, kind):
                yield outcome, plan.part.split


def _unclear(plan: PartPlan, row: dict[str, Any], kind: Kind) -> list[Outcome]:
    """Return why a row cannot be used: a judgement of its answer that is not understood, which the first rows did not have."""
    if kind == "prompts" or not plan.must_be_read:
        return []
    found = unread.rejected(row, plan.reads)
    if plan.family.kind == "demonstrations":
        found = next(unread.of_answer(row, plan.reads), "")
    return [Dropped(_unsure(found))] if found else []


def _unsure(path: str) -> str:
    return f"holds {path[:60]}, which may be a judgement and is not understood"


def _by_axis(item: Item, axis: str, tally: Tally) -> Item:
    for name in criteria(item):
        tally.axes.setdefault(name, name == item.axis)
    return by_axis(item, axis)


def _of_row(plan: PartPlan, row: dict[str, Any], kind: Kind) -> Iterable[Outcome]:
    """Return the items and reasons of one row, with the category and split that it names.

    Raises:
        Asks: it can be read in several ways, which the first rows did not show.
    """
    assert plan.family.read is not None
    if name := unread.media(row):
        return [Dropped(f"belongs to what is in {name}, which is not text and is not read")]
    if kind != "prompts":
        check_clear(plan, (row,))
    try:
        found = list(plan.family.read(row, plan.names))
    except Dropped as reason:
        return [reason]
    except (AttributeError, LookupError, TypeError, ArithmeticError, RecursionError):  # of a file of anybody's
        return [Dropped(OTHERWISE)]
    is_unrated = any(isinstance(each, Item) and each.kind == "unrated" and not each.axes for each in found)
    if is_unrated and kind != "prompts" and plan.must_be_read and (path := next(unread.of_pair(row, plan.reads), "")):
        return [Dropped(_unsure(path))]
    if plan.family.is_open or not ("category" in row or "split" in row):
        return found
    category, split = row.get("category"), split_name(row.get("split"))
    category = category.strip() if isinstance(category, str) else ""
    return [
        replace(each, category=each.category or category, split=each.split or split) if isinstance(each, Item) else each
        for each in found
    ]


def _rows(plan: PartPlan, tally: Tally, progress: Progress | None) -> Iterator[dict[str, Any]]:
    """Yield a part's rows under our names, counting what is ignored."""
    understood = {column for column in plan.part.columns if plan.reads(column)}
    for row in plan.part.rows():
        tally.num_rows += 1
        for column in row:
            if column not in understood and row[column] is not None and not plan.reads(column):
                tally.ignored[column] += 1
        yield plan.mapped.of(row) if plan.mapped else row
        if progress and tally.num_rows % EVERY == 0:
            progress(tally.num_rows, plan.part.meter.done / max(1, plan.part.meter.total), "read")


def as_kind(item: Item, kind: Kind) -> Item:
    """Return an item as one of this kind: a preference also serves as a demonstration (the better side), all as prompts.

    Raises:
        Dropped: it says nothing of this kind.
    """
    if kind == "prompts":
        return Item("prompt", item.prompt, category=item.category, split=item.split)
    if kind == "preferences":
        if item.kind == "prompt":
            raise Dropped("no preference in it")
        return item
    if item.kind == "demonstration":
        return item
    if item.kind == "unpaired" and not item.label:
        raise Dropped("labelled as a bad response")
    if item.kind == "prompt":
        raise Dropped("no response in it")
    best: tuple[int, ...] = item.groups[0] if len(item.groups) > 1 else ()
    if item.kind in COMPARED and len(best) != 1:
        raise Dropped("no side is preferred")
    response = item.responses[next(iter(best), 0)]
    return Item("demonstration", item.prompt, (response,), category=item.category, split=item.split)


class _Thumbs:
    """Makes pairs of the good and the bad responses to one prompt, where a person asks for preferences of thumbs."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[list[str], list[str]]] = {}

    def pairs(self, item: Item) -> list[Item]:
        """Return the pairs of a response with those of the other thumb before it."""
        good, bad = self._seen.setdefault(str(item.prompt), ([], []))
        (good if item.label else bad).append(item.responses[0])
        others = bad if item.label else good
        if not others:
            raise Dropped("no opposite thumb on the same prompt so far")
        text = item.responses[0]
        sides = [(text, other) if item.label else (other, text) for other in others]
        return [replace(item, kind="pair", responses=both, groups=((0,), (1,)), label=None) for both in sides]


def _without_twins(item: Item) -> Item:
    """Return a ranking in which each text stands once; equal texts next to each other are one response.

    Raises:
        Dropped: another response stands between two equal ones.
    """
    if item.kind not in COMPARED or len(set(item.responses)) == len(item.responses):
        return item
    ranks = item.ranks or (1,) * len(item.responses)
    kept = [at for at, text in enumerate(item.responses) if item.responses.index(text) == at]
    for at in kept:
        own = [rank for text, rank in zip(item.responses, ranks, strict=True) if text == item.responses[at]]
        if any(
            min(own) <= rank <= max(own) and item.responses[other] != item.responses[at] and min(own) < max(own)
            for other, rank in enumerate(ranks)
        ):
            raise Dropped("the same response has two ranks, with another response between them")
    return pick(item, kept)


def _check_text(item: Item) -> None:
    text = "".join([*item.responses, *item.rewrites, item.note, *(turn["content"] for turn in item.prompt)])
    if len(text) > LONGEST_ROW:
        raise Dropped(f"longer than {LONGEST_ROW:,} characters")
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold and a database cannot
        raise Dropped("text is not valid Unicode") from None
    if "\0" in text:  # at which the database's search and comparisons end, and which no page shows
        raise Dropped("text holds a zero character")


def _refuse_again(item: Item, seen: dict[int, int]) -> None:
    """Drop an item that this source had before, whichever way round its responses are; people are told apart by name, time and id.

    Only hashes are kept, so that a million rows need some hundred bytes each.
    """
    texts = "\0".join(turn["role"] + turn["content"] for turn in item.prompt)
    who = (
        ""
        if item.rater == ANONYMOUS and not (item.event_id or item.at)
        else f"{item.rater}\0{item.at}\0{item.event_id}"
    )
    key = hash((texts, tuple(sorted(item.responses)), who, item.kind in COMPARED))
    if item.groups:
        verdict = hash(tuple(tuple(sorted(item.responses[at] for at in group)) for group in item.groups))
    else:
        verdict = hash((item.kind, item.responses[:1] if item.kind == "demonstration" else ()))
    if key not in seen:
        seen[key] = verdict
        return
    raise Dropped("duplicate" if seen[key] == verdict else "the same pair with another preference came before")
