"""Makes one preference of what several raters said of a pair: that of most of them, or their share as a probability.

Each rater counts once, by the newest rating; a tie and both-bad are half a vote for either side.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any, Literal

from modules.config import categories

Row = dict[str, Any]
WAYS = ("majority", "share")


def names(raters: str) -> list[str]:
    """Return the raters that a recipe names; none where it takes all of them."""
    return [] if raters in ("all", *WAYS) else sorted(categories(raters))


def rows(
    ratings: Iterable[Row], preferences: Callable[[Row], list[Row]], *, is_share: bool, ties: Literal["half", "drop"]
) -> Iterator[Row]:
    """Yield one preference for each two responses of a comparison.

    Args:
        ratings: ordered by comparison, each rater's oldest first.
        preferences: the preferences of one rating.
        is_share: let `target_p` be the share of raters for the chosen one; else all of them decide by majority.
        ties: drop leaves out those that are equally often preferred.
    """
    for _, group in groupby(ratings, key=lambda rating: rating["comparison_id"]):
        newest = {rating["rater"]: rating for rating in group}
        votes: dict[tuple[int, int], list[Row]] = {}
        for rating in newest.values():
            for row in preferences(rating):
                low, high = sorted((row["chosen_id"], row["rejected_id"]))
                votes.setdefault((low, high), []).append(row)
        for (low, high), found in votes.items():
            yield from _agreed(low, high, found, is_share, ties)


def _agreed(low: int, high: int, votes: list[Row], is_share: bool, ties: str) -> list[Row]:
    """Return the preference of a pair; none where it is a tie and ties are dropped."""
    share = sum(_for(row, low) for row in votes) / len(votes)
    if share == 0.5:
        return (
            []
            if ties == "drop"
            else [votes[0] | {"chosen_id": low, "rejected_id": high, "target_p": 0.5, "margin": 0.0}]
        )
    chosen, rejected = (low, high) if share > 0.5 else (high, low)
    agreeing = [row for row in votes if row["chosen_id"] == chosen and row["target_p"] > 0.5]
    if is_share:
        return [
            votes[-1] | {"chosen_id": chosen, "rejected_id": rejected, "target_p": max(share, 1 - share), "margin": 0.0}
        ]
    return [(agreeing or votes)[-1] | {"chosen_id": chosen, "rejected_id": rejected}]


def _for(row: Row, response_id: int) -> float:
    """Return a rater's vote for a response: 1, 0, or 0.5 for a tie."""
    return 0.5 if row["target_p"] == 0.5 else float(row["chosen_id"] == response_id)
