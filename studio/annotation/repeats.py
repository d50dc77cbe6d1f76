"""Chooses what a session shows again: repeats drawn at random from its own items, and second looks at earlier votes.

Only the repeats tell how often raters agree with themselves. Second looks are votes from before the session that a reward model
contradicted (`disagreements`), so that they never take an item out of what the repeats are drawn from. It reads `session_items`.
"""

import random
from typing import Any, NamedTuple

from sqlite_utils import Database

from studio.annotation import disagreements, session_config
from studio.annotation.session_config import SessionConfig
from studio.preferences import comparisons


class Place(NamedTuple):
    """A place in a session that is to be filled."""

    session_id: int
    rater: str
    config: SessionConfig
    seed: int
    since: str
    """When the session began; UTC."""
    position: int
    near: set[int]
    """Prompts of the newest items, which must not come again so soon."""


def repeat(db: Database, place: Place, rng: random.Random) -> dict[str, Any] | None:
    """Return an item to repeat, where the share of repeats is behind; every other one with its order reversed."""
    number = _num(db, place, is_second_look=False)
    if rng.random() >= place.config.repeat_share * (place.position + 1) - number:
        return None
    rows = [row for row in _repeatable(db, place.session_id) if row["prompt_id"] not in place.near]
    if not rows:
        return None
    row = rng.choice(rows)
    return _again(db, place, row, f"swapped:{number // 2}", number) | {"probability": 1.0 / len(rows)}


def second_look(db: Database, place: Place) -> dict[str, Any] | None:
    """Return a vote against a confident reward model to show again, where their share is behind; the surest first."""
    row = next_second_look(db, place)
    if row is None:
        return None
    number = _num(db, place, is_second_look=True)
    again = _again(db, place, row, f"second look swapped:{number // 2}", number)
    return again | {"probability": 1.0, "prediction_id": row["prediction_id"]}


def next_second_look(db: Database, place: Place) -> dict[str, Any] | None:
    """Return the vote that this place looks at again, and store nothing; None where none is due or left."""
    config = place.config
    if not config.second_looks or config.rank:
        return None
    rng = random.Random(f"{place.seed}:second look:{place.position}")
    number = _num(db, place, is_second_look=True)
    if rng.random() >= config.second_looks * (place.position + 1) - number:
        return None
    wanted = session_config.wanted_prompts(config)
    return disagreements.choose(db, place.session_id, place.rater, place.since, place.near, *wanted)


def _num(db: Database, place: Place, *, is_second_look: bool) -> int:
    """Count the session's second looks so far, or its other repeats."""
    sql = "SELECT count(*) AS n FROM session_items WHERE session_id = ? AND arm = 'repeat' AND (prediction_id IS NOT NULL) = ?"
    return next(db.query(sql, [place.session_id, is_second_look]))["n"]


def _again(db: Database, place: Place, row: dict[str, Any], seed: str, number: int) -> dict[str, Any]:
    """Store a showing like an earlier one; of each two that follow each other one has its order reversed."""
    first_is_swapped = random.Random(f"{place.seed}:{seed}").random() < 0.5
    is_swapped = first_is_swapped == (number % 2 == 0)
    before = comparisons.get_showing(db, row["showing_id"])
    assert before is not None
    again = comparisons.add_showing(db, before.comparison_id, place.rater, like=before.id, is_swapped=is_swapped)
    return {
        "showing_id": again,
        "prompt_id": row["prompt_id"],
        "arm": "repeat",
        "repeat_of": before.id,
        "is_swapped": int(is_swapped),
    }


def _repeatable(db: Database, session_id: int) -> list[dict[str, Any]]:
    """Return a session's items with a vote that counts, skips left out, that were not repeated yet."""
    return list(
        db.query(
            "SELECT i.showing_id, i.prompt_id FROM session_items i"
            " JOIN rating_events e ON e.showing_id = i.showing_id WHERE i.session_id = :session AND i.arm != 'repeat'"
            " AND e.outcome NOT IN ('undo', 'skip')"
            " AND NOT EXISTS (SELECT 1 FROM rating_events n WHERE n.supersedes = e.id)"
            " AND NOT EXISTS (SELECT 1 FROM session_items r WHERE r.repeat_of = i.showing_id) ORDER BY i.position",
            {"session": session_id},
        )
    )
