"""Predictions of a reward model for comparisons that nobody had judged yet. The owner of those tables.

SQLite refuses a prediction that comes after a vote, so that a reward model is measured on votes it cannot have seen. The
scores come from the resident process where the page has one that is idle, else from a child process (`studio.worker.predict`);
this module asks them and never loads torch itself.

The uncertainty stored with a prediction is the ensemble's spread, else the closeness to one half: see `pair_worth`.
"""

import json
import logging
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from studio import children
from studio.annotation.pair_worth import Scores, preference, uncertainty
from studio.children import ChildError
from studio.errors import RunError, StudioError
from studio.models import checkpoints
from studio.models.checkpoints import Checkpoint
from studio.workspace import Workspace, now

Ask = Callable[[Checkpoint], str]
"""Has a reward model predict, and returns what it says of it; RunError where its process cannot now."""
MODULE = "studio.worker.predict"
log = logging.getLogger("rlhf_studio.predictions")
_residents: dict[str, Callable[[], Ask | None]] = {}
"""Workspace to what tells how its resident process is asked, see `ask_resident`."""
_asking: dict[str, threading.Thread] = {}
"""Workspace to the thread that has the resident process predict."""
_children: dict[str, subprocess.Popen[Any]] = {}
"""Workspace to the child started last."""
_tried: dict[tuple[str, int], int] = {}
"""(workspace, reward model) to the newest comparison when its last child was started."""


@dataclass(frozen=True)
class Prediction:
    """The reward model's earlier prediction for the pair on the screen."""

    checkpoint: str
    left: float
    """Probability that the left response is the better one."""
    uncertainty: float
    kind: str


def add(db: Database, checkpoint_id: int, found: Sequence[tuple[int, Scores]]) -> int:
    """Store predictions (comparison id, scores) of pairs not judged or predicted meanwhile. Returns how many."""
    return sum(_add(db, checkpoint_id, comparison_id, scores) for comparison_id, scores in found)


def pending(db: Database, checkpoint_id: int, limit: int = -1) -> list[dict[str, Any]]:
    """Return unjudged comparisons that this reward model has not predicted, those shown soonest first.

    Returns:
        Dicts with id, messages, responses (texts by slot) and how each ended.
    """
    rows = db.query(
        "SELECT c.id, p.messages, (SELECT json_group_array(json_array(text, end_reason)) FROM (SELECT r.text,"
        " r.end_reason FROM comparison_responses s JOIN responses r ON r.id = s.response_id"
        " WHERE s.comparison_id = c.id ORDER BY s.slot)) AS responses"
        " FROM waiting_comparisons o CROSS JOIN comparisons c ON c.id = o.comparison_id JOIN prompts p ON p.id = c.prompt_id"
        " WHERE NOT EXISTS (SELECT 1 FROM predictions q WHERE q.comparison_id = c.id AND q.checkpoint_id = :checkpoint)"
        " ORDER BY NOT EXISTS (SELECT 1 FROM showings s WHERE s.comparison_id = c.id),"
        " (SELECT min(w.id) FROM session_queue w WHERE w.comparison_id = c.id) NULLS LAST, c.run_id DESC, c.id"
        " LIMIT :limit",
        {"checkpoint": checkpoint_id, "limit": limit},
    )
    return [_waiting(row) for row in rows]


def _waiting(row: dict[str, Any]) -> dict[str, Any]:
    texts, ends = zip(*json.loads(row["responses"]), strict=True)
    return {"id": row["id"], "messages": json.loads(row["messages"]), "responses": texts, "end_reasons": ends}


def reveal(db: Database, showing_id: int, event_id: int) -> Prediction | None:
    """Return the prediction for a pair just judged, storing that the rater saw it; None where there is none."""
    row = _of_showing(db, showing_id)
    if row is None:
        return None
    remember_view(db, row["id"], showing_id, event_id)
    return Prediction(row["checkpoint"], row["left"], row["uncertainty"], row["uncertainty_kind"])


def remember_view(db: Database, prediction_id: int, showing_id: int, event_id: int) -> None:
    """Store that the rater saw a prediction after this vote."""
    db.execute(
        "INSERT OR IGNORE INTO prediction_views (prediction_id, showing_id, event_id, created_at) VALUES (?, ?, ?, ?)",
        [prediction_id, showing_id, event_id, now()],
    )


def counts(db: Database) -> dict[str, int]:
    """Count `predictions` of the newest reward model, and `waiting`: unjudged comparisons without one."""
    reward = checkpoints.newest(db, "reward")
    if reward is None:
        return {"predictions": 0, "waiting": 0}
    sql = (
        "SELECT (SELECT count(*) FROM predictions WHERE checkpoint_id = :reward) AS predictions, (SELECT count(*)"
        " FROM waiting_comparisons o WHERE NOT EXISTS (SELECT 1 FROM predictions q"
        " WHERE q.comparison_id = o.comparison_id AND q.checkpoint_id = :reward)) AS waiting"
    )
    return next(db.query(sql, {"reward": reward.id}))


