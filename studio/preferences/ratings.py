"""Ratings: append-only events, the owner of `rating_events` and the view `ratings`.

An event is never changed. Undo and correction are new events that supersede an older one; the view `ratings` shows the
event of each chain that counts. The outcome is stored by screen position; who won follows from the stored showing.
"""

import json
import uuid as uuid_module
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from sqlite_utils import Database

from studio.errors import RatingError
from studio.preferences.judgements import (
    NO_REMARKS,
    NOBODY,
    Imported,
    Remarks,
    check,
    read_remarks,
    stored_ranks,
    stored_remarks,
)
from studio.preferences.prompts import staged_id
from studio.preferences.vocabulary import OUTCOMES, SIDES, Outcome, PairOutcome
from studio.workspace import now


@dataclass(frozen=True)
class Rating:
    """A recorded event; `outcome` may also be undo."""

    id: int
    comparison_id: int
    showing_id: int | None
    outcome: str
    strength: int | None
    ranks: str | None = None
    """JSON: rank by screen position, of a ranking."""
    edited_response_id: int | None = None
    """The ideal answer, where it was written over another; left is then the ideal one."""
    judged_at: str | None = None
    """When it was judged, where that was elsewhere; UTC."""


ENOUGH = 50
"""Ratings after which a first reward model is worth training."""


def record(
    db: Database,
    showing_id: int,
    outcome: Outcome,
    *,
    strength: int | None = None,
    reason: str | None = None,
    ranks: Sequence[int] | None = None,
    remarks: Remarks = NO_REMARKS,
    uuid: str | None = None,
    elapsed_ms: int | None = None,
    judged_at: str | None = None,
) -> Rating:
    """Record one judgement on a showing; it is on disk when the transaction is committed.

    Args:
        db: in a transaction.
        showing_id: the showing on the screen.
        outcome: by screen position; left, right and tie judge two responses, ranking three or more.
        strength: 1 slightly, 2, 3 much better; only with left or right.
        reason: why it was skipped.
        ranks: for a ranking: rank by screen position, 1 the best, equal ranks a tie.
        remarks: note, flags and attributes given with it.
        uuid: of the client's press; the same uuid again returns the event recorded first.
        elapsed_ms: from display to press.
        judged_at: when it was judged, where that was elsewhere; UTC.

    Raises:
        RatingError: unknown showing or outcome, or the showing is rated already (undo first).
    """
    check(outcome, strength)
    key = uuid or str(uuid_module.uuid4())
    if again := _last(db, "uuid", key):
        return again
    sql = (
        "SELECT comparison_id, rater, (SELECT count(*) FROM comparison_responses r"
        " WHERE r.comparison_id = s.comparison_id) AS num FROM showings s WHERE id = ?"
    )
    showing = next(db.query(sql, [showing_id]), None)
    if showing is None:
        raise RatingError(f"Showing {showing_id} does not exist in this workspace. Reload the page.")
    newest = _last(db, "showing_id", showing_id)
    if newest and newest.outcome != "undo":
        raise RatingError(f"This pair is rated already ({newest.outcome}). Undo it first to rate it again.")
    event = {
        "uuid": key,
        "comparison_id": showing["comparison_id"],
        "showing_id": showing_id,
        "outcome": outcome,
        "strength": strength,
        "reason": reason,
        "ranks": stored_ranks(outcome, ranks, showing["num"]),
        "rater": showing["rater"],
        "elapsed_ms": elapsed_ms,
        "judged_at": judged_at,
        "supersedes": newest.id if newest else None,
    }
    return insert(db, event | stored_remarks(remarks, showing["num"]))


