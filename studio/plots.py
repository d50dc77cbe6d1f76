"""Draws the figures of reports as inline SVG: curves, intervals, differences, the family tree of the runs.

Pure functions from numbers to markup. Colours come from the page's CSS classes (`tone-1`, `tone-2`, ...), so one drawing
serves the light and the dark page; every text goes through markupsafe. Exact values are in `<title>`, shown on hover.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 380, 232
LEFT, RIGHT, TOP, BOTTOM = 46, 78, 12, 40
LABEL_GAP = 13
LANE, FIRST_ROW, ROW = 13, 18, 46

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A curve: its name is written at the line's end, its tone is the number of a colour in the page's CSS."""

    name: str
    points: Sequence[Point]
    tone: int = 1
    is_dashed: bool = False


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; all three are between 0 and 1."""

    label: str
    value: float
    low: float
    high: float
    n: int
    tone: int = 1


@dataclass(frozen=True)
class Effect:
    """A difference with its two 95 % intervals, in units of its measure; positive is better."""

    label: str
    note: str
    """Such as the verdict; written at the end of the row."""
    value: float
    low: float
    high: float
    wide_low: float | None = None
    wide_high: float | None = None
    """The interval that resamples clusters, drawn as a thinner line."""
    tone: int = 1


@dataclass(frozen=True)
class Node:
    """A run in the family tree: its name and what it did."""

    name: str
    text: str
    tone: int = 1


class _Scale:
    """Maps data to pixels along one axis."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.ticks = nice_ticks(low, high)
        self.low, self.high = min(low, self.ticks[0]), max(high, self.ticks[-1])
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self._start + share * (self._end - self._start), 1)


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return about `count` round numbers (1, 2 or 5 times a power of ten apart) that span low to high."""
    if not high > low:
        low, high = low - (abs(low) / 10 or 0.5), high + (abs(high) / 10 or 0.5)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    is_percent: bool = False,
    marks: Sequence[float] = (),
) -> Markup:
    """Draw curves over one x axis.

    Args:
        series: the curves; those without a point are left out.
        title: what a screen reader says of the drawing.
        x_label: under the axis, with the unit.
        y_label: above the axis, with the unit.
        is_percent: write y values as percentages.
        marks: x positions of vertical rules.
    """
    drawn = [s for s in series if s.points]
    if not drawn:
        return Markup('<p class="empty">Nothing was measured here.</p>')
    xs = [x for s in drawn for x, _ in s.points]
    ys = [y for s in drawn for _, y in s.points]
    x_scale = _Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y_scale = _Scale(min(ys), max(ys), HEIGHT - BOTTOM, TOP + 14)
    parts = [*_axes(x_scale, y_scale, x_label, y_label, is_percent)]
    for x in marks:
        parts.append(
            _svg('<line class="mark" x1="{0}" y1="{1}" x2="{0}" y2="{2}"/>', x_scale(x), TOP + 12, HEIGHT - BOTTOM)
        )
    parts += [_curve(s, x_scale, y_scale, is_percent) for s in drawn]
    ends = [(s, x_scale(s.points[-1][0]), y_scale(s.points[-1][1])) for s in drawn]
    parts += _end_labels(ends)
    return _frame(title, WIDTH, HEIGHT, parts)


def interval_chart(rows: Sequence[Interval], *, title: str, reference: float = 0.5, reference_text: str = "") -> Markup:
    """Draw estimates with their intervals, one a row, on an axis from 0 to 100 %, with a rule at `reference`."""
    height = 44 + 52 * len(rows)
    left, right = 12, WIDTH - 12
    scale = _Scale(0.0, 1.0, left, right)
    bottom = height - 28
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = scale(tick)
        parts.append(_svg('<line class="rule" x1="{0}" y1="8" x2="{0}" y2="{1}"/>', x, bottom))
        anchor = "start" if tick == 0.0 else "end" if tick == 1.0 else "middle"
        parts.append(_svg('<text x="{}" y="{}" text-anchor="{}">{:.0f} %</text>', x, bottom + 15, anchor, 100 * tick))
    x = scale(reference)
    parts.append(_svg('<line class="mark" x1="{0}" y1="8" x2="{0}" y2="{1}"/>', x, bottom))
    parts.append(_svg('<text x="{}" y="16">{}</text>', x + 5, reference_text))
    for index, row in enumerate(rows):
        parts += _interval(row, scale, 34 + 52 * index)
    return _frame(title, WIDTH, height, parts)


def forest_plot(rows: Sequence[Effect], *, title: str, worse: str = "worse", better: str = "better") -> Markup:
    """Draw differences with their intervals, one a row, around a rule at no difference.

    Args:
        rows: from the top down.
        title: what a screen reader says of the drawing.
        worse, better: what stands at the two ends of the axis.
    """
    if not rows:
        return Markup('<p class="empty">Nothing was compared here.</p>')
    bounds = [b for r in rows for b in (r.low, r.high, r.wide_low, r.wide_high) if b is not None]
    reach = max(*map(abs, bounds), 1e-9)
    width, row, top = 2 * WIDTH, 26, 30
    scale = _Scale(-reach, reach, 250, width - 170)
    bottom = top + row * len(rows)
    parts = [_svg('<line class="mark" x1="{0}" y1="{1}" x2="{0}" y2="{2}"/>', scale(0.0), top - 8, bottom)]
    parts.append(_svg('<text x="{}" y="14" text-anchor="middle">no difference</text>', scale(0.0)))
    parts.append(_svg('<text x="{}" y="14">{}</text>', scale(scale.low), worse))
    parts.append(_svg('<text x="{}" y="14" text-anchor="end">{}</text>', scale(scale.high), better))
    for tick in scale.ticks:
        parts.append(_svg('<text x="{}" y="{}" text-anchor="middle">{}</text>', scale(tick), bottom + 16, _text(tick)))
    for index, effect in enumerate(rows):
        parts += _effect(effect, scale, top + row * index + 10, width)
    return _frame(title, width, bottom + 24, parts)


def family_tree(nodes: Sequence[Node], edges: Sequence[tuple[str, str, str]], *, title: str) -> Markup:
    """Draw runs from the oldest at the top to the newest, with an arc from each parent to each child.

    Args:
        nodes: the runs, each after its parents.
        edges: (parent, role, child); edges to runs that are not in `nodes` are left out.
        title: what a screen reader says of the drawing.
    """
    row = {node.name: index for index, node in enumerate(nodes)}
    known = [edge for edge in edges if edge[0] in row and edge[2] in row]
    spine = 112
    parts = []
    for parent, role, child in known:
        top, bottom = (FIRST_ROW + ROW * row[name] for name in (parent, child))
        reach = spine - min(LANE * (2 + row[child] - row[parent]), spine + 24)  # half as far as the curve's handles
        arc = f"M{spine},{top} C{reach},{top} {reach},{bottom} {spine},{bottom}"
        parts.append(
            _svg(
                '<path class="arc role-{}" d="{}"><title>{} is the {} of {}</title></path>',
                role,
                arc,
                parent,
                role,
                child,
            )
        )
    for node in nodes:
        y = FIRST_ROW + ROW * row[node.name]
        parts.append(_svg('<circle class="dot tone-{}" cx="{}" cy="{}" r="6"/>', node.tone, spine, y))
        parts.append(_svg('<text class="strong" x="{}" y="{}">{}</text>', spine + 16, y, node.name))
        parts.append(_svg('<text x="{}" y="{}">{}</text>', spine + 16, y + 15, node.text))
    return _frame(title, WIDTH, 2 * FIRST_ROW + ROW * (len(nodes) - 1) + 8, parts)


def _axes(x_scale: _Scale, y_scale: _Scale, x_label: str, y_label: str, is_percent: bool) -> list[Markup]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for tick in y_scale.ticks:
        y = y_scale(tick)
        parts.append(_svg('<line class="rule" x1="{0}" y1="{1}" x2="{2}" y2="{1}"/>', LEFT, y, right))
        parts.append(_svg('<text x="{}" y="{}" text-anchor="end">{}</text>', LEFT - 6, y + 4, _text(tick, is_percent)))
    for tick in x_scale.ticks:
        parts.append(
            _svg('<text x="{}" y="{}" text-anchor="middle">{}</text>', x_scale(tick), bottom + 16, _text(tick))
        )
    parts.append(_svg('<text x="{}" y="{}" text-anchor="middle">{}</text>', (LEFT + right) / 2, bottom + 33, x_label))
    parts.append(_svg('<text class="strong" x="4" y="12">{}</text>', y_label))
    return parts


def _curve(series: Series, x_scale: _Scale, y_scale: _Scale, is_percent: bool) -> Markup:
    """Return the line, a dot at its end, and an invisible target with the exact value at each point."""
    pixels = [(x_scale(x), y_scale(y)) for x, y in series.points]
    path = "M" + " L".join(f"{x},{y}" for x, y in pixels)
    style = " dashed" if series.is_dashed else ""
    targets = [
        _svg(
            '<circle class="target" cx="{}" cy="{}" r="6"><title>{}, {}: {}</title></circle>',
            *pixel,
            series.name,
            _text(x),
            _text(y, is_percent),
        )
        for pixel, (x, y) in zip(pixels, series.points, strict=True)
    ]
    line = _svg('<path class="line tone-{}{}" d="{}"/>', series.tone, style, path)
    dot = _svg('<circle class="dot tone-{}" cx="{}" cy="{}" r="3.2"/>', series.tone, *pixels[-1])
    return Markup("").join([line, dot, *targets])


def _end_labels(ends: Sequence[tuple[Series, float, float]]) -> list[Markup]:
    """Draw the names at the lines' ends, pushed apart where they would overlap; above a line that ends early."""
    parts, previous, early = [], -math.inf, -math.inf
    edge = max(x for _, x, _ in ends)
    for series, x, y in sorted(ends, key=lambda end: end[2]):
        is_early = edge - x > RIGHT
        at, anchor = (x - 6, "end") if is_early else (x + 7, "start")
        line = max(y - 8, early + LABEL_GAP) if is_early else max(y + 4, previous + LABEL_GAP)
        previous, early = (previous, line) if is_early else (line, early)
        label = '<text class="name tone-{}" x="{}" y="{}" text-anchor="{}">{}</text>'
        parts.append(_svg(label, series.tone, at, line, anchor, series.name))
    return parts


