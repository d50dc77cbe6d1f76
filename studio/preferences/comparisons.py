"""Comparisons (responses to a prompt, to be judged) and showings (as displayed): the owner of those tables.

The order on the screen is drawn and stored before the pair is displayed. A stored showing without a rating is shown
again unchanged after a reload or restart, so the order that a person sees never changes.
"""

import json
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from studio.preferences import hiding
from studio.preferences.prompts import Messages, staged_id
from studio.workspace import now


@dataclass(frozen=True)
class Showing:
    """Two or more responses as shown on the screen. Holds no model name: rating is blind.

    Attributes:
        texts: the responses' texts, by screen position.
        response_ids: their ids, by screen position.
    """

    id: int
    comparison_id: int
    prompt_id: int
    messages: Messages
    category: str
    texts: tuple[str, ...]
    response_ids: tuple[int, ...]

    @property
    def left(self) -> str:
        """The first response on the screen."""
        return self.texts[0]

    @property
    def right(self) -> str:
        """The second response on the screen."""
        return self.texts[1]


def add_comparison(
    db: Database, prompt_id: int, response_ids: Sequence[int], run_id: int | None = None, created_at: str = ""
) -> int | None:
    """Put two or more responses up for rating; returns the comparison's id, or None where it exists already.

    `run_id` is the sampling run that made it; None for imported pairs and edits. `created_at`: of our own export; empty is now.
    """
    made = db.execute(
        "INSERT INTO main.comparisons (key, prompt_id, run_id, created_at) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
        [_key(prompt_id, response_ids), prompt_id, run_id, created_at or now()],
    )
    if not made.rowcount:
        return None
    comparison_id = made.lastrowid
    db.conn.executemany(
        "INSERT INTO main.comparison_responses (comparison_id, slot, response_id) VALUES (?, ?, ?)",
        [(comparison_id, slot, response_id) for slot, response_id in enumerate(response_ids)],
    )
    return comparison_id


def publish(db: Database, created_at: str, first: int, last: int) -> None:
    """Bring comparisons of these numbers from the attached `staged`, with their places, as `prompts.publish` does."""
    prompt, response, this = (
        staged_id("prompts", "prompt"),
        staged_id("responses", "response"),
        staged_id("comparisons", "n"),
    )
    ids = (
        f"SELECT group_concat(id) FROM (SELECT {response} AS id FROM staged.places WHERE comparison = c.n ORDER BY id)"
    )
    between = {"at": created_at, "first": first, "last": last}
    db.execute(
        "INSERT INTO main.comparisons (id, key, prompt_id, created_at)"
        f" SELECT {this}, ({prompt}) || ':' || ({ids}), {prompt}, :at FROM staged.comparisons c WHERE n BETWEEN :first AND :last ORDER BY n",
        between,
    )
    db.execute(
        "INSERT INTO main.comparison_responses (comparison_id, slot, response_id)"
        f" SELECT {staged_id('comparisons', 'comparison')}, slot, {response} FROM staged.places"
        " WHERE comparison BETWEEN :first AND :last ORDER BY comparison, slot",
        between,
    )


def has_staged_since(db: Database, comparison_id: int) -> bool:
    """Return whether a comparison after this one has a response that is in one of the attached `staged` too."""
    sql = "SELECT 1 FROM main.comparison_responses m JOIN staged.places p ON p.response = -m.response_id WHERE m.comparison_id > ? LIMIT 1"
    return db.execute(sql, [comparison_id]).fetchone() is not None


def last(db: Database) -> int:
    """Return the id of the newest comparison; 0 where there is none."""
    return db.execute("SELECT coalesce(max(id), 0) FROM main.comparisons").fetchone()[0]


def find_comparison(db: Database, prompt_id: int, response_ids: Sequence[int]) -> int | None:
    """Return the comparison of these responses, or None."""
    rows = db.query("SELECT id FROM comparisons WHERE key = ?", [_key(prompt_id, response_ids)])
    return next((row["id"] for row in rows), None)


