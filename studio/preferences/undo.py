"""Takes ratings back: an undo is an event too, and what it took back can be counted again."""

import uuid as uuid_module
from typing import Any

from sqlite_utils import Database

from studio.preferences.judgements import NO_REMARKS, Remarks, read_remarks
from studio.preferences.ratings import OPTIONAL, RATING, Rating, insert


def newest(db: Database, rater: str = "person", uuid: str | None = None, since: str = "") -> Rating | None:
    """Take back the rater's newest rating, edit or correction that counts, however deep; returns it, or None.

    Where it had replaced an earlier one (a correction, other remarks), that one counts again, at its old place in the
    order; else the showing is open again and comes next.

    Args:
        db: in a transaction; it is on disk when that is committed.
        rater: who takes it back.
        uuid: of the client's press; the same uuid again returns what was taken back first.
        since: a UTC time; only ratings given from then on.
    """
    key = uuid or str(uuid_module.uuid4())
    again = db.query(
        f"SELECT {RATING} FROM rating_events WHERE id = (SELECT supersedes FROM rating_events WHERE uuid = ?)", [key]
    )
    if taken_back := next((Rating(**row) for row in again), None):
        return taken_back
    last = _newest(db, rater, since)
    if last is None:
        return None
    event = {"uuid": key, "comparison_id": last.comparison_id, "showing_id": last.showing_id, "outcome": "undo"}
    taken = insert(db, event | {"rater": rater, "supersedes": last.id})
    if earlier := _earlier(db, last.id):
        judgement = {name: earlier[name] for name in ("comparison_id", "outcome", "rater", *OPTIONAL)}
        links = {"uuid": str(uuid_module.uuid4()), "supersedes": taken.id, "restores": earlier["id"]}
        insert(db, judgement | links)
    return last


def last_given(db: Database, rater: str = "person", since: str = "") -> int:
    """Return the event in which what undo would take back was first given; 0 where there is nothing."""
    last = _newest(db, rater, since)
    return _given(db, last.id) if last else 0


def take_back(db: Database, showing_id: int, uuid: str) -> Rating | None:
    """Undo what was said on a showing, in an open transaction; returns it, or None where nothing counts."""
    sql = f"SELECT {RATING}, rater FROM rating_events WHERE showing_id = ? ORDER BY id DESC LIMIT 1"
    row = next(db.query(sql, [showing_id]), None)
    if row is None or row["outcome"] == "undo":
        return None
    event = {"uuid": uuid, "comparison_id": row["comparison_id"], "showing_id": showing_id, "outcome": "undo"}
    insert(db, event | {"rater": row.pop("rater"), "supersedes": row["id"]})
    return Rating(**row)


def take_back_event(db: Database, event_id: int) -> None:
    """Undo a judgement that counts, in the caller's transaction; nothing where it is undone already."""
    sql = "SELECT comparison_id, showing_id, outcome, rater FROM rating_events WHERE id = ?"
    row = next(db.query(sql, [event_id]))
    if row.pop("outcome") != "undo":
        insert(db, row | {"uuid": str(uuid_module.uuid4()), "outcome": "undo", "supersedes": event_id})


def _newest(db: Database, rater: str, since: str) -> Rating | None:
    """Return what undo takes back: the judgement given last of those that count; a restored one has its first date."""
    rows = db.query(
        f"SELECT {RATING}, restores FROM rating_events newest WHERE rater = ? AND outcome != 'undo'"
        " AND (showing_id IS NOT NULL OR edited_response_id IS NOT NULL OR supersedes IS NOT NULL)"
        " AND NOT EXISTS (SELECT 1 FROM rating_events n WHERE n.supersedes = newest.id) ORDER BY id DESC",
        [rater],
    )
    found: list[tuple[int, Rating]] = []
    for row in rows:
        restores = row.pop("restores")
        found.append((_given(db, row["id"]), Rating(**row)))
        if restores is None:
            break
    first, last = max(found, key=lambda pair: pair[0], default=(0, None))
    sql = "SELECT 1 FROM rating_events WHERE id = ? AND created_at >= ?"
    return last if last and list(db.query(sql, [first, since])) else None


def _given(db: Database, event_id: int) -> int:
    """Return the event that first recorded this judgement (a restored rating points to its original)."""
    restored = next(db.query("SELECT restores FROM rating_events WHERE id = ?", [event_id]))["restores"]
    return event_id if restored is None else _given(db, restored)


def counting(db: Database, taken: Rating) -> Rating | None:
    """Return the rating that counts instead of one taken back: the one it had corrected, or None."""
    sql = (
        f"SELECT {RATING} FROM rating_events WHERE supersedes = (SELECT id FROM rating_events WHERE supersedes = ?)"
        " AND outcome != 'undo'"
    )
    return next((Rating(**row) for row in db.query(sql, [taken.id])), None)


def remarks_taken_back(db: Database, showing_id: int) -> Remarks:
    """Return the remarks of a showing's judgement that was taken back, for the next one; else empty remarks."""
    sql = (
        "SELECT t.note, t.flags, t.attributes FROM undone_showings u JOIN rating_events e ON e.id = u.event_id"
        " JOIN rating_events t ON t.id = e.supersedes WHERE u.showing_id = ?"
    )
    return next((read_remarks(row) for row in db.query(sql, [showing_id])), NO_REMARKS)


def _earlier(db: Database, event_id: int) -> dict[str, Any] | None:
    """Return the judgement that this event replaced, if any; for a restored one, the original decides."""
    sql = "SELECT * FROM rating_events WHERE id = (SELECT supersedes FROM rating_events WHERE id = ?) AND outcome != 'undo'"
    return next(db.query(sql, [_given(db, event_id)]), None)