def annotate(db: Database, rating_id: int, remarks: Remarks, uuid: str | None = None) -> Rating:
    """Replace a rating's remarks after the vote: a new event with the same judgement supersedes it.

    Raises:
        RatingError: there is no such rating, it does not count any more, or nothing would change.
    """
    key = uuid or str(uuid_module.uuid4())
    if again := _last(db, "uuid", key):
        return again
    row = next(db.query("SELECT * FROM ratings WHERE id = ?", [rating_id]), None)
    if row is None:
        raise RatingError(f"Rating {rating_id} no longer counts, or never existed. Reload the page.")
    columns = stored_remarks(remarks, len(json.loads(row["response_ids"])))
    if read_remarks(columns) == read_remarks(row):
        raise RatingError(f"Rating {rating_id} has this note, these flags and scales already; nothing was changed.")
    kept = {name: row[name] for name in ("comparison_id", "outcome", "rater", *OPTIONAL)}
    return insert(db, kept | columns | {"uuid": key, "supersedes": rating_id, "restores": None})


def record_edit(
    db: Database,
    comparison_id: int,
    edited_response_id: int,
    *,
    uuid: str,
    rater: str = "person",
    elapsed_ms: int | None = None,
) -> Rating:
    """Record, in an open transaction, that the ideal answer in slot 0 is better than the one it was written over."""
    if again := _last(db, "uuid", uuid):
        return again
    newest = _last(db, "comparison_id", comparison_id)
    if newest and newest.outcome != "undo":
        raise RatingError("This ideal answer is recorded already.")
    event = {"uuid": uuid, "comparison_id": comparison_id, "outcome": "left", "rater": rater, "elapsed_ms": elapsed_ms}
    return insert(db, event | {"edited_response_id": edited_response_id, "supersedes": newest.id if newest else None})


def record_import(
    db: Database,
    comparison_id: int,
    strength: int | None = None,
    *,
    outcome: PairOutcome | Literal["ranking"] = "left",
    said: Imported = NOBODY,
    is_first: bool = False,
) -> Rating:
    """Record an imported judgement by slot, or by the showing it names; the same event again returns the one recorded first.

    `is_first`: its comparison is new, so that no earlier event need be looked for.
    """
    if not is_first and (before := find_import(db, comparison_id, said.uuid)):
        return before
    event: dict[str, Any] = vars(said) | {"comparison_id": comparison_id, "outcome": outcome, "is_imported": 1}
    event["uuid"] = said.uuid or str(uuid_module.uuid4())
    return insert(db, event | {"strength": strength if outcome in SIDES else None})


def publish(db: Database, created_at: str, first: int, last: int) -> None:
    """Bring imported judgements of new comparisons of these numbers from the attached `staged`, as `prompts.publish` does."""
    this = staged_id("comparisons", "comparison")
    db.execute(
        f"INSERT INTO main.rating_events (uuid, comparison_id, is_imported, created_at, {_SAID})"
        f" SELECT 'import-' || ({this}) || coalesce('-' || name, ''), {this}, 1, :at, {_SAID}"
        " FROM staged.events WHERE comparison BETWEEN :first AND :last ORDER BY comparison",
        {"at": created_at, "first": first, "last": last},
    )


def publish_judgements(db: Database) -> None:
    """Bring imported judgements of comparisons that are here from the attached `staged`, in the caller's transaction."""
    db.execute(
        f"INSERT INTO main.rating_events (uuid, comparison_id, is_imported, created_at, {_SAID})"
        f" SELECT uuid, comparison, 1, ?, {_SAID} FROM staged.judgements ORDER BY n",
        [now()],
    )


def has_staged_since(db: Database, event_id: int) -> bool:
    """Return whether an imported judgement after this one is of a comparison that the attached `staged` judges too."""
    sql = "SELECT 1 FROM main.rating_events e JOIN staged.judgements j ON j.comparison = e.comparison_id WHERE e.id > ? AND e.is_imported LIMIT 1"
    return db.execute(sql, [event_id]).fetchone() is not None


def last(db: Database) -> int:
    """Return the id of the newest event; 0 where there is none."""
    return db.execute("SELECT coalesce(max(id), 0) FROM main.rating_events").fetchone()[0]


@contextmanager
def uncounted(db: Database) -> Iterator[None]:
    """Leave judgements stored in this block out of the tallies, inside the caller's transaction, for `count_staged`."""
    sql = "SELECT sql FROM main.sqlite_master WHERE type = 'trigger' AND name = 'rating_events_tally'"
    (trigger,) = db.execute(sql).fetchone()
    db.execute("DROP TRIGGER main.rating_events_tally")
    yield
    db.execute(trigger)


