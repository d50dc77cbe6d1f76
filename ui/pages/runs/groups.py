"""Sorts a run's charts into named groups that fold; a value that never changed is a number there and no chart."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from studio.runs import metrics
from ui.components import html
from ui.components.charts import Curve


class Group(NamedTuple):
    """A group of charts: its key in the page, its name, and whether it is open until a person folds it."""

    key: str
    name: str
    is_open: bool = True


GROUPS = (
    Group("objective", "Objective"),
    Group("suite", "Fixed items"),
    Group("policy", "Policy"),
    Group("value", "Value"),
    Group("rollout", "Rollout"),
    Group("steps", "Steps", is_open=False),
    Group("time", "Time", is_open=False),
)
"""In the order in which they stand."""
OF_STEPS = ("train/lr", "train/grad_norm")


def of(names: Sequence[str]) -> str:
    """Return the key of the group to which the chart of these metrics belongs."""
    roots = {name.partition("/")[0] for name in names}
    for key in ("policy", "value", "suite", "rollout"):
        if key in roots:
            return key
    if any(map(metrics.is_of_time, names)):
        return "time"
    return "steps" if set(names) & set(OF_STEPS) else "objective"


def is_flat(curves: Sequence[Curve]) -> bool:
    """Return whether each curve has several values, and never another one than its first."""
    drawn = [curve for curve in curves if curve.points]
    return bool(drawn) and all(len(c.points) > 1 and {y for _, y in (*c.points, c.end)} == {c.end[1]} for c in drawn)


def number(title: str, sentence: str, curves: Sequence[Curve]) -> str:
    """Draw curves that are flat as their values."""
    values = [(curve.name, html.number(curve.end[1])) for curve in curves if curve.points]
    is_one = len({value for _, value in values}) == 1
    shown = values[0][1] if is_one else ", ".join(f"{name} {value}" for name, value in values)
    return f'<li title="{escape(sentence)}"><b>{escape(title)}</b> <span class="num">{escape(shown)}</span></li>'


def draw(charts: dict[str, list[str]], numbers: dict[str, list[str]]) -> str:
    """Draw the groups that have something; `charts` and `numbers` are their markup by the group's key."""
    parts = []
    for group in GROUPS:
        drawn, flat = charts.get(group.key, []), numbers.get(group.key, [])
        if not drawn and not flat:
            continue
        unchanged = f'<ul class="flat" aria-label="Unchanged values">{"".join(flat)}</ul>' if flat else ""
        inside = f'<div class="charts">{"".join(drawn)}</div>' if drawn else ""
        num = str(len(drawn) + len(flat))
        parts.append(html.fold(group.key, group.name, num, inside + unchanged, is_open=group.is_open))
    return "".join(parts)
