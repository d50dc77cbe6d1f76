"""Prompts, responses (demonstrations, samples, imported ones), import batches and drafts: the owner of those tables.

A prompt's split is fixed at birth by its group (the normalised first user turn), so that no prompt leaks between
training and evaluation. Texts are never changed; `texts` hides them, and gives a prompt another category.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils import Database

from studio.database import curtain
from studio.errors import DataError
from studio.preferences import hiding, text_search
from studio.workspace import now

Messages = list[dict[str, str]]
SPLITS = ("train", "validation", "test")
_FACTS = {
    "checkpoint_id", "run_id", "sampling", "token_ids", "end_reason", "import_id", "edited_from", "model", "created_at",
}  # fmt: skip


@dataclass(frozen=True)
class NewPrompt:
    """A prompt to store: messages that end with a user turn."""

    messages: Messages
    category: str = ""
    split: str | None = None
    reference: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Demonstration:
    """A prompt with the response that a person wanted."""

    id: int
    prompt_id: int
    messages: Messages
    response: str
    category: str
    split: str


def split_for(messages: Messages) -> str:
    """Return a prompt's split: 80 % train, 10 % validation, 10 % test, by a hash of its first user turn."""
    first = next((m["content"] for m in messages if m["role"] == "user"), "")
    group = " ".join(first.lower().split())
    bucket = int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) % 10
    return "test" if bucket == 9 else "validation" if bucket == 8 else "train"


def check_messages(messages: Sequence[dict[str, Any]], last: str) -> Messages:
    """Check messages and return role/content pairs: known roles, text contents, no empty turn, last role `last`.

    Raises:
        DataError: a message is wrong; the text says how.
    """
    if not messages:
        raise DataError("The conversation has no turns.")
    clean: Messages = []
    for turn in messages:
        role, content = turn.get("role"), turn.get("content")
        if role not in ("system", "user", "assistant"):
            raise DataError(f"A turn has the role {role!r}; it must be system, user or assistant.")
        if not isinstance(content, str) or not content.strip():
            raise DataError(f"A turn of the {role} is empty.")
        clean.append({"role": role, "content": content})
    if clean[-1]["role"] != last:
        raise DataError(f"The conversation ends with a turn of the {clean[-1]['role']}; it must end with the {last}.")
    return clean


def add_prompt(db: Database, prompt: NewPrompt, import_id: int | None = None, created_at: str = "") -> int:
    """Store the prompt and return its id; equal messages are one prompt, which keeps its first split and category."""
    messages = check_messages(prompt.messages, last="user")
    text, key = stored_messages(messages)
    if found := find(db, key):
        return found
    row = {
        "hash": key,
        "messages": text,
        "category": prompt.category,
        "split": prompt.split or split_for(messages),
        "reference": json.dumps(prompt.reference, ensure_ascii=False),
        "import_id": import_id,
        "created_at": created_at or now(),
    }
    try:
        return _add(db, row)
    except sqlite3.IntegrityError as error:
        if not curtain.is_needed(db):
            raise
        raise DataError(
            "This prompt belongs to an import that is not complete yet. Try again when the import has ended."
        ) from error


def _add(db: Database, row: dict[str, Any]) -> int:
    return _id(
        db.execute(
            "INSERT INTO main.prompts (hash, messages, category, split, reference, import_id, created_at)"
            " VALUES (:hash, :messages, :category, :split, :reference, :import_id, :created_at)",
            row,
        )
    )


def stored_messages(messages: Messages) -> tuple[str, str]:
    """Return checked messages as they are stored, and the hash by which equal ones are known."""
    text = json.dumps(messages, ensure_ascii=False)
    return text, hashlib.sha256(text.encode()).hexdigest()


def find(db: Database, key: str) -> int | None:
    """Return the prompt with this hash of its messages, or None."""
    found = db.conn.execute("SELECT id FROM prompts WHERE hash = ?", [key]).fetchone()
    return found[0] if found else None


def last(db: Database) -> int:
    """Return the id of the newest prompt; 0 where there is none."""
    return db.execute("SELECT coalesce(max(id), 0) FROM main.prompts").fetchone()[0]


def last_response(db: Database) -> int:
    """Return the id of the newest response; 0 where there is none."""
    return db.execute("SELECT coalesce(max(id), 0) FROM main.responses").fetchone()[0]