def find_by_texts(db: Database, prompt_id: int, texts: Sequence[str]) -> tuple[int, list[int]] | None:
    """Return the comparison of responses with these texts, wherever they came from, and their ids in this order; or None."""
    candidates = db.execute(
        "SELECT c.comparison_id FROM responses r JOIN comparison_responses c ON c.response_id = r.id"
        " WHERE r.prompt_id = ? AND r.text = ? ORDER BY c.comparison_id",
        [prompt_id, texts[0]],
    ).fetchall()
    for (comparison_id,) in candidates:
        sql = "SELECT r.text, r.id FROM comparison_responses c JOIN responses r ON r.id = c.response_id WHERE c.comparison_id = ?"
        found = db.execute(sql, [comparison_id]).fetchall()
        ids = dict(found)
        if len(found) == len(texts) and ids.keys() == set(texts):
            return comparison_id, [ids[text] for text in texts]
    return None


def prompt_of(db: Database, comparison_id: int) -> int:
    """Return the id of a comparison's prompt."""
    return db.execute("SELECT prompt_id FROM comparisons WHERE id = ?", [comparison_id]).fetchone()[0]


def split_of(db: Database, comparison_id: int) -> str:
    """Return the split of the prompt that was answered."""
    sql = "SELECT p.split FROM comparisons c JOIN prompts p ON p.id = c.prompt_id WHERE c.id = ?"
    return db.execute(sql, [comparison_id]).fetchone()[0]


def slots(db: Database, comparison_id: int) -> list[int]:
    """Return the response ids of a comparison by slot."""
    sql = "SELECT response_id FROM comparison_responses WHERE comparison_id = ? ORDER BY slot"
    return [row[0] for row in db.execute(sql, [comparison_id]).fetchall()]


def restore_showing(db: Database, comparison_id: int, showing: dict[str, Any], ids: dict[int, int]) -> int:
    """Store a showing of our own export; `ids` maps its response ids to those here. Returns the id of the one that is here."""
    order = showing.get("response_ids") or [showing["left_response_id"], showing["right_response_id"]]
    here = [ids[each] for each in order]
    row = {
        "comparison_id": comparison_id, "left_response_id": here[0], "right_response_id": here[1], "seed": showing["seed"],
        "rater": showing["rater"], "created_at": showing["created_at"], "response_ids": json.dumps(here) if len(here) > 2 else None,
    }  # fmt: skip
    found = db.execute(
        "SELECT id FROM showings WHERE comparison_id = :comparison_id AND seed = :seed AND rater = :rater AND created_at = :created_at",
        row,
    ).fetchone()
    showing_id: Any = found[0] if found else db.table("showings").insert(row).last_pk
    return showing_id


def slot_of(db: Database, comparison_id: int, response_id: int) -> int:
    """Return the place of a response in its comparison; for those without a showing 0 is left and 1 right."""
    sql = "SELECT slot FROM comparison_responses WHERE comparison_id = ? AND response_id = ?"
    return next(db.query(sql, [comparison_id, response_id]))["slot"]


def verdict(db: Database, comparison_id: int) -> int | str | None:
    """Return a pair's verdict: the better response's id, or the outcome where neither is better; None if unjudged."""
    sql = "SELECT outcome, left_id, right_id FROM ratings WHERE comparison_id = ? ORDER BY id DESC LIMIT 1"
    for row in db.query(sql, [comparison_id]):
        return {"left": row["left_id"], "right": row["right_id"]}.get(row["outcome"], row["outcome"])
    return None


