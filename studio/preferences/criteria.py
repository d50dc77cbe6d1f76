"""Judgements by one criterion instead of overall: a scale that the rater set, or a criterion that came with an import."""

import json
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]


def by_axis(rating: Row, axis: str) -> Row | None:
    """Return a rating as judged by one criterion, without a strength; None where it does not say it of every response.

    Args:
        rating: a row of the view `ratings`.
        axis: a scale (helpful, truthful, harmless), or a criterion or a score among the facts of an imported judgement.
    """
    facts, scales = (json.loads(rating[name] or "{}") for name in ("facts", "attributes"))
    if axis in facts.get("axes", {}):
        ranks = _places(facts["axes"][axis])
    else:
        given = facts.get("scores", {}).get(axis) or scales.get(axis) or [None]
        numbers = [-number for number in given if number is not None]
        if len(numbers) < len(given):
            return None
        ranks = _places(numbers)
    if len(ranks) > 2:
        return rating | {"outcome": "ranking", "ranks": json.dumps(ranks), "strength": None}
    outcome = "tie" if ranks[0] == ranks[1] else "left" if ranks[0] < ranks[1] else "right"
    return rating | {"outcome": outcome, "strength": None}


def _places(values: Sequence[float]) -> list[int]:
    """Return the place of each value, 1 the lowest; equal ones share it."""
    order = sorted(set(values))
    return [order.index(value) + 1 for value in values]
