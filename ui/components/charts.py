"""Frugal line charts as SVG text for `gr.HTML`: a curve's name and newest value stand at its end, hover gives exact values.

Colours are CSS classes, so light and dark need no redraw. Points arrive thinned by `studio.runs.metrics.curve`. The values for
the hover travel in a `data-points` attribute that `charts.js` reads; Gradio patches the new markup into the old, so the
pointer and the scroll position stay where they are.

A chart is as wide as its place, and its words keep their size: places along the frame are percentages of it, and only the curves
are stretched, with lines that stay as thick.
"""

import json
import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from ui.components.html import number

HEIGHT = 168
LEFT, RIGHT, TOP, BOTTOM = 42, 100, 12, 24
"""Pixels around the frame."""
NARROWEST = 158
"""Pixels of the frame in the narrowest column (`static/studio.css`)."""
FULL = 1000
"""Width of the frame in the units of its curves."""
LABEL_GAP = 15
LETTER, LINE = 5.5, 13
"""Width of a letter of the small words, on average, and height of a line of them."""
FILES = (
    '<p class="files"><button type="button" data-table>Table</button> <button type="button" data-file="svg">SVG</button> '
    '<button type="button" data-file="png">PNG</button></p>'
)
"""Seen while the pointer or the keyboard is at a chart of a run (`static/chart_files.js`, `static/chart_table.js`)."""

Points = Sequence[tuple[int, float]]


class Band(NamedTuple):
    """An interval around a curve: its lower and upper edge."""

    low: Points
    high: Points


class Curve(NamedTuple):
    """A named line with the numbers of `points`; where it is smoothed, they are drawn faintly behind it."""

    name: str
    points: Points
    smoothed: Points = ()
    newest: float | None = None
    """The last value as it was logged, where the last point is a mean."""
    is_dashed: bool = False
    """Drawn as what is expected, not measured."""
    band: Band | None = None
    """Its own interval, in its colour, where several curves have one."""

    @property
    def end(self) -> tuple[int, float]:
        """The last step and its value as it was logged."""
        step, value = self.points[-1]
        return step, value if self.newest is None else self.newest


class Limit(NamedTuple):
    """A value that no curve can be expected to pass, with its interval and a few words."""

    value: float
    low: float
    high: float
    words: str


def chart(
    title: str,
    sentence: str,
    curves: Sequence[Curve],
    band: Band | None = None,
    x_label: str = "step",
    *,
    is_log: bool = False,
    limit: Limit | None = None,
    x_range: tuple[int, int] | None = None,
    marks: Sequence[tuple[int, str]] = (),
    nothing: str = "waiting for the first value",
) -> str:
    """Draw a titled chart of at most a few curves; with no points, an empty frame of the same size that says `nothing`.

    A `limit` is drawn as a dashed line across the frame, over the band of its interval. The frame runs over `x_range`, or from
    the first to the last step of the curves.

    `marks` are steps at which something was changed, with what it was: thin upright lines that say so under the pointer.

    With `is_log` the values stand on a log scale, unless one of them is 0 or less; the chart then says so.
    """
    drawn = [curve for curve in curves if curve.points]
    low, high = _x_range(drawn) if x_range is None or x_range[0] >= x_range[1] else x_range
    body = (
        _marks(marks, (low, high)) + _plot(drawn, band, x_label, is_log, limit, (low, high))
        if drawn
        else _waiting(nothing)
    )
    newest = ", ".join(f"{c.name} {number(c.end[1])} at {x_label} {c.end[0]}" for c in drawn) or "no values yet"
    focus = ' tabindex="0"' if drawn else ""
    data = json.dumps([[c.name, [[x, float(f"{y:.9g}")] for x, y in c.points]] for c in drawn])
    return (
        f'<figure class="chart" data-title="{escape(title)}"><figcaption><b>{escape(title)}</b><span title="{escape(sentence)}">{escape(sentence)}</span></figcaption>'
        f'<svg height="{HEIGHT}" {frame()} role="img"{focus} aria-label="{escape(title)}: {escape(newest)}" '
        f'data-frame="{LEFT} {RIGHT} {low} {high}" data-label="{escape(x_label)}" '
        f'data-points="{escape(data)}">{body}</svg>{FILES if drawn else ""}</figure>'
    )


def frame(right: int = RIGHT) -> str:
    """Return the attribute that sets the frame off from the edges: 0 is its left edge then, and percentages are of its width."""
    return f'style="padding: 0 {right}px 0 {LEFT}px"'


