"""Finds the comparison of ours that a judgement coming back from another program names in its metadata."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from studio.datasets.formats.item import Dropped, Item
from studio.errors import DataError
from studio.preferences import comparisons, elsewhere

COMPARISON, ORDER, PROMPT = elsewhere.COMPARISON, elsewhere.ORDER, elsewhere.PROMPT


@dataclass(frozen=True)
class Place:
    """Where an item belongs: a comparison, and the stored response of each of the item's responses, in its order."""

    comparison_id: int
    response_ids: tuple[int, ...]
    shown: tuple[int, ...] = ()
    """The responses in the order the rater saw, where it was stored for the export."""


def find(db: Database, item: Item) -> Place | None:
    """Return the place that an item's metadata names; None where it names none of this workspace.

    Raises:
        Dropped: it names one of ours, and its texts are not those of that comparison.
    """
    try:
        joined = elsewhere.find(db, item.metadata)
    except DataError as error:
        raise Dropped(str(error)) from error
    if joined is None:
        return None
    ids = _matched(db, joined.response_ids, item.responses)
    if ids is None:
        raise Dropped(f"comparison {joined.comparison_id} has other responses than the returned item")
    return Place(joined.comparison_id, ids, joined.response_ids)


def find_prompt(db: Database, item: Item) -> int | None:
    """Return the prompt of this workspace that a returned demonstration names; None where it names none.

    Raises:
        Dropped: it names a prompt that is not here.
    """
    try:
        return elsewhere.find_prompt(db, item.metadata)
    except DataError as error:
        raise Dropped(str(error)) from error


def _matched(db: Database, shown: Sequence[int], texts: Sequence[str]) -> tuple[int, ...] | None:
    """Return the shown responses in the order of an item's texts, or None where they are others.

    Blanks around a text are not compared: tools strip them. Where texts are equal, the order shown decides.
    """
    left = [(response_id, comparisons.read_text(db, response_id).strip()) for response_id in shown]
    if len(left) != len(texts):
        return None
    ids: list[int] = []
    for text in texts:
        found = next((pair for pair in left if pair[1] == text.strip()), None)
        if found is None:
            return None
        left.remove(found)
        ids.append(found[0])
    return tuple(ids)