def has_staged_since(db: Database, prompt_id: int) -> bool:
    """Return whether a prompt after this one is also among those of the attached `staged`."""
    sql = "SELECT 1 FROM main.prompts p JOIN staged.prompts s ON s.hash = p.hash WHERE p.id > ? LIMIT 1"
    return db.execute(sql, [prompt_id]).fetchone() is not None


def has_staged_responses_since(db: Database, response_id: int) -> bool:
    """Return whether a response after this one is also among those that the attached `staged` has for prompts that are here."""
    sql = "SELECT 1 FROM main.responses r JOIN staged.responses s ON s.prompt = -r.prompt_id AND s.text = r.text WHERE r.id > ? LIMIT 1"
    return db.execute(sql, [response_id]).fetchone() is not None


def publish(db: Database, import_id: int, created_at: str, first: int, last: int) -> None:
    """Bring prompts of these numbers from the attached `staged`; `staged.pieces` says what is added to a number to give its id."""
    db.execute(
        "INSERT INTO main.prompts (id, hash, messages, category, split, import_id, created_at)"
        f" SELECT {staged_id('prompts', 'n')}, hash, messages, category, split, :import_id, :at FROM staged.prompts"
        " WHERE n BETWEEN :first AND :last ORDER BY n",
        {"import_id": import_id, "at": created_at, "first": first, "last": last},
    )


def publish_responses(db: Database, import_id: int, created_at: str, first: int, last: int) -> None:
    """Bring responses of these numbers, as `publish` does prompts, which were there before."""
    db.execute(
        "INSERT INTO main.responses (id, prompt_id, text, kind, model, import_id, created_at)"
        f" SELECT {staged_id('responses', 'n')}, {staged_id('prompts', 'prompt')}, text, kind, model, :import_id, :at"
        " FROM staged.responses WHERE n BETWEEN :first AND :last ORDER BY n",
        {"import_id": import_id, "at": created_at, "first": first, "last": last},
    )


def staged_id(rows_of: str, number: str) -> str:
    """Return SQL for the id that a staged number has here; a number below 0 names an id."""
    piece = (
        f"SELECT added FROM staged.pieces WHERE rows_of = '{rows_of}' AND first <= {number} ORDER BY first DESC LIMIT 1"
    )
    return f"iif({number} < 0, -{number}, {number} + ({piece}))"


