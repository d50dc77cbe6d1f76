"""Tells which results may be paired: those got under the same conditions, as far as a measure depends on them.

A suite is stored with all its conditions, also those that say who judged the answers. A reward model changes nothing about an
answer's length or refusal, so these are paired also where the answers of two checkpoints were scored by different reward models.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from studio.evaluation.measures import Measure
from studio.evaluation.results import Measured

Conditions = Mapping[str, Any]
JUDGES = {"reward": ("reward",), "gold": ("gold",), "toxicity": ("toxicity", "classifier")}
"""Who judges answers, to the conditions that say which one it was."""
NAMES = {
    "reward": "reward model",
    "gold": "gold reward model",
    "toxicity": "toxicity classifier",
    "classifier": "classifier's content",
    "samples": "samples a prompt",
    "scorer": "version of the scorer",
    "rules": "version of the rules",
}
"""Condition to its name, where its key does not say it."""


def used(measure: Measure, conditions: Conditions) -> dict[str, Any]:
    """Return the conditions on which a measure depends: all but the judges of other measures."""
    of_others = {name for judge, names in JUDGES.items() if judge != measure.judge for name in names}
    return {name: value for name, value in conditions.items() if name not in of_others}


def has(measure: Measure, suite: Measured) -> bool:
    """Return whether a suite's conditions name the judge of a measure; True where it needs none."""
    return not measure.judge or bool(suite.conditions.get(measure.judge))


def groups(measure: Measure, suites: Sequence[Measured]) -> list[list[Measured]]:
    """Group suites of one name and kind whose results may be paired by a measure; the newest group first."""
    found: list[tuple[dict[str, Any], list[Measured]]] = []
    for suite in suites:
        mine = used(measure, suite.conditions)
        group = next((group for other, group in found if other == mine), None)
        if group is None:
            found.append((mine, [suite]))
        else:
            group.append(suite)
    return sorted((group for _, group in found), key=lambda group: -group[-1].id)


def differing(one: Conditions, other: Conditions) -> list[str]:
    """Return the names of the conditions in which two differ; a missing one is an empty one."""
    empty = (None, "")
    names = dict.fromkeys([*one, *other])
    return [n for n in names if one.get(n) != other.get(n) and not (one.get(n) in empty and other.get(n) in empty)]


def said(name: str, *values: Any) -> str:
    """Return a condition with its value, or with that of each of two, as people read it; of a path its last part."""
    shown = " and ".join("none" if value in (None, "") else str(value).rpartition("/")[2] for value in values)
    return f"{NAMES.get(name, name.replace('_', ' '))} {shown}"


def told(conditions: Conditions, names: Sequence[str]) -> str:
    """Return these conditions with their values, in one line."""
    return ", ".join(said(name, conditions.get(name)) for name in names)
