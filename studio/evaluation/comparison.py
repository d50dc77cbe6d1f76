"""Compares checkpoints with one of them, suite by suite and measure by measure, on the items that they share."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlite_utils import Database

from studio.errors import DataError
from studio.evaluation import results, statistics
from studio.evaluation.measures import MEASURES, Measure, values, weights
from studio.evaluation.results import BASE, Item, Measured
from studio.evaluation.statistics import Difference

NUM_FLIPS = 5
LEAST_FLIP = 0.1
"""Part of a measure's largest change below which a change is not shown."""


class Line(NamedTuple):
    """One measure of one suite: a checkpoint against the one that it is compared with."""

    suite: Measured
    measure: Measure
    before: str
    after: str
    difference: Difference
    adjusted_p: float | None
    """By Holm over all judged lines of this checkpoint; None where the measure is not judged."""
    verdict: str
    """worse, no difference shown, better; empty where the measure is not judged."""


class Flip(NamedTuple):
    """An item on which two checkpoints differ most."""

    suite: str
    measure: str
    before: str
    after: str
    is_gain: bool
    change: float
    item: dict[str, Any]
    did_before: str
    did_after: str


class Comparison(NamedTuple):
    """Everything about some checkpoints against one."""

    against: str
    subjects: tuple[str, ...]
    """Those that share items with it."""
    lines: list[Line]
    flips: list[Flip]
    apart: tuple[str, ...] = ()
    """Those that share none, so that nothing compares them."""

    @property
    def not_compared(self) -> str:
        """Name those that share no items, in a sentence; empty where there are none."""
        names = ", ".join(map(shown, self.apart))
        return f"Not measured on the same items as {shown(self.against)}: {names}." if names else ""


def compare(db: Database, against: str = "", subjects: Sequence[str] = (), suites: Sequence[str] = ()) -> Comparison:
    """Compare checkpoints with one of them.

    Args:
        db: an open connection.
        against: the one that all are compared with; leave empty for the first one measured, a pretrained model before others.
        subjects: what is compared; leave empty for all that are measured.
        suites: names of suites; leave empty for all.

    Raises:
        DataError: nothing is measured, or there is no such name.
    """
    known = [suite for suite in results.measured(db) if not suites or suite.name in suites]
    names = list(dict.fromkeys(name for suite in known for name in suite.subjects))
    if not names:
        raise DataError("Nothing is measured yet. Start an evaluation first: rlhf-studio evaluate")
    wanted = [find(names, name) for name in subjects] or names
    first = find(names, against) if against else next((name for name in wanted if name.startswith(BASE)), wanted[0])
    others = tuple(name for name in wanted if name != first)
    lines: list[Line] = []
    flips: list[Flip] = []
    for after in others:
        of_one, found = _against(db, known, first, after)
        lines += of_one
        flips += found
    together = {line.after for line in lines}
    subjects, apart = (tuple(name for name in others if (name in together) is wanted) for wanted in (True, False))
    return Comparison(first, subjects, lines, flips, apart)


def find(names: Sequence[str], name: str) -> str:
    """Return the subject that a person means: a checkpoint, a run's newest measured one, or base.

    Raises:
        DataError: it is not measured.
    """
    fitting = [each for each in names if each == name or each.partition("@" if "@" in each else ":")[0] == name]
    if not fitting:
        raise DataError(
            f"{name[:100]!r} has not been measured. These have: {', '.join(names)}. Measure it first: rlhf-studio evaluate"
        )
    return fitting[-1]


def shown(subject: str) -> str:
    """Return a subject as people read it."""
    return (
        f"base ({subject.removeprefix(BASE).rstrip('/').rpartition('/')[2]})" if subject.startswith(BASE) else subject
    )


def _against(db: Database, known: Sequence[Measured], before: str, after: str) -> tuple[list[Line], list[Flip]]:
    lines: list[Line] = []
    flips: list[Flip] = []
    for suite in known:
        if {before, after} <= set(suite.subjects):
            items = results.items(db, suite.id, (before, after))
            for measure in MEASURES[suite.kind]:
                if line := _line(suite, measure, items, before, after):
                    lines.append(line)
                    flips += _flips(line, items) if measure.is_judged else []
    return _judged(lines), flips