def _plot(
    curves: list[Curve], band: Band | None, x_label: str, is_log: bool, limit: Limit | None, x_range: tuple[int, int]
) -> str:
    low, high = x_range
    ys = [y for curve in curves for _, y in (*curve.points, curve.end)]
    bands = [(0, band), *((index, curve.band) for index, curve in enumerate(curves))]
    ys += [y for _, each in bands if each for edge in each for _, y in edge]
    if limit:
        ys += [limit.value, limit.low, limit.high]
    notes = ["smoothed, numbers as logged"] if any(curve.smoothed for curve in curves) else []
    if is_log and min(ys) <= 0:
        is_log = False
        notes.append("linear: has values of 0 or less")
    ticks = _log_ticks(min(ys), max(ys)) if is_log else _ticks(min(ys), max(ys))
    to_x = _scale(low, high, 0, FULL)
    linear = _scale(
        math.log10(ticks[0]) if is_log else ticks[0],
        math.log10(ticks[-1]) if is_log else ticks[-1],
        HEIGHT - BOTTOM,
        TOP,
    )

    def to_y(value: float) -> float:
        return linear(math.log10(value) if is_log else value)

    areas = [_area(each, index, to_x, to_y) for index, each in bands]
    lines = [_path(curve, index, to_x, to_y) for index, curve in enumerate(curves)]
    dots = [_dot(curve, index, to_x, to_y) for index, curve in enumerate(curves)]
    stretched = f'<svg viewBox="0 0 {FULL} {HEIGHT}" height="{HEIGHT}" preserveAspectRatio="none">'
    return "".join(
        [
            _grid(ticks, to_y),
            _x_axis(curves, to_x, x_label, x_range),
            _note(notes),
            _limit(limit, to_y),
            *(stretched, *areas, *lines, "</svg>"),
            *dots,
            _names(curves, to_x, to_y),
        ]
    )


def _marks(marks: Sequence[tuple[int, str]], x_range: tuple[int, int]) -> str:
    to_x = _scale(*x_range, 0, FULL)
    return "".join(
        f'<line class="mark" x1="{_share(to_x(step))}" x2="{_share(to_x(step))}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"><title>{escape(words)}</title></line>'
        for step, words in marks
        if x_range[0] <= step <= x_range[1]
    )


def _waiting(words: str) -> str:
    return (
        f'<line class="grid" x1="0" x2="100%" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="tick" x="50%" y="{HEIGHT / 2}" text-anchor="middle">{escape(words)}</text>'
    )


def _x_range(curves: list[Curve]) -> tuple[int, int]:
    """Return the first and last step of the frame; a single step stands in its middle."""
    xs = [x for curve in curves for x, _ in curve.points] or [0]
    return (min(xs), max(xs)) if min(xs) < max(xs) else (xs[0] - 1, xs[0] + 1)


def _scale(low: float, high: float, start: float, end: float):
    """Return a function from a value to a coordinate."""
    scale = (end - start) / ((high - low) or 1.0)
    return lambda value: start + (value - low) * scale


def _share(x: float) -> str:
    """Return a place along the frame, in the units of its curves, as a percentage of its width."""
    return f"{x / FULL:.2%}"


