"""Ratings: append-only events, the owner of `rating_events` and the view `ratings`.

An event is never changed. Undo and correction are new events that supersede an older one; the view `ratings` shows the
event of each chain that counts. The outcome is stored by screen position; who won follows from the stored showing.
"""

import json
import uuid as uuid_module
from dataclasses import dataclass
from typing import Any, Literal

from sqlite_utils import Database

from studio.errors import RatingError
from studio.workspace import Workspace, now

Outcome = Literal["left", "right", "tie", "both_bad", "skip"]
OUTCOMES: tuple[Outcome, ...] = ("left", "right", "tie", "both_bad", "skip")
SKIP_REASONS = ("cannot judge", "broken prompt", "same answer", "other")


@dataclass(frozen=True)
class Rating:
    """A recorded event. `outcome` may also be undo."""

    id: int
    comparison_id: int
    showing_id: int | None
    outcome: str
    strength: int | None


def record(
    ws: Workspace,
    showing_id: int,
    outcome: Outcome,
    *,
    strength: int | None = None,
    reason: str | None = None,
    uuid: str | None = None,
    elapsed_ms: int | None = None,
) -> Rating:
    """Record one judgement on a showing; it is on disk when this returns.

    Args:
        ws: the workspace.
        showing_id: what was on the screen.
        outcome: by screen position.
        strength: 1 slightly, 2, 3 much better; only with left or right.
        reason: why it was skipped.
        uuid: of the client's press; the same uuid again returns the event recorded first.
        elapsed_ms: from display to press.

    Raises:
        RatingError: unknown showing or outcome, or the showing is rated already (undo first).
    """
    _check(outcome, strength)
    key = uuid or str(uuid_module.uuid4())
    with ws.write() as db:
        if again := _by_uuid(db, key):
            return again
        showing = next(db.query("SELECT comparison_id, rater FROM showings WHERE id = ?", [showing_id]), None)
        if showing is None:
            raise RatingError(f"Showing {showing_id} does not exist in this workspace. Reload the page.")
        newest = _newest_event(db, showing_id)
        if newest and newest.outcome != "undo":
            raise RatingError(f"This pair is rated already ({newest.outcome}). Undo it first to rate it again.")
        event = {
            "uuid": key,
            "comparison_id": showing["comparison_id"],
            "showing_id": showing_id,
            "outcome": outcome,
            "strength": strength,
            "reason": reason,
            "rater": showing["rater"],
            "elapsed_ms": elapsed_ms,
            "supersedes": newest.id if newest else None,
        }
        return _insert(db, event)


def record_import(
    db: Database,
    comparison_id: int,
    strength: int | None = None,
    *,
    outcome: Literal["left", "tie", "both_bad"] = "left",
) -> Rating:
    """Record the judgement an imported comparison came with: slot 0 won (left), or neither. There was no showing."""
    event = {"uuid": f"import-{comparison_id}", "comparison_id": comparison_id, "outcome": outcome, "rater": "import"}
    return _by_uuid(db, event["uuid"]) or _insert(db, event | {"strength": strength if outcome == "left" else None})


def undo(ws: Workspace, rater: str = "person", uuid: str | None = None) -> Rating | None:
    """Take back the rater's newest rating that counts, of any depth; returns it, or None when there is none.

    The taken-back showing is open again and comes next.
    """
    key = uuid or str(uuid_module.uuid4())
    with ws.write() as db:
        again = db.query(
            "SELECT e.id, e.comparison_id, e.showing_id, e.outcome, e.strength FROM rating_events u"
            " JOIN rating_events e ON e.id = u.supersedes WHERE u.uuid = ?",
            [key],
        )
        if taken_back := next((Rating(**row) for row in again), None):
            return taken_back
        rows = db.query(
            "SELECT id, comparison_id, showing_id, outcome, strength FROM ratings"
            " WHERE rater = ? AND showing_id IS NOT NULL ORDER BY id DESC LIMIT 1",
            [rater],
        )
        last = next((Rating(**row) for row in rows), None)
        if last is None:
            return None
        event = {"uuid": key, "comparison_id": last.comparison_id, "showing_id": last.showing_id, "outcome": "undo"}
        _insert(db, event | {"rater": rater, "supersedes": last.id})
        return last


def correct(
    ws: Workspace, event_id: int, outcome: Outcome, *, strength: int | None = None, rater: str = "person"
) -> Rating:
    """Put another judgement in the place of one that counts: a new event that supersedes it. Sides as they were shown.

    Raises:
        RatingError: there is no such rating, it counts no more, or the outcome does not fit.
    """
    _check(outcome, strength)
    with ws.write() as db:
        row = next(
            db.query("SELECT comparison_id, showing_id, outcome FROM rating_events WHERE id = ?", [event_id]), None
        )
        if row is None:
            raise RatingError(f"There is no rating {event_id}. See them with: rlhf-studio history")
        if row["outcome"] == "undo" or list(db.query("SELECT 1 FROM rating_events WHERE supersedes = ?", [event_id])):
            raise RatingError(
                f"Rating {event_id} counts no more: it was taken back or corrected. Correct the newer one."
            )
        if row["outcome"] == "ranking":
            raise RatingError(f"Rating {event_id} is a ranking. Undo it on the Rate page and rank again.")
        event = {
            "uuid": str(uuid_module.uuid4()),
            "comparison_id": row["comparison_id"],
            "showing_id": row["showing_id"],
            "outcome": outcome,
            "strength": strength,
            "rater": rater,
            "supersedes": event_id,
        }
        return _insert(db, event)


