"""Draws a comparison as HTML: the verdicts first, then forest plots, the table and flips, which fold."""

from functools import partial
from html import escape

from studio.evaluation import distances, report
from studio.evaluation.comparison import Comparison, Flip, Line
from studio.evaluation.distances import Distances
from ui.components import html

NUM_OPEN = 3
"""Most checkpoints whose forest plots all stand open; of more, the newest alone does."""
VERDICT = report.HEADS.index("Verdict")
NUMBERS = range(3, 7)
"""Columns set to the right."""


def forests(found: Comparison) -> str:
    """Draw a forest plot for each checkpoint."""
    apart = "".join(f'<p class="quiet">{escape(sentence)}</p>' for sentence in found.not_compared)
    if not found.subjects:
        if apart:
            return apart
        return f'<p class="quiet">Only {escape(found.shown(found.against))} is measured, so there is nothing to compare it with.</p>'
    plots = "".join(map(partial(_forest, found), found.subjects))
    return f"{_summary(found)}{plots}{apart}"


def _summary(found: Comparison) -> str:
    """Draw the verdicts of each checkpoint in one row: which measures are worse or better, and how many show no difference."""
    head = "".join(
        f'<th scope="col" class="{kind}">{text}</th>'
        for text, kind in (
            ("Against " + escape(found.shown(found.against)), ""),
            ("worse", ""),
            ("better", ""),
            ("no difference shown", "num"),
        )
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(found.shown(name))}</th>{_measures(found, name, "worse")}{_measures(found, name, "better")}'
        f'<td class="num">{_count(found, name, "no")}</td></tr>'
        for name in found.subjects
    )
    return f'{html.wide("Verdicts")}<table class="evaluation summary"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _measures(found: Comparison, subject: str, verdict: str) -> str:
    """Draw a cell that names the measures with a verdict."""
    names = [f"{line.suite.name}: {line.measure.title}" for line in found.lines if _is(line, subject, verdict)]
    return f'<td class="is-{verdict}">{escape(", ".join(dict.fromkeys(names)))}</td>' if names else "<td>none</td>"


def _count(found: Comparison, subject: str, verdict: str) -> int:
    return sum(_is(line, subject, verdict) for line in found.lines)


def _is(line: Line, subject: str, verdict: str) -> bool:
    """Return whether a line of a checkpoint has a verdict that begins with this word."""
    return line.after == subject and line.verdict.split()[:1] == [verdict]


def _forest(found: Comparison, subject: str) -> str:
    """Draw a checkpoint's forest plot, with its verdicts in numbers above it."""
    counts = {word: _count(found, subject, word) for word in ("worse", "better")}
    said = ", ".join(
        [*(f"{num} {word}" for word, num in counts.items()), f"{_count(found, subject, 'no')} no difference shown"]
    )
    inside = f'<div class="forest">{_verdicts(found, subject)}{report.forest(found, subject)}<p class="quiet">{escape(report.UNITS)}</p></div>'
    is_open = len(found.subjects) <= NUM_OPEN or subject == found.subjects[-1]
    return html.fold(
        f"forest {subject}",
        f"{found.shown(subject)} against {found.shown(found.against)}",
        said,
        inside,
        is_open=is_open,
    )


def over_kl(found: Comparison, far: Distances) -> str:
    """Draw what was gained and lost over the KL from the SFT policy; empty where too few KLs are known."""
    charts = [f"<figure>{chart}</figure>" for chart in distances.charts(found, far)]
    if not charts:
        return ""
    said = f'<p class="quiet">KL from the SFT policy, {escape(far.source)}.</p>'
    inside = f'<section class="earned" id="over-kl">{said}<div class="charts">{"".join(charts)}</div></section>'
    return html.fold("over KL", "Against the KL", _several(len(charts), "chart"), inside, is_open=False)


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
    drawn = f'{html.wide("Comparison")}<table class="evaluation"><thead><tr>{head}</tr></thead>{body}</table></div>'
    return html.fold("comparison", "All figures", _several(len(found.lines), "line"), drawn, is_open=False)


def flips(found: Comparison) -> str:
    """Draw the items on which two checkpoints differ most; each opens."""
    if not found.flips:
        return ""
    drawn = f'<section class="flips">{"".join(map(partial(_flips_of, found), found.subjects))}</section>'
    return html.fold("flips", "The largest flips", _several(len(found.flips), "item"), drawn, is_open=True)


def _several(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _flips_of(found: Comparison, subject: str) -> str:
    """Draw the flips of one checkpoint, folded: there are many."""
    mine = [flip for flip in found.flips if flip.after == subject]
    if not mine:
        return ""
    num_better = sum(flip.is_gain for flip in mine)
    said = f"{found.shown(subject)}: {num_better} better, {len(mine) - num_better} worse"
    return f'<details class="flips-of"><summary>{escape(said)}</summary>{"".join(map(partial(_flip, found), mine))}</details>'


def _group(found: Comparison, subject: str, width: int) -> str:
    rows = "".join(_row(line) for line in found.lines if line.after == subject)
    return f'<tbody><tr><th scope="rowgroup" colspan="{width}">{escape(found.shown(subject))}</th></tr>{rows}</tbody>'


def _row(line: Line) -> str:
    cells = []
    for number, cell in enumerate(report.cells(line)):
        kind = f" is-{line.verdict.split()[0]}" if number == VERDICT and line.verdict else ""
        cells.append(f'<td class="{"num" if number in NUMBERS else ""}{kind}">{escape(cell)}</td>')
    return f'<tr title="{escape(line.measure.sentence)}">{"".join(cells)}</tr>'


def _flip(found: Comparison, flip: Flip) -> str:
    way = "better" if flip.is_gain else "worse"
    asked = escape(report.asked(flip))
    sides = "".join(
        f'<div><h4>{escape(found.shown(name))}</h4><div class="words">{escape(text) or "(empty answer)"}</div></div>'
        for name, text in ((flip.before, flip.did_before), (flip.after, flip.did_after))
    )
    said = f"{escape(flip.suite)} · {escape(flip.measure)} · {escape(found.shown(flip.after))} {way} by {abs(flip.change):.3f}"
    return (
        f'<details class="flip is-{way}"><summary><span class="tag">{way}</span>{said}</summary>'
        f'<p class="words">{asked}</p><div class="sides">{sides}</div></details>'
    )
