"""Compares checkpoints with one of them, suite by suite and measure by measure, on the items that they share."""

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

from sqlite_utils import Database

from studio.errors import DataError
from studio.evaluation import conditions, results, statistics
from studio.evaluation.measures import MEASURES, Measure, of_task, values, weights
from studio.evaluation.results import Item, Measured
from studio.evaluation.statistics import Difference
from studio.models.base_names import is_base, shown

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
    under: str = ""
    """The conditions that tell it from others under which both were measured; empty where there are none."""


class Unpaired(NamedTuple):
    """A suite, or one measure of it, that two checkpoints have under different conditions."""

    suite: str
    """Title."""
    measure: str
    """Title; empty for the whole suite."""
    before: str
    after: str
    difference: str
    """The conditions that differ, with the values of both."""


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
    unpaired: tuple[Unpaired, ...] = ()

    def shown(self, name: str) -> str:
        """Return a stored name as people read it, told apart from all others here."""
        return shown(name, (self.against, *self.subjects, *self.apart))

    @property
    def not_compared(self) -> list[str]:
        """Say in sentences what two checkpoints both have, but not under the same conditions, and who shares no suite at all."""
        alike: dict[tuple[str, str, str], list[str]] = {}
        for each in self.unpaired:
            alike.setdefault((each.suite, each.measure, each.difference), []).append(self.shown(each.after))
        told = [
            f"Not compared: {suite}{f', {measure}' if measure else ''}, of {self.shown(self.against)} with {', '.join(names)}, measured under "
            f"different conditions ({difference})."
            for (suite, measure, difference), names in alike.items()
        ]
        known = {each.after for each in self.unpaired}
        names = ", ".join(self.shown(name) for name in self.apart if name not in known)
        return [*told, f"No suite has measured both {self.shown(self.against)} and: {names}."] if names else told


def compare(
    db: Database,
    against: str = "",
    subjects: Sequence[str] = (),
    suites: Sequence[str] = (),
    *,
    has_all_conditions: bool = False,
) -> Comparison:
    """Compare checkpoints with one of them.

    Args:
        db: an open connection.
        against: the one that all are compared with; leave empty for the first one measured, a pretrained model before others.
        subjects: what is compared; leave empty for all that are measured.
        suites: names of suites; leave empty for all.
        has_all_conditions: give a line for all conditions that two share, not only for the newest ones.

    Raises:
        DataError: nothing is measured, or there is no such name.
    """
    known = [suite for suite in results.measured(db) if not suites or suite.name in suites]
    names = list(dict.fromkeys(name for suite in known for name in suite.subjects))
    if not names:
        raise DataError(
            "Nothing is measured yet. Choose checkpoints and press Measure on the Evaluate page first, or: rlhf-studio evaluate"
        )
    wanted = [find(names, name) for name in subjects] or names
    first = find(names, against) if against else next((name for name in wanted if is_base(name)), wanted[0])
    others = tuple(name for name in wanted if name != first)
    pairs = [_Pair(db, known, first, after, has_all_conditions) for after in others]
    apart = tuple(pair.after for pair in pairs if not pair.lines)
    return Comparison(
        first,
        tuple(name for name in others if name not in apart),
        [line for pair in pairs for line in pair.lines],
        [flip for pair in pairs for flip in pair.flips],
        apart,
        tuple(each for pair in pairs for each in pair.unpaired),
    )


def find(names: Sequence[str], name: str) -> str:
    """Return the subject that a person means: a checkpoint, a run's newest measured one, or base.

    Raises:
        DataError: it is not measured.
    """
    fitting = [each for each in names if each == name or each.partition("@" if "@" in each else ":")[0] == name]
    if not fitting:
        raise DataError(
            f"{name[:100]!r} has not been measured. These have: {', '.join(names)}. Measure it first, on the Evaluate page or by: rlhf-studio evaluate"
        )
    return fitting[-1]


