"""The reliability curve as SVG: how often a reward model is right, against how sure it says it is.

Each dot is a tenth of the confidences from 1/2 to 1, its area grows with the comparisons in it, and the bar is the 95 %
interval of what was observed. Dots on the dashed diagonal mean: when it says 70 %, it is right in 70 %.
"""

import math
from collections.abc import Sequence
from html import escape

from studio.runs.reward_evaluation import Point
from ui.components import charts

HEIGHT = 250
RIGHT, TOP, BOTTOM = 96, 12, 38
LARGEST = 9.0
"""Radius of the dot with the most comparisons."""


def figure(points: Sequence[Point], note: str) -> str:
    """Draw the curve under its title; `note` follows what the axes mean."""
    said = "; ".join(f"says {p.predicted:.0%}, is right in {p.observed:.0%} of {p.num}" for p in points)
    most = max((p.num for p in points), default=1)
    body = _frame() + "".join(_dot(point, most) for point in points)
    return (
        '<figure class="chart"><figcaption><b>reliability</b><span>How often the response that the scores preferred won, against the '
        "probability they gave it; on the dashed line both agree. Larger dots hold more comparisons, bars are 95 % intervals."
        f" {escape(note)}</span></figcaption>"
        f'<svg height="{HEIGHT}" {charts.frame(RIGHT)} role="img" '
        f'aria-label="reliability: {escape(said)}">{body}</svg></figure>'
    )


def _x(predicted: float) -> str:
    return f"{(predicted - 0.5) * 2:.2%}"


def _y(observed: float) -> float:
    return HEIGHT - BOTTOM - observed * (HEIGHT - TOP - BOTTOM)


def _frame() -> str:
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    grid = "".join(
        f'<line class="grid" x1="0" x2="100%" y1="{_y(share):.1f}" y2="{_y(share):.1f}"/>'
        f'<text class="tick" x="-6" y="{_y(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>'
        for share in shares
    )
    axis = "".join(
        f'<text class="tick" x="{_x(share)}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{share:.0%}</text>'
        for share in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    )
    names = (
        f'<text class="tick" x="50%" y="{HEIGHT - 4}" text-anchor="middle">predicted</text>'
        f'<text class="tick" x="100%" dx="8" y="{_y(1) + 4:.1f}">observed</text>'
    )
    diagonal = f'<line class="ideal" x1="0" y1="{_y(0.5):.1f}" x2="100%" y2="{_y(1):.1f}"/>'
    return grid + axis + names + diagonal


def _dot(point: Point, most: int) -> str:
    x, radius = _x(point.predicted), LARGEST * math.sqrt(point.num / most)
    said = (
        f"says {point.predicted:.0%}, is right in {point.observed:.0%} ({point.low:.0%} to {point.high:.0%}) "
        f"of {point.num:,} comparisons"
    )
    return (
        f'<g><title>{said}</title><line class="whisker" x1="{x}" x2="{x}" y1="{_y(point.low):.1f}" '
        f'y2="{_y(point.high):.1f}"/><circle class="dot c0" cx="{x}" cy="{_y(point.observed):.1f}" '
        f'r="{max(radius, 2.5):.1f}"/></g>'
    )
