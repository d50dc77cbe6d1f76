"""How often raters agree with themselves on what they are shown twice, and the noise ceiling that follows from it.

Only repeats that a session drew at random count: second looks at votes that a reward model contradicted are a selected sample, and a
vote that was corrected after its repeat still counts as it was then. Ties are a class of their own in self-agreement; the ceiling looks at
pairs that were decided both times, since a reward model's accuracy is that of decided votes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

from sqlite_utils import Database

from studio.annotation.session_summary import VOTE_BEFORE, order, places_of, self_agreement
from studio.insights import ceiling
from studio.insights.estimates import Estimate, share
from studio.insights.votes import NEWEST


class Repeat(NamedTuple):
    """What became of an item that was judged twice."""

    rater: str
    prompt_id: int
    is_swapped: bool
    agreement: float
    """Share of its pairs in the same order, a tie agreeing with a tie only."""
    num_same: int
    """Of its pairs, those decided both times for the same response."""
    num_decided: int
    """Of its pairs, those decided both times."""


@dataclass(frozen=True)
class Consistency:
    """What the repeats say of a rater, or of all of them."""

    rater: str
    """Empty for all."""
    agreement: Estimate
    same_sides: Estimate
    """Agreement where the sides stood as before."""
    swapped_sides: Estimate
    """Agreement where they were swapped."""
    decided: Estimate
    """Share of pairs decided both times in which the same response won."""
    ceiling: Estimate
    """The highest accuracy that a reward model can reach on decided votes: at most so much."""


def repeats(db: Database, rater: str = "", newest: int = -1) -> list[Repeat]:
    """Return the newest repeats with a vote that counts, now and the first time; of all raters where none is named."""
    return [_repeat(row) for row in db.query(_REPEATS, {"rater": rater, "newest": newest})]


def consistency(found: Sequence[Repeat], rater: str = "") -> Consistency:
    """Sum repeats up."""
    decided = share(
        [each.num_same for each in found], [each.prompt_id for each in found], [each.num_decided for each in found]
    )
    return Consistency(
        rater,
        _agreement(found),
        _agreement([each for each in found if not each.is_swapped]),
        _agreement([each for each in found if each.is_swapped]),
        decided,
        ceiling.of(decided),
    )


def noise_ceiling(db: Database) -> Estimate:
    """Return the ceiling that the newest repeats of all raters leave."""
    return consistency(repeats(db, newest=NEWEST)).ceiling


def _agreement(found: Sequence[Repeat]) -> Estimate:
    return share([each.agreement for each in found], [each.prompt_id for each in found])


def _repeat(row: dict[str, Any]) -> Repeat:
    first, second = places_of(row, "before_"), places_of(row, "")
    orders = [(order(first, *pair), order(second, *pair)) for pair in combinations(first, 2)]
    decided = [pair for pair in orders if all(pair)]
    return Repeat(
        row["rater"],
        row["prompt_id"],
        bool(row["is_swapped"]),
        self_agreement(first, second),
        sum(one == other for one, other in decided),
        len(decided),
    )


_REPEATS = f"""
SELECT r.rater, i.prompt_id, i.is_swapped, r.outcome, r.ranks, s.left_response_id AS left_id, s.right_response_id AS right_id,
    s.response_ids, b.outcome AS before, b.ranks AS before_ranks, z.left_response_id AS before_left_id,
    z.right_response_id AS before_right_id, z.response_ids AS before_response_ids
FROM session_items i JOIN showings s ON s.id = i.showing_id JOIN showings z ON z.id = i.repeat_of
JOIN rating_events r ON r.showing_id = i.showing_id AND r.outcome NOT IN ('undo', 'skip')
    AND NOT EXISTS (SELECT 1 FROM rating_events n WHERE n.supersedes = r.id)
JOIN rating_events b ON b.id = ({VOTE_BEFORE}) AND b.outcome NOT IN ('undo', 'skip')
WHERE i.repeat_of IS NOT NULL AND i.prediction_id IS NULL AND (:rater = '' OR r.rater = :rater) ORDER BY i.repeat_of DESC LIMIT :newest
"""
