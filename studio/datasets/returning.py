"""Finds the comparison of ours that a judgement coming back from another program names in its metadata."""

from dataclasses import dataclass

from sqlite_utils import Database

from studio.datasets.formats.item import Item

COMPARISON = "rlhf_studio_comparison"
ORDER = "rlhf_studio_order"


@dataclass(frozen=True)
class Place:
    """Where an item belongs: a comparison, and the stored response of each of the item's responses, in its order."""

    comparison_id: int
    response_ids: tuple[int, ...]
    showing_id: int | None = None
    """The showing whose order the rater saw, where one was stored for the export."""


def find(db: Database, item: Item) -> Place | None:
    """Return the place that an item's metadata names; None where it names none of this workspace.

    Raises:
        Dropped: it names one of ours, and its texts are not those of that comparison.
    """
    return None
