"""Checkpoints and their lineage: the owner of that table. A row means a complete folder on disk, or one that was deleted.

A run *hands on* one of its checkpoints: the one that a person chose, else the one that the run chose (the best within a
budget), else its last one. A run's name stands for that one, and the next stage preselects it; only a resume takes the last one. A deleted checkpoint
keeps its row, so that lineage, responses and results still name it; nothing chooses or reads it any more.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from studio.errors import CheckpointError
from studio.workspace import Workspace, now

POLICIES = ("ppo", "dpo", "sft")
"""Stages whose checkpoints write text; the first that has one is what an empty name takes."""
HANDED_ON_BY_CHOICE = "handed on by your choice"
SAVED_AT_KL = "saved_at_kl"
"""Metric of a checkpoint of PPO that was saved since the KL first reached this value (`save_at_kl`)."""


@dataclass(frozen=True)
class Checkpoint:
    """A saved state of a run; `name` is the run's name @ the step."""

    id: int
    name: str
    run_id: int
    run_name: str
    stage: str
    step: int
    root: Path
    """The folder of the workspace."""
    folder: Path
    base_model: str
    base_fingerprint: str
    metrics: dict[str, float]
    created_at: str
    is_chosen: bool
    """True if handed on instead of the run's last one."""
    is_own_choice: bool
    """True if a person chose it to be handed on."""
    is_runs_choice: bool
    """True if the run chose it, whatever a person chose since."""
    deleted_at: str | None
    """The time at which its files were deleted."""

    @property
    def remarks(self) -> str:
        """What is special about it, in parentheses after a space; empty for most."""
        kl = self.metrics.get(SAVED_AT_KL)
        said = [
            *([HANDED_ON_BY_CHOICE if self.is_own_choice else "handed on"] if self.is_chosen else []),
            *([f"reached a KL of {kl:g} nats"] if kl is not None else []),
            *([f"deleted {self.deleted_at[:10]}"] if self.deleted_at else []),
        ]
        return f" ({', '.join(said)})" if said else ""


SELECT = (
    "SELECT c.*, workspace() AS root, r.name AS run_name, r.stage, h.checkpoint_id AS persons_choice FROM checkpoints c"
    " JOIN runs r ON r.id = c.run_id LEFT JOIN handed_on h ON h.run_id = c.run_id"
)
"""Rows that `of_row` takes."""
HANDED_ON_FIRST = "h.checkpoint_id IS c.id DESC, c.is_chosen DESC"
"""Of the checkpoints of a run in `SELECT`, those that were chosen come first."""


def add(
    db: Database,
    run_id: int,
    step: int,
    folder: Path,
    *,
    base_model: str,
    base_fingerprint: str,
    metrics: dict[str, float],
    is_chosen: bool = False,
) -> str:
    """Record a folder that is complete on disk; `is_chosen` replaces the run's earlier choice, no person's. Returns its name."""
    if is_chosen:
        db.execute("UPDATE checkpoints SET is_chosen = 0 WHERE run_id = ?", [run_id])
    run = next(db.query("SELECT name, workspace() AS root FROM runs WHERE id = ?", [run_id]))
    name = f"{run['name']}@{step}"
    row = {
        "name": name,
        "run_id": run_id,
        "step": step,
        "folder": str(folder.relative_to(run["root"])),
        "base_model": base_model,
        "base_fingerprint": base_fingerprint,
        "metrics": json.dumps(metrics),
        "created_at": now(),
        "is_chosen": int(is_chosen),
    }
    db.table("checkpoints").insert(row)
    return name


def get(db: Database, name: str) -> Checkpoint:
    """Return the checkpoint with this name; a run's name alone means the one it hands on.

    Raises:
        CheckpointError: there is none, it was deleted, or its folder is gone.
    """
    return _get(db, name, f"{HANDED_ON_FIRST}, c.step DESC")


def last(db: Database, name: str) -> Checkpoint:
    """Return the checkpoint with this name; a run's name alone means its last one, from which it resumes.

    Raises:
        CheckpointError: there is none, it was deleted, or its folder is gone.
    """
    return _get(db, name, "c.step DESC")


def recorded(db: Database, name: str) -> Checkpoint:
    """Return the checkpoint as `get` does, for what is known of it; its files may be gone.

    Raises:
        CheckpointError: there is none.
    """
    return of_row(_row(db, name, f"{HANDED_ON_FIRST}, c.step DESC"))


