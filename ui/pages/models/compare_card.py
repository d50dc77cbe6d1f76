"""Compares two checkpoints: settings, figures, measurements, votes, and answers side by side."""

from collections.abc import Sequence
from functools import partial
from html import escape

import gradio as gr

from studio.errors import StudioError
from studio.evaluation import report
from studio.evaluation.comparison import Comparison, Line
from studio.runs import side_by_side
from studio.runs.side_by_side import MISSING, SideBySide
from studio.workspace import Workspace
from ui import rendering
from ui.components import html
from ui.handlers import on

NUMBERS = report.BRIEF[3:]


def build(ws: Workspace) -> tuple[gr.Dropdown, gr.Dropdown]:
    """Place it, and return its two pickers."""
    with gr.Row():
        one, other = (
            gr.Dropdown([], value=None, label=label, allow_custom_value=True, elem_id=f"compare-{name}", min_width=200)
            for name, label in (("one", "From"), ("other", "To"))
        )
    with gr.Row(elem_classes="controls"):
        button = gr.Button("Compare", elem_id="compare-start", min_width=120)
    shown = html.html("", elem_id="compared")
    on(button.click, partial(_compare, ws), [one, other], [shown], progress=True)
    return one, other


def _compare(ws: Workspace, one: str | None, other: str | None) -> str:
    if not (isinstance(one, str) and isinstance(other, str) and one.strip() and other.strip()):
        return html.notice("Choose two checkpoints to compare.", "bad")
    try:
        with ws.read() as db:
            found = side_by_side.read(db, one.strip(), other.strip())
    except StudioError as error:
        return html.notice(str(error), "bad")
    return draw(found)


def draw(found: SideBySide) -> str:
    """Draw everything about two checkpoints; differences are what changed from the first to the second."""
    names = found.one.name, found.other.name
    settings = _table("setting", names, [(each.name, each.one, each.other) for each in found.settings])
    values = [(each.metric, _number(each.one), _number(each.other), each.sentence) for each in found.values]
    return "".join(
        [
            f"<h3>{escape(names[0])} → {escape(names[1])}</h3>",
            "<h4>Settings that differ</h4>",
            settings if found.settings else '<p class="quiet">Their runs have the same settings.</p>',
            "<h4>Figures</h4>",
            _table("figure", names, values) if values else '<p class="quiet">Neither has any.</p>',
            "<h4>Measured on the same items</h4>",
            _measured(found.measured) if found.measured else _nothing("No suite has measured both.", "evaluate", "Measure them"),
            "<h4>Votes</h4>",
            _votes(found, names),
            "<h4>Answers to the same prompts</h4>",
            "".join(_answers(each, names) for each in found.answers)
            or '<p class="quiet">They have answered no prompt in common. Ask them above, or in Chat.</p>',
        ]
    )  # fmt: skip


def _table(title: str, names: tuple[str, str], rows: Sequence[tuple[str, ...]]) -> str:
    """Draw rows of a name and two values; a fourth part is what the name means."""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in (title, *names))
    body = "".join(
        f'<tr title="{escape(" ".join(more))}"><th scope="row">{escape(name)}</th><td>{escape(one) or MISSING}</td><td>{escape(other) or MISSING}</td></tr>'
        for name, one, other, *more in rows
    )
    return (
        f'{html.wide(title)}<table class="difference"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _measured(found: Comparison) -> str:
    apart = "".join(f'<p class="quiet">{escape(sentence)}</p>' for sentence in found.not_compared)
    if not found.subjects:
        return apart
    subject = next(iter(found.subjects))
    head = "".join(
        f'<th scope="col" class="{"num" if name in NUMBERS else ""}">{escape(name)}</th>' for name in report.BRIEF
    )
    body = "".join(map(_line, found.lines))
    table = f'{html.wide("Measurements")}<table class="evaluation"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return f'<div class="forest">{report.forest(found, subject)}</div>{table}{apart}'


def _line(line: Line) -> str:
    cells = dict(zip(report.HEADS, report.cells(line), strict=True))
    drawn = [
        f'<td class="{"num" if name in NUMBERS else ""}{_look(name, line)}">{escape(cells[name])}</td>'
        for name in report.BRIEF
    ]
    return f'<tr title="{escape(line.measure.sentence)}">{"".join(drawn)}</tr>'


def _look(name: str, line: Line) -> str:
    return f" is-{line.verdict.split()[0]}" if name == "Verdict" and line.verdict else ""


def _votes(found: SideBySide, names: tuple[str, str]) -> str:
    v = found.votes
    if v is None:
        return _nothing("Nobody has voted between them.", html.versus_link(*names), "Compare blind")
    return (
        f"<p>{escape(v.one)} won {v.wins:,}, tied {v.ties:,}, lost {v.losses:,}: {v.half:.0%}"
        f" ({v.half_low:.0%} to {v.half_high:.0%}, {escape(v.counted)}). {escape(v.verdict)}</p>"
    )


def _answers(found: side_by_side.Answers, names: tuple[str, str]) -> str:
    sides = "".join(
        f"<div><h5>{escape(name)}</h5>{rendering.words(text) if text else '(empty answer)'}</div>"
        for name, text in zip(names, (found.one, found.other), strict=True)
    )
    return (
        f'<article class="sample"><header>{html.tags([found.where])}</header>{html.conversation(found.messages)}'
        f'<div class="sides">{sides}</div></article>'
    )


def _nothing(sentence: str, link: str, label: str) -> str:
    return f'<p class="quiet">{escape(sentence)} <a href="#{link}">{escape(label)}</a></p>'


def _number(value: float | None) -> str:
    return MISSING if value is None else html.number(value)
