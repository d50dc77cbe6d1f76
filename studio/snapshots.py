"""Snapshots: frozen, hashed sets of preferences that reward runs train on. The owner of those tables.

What to train on is a recipe, applied here to the ratings that count; the collection keeps everything. The same ratings
and recipe give the same hash, whichever way round the pairs were shown.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from studio.errors import DataError
from studio.workspace import Workspace, now

MARGINS = {1: 0.0, 2: 1.0 / 3.0, 3: 2.0 / 3.0}
"""Strength to margin, the small scale of Llama 2 (its table 27)."""
SOFT_LABELS = {1: 0.7, 2: 0.85, 3: 0.95}
"""Strength to probability that the chosen response is the better one; without a strength the label stays 1."""


@dataclass(frozen=True)
class Snapshot:
    """A frozen set of preferences."""

    id: int
    sha256: str
    row_count: int


def freeze(ws: Workspace, *, ties: str, use_strength: bool, strength_as: str = "margin") -> Snapshot:
    """Freeze the ratings that count now; the same content is one snapshot.

    Args:
        ws: the workspace.
        ties: half (a tie has target 0.5) or drop. Both-bad is a tie here, a skip never enters.
        use_strength: let strength count.
        strength_as: margin (a distance asked for) or soft_label (a probability below 1).

    Raises:
        DataError: there is no rating to train on.
    """
    use = strength_as if use_strength else ""
    recipe = {"ties": ties, "use_strength": "soft_label" if use == "soft_label" else use_strength}
    with ws.write() as db:
        ratings = db.query(
            "SELECT id, comparison_id, outcome, strength, left_id, right_id FROM ratings"
            " WHERE outcome != 'skip' ORDER BY comparison_id, id"
        )
        rows = [row for rating in ratings if (row := _row(rating, ties, use))]
        if not rows:
            raise DataError("There are no ratings to train on. Rate some pairs first, or import preferences.")
        content = json.dumps([recipe, [{k: v for k, v in row.items() if k != "rating_id"} for row in rows]])
        sha256 = hashlib.sha256(content.encode()).hexdigest()
        found = next(db.query("SELECT id FROM snapshots WHERE sha256 = ?", [sha256]), None)
        if found:
            return Snapshot(found["id"], sha256, len(rows))
        row = {"recipe": json.dumps(recipe), "sha256": sha256, "row_count": len(rows), "created_at": now()}
        snapshot_id: Any = db.table("snapshots").insert(row).last_pk
        db.table("snapshot_rows").insert_all(
            {"snapshot_id": snapshot_id, "position": position} | row for position, row in enumerate(rows)
        )
        return Snapshot(snapshot_id, sha256, len(rows))


def training_rows(ws: Workspace, snapshot_id: int) -> list[dict[str, Any]]:
    """The snapshot's rows with their texts and the prompt's split, in the form `modules.data.RewardDataModule` takes."""
    with ws.read() as db:
        rows = db.query(
            "SELECT e.comparison_id, e.strength, p.id AS prompt_id, p.category, p.split, p.messages, c.text AS chosen,"
            " r.text AS rejected, s.target_p, s.margin, s.weight FROM snapshot_rows s"
            " JOIN rating_events e ON e.id = s.rating_id JOIN responses c ON c.id = s.chosen_id"
            " JOIN responses r ON r.id = s.rejected_id JOIN prompts p ON p.id = c.prompt_id"
            " WHERE s.snapshot_id = ? ORDER BY s.position",
            [snapshot_id],
        )
        return [row | {"messages": json.loads(row["messages"])} for row in rows]


def _row(rating: dict[str, Any], ties: str, use: str) -> dict[str, Any] | None:
    """One preference, or None where the recipe leaves the rating out. A tie lists the older response first.

    Args:
        rating: the event that counts.
        ties: half or drop.
        use: of strength: margin, soft_label, or nothing.
    """
    left, right, outcome, strength = rating["left_id"], rating["right_id"], rating["outcome"], rating["strength"]
    is_tie = outcome in ("tie", "both_bad")
    if is_tie and ties == "drop":
        return None
    chosen, rejected = sorted((left, right)) if is_tie else (left, right) if outcome == "left" else (right, left)
    target_p = SOFT_LABELS.get(strength, 1.0) if use == "soft_label" else 1.0
    return {
        "rating_id": rating["id"],
        "chosen_id": chosen,
        "rejected_id": rejected,
        "target_p": 0.5 if is_tie else target_p,
        "margin": MARGINS.get(strength, 0.0) if use == "margin" else 0.0,
        "weight": 1.0,
    }
