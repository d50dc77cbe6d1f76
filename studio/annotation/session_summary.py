"""Sums up a session's votes: pace, ties, sides, agreement with oneself and with the reward model. Read-only.

Shares come with Wilson's 95 % interval. Repeats tell how often the rater agrees with themselves; in all other figures
they would count a pair twice and are left out, but for the pace. Second looks at votes that a reward model contradicted were
chosen, not drawn, so they tell nothing of that. The reward model is measured on the first vote, given
before its prediction was shown.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations
from typing import Any

from sqlite_utils import Database

from modules.intervals import wilson_interval
from studio.errors import RatingError
from studio.preferences.vocabulary import OUTCOMES, SIDES, TIES

IDLE_S = 120.0
"""A longer pause between two votes counts as this much active time."""
PACE_FROM_S = 60.0
"""Active time from which on there is a pace."""
CONFIDENT = 0.8
"""A reward model that gives one response at least this probability is confident."""
LEAST = 1e-6
TARGET = {"left": 1.0, "right": 0.0} | dict.fromkeys(TIES, 0.5)
"""Outcome of a pair to what a probability for the left response should have been."""


@dataclass(frozen=True)
class Share:
    """A share of what was counted, with its 95 % interval."""

    hits: float
    """Number of hits; a repeated ranking hits with the share of its pairs that are in the same order."""
    num: int

    @property
    def value(self) -> float:
        """The share itself; nan where nothing was counted."""
        return self.hits / self.num if self.num else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson interval; conservative for fractional hits, whose variance is at most that of a 0/1 outcome."""
        return wilson_interval(self.hits, self.num)


@dataclass(frozen=True)
class Contradiction:
    """A vote against a confident reward model: a slip, the model's error, or a gap in the guideline."""

    event_id: int
    prompt: str
    preferred: str
    other: str
    probability: float
    """The reward model's probability for the preferred response."""


@dataclass(frozen=True)
class Card:
    """The figures of a session, or of a block."""

    num_votes: int
    num_skipped: int
    active_s: float
    outcomes: dict[str, int]
    ties: Share
    """Ties and both-bad among the votes on pairs."""
    left: Share
    """Left among decided votes: far from one half is a habit of the eye."""
    self_agreement: Share
    """Agreement among repeats; of a ranking the share of its pairs in the same order."""
    same_sides: Share
    """Self-agreement where a repeat had its sides as before."""
    swapped_sides: Share
    """Self-agreement where they were swapped, a ranking shown in reverse."""
    reward_agreement: Share
    """The reward model preferred what the rater preferred, among decided votes with a prediction."""
    log_loss: float
    """Of the predictions, in nats a vote, a tie counting half for each side; nan without any. Guessing gives 0.693."""
    changed: int
    """Votes that were changed after the prediction was shown."""
    contradictions: list[Contradiction] = field(default_factory=list)

    @property
    def votes_per_hour(self) -> float:
        """Votes per hour of active time; nan before there is a minute of it."""
        return 3600.0 * self.num_votes / self.active_s if self.active_s >= PACE_FROM_S else math.nan


def card(db: Database, session_id: int, last: int | None = None) -> Card:
    """Return the card of a session; of its newest `last` votes only, where given.

    Raises:
        RatingError: there is no such session.
    """
    if not list(db.query("SELECT 1 FROM sessions WHERE id = ?", [session_id])):
        raise RatingError(f"There is no session {session_id}. See them with: rlhf-studio session")
    votes = list(db.query(_VOTES, {"session": session_id}))
    counted = [vote for vote in votes if vote["outcome"] != "skip"]
    if last is not None:
        counted = counted[-last:] if last else []
        votes = [vote for vote in votes if counted and vote["id"] >= counted[0]["id"]]
    fresh = [vote for vote in counted if vote["arm"] != "repeat"]
    repeats = [vote for vote in counted if vote["arm"] == "repeat" and vote["before"] and not vote["second_look_at"]]
    pairs = [vote for vote in fresh if vote["outcome"] != "ranking"]
    decided = [vote for vote in fresh if vote["outcome"] in SIDES]
    predicted = [vote for vote in fresh if vote["left_p"] is not None and vote["first_outcome"] in TARGET]
    judged = [vote for vote in predicted if TARGET[vote["first_outcome"]] != 0.5]
    return Card(
        num_votes=len(counted),
        num_skipped=len(votes) - len(counted),
        active_s=active_seconds(votes),
        outcomes={name: sum(vote["outcome"] == name for vote in counted) for name in OUTCOMES if name != "skip"},
        ties=Share(sum(vote["outcome"] in TIES for vote in pairs), len(pairs)),
        left=Share(sum(vote["outcome"] == "left" for vote in decided), len(decided)),
        self_agreement=_agreement(repeats),
        same_sides=_agreement(vote for vote in repeats if not vote["is_swapped"]),
        swapped_sides=_agreement(vote for vote in repeats if vote["is_swapped"]),
        reward_agreement=Share(sum(_given(vote) > 0.5 for vote in judged), len(judged)),
        log_loss=sum(log_loss(vote["left_p"], vote["first_outcome"]) for vote in predicted) / len(predicted)
        if predicted
        else math.nan,
        changed=sum(vote["is_changed"] for vote in votes),
        contradictions=[_contradiction(vote) for vote in judged if _given(vote) <= 1.0 - CONFIDENT],
    )


def active_seconds(votes: Sequence[dict[str, Any]]) -> float:
    """Return the active time of votes that follow each other, in seconds."""
    return sum(seconds_of_each(votes))


