"""Orders the runs that trained by rounds: SFT, a reward model on the ratings so far, a policy improved by it, and again.

A reward model (or a DPO run) whose ratings compare answers of a policy of round n is of round n + 1; where they compare
answers of SFT or of nobody here, it is of round 1. PPO is of the round of its reward model. SFT stands in the first round
that uses it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sqlite_utils import Database

from studio.models import checkpoint_pages, checkpoints, disk
from studio.models.checkpoints import Checkpoint
from studio.preferences import snapshots
from studio.preferences.snapshots import Snapshot
from studio.runs import run_pages, runs
from studio.runs.runs import Run
from studio.workspace import Workspace

TRAINED = ("sft", "reward", "ppo", "dpo")
SHOWN = 50
"""Runs that are ordered, the newest."""
_known: dict[tuple[str, int, str], list[int]] = {}
"""Checkpoints that answered, by database, snapshot and the snapshot's hash."""


@dataclass(frozen=True)
class Member:
    """A run of a round, and what it trained on."""

    run: Run
    checkpoint: Checkpoint
    """The one that it hands on."""
    parents: dict[str, str]
    """Role to the checkpoint that it started from."""
    continues: str
    """The checkpoint that it was resumed from; empty for most."""
    snapshot: Snapshot | None
    answered_by: list[str]
    """Checkpoints whose answers the snapshot's ratings compare."""

    @property
    def sentence(self) -> str:
        """What it trained on, in words."""
        begins, judge = self.parents.get("policy") or self.parents.get("sft"), self.parents.get("reward")
        said = []
        if self.continues:
            said.append(f"goes on from {self.continues}")
        elif begins:
            said.append(f"from {begins}")
        elif self.run.stage == "sft":
            said.append(f"from {self.checkpoint.base_model}")
        if self.run.stage == "ppo":
            said.append(f"scored by {judge or getattr(self.run.config, 'rewards', '')}")
        if self.snapshot:
            of = f" on answers of {_listed(self.answered_by)}" if self.answered_by else ""
            said.append(f"{self.snapshot.name}: {self.snapshot.row_count:,} preferences{of}")
        return "; ".join(said)


class Round(NamedTuple):
    """The runs of a round, the oldest first."""

    number: int
    members: list[Member]


class _Origins(NamedTuple):
    """What decides a run's round."""

    stage: str
    started_from: set[int]
    """Runs of its parents, or the one it goes on from."""
    rated: set[int]
    """Runs of the policies whose answers its ratings compare."""


def read(ws: Workspace, limit: int = SHOWN) -> tuple[list[Round], int]:
    """Return the rounds, the newest first, and how many older runs are left out. Runs without a checkpoint are no part of it."""
    with ws.read() as db:
        found, num = run_pages.with_checkpoints(db, *TRAINED, limit=limit)
    shown = {run.id: run for run in found}
    with ws.read() as db:
        handed_on = {c.run_id: c for c in checkpoint_pages.handed_on(db, list(shown))}
        origins = _all_origins(db, str(ws.database), handed_on)
        members = {id_: _member(db, str(ws.database), shown[id_], c) for id_, c in handed_on.items()}
    numbers = _numbers(origins)
    newest = max([1, *numbers.values()])
    for id_ in sorted(members, reverse=True):
        if members[id_].run.stage == "sft":  # those that were resumed from it have their number by now
            uses = [numbers[child] for child in members if id_ in origins[child].started_from | origins[child].rated]
            numbers[id_] = min(uses, default=newest)
    by_number: dict[int, list[Member]] = {}
    for id_ in sorted(members):
        by_number.setdefault(numbers[id_], []).append(members[id_])
    return [Round(number, by_number[number]) for number in sorted(by_number, reverse=True)], num - len(found)


def sizes(ws: Workspace, found: Iterable[Round]) -> dict[str, int]:
    """Return the bytes that each run of these rounds takes, with all of its checkpoints, by its name."""
    names = [member.run.name for each in found for member in each.members]
    return {name: disk.taken(runs.folder(ws, name)) for name in names}


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:3])}{f' and {len(names) - 3:,} more' if len(names) > 3 else ''}"


def _member(db: Database, place: str, run: Run, checkpoint: Checkpoint) -> Member:
    snapshot = None if run.snapshot_id is None else snapshots.get(db, run.snapshot_id)
    asked = [] if run.snapshot_id is None else _answered_by(db, place, run.snapshot_id)
    return Member(
        run,
        checkpoint,
        checkpoints.parents_of_run(db, run.id),
        checkpoints.name_of(db, run.resumed_from),
        snapshot,
        [checkpoints.name_of(db, each) for each in asked],
    )


def _all_origins(db: Database, place: str, wanted: Iterable[int]) -> dict[int, _Origins]:
    """Return the origins of runs and of all runs that they come from."""
    found: dict[int, _Origins] = {}
    open_ = list(wanted)
    while open_:
        run_id = open_.pop()
        if run_id not in found:
            found[run_id] = _origins(db, place, run_id)
            open_ += found[run_id].started_from | found[run_id].rated
    return found


def _origins(db: Database, place: str, run_id: int) -> _Origins:
    """Return the origins of a run; what says that it came later than the run is passed over, so that nothing goes in circles."""
    row = next(iter(db.query("SELECT stage, snapshot_id, resumed_from FROM runs WHERE id = ?", [run_id])))
    parents = [each["checkpoint_id"] for each in db.query("SELECT checkpoint_id FROM run_parents WHERE run_id = ?", [run_id])]  # fmt: skip
    asked = [] if row["snapshot_id"] is None else _answered_by(db, place, row["snapshot_id"])
    started = _runs_of(db, [*parents, *([row["resumed_from"]] if row["resumed_from"] else [])])
    return _Origins(row["stage"], {n for n in started if n < run_id}, {n for n in _runs_of(db, asked) if n < run_id})


def _numbers(origins: dict[int, _Origins]) -> dict[int, int]:
    """Return each run's round; 0 for SFT."""
    numbers: dict[int, int] = {}
    for run_id in sorted(origins):  # each comes after those that it comes from
        stage, started_from, rated = origins[run_id]
        if stage == "sft":
            numbers[run_id] = 0
        elif stage in ("reward", "dpo"):
            numbers[run_id] = 1 + max((numbers[each] for each in rated), default=0)
        else:
            numbers[run_id] = max([1, *(numbers[each] for each in started_from)])
    return numbers


def _runs_of(db: Database, checkpoint_ids: Iterable[int]) -> set[int]:
    given = list(checkpoint_ids)
    marks = ", ".join("?" * len(given))
    return {row["run_id"] for row in db.query(f"SELECT run_id FROM checkpoints WHERE id IN ({marks})", given)}


def _answered_by(db: Database, place: str, snapshot_id: int) -> list[int]:
    """Return `snapshots.answered_by`, which never changes for a frozen set: it is read once."""
    key = place, snapshot_id, snapshots.get(db, snapshot_id).sha256
    if key not in _known:
        _known[key] = snapshots.answered_by(db, snapshot_id)
    return _known[key]
