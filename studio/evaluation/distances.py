"""How far checkpoints are from the SFT policy that they began with, and what was gained or lost on the way there."""

import json
from typing import NamedTuple

from markupsafe import Markup
from sqlite_utils import Database

from studio.evaluation import conditions, results
from studio.evaluation.comparison import Comparison
from studio.evaluation.measures import MEASURES, values
from studio.models import checkpoints
from studio.models.checkpoints import Checkpoint
from studio.plots import Series, line_chart

KL = next(measure for measure in MEASURES["prompt"] if measure.name == "kl")
OF_RUNS = "as the runs of the checkpoints measured it"
TONES = 4


class Distances(NamedTuple):
    """KLs of checkpoints from their SFT policies, all from one source."""

    kl: dict[str, float]
    """Checkpoint to mean KL, nats per response: 0 for an SFT policy. Those without one are left out."""
    origins: dict[str, str]
    """Checkpoint to the SFT policy that it began with, which for an SFT policy is itself."""
    source: str
    """Where they were measured, as the end of a sentence."""


def read(db: Database, found: Comparison) -> Distances:
    """Return the distances of what is compared: measured on the suite of answers that has most of them, else by the runs."""
    names = {found.against, *found.subjects}
    known = {c.name: c for c in checkpoints.list_all(db, has_deleted=True) if c.name in names}
    origins = {name: _origin(db, c) for name, c in known.items()}
    of_suites = [
        (_measured(db, group, known), f"measured on {group[-1].title}")
        for group in conditions.groups(KL, [suite for suite in results.measured(db) if suite.kind == "prompt"])
    ]
    of_runs = {name: kl for name, c in known.items() if (kl := _of_run(c)) is not None}
    kl, source = max([*of_suites, (of_runs, OF_RUNS)], key=lambda each: len(each[0]))
    return Distances(kl, origins, source)


def _origin(db: Database, found: Checkpoint) -> str:
    return found.name if found.stage == "sft" else checkpoints.parents_of_run(db, found.run_id).get("sft", "")


def _of_run(found: Checkpoint) -> float | None:
    """Return the KL that a run measured: on held-out prompts, else on those of the iteration that reached a KL of save_at_kl."""
    return 0.0 if found.stage == "sft" else found.metrics.get("eval/kl", found.metrics.get("objective/kl"))


def _measured(db: Database, group: list[results.Measured], known: dict[str, Checkpoint]) -> dict[str, float]:
    """Return mean KLs on the items of suites got under the same conditions."""
    have = {name for suite in group for name in suite.subjects}
    kls = {name: _values(db, group, name) for name in known if name in have}
    return {name: sum(each) / len(each) for name, each in kls.items() if each}


def _values(db: Database, group: list[results.Measured], name: str) -> list[float]:
    items = results.items(db, [suite.id for suite in group], [name])
    return [value for value in values(KL, items, name) if value is not None]


def charts(found: Comparison, distances: Distances) -> list[Markup]:
    """Draw each judged measure over the KL, a line a run that begins at its SFT policy; none with fewer than two distances."""
    if len(distances.kl) < 2:
        return []
    scores: dict[tuple[str, ...], dict[str, float]] = {}
    for line in found.lines:
        if line.measure.is_judged:
            used = json.dumps(conditions.used(line.measure, line.suite.conditions), sort_keys=True)
            key = (line.suite.title, line.suite.name, line.measure.title, used)
            scores.setdefault(key, {line.before: line.difference.before})[line.after] = line.difference.after
    return [
        line_chart(
            series,
            title=f"{title}: {measure} against KL",
            x_label="KL from SFT, nats per response",
            y_label=f"{name}: {measure}",
        )
        for (title, name, measure, _), known in scores.items()
        if (series := _series(known, distances))
    ]


def _series(scores: dict[str, float], distances: Distances) -> list[Series]:
    """Return the points of each run by their KL, behind that of its SFT policy; runs with a single point are left out."""
    runs: dict[str, set[str]] = {}
    for name in scores:
        if name in distances.kl and distances.origins[name] != name:
            runs.setdefault(name.partition("@")[0], set()).update({name, distances.origins[name]})
    points = {
        run: sorted((distances.kl[name], scores[name]) for name in names if name in scores and name in distances.kl)
        for run, names in runs.items()
    }
    lines = [(run, each) for run, each in points.items() if len(each) > 1]
    return [Series(run, each, number % TONES + 1) for number, (run, each) in enumerate(lines)]
