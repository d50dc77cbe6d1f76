"""Versions of demonstrations, written elsewhere or edited here: the owner of `demonstration_events`.

A later version of an answer takes the place of the earlier one, which stays in the history and is no demonstration any more.
The same answer of the same person to the same prompt is known by the source's own name of it.
"""

from typing import Any, Literal, NamedTuple

from sqlite_utils import Database

from studio.errors import DataError
from studio.preferences import prompts
from studio.workspace import now

EDITED = "edited-"
"""Prefix of the name of a demonstration that was edited here and has none from its source."""


class Written(NamedTuple):
    """A demonstration as it was recorded.

    Attributes:
        response_id: its response.
        became: new, known, or corrected where it took the place of an earlier version.
        replaced: the response of that earlier version.
    """

    response_id: int
    became: Literal["new", "known", "corrected"]
    replaced: int | None = None


def record(
    db: Database,
    prompt_id: int,
    text: str,
    name: str,
    *,
    rater: str,
    judged_at: str | None = None,
    import_id: int | None = None,
) -> Written:
    """Store an answer that a person wrote, or a later version of it, in the caller's transaction.

    Args:
        db: in a transaction.
        prompt_id: the prompt that it answers.
        text: the answer.
        name: the source's own name of it, the same for each version.
        rater: who wrote it; another person's answer is never replaced.
        judged_at: when, where that is known.
        import_id: the batch in which it came.
    """
    newest = db.execute(
        "SELECT e.id, e.response_id, r.text FROM demonstration_events e JOIN responses r ON r.id = e.response_id"
        " WHERE r.prompt_id = ? AND e.name = ? AND e.rater = ? ORDER BY e.id DESC LIMIT 1",
        [prompt_id, name, rater],
    ).fetchone()
    event_id, earlier = newest[:2] if newest else (None, None)
    if newest and newest[2] == text:
        return Written(newest[1], "known")
    before = db.conn.total_changes
    response_id = prompts.add_response(db, prompt_id, text, "demonstration", import_id=import_id)
    is_new = db.conn.total_changes > before
    if not is_new and event_id is None:  # here without a name: nothing may take its place
        return Written(response_id, "known")
    _insert(db, name, response_id, rater, _end(db, event_id), judged_at)
    return Written(response_id, "new" if event_id is None else "corrected", earlier)


def edit(db: Database, response_id: int, text: str, *, rater: str) -> int:
    """Store a new version of a demonstration that counts, in the caller's transaction; returns the new response's id.

    Raises:
        DataError: it does not count, or the text is empty or that of a demonstration of the prompt.
    """
    prompt_id = _counting(db, response_id)
    if not text:
        raise DataError("The response is empty. Write what the assistant should have said, or hide the demonstration.")
    same = prompts.find_same(db, prompt_id, text, "demonstration")
    if same and _counts(db, same):
        said = (
            "That is its text already" if same == response_id else f"Demonstration {same} of this prompt has this text"
        )
        raise DataError(f"{said}; nothing was changed.")
    name, event_id = _event(db, response_id, rater)
    new = prompts.add_response(db, prompt_id, text, "demonstration")
    _insert(db, name, new, rater, event_id)
    return new


def put_back(db: Database, response_id: int, earlier: int, *, rater: str) -> int:
    """Let an earlier version take the place of a demonstration that counts; returns the earlier version's response.

    Raises:
        DataError: it does not count.
    """
    _counting(db, response_id)
    name, event_id = _event(db, response_id, rater)
    _insert(db, name, earlier, rater, event_id, is_undo=True)
    return earlier


def versions(db: Database, response_id: int) -> list[dict[str, Any]]:
    """Return the changes to a demonstration, oldest first, with `action` edit, the texts `before` and `after`, `text_id` of the one
    before, rater, created_at, and whether it `is_undo`."""
    return list(
        db.query(
            "WITH RECURSIVE newest(id) AS (SELECT max(id) FROM demonstration_events WHERE response_id = ?), chain(id, supersedes) AS ("
            "SELECT id, supersedes FROM demonstration_events WHERE id = (SELECT id FROM newest)"
            " UNION ALL SELECT e.id, e.supersedes FROM demonstration_events e JOIN chain c ON e.id = c.supersedes)"
            " SELECT 'edit' AS action, p.text AS before, r.text AS after, p.id AS text_id, e.rater, e.created_at, e.is_undo FROM chain c"
            " JOIN demonstration_events e ON e.id = c.id JOIN demonstration_events o ON o.id = e.supersedes"
            " JOIN responses r ON r.id = e.response_id JOIN responses p ON p.id = o.response_id ORDER BY e.id",
            [response_id],
        )
    )


def standing(db: Database, response_id: int) -> str:
    """Return why a demonstration does not count, in words; empty where it does."""
    if _counts(db, response_id):
        return ""
    found = db.execute("SELECT max(id) FROM demonstration_events WHERE response_id = ?", [response_id]).fetchone()
    newest = db.execute("SELECT response_id FROM demonstration_events WHERE id = ?", [_end(db, found[0])]).fetchone()
    if newest is None or newest[0] == response_id:
        return "It was taken back, so it is not trained on."
    return f"It is an earlier version; demonstration {newest[0]} has taken its place."


def _counting(db: Database, response_id: int) -> int:
    """Return the prompt of a demonstration that counts."""
    found = db.execute("SELECT prompt_id FROM all_demonstrations WHERE id = ?", [response_id]).fetchone()
    if found is None:
        raise DataError(
            f"Demonstration {response_id} no longer counts: a newer version has taken its place, or it was taken back."
        )
    return found[0]


def _counts(db: Database, response_id: int) -> bool:
    return db.execute("SELECT 1 FROM all_demonstrations WHERE id = ?", [response_id]).fetchone() is not None


def _event(db: Database, response_id: int, rater: str) -> tuple[str, int]:
    """Return name and id of the event by which a demonstration counts; one that has none gets it."""
    sql = "SELECT name, id FROM demonstration_events WHERE response_id = ? ORDER BY id DESC LIMIT 1"
    if found := db.execute(sql, [response_id]).fetchone():
        return found
    name = f"{EDITED}{response_id}"
    return name, _insert(db, name, response_id, rater, None)


def _end(db: Database, event_id: int | None) -> int | None:
    """Return the last event of a chain: after a version of its source, a demonstration may have been edited here."""
    while event_id is not None:
        newer = db.execute("SELECT id FROM demonstration_events WHERE supersedes = ?", [event_id]).fetchone()
        if newer is None:
            break
        event_id = newer[0]
    return event_id


def _insert(
    db: Database,
    name: str,
    response_id: int,
    rater: str,
    supersedes: int | None,
    judged_at: str | None = None,
    *,
    is_undo: bool = False,
) -> int:
    made = db.execute(
        "INSERT INTO demonstration_events (name, response_id, rater, judged_at, supersedes, created_at, is_undo) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [name, response_id, rater, judged_at, supersedes, now(), is_undo],
    )
    assert made.lastrowid is not None
    return made.lastrowid