def hand_on(db: Database, found: Checkpoint, is_wanted: bool = True) -> None:
    """Let its run hand on this checkpoint, or take that back: then the run's own choice counts again.

    Nothing changes where the run hands it on, or does not, as it is.

    Raises:
        CheckpointError: it was deleted.
    """
    check_present(db, [found.id])
    of_run = f"{SELECT} WHERE c.run_id = ? AND c.deleted_at IS NULL ORDER BY {HANDED_ON_FIRST}, c.step DESC LIMIT 1"
    current = next(db.query(of_run, [found.run_id]))
    if is_wanted and current["id"] != found.id:
        row = {"run_id": found.run_id, "checkpoint_id": found.id, "changed_at": now()}
        db.table("handed_on").upsert(row, pk="run_id")
    elif not is_wanted and current["persons_choice"] == found.id:
        db.execute("DELETE FROM handed_on WHERE run_id = ?", [found.run_id])


def name_of(db: Database, checkpoint_id: int | None) -> str:
    """Return the name of the checkpoint with this id; empty for None."""
    return next((row["name"] for row in db.query("SELECT name FROM checkpoints WHERE id = ?", [checkpoint_id])), "")


def id_of(db: Database, name: str) -> int:
    """Return the id of the checkpoint with exactly this name; its folder may be gone.

    Raises:
        CheckpointError: there is none.
    """
    row = next(db.query("SELECT id FROM checkpoints WHERE name = ?", [name]), None)
    if row is None:
        raise CheckpointError(f"There is no checkpoint named {name!r} any more.")
    return row["id"]


def check_present(db: Database, ids: Iterable[int]) -> None:
    """Refuse checkpoints that were deleted meanwhile, in the transaction in which they are to be used.

    Raises:
        CheckpointError: one of them was deleted.
    """
    given = list(ids)
    marks = ", ".join("?" * len(given))
    query = f"SELECT name, deleted_at FROM checkpoints WHERE deleted_at IS NOT NULL AND id IN ({marks})"
    for row in db.query(query, given):
        said = was_deleted(f"Checkpoint {row['name']}", row["deleted_at"])
        raise CheckpointError(f"{said} Choose another checkpoint.")


def was_deleted(what: str, at: str) -> str:
    """Say when the files of a checkpoint or a run were deleted, and what is left."""
    day = f"{at[:10]} at {at[11:16]} UTC"
    return f"{what} was deleted on {day}: its files are gone, while what was sampled, rated and measured with it stays."


def _get(db: Database, name: str, order: str) -> Checkpoint:
    row = _row(db, name, order)
    found = of_row(row)
    if found.deleted_at:
        left = [c.name for c in list_all(db, found.stage)[:3]]
        other = f"Choose another checkpoint, such as {left[0]}." if left else f"Train {found.stage} again."
        raise CheckpointError(f"{was_deleted(f'Checkpoint {found.name}', found.deleted_at)} {other}")
    if not is_inside(found):
        raise CheckpointError(
            f"The row of checkpoint {found.name} names a folder outside of the workspace's runs ({row['folder']}), which is never "
            "read. Choose another checkpoint."
        )
    if not found.folder.is_dir():
        raise CheckpointError(
            f"The folder of checkpoint {found.name} is gone ({row['folder']}). "
            "Put it back, or choose another checkpoint."
        )
    if missing := _missing(found.folder):
        raise CheckpointError(
            f"Checkpoint {found.name} is incomplete: it has no {missing}. Put it back, or choose another checkpoint."
        )
    return found


def _row(db: Database, name: str, order: str) -> dict[str, Any]:
    """Return the row of `SELECT` of this name; of a run's checkpoints the first that was not deleted, else the first."""
    order = f"c.name = ? DESC, c.deleted_at IS NOT NULL, {order}"
    rows = list(db.query(f"{SELECT} WHERE c.name = ? OR r.name = ? ORDER BY {order} LIMIT 1", [name] * 3))
    if not rows:
        known = ", ".join(c.name for c in list_all(db)[:5]) or "none yet"
        raise CheckpointError(f"There is no checkpoint named {name!r}. Newest ones: {known}.")
    return rows[0]