class _Pair:
    """A checkpoint against the one that it is compared with; reads each set of items once."""

    def __init__(self, db: Database, known: Sequence[Measured], before: str, after: str, is_every: bool) -> None:
        self.before, self.after = before, after
        self.unpaired: list[Unpaired] = []
        self.flips: list[Flip] = []
        self._db, self._items = db, dict[tuple[int, ...], list[Item]]()
        by_name: dict[tuple[str, str], list[Measured]] = {}
        for suite in known:
            if before in suite.subjects or after in suite.subjects:
                by_name.setdefault((suite.name, suite.kind), []).append(suite)
        self.lines = _judged([line for rows in by_name.values() for line in self._of_suite(rows, is_every)])

    def _of_suite(self, rows: Sequence[Measured], is_every: bool) -> list[Line]:
        """Compare all measures of a suite, given under all its conditions; note what cannot be paired."""
        found: list[Line] = []
        apart: list[Unpaired] = []
        for measure in self._measures(rows):
            both = [group for group in conditions.groups(measure, rows) if self._shares(group)]
            lines = _told_apart([line for group in both if (line := self._line(group, measure))])
            found += lines if is_every else lines[:1]
            if lines and measure.is_judged:
                group = next(group for group in both if group[-1] is lines[0].suite)
                self.flips += _flips(lines[0], self._read(group))
            is_known = any(conditions.has(measure, group[-1]) for group in both)
            if not lines and not is_known and (unpaired := self._unpaired(measure, rows)):
                apart.append(unpaired)
        whole = [each for each in apart if not each.measure]
        self.unpaired += dict.fromkeys(whole[:1] or apart)
        return found

    def _measures(self, rows: Sequence[Measured]) -> Sequence[Measure]:
        """Return what is measured on a suite; of a task what lm_eval scored for both."""
        usual = MEASURES[rows[0].kind]
        if rows[0].kind != "task":
            return usual
        both = [group for group in conditions.groups(usual[0], rows) if self._shares(group)]
        scores = [each[0] for group in both for item in self._read(group) for each in item.scores.values()]
        return of_task(scores) if scores else usual

    def _shares(self, group: Sequence[Measured]) -> bool:
        have = {name for suite in group for name in suite.subjects}
        return {self.before, self.after} <= have and bool(self._read(group))

    def _read(self, group: Sequence[Measured]) -> list[Item]:
        """Return the items that both have."""
        ids = tuple(suite.id for suite in group)
        if ids not in self._items:
            self._items[ids] = results.items(self._db, ids, (self.before, self.after))
        return self._items[ids]

    def _line(self, group: Sequence[Measured], measure: Measure) -> Line | None:
        return _line(group[-1], measure, self._read(group), self.before, self.after)

    def _unpaired(self, measure: Measure, rows: Sequence[Measured]) -> Unpaired | None:
        """Say in what the results of both differ that are most alike; None where one of them has none."""
        mine, others = (
            [s for s in reversed(rows) if name in s.subjects and conditions.has(measure, s)]
            for name in (self.before, self.after)
        )
        if not mine or not others:
            return None
        pairs = [[conditions.used(measure, suite.conditions) for suite in pair] for pair in product(mine, others)]
        first, second = min(pairs, key=lambda pair: len(conditions.differing(*pair)))
        differing = conditions.differing(first, second)
        said = (
            ", ".join(conditions.said(name, first.get(name), second.get(name)) for name in differing) or "other items"
        )
        title = measure.title if measure.judge else ""
        return Unpaired(rows[-1].title, title, self.before, self.after, said)


def _told_apart(lines: list[Line]) -> list[Line]:
    """Add to each line the conditions that tell it from the others, which have the same suite and measure."""
    used = [conditions.used(line.measure, line.suite.conditions) for line in lines]
    names = list(dict.fromkeys(name for other in used for name in conditions.differing(used[0], other)))
    return [line._replace(under=conditions.told(mine, names)) for line, mine in zip(lines, used, strict=True)]


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
