"""Reads some of the checkpoints: a page of a search, the pinned ones, those of some runs. Deleted ones are left out."""

from collections.abc import Sequence

from sqlite_utils import Database

from studio.models.checkpoints import HANDED_ON_FIRST, SELECT, Checkpoint, of_row
from studio.page_reads import PAGE


def page(db: Database, *stages: str, search: str = "", limit: int = PAGE, offset: int = 0) -> list[Checkpoint]:
    """Return checkpoints of these stages, or of all, whose name, base model, note or tag holds the word, newest first."""
    # The plus keeps SQLite from sorting all checkpoints of a stage: the newest come first in the table as it is.
    marks = ", ".join("?" * len(stages))
    of_stages = f"+c.run_id IN (SELECT id FROM runs WHERE stage IN ({marks}))" if stages else "1"
    word = search.strip().lower()
    rows = db.query(
        f"{SELECT} WHERE c.deleted_at IS NULL AND {of_stages} AND (? = '' OR instr(lower(c.name), ?) > 0"
        " OR instr(lower(c.base_model), ?) > 0 OR EXISTS (SELECT 1 FROM checkpoint_notes n WHERE n.checkpoint_id = c.id"
        " AND instr(lower(n.note || ' ' || n.tags), ?) > 0)) ORDER BY c.id DESC LIMIT ? OFFSET ?",
        [*stages, *[word] * 4, limit, max(0, offset)],
    )
    return [of_row(row) for row in rows]


def pinned(db: Database) -> list[Checkpoint]:
    """Return the pinned checkpoints that were not deleted, newest first."""
    of_pins = "c.id IN (SELECT checkpoint_id FROM checkpoint_notes WHERE is_pinned)"
    rows = db.query(f"{SELECT} WHERE c.deleted_at IS NULL AND {of_pins} ORDER BY c.id DESC")
    return [of_row(row) for row in rows]


def is_known(db: Database, name: str, *stages: str) -> bool:
    """Return whether there is a checkpoint of this name, of one of these stages."""
    marks = ", ".join("?" * len(stages))
    rows = db.query(f"{SELECT} WHERE c.name = ? AND c.deleted_at IS NULL AND r.stage IN ({marks})", [name, *stages])
    return bool(list(rows))


def ids(db: Database, names: Sequence[str]) -> dict[str, int]:
    """Map the known ones of these names to their ids, also those of deleted ones."""
    marks = ", ".join("?" * len(names))
    rows = db.query(f"SELECT id, name FROM checkpoints WHERE name IN ({marks})", list(names))
    return {row["name"]: row["id"] for row in rows}


def of_run(db: Database, run_id: int) -> list[Checkpoint]:
    """Return the checkpoints of a run, the last one first."""
    rows = db.query(f"{SELECT} WHERE c.run_id = ? AND c.deleted_at IS NULL ORDER BY c.id DESC", [run_id])
    return [of_row(row) for row in rows]


def handed_on(db: Database, run_ids: Sequence[int]) -> list[Checkpoint]:
    """Return the checkpoint that each run hands on, newest first."""
    marks = ", ".join("?" * len(run_ids))
    of_runs = f"{SELECT} WHERE c.run_id IN ({marks}) AND c.deleted_at IS NULL ORDER BY {HANDED_ON_FIRST}, c.id DESC"
    rows = list(db.query(of_runs, list(run_ids)))
    found = {row["run_id"]: of_row(row) for row in reversed(rows)}
    return sorted(found.values(), key=lambda c: -c.id)