def is_inside(found: Checkpoint) -> bool:
    """Return whether the path is inside its run's folder, as written: a person may have put a link there."""
    run = Workspace(found.root).runs / found.run_name
    is_plain = found.run_name == run.name and run.name != ".."
    return is_plain and run in Path(os.path.normpath(found.folder)).parents


def _missing(folder: Path) -> str:
    """Return a saved file that is missing; the content of the others is checked when they are read."""
    try:
        saved = json.loads((folder / "meta.json").read_text(encoding="utf-8")).get("checksums", {})
    except (OSError, ValueError):
        return ""
    return next((name for name in saved if not (folder / name).is_file()), "")


def list_all(db: Database, *stages: str, is_newest_of_run: bool = False, has_deleted: bool = False) -> list[Checkpoint]:
    """Return checkpoints, newest first; only these stages where given, only those handed on where wanted.

    Deleted ones are among them only where asked for.
    """
    rows = db.query(f"{SELECT} WHERE c.deleted_at IS NULL OR ? ORDER BY c.id DESC", [has_deleted])
    found = [of_row(row) for row in rows if not stages or row["stage"] in stages]
    if not is_newest_of_run:
        return found
    newest_of_run = {c.run_id: c for c in reversed(found)}
    return list((newest_of_run | {c.run_id: c for c in found if c.is_chosen}).values())[::-1]


def newest(db: Database, *stages: str) -> Checkpoint | None:
    """Return the checkpoint handed on by the run with the newest checkpoint of these stages, or None."""
    marks = ", ".join("?" * len(stages))
    of_stages = f"AND +c.run_id IN (SELECT id FROM runs WHERE stage IN ({marks}))" if stages else ""
    first = list(db.query(f"{SELECT} WHERE c.deleted_at IS NULL {of_stages} ORDER BY c.id DESC LIMIT 1", list(stages)))
    of_run = f"{SELECT} WHERE c.run_id = ? AND c.deleted_at IS NULL ORDER BY {HANDED_ON_FIRST}, c.id DESC LIMIT 1"
    return next((of_row(row) for row in db.query(of_run, [first[0]["run_id"]])), None) if first else None


def parents(db: Database, name: str) -> dict[str, str]:
    """Map each role to the name of the checkpoint that this one's run started from."""
    return parents_of_run(db, get(db, name).run_id)


def last_name(db: Database, run_id: int) -> str:
    """Return the name of a run's last checkpoint; empty where it has none."""
    sql = "SELECT name FROM checkpoints WHERE run_id = ? AND deleted_at IS NULL ORDER BY id DESC LIMIT 1"
    found = db.execute(sql, [run_id]).fetchone()
    return found[0] if found else ""


def parents_of_run(db: Database, run_id: int) -> dict[str, str]:
    """Do as `parents`, by the run, whose own checkpoint may be gone."""
    rows = db.query(
        "SELECT rp.role, c.name FROM run_parents rp JOIN checkpoints c ON c.id = rp.checkpoint_id WHERE rp.run_id = ?",
        [run_id],
    )
    return {row["role"]: row["name"] for row in rows}


def lineage(db: Database) -> list[tuple[str, str, str]]:
    """Return all edges (parent run, role, child run) between runs, for drawing the family tree."""
    rows = db.query(
        "SELECT p.name AS parent, rp.role, r.name AS child FROM run_parents rp JOIN runs r ON r.id = rp.run_id"
        " JOIN checkpoints c ON c.id = rp.checkpoint_id JOIN runs p ON p.id = c.run_id ORDER BY r.id, rp.role"
    )
    return [(row["parent"], row["role"], row["child"]) for row in rows]


def of_row(row: dict[str, Any]) -> Checkpoint:
    """Return the checkpoint of a row of `SELECT`."""
    is_own, is_runs = row["persons_choice"] == row["id"], bool(row["is_chosen"])
    parsed = {
        "root": Path(row["root"]),
        "folder": Path(row["root"], row["folder"]),
        "metrics": json.loads(row["metrics"]),
        "is_chosen": is_own or (is_runs and row["persons_choice"] is None),
        "is_own_choice": is_own,
        "is_runs_choice": is_runs,
    }
    return Checkpoint(**{name: row[name] for name in Checkpoint.__dataclass_fields__ if name not in parsed} | parsed)
