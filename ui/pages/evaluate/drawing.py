"""Draws a comparison as HTML: forest plots, the table, and flips that open."""

from functools import partial
from html import escape

from studio.evaluation import distances, report
from studio.evaluation.comparison import Comparison, Flip, Line
from studio.evaluation.distances import Distances
from studio.models.base_names import shown
from ui.components import html

VERDICT = report.HEADS.index("Verdict")
NUMBERS = range(3, 7)
"""Columns set to the right."""


def forests(found: Comparison) -> str:
    """Draw a forest plot for each checkpoint."""
    apart = "".join(f'<p class="quiet">{escape(sentence)}</p>' for sentence in found.not_compared)
    if not found.subjects:
        if apart:
            return apart
        return f'<p class="quiet">Only {escape(shown(found.against))} is measured, so there is nothing to compare it with.</p>'
    return (
        "".join(
            f'<section class="forest"><h2>{escape(shown(name))} against {escape(shown(found.against))}</h2>{_verdicts(found, name)}{report.forest(found, name)}<p class="quiet">{escape(report.UNITS)}</p></section>'
            for name in found.subjects
        )
        + apart
    )


def over_kl(found: Comparison, far: Distances) -> str:
    """Draw what was gained and lost over the KL from the SFT policy; empty where too few KLs are known."""
    charts = "".join(f"<figure>{chart}</figure>" for chart in distances.charts(found, far))
    if not charts:
        return ""
    said = f'<p class="quiet">KL from the SFT policy, {escape(far.source)}.</p>'
    return f'<section class="earned" id="over-kl"><h2>Against the KL</h2>{said}<div class="charts">{charts}</div></section>'


def _verdicts(found: Comparison, subject: str) -> str:
    """List the verdicts in words for a narrow window, where the picture's own lie beyond its edge."""
    rows = "".join(
        f'<li><span>{escape(line.suite.name)}: {escape(line.measure.title)}</span> <b class="is-{line.verdict.split()[0]}">{escape(line.verdict)}</b></li>'
        for line in found.lines
        if line.after == subject and line.verdict
    )
    return f'<ul class="verdicts">{rows}</ul>'


def table(found: Comparison) -> str:
    """Draw all lines, checkpoint by checkpoint."""
    if not found.lines:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in report.HEADS)
    body = "".join(_group(found, name, len(report.HEADS)) for name in found.subjects)
    return f'{html.wide("Comparison")}<table class="evaluation"><thead><tr>{head}</tr></thead>{body}</table></div>'


def flips(found: Comparison) -> str:
    """Draw the items on which two checkpoints differ most; each opens."""
    if not found.flips:
        return ""
    return f'<section class="flips"><h2>The largest flips</h2>{"".join(map(partial(_flips_of, found), found.subjects))}</section>'


def _flips_of(found: Comparison, subject: str) -> str:
    """Draw the flips of one checkpoint, folded: there are many."""
    mine = [flip for flip in found.flips if flip.after == subject]
    if not mine:
        return ""
    num_better = sum(flip.is_gain for flip in mine)
    said = f"{shown(subject)}: {num_better} better, {len(mine) - num_better} worse"
    return f'<details class="flips-of"><summary>{escape(said)}</summary>{"".join(map(_flip, mine))}</details>'


def _group(found: Comparison, subject: str, width: int) -> str:
    rows = "".join(_row(line) for line in found.lines if line.after == subject)
    return f'<tbody><tr><th scope="rowgroup" colspan="{width}">{escape(shown(subject))}</th></tr>{rows}</tbody>'


def _row(line: Line) -> str:
    cells = []
    for number, cell in enumerate(report.cells(line)):
        kind = f" is-{line.verdict.split()[0]}" if number == VERDICT and line.verdict else ""
        cells.append(f'<td class="{"num" if number in NUMBERS else ""}{kind}">{escape(cell)}</td>')
    return f'<tr title="{escape(line.measure.sentence)}">{"".join(cells)}</tr>'


def _flip(flip: Flip) -> str:
    way = "better" if flip.is_gain else "worse"
    asked = escape(report.asked(flip))
    sides = "".join(
        f'<div><h4>{escape(shown(name))}</h4><div class="words">{escape(text) or "(empty answer)"}</div></div>'
        for name, text in ((flip.before, flip.did_before), (flip.after, flip.did_after))
    )
    said = (
        f"{escape(flip.suite)} · {escape(flip.measure)} · {escape(shown(flip.after))} {way} by {abs(flip.change):.3f}"
    )
    return (
        f'<details class="flip is-{way}"><summary><span class="tag">{way}</span>{said}</summary>'
        f'<p class="words">{asked}</p><div class="sides">{sides}</div></details>'
    )
