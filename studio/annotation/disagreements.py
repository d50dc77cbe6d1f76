"""Votes against a confident reward model: shown again blind, then settled. The owner of `settlements` and `contradictions`.

A vote contradicts the newest reward model that had predicted its pair before the vote. A session shows it a second time
among its repeats, and nothing tells it apart before that vote. Only then the page says so and asks what it was: a slip (the
first vote is corrected to the second), the model's error (both votes stand), or something that the guideline does not say (a
line is added to it). Until then, or when that is put off, it stays in the queue.

Second looks are chosen, not drawn: they are no measure of how often raters agree with themselves. They are of votes given
before their session, so that its random repeats are drawn from all of its items.
"""

import json
import uuid as uuid_module
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlite_utils import Database

from studio.annotation import guidelines, predictions
from studio.annotation.session_summary import CONFIDENT
from studio.errors import RatingError
from studio.preferences import comparisons, ratings, undo, wording
from studio.preferences.comparisons import Showing
from studio.preferences.prompts import Messages
from studio.preferences.vocabulary import SETTLED, SETTLEMENTS, SIDES
from studio.workspace import now

Outcome = Literal["slip", "model", "gap", "later"]
COUNTED = 10_000
"""Most open ones that are counted."""


@dataclass(frozen=True)
class Disagreement:
    """An open vote against a confident reward model."""

    rating_id: int
    rater: str
    created_at: str
    split: str
    checkpoint: str
    probability: float
    """That the reward model gave the preferred answer, before the vote."""
    messages: Messages
    preferred: str
    other: str
    num_looks: int
    """How often it was judged again and left open."""


@dataclass(frozen=True)
class Question:
    """What is asked after a second look; sides as they stand on its screen."""

    showing: Showing
    first: str
    """The first vote, in words."""
    first_at: str
    """When it was given; UTC."""
    second: str
    """The vote just given, in words."""
    checkpoint: str
    expected: str
    """The side that the reward model had preferred before the first vote."""
    probability: float
    """That it gave this side."""
    is_same: bool
    """The two votes prefer the same answer, so the first was no slip."""

    @property
    def offered(self) -> tuple[str, ...]:
        """The answers that make sense."""
        return tuple(name for name in SETTLEMENTS if not (self.is_same and name == "slip"))


@dataclass(frozen=True)
class Settlement:
    """An answer to the question."""

    id: int
    outcome: str
    said: str
    """In words."""


@dataclass(frozen=True)
class Gap:
    """A pair of which the guideline does not say which answer is better."""

    created_at: str
    prompt: str
    guideline_id: int | None
    """The version that was written for it; None where no line was added."""


def find(db: Database, rater: str = "", *, sure: float = CONFIDENT, limit: int = 20) -> list[Disagreement]:
    """Return open disagreements, those first of which the reward model was surest.

    Args:
        db: an open connection.
        rater: whose votes; empty for all.
        sure: the least probability that the reward model gave the other answer.
        limit: at most this many; -1 for all.
    """
    rows = db.query(
        "SELECT o.event_id AS rating_id, o.rater, e.created_at, p.split, k.name AS checkpoint, o.probability, p.messages,"
        " x.text AS preferred, y.text AS other, (SELECT count(*) FROM settled t WHERE t.repeat_of = o.showing_id) AS num_looks"
        f" FROM ({_OPEN} LIMIT :limit) o JOIN rating_events e ON e.id = o.event_id JOIN showings s ON s.id = o.showing_id"
        " JOIN comparisons c ON c.id = s.comparison_id JOIN prompts p ON p.id = c.prompt_id"
        " JOIN predictions q ON q.id = o.prediction_id JOIN checkpoints k ON k.id = q.checkpoint_id"
        " JOIN responses x ON x.id = CASE e.outcome WHEN 'left' THEN s.left_response_id ELSE s.right_response_id END"
        " JOIN responses y ON y.id = CASE e.outcome WHEN 'left' THEN s.right_response_id ELSE s.left_response_id END"
        " ORDER BY o.probability, o.showing_id",
        {"rater": rater, "least": 1.0 - sure, "limit": limit},
    )
    return [Disagreement(**(row | {"messages": json.loads(row["messages"])})) for row in rows]


def count(db: Database, rater: str = "", *, sure: float = CONFIDENT, at_most: int = COUNTED) -> int:
    """Count open disagreements; stop counting at `at_most`."""
    sql = f"SELECT count(*) AS n FROM ({_OPEN} LIMIT :limit)"
    return next(db.query(sql, {"rater": rater, "least": 1.0 - sure, "limit": at_most}))["n"]


