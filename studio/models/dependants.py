"""Finds what depends on checkpoints that are to be deleted: what forbids it, what would not go on, what stays as it is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

Rows = list[dict[str, Any]]
_ACTIVE = "(r.ended_at IS NULL OR r.gone_at IS NULL)"
"""Runs that wait, are running, or whose processes were not yet seen gone."""


@dataclass(frozen=True)
class Child:
    """A run that started from one of the checkpoints, and still has checkpoints of its own."""

    name: str
    run_id: int
    parent: str
    role: str
    """What the parent is to it: ``sft``, ``reward`` or ``policy``; ``resumed`` where it went on from it."""


def uses(db: Database, checkpoint_ids: Sequence[int]) -> list[str]:
    """Return a sentence for each living use of the checkpoints, which must end before they can be deleted."""
    names = {row["id"]: row["name"] for row in _in(db, "SELECT id, name FROM checkpoints WHERE id IN", checkpoint_ids)}
    found = []
    for run in db.query(f"SELECT r.* FROM runs r WHERE {_ACTIVE} ORDER BY r.id"):
        used = _used_by(db, run)
        found += [f"{run['name']}, which has not ended, uses {names[id_]}." for id_ in names if id_ in used]
    for session in db.query(
        "SELECT s.id, s.config FROM sessions s WHERE coalesce((SELECT e.kind FROM session_events e WHERE e.session_id = s.id"
        " ORDER BY e.id DESC LIMIT 1), '') <> 'ended'"
    ):
        config = json.loads(session["config"])
        asked = {config.get("checkpoint"), config.get("opponent")}
        found += [
            f"Session {session['id']}, which has not ended, rates answers of {name}."
            for name in names.values()
            if name in asked
        ]
    return found


def children(db: Database, checkpoint_ids: Sequence[int]) -> list[Child]:
    """Return the runs that started from one of the checkpoints and still have some of their own, the oldest first."""
    given = list(checkpoint_ids)
    marks = ", ".join("?" * len(given))
    rows = db.query(
        "SELECT r.name, r.id AS run_id, c.name AS parent, u.role FROM (SELECT run_id, checkpoint_id, role FROM run_parents UNION ALL"
        " SELECT id, resumed_from, 'resumed' FROM runs WHERE resumed_from IS NOT NULL) u"
        f" JOIN runs r ON r.id = u.run_id JOIN checkpoints c ON c.id = u.checkpoint_id WHERE u.checkpoint_id IN ({marks})"
        " AND EXISTS (SELECT 1 FROM checkpoints o WHERE o.run_id = r.id AND o.deleted_at IS NULL) ORDER BY r.id, u.role",
        given,
    )
    return [Child(**row) for row in rows]


def is_origin(db: Database, checkpoint_id: int) -> bool:
    """Return whether a run that trains, and was not deleted, began with the checkpoint or went on from it."""
    rows = db.query(
        "SELECT 1 FROM runs r WHERE r.deleted_at IS NULL AND r.stage NOT IN ('sample', 'evaluate') AND (r.resumed_from = :id OR EXISTS"
        " (SELECT 1 FROM run_parents p WHERE p.run_id = r.id AND p.checkpoint_id = :id)) LIMIT 1",
        {"id": checkpoint_id},
    )
    return bool(list(rows))


def facts(db: Database, checkpoint_ids: Sequence[int]) -> list[str]:
    """Return, in words, how much was made with the checkpoints; all of it stays."""
    of_answers = (
        "SELECT count(DISTINCT e.id) AS n FROM rating_events e JOIN comparison_responses f ON f.comparison_id = e.comparison_id"
        " JOIN responses r ON r.id = f.response_id WHERE e.outcome <> 'undo'"
        " AND NOT EXISTS (SELECT 1 FROM rating_events l WHERE l.supersedes = e.id) AND r.checkpoint_id IN"
    )
    of_turns = "SELECT count(DISTINCT t.conversation_id) AS n FROM turns t JOIN checkpoints c ON c.name = t.checkpoint WHERE c.id IN"
    counted = (
        ("response", "SELECT count(*) AS n FROM responses WHERE checkpoint_id IN"),
        ("rating", of_answers),
        ("conversation", of_turns),
        ("measurement", "SELECT count(*) AS n FROM evaluation_results WHERE checkpoint_id IN"),
        ("prediction", "SELECT count(*) AS n FROM predictions WHERE checkpoint_id IN"),
    )
    numbers = [(word, next(iter(_in(db, query, checkpoint_ids)))["n"]) for word, query in counted]
    return [f"{n:,} {word}{'s' * (n != 1)}" for word, n in numbers if n]


def _used_by(db: Database, run: dict[str, Any]) -> set[int]:
    """Return the checkpoints that a run reads: its parents, what it goes on from, and, to measure KL, their SFT policies."""
    used = {
        row["checkpoint_id"] for row in db.query("SELECT checkpoint_id FROM run_parents WHERE run_id = ?", [run["id"]])
    }
    if run["stage"] == "evaluate":
        behind = "SELECT p.checkpoint_id FROM run_parents p JOIN checkpoints c ON c.run_id = p.run_id WHERE p.role = 'sft' AND c.id IN"
        used |= {row["checkpoint_id"] for row in _in(db, behind, sorted(used))}
    if run["resumed_from"]:
        used |= _with_best(db, run["resumed_from"])
    return used


def _with_best(db: Database, checkpoint_id: int) -> set[int]:
    """Return a checkpoint with those of its run before it, among which is the best so far, taken over by a resume."""
    rows = db.query(
        "SELECT o.id FROM checkpoints c JOIN checkpoints o ON o.run_id = c.run_id AND o.step <= c.step WHERE c.id = ?",
        [checkpoint_id],
    )
    return {row["id"] for row in rows}


def _in(db: Database, query: str, ids: Sequence[int]) -> Rows:
    return list(db.query(f"{query} ({', '.join('?' * len(ids))})", list(ids)))
