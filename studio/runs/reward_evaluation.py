"""Reads a reward run's figures on held-out comparisons back from its metrics, for the page and the terminal.

Only counts and shares are stored; intervals follow from them.
"""

from collections.abc import Mapping
from typing import NamedTuple

from modules.calibration import NUM_BINS
from modules.intervals import wilson_interval
from studio.preferences.vocabulary import STRENGTHS

_STRENGTHS = {str(number): words for number, words in STRENGTHS.items()}


class Point(NamedTuple):
    """A point of the reliability curve."""

    predicted: float
    """Mean probability given to the response that scores higher."""
    observed: float
    """Share of comparisons in which it was the preferred one."""
    low: float
    """Lower end of that share's 95 % interval."""
    high: float
    """Upper end of it."""
    num: int


class Line(NamedTuple):
    """A figure with its interval and the number of comparisons behind it."""

    group: str
    name: str
    value: float
    low: float
    high: float
    num: int


def reliability(values: Mapping[str, float]) -> list[Point]:
    """Return the reliability curve, from the least to the most confident comparisons; empty where none was measured."""
    points = []
    for place in range(NUM_BINS):
        num = int(values.get(f"reliability_num/{place}", 0))
        if num:
            observed = values[f"reliability_observed/{place}"]
            points.append(
                Point(values[f"reliability_predicted/{place}"], observed, *wilson_interval(observed * num, num), num)
            )
    return points


def lines(values: Mapping[str, float]) -> list[Line]:
    """Return accuracy over all, at equal length, by strength and by category, and the correlation with length."""
    num = int(values.get("eval/num", 0))
    if not num:
        return []
    found = [_line(values, "accuracy", "all", "eval/accuracy", num)]
    if "eval/length_matched_accuracy" in values:
        matched = int(values["eval/length_matched_num"])
        found.append(_line(values, "accuracy", "equally long", "eval/length_matched_accuracy", matched))
    for group in ("strength", "category"):
        prefix = f"{group}_accuracy/"
        for name in (key.removeprefix(prefix) for key in values if key.startswith(prefix)):
            share, count = values[f"{prefix}{name}"], int(values[f"{group}_num/{name}"])
            shown = _STRENGTHS.get(name, name) if group == "strength" else name
            found.append(Line(group, shown, share, *wilson_interval(share * count, count), count))
    if "eval/length_correlation" in values:
        found.append(_line(values, "correlation", "score and length", "eval/length_correlation", num))
    return found


def is_summed_up(name: str) -> bool:
    """Return whether a metric is part of this report, not a curve of its own."""
    parts = ("reliability_", "strength_", "category_", "eval/center", "eval/kept_step")
    return name.startswith(parts) or name.endswith(("_num", "/num"))


def _line(values: Mapping[str, float], group: str, name: str, key: str, num: int) -> Line:
    return Line(group, name, values[key], values[f"{key}_low"], values[f"{key}_high"], num)
