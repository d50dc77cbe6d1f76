"""Comparisons (responses to one prompt, to be judged) and showings (what the eye saw): the owner of those tables.

The order on the screen is drawn and stored before the pair is displayed. A showing that was stored and not yet rated is
shown again as it was after a reload or restart, so the order a person sees never changes under them.
"""

import json
import random
import secrets
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from studio.prompts import Messages
from studio.workspace import Workspace, now


@dataclass(frozen=True)
class Showing:
    """One pair as it is put on the screen. Holds no model name: rating is blind."""

    id: int
    comparison_id: int
    prompt_id: int
    messages: Messages
    category: str
    left: str
    right: str


def add_comparison(
    db: Database, prompt_id: int, response_ids: tuple[int, int], run_id: int | None = None
) -> int | None:
    """Put a pair of responses up for rating; returns its id, or None where the same pair already is.

    `run_id` is the sampling run that made the pair; None for imported pairs.
    """
    key = f"{prompt_id}:{','.join(str(i) for i in sorted(response_ids))}"
    if list(db.query("SELECT 1 FROM comparisons WHERE key = ?", [key])):
        return None
    comparison_id = db.execute(
        "INSERT INTO comparisons (key, prompt_id, run_id, created_at) VALUES (?, ?, ?, ?)",
        [key, prompt_id, run_id, now()],
    ).lastrowid
    for slot, response_id in enumerate(response_ids):
        db.execute(
            "INSERT INTO comparison_responses (comparison_id, slot, response_id) VALUES (?, ?, ?)",
            [comparison_id, slot, response_id],
        )
    return comparison_id


def counts(ws: Workspace) -> dict[str, int]:
    """`comparisons`: all; `unrated`: those without a rating that counts."""
    with ws.read() as db:
        return next(
            db.query(
                "SELECT count(*) AS comparisons, coalesce(sum(NOT EXISTS"
                " (SELECT 1 FROM ratings r WHERE r.comparison_id = c.id)), 0) AS unrated FROM comparisons c"
            )
        )


def next_showing(ws: Workspace, rater: str = "person", after: int | None = None) -> Showing | None:
    """The next pair to rate, its order stored; None when everything is rated.

    An open showing (one undone most recently, else one displayed before a reload) comes back first; then the newest
    sampled pairs, whose policy is the freshest.

    Args:
        ws: the workspace.
        rater: who will see it.
        after: look past this showing (to fetch the one behind it ahead of time).
    """
    with ws.write() as db:
        found = _open_showing(db, rater, after) or _new_showing(db, rater)
        return read_showing(db, found) if found else None


def add_showing(
    db: Database, comparison_id: int, rater: str, *, like: int | None = None, is_swapped: bool = False
) -> int:
    """Store how a comparison is about to be shown, and return the showing's id.

    Args:
        db: an open transaction.
        comparison_id: what is shown.
        rater: who will see it.
        like: take the order of this earlier showing; without, the order is drawn.
        is_swapped: turn that order round.
    """
    sql = "SELECT response_id FROM comparison_responses WHERE comparison_id = ? ORDER BY slot"
    order = [row["response_id"] for row in db.query(sql, [comparison_id])]
    seed = secrets.randbits(31)
    random.Random(seed).shuffle(order)
    if like is not None:
        sql = "SELECT left_response_id, right_response_id FROM showings WHERE id = ?"
        order = list(next(db.query(sql, [like])).values())[:: -1 if is_swapped else 1]
    row = {
        "comparison_id": comparison_id,
        "left_response_id": order[0],
        "right_response_id": order[1],
        "response_ids": json.dumps(order) if len(order) > 2 else None,
        "seed": seed,
        "rater": rater,
        "created_at": now(),
    }
    showing_id: Any = db.table("showings").insert(row).last_pk
    return showing_id


def get_showing(ws: Workspace, showing_id: int) -> Showing | None:
    """The showing with this id."""
    with ws.read() as db:
        return read_showing(db, showing_id)


