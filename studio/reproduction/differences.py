"""Compares a run with a bundle: how it ended, what it logged, what it saved, sampled or measured."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlite_utils import Database

from studio.errors import RunError
from studio.reproduction import bundling, measured
from studio.reproduction.contents import FIELDS, Saved, is_compared, is_repeated
from studio.reproduction.opening import Bundle
from studio.runs import metrics
from studio.runs.runs import Run
from studio.workspace import Workspace

Value = tuple[str, int, Any]
LONGEST = 200
"""Letters of a value that are shown."""


class Differences(NamedTuple):
    """What differs between a run and a bundle."""

    settings: str
    """A sentence; empty where both have the same ones, whatever their checkpoints are called."""
    ending: str
    """A sentence; empty where both ended alike."""
    num_values: int
    """Logged values that were compared; what the clock says is not among them."""
    values: str
    """A sentence; empty where all are equal to the last bit."""
    num_files: int
    files: str
    """A sentence; empty where the weights and the state of all checkpoints are equal."""
    num_measured: int = 0
    """Answers, results of items or reward models of the bundle that were compared."""
    measured: str = ""
    """A sentence; empty where all are equal."""
    num_more: int = 0
    """Measured here only: the bundle's run found them measured by an earlier one."""

    @property
    def are_none(self) -> bool:
        """Return whether nothing differs."""
        return not (self.settings or self.ending or self.values or self.files or self.measured)

    @property
    def sentences(self) -> list[str]:
        """Say what is equal and what differs."""
        values = f"All {self.num_values:,} logged values are equal to the last bit."
        files = (
            f"All {self.num_files:,} files with the weights and the state of its checkpoints are equal to the last bit."
        )
        results = f"All {self.num_measured:,} answers and results are equal to the last bit."
        more = f"{self.num_more:,} more were measured here, which the bundle's run had found measured."
        return [
            *filter(None, [self.settings, self.ending]),
            *([self.values or values] if self.num_values else []),
            *([self.files or files] if self.num_files or self.files else []),
            *([self.measured or results] if self.num_measured else []),
            *([more] if self.num_more else []),
        ]


def between(ws: Workspace, bundle: Bundle, run: Run) -> Differences:
    """Compare a run that has ended with a bundle.

    Raises:
        StudioError: the bundle's metrics, or a file of a checkpoint, cannot be read.
    """
    there = bundle.contents
    if run.stage != there.stage:
        raise RunError(f"{run.name} is a run of {run.stage}, and the bundle one of {there.stage}: compare another run.")
    with ws.read() as db:
        num_values, values = _values(db, bundle, run)
        num_measured, results, num_more = _measured(ws, db, bundle, run)
        num_files, files = _files(there.checkpoints, bundling.saved_by(db, run))
    ending = (
        ""
        if run.state == there.state
        else f"{there.run} {there.state} there; {run.name} {run.state} here. {run.message}"
    )
    return Differences(
        _settings(there.config, run.config.model_dump(mode="json")),
        ending,
        num_values,
        values,
        num_files,
        files,
        num_measured,
        results,
        num_more,
    )


def _settings(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    names = [name for name in {**theirs, **ours} if name not in FIELDS and theirs.get(name) != ours.get(name)]
    said = ", ".join(f"{name} {theirs.get(name)} there, {ours.get(name)} here" for name in names)
    return f"Settings differ: {said}." if said else ""


def _values(db: Database, bundle: Bundle, run: Run) -> tuple[int, str]:
    """Count the logged values, and say which is the first, by step, that differs."""
    num, num_other, first = 0, 0, None
    for theirs, ours in _paired(bundle.metrics(), _of_run(metrics.logged(db, run.id))):
        num += 1
        if theirs != ours:
            num_other += 1
            either = theirs or ours
            assert either is not None
            first = (either[1], either[0], theirs, ours) if first is None or either[1] < first[0] else first
    if first is None:
        return num, ""
    step, name, theirs, ours = first
    there, here = (_shown(each) for each in (theirs, ours))
    return (
        num,
        f"{num_other:,} of {num:,} logged values differ; the first is {name} at step {step}: {there} there, {here} here.",
    )


def _measured(ws: Workspace, db: Database, bundle: Bundle, run: Run) -> tuple[int, str, int]:
    """Count what the bundle's run measured, say the first that differs, and count what only the run measured."""
    num, num_other, num_more, said = 0, 0, 0, ""
    for theirs, ours in _paired(bundle.measured(), measured.of_run(ws, db, run)):
        if theirs is None:
            num_more += 1
            continue
        num += 1
        if ours is None or _text(theirs) != _text(ours):
            num_other += 1
            said = said or f"{theirs[0]}, number {theirs[1]}: {_cut(theirs)} there, {_cut(ours)} here."
    return num, f"{num_other:,} of {num:,} answers and results differ; the first is {said}" if said else "", num_more


def _text(value: Value) -> str:
    """Return a value so that equal texts are equal values, also of what is no number."""
    return json.dumps(value[2], sort_keys=True)


def _cut(value: Value | None) -> str:
    if value is None:
        return "nothing"
    text = _text(value)
    return text[:LONGEST] + "…" * (len(text) > LONGEST)


def _paired(theirs: Iterator[Value], ours: Iterator[Value]) -> Iterator[tuple[Value | None, Value | None]]:
    """Pair values of the same name and step; both come in this order. One that the other side lacks is paired with None."""
    left, right = next(theirs, None), next(ours, None)
    while left or right:
        if left and (not right or left[:2] <= right[:2]):
            is_both = right is not None and left[:2] == right[:2]
            yield left, right if is_both else None
            left, right = next(theirs, None), next(ours, None) if is_both else right
        else:
            yield None, right
            right = next(ours, None)


def _of_run(rows: Iterator[Value]) -> Iterator[Value]:
    return (row for row in rows if is_repeated(row[0]))


def _shown(value: Value | None) -> str:
    return "nothing" if value is None else repr(value[2])


def _files(theirs: list[Saved], ours: list[Saved]) -> tuple[int, str]:
    """Count the files of both sides' checkpoints, and say which differ."""
    num, said = 0, []
    by_step = {each.step: each for each in ours}
    for there in theirs:
        here = by_step.pop(there.step, None)
        if here is None:
            said.append(f"there is none of step {there.step} here")
            continue
        if there.base_fingerprint != here.base_fingerprint:
            said.append(f"step {there.step} is of another base model")
        names = sorted(filter(is_compared, there.files.keys() | here.files.keys()))
        num += len(names)
        other = [name for name in names if there.files.get(name) != here.files.get(name)]
        said += [f"{', '.join(other)} of step {there.step}"] if other else []
    said += [f"step {step} was not saved there" for step in sorted(by_step)]
    return num, f"Of its checkpoints differ: {'; '.join(said)}." if said else ""