def count_staged(db: Database) -> None:
    """Add all judgements of the attached `staged` to the tallies."""
    db.execute(
        "INSERT INTO rating_tallies SELECT outcome, rater, count(*) FROM staged.events WHERE true GROUP BY outcome, rater"
        " ON CONFLICT DO UPDATE SET number = number + excluded.number"
    )


def uncount(db: Database, first: int, last: int) -> None:
    """Take judgements of these ids, which leave the workspace, out of the tallies."""
    rows = db.execute(
        "SELECT outcome, rater, count(*) FROM main.rating_events e WHERE e.id BETWEEN ? AND ? AND outcome != 'undo'"
        " AND NOT EXISTS (SELECT 1 FROM main.rating_events n WHERE n.supersedes = e.id) GROUP BY outcome, rater",
        [first, last],
    ).fetchall()
    for outcome, rater, number in rows:
        values = [number, outcome, rater]
        db.execute("UPDATE rating_tallies SET number = number - ? WHERE outcome = ? AND rater = ?", values)


def find_import(db: Database, comparison_id: int, uuid: str = "") -> Rating | None:
    """Return the newest version of an imported event; without a uuid, of the one that nobody in particular gave."""
    sql = f"SELECT {RATING} FROM rating_events WHERE comparison_id = ? AND is_imported AND rater = 'import' ORDER BY id LIMIT 1"
    row = None if uuid else db.execute(sql, [comparison_id]).fetchone()
    found = _last(db, "uuid", uuid) if uuid else Rating(*row) if row else None
    while found and (newer := _last(db, "supersedes", found.id)):
        found = newer
    return found


def restore_event(db: Database, event: dict[str, Any]) -> int:
    """Store an event of our own export as it was, under a new id; returns the id of the one with its uuid."""
    if again := _last(db, "uuid", event["uuid"]):
        return again.id
    names = ("uuid", "comparison_id", "outcome", "rater", "is_imported", *OPTIONAL)
    return insert(db, {name: event.get(name) for name in names} | {"created_at": event.get("created_at") or now()}).id


def find_event(db: Database, uuid: str) -> Rating | None:
    """Return the event with this uuid, or None."""
    return _last(db, "uuid", uuid)


def is_rated(db: Database, showing_id: int) -> bool:
    """Return whether a judgement of this showing counts."""
    return bool(list(db.query("SELECT 1 FROM ratings WHERE showing_id = ?", [showing_id])))


def of_showing(db: Database, showing_id: int) -> Rating | None:
    """Return the rating of a showing that counts, or None."""
    found = db.execute(f"SELECT {RATING} FROM ratings WHERE showing_id = ?", [showing_id]).fetchone()
    return Rating(*found) if found else None


def correct(
    db: Database,
    event_id: int,
    outcome: Outcome,
    *,
    strength: int | None = None,
    ranks: Sequence[int] | None = None,
    rater: str = "person",
) -> Rating:
    """Replace a judgement that counts: a new event supersedes it. Sides as they were shown.

    Note, flags and attributes stay.

    Raises:
        RatingError: there is no such rating, it no longer counts, or the outcome does not fit.
    """
    check(outcome, strength)
    row = next(db.query("SELECT * FROM rating_events WHERE id = ?", [event_id]), None)
    if row is None:
        raise RatingError(f"There is no rating {event_id}. See them with: rlhf-studio history")
    if row["outcome"] == "undo" or list(db.query("SELECT 1 FROM rating_events WHERE supersedes = ?", [event_id])):
        raise RatingError(f"Rating {event_id} no longer counts: it was taken back or corrected. Correct the newer one.")
    sql = "SELECT count(*) AS n FROM comparison_responses WHERE comparison_id = ?"
    stored = stored_ranks(outcome, ranks, next(db.query(sql, [row["comparison_id"]]))["n"])
    if (row["outcome"], row["strength"], row["ranks"]) == (outcome, strength, stored):
        raise RatingError(f"Rating {event_id} already says so; nothing was changed.")
    kept = ("comparison_id", "showing_id", "note", "flags", "attributes", "edited_response_id")
    event = {name: row[name] for name in kept} | {"uuid": str(uuid_module.uuid4()), "supersedes": event_id}
    return insert(db, event | {"outcome": outcome, "strength": strength, "ranks": stored, "rater": rater})


