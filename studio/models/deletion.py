"""Deletes the files of runs and checkpoints; their rows stay, and so does all that people said.

A deletion names every file before the first one leaves: in one transaction the rows are marked as deleted and the names
are stored, and only then the files go. A deletion that is cut off at any moment is therefore either not begun, or finished
by whoever looks next (`finish`). What the run did not write itself stays, and so does whatever lies behind a link.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from studio.errors import CheckpointError, RunError, StudioError
from studio.files.sync import sync
from studio.models import checkpoints, dependants, disk, loaded, notes
from studio.models.checkpoints import SELECT, Checkpoint, of_row, was_deleted
from studio.workspace import Workspace, now

Others = Literal["refuse", "delete", "keep"]
"""What becomes of the runs and checkpoints that depend on what is deleted."""
_OF_RUN = re.compile(
    r"(config|surroundings)\.json|log\.txt|killed|processes\.(db|part)|failure-of-process-\d+|data/[a-z_]+\.jsonl"
    r"|trackers/.+|checkpoints/\.step-\d+\.[0-9a-f]{8}\.part/.+"
)
"""Files of a run's folder that the studio writes, besides its checkpoints."""
_LOADED = "is loaded by a process that answers (Chat, a tried prompt, serve): an answer that it has begun is completed, and no other follows."
_CHECKPOINT = re.compile(r"step-\d+(-\d+)?")


@dataclass(frozen=True)
class Piece:
    """A folder with the files that are to leave it."""

    name: str
    """Of the run or checkpoint."""
    folder: Path
    files: list[str]
    """Relative to the folder."""

    @property
    def paths(self) -> list[Path]:
        """The files' paths."""
        return [self.folder / name for name in self.files]


@dataclass
class Plan:
    """A deletion before it is done: what leaves, what forbids it, what depends on it, and what stays."""

    run_ids: list[int] = field(default_factory=list)
    checkpoint_ids: list[int] = field(default_factory=list)
    """Those of the runs are among them."""
    pieces: list[Piece] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)
    """Sentences: why it cannot be done now."""
    dependants: list[str] = field(default_factory=list)
    """Sentences: what depends on it."""
    changes: list[str] = field(default_factory=list)
    """Sentences: what would be different afterwards."""
    facts: list[str] = field(default_factory=list)
    """Counts of what was made with it, and stays."""
    left: list[str] = field(default_factory=list)
    """Files in the folders that the run did not write, which stay."""
    size: int = 0
    """Bytes that it would give back."""

    @property
    def names(self) -> list[str]:
        """The runs and checkpoints whose files leave."""
        return [piece.name for piece in self.pieces]


@dataclass(frozen=True)
class Removed:
    """The bytes that were given back, and the files that could not be deleted, with the reason."""

    size: int
    failed: list[str]

    @property
    def sentence(self) -> str:
        """Both in words."""
        said = f"{disk.words(self.size)} are free again."
        if not self.failed:
            return said
        more = f" and {len(self.failed) - 1} more" if len(self.failed) > 1 else ""
        return f"{said} {self.failed[0]}{more} could not be deleted yet; the next start of the studio tries again."


def plan(ws: Workspace, names: Sequence[str], *, is_runs: bool = False, others: Others = "refuse") -> Plan:
    """Look at a deletion without doing anything.

    Args:
        ws: The workspace.
        names: Checkpoints, such as ``ppo-1@20``; or runs, with all that is in their folders.
        is_runs: The names are those of runs.
        others: ``delete`` includes what depends on them.

    Raises:
        StudioError: One does not exist, or was deleted.
    """
    with ws.read() as db:
        return _plan(ws, db, names, is_runs, others)


def delete(
    ws: Workspace,
    names: Sequence[str],
    *,
    is_runs: bool = False,
    others: Others = "refuse",
    expected: Sequence[str] | None = None,
) -> Removed:
    """Delete the files of runs or checkpoints; arguments as in `plan`.

    With `expected`, the names that a person saw, nothing is deleted where others would be.

    Raises:
        StudioError: As `plan`; something living uses one of them, or depends on it and `others` refuses. Nothing is deleted.
    """
    error: type[StudioError] = RunError if is_runs else CheckpointError
    with ws.write() as db:
        found = _plan(ws, db, names, is_runs, others)
        if found.forbidden:
            raise error(f"Nothing was deleted. {' '.join(found.forbidden)}")
        if found.dependants and others == "refuse":
            raise error(f"Nothing was deleted, since more depends on it. {' '.join(found.dependants)}")
        if expected is not None and set(expected) != set(found.names):
            raise error("Nothing was deleted: what would be deleted has changed meanwhile. Look at it again.")
        mark(db, ws, found)
    return finish(ws)


def mark(db: Database, ws: Workspace, found: Plan) -> None:
    """Mark the rows as deleted and store which files are to leave, in the caller's transaction."""
    at = now()
    for table, ids in (("runs", found.run_ids), ("checkpoints", found.checkpoint_ids)):
        for id_ in ids:
            db.table(table).update(id_, {"deleted_at": at})
    for id_ in found.checkpoint_ids:
        db.execute("DELETE FROM handed_on WHERE checkpoint_id = ?", [id_])
    db.table("unfinished_deletions").insert_all(
        {"folder": str(each.folder.relative_to(ws.root)), "files": json.dumps(each.files), "created_at": at}
        for each in found.pieces
        if each.files
    )


