"""Reads the votes on answers of two different checkpoints: who won against whom, and which was shown on the left.

A pretrained model counts as a checkpoint here; its stored name is that of `base_names`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from sqlite_utils import Database

from studio.preferences.vocabulary import TIES


@dataclass(frozen=True)
class ModelVote:
    """One judgement of two answers, each by a checkpoint of its own."""

    prompt_id: int
    left: str
    """Name of the checkpoint whose answer was shown first, as it is stored."""
    right: str
    winner: Literal["left", "right", "tie"]
    """Both bad is a tie."""
    left_length: int
    """Of the answer, in characters."""
    right_length: int
    is_of_a_ranking: bool
    """Whether the two are a pair of a ranking, whose pairs are not independent of each other."""


def between_checkpoints(db: Database, rater: str = "person", of: Sequence[int] | None = None) -> list[ModelVote]:
    """Return the votes of one rater that count, in the order they were given; skips and repeats are left out.

    Args:
        db: an open connection.
        rater: the rater's name.
        of: ids of checkpoints; only votes on comparisons with an answer of one of them, which is quicker than all.
    """
    counted = _COUNTED if of is None else f"{_COUNTED} AND r.comparison_id IN ({_OF.format(', '.join('?' * len(of)))})"
    given = [rater, *(of or ())]
    answers = {row["id"]: (row["name"], row["length"]) for row in db.query(_ANSWERS.format(counted), given)}
    return [vote for row in db.query(_VOTES.format(counted), given) for vote in _votes(row, answers)]


def raters(db: Database) -> list[str]:
    """Return who voted on answers of checkpoints: person first, the others by name."""
    names = (row["rater"] for row in db.query(_RATERS))
    return sorted(names, key=lambda name: (name != "person", name))


def _votes(row: dict[str, str], answers: dict[int, tuple[str, int]]) -> Iterator[ModelVote]:
    ids = json.loads(row["response_ids"])
    ranks = json.loads(row["ranks"]) if row["ranks"] else _RANKS[row["outcome"]]
    for one, other in combinations(range(len(ids)), 2):
        if ids[one] not in answers or ids[other] not in answers:
            continue
        (left, left_length), (right, right_length) = answers[ids[one]], answers[ids[other]]
        if left != right:
            winner = "tie" if ranks[one] == ranks[other] else "left" if ranks[one] < ranks[other] else "right"
            is_of_a_ranking = row["outcome"] == "ranking"
            yield ModelVote(int(row["prompt_id"]), left, right, winner, left_length, right_length, is_of_a_ranking)


_RANKS = {"left": [1, 2], "right": [2, 1]} | {key: [1, 1] for key in TIES}
_COUNTED = (
    "FROM ratings r WHERE r.rater = ? AND r.outcome != 'skip' AND NOT EXISTS"
    " (SELECT 1 FROM session_items i WHERE i.showing_id = r.showing_id AND i.arm = 'repeat')"
)
"""A repeat measures the rater; it is not a second judgement of its pair."""
_OF = (
    "SELECT f.comparison_id FROM responses a CROSS JOIN comparison_responses f ON f.response_id = a.id"
    " WHERE a.checkpoint_id IN ({})"
)
_VOTES = "SELECT c.prompt_id, v.* FROM (SELECT r.* {}) v JOIN comparisons c ON c.id = v.comparison_id ORDER BY v.id"
_ANSWERS = (
    "SELECT a.id, coalesce(k.name, a.model) AS name, length(a.text) AS length FROM responses a"
    " LEFT JOIN checkpoints k ON k.id = a.checkpoint_id WHERE a.kind = 'sample' AND a.id IN (SELECT s.response_id FROM comparison_responses s JOIN (SELECT r.comparison_id {}) v"
    " ON v.comparison_id = s.comparison_id)"
)
_RATERS = (
    "SELECT DISTINCT r.rater FROM ratings r WHERE r.outcome != 'skip' AND EXISTS (SELECT 1 FROM comparison_responses s"
    " JOIN responses a ON a.id = s.response_id WHERE s.comparison_id = r.comparison_id AND a.kind = 'sample')"
)
