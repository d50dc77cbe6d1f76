"""Does choosing pairs save labels? The newest pair of learning curves on chosen and on random labels, and what sessions make of it.

As long as nothing is measured, or it cannot be told, an automatic choice is active. A measured ratio settles it: active where all of
its interval is below 1, else random but for one pair in ten. Without those no chosen label would ever come again, and a first
measurement, on the fewest labels, would stand for good.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlite_utils import Database

from modules.config import CurveConfig
from studio.annotation import sessions
from studio.annotation.session_config import UNMEASURED, SessionConfig
from studio.annotation.sessions import Session
from studio.insights import learning_curves, saving
from studio.insights.estimates import Estimate
from studio.insights.learning_curves import FEWEST_SEEDS, Point
from studio.insights.saving import Arm, Saving
from studio.runs import runs

CHOSEN = f"Pairs are chosen by {UNMEASURED}, next to a random share"
MOSTLY = 0.9
"""Share drawn at random where choosing has not been shown to save labels."""


@dataclass(frozen=True)
class ActiveChoice:
    """What choosing pairs saves, as far as it is measured."""

    run: str
    """The run that measured last."""
    state: str
    """Of that run."""
    snapshot: str
    num_seeds: int
    """Seeds with all sizes in both curves."""
    num_wanted: int
    active: list[Point]
    """A point for each size, over the seeds with all sizes; empty while there is none."""
    random: list[Point]
    num_active: int
    """Labels on chosen pairs."""
    num_random: int
    num_held_out: int
    num_prompts: int
    """Of the held-out votes."""
    saving: Saving | None
    """None where too few seeds are there."""
    ceiling: Estimate
    """The noise ceiling, as of a `LearningCurve`."""

    @property
    def sentence(self) -> str:
        """What it says of the labels that are needed; empty where too few seeds are there."""
        if self.saving is None:
            return ""
        labels = f"from {self.num_active:,} and {self.num_random:,} labels"
        if math.isnan(self.saving.ratio):
            return f"Not identifiable yet: there is no accuracy that both curves pass through, {labels}."
        if not self.saving.is_identifiable:
            return f"Not identifiable yet: any number of labels is possible, {labels}."
        return f"Active choice needed {self.saving.ratio:.2f} times as many labels as random choice ({self.saving.interval}), {labels}."

    @property
    def unfinished(self) -> str:
        """How much of it is there, where that is not all."""
        if self.num_seeds >= self.num_wanted:
            return ""
        going_on = f"{self.run} is {self.state}" + ("" if self.state in ("queued", "running") else ": resume it")
        return f"{self.num_seeds} of {self.num_wanted} seeds are measured on both ({going_on})."

    @property
    def shows_no_saving(self) -> bool:
        """Return whether it was measured, and the ratio may be 1 or more."""
        return self.saving is not None and self.saving.is_identifiable and not self.saving.saves

    @property
    def consequence(self) -> str:
        """What sessions make of it whose choice is auto."""
        if self.shows_no_saving:
            return (
                "Nine in ten pairs are drawn at random and one in ten is still chosen, so that it can be measured again: choosing has not been shown "
                "to save labels."
            )
        if self.saving and self.saving.saves:
            return f"{CHOSEN}, since that saves labels."
        return f"{CHOSEN}, until it can be told whether that saves labels."

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with the sentences."""
        plain = (
            asdict(self)
            | {"consequence": self.consequence, "ceiling": self.ceiling._asdict()}
            | {name: [each._asdict() for each in getattr(self, name)] for name in ("active", "random")}
        )
        found = self.saving and self.saving._asdict() | {"is_identifiable": self.saving.is_identifiable}
        return plain | {"saving": found, "sentence": self.sentence}


def newest(db: Database) -> ActiveChoice | None:
    """Return the comparison that was measured last and tells a ratio; else the one measured last; None where there is none."""
    rows = db.query(
        "SELECT a.id, a.random_id, (SELECT r.run_id FROM learning_results r WHERE r.curve_id IN (a.id, a.random_id)"
        " ORDER BY r.id DESC LIMIT 1) AS run_id FROM learning_curves a WHERE a.arm = 'active'"
        " ORDER BY (SELECT max(id) FROM learning_results r WHERE r.curve_id = a.id) DESC, a.id DESC"
    )
    first = None
    for row in list(rows):
        if row["run_id"] is None:
            continue
        found = _read(db, row["id"], row["random_id"], row["run_id"])
        if found.saving:
            return found
        first = first or found
    return first


def _read(db: Database, active_id: int, random_id: int, run_id: int) -> ActiveChoice:
    """Return a comparison as the run asked for it that measured it last."""
    run = runs.get(db, run_id)
    assert isinstance(run.config, CurveConfig)
    ids = [active_id, random_id]
    curves = [next(db.query("SELECT num_labels, held_out FROM learning_curves WHERE id = ?", [each])) for each in ids]
    prompts = json.loads(curves[0]["held_out"])
    sizes = run.config.sizes(min(curve["num_labels"] for curve in curves))
    active, random = (
        Arm(learning_curves.right_of(db, each, sizes), curve["num_labels"])
        for each, curve in zip(ids, curves, strict=True)
    )
    num_seeds = min(arm.right.shape[1] for arm in (active, random))
    return ActiveChoice(
        run.name,
        run.state,
        run.config.snapshot,
        num_seeds,
        run.config.num_seeds,
        _points(sizes, active),
        _points(sizes, random),
        active.num_labels,
        random.num_labels,
        len(prompts),
        len(set(prompts)),
        saving.measure(sizes, active, random, prompts) if num_seeds >= FEWEST_SEEDS else None,
        learning_curves.ceiling_of(db, run),
    )


def _points(sizes: Sequence[int], arm: Arm) -> list[Point]:
    if not arm.right.shape[1]:
        return []
    return [learning_curves.point(size, each) for size, each in zip(sizes, arm.right, strict=True)]


def settle(db: Database, config: SessionConfig) -> tuple[SessionConfig, str]:
    """Return the config with an automatic choice made, and the reason in words; one that a person made stays, without a reason."""
    if config.choose != "auto":
        return config, ""
    found = newest(db)
    if found is None or found.saving is None:
        return config.model_copy(
            update={"choose": UNMEASURED}
        ), f"{CHOSEN}; whether that saves labels is not measured yet."
    least = MOSTLY if found.shows_no_saving else 0.0
    settled = {"choose": UNMEASURED, "random_share": max(config.random_share, least)}
    return config.model_copy(update=settled), f"{found.consequence} {found.run}: {found.sentence}"


def start_session(db: Database, config: SessionConfig, rater: str = "person") -> Session:
    """Start a session as `sessions.start`, an automatic choice settled by what was measured.

    Raises:
        StudioError: as `sessions.start`.
    """
    settled, reason = settle(db, config)
    return sessions.start(db, settled, rater, reason)