def _interval(row: Interval, scale: _Scale, y: float) -> list[Markup]:
    value = f"{100 * row.value:.0f} %  ({100 * row.low:.0f} to {100 * row.high:.0f} %, n = {row.n})"
    low, high = scale(row.low), scale(row.high)
    return [
        _svg('<text class="strong" x="12" y="{}">{}</text>', y, row.label),
        _svg('<text x="{}" y="{}" text-anchor="end">{}</text>', WIDTH - 12, y, value),
        _svg('<line class="span tone-{0}" x1="{1}" y1="{2}" x2="{3}" y2="{2}"/>', row.tone, low, y + 16, high),
        _svg('<circle class="dot tone-{}" cx="{}" cy="{}" r="6"/>', row.tone, scale(row.value), y + 16),
    ]


def _effect(row: Effect, scale: _Scale, y: float, width: int) -> list[Markup]:
    exact = f"{row.label}: {row.value:+.4f} ({row.low:+.4f} to {row.high:+.4f})"
    spans = [(row.low, row.high, "span")]
    if row.wide_low is not None and row.wide_high is not None:
        spans.append((row.wide_low, row.wide_high, "whisker"))
    lines = [
        _svg(
            '<line class="{} tone-{}" x1="{}" y1="{y}" x2="{}" y2="{y}"/>', kind, row.tone, scale(low), scale(high), y=y
        )
        for low, high, kind in spans
    ]
    return [
        _svg('<text class="strong" x="4" y="{}">{}</text>', y + 4, row.label),
        *lines,
        _svg(
            '<circle class="dot tone-{}" cx="{}" cy="{}" r="5"><title>{}</title></circle>',
            row.tone,
            scale(row.value),
            y,
            exact,
        ),
        _svg('<text x="{}" y="{}" text-anchor="end">{}</text>', width - 4, y + 4, row.note),
    ]


def _text(value: float, is_percent: bool = False) -> str:
    """Return a number in its shortest form with enough digits for a reader."""
    if is_percent:
        return f"{100 * value:.3g} %"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _svg(template: str, *values: object, **named: object) -> Markup:
    """Return the template with every value escaped."""
    return Markup(template).format(*values, **named)  # Markup.format escapes its arguments


def _frame(title: str, width: int, height: int, parts: Sequence[Markup]) -> Markup:
    opening = '<svg role="img" viewBox="0 0 {} {}" aria-label="{}">'
    return _svg(opening, width, height, title) + Markup("\n").join(parts) + Markup("</svg>")
