"""Turns of conversations, and the tree that they make: the owner of `turns` and `conversation_votes`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from studio.chat.protocol import Reason, Sampling
from studio.errors import DataError
from studio.preferences.prompts import Messages
from studio.workspace import now

LONGEST_TEXT = 400_000
"""Characters of a turn."""
UNFINISHED = (None, "length", "stop", "stopped", "failed")
"""End reasons of answers that can be continued."""


@dataclass(frozen=True)
class Turn:
    """What a person said, or an answer to it.

    Attributes:
        attempt, place: of an answer; those of one attempt were asked together, and are shown by their place.
        checkpoint: of an answer; None where a person wrote it.
        settings: how an answer was sampled; see `sampling` and `system`.
        seconds: of computing.
        end_reason: None while it is given, and where whoever stored it was killed; ``written`` by a person.
        message: why it failed, or ended early.
        response_id: of an answer that was judged or corrected, what it is among the responses.
    """

    id: int
    conversation_id: int
    parent_id: int | None
    role: str
    text: str
    attempt: int | None
    place: int | None
    checkpoint: str | None
    settings: dict[str, Any]
    num_tokens: int | None
    seconds: float | None
    end_reason: str | None
    message: str
    response_id: int | None
    created_at: str

    @property
    def sampling(self) -> Sampling:
        """How an answer was sampled, its seed included."""
        return Sampling.model_validate(self.settings.get("sampling") or {})

    @property
    def system(self) -> str:
        """The system prompt under which an answer was given."""
        return str(self.settings.get("system") or "")

    @property
    def can_go_on(self) -> bool:
        """True if it is an answer that ended before its end token, with something in it."""
        return self.role == "assistant" and self.end_reason in UNFINISHED and bool(self.text.strip())


def turn(db: Database, turn_id: int) -> Turn:
    """Return a turn.

    Raises:
        DataError: there is none with this id.
    """
    row = next(db.query("SELECT * FROM turns WHERE id = ?", [turn_id]), None)
    if row is None:
        raise DataError(f"There is no turn {turn_id}. Its conversation may have been deleted.")
    return of_row(row)


def branch(db: Database, leaf_id: int) -> list[Turn]:
    """Return the turns from the first one to this one."""
    rows = db.query(
        "WITH RECURSIVE above (id, parent_id) AS (SELECT id, parent_id FROM turns WHERE id = ? UNION ALL"
        " SELECT t.id, t.parent_id FROM turns t JOIN above a ON t.id = a.parent_id)"
        " SELECT t.* FROM turns t JOIN above a ON a.id = t.id ORDER BY t.id",
        [leaf_id],
    )
    return [of_row(row) for row in rows]


def messages(db: Database, turn_id: int, system: str = "") -> Messages:
    """Return the branch that ends with this turn as a model reads it."""
    said = [{"role": each.role, "content": each.text.strip()} for each in branch(db, turn_id)]
    return [{"role": "system", "content": system.strip()}, *said] if system.strip() else said


def attempt(db: Database, turn_id: int, number: int) -> list[Turn]:
    """Return the answers of an attempt at a turn of the person, by place."""
    rows = db.query("SELECT * FROM turns WHERE parent_id = ? AND attempt = ? ORDER BY place", [turn_id, number])
    return [of_row(row) for row in rows]


def list_all(db: Database, conversation_id: int) -> list[Turn]:
    """Return all turns of a conversation, in the order in which they were stored."""
    rows = db.query("SELECT * FROM turns WHERE conversation_id = ? ORDER BY id", [conversation_id])
    return [of_row(row) for row in rows]


def leaves(db: Database, conversation_id: int) -> list[int]:
    """Return the last turns of all branches, oldest first."""
    rows = db.query(
        "SELECT id FROM turns t WHERE conversation_id = ? AND NOT EXISTS (SELECT 1 FROM turns c WHERE c.parent_id = t.id)"
        " ORDER BY id",
        [conversation_id],
    )
    return [row["id"] for row in rows]


def write(db: Database, turn_id: int, text: str) -> None:
    """Store what there is of an answer that is still given."""
    db.execute("UPDATE turns SET text = ? WHERE id = ?", [text, turn_id])


def end(
    db: Database, turn_id: int, text: str, reason: Reason | str, *, num_tokens: int, seconds: float, message: str = ""
) -> None:
    """Store an answer that has ended: whole, stopped, or cut off."""
    db.execute(
        "UPDATE turns SET text = ?, end_reason = ?, num_tokens = ?, seconds = ?, message = ? WHERE id = ?",
        [text, reason, num_tokens, seconds, message, turn_id],
    )


def last_attempt(db: Database, turn_id: int) -> int:
    """Return the number of the newest attempt at an answer; 0 where there is none."""
    return db.execute("SELECT coalesce(max(attempt), 0) FROM turns WHERE parent_id = ?", [turn_id]).fetchone()[0]


def add(db: Database, conversation_id: int, parent_id: int | None, role: str, text: str, **facts: Any) -> int:
    """Store a turn after another one, with the columns of `facts`, and return its id."""
    row = {"conversation_id": conversation_id, "parent_id": parent_id, "role": role, "text": text, "created_at": now()}
    row |= {name: value for name, value in facts.items() if value is not None}
    return read_id(
        db.execute(f"INSERT INTO turns ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
    )


def reopen(db: Database, turn_id: int) -> None:
    """Mark an answer as one that is given."""
    db.execute("UPDATE turns SET end_reason = NULL, message = '' WHERE id = ?", [turn_id])


def judge(db: Database, left_id: int, right_id: int, showing_id: int) -> None:
    """Remember the showing on which two answers were judged."""
    db.execute("INSERT INTO conversation_votes VALUES (?, ?, ?)", [left_id, right_id, showing_id])


def became(db: Database, turn_id: int, response_id: int) -> None:
    """Remember the response that an answer is where it was judged or corrected."""
    db.execute("UPDATE turns SET response_id = ? WHERE id = ?", [response_id, turn_id])


def judged_on(db: Database, turn_id: int) -> int | None:
    """Return the showing on which an answer was judged, or None."""
    sql = "SELECT showing_id FROM conversation_votes WHERE left_id = ? UNION SELECT showing_id FROM conversation_votes WHERE right_id = ?"
    found = db.execute(sql, [turn_id, turn_id]).fetchone()
    return found[0] if found else None


def delete_all(db: Database, conversation_id: int) -> None:
    """Remove all turns of a conversation."""
    of_conversation = "(SELECT id FROM turns WHERE conversation_id = ?)"
    db.execute(f"DELETE FROM conversation_votes WHERE left_id IN {of_conversation}", [conversation_id])
    db.execute("DELETE FROM turns WHERE conversation_id = ?", [conversation_id])


def newest_below(db: Database, turn_ids: Sequence[int]) -> Turn:
    """Return the turn that was stored last of these and all that follow them."""
    row = db.execute(
        "WITH RECURSIVE below (id) AS (SELECT value FROM json_each(?) UNION"
        " SELECT t.id FROM turns t JOIN below b ON t.parent_id = b.id) SELECT max(id) FROM below",
        [json.dumps(list(turn_ids))],
    ).fetchone()
    return turn(db, row[0])


def is_followed(db: Database, turn_ids: Sequence[int]) -> bool:
    """Return whether anything follows one of these turns."""
    sql = "SELECT 1 FROM turns WHERE parent_id IN (SELECT value FROM json_each(?)) LIMIT 1"
    return db.execute(sql, [json.dumps(list(turn_ids))]).fetchone() is not None


def versions(db: Database, of: Turn) -> list[int]:
    """Return the turns of the person that are edits of each other, this one among them; oldest first."""
    rows = db.query(
        "SELECT id FROM turns WHERE conversation_id = ? AND parent_id IS ? AND role = 'user' ORDER BY id",
        [of.conversation_id, of.parent_id],
    )
    return [row["id"] for row in rows]


def attempts(db: Database, turn_id: int) -> list[int]:
    """Return the numbers of all attempts at an answer to a turn."""
    rows = db.query("SELECT DISTINCT attempt FROM turns WHERE parent_id = ? ORDER BY attempt", [turn_id])
    return [row["attempt"] for row in rows]


def of_row(row: dict[str, Any]) -> Turn:
    """Return the turn of a row."""
    try:
        settings = json.loads(row["settings"] or "{}")
    except ValueError:
        settings = {}
    parsed: dict[str, Any] = {"settings": settings if isinstance(settings, dict) else {}}
    return Turn(**row | parsed)


def checked(text: str) -> str:
    """Return the text of a turn as it is stored.

    Raises:
        DataError: it is empty or too long.
    """
    text = text.strip()
    if not text:
        raise DataError("The text is empty. Write what you would say.")
    if len(text) > LONGEST_TEXT:
        raise DataError(f"A turn has at most {LONGEST_TEXT:,} characters; this one has {len(text):,}.")
    return text


def read_id(made: Any) -> int:
    """Return the id of the row just inserted."""
    assert made.lastrowid is not None
    return made.lastrowid
