"""All families of formats. The more a file promises by its structure, the more it must be read as: see `recognise`."""

from collections.abc import Sequence

from studio.datasets.formats import (
    arena,
    argilla,
    chats,
    chosen_rejected,
    crowd,
    label_studio,
    labelbox,
    labelled,
    native,
    openai_sets,
    public_sets,
    ranked,
    scale,
    sides,
    surge,
    trees,
)
from studio.datasets.formats.cells import Row
from studio.datasets.formats.family import Family

FAMILIES: tuple[Family, ...] = (
    *native.FAMILIES,
    *label_studio.FAMILIES,
    *argilla.FAMILIES,
    *labelbox.FAMILIES,
    *scale.FAMILIES,
    *surge.FAMILIES,
    *crowd.FAMILIES,
    *arena.FAMILIES,
    *openai_sets.FAMILIES,
    *ranked.FAMILIES,
    *trees.FAMILIES,
    *public_sets.FAMILIES,
    *labelled.FAMILIES,
    chosen_rejected.HH,
    chosen_rejected.PAIRS,
    chosen_rejected.LAST,
    *sides.FAMILIES,
    *chats.FAMILIES,
)
NAMED = {family.name: family for family in (*FAMILIES, *labelled.NAMED, *ranked.NAMED, *sides.NAMED, *crowd.NAMED)}
_WORTH = {"preferences": 2, "demonstrations": 1, "prompts": 0}


def recognise(rows: Sequence[Row]) -> list[Family]:
    """Return the families that fit the first rows of a source: one where it is clear, several where a person must say, or none.

    A family that reads judgements goes before one of demonstrations, and that before one of prompts, so that no judgement
    is left out. Of two, the one that needs all that the other needs and more goes first.
    """
    columns = frozenset(column for row in rows for column in row)
    fitting = [family for family in FAMILIES if family.fits(columns, rows)]
    most = max(map(_worth, fitting), default=0)
    fitting = [family for family in fitting if _worth(family) == most]
    return [family for family in fitting if not any(_needs_more(other, family) for other in fitting)]


def _worth(family: Family) -> int:
    """Return what a family says of a source: the files of a labelling program have columns that nobody else writes."""
    return 3 if family.is_open else _WORTH[family.kind]


def _needs_more(one: Family, other: Family) -> bool:
    """Return whether one needs all that another needs, and more."""
    narrow, wide = ([frozenset(choice) for choice in family.needs] for family in (one, other))
    return len(narrow) > len(wide) and all(any(choice <= each for choice in narrow) for each in wide)


COLUMNS = frozenset(column for family in FAMILIES for column in family.reads)
"""Every column that some family reads."""
_ANYWHERE = frozenset(
    (
        "id", "status", "type", "models", "text", "role", "metadata", "data", "options", "input", "question", "responses", "ratings",
        "scores", "ranks", "ranking", "rewards", "candidates", "generations",
    )
)  # fmt: skip
ROW_COLUMNS = frozenset(column for family in FAMILIES for choice in family.needs for column in choice) - _ANYWHERE
"""Columns by which an object is one row, and no wrapping around rows."""