def counts(db: Database) -> dict[str, int]:
    """Count all `comparisons`, and the `unrated` ones without a rating that counts that are not hidden.

    Triggers keep what waits and what was undone, so no rating is read.
    """
    return next(
        db.query(
            "SELECT (SELECT count(*) FROM comparisons) AS comparisons,"
            f" (SELECT count(*) FROM waiting_comparisons) - (SELECT count(*) FROM ({_HIDDEN}) x JOIN waiting_comparisons w ON w.comparison_id = x.id) +"
            " (SELECT count(DISTINCT s.comparison_id) FROM undone_showings u CROSS JOIN showings s ON s.id = u.showing_id"
            f" JOIN comparisons c ON c.id = s.comparison_id AND {hiding.is_pair_shown('c.id', 'c.prompt_id')}"
            " WHERE NOT EXISTS (SELECT 1 FROM ratings r WHERE r.comparison_id = s.comparison_id)) AS unrated"
        )
    )


def next_showing(db: Database, rater: str = "person", after: int | None = None) -> Showing | None:
    """Return the next pair to rate, its order stored; None when everything is rated.

    An open showing (one undone most recently, else one displayed before a reload) comes back first; then the newest
    sampled pairs, whose policy is the freshest.

    Args:
        db: an open transaction.
        rater: who will see it.
        after: skip this showing (to fetch the next one ahead of time).
    """
    found = upcoming(db, rater, 1 if after is None else 2)
    return next((get_showing(db, each) for each in found if each != after), None)


def upcoming(db: Database, rater: str, count: int) -> list[int]:
    """Return the next showings to rate, the one to show now first, and store new ones in the open write transaction.

    Reads only a few rows, whatever the number of ratings.
    """
    found = _open_showings(db, rater, count)
    if len(found) < count:
        rows = db.query(
            "SELECT comparison_id AS id FROM waiting_comparisons w CROSS JOIN comparisons c ON c.id = w.comparison_id"
            " WHERE NOT EXISTS (SELECT 1 FROM showings s WHERE s.comparison_id = w.comparison_id AND s.rater = ?)"
            f" AND {hiding.is_pair_shown('c.id', 'c.prompt_id')} ORDER BY w.run_id DESC, w.comparison_id LIMIT ?",
            [rater, count - len(found)],
        )
        found += [add_showing(db, row["id"], rater) for row in list(rows)]
    return found


def add_showing(
    db: Database,
    comparison_id: int,
    rater: str,
    *,
    like: int | None = None,
    is_swapped: bool = False,
    order: Sequence[int] = (),
) -> int:
    """Store how a comparison is about to be shown, and return the showing's id.

    Args:
        db: an open transaction.
        comparison_id: the comparison that is shown.
        rater: who will see it.
        like: take the order of this earlier showing; without it, the order is drawn.
        is_swapped: reverse that order.
        order: the response ids by position, where they were shown elsewhere.
    """
    seed = secrets.randbits(31)
    if order:
        shown = list(order)
    elif like is None:
        sql = "SELECT response_id FROM comparison_responses WHERE comparison_id = ? ORDER BY slot"
        shown = [row["response_id"] for row in db.query(sql, [comparison_id])]
        random.Random(seed).shuffle(shown)
    else:
        shown = _order(db, like)[:: -1 if is_swapped else 1]
    row = {
        "comparison_id": comparison_id,
        "left_response_id": shown[0],
        "right_response_id": shown[1],
        "response_ids": json.dumps(shown) if len(shown) > 2 else None,
        "seed": seed,
        "rater": rater,
        "created_at": now(),
    }
    showing_id: Any = db.table("showings").insert(row).last_pk
    return showing_id


def find_showing(db: Database, comparison_id: int, rater: str) -> int | None:
    """Return the first showing of a comparison to this rater, or None."""
    sql = "SELECT id FROM showings WHERE comparison_id = ? AND rater = ? ORDER BY id LIMIT 1"
    return next((row["id"] for row in db.query(sql, [comparison_id, rater])), None)


