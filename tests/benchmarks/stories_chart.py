"""The drawing of `tests.benchmarks.stories`: positive share against its two costs, ours next to TRL's."""

from collections.abc import Sequence
from typing import Any, NamedTuple

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 380, 300, 48, 256, 40
SPAN = 300
"""Pixels of a panel's x axis."""
COLOURS = ("#1f6fb4", "#c0562a", "#2f8f5b", "#8a4fa3", "#a37a00")
THEIRS = "#777777"


class Point(NamedTuple):
    """One trained policy."""

    name: str
    kl: float
    rise: float
    """Of the held-out loss, in per cent of the start's."""
    positive: float


TRL = (
    Point("TRL 1.12, kl_coef 0.05", 20, 100 * (2.16 / 1.75 - 1), 0.91),
    Point("TRL 1.12, kl_coef 0.05", 20, 100 * (2.16 / 1.75 - 1), 0.98),
    Point("TRL 1.12, kl_coef 0.05", 20, 100 * (2.16 / 1.75 - 1), 0.95),
    Point("TRL 1.12, kl_coef 0.2", 5, 100 * (1.85 / 1.75 - 1), 0.40),
)
"""Three seeds and one, as measured with full fine-tuning, 80 updates of 64."""


def draw(runs: Sequence[dict[str, Any]]) -> str:
    """An SVG file.

    Args:
        runs: What `tests.benchmarks.stories` prints for each seed and coefficient.
    """
    ours = [_point(run) for run in runs]
    names = list(dict.fromkeys(point.name for point in ours))
    colours = dict(zip(names, COLOURS * len(names), strict=False)) | {point.name: THEIRS for point in TRL}
    kl_panel = _panel("KL per response (nats)", 25, [(p.kl, p) for p in (*ours, *TRL)], colours)
    loss_panel = _panel("rise of the held-out loss (%)", 30, [(p.rise, p) for p in (*ours, *TRL)], colours)
    legend = []
    for i, (name, colour) in enumerate([*((name, colours[name]) for name in names), ("TRL 1.12", THEIRS)]):
        legend.append(f'<circle cx="{LEFT + 150 * i}" cy="{HEIGHT + 16}" r="4" fill="{colour}"/>')
        legend.append(f'<text x="{LEFT + 8 + 150 * i}" y="{HEIGHT + 20}">{name}</text>')
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT + 30}" font-family="sans-serif" font-size="12">',
            f'<rect width="{2 * WIDTH}" height="{HEIGHT + 30}" fill="#ffffff"/>',
            f'<text x="{LEFT}" y="20" font-size="14">Share of positive stories against what it costs; one dot a seed</text>',
            *kl_panel,
            f'<g transform="translate({WIDTH} 0)">',
            *loss_panel,
            "</g>",
            *legend,
            "</svg>\n",
        ]
    )


def _point(run: dict[str, Any]) -> Point:
    before, after = run["before"], run["after"]
    rise = 100 * (after["held_out_loss"] / before["held_out_loss"] - 1)
    return Point(f"ours, kl_coef {run['kl_coef']:g}", after["kl"], rise, after["positive"])


def _panel(label: str, end: float, points: Sequence[tuple[float, Point]], colours: dict[str, str]) -> list[str]:
    """Axes from 0 to ``end`` and 0 to 1, and a dot for each point at its x."""
    end = max([end, *(x for x, _ in points)])
    parts = [f'<text x="{LEFT + SPAN / 2}" y="{BOTTOM + 34}" text-anchor="middle">{label}</text>']
    for tick in range(0, int(end) + 1, 5):
        x = LEFT + SPAN * tick / end
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{BOTTOM}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{x:.1f}" y="{BOTTOM + 16}" text-anchor="middle">{tick}</text>')
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _height(tick)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + SPAN}" y2="{y:.1f}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for x, point in points:
        title = f"{point.name}: {point.positive:.2f} at {point.kl:g} nats, loss {point.rise:+.1f} %"
        place = f'cx="{LEFT + SPAN * x / end:.1f}" cy="{_height(point.positive):.1f}"'
        parts.append(
            f'<circle {place} r="5" fill="{colours[point.name]}" fill-opacity="0.8"><title>{title}</title></circle>'
        )
    return parts


def _height(share: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * share