def seconds_of_each(votes: Sequence[dict[str, Any]]) -> list[float]:
    """Return what each vote took: from vote to vote, a pause counting at most `IDLE_S`; the first vote from its display."""
    found, before = [], None
    for vote in votes:
        at = datetime.fromisoformat(vote["created_at"])
        took = (vote["elapsed_ms"] or 0) / 1000.0 if before is None else (at - before).total_seconds()
        found.append(min(max(took, 0.0), IDLE_S))
        before = at
    return found


def self_agreement(first: dict[int, int], second: dict[int, int]) -> float:
    """Return the share of pairs that two judgements put in the same order; a tie agrees with a tie only.

    Args:
        first: the place that a judgement gave to each response, by response id; 1 is the best.
        second: the same of another judgement of the same responses.
    """
    pairs = list(combinations(first, 2))
    return sum(order(first, *pair) == order(second, *pair) for pair in pairs) / len(pairs)


def places(outcome: str, response_ids: Sequence[int], ranks: Sequence[int] | None = None) -> dict[int, int]:
    """Return the place a judgement gives to each response, whatever its side: 1 is the best, ties share one.

    Args:
        outcome: left, right, tie, both_bad or ranking.
        response_ids: by screen position.
        ranks: the same, of a ranking.
    """
    found = {"left": (1, 2), "right": (2, 1), "ranking": ranks}.get(outcome) or [1] * len(response_ids)
    return dict(zip(response_ids, found, strict=True))


def _agreement(repeats: Iterable[dict[str, Any]]) -> Share:
    """Return the share of repeats that were judged as the first time."""
    found = [self_agreement(places_of(vote, "before_"), places_of(vote, "")) for vote in repeats]
    return Share(sum(found), len(found))


def places_of(vote: dict[str, Any], which: str) -> dict[int, int]:
    """Return the places that a row's vote gave; `which` is ``before_`` for the vote it repeats, else empty."""
    outcome = vote["before" if which else "outcome"]
    ids = vote[f"{which}response_ids"]
    sides = json.loads(ids) if ids else (vote[f"{which}left_id"], vote[f"{which}right_id"])
    return places(outcome, sides, json.loads(vote[f"{which}ranks"]) if outcome == "ranking" else None)


def order(where: dict[int, int], one: int, other: int) -> int:
    """Return -1 where the first of two responses is better, 1 where the second is, 0 for a tie."""
    return (where[one] > where[other]) - (where[one] < where[other])


def _given(vote: dict[str, Any]) -> float:
    """Return the probability that the reward model gave the preferred response."""
    return vote["left_p"] if vote["first_outcome"] == "left" else 1.0 - vote["left_p"]


def log_loss(left_p: float, outcome: str) -> float:
    """Return the loss in nats of a probability for the left response; a tie counts half for each side."""
    target, p = TARGET[outcome], min(max(left_p, LEAST), 1.0 - LEAST)
    return -target * math.log(p) - (1.0 - target) * math.log(1.0 - p)


def _contradiction(vote: dict[str, Any]) -> Contradiction:
    left, right = vote["left_text"], vote["right_text"]
    preferred, other = (left, right) if vote["first_outcome"] == "left" else (right, left)
    return Contradiction(vote["id"], vote["prompt"], preferred, other, _given(vote))


VOTE_BEFORE = (
    "SELECT max(g.id) FROM rating_events g WHERE g.showing_id = i.repeat_of"
    " AND g.id < (SELECT min(h.id) FROM rating_events h WHERE h.showing_id = i.showing_id)"
)
"""Of a repeat `i`: what counted of the first vote when it was judged. A later correction does not make a rater more consistent."""
_VOTES = f"""
SELECT r.id, r.outcome, r.ranks, s.left_response_id AS left_id, s.right_response_id AS right_id, s.response_ids,
    r.elapsed_ms, r.created_at, i.arm, i.is_swapped, i.prediction_id AS second_look_at, b.outcome AS before, b.ranks AS before_ranks,
    z.left_response_id AS before_left_id, z.right_response_id AS before_right_id, z.response_ids AS before_response_ids,
    coalesce(w.outcome, r.outcome) AS first_outcome, coalesce(w.outcome != r.outcome, 0) AS is_changed,
    CASE WHEN f.response_id = s.left_response_id THEN q.preference ELSE 1 - q.preference END AS left_p,
    json_extract(p.messages, '$[#-1].content') AS prompt, x.text AS left_text, y.text AS right_text
FROM session_items i JOIN showings s ON s.id = i.showing_id
CROSS JOIN rating_events r ON r.showing_id = i.showing_id AND r.outcome != 'undo'
    AND NOT EXISTS (SELECT 1 FROM rating_events n WHERE n.supersedes = r.id)
JOIN prompts p ON p.id = i.prompt_id
JOIN responses x ON x.id = s.left_response_id JOIN responses y ON y.id = s.right_response_id
JOIN comparison_responses f ON f.comparison_id = r.comparison_id AND f.slot = 0
LEFT JOIN showings z ON z.id = i.repeat_of
LEFT JOIN rating_events b ON b.id = ({VOTE_BEFORE}) AND b.outcome NOT IN ('undo', 'skip')
LEFT JOIN prediction_views v ON v.id = (SELECT min(id) FROM prediction_views WHERE showing_id = i.showing_id)
LEFT JOIN rating_events w ON w.id = v.event_id
LEFT JOIN predictions q ON q.id = coalesce(v.prediction_id,
    (SELECT max(id) FROM predictions WHERE comparison_id = r.comparison_id AND preference IS NOT NULL))
WHERE i.session_id = :session ORDER BY r.id
"""
"""The votes of a session that count, with the vote they repeat and the prediction made before them."""