def list_to_label(
    db: Database, *, is_ranking: bool, is_all: bool = False, run: str | None = None, limit: int | None = None
) -> list[int]:
    """Return the comparisons that others may judge and that are not hidden, oldest first.

    Args:
        db: an open connection.
        is_ranking: those of three or more responses, else pairs.
        is_all: also those with a rating that counts.
        run: only those of this sampling run.
        limit: at most this many.
    """
    rows = db.query(
        "SELECT c.id FROM comparisons c LEFT JOIN runs u ON u.id = c.run_id"
        " WHERE (SELECT count(*) > 2 FROM comparison_responses r WHERE r.comparison_id = c.id) = :is_ranking"
        " AND (:is_all OR NOT EXISTS (SELECT 1 FROM ratings r WHERE r.comparison_id = c.id))"
        f" AND (:run IS NULL OR u.name = :run) AND {hiding.is_pair_shown('c.id', 'c.prompt_id')} ORDER BY c.id LIMIT :limit",
        {"is_ranking": is_ranking, "is_all": is_all, "run": run, "limit": -1 if limit is None else limit},
    )
    return [row["id"] for row in rows]


def read_text(db: Database, response_id: int) -> str:
    """Return a response's text."""
    return next(db.query("SELECT text FROM responses WHERE id = ?", [response_id]))["text"]


def get_showing(db: Database, showing_id: int) -> Showing | None:
    """Return the showing with this id."""
    rows = db.query(
        "SELECT s.id, s.comparison_id, c.prompt_id, p.messages, p.category FROM showings s"
        " JOIN comparisons c ON c.id = s.comparison_id JOIN prompts p ON p.id = c.prompt_id WHERE s.id = ?",
        [showing_id],
    )
    row = next(rows, None)
    if row is None:
        return None
    order = _order(db, showing_id)
    texts = tuple(read_text(db, each) for each in order)
    return Showing(**(row | {"messages": json.loads(row["messages"])}), texts=texts, response_ids=tuple(order))


def _open_showings(db: Database, rater: str, count: int) -> list[int]:
    """Return this rater's showings whose comparison has no rating that counts; the most recently undone first."""
    undone = db.query(
        "SELECT s.id FROM undone_showings u CROSS JOIN showings s ON s.id = u.showing_id"
        " CROSS JOIN comparisons c ON c.id = s.comparison_id"
        f" WHERE {hiding.is_pair_shown('c.id', 'c.prompt_id')} AND s.rater = :rater AND NOT EXISTS (SELECT 1 FROM ratings r WHERE r.comparison_id = s.comparison_id)"
        " ORDER BY u.event_id DESC LIMIT :count",
        {"rater": rater, "count": count},
    )
    found = [row["id"] for row in undone]
    unrated = db.query(
        "SELECT s.id FROM open_showings o CROSS JOIN showings s ON s.id = o.showing_id"
        " CROSS JOIN comparisons c ON c.id = s.comparison_id"
        f" WHERE {hiding.is_pair_shown('c.id', 'c.prompt_id')} AND s.rater = :rater AND NOT EXISTS (SELECT 1 FROM ratings r WHERE r.comparison_id = s.comparison_id)"
        " ORDER BY s.id LIMIT :count",
        {"rater": rater, "count": count - len(found)},
    )
    return found + [row["id"] for row in unrated]


def _order(db: Database, showing_id: int) -> list[int]:
    """Return the response ids of a showing by screen position."""
    sql = "SELECT left_response_id, right_response_id, response_ids FROM showings WHERE id = ?"
    row = next(db.query(sql, [showing_id]))
    return (
        json.loads(row["response_ids"]) if row["response_ids"] else [row["left_response_id"], row["right_response_id"]]
    )


_HIDDEN = (
    "SELECT text_id AS id FROM hidden_texts WHERE what = 'preferences' UNION SELECT c.id FROM hidden_texts h"
    " CROSS JOIN comparisons c ON c.key > h.text_id || ':' AND c.key < h.text_id || ';' WHERE h.what = 'prompts'"
)
"""The ids of hidden comparisons; a key begins with its prompt's id and a colon."""


def _key(prompt_id: int, response_ids: Sequence[int]) -> str:
    return f"{prompt_id}:{','.join(str(i) for i in sorted(response_ids))}"
