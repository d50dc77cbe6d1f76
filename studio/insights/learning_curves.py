"""Learning curves as they are measured: the owner of those tables, and what the newest one says of more labels.

What was measured once, with the same settings, labels and held-out votes, is not measured again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from modules.config import CurveConfig
from studio.insights import consistency, learning
from studio.insights.estimates import NOTHING, Estimate
from studio.insights.learning import Forecast, Gain
from studio.preferences import consensus, snapshots
from studio.runs import label_curve, runs
from studio.runs.runs import Run
from studio.workspace import now

FEWEST_SEEDS = 2
"""Seeds from which on something can be said of more labels."""


class Point(NamedTuple):
    """What the reward models of one size reached."""

    size: int
    accuracy: float
    """Mean over the seeds."""
    lowest: float
    """Of the seeds."""
    highest: float


@dataclass(frozen=True)
class LearningCurve:
    """A learning curve, as far as it is measured."""

    run: str
    """The run that measured last."""
    state: str
    """Of that run."""
    snapshot: str
    num_seeds: int
    """Seeds with all sizes."""
    num_wanted: int
    points: list[Point]
    """A point for each size, over the seeds with all sizes; empty while there is none."""
    num_held_out: int
    num_prompts: int
    """Of the held-out votes."""
    ceiling: Estimate
    """The noise ceiling; of nothing where nobody was asked twice, or where raters were taken together."""
    forecast: Forecast | None
    """None where too few seeds are there."""

    @property
    def gains(self) -> list[Gain]:
        """What more labels would bring, those few first."""
        found = [self.forecast.next_100, self.forecast.twice] if self.forecast else []
        return [gain for gain in found if gain]

    @property
    def unfinished(self) -> str:
        """How much of it is there, where that is not all."""
        if self.num_seeds >= self.num_wanted:
            return ""
        going_on = f"{self.run} is {self.state}" + ("" if self.state in ("queued", "running") else ": resume it")
        few = "" if self.forecast else f" From {FEWEST_SEEDS} on, Insights says what more labels would bring."
        return f"{self.num_seeds} of {self.num_wanted} seeds are measured ({going_on}).{few}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with the sentences."""
        gains = [
            gain._asdict() | {"is_identifiable": gain.is_identifiable, "sentence": gain.sentence} for gain in self.gains
        ]
        law = self.forecast.law._asdict() if self.forecast else None
        plain = {name: value for name, value in asdict(self).items() if name != "forecast"}
        points = [point._asdict() for point in self.points]
        return plain | {"points": points, "ceiling": self.ceiling._asdict(), "law": law, "gains": gains}


def keep(
    db: Database,
    settings: Mapping[str, Any],
    labels: Sequence[Any],
    held_out: Sequence[Any],
    num_labels: int,
    prompts: Sequence[int],
    arm: Mapping[str, Any] | None = None,
) -> int:
    """Store on what a curve is measured, once; returns its id.

    Args:
        db: open for writing.
        settings: of its reward models.
        labels: the rows that they train on.
        held_out: the votes that they are measured on.
        num_labels: how many labels the rows are.
        prompts: the prompt of each held-out vote.
        arm: the columns ``arm`` and ``random_id`` of a curve on labels of one arm.
    """
    whole = json.dumps([settings, labels, held_out, *([arm] if arm else [])], sort_keys=True, ensure_ascii=False)
    wanted = {"num_labels": num_labels, "held_out": json.dumps(prompts), "arm": None, "random_id": None} | dict(
        arm or {}
    )
    while True:
        fingerprint = hashlib.sha256(whole.encode()).hexdigest()
        known = next(db.query("SELECT * FROM learning_curves WHERE fingerprint = ?", [fingerprint]), None)
        if known is None:
            curve_id: Any = (
                db.table("learning_curves").insert(wanted | {"fingerprint": fingerprint, "created_at": now()}).last_pk
            )
            return curve_id
        if wanted.items() <= known.items():
            return known["id"]
        whole += " "  # one that came from an archive may not be what its fingerprint says