def choose(
    db: Database,
    session_id: int,
    rater: str,
    since: str,
    near: Collection[int],
    categories: Sequence[str] = (),
    splits: Sequence[str] = (),
) -> dict[str, Any] | None:
    """Return the open disagreement that a session shows again next, or None.

    Args:
        db: an open connection.
        session_id: it shows none twice.
        rater: whose vote it was, and who looks again.
        since: when the session began; UTC. Only pairs that were shown before.
        near: prompts that were shown lately.
        categories: only prompts of these; none for all.
        splits: the same.

    Returns:
        showing_id and prompt_id of the first vote, and the prediction_id that it contradicts.
    """
    rows = db.query(
        f"SELECT o.showing_id, c.prompt_id, o.prediction_id FROM ({_OPEN}) o JOIN showings s ON s.id = o.showing_id"
        " JOIN comparisons c ON c.id = s.comparison_id JOIN prompts p ON p.id = c.prompt_id"
        " WHERE s.created_at < :since AND c.prompt_id NOT IN (SELECT value FROM json_each(:near))"
        " AND NOT EXISTS (SELECT 1 FROM session_items i WHERE i.session_id = :session AND i.repeat_of = o.showing_id)"
        " AND (:categories = '[]' OR p.category IN (SELECT value FROM json_each(:categories)))"
        " AND (:splits = '[]' OR p.split IN (SELECT value FROM json_each(:splits)))"
        " ORDER BY o.probability, o.showing_id LIMIT 1",
        {
            "rater": rater, "least": 1.0 - CONFIDENT, "since": since, "session": session_id, "near": json.dumps(sorted(near)),
            "categories": json.dumps(list(categories)), "splits": json.dumps(list(splits)),
        },
    )  # fmt: skip
    return next(iter(list(rows)), None)


def ask(db: Database, session_id: int) -> Question | None:
    """Return the question that a session's second looks leave open, in a write transaction; None where there is none.

    It tells what the reward model expected, so it is stored that the rater saw that.
    """
    row = next(iter(list(db.query(f"{_LOOKS} AND i.session_id = ? ORDER BY r.id LIMIT 1", [session_id]))), None)
    if row is None:
        return None
    predictions.remember_view(db, row["prediction_id"], row["first_showing_id"], row["first_event_id"])
    predictions.remember_view(db, row["prediction_id"], row["showing_id"], row["second_event_id"])
    showing = comparisons.get_showing(db, row["showing_id"])
    assert showing is not None
    first = _turned(row["first_outcome"], row["is_swapped"])
    return Question(
        showing,
        wording.of_judgement(first, row["first_strength"], None),
        row["first_at"],
        wording.of_judgement(row["second_outcome"], row["second_strength"], None),
        row["checkpoint"],
        _turned(first, is_swapped=True),
        1.0 - row["probability"],
        is_same=first == row["second_outcome"],
    )


def settle(db: Database, showing_id: int, outcome: Outcome, *, uuid: str | None = None, text: str = "") -> Settlement:
    """Store what a person says of the two votes, in a write transaction.

    Args:
        db: in a transaction.
        showing_id: the second look.
        outcome: slip corrects the first vote to the second, model lets both stand, gap is for the guideline, later leaves it open.
        uuid: of the client's press; the same uuid again returns the answer stored first.
        text: with gap: the whole guideline with what it is to say now; empty or unchanged notes the gap and no more.

    Raises:
        RatingError: there is no such second look, it is settled, or both votes prefer the same answer and so none was a slip.
        DataError: the guideline is too long.
    """
    key = uuid or str(uuid_module.uuid4())
    if again := _by_uuid(db, key):
        return again
    row = next(iter(list(db.query(f"{_LOOKS} AND i.showing_id = ?", [showing_id]))), None)
    if row is None:
        raise RatingError(
            "Nothing is asked about this pair any more: it was answered, or one of its votes was changed."
        )
    is_slip, version = outcome == "slip", None
    if is_slip and _turned(row["first_outcome"], row["is_swapped"]) == row["second_outcome"]:
        raise RatingError("Both of your votes prefer the same answer, so the first one was not a slip.")
    corrected = None
    if is_slip:
        to: Any = _turned(row["second_outcome"], row["is_swapped"])
        strength = row["second_strength"]
        corrected = ratings.correct(db, row["first_event_id"], to, strength=strength, rater=row["rater"]).id
    if outcome == "gap" and (wanted := guidelines.without_open_line(text)):
        before = guidelines.current(db)
        written = guidelines.write(db, wanted)
        version = None if written == before else written.version
    stored = _insert(
        db,
        {
            "uuid": key, "showing_id": showing_id, "outcome": outcome, "first_event_id": row["first_event_id"],
            "second_event_id": row["second_event_id"], "correction_id": corrected, "guideline_id": version, "rater": row["rater"],
        },
    )  # fmt: skip
    return _said(db, stored)


