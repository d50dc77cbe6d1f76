"""Keeps a training run from filling the disk: older checkpoints leave when a new one is saved (`keep_checkpoints`)."""

from sqlite_utils import Database

from studio.models import deletion, dependants, notes
from studio.models.checkpoints import SAVED_AT_KL, SELECT, Checkpoint, of_row
from studio.models.deletion import Plan
from studio.workspace import Workspace


def apply(ws: Workspace, run_id: int, keep: int) -> list[str]:
    """Delete the run's checkpoints beyond the newest `keep`, save those that are needed; returns their names.

    Needed are the one that is handed on, the best policy that a kept one resumes with, those of `save_at_kl`, those that
    another run began with or uses now, and those that a person pinned.
    """
    with ws.write() as db:
        rows = db.query(
            f"{SELECT} WHERE c.run_id = ? AND c.deleted_at IS NULL ORDER BY c.step DESC, c.id DESC", [run_id]
        )
        found = [of_row(row) for row in rows]
        pinned = notes.pinned(db)
        kept = [c for n, c in enumerate(found) if n < keep or c.id in pinned or _is_wanted(db, c)]
        resumed_with = {deletion.best_step(c) for c in kept}
        leaving = [c for c in found if c not in kept and c.step not in resumed_with]
        if not leaving:
            return []
        pieces = [deletion.piece(ws, c) for c in leaving]
        deletion.mark(db, ws, Plan(checkpoint_ids=[c.id for c in leaving], pieces=pieces))
    deletion.finish(ws)
    return [c.name for c in leaving]


def _is_wanted(db: Database, c: Checkpoint) -> bool:
    is_marked = c.is_chosen or c.is_runs_choice or SAVED_AT_KL in c.metrics
    return is_marked or bool(dependants.uses(db, [c.id])) or dependants.is_origin(db, c.id)
