"""What PPO earned for its KL, a section of Evaluate: scores, votes and best-of-n over the KL, and which checkpoint to take."""

from functools import partial
from html import escape
from typing import Any

import gradio as gr

from modules.config import EvaluateConfig
from studio.errors import StudioError
from studio.evaluation import curves, overoptimisation
from studio.evaluation.overoptimisation import Curve
from studio.runs import launcher, prepare
from studio.workspace import Workspace
from ui.components import html
from ui.handlers import on
from ui.page import Page

LEAD = (
    "SFT, the checkpoints of the newest PPO run and the newest DPO, the baseline that needs no reward model, answer the test prompts several "
    "times. Two reward models score the answers: the one that PPO was trained against, and one that learned from the other half of the votes. "
    "PPO saves checkpoints on its way where save_at_kl asks for them."
)
NOTHING = (
    "Measure SFT and a PPO run: the rise of their scores with the KL will be shown here, next to the best of n answers."
)


def build(ws: Workspace, tabs: gr.Tabs, run_chosen: gr.Textbox) -> Page:
    """Place the section; a started run opens Runs."""
    html.html(f'<h2>Did PPO earn its KL?</h2><p class="lead">{LEAD}</p>')
    with gr.Row(elem_classes="controls is-labelled"):
        number = gr.Number(
            16,
            label="Answers to each prompt",
            precision=0,
            minimum=2,
            maximum=64,
            elem_id="earned-number",
            min_width=170,
        )
        start = gr.Button("Measure best-of-n", elem_id="earned-start", min_width=150)
    told = html.html(html.notice(""), elem_id="earned-told")
    drawn = html.html(elem_id="earned")
    on(start.click, partial(_start, ws), [number], [told, tabs, run_chosen])
    return Page(partial(_refresh, ws), [], [drawn])


def _refresh(ws: Workspace) -> list[Any]:
    with ws.read() as db:
        found = overoptimisation.read(db)
    drawn = [_curve(curve, is_open=number == 0) for number, curve in enumerate(found)]
    return ["".join(drawn) or html.empty("Nothing is measured yet", NOTHING)]


def _start(ws: Workspace, number: Any) -> list[Any]:
    """Start the evaluation and open its run; or say why not."""
    try:
        config = EvaluateConfig(best_of=min(64, max(2, int(number or 16))))
        run, _ = launcher.start_once(ws, prepare.resolve(ws, config))
    except (StudioError, ValueError) as error:
        return [html.notice(str(error), "bad"), gr.skip(), gr.skip()]
    return [
        html.notice(f"{run.name} was started; the curve appears here when it has finished.", "good"),
        gr.Tabs(selected="runs"),
        run.name,
    ]


def _curve(curve: Curve, *, is_open: bool) -> str:
    """Draw what was trained from one SFT policy: sentences, charts and the table behind them."""
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in curves.sentences(curve))
    drawn = "".join(f"<figure>{chart}</figure>" for chart in curves.charts(curve))
    heads, *rows = curves.table(curve)
    head = "".join(f'<th scope="col" class="{"num" if n else ""}">{escape(h)}</th>' for n, h in enumerate(heads))
    body = "".join(f"<tr>{''.join(_cell(n, cell) for n, cell in enumerate(row))}</tr>" for row in rows)
    inside = (
        f'<section class="earned">{said}<div class="charts">{drawn}</div><p class="quiet">{escape(curves.units(curve))}</p>'
        f'{html.wide("Scores")}<table class="evaluation"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>'
    )
    num = len(curve.policies)
    note = f"{num:,} {'policy' if num == 1 else 'policies'}"
    return html.fold(f"earned {curves.title(curve)}", curves.title(curve), note, inside, is_open=is_open)


def _cell(number: int, cell: str) -> str:
    return f'<td class="num">{escape(cell)}</td>' if number else f'<th scope="row">{escape(cell)}</th>'
