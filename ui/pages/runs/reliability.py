"""Shows how far to trust a reward model's scores: the reliability curve as SVG, accuracy by strength and category.

Each dot is a tenth of the confidences from 1/2 to 1, its area grows with the comparisons in it, and the bar is the 95 %
interval of what was observed. Dots on the dashed diagonal mean: when it says 70 %, it is right in 70 %.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape

from studio.runs.reward_evaluation import Line, Point, lines, reliability
from ui.components.html import number

WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 42, 96, 12, 38
LARGEST = 9.0
"""Radius of the dot with the most comparisons."""


def panel(values: Mapping[str, float]) -> str:
    """Return the drawing with its table; empty where nothing was measured on held-out comparisons."""
    rows = lines(values)
    if not rows:
        return ""
    drawing = _figure(reliability(values), values.get("eval/ece"))
    return f'<div class="charts trust">{drawing}<div>{_table(rows)}{_zero(values)}</div></div>'


def _figure(points: Sequence[Point], ece: float | None) -> str:
    said = "; ".join(f"says {p.predicted:.0%}, is right in {p.observed:.0%} of {p.num}" for p in points)
    error = "" if ece is None else f" The mean distance from it is {ece:.3f} (ece)."
    body = _frame() + "".join(_dot(point, max(p.num for p in points)) for point in points)
    return (
        '<figure class="chart"><figcaption><b>reliability</b><span>How often the response that the scores preferred won, against the '
        "probability they gave it; on the dashed line both agree. Larger dots hold more comparisons, bars are 95 % intervals."
        f"{escape(error)}</span></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" data-points="[]" '
        f'aria-label="reliability: {escape(said)}">{body}</svg></figure>'
    )


def _x(predicted: float) -> float:
    return LEFT + (predicted - 0.5) * 2 * (WIDTH - LEFT - RIGHT)


def _y(observed: float) -> float:
    return HEIGHT - BOTTOM - observed * (HEIGHT - TOP - BOTTOM)


def _frame() -> str:
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    grid = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(share):.1f}" y2="{_y(share):.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{_y(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>'
        for share in shares
    )
    axis = "".join(
        f'<text class="tick" x="{_x(share):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{share:.0%}</text>'
        for share in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    )
    middle = (LEFT + WIDTH - RIGHT) / 2
    names = (
        f'<text class="tick" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">predicted</text>'
        f'<text class="tick" x="{WIDTH - RIGHT + 8}" y="{_y(1) + 4:.1f}">observed</text>'
    )
    diagonal = f'<line class="ideal" x1="{_x(0.5)}" y1="{_y(0.5):.1f}" x2="{_x(1):.1f}" y2="{_y(1):.1f}"/>'
    return grid + axis + names + diagonal


def _dot(point: Point, most: int) -> str:
    x, radius = _x(point.predicted), LARGEST * math.sqrt(point.num / most)
    said = (
        f"says {point.predicted:.0%}, is right in {point.observed:.0%} ({point.low:.0%} to {point.high:.0%}) "
        f"of {point.num:,} comparisons"
    )
    return (
        f'<g><title>{said}</title><line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{_y(point.low):.1f}" '
        f'y2="{_y(point.high):.1f}"/><circle class="dot c0" cx="{x:.1f}" cy="{_y(point.observed):.1f}" '
        f'r="{max(radius, 2.5):.1f}"/></g>'
    )


def _zero(values: Mapping[str, float]) -> str:
    """Say what a score of 0 means, and how much a point of score is; empty before the end of the fit."""
    if "eval/center" not in values:
        return ""
    return (
        f'<p class="zero">The scores of {int(values["eval/center_num"]):,} reference answers are 0 on average '
        f"(before: {number(values['eval/center'])}) with a standard deviation of {number(values['eval/center_spread'])}.</p>"
    )


def _table(rows: Sequence[Line]) -> str:
    body, group = "", ""
    for row in rows:
        if row.group != group:
            group = row.group
            body += f'<tr><th colspan="4" scope="rowgroup">{escape(group)}</th></tr>'
        is_share = group != "correlation"
        value, low, high = (f"{x:.0%}" if is_share else f"{x:.2f}" for x in (row.value, row.low, row.high))
        body += (
            f'<tr><td>{escape(row.name)}</td><td class="num">{value}</td><td class="num">{low} to {high}</td>'
            f'<td class="num">{row.num:,}</td></tr>'
        )
    return (
        '<table class="judged"><thead><tr><th scope="col">held-out comparisons</th><th scope="col">value</th>'
        f'<th scope="col">95 % interval</th><th scope="col">number</th></tr></thead><tbody>{body}</tbody></table>'
    )