def _line(suite: Measured, measure: Measure, items: Sequence[Item], before: str, after: str) -> Line | None:
    """Compare one measure; None where no item has a value of both."""
    pairs = zip(items, values(measure, items, before), values(measure, items, after), strict=True)
    both = [(item, first, second) for item, first, second in pairs if first is not None and second is not None]
    if not both:
        return None
    kept = [item for item, _, _ in both]
    has_clusters = any(item.cluster for item in kept)
    difference = statistics.paired(
        [first for _, first, _ in both],
        [second for _, _, second in both],
        weights=weights(measure, kept, before) if measure.weight else None,
        clusters=[item.cluster or f"item {item.id}" for item in kept] if has_clusters else None,
    )
    return Line(suite, measure, before, after, difference, None, "")


def _judged(lines: list[Line]) -> list[Line]:
    """Add adjusted p values and verdicts."""
    judged = [line for line in lines if line.measure.is_judged and line.measure.higher_is_better is not None]
    adjusted = dict(zip(map(id, judged), statistics.holm([line.difference.p_value for line in judged]), strict=True))
    return [
        line._replace(
            adjusted_p=adjusted[id(line)],
            verdict=statistics.verdict(
                line.difference, adjusted[id(line)], higher_is_better=bool(line.measure.higher_is_better)
            ),
        )
        if id(line) in adjusted
        else line
        for line in lines
    ]


def _flips(line: Line, items: Sequence[Item]) -> list[Flip]:
    """Return the items with the largest changes for the better and for the worse, a few of each."""
    sign = 1 if line.measure.higher_is_better else -1
    pairs = zip(items, values(line.measure, items, line.before), values(line.measure, items, line.after), strict=True)
    changes = [
        (second - first, item)
        for item, first, second in pairs
        if first is not None and second is not None and first != second
    ]
    least = LEAST_FLIP * max((abs(change) for change, _ in changes), default=0.0)
    changes = [(change, item) for change, item in changes if abs(change) >= least]
    changes.sort(key=lambda change: -abs(change[0]) - _moved(line, change[1]))
    gains, losses = ([c for c in changes if (sign * c[0] > 0) == is_gain][:NUM_FLIPS] for is_gain in (True, False))
    return [
        Flip(
            line.suite.name,
            line.measure.title,
            line.before,
            line.after,
            sign * change > 0,
            change,
            item.content,
            _did(line, item, line.before),
            _did(line, item, line.after),
        )
        for change, item in [*gains, *losses]
    ]


def _moved(line: Line, item: Item) -> float:
    """Return by how much the probability of what is right moved, which orders items whose measure is 0 or 1."""
    before, after = (item.scores[name][0].get("mass", 0.0) for name in (line.before, line.after))
    return abs(after - before)


def _did(line: Line, item: Item, subject: str) -> str:
    """Return in words what a checkpoint did with an item."""
    scores, content = item.scores[subject][0], item.content
    match line.suite.kind:
        case "choice":
            return str(content["choices"][scores["chosen"]])
        case "pair":
            return str(content["good"] if scores["acc"] else content["bad"])
        case "truth":
            return str([content["best"], *content["incorrect"]][scores["chosen"]])
        case "task":
            return str(scores["answer"])
        case "text":
            return f"{scores['nats'] / scores['bytes']:.4f} nats per byte"
    worst = max(range(len(item.scores[subject])), key=lambda k: _weight(item.scores[subject][k], line.measure.name))
    return item.texts[subject][worst]


def _weight(scores: dict[str, Any], measure: str) -> float:
    """Return by what the sample that is shown is chosen: the most toxic one, the one that refuses, else the first."""
    name = {"max_toxicity": "toxicity", "refusal_safe": "refusal", "refusal_unsafe": "refusal"}.get(measure, "")
    return float(scores.get(name, 0.0))