def unfinished(ws: Workspace) -> list[Piece]:
    """Return the folders that files are still to leave, each named by its path in the workspace; nothing is changed."""
    with ws.read() as db:
        rows = _unfinished(db)
    return [Piece(row["folder"], ws.root / row["folder"], json.loads(row["files"])) for row in rows]


def finish(ws: Workspace) -> Removed:
    """Delete the files of all deletions that were begun; also after one was cut off, and by several at a time."""
    freed, failed = 0, []
    with ws.read() as db:
        rows = _unfinished(db)
    for row in rows:
        folder = ws.root / row["folder"]
        size, kept = disk.remove(ws.root, folder, json.loads(row["files"]))
        freed, failed = freed + size, [*failed, *kept]
        if not kept:
            sync(next(each for each in folder.parents if each.is_dir()))
            with ws.write() as db:
                db.execute("DELETE FROM unfinished_deletions WHERE id = ?", [row["id"]])
    return Removed(freed, failed)


def best_step(found: Checkpoint) -> int | None:
    """Return the step of the best policy so far, which a resume from this checkpoint takes over; None where it has none."""
    try:
        state = json.loads((found.folder / "state.json").read_text(encoding="utf-8"))
        best = state["module"]["selection"]["best"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return int(best["step"]) if best else None


def piece(ws: Workspace, found: Checkpoint) -> Piece:
    """Return the files of a checkpoint that its run has written; none where its row names another place."""
    if not checkpoints.is_inside(found):
        return Piece(found.name, found.folder, [])
    written = _written(found.folder)
    present = [path.relative_to(found.folder).as_posix() for path in disk.files(found.folder)]
    return Piece(found.name, found.folder, [name for name in present if written is None or name in written])


def _unfinished(db: Database) -> list[dict[str, Any]]:
    return list(db.query("SELECT * FROM unfinished_deletions ORDER BY id"))


def _plan(ws: Workspace, db: Database, names: Sequence[str], is_runs: bool, others: Others) -> Plan:
    found = Plan()
    runs = {row["id"]: row for name in names for row in [_run(db, name)]} if is_runs else {}
    chosen = {} if is_runs else {c.id: c for name in names for c in [_checkpoint(db, name)]}
    while True:
        for run_id in runs:
            chosen |= {c.id: c for c in _of_run(db, run_id) if not c.deleted_at}
        said, more_runs, more = _dependants(db, runs, chosen)
        found.dependants += said
        if others != "delete" or not (more_runs or more):
            break
        runs |= {id_: _run(db, id_) for id_ in more_runs}
        chosen |= {c.id: c for c in more}
    found.run_ids, found.checkpoint_ids = list(runs), list(chosen)
    found.facts = dependants.facts(db, found.checkpoint_ids)
    alone = [c for c in chosen.values() if c.run_id not in runs]
    found.pieces = [_piece_of_run(ws, db, row) for row in runs.values()] + [piece(ws, c) for c in alone]
    found.size = disk.given_back(path for each in found.pieces for path in each.paths)
    going_on = {row["id"]: row for row in [*runs.values(), *(_run(db, c.run_id) for c in alone)]}
    pinned = notes.pinned(db)
    forbidden = [
        *(f"{c.name} is pinned: unpin it first." for c in chosen.values() if c.id in pinned),
        *(said for row in going_on.values() if (said := _not_ended(row))),
        *dependants.uses(db, found.checkpoint_ids),
        *(said for each in found.pieces if (said := _out_of_reach(ws, each.folder))),
        *(said for c in chosen.values() if (said := _strayed(ws, c))),
    ]
    found.forbidden = list(dict.fromkeys(forbidden))
    held = loaded.by_processes(ws)
    found.changes = [said for c in alone if c.is_chosen and (said := _handed_on(db, c, chosen))]
    found.changes += [f"{c.name} {_LOADED}" for c in chosen.values() if c.name in held]
    for each in found.pieces:
        if not disk.is_plain(ws.root, each.folder):
            continue
        named = set(each.paths)
        found.left += [str(path.relative_to(ws.root)) for path in disk.files(each.folder) if path not in named]
    return found


def _dependants(
    db: Database, runs: dict[int, dict[str, Any]], chosen: dict[int, Checkpoint]
) -> tuple[list[str], list[int], list[Checkpoint]]:
    """Return what depends on the checkpoints: in sentences, as ids of runs, and as checkpoints of the same runs."""
    children = [child for child in dependants.children(db, list(chosen)) if child.run_id not in runs]
    said = []
    for name, parent in dict.fromkeys((child.name, child.parent) for child in children):
        roles = [child.role for child in children if (child.name, child.parent) == (name, parent)]
        said.append(f"{name} began with {parent} ({', '.join(roles)}).")
    siblings = []
    for c in chosen.values():
        if c.run_id in runs:
            continue
        later = [each for each in _of_run(db, c.run_id) if not each.deleted_at and each.id not in chosen]
        together = [each for each in later if best_step(each) == c.step]
        if together:
            names = ", ".join(each.name for each in together)
            said.append(f"Resumed together with {c.name}, the best policy until then: {names}.")
        siblings += together
    return said, list(dict.fromkeys(child.run_id for child in children)), siblings


def _run(db: Database, name: str | int) -> dict[str, Any]:
    row = next(iter(db.query("SELECT * FROM runs WHERE name = ? OR id = ?", [str(name), name])), None)
    if row is None:
        raise RunError(f"There is no run named {name!r}. See them with: rlhf-studio runs")
    if row["deleted_at"] and isinstance(name, str):
        raise RunError(was_deleted(f"Run {name}", row["deleted_at"]))
    return row


def _checkpoint(db: Database, name: str) -> Checkpoint:
    """Return the checkpoint of exactly this name: a run's name, which stands for one elsewhere, is not enough here."""
    row = next(iter(db.query(f"{SELECT} WHERE c.name = ?", [name])), None)
    if row is None:
        of_run = [c.name for c in checkpoints.list_all(db) if c.run_name == name]
        if of_run:
            raise CheckpointError(
                f"{name} is a run. Name the checkpoint ({', '.join(of_run[:5])}), or delete the run: rlhf-studio runs delete {name}"
            )
        raise CheckpointError(f"There is no checkpoint named {name!r}. See them with: rlhf-studio models")
    if row["deleted_at"]:
        raise CheckpointError(was_deleted(f"Checkpoint {name}", row["deleted_at"]))
    return of_row(row)


def _of_run(db: Database, run_id: int) -> list[Checkpoint]:
    return [of_row(row) for row in db.query(f"{SELECT} WHERE c.run_id = ? ORDER BY c.step", [run_id])]


def _not_ended(run: dict[str, Any]) -> str:
    if run["ended_at"] is None:
        return f"{run['name']} is {run['state']}: stop it first, or wait until it has ended."
    return "" if run["gone_at"] else f"The processes of {run['name']} are not gone yet: wait a moment."


def _out_of_reach(ws: Workspace, folder: Path) -> str:
    """Say why the files of a folder are left alone; empty where they are not, or are gone already."""
    if disk.is_plain(ws.root, folder):
        return ""
    try:
        is_below = folder.relative_to(ws.runs).parts and ".." not in folder.parts
    except ValueError:
        is_below = False
    if not is_below:
        return f"{folder} is outside of the workspace's runs, where nothing is deleted."
    if any(each.is_symlink() for each in (folder, *folder.parents) if each.is_relative_to(ws.runs)):
        return f"{folder.relative_to(ws.root)} is a link, or lies behind one, and links are not followed: delete what it leads to yourself, and then the link."
    return ""


def _strayed(ws: Workspace, c: Checkpoint) -> str:
    """Say why a checkpoint's folder is left alone whose row names another place, or that lies behind a link in its run's folder."""
    if not checkpoints.is_inside(c):
        return f"The row of {c.name} names a folder that is not its run's ({c.folder}), where nothing is deleted."
    return _out_of_reach(ws, c.folder)


def _handed_on(db: Database, c: Checkpoint, chosen: Iterable[int]) -> str:
    left = [each for each in _of_run(db, c.run_id) if each.id not in chosen and not each.deleted_at]
    if not left:
        return ""
    next_one = max(left, key=lambda each: (each.is_runs_choice, each.step))
    return f"{c.run_name} then stands for {next_one.name}, no longer for {c.name}, which it hands on."


def _piece_of_run(ws: Workspace, db: Database, run: dict[str, Any]) -> Piece:
    """Return what the run has written into its folder: config, rows, log, and checkpoints, also unfinished ones."""
    folder = ws.runs / run["name"]
    known = {c.folder.name: c.deleted_at for c in _of_run(db, run["id"])}
    written: dict[str, set[str] | None] = {leaf: set() for leaf, deleted_at in known.items() if deleted_at}
    names = []
    for path in disk.files(folder):
        name = path.relative_to(folder).as_posix()
        first, _, rest = name.partition("/")
        leaf, _, inner = rest.partition("/")
        if first == "checkpoints" and inner and (leaf in known or _CHECKPOINT.fullmatch(leaf)):
            if leaf not in written:
                written[leaf] = _written(folder / first / leaf)
            of_leaf = written[leaf]
            names += [name] if of_leaf is None or inner in of_leaf else []
        elif _OF_RUN.fullmatch(name):
            names.append(name)
    return Piece(run["name"], folder, names)


def _written(checkpoint: Path) -> set[str] | None:
    """Return the files that were written into a checkpoint; None where it has no list of them, as earlier ones have not."""
    try:
        meta = json.loads((checkpoint / "meta.json").read_text(encoding="utf-8"))
        listed = set(meta["checksums"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return listed | {"meta.json"} if listed else None