def summary(db: Database) -> dict[str, int]:
    """Count ratings by outcome and in all (`rated`: without skips); `person`: given in the browser or terminal.

    Triggers keep the counts, so no rating is read.
    """
    rows = list(db.query("SELECT outcome, rater, number AS n FROM rating_tallies"))
    by_outcome = {outcome: sum(row["n"] for row in rows if row["outcome"] == outcome) for outcome in OUTCOMES}
    return by_outcome | {
        "rated": sum(by_outcome.values()) - by_outcome["skip"],
        "person": sum(row["n"] for row in rows if row["rater"] == "person"),
        "import": sum(row["n"] for row in rows if row["rater"] == "import"),
    }


def verdicts(db: Database, run_name: str) -> list[dict[str, Any]]:
    """Return the verdicts that count on a sampling run with an opponent, in the order its pairs were made.

    Returns:
        Dicts with comparison_id, prompt_id, messages, category, policy and opponent (checkpoint names), policy_text,
        opponent_text, and winner: policy, opponent or tie (both-bad is a tie). Skips are left out.
    """
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
        f" WHERE u.name = ? AND r.outcome NOT IN ('skip', 'ranking') AND {_NO_REPEAT} ORDER BY c.id",
        [run_name],
    )
    return [row | {"messages": json.loads(row["messages"])} for row in rows]


def list_events(db: Database, *, limit: int = 100, after: int = 0) -> list[dict[str, Any]]:
    """Return events as dicts, oldest first, with id > `after`; a limit of -1 gives all."""
    return list(db.query("SELECT * FROM rating_events WHERE id > ? ORDER BY id LIMIT ?", [after, limit]))


_NO_REPEAT = "NOT EXISTS (SELECT 1 FROM session_items i WHERE i.showing_id = r.showing_id AND i.arm = 'repeat')"
"""A repeat measures the rater; it is not a second judgement of its pair."""
RATING = "id, comparison_id, showing_id, outcome, strength, ranks, edited_response_id, judged_at"
_SAID = "outcome, strength, rater, ranks, margin, judged_at, elapsed_ms, note, flags, facts"
"""What a judgement of the attached `staged` says."""


def _last(db: Database, column: str, value: Any) -> Rating | None:
    sql = f"SELECT {RATING} FROM rating_events WHERE {column} = ? ORDER BY id DESC LIMIT 1"
    found = db.execute(sql, [value]).fetchone()
    return Rating(*found) if found else None


OPTIONAL = (
    "showing_id", "strength", "reason", "elapsed_ms", "supersedes", "ranks", "note", "flags", "attributes",
    "edited_response_id", "restores", "judged_at", "margin", "facts",
)  # fmt: skip


def insert(db: Database, event: dict[str, Any]) -> Rating:
    """Add an event; columns of `OPTIONAL` may be missing."""
    row: dict[str, Any] = dict.fromkeys(OPTIONAL) | {"is_imported": 0, "created_at": now()} | event
    stored = db.execute(
        "INSERT INTO main.rating_events (uuid, comparison_id, showing_id, outcome, strength, reason, rater, elapsed_ms,"
        " supersedes, created_at, ranks, note, flags, attributes, edited_response_id, restores, judged_at, margin, facts,"
        " is_imported) VALUES (:uuid, :comparison_id, :showing_id, :outcome, :strength, :reason, :rater, :elapsed_ms, :supersedes,"
        " :created_at, :ranks, :note, :flags, :attributes, :edited_response_id, :restores, :judged_at, :margin, :facts, :is_imported)",
        row,
    )
    assert stored.lastrowid is not None
    return Rating(stored.lastrowid, *(row[name] for name in RATING.split(", ")[1:]))