def read_showing(db: Database, showing_id: int) -> Showing | None:
    """The showing with this id, in an open connection."""
    rows = db.query(
        "SELECT s.id, s.comparison_id, c.prompt_id, p.messages, p.category, l.text AS left, r.text AS right FROM showings s"
        " JOIN comparisons c ON c.id = s.comparison_id JOIN prompts p ON p.id = c.prompt_id"
        " JOIN responses l ON l.id = s.left_response_id JOIN responses r ON r.id = s.right_response_id WHERE s.id = ?",
        [showing_id],
    )
    return next((Showing(**(row | {"messages": json.loads(row["messages"])})) for row in rows), None)


def list_history(ws: Workspace) -> list[dict[str, Any]]:
    """Every comparison with its prompt, its responses and where they came from, and every showing; for the export."""
    with ws.read() as db:
        found = {
            row["id"]: row | {"messages": json.loads(row["messages"]), "responses": [], "showings": []}
            for row in db.query(
                "SELECT c.id, c.prompt_id, p.messages, p.category, p.split, u.name AS run, c.created_at FROM comparisons c"
                " JOIN prompts p ON p.id = c.prompt_id LEFT JOIN runs u ON u.id = c.run_id ORDER BY c.id"
            )
        }
        for row in db.query(
            "SELECT cr.comparison_id, cr.slot, r.id, r.text, r.kind, k.name AS checkpoint, r.sampling, r.token_ids,"
            " r.end_reason, r.created_at FROM comparison_responses cr JOIN responses r ON r.id = cr.response_id"
            " LEFT JOIN checkpoints k ON k.id = r.checkpoint_id ORDER BY cr.comparison_id, cr.slot"
        ):
            row |= {name: json.loads(row[name]) for name in ("sampling", "token_ids") if row[name]}
            found[row.pop("comparison_id")]["responses"].append(row)
        for row in db.query("SELECT * FROM showings ORDER BY id"):
            found[row.pop("comparison_id")]["showings"].append(row)
    return list(found.values())


def _open_showing(db: Database, rater: str, after: int | None) -> int | None:
    """An already stored showing of this rater that has no rating that counts; the most recently undone first."""
    undone = db.query(
        "SELECT e.showing_id AS id FROM rating_events e JOIN showings s ON s.id = e.showing_id"
        " WHERE e.outcome = 'undo' AND s.rater = :rater AND s.id IS NOT :after"
        " AND NOT EXISTS (SELECT 1 FROM rating_events n WHERE n.supersedes = e.id)"
        " AND NOT EXISTS (SELECT 1 FROM ratings r WHERE r.comparison_id = s.comparison_id)"
        " ORDER BY e.id DESC LIMIT 1",
        {"rater": rater, "after": after},
    )
    unrated = db.query(
        "SELECT s.id FROM open_showings o CROSS JOIN showings s ON s.id = o.showing_id"
        " WHERE s.rater = :rater AND s.id IS NOT :after AND NOT EXISTS (SELECT 1 FROM ratings r WHERE r.comparison_id = s.comparison_id)"
        " ORDER BY s.id LIMIT 1",
        {"rater": rater, "after": after},
    )
    return next((row["id"] for rows in (undone, unrated) for row in rows), None)


def _new_showing(db: Database, rater: str) -> int | None:
    """Draw the order of the next pair that has neither a rating nor a showing, and store it."""
    rows = list(
        db.query(
            "SELECT c.id FROM comparisons c WHERE NOT EXISTS (SELECT 1 FROM showings s WHERE s.comparison_id = c.id AND s.rater = :rater)"
            " AND NOT EXISTS (SELECT 1 FROM ratings r WHERE r.comparison_id = c.id)"
            " ORDER BY c.run_id DESC, c.id LIMIT 1",
            {"rater": rater},
        )
    )
    if not rows:
        return None
    return add_showing(db, rows[0]["id"], rater)