def summary(ws: Workspace) -> dict[str, int]:
    """How many ratings count, by outcome, and in all (`rated`: without skips); `person`: given in the browser or terminal."""
    with ws.read() as db:
        rows = list(db.query("SELECT outcome, rater, count(*) AS n FROM ratings GROUP BY outcome, rater"))
    by_outcome = {outcome: sum(row["n"] for row in rows if row["outcome"] == outcome) for outcome in OUTCOMES}
    return by_outcome | {
        "rated": sum(by_outcome.values()) - by_outcome["skip"],
        "person": sum(row["n"] for row in rows if row["rater"] == "person"),
        "import": sum(row["n"] for row in rows if row["rater"] == "import"),
    }


def count_since(ws: Workspace, when: str) -> int:
    """Ratings that count and were given after this UTC time: what a reward model made then has not seen."""
    with ws.read() as db:
        return next(db.query("SELECT count(*) AS n FROM ratings WHERE created_at > ? AND outcome != 'skip'", [when]))[
            "n"
        ]


def verdicts(ws: Workspace, run_name: str) -> list[dict[str, Any]]:
    """What the ratings that count say of a sampling run with an opponent, in the order its pairs were made.

    Returns:
        Dicts with comparison_id, prompt_id, messages, category, policy and opponent (checkpoint names), policy_text,
        opponent_text, and winner: policy, opponent or tie (both-bad is a tie). Skips are left out.
    """
    with ws.read() as db:
        rows = db.query(
            "SELECT c.id AS comparison_id, c.prompt_id, p.messages, p.category, a.text AS policy_text,"
            " b.text AS opponent_text, ka.name AS policy, kb.name AS opponent, CASE"
            " WHEN r.outcome IN ('tie', 'both_bad') THEN 'tie'"
            " WHEN (r.outcome = 'left') = (r.left_id = a.id) THEN 'policy' ELSE 'opponent' END AS winner"
            " FROM ratings r JOIN comparisons c ON c.id = r.comparison_id JOIN prompts p ON p.id = c.prompt_id"
            " JOIN runs u ON u.id = c.run_id"
            " JOIN run_parents pa ON pa.run_id = u.id AND pa.role = 'policy'"
            " JOIN run_parents pb ON pb.run_id = u.id AND pb.role = 'opponent'"
            " JOIN responses a ON a.id IN (r.left_id, r.right_id) AND a.checkpoint_id = pa.checkpoint_id"
            " JOIN responses b ON b.id IN (r.left_id, r.right_id) AND b.checkpoint_id = pb.checkpoint_id AND b.id != a.id"
            " JOIN checkpoints ka ON ka.id = a.checkpoint_id JOIN checkpoints kb ON kb.id = b.checkpoint_id"
            " WHERE u.name = ? AND r.outcome != 'skip' ORDER BY c.id",
            [run_name],
        )
        return [row | {"messages": json.loads(row["messages"])} for row in rows]


def list_preferences(ws: Workspace) -> list[dict[str, Any]]:
    """The ratings that count, with the texts by screen position, in the order they were given."""
    with ws.read() as db:
        rows = db.query(
            "SELECT r.outcome, r.strength, r.rater, r.reason, r.showing_id, r.elapsed_ms, p.messages, p.category, p.split,"
            " a.text AS left, b.text AS right FROM ratings r JOIN comparisons c ON c.id = r.comparison_id"
            " JOIN prompts p ON p.id = c.prompt_id JOIN responses a ON a.id = r.left_id"
            " JOIN responses b ON b.id = r.right_id ORDER BY r.id"
        )
        return [row | {"messages": json.loads(row["messages"])} for row in rows]


def list_events(ws: Workspace, *, limit: int = 100, after: int = 0) -> list[dict[str, Any]]:
    """Events as dicts, oldest first, with id > `after`; a limit of -1 gives all."""
    with ws.read() as db:
        return list(db.query("SELECT * FROM rating_events WHERE id > ? ORDER BY id LIMIT ?", [after, limit]))


def _check(outcome: str, strength: int | None) -> None:
    if outcome not in OUTCOMES:
        raise RatingError(f"{outcome!r} is no outcome; use one of {', '.join(OUTCOMES)}.")
    if strength is not None and (outcome not in ("left", "right") or strength not in (1, 2, 3)):
        raise RatingError(
            f"Strength {strength} does not go with {outcome}: left and right take 1, 2 or 3, the others none."
        )


def _newest_event(db: Database, showing_id: int) -> Rating | None:
    rows = db.query(
        "SELECT id, comparison_id, showing_id, outcome, strength FROM rating_events"
        " WHERE showing_id = ? ORDER BY id DESC LIMIT 1",
        [showing_id],
    )
    return next((Rating(**row) for row in rows), None)


def _by_uuid(db: Database, uuid: str) -> Rating | None:
    rows = db.query("SELECT id, comparison_id, showing_id, outcome, strength FROM rating_events WHERE uuid = ?", [uuid])
    return next((Rating(**row) for row in rows), None)


def _insert(db: Database, event: dict[str, Any]) -> Rating:
    row = (
        dict.fromkeys(("showing_id", "strength", "reason", "elapsed_ms", "supersedes")) | event | {"created_at": now()}
    )
    db.execute(
        "INSERT INTO rating_events (uuid, comparison_id, showing_id, outcome, strength, reason, rater, elapsed_ms,"
        " supersedes, created_at) VALUES (:uuid, :comparison_id, :showing_id, :outcome, :strength, :reason, :rater,"
        " :elapsed_ms, :supersedes, :created_at)",
        row,
    )
    stored = _by_uuid(db, event["uuid"])
    assert stored is not None
    return stored
