"""Runs that differ in nothing but their seed, and how far their last held-out figures spread."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

from sqlite_utils import Database

from studio.models import figures
from studio.runs import metrics, run_pages
from studio.runs.row import Run


class Spread(NamedTuple):
    """A figure over the seeds."""

    words: str
    mean: float
    deviation: float
    """Standard deviation between seeds."""
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.words} {self.mean:.3g} ± {self.deviation:.2g} ({self.low:.3g} to {self.high:.3g})"


class Group(NamedTuple):
    """Runs with the same settings, each with a seed of its own."""

    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    spreads: list[Spread]

    @property
    def sentence(self) -> str:
        """Say what they have in common, and their spread: mean ± standard deviation, lowest to highest."""
        names = ", ".join(f"{name} (seed {seed})" for name, seed in zip(self.runs, self.seeds, strict=True))
        found = "; ".join(map(str, self.spreads)) or "nothing was measured in all of them"
        return f"{len(self.runs)} seeds: {names}. Mean ± standard deviation, lowest to highest: {found}."


def groups(db: Database, together: Sequence[Run]) -> list[Group]:
    """Group the finished ones of these runs that differ in nothing but the seed; of one seed the newest counts.

    A run without another seed is in no group.
    """
    found: dict[str, dict[int, Run]] = {}
    for run in sorted(together, key=lambda run: run.id):
        if run.state == "finished":
            same = f"{run.stage} {run.config.model_dump_json(exclude={'seed'})}"
            found.setdefault(same, {})[run.config.seed] = run
    return [_group(db, by_seed) for by_seed in found.values() if len(by_seed) > 1]


def of_run(db: Database, run: Run) -> Group | None:
    """Return the group of a run, from all runs of its stage; None where no other seed of it has finished."""
    every = groups(db, run_pages.page(db, stage=run.stage, limit=-1))
    return next((group for group in every if run.name in group.runs), None)


def _group(db: Database, by_seed: dict[int, Run]) -> Group:
    ordered = [by_seed[seed] for seed in sorted(by_seed)]
    values = [metrics.latest(db, run.id) for run in ordered]
    spreads = []
    for figure in figures.STAGES.get(ordered[0].stage, ()):
        if all(figure.metric in each for each in values):
            of_all = [each[figure.metric] for each in values]
            spreads.append(Spread(figure.words, mean(of_all), stdev(of_all), min(of_all), max(of_all)))
    return Group(tuple(run.name for run in ordered), tuple(sorted(by_seed)), spreads)
