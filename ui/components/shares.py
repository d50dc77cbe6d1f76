"""Rows of a table of shares: each as a bar with its 95 % interval, and with what was counted.

A bar runs from 0 to 100 %; the band is the interval, the dot the value, the dashed line what chance would give.
"""

from html import escape

WIDTH, HEIGHT = 320, 22
LEFT, RIGHT = 6, 6


def row(
    name: str, about: str, share: tuple[float, float, float] | None, counted: str, chance: float | None = None
) -> str:
    """Draw a row of ``table.shares``.

    Args:
        name: of the share; without `about` it is set in, as a part of the row above.
        about: what is counted.
        share: value and interval; None where nothing was counted.
        counted: such as ``12 of 20``.
        chance: what chance would give.
    """
    kind = "" if about else ' class="is-part"'
    note = f"<small>{escape(about)}</small>" if about else ""
    heading = f'<th scope="row">{escape(name)}{note}</th>'
    if share is None:
        return f'<tr{kind}>{heading}<td colspan="2" class="quiet">nothing to count yet</td></tr>'
    value, low, high = share
    said = f"{name}: {value:.0%}, {low:.0%} to {high:.0%}, {counted}"
    return (
        f"<tr{kind}>{heading}<td>{_bar(value, low, high, chance, said)}</td>"
        f'<td class="num"><b>{value:.0%}</b> {low:.0%} to {high:.0%}<small>{escape(counted)}</small></td></tr>'
    )


def _bar(value: float, low: float, high: float, chance: float | None, said: str) -> str:
    middle = HEIGHT / 2
    by_chance = (
        "" if chance is None else f'<line class="ideal" x1="{_x(chance)}" x2="{_x(chance)}" y1="2" y2="{HEIGHT - 2}"/>'
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}">'
        f'<line class="rail" x1="{_x(0)}" x2="{_x(1)}" y1="{middle}" y2="{middle}"/>{by_chance}'
        f'<rect class="span" x="{_x(low)}" y="{middle - 4}" width="{max(_x(high) - _x(low), 1):.1f}" height="8" rx="2"/>'
        f'<circle class="dot" cx="{_x(value)}" cy="{middle}" r="4.5"/></svg>'
    )


def _x(share: float) -> float:
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)