def _ticks(low: float, high: float) -> list[float]:
    """Return three to five round values that enclose low and high."""
    if high - low < 1e-12:
        low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
    rough = (high - low) / 3
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * k for k in (1, 2, 2.5, 5, 10) if unit * k >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return at most six values that enclose low and high (both above 0): powers of ten, or 1, 2 and 5 of them."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    if last - first > 2:
        stride = -(-(last - first) // 5)
        return [10.0**power for power in range(first, last + stride, stride)]
    fine = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    start = max((i for i, value in enumerate(fine) if value <= low * (1 + 1e-9)), default=0)
    end = next((i for i, value in enumerate(fine) if value >= high * (1 - 1e-9)), len(fine) - 1)
    return fine[start : max(end, start + 1) + 1]


def _tick_text(value: float, step: float) -> str:
    if abs(value) < step * 1e-6:
        return "0"
    if abs(value) < 100 * step < 0.1 or abs(value) >= 1e5:
        digits = max(1, math.floor(math.log10(abs(value))) - math.floor(math.log10(step)))
        return f"{value:.{digits}e}".replace("e-0", "e-").replace("e+0", "e")
    digits = max(0, -math.floor(math.log10(step)) + (f"{step:e}"[:3] == "2.5"))
    return f"{value:,.{digits}f}"


def _grid(ticks: list[float], to_y) -> str:
    step = ticks[1] - ticks[0]
    is_even = math.isclose(ticks[-1] - ticks[-2], step)
    return "".join(
        f'<line class="grid" x1="0" x2="100%" y1="{to_y(t):.1f}" y2="{to_y(t):.1f}"/>'
        f'<text class="tick" x="-6" y="{to_y(t) + 4:.1f}" text-anchor="end">{_tick_text(t, step) if is_even else f"{t:g}"}</text>'
        for t in ticks
    )


def _x_axis(curves: list[Curve], to_x, label: str, x_range: tuple[int, int]) -> str:
    xs = {x for curve in curves for x, _ in curve.points}
    (low, high), y = x_range, HEIGHT - 8
    if len(xs) == 1 and x_range == _x_range(curves):
        (low,) = xs
        return f'<text class="tick" x="{_share(to_x(low))}" y="{y}" text-anchor="middle">{escape(label)} {low:,}</text>'
    first = f'<text class="tick" x="0" y="{y}" text-anchor="middle">{low:,}</text>'
    last = f'<text class="tick" x="100%" y="{y}" text-anchor="end">{escape(label)} {high:,}</text>'
    return first + last


def _note(notes: list[str]) -> str:
    """Return a note above the frame on how the values are drawn."""
    return f'<text class="tick note" x="0" y="{TOP - 4}">{"; ".join(notes)}</text>' if notes else ""


def _path(curve: Curve, index: int, to_x, to_y) -> str:
    """Draw the line, over the line of its points where it is smoothed."""
    if len(curve.points) == 1:
        return ""
    kind = " is-raw" if curve.smoothed else " is-dashed" if curve.is_dashed else ""
    raw = _line(f"line c{index}{kind}", curve.points, to_x, to_y)
    smoothed = _line(f"line c{index}", curve.smoothed, to_x, to_y) if curve.smoothed else ""
    return raw + smoothed


def _dot(curve: Curve, index: int, to_x, to_y) -> str:
    """Draw a dot at the newest value."""
    x, y = to_x(curve.end[0]), to_y(curve.end[1])
    return f'<circle class="dot c{index}" cx="{_share(x)}" cy="{y:.1f}" r="3"/>'


def _line(classes: str, points: Points, to_x, to_y) -> str:
    steps = " ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y in points)
    return f'<polyline class="{classes}" points="{steps}"/>'


def _area(band: Band | None, index: int, to_x, to_y) -> str:
    if band is None or len(band.low) < 2:
        return ""
    edge = [*band.high, *reversed(band.low)]
    points = " ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y in edge)
    return f'<polygon class="band{f" c{index}" * bool(index)}" points="{points}"/>'


def _limit(limit: Limit | None, to_y) -> str:
    """Draw the limit's band, line and words; the words stand below it where there is no room above.

    Words too long for the narrowest chart are broken after their commas.
    """
    if limit is None:
        return ""
    y, top, bottom = (to_y(each) for each in (limit.value, limit.high, limit.low))
    is_long = len(limit.words) * LETTER > NARROWEST - 8
    lines = limit.words.replace(", ", ",\n").split("\n") if is_long else [limit.words]
    above = y - 5 - (len(lines) - 1) * LINE
    at = above if above > TOP + 9 else y + 14
    words = "".join(f'<tspan x="4" dy="{LINE if n else 0}">{escape(line)}</tspan>' for n, line in enumerate(lines))
    return (
        f'<rect class="limit-band" x="0" y="{top:.1f}" width="100%" height="{max(bottom - top, 1):.1f}"/>'
        f'<line class="limit" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick limit-words" y="{at:.1f}">{words}</text>'
    )


def _names(curves: list[Curve], to_x, to_y) -> str:
    """Name and newest value right of each line's end, moved apart where they would overlap; no line runs under them."""
    wanted = sorted((to_y(curve.end[1]), index) for index, curve in enumerate(curves))
    texts, floor = [], TOP - LABEL_GAP + 4.0
    x = _share(max(to_x(curve.end[0]) for curve in curves))
    room = HEIGHT - BOTTOM - (len(curves) - 1) * LABEL_GAP
    for place, (y, index) in enumerate(wanted):
        floor = max(floor + LABEL_GAP, min(y, room + place * LABEL_GAP))
        texts.append(
            f'<text class="name c{index}" x="{x}" dx="8" y="{floor + 4:.1f}">'
            f"{escape(curves[index].name)} <tspan>{number(curves[index].end[1])}</tspan></text>"
        )
    return "".join(texts)
