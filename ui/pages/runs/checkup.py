"""What looks wrong with the chosen run: the newest findings, each with its evidence drawn and what to do, above the curves."""

from collections.abc import Mapping, Sequence
from html import escape
from types import MappingProxyType

from studio.checkup.findings import Finding
from studio.runs import metrics
from studio.runs.runs import Run
from studio.workspace import Database
from ui.components import html

SHOWN, VOTES = 4, 10
WIDTH, HEIGHT, NUM_POINTS = 220, 40, 120
Curve = Sequence[tuple[int, float]]
"""(step, value) of a metric, in order."""


def curves_of(db: Database, run: Run, found: Sequence[Finding]) -> dict[str, Curve]:
    """Return the curves that the newest findings are seen in."""
    return {each.metric: metrics.curve(db, run.id, each.metric, NUM_POINTS) for each in found[-SHOWN:] if each.metric}


def panel(
    name: str,
    found: Sequence[Finding],
    curves: Mapping[str, Curve] = MappingProxyType({}),
    versus: tuple[str, str] = ("", ""),
) -> str:
    """Return the newest findings of a run; empty where nothing looks wrong. `versus`: its newest checkpoint and that of SFT."""
    if not found:
        return ""
    rows = "".join(
        f'<li><b>{escape(finding.rule)}</b> <span class="num">iteration {finding.step:,}</span>'
        f"<p>{escape(finding.said)}</p>{_evidence(finding, curves.get(finding.metric, ()))}"
        f'<p class="quiet">{escape(finding.advice)}</p></li>'
        for finding in found[: -SHOWN - 1 : -1]
    )
    told = f'<p class="quiet">All {len(found)}: <code>rlhf-studio runs checkup {escape(name)}</code></p>'
    ask = (
        "<p>Only people can tell whether the answers got worse: "
        f'<a href="#{html.versus_link(*versus, VOTES)}">ask for ten blind votes</a> between this policy and SFT.</p>'
    )
    more = (ask if any(finding.asks_votes for finding in found) else "") + (told if len(found) > SHOWN else "")
    return f'<section class="checkup" aria-label="What looks wrong"><ul>{rows}</ul>{more}</section>'


def _evidence(finding: Finding, curve: Curve) -> str:
    """Draw the metric's course with a mark where the rule spoke; empty without two values."""
    if len(curve) < 2:
        return ""
    values = [value for _, value in curve]
    low, high, first, last = min(values), max(values), curve[0][0], curve[-1][0]
    points = [
        (
            4 + (x - first) * (WIDTH - 8) / ((last - first) or 1),
            HEIGHT - 4 - (y - low) * (HEIGHT - 8) / ((high - low) or 1),
        )
        for x, y in curve
    ]
    marked = min(range(len(curve)), key=lambda at: abs(curve[at][0] - finding.step))
    words = f"{finding.metric} between {html.number(low)} and {html.number(high)}, marked at iteration {finding.step}"
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[marked]
    return (
        f'<svg class="spark evidence" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(words)}"><title>{escape(words)}</title><polyline points="{line}"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/></svg>'
    )