def add_response(db: Database, prompt_id: int, text: str, kind: str, *, is_first: bool = False, **facts: Any) -> int:
    """Store a response and return its id; the same demonstration or import of a prompt is stored once.

    `is_first`: its prompt is new, so that no response need be looked for.
    """
    if kind != "sample" and not is_first:
        found = find_same(db, prompt_id, text, kind, is_edit="edited_from" in facts)
        if found is not None:
            return found
    assert facts.keys() <= _FACTS, facts.keys()
    given = {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in facts.items()}
    row = {"prompt_id": prompt_id, "text": text, "kind": kind, "created_at": facts.get("created_at") or now()}
    row |= {name: value for name, value in given.items() if value is not None}
    names = ", ".join(row)
    return _id(
        db.execute(f"INSERT INTO main.responses ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
    )


def find_same(db: Database, prompt_id: int, text: str, kind: str, *, is_edit: bool = False) -> int | None:
    """Return the demonstration or import of a prompt with this text; one that was undone or corrected only for another edit."""
    found = db.execute(
        "SELECT id FROM responses WHERE prompt_id = :prompt AND kind = :kind AND text = :text"
        f" AND {'1' if is_edit or kind == 'import' else 'id IN (SELECT id FROM all_demonstrations WHERE prompt_id = :prompt)'}",
        {"prompt": prompt_id, "kind": kind, "text": text},
    ).fetchone()
    return found[0] if found else None


def find_response(db: Database, prompt_id: int, text: str) -> int | None:
    """Return the oldest response to a prompt with this text, wherever it came from."""
    sql = "SELECT id FROM responses WHERE prompt_id = ? AND text = ? ORDER BY id LIMIT 1"
    found = db.execute(sql, [prompt_id, text]).fetchone()
    return found[0] if found else None


def add_demonstration(db: Database, messages: Messages, response: str, category: str = "") -> int:
    """Store a demonstration written by the person and return the response's id.

    Raises:
        DataError: the prompt or the response is empty.
    """
    if not response.strip():
        raise DataError("The response is empty. Write what the assistant should have said.")
    prompt_id = add_prompt(db, NewPrompt(messages, category))
    return add_response(db, prompt_id, response.strip(), "demonstration")


def set_category(db: Database, prompt_id: int, category: str) -> None:
    """Put a prompt into another category; `texts.set_category` also remembers it."""
    db.execute("UPDATE main.prompts SET category = ? WHERE id = ?", [category, prompt_id])


def record_import(db: Database, source: str, sha256: str, kind: str) -> int:
    """Open an import batch and return its id; `close_import` completes it."""
    return _id(
        db.execute(
            "INSERT INTO main.imports (source, sha256, kind, kept, dropped, created_at) VALUES (?, ?, ?, 0, '{}', ?)",
            [source, sha256, kind, now()],
        )
    )


def find_import(db: Database, sha256: str, kind: str) -> int | None:
    """Return the batch that imported this content as this kind, or None."""
    rows = db.query("SELECT id FROM imports WHERE sha256 = ? AND kind = ? ORDER BY id", [sha256, kind])
    return next((row["id"] for row in rows), None)


def close_import(db: Database, import_id: int, kept: int, dropped: dict[str, int]) -> None:
    """Write the counts of an import batch."""
    db.execute(
        "UPDATE main.imports SET kept = ?, dropped = ?, is_noted = 1 WHERE id = ?",
        [kept, json.dumps(dropped), import_id],
    )


def list_imports(db: Database) -> list[dict[str, Any]]:
    """Return all import batches, newest first, with `dropped` as a dict."""
    rows = list(db.query("SELECT * FROM imports ORDER BY id DESC"))
    return [row | {"dropped": json.loads(row["dropped"])} for row in rows]


def counts(db: Database) -> dict[str, int]:
    """Count what is not hidden: `prompts`, `demonstrations`, `samples`, and `demonstrations_train`, those SFT may learn from."""
    row = next(
        db.query(
            "SELECT (SELECT count(*) FROM prompts) - (SELECT count(*) FROM hidden_texts WHERE what = 'prompts') AS prompts,"
            " d.number AS demonstrations, (SELECT count(*) FROM responses WHERE kind = 'sample') AS samples,"
            " d.train AS demonstrations_train FROM (SELECT count(*) AS number, coalesce(sum(p.split = 'train'), 0) AS train"
            " FROM demonstrations r CROSS JOIN prompts p ON p.id = r.prompt_id) d"
        )
    )
    return dict(row)


def count_demonstrations_since(db: Database, when: str) -> int:
    """Count demonstrations stored after this UTC time that SFT would train on: those a policy made then has not seen."""
    sql = "SELECT count(*) AS n FROM demonstrations d JOIN prompts p ON p.id = d.prompt_id WHERE d.created_at > ? AND p.split = 'train'"
    return next(db.query(sql, [when]))["n"]


def list_categories(db: Database) -> dict[str, int]:
    """Map each category name to its number of prompts, most frequent first."""
    rows = db.query("SELECT category, count(*) AS n FROM prompts GROUP BY category ORDER BY n DESC, category")
    return {row["category"]: row["n"] for row in rows}


def list_prompts(
    db: Database,
    *,
    split: str | None = None,
    exclude: Iterable[str] = (),
    search: str = "",
    limit: int = -1,
    offset: int = 0,
) -> list[dict[str, Any]]:
    """Return the prompts that are not hidden as dicts (id, messages, category, split, reference), in the order they were added.

    Args:
        db: an open connection.
        split: only this split.
        exclude: leave these categories out.
        search: only prompts that contain this text.
        limit: at most this many; -1 is all.
        offset: skip this many.
    """
    values = {"split": split, "exclude": json.dumps(list(exclude)), "limit": limit, "offset": offset}
    rows = db.query(
        "SELECT id, messages, category, split, reference FROM prompts p"
        f" WHERE (:split IS NULL OR split = :split) {_holding(db, search, values, 'p.id', 'p.messages')}"
        f" AND {hiding.is_shown('prompts', 'p.id')}"
        " AND category NOT IN (SELECT value FROM json_each(:exclude)) ORDER BY id LIMIT :limit OFFSET :offset",
        values,
    )
    return [row | {"messages": json.loads(row["messages"]), "reference": json.loads(row["reference"])} for row in rows]


def list_demonstrations(
    db: Database, *, split: str | None = None, search: str = "", limit: int = -1, offset: int = 0
) -> list[Demonstration]:
    """Return the demonstrations that are not hidden, newest first; arguments as in `list_prompts`."""
    values = {"split": split, "limit": limit, "offset": offset}
    rows = db.query(
        "SELECT r.id, r.prompt_id, p.messages, r.text AS response, p.category, p.split FROM demonstrations r"
        " JOIN prompts p ON p.id = r.prompt_id"
        f" WHERE (:split IS NULL OR p.split = :split) {_holding(db, search, values, 'p.id', 'p.messages', 'r.')}"
        " ORDER BY r.id DESC LIMIT :limit OFFSET :offset",
        values,
    )
    return [Demonstration(**(row | {"messages": json.loads(row["messages"])})) for row in rows]


def _holding(db: Database, search: str, values: dict[str, Any], prompt: str, messages: str, response: str = "") -> str:
    """Return the SQL condition that a prompt (or a response, with `response`) holds the text; fills `values`."""
    if not search:
        return ""
    found = text_search.condition(db, search, values, of="prompts", row=prompt, text=messages)
    if not response:
        return f"AND {found}"
    also = text_search.condition(db, search, values, of="responses", row=f"{response}id", text=f"{response}text")
    return f"AND ({found} OR {also})"


def mark(db: Database) -> str:
    """Return a short text that tells this workspace from others; copies and archives of it have the same one.

    It is made of the first prompt and its time, neither of which ever changes. Empty while there are no prompts.
    """
    rows = db.query("SELECT hash || created_at AS first FROM prompts ORDER BY id LIMIT 1")
    return next((hashlib.sha256(row["first"].encode()).hexdigest()[:10] for row in rows), "")


def exists(db: Database, prompt_id: int) -> bool:
    """Return whether there is a prompt with this id."""
    return bool(list(db.query("SELECT 1 FROM prompts WHERE id = ?", [prompt_id])))


def messages_of(db: Database, prompt_ids: Sequence[int]) -> dict[int, Messages]:
    """Return the messages of these prompts by id; unknown ones are left out."""
    query = "SELECT id, messages FROM prompts WHERE id IN (SELECT value FROM json_each(?))"
    return {row["id"]: json.loads(row["messages"]) for row in db.query(query, [json.dumps(list(prompt_ids))])}


def list_unanswered(db: Database, *, is_all: bool = False, limit: int | None = None) -> list[tuple[int, Messages]]:
    """Return the training prompts that lack a demonstration (with `is_all`, all training prompts), oldest first."""
    rows = db.query(
        "SELECT id, messages FROM prompts p WHERE split = 'train' AND"
        " (:is_all OR NOT EXISTS (SELECT 1 FROM demonstrations d WHERE d.prompt_id = p.id))"
        f" AND {hiding.is_shown('prompts', 'p.id')} ORDER BY id LIMIT :limit",
        {"is_all": is_all, "limit": -1 if limit is None else limit},
    )
    return [(row["id"], json.loads(row["messages"])) for row in rows]


def read_ideal(db: Database, response_id: int) -> tuple[str, int | None]:
    """Return the text of an ideal answer, and the response it was made from."""
    row = next(db.query("SELECT text, edited_from FROM responses WHERE id = ?", [response_id]))
    return row["text"], row["edited_from"]


def save_draft(db: Database, name: str, text: str) -> None:
    """Keep a text being typed, so that a reload or a restart does not lose it; empty text removes the draft."""
    db.execute("DELETE FROM drafts WHERE name = ?", [name])
    if text:
        db.execute("INSERT INTO drafts (name, text) VALUES (?, ?)", [name, text])


def read_drafts(db: Database, names: Sequence[str]) -> dict[str, str]:
    """Return the named drafts that exist."""
    marks = ", ".join("?" * len(names))
    return {row["name"]: row["text"] for row in db.query(f"SELECT * FROM drafts WHERE name IN ({marks})", list(names))}


def load_draft(db: Database, name: str) -> str:
    """Return the draft kept under this name, or empty text."""
    return next((row["text"] for row in db.query("SELECT text FROM drafts WHERE name = ?", [name])), "")


def _id(inserted: sqlite3.Cursor) -> int:
    """Return the id of the row just inserted."""
    assert inserted.lastrowid is not None
    return inserted.lastrowid