def start(ws: Workspace) -> bool:
    """Let a child process predict the unjudged comparisons; True while one is running.

    It is started once for each reward model and newest comparison, so that a failing child, or a text that is too long,
    is not tried forever.
    """
    with ws.read() as db:
        reward = checkpoints.newest(db, "reward")
        newest = next(db.query("SELECT max(id) AS id FROM comparisons"))["id"] or 0
    if reward is None or is_at_work(ws):
        return reward is not None
    key = (str(ws.root), reward.id)
    if _tried.get(key, 0) >= newest:
        return False
    _tried[key] = newest
    ask = _residents.get(str(ws.root), lambda: None)()
    if ask is None:
        _start_child(ws)
    else:
        thread = threading.Thread(target=_ask, args=(ws, reward, ask), name="predictions", daemon=True)
        _asking[str(ws.root)] = thread
        thread.start()
    return True


def _ask(ws: Workspace, reward: Checkpoint, ask: Ask) -> None:
    """Have the resident process predict; where it cannot now, a process of its own does, once it has a device."""
    try:
        said = ask(reward)
    except RunError:
        _start_child(ws)
    except StudioError as error:
        log.warning("the reward model could not predict: %s", error)
    else:
        log.info("%s", said)


def _start_child(ws: Workspace) -> None:
    with (ws.root / "predictions.log").open("ab") as log:
        child: subprocess.Popen[Any] = subprocess.Popen(
            children.command(MODULE),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=ws.root,
            env=children.environment(),
            text=True,
        )
    assert child.stdin is not None
    with suppress(BrokenPipeError), child.stdin as request:
        json.dump({"root": str(ws.root), "is_patient": True}, request)
    _children[str(ws.root)] = child


def ask_resident(ws: Workspace, offer: Callable[[], Ask | None]) -> None:
    """Let a process that stays predict in this workspace where it can, instead of one that is started each time.

    Args:
        ws: the workspace.
        offer: returns what has it predict, or None while it is busy.
    """
    _residents[str(ws.root)] = offer


def run(ws: Workspace) -> str:
    """Predict the waiting comparisons, and wait for it; returns what the child says of it.

    Raises:
        RunError: a run uses the GPU, or the child failed.
    """
    try:
        return children.ask(MODULE, {"root": str(ws.root), "is_patient": False}, cwd=ws.root)
    except ChildError as error:
        raise RunError(f"The reward model could not predict: {error}") from error


def is_at_work(ws: Workspace) -> bool:
    """Return whether a child that was started here is running or waits for the device."""
    child, thread = _children.get(str(ws.root)), _asking.get(str(ws.root))
    return (child is not None and child.poll() is None) or (thread is not None and thread.is_alive())


def _add(db: Database, checkpoint_id: int, comparison_id: int, scores: Scores) -> bool:
    is_late = (
        "SELECT EXISTS (SELECT 1 FROM rating_events WHERE comparison_id = :id) OR EXISTS"
        " (SELECT 1 FROM predictions WHERE comparison_id = :id AND checkpoint_id = :checkpoint) AS late"
    )
    if next(db.query(is_late, {"id": comparison_id, "checkpoint": checkpoint_id}))["late"]:
        return False
    size, kind = uncertainty(scores)
    row = {
        "comparison_id": comparison_id,
        "checkpoint_id": checkpoint_id,
        "scores": json.dumps(scores),
        "preference": preference(scores) if len(scores) == 2 else None,
        "uncertainty": size,
        "uncertainty_kind": kind,
        "created_at": now(),
    }
    db.table("predictions").insert(row)
    return True


def _of_showing(db: Database, showing_id: int) -> dict[str, Any] | None:
    """Return the newest prediction for the pair of a showing, turned to the screen."""
    rows = db.query(
        "SELECT q.id, k.name AS checkpoint, q.uncertainty, q.uncertainty_kind, CASE WHEN s.left_response_id = f.response_id"
        " THEN q.preference ELSE 1 - q.preference END AS left FROM showings s"
        " JOIN predictions q ON q.comparison_id = s.comparison_id AND q.preference IS NOT NULL"
        " JOIN checkpoints k ON k.id = q.checkpoint_id"
        " JOIN comparison_responses f ON f.comparison_id = s.comparison_id AND f.slot = 0"
        " WHERE s.id = ? ORDER BY q.id DESC LIMIT 1",
        [showing_id],
    )
    return next(iter(list(rows)), None)