def take_back(db: Database, rater: str, uuid: str | None = None, since: str = "") -> Settlement | None:
    """Take back the rater's newest answer, where nothing was judged after it; returns it, else None.

    The correction of a slip is undone with it. The question is open again.

    Args:
        db: in a transaction.
        rater: who takes it back.
        uuid: of the client's press; the same uuid again returns what was taken back first.
        since: a UTC time; only answers given from then on.
    """
    key = uuid or str(uuid_module.uuid4())
    again = next(iter(list(db.query("SELECT supersedes FROM settlements WHERE uuid = ?", [key]))), None)
    if again and again["supersedes"]:
        return _said(db, again["supersedes"])
    sql = "SELECT * FROM settled WHERE rater = ? AND created_at >= ? ORDER BY id DESC LIMIT 1"
    last = next(iter(list(db.query(sql, [rater, since]))), None)
    if last is None or undo.last_given(db, rater, since) > last["last_event_id"]:
        return None
    told = _said(db, last["id"])
    if last["outcome"] == "slip":
        undo.newest(db, rater, since=since)
    kept = {name: last[name] for name in ("showing_id", "first_event_id", "second_event_id", "rater")}
    _insert(db, kept | {"uuid": key, "outcome": "undo", "supersedes": last["id"]})
    return told


def gaps(db: Database, limit: int = 20) -> list[Gap]:
    """Return the newest gaps of the guideline."""
    rows = db.query(
        "SELECT t.created_at, json_extract(p.messages, '$[#-1].content') AS prompt, t.guideline_id FROM settled t"
        " JOIN prompts p ON p.id = t.prompt_id WHERE t.outcome = 'gap' ORDER BY t.id DESC LIMIT ?",
        [limit],
    )
    return [Gap(**row) for row in rows]


def settled(db: Database, rater: str = "", newest: int = -1) -> list[tuple[str, int]]:
    """Return how the newest disagreements ended, and their prompts; those left open are left out."""
    sql = (
        "SELECT outcome, prompt_id FROM settled WHERE outcome != 'later' AND (:rater = '' OR rater = :rater)"
        " ORDER BY id DESC LIMIT :newest"
    )
    return [(row["outcome"], row["prompt_id"]) for row in db.query(sql, {"rater": rater, "newest": newest})]


def _turned(outcome: str, is_swapped: bool) -> str:
    """Return an outcome as it is with the sides swapped, or as before."""
    return SIDES[outcome == SIDES[0]] if is_swapped and outcome in SIDES else outcome


def _insert(db: Database, row: dict[str, Any]) -> int:
    stored: Any = db.table("settlements").insert(row | {"last_event_id": ratings.last(db), "created_at": now()}).last_pk
    return stored


def _by_uuid(db: Database, uuid: str) -> Settlement | None:
    row = next(iter(list(db.query("SELECT id FROM settlements WHERE uuid = ? AND outcome != 'undo'", [uuid]))), None)
    return _said(db, row["id"]) if row else None


def _said(db: Database, settlement_id: int) -> Settlement:
    """Say an answer in words."""
    row = next(
        db.query(
            "SELECT t.outcome, t.guideline_id, r.outcome AS corrected, r.strength FROM settlements t"
            " LEFT JOIN rating_events r ON r.id = t.correction_id WHERE t.id = ?",
            [settlement_id],
        )
    )
    said = SETTLED[row["outcome"]]
    if row["guideline_id"]:
        said += f"; version {row['guideline_id']} of the guideline was written for it"
    return Settlement(settlement_id, row["outcome"], said)


_OPEN = """SELECT c.showing_id, c.event_id, c.rater, c.prediction_id, c.probability FROM contradictions c
WHERE c.probability <= :least AND (:rater = '' OR c.rater = :rater) AND NOT EXISTS (SELECT 1 FROM session_items i
    CROSS JOIN settled t ON t.showing_id = i.showing_id AND t.outcome != 'later' WHERE i.repeat_of = c.showing_id)
ORDER BY c.probability, c.showing_id"""
"""By the index of their probabilities, so that the first ones are found without reading all."""
_LOOKS = """
SELECT i.showing_id, i.is_swapped, r.rater, r.id AS second_event_id, r.outcome AS second_outcome, r.strength AS second_strength,
    c.showing_id AS first_showing_id, c.event_id AS first_event_id, e.outcome AS first_outcome, e.strength AS first_strength,
    (SELECT created_at FROM rating_events WHERE showing_id = c.showing_id ORDER BY id LIMIT 1) AS first_at, c.prediction_id, c.probability, k.name AS checkpoint
FROM session_items i CROSS JOIN rating_events r ON r.showing_id = i.showing_id AND r.outcome NOT IN ('undo', 'skip')
    AND NOT EXISTS (SELECT 1 FROM rating_events n WHERE n.supersedes = r.id)
JOIN contradictions c ON c.showing_id = i.repeat_of JOIN rating_events e ON e.id = c.event_id
JOIN predictions q ON q.id = c.prediction_id JOIN checkpoints k ON k.id = q.checkpoint_id
WHERE i.prediction_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM settled t WHERE t.showing_id = i.showing_id)
"""
"""Second looks with a vote that counts and no answer yet, whose first vote still contradicts the reward model."""