def keep_all(
    db: Database,
    settings: Mapping[str, Any],
    parts: Mapping[str, Sequence[Any]],
    held_out: Sequence[Any],
    prompts: Sequence[int],
) -> dict[str, int]:
    """Store as `keep` each of the curves of a run; returns their ids by arm.

    `parts` are the labels by arm: of random and active, whose curve names the random one, or all under an empty name.
    """

    def stored(part: str, **columns: Any) -> int:
        labels = parts[part]
        return keep(db, settings, labels, held_out, label_curve.num_labels(labels), prompts, columns)

    if "" in parts:
        return {"": stored("")}
    random = stored("random", arm="random")
    return {"active": stored("active", arm="active", random_id=random), "random": random}


def add(db: Database, run_id: int, curve_id: int, size: int, seed: int, hits: Sequence[bool]) -> None:
    """Store where a reward model was right, a hit or a miss for each held-out vote."""
    row = {"curve_id": curve_id, "run_id": run_id, "size": size, "seed": seed, "created_at": now()}
    db.table("learning_results").insert(row | {"hits": "".join("01"[bool(hit)] for hit in hits)}, ignore=True)


def done(db: Database, curve_id: int) -> set[tuple[int, int]]:
    """Return size and seed of each reward model that is measured."""
    rows = db.query("SELECT size, seed FROM learning_results WHERE curve_id = ?", [curve_id])
    return {(row["size"], row["seed"]) for row in rows}


def mark(db: Database) -> str:
    """Return what differs as soon as something was measured."""
    return str(db.execute("SELECT coalesce(max(id), 0) FROM learning_results").fetchone()[0])


def newest(db: Database) -> LearningCurve | None:
    """Return the curve that was measured last and tells of more labels; else the one measured last; None where there is none."""
    rows = db.query(
        "SELECT curve_id, run_id FROM learning_results WHERE id IN (SELECT max(id) FROM learning_results GROUP BY curve_id)"
        " AND curve_id IN (SELECT id FROM learning_curves WHERE arm IS NULL) ORDER BY id DESC"
    )
    first = None
    for row in rows:
        found = _read(db, row["curve_id"], row["run_id"])
        if found.forecast:
            return found
        first = first or found
    return first


def _read(db: Database, curve_id: int, run_id: int) -> LearningCurve:
    """Return a curve as the run asked for it that measured it last."""
    run = runs.get(db, run_id)
    curve = next(db.query("SELECT num_labels, held_out FROM learning_curves WHERE id = ?", [curve_id]))
    assert isinstance(run.config, CurveConfig)
    sizes, prompts = run.config.sizes(curve["num_labels"]), json.loads(curve["held_out"])
    right = right_of(db, curve_id, sizes)
    ceiling = ceiling_of(db, run)
    num_seeds = right.shape[1]
    return LearningCurve(
        run.name,
        run.state,
        run.config.snapshot,
        num_seeds,
        run.config.num_seeds,
        [point(size, each) for size, each in zip(sizes, right, strict=True)] if num_seeds else [],
        len(prompts),
        len(set(prompts)),
        ceiling,
        learning.forecast(sizes, right, prompts, ceiling.value if ceiling.num else 1.0)
        if num_seeds >= FEWEST_SEEDS
        else None,
    )


def right_of(db: Database, curve_id: int, sizes: Sequence[int]) -> NDArray[np.bool_]:
    """Return (S, R, T) where the reward models of the R seeds that have all sizes were right on the held-out votes."""
    hits: dict[int, dict[int, str]] = {}
    rows = db.query("SELECT size, seed, hits FROM learning_results WHERE curve_id = ? ORDER BY seed", [curve_id])
    for row in rows:
        hits.setdefault(row["seed"], {})[row["size"]] = row["hits"]
    whole = [by_size for by_size in hits.values() if by_size.keys() >= set(sizes)]
    return np.array([[[hit == "1" for hit in seed[size]] for seed in whole] for size in sizes], bool)


def point(size: int, right: NDArray[np.bool_]) -> Point:
    """Return what the reward models of a size reached; `right` (R, T) over their held-out votes."""
    shares = right.mean(axis=1)
    return Point(size, float(shares.mean()), float(shares.min()), float(shares.max()))


def ceiling_of(db: Database, run: Run) -> Estimate:
    """Return the noise ceiling of single votes, which is not that of votes on which several raters agreed."""
    if run.snapshot_id and snapshots.recipe_behind(snapshots.get(db, run.snapshot_id)).raters in consensus.WAYS:
        return NOTHING
    return consistency.noise_ceiling(db)
