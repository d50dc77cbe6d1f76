"""Settings of a PPO run that change while it goes on: the owner of `steering`.

A person asks; the worker takes the value between two iterations, and it counts from the next one on. A resume goes on with
what counted at its checkpoint, and takes what came later after the same iterations again. The run's own config stays as it was.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlite_utils import Database

from modules.config import PPOConfig, StageConfig, contradictions
from studio import settings
from studio.errors import RunError
from studio.runs import changes
from studio.runs.changes import Change
from studio.runs.row import Run
from studio.workspace import now

STEERABLE = ("kl_coef", "learning_rate", "value_learning_rate", "temperature")


class Steered(NamedTuple):
    """Another value of a setting."""

    name: str
    value: float
    step: int | None
    """Iterations done when it was taken; None while it is still to be taken."""
    due_step: int | None

    def __str__(self) -> str:
        when = "from the next iteration on" if self.step is None else f"from iteration {self.step + 1} on"
        return f"{self.name} {self.value:g} {when}"


def of_run(db: Database, run_id: int) -> list[Steered]:
    """Return what was asked of a run, in the order in which it counts."""
    rows = db.query(
        "SELECT name, value, step, due_step FROM steering WHERE run_id = ? ORDER BY step IS NULL, step, id", [run_id]
    )
    return [Steered(**row) for row in rows]


def config_at(db: Database, run: Run, step: int | None = None) -> StageConfig:
    """Return the run's config with what counts after so many steps; without `step`, with all that was asked."""
    values = {
        each.name: each.value
        for each in of_run(db, run.id)
        if step is None or (each.step is not None and each.step <= step)
    }
    return run.config.model_copy(update=values)


def look(db: Database, run: Run, given: Sequence[str]) -> list[Change]:
    """Return what ``key=value`` settings would change of a run that is going on; nothing is written.

    Raises:
        ConfigError: there is no such setting, or its value is not possible.
        RunError: the run is not going on, is not one of PPO, or the setting cannot change meanwhile.
    """
    if not isinstance(run.config, PPOConfig):
        raise RunError(
            f"{run.name} is a run of {run.stage}: only PPO's settings change while it goes on. Stop it and resume it with --set."
        )
    if run.state != "running":
        raise RunError(f"{run.name} is {run.state}, not running. Resume it with --set, or start another run.")
    before = config_at(db, run)
    after = settings.read_class(PPOConfig, "ppo", None, given, before.model_dump())
    found = changes.between(before, after)
    if fixed := next((each.name for each in found if each.name not in STEERABLE), None):
        raise RunError(
            f"{fixed} cannot change while a run goes on; these can: {', '.join(STEERABLE)}. Stop {run.name} and resume it with --set."
        )
    contradictions.check(after)
    return found


def ask(db: Database, run: Run, given: Sequence[str]) -> list[Change]:
    """Ask a run that is going on to use other values from its next iteration on; returns what changes.

    Raises:
        StudioError: As `look`; or nothing would change.
    """
    found = look(db, run, given)
    if not found:
        raise RunError(f"Nothing would change: {run.name} has these values. Give others, such as kl_coef=0.1.")
    at = now()
    db.table("steering").insert_all(
        {"run_id": run.id, "name": each.name, "value": float(each.after), "asked_at": at} for each in found
    )
    return found


def is_pending(db: Database, run_id: int, step: int) -> bool:
    """Return whether something is to be taken after this step."""
    return bool(list(db.query(f"SELECT 1 {_PENDING} LIMIT 1", [run_id, step])))


def take(db: Database, run_id: int, step: int) -> dict[str, float]:
    """Store that what is to be taken after this step was taken, and return it, the newest value of each setting."""
    rows = list(db.query(f"SELECT id, name, value {_PENDING} ORDER BY id", [run_id, step]))
    for row in rows:
        db.table("steering").update(row["id"], {"step": step})
    return {row["name"]: row["value"] for row in rows}


def repeat(db: Database, run_id: int, taken: Sequence[tuple[str, float, int]]) -> None:
    """Let a run take these values, each after the same step as the run that it repeats."""
    at = now()
    db.table("steering").insert_all(
        {"run_id": run_id, "name": name, "value": value, "asked_at": at, "due_step": step}
        for name, value, step in taken
    )


def hand_on(db: Database, origin_id: int, run_id: int, except_names: Collection[str] = ()) -> None:
    """Let a resumed run take again what its origin's run took after the checkpoint, but for settings that were chosen again."""
    origin = next(db.query("SELECT run_id, step FROM checkpoints WHERE id = ?", [origin_id]))
    later = [
        (each.name, each.value, at)
        for each in of_run(db, origin["run_id"])
        if (at := each.step if each.step is not None else each.due_step) is not None
        and at > origin["step"]
        and each.name not in except_names
    ]
    repeat(db, run_id, later)


def taken(db: Database, run_id: int) -> list[tuple[str, float, int]]:
    """Return (name, value, step) of what a run took, for `repeat`."""
    return [(each.name, each.value, each.step) for each in of_run(db, run_id) if each.step is not None]


def said(changed: Mapping[str, Any], before: StageConfig) -> str:
    """Say which settings change from a config on."""
    return ", ".join(f"{name} {getattr(before, name):g} -> {value:g}" for name, value in changed.items())


_PENDING = "FROM steering WHERE run_id = ? AND step IS NULL AND coalesce(due_step, 0) <= ?"
