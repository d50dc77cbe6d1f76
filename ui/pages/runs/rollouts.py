"""The rollouts of a PPO run, a section of Runs: what was sampled, searched and sorted, and one response token by token.

All texts come from a model and are escaped; colours are strengths in a CSS variable, so light and dark need no redraw.
"""

from functools import partial
from html import escape
from typing import Any

import gradio as gr

from studio.errors import RunError
from studio.runs import rollouts, runs
from studio.runs.rollouts import Filter, Rollout, Token
from studio.workspace import Database, Workspace
from ui.components import html
from ui.handlers import any_of, on

NUM_ROWS = 50
FIRST_LETTERS = 140
COLOURS = {"advantage": "advantage", "KL": "kl"}
ENDS = [("any end", ""), ("ended by itself", "eos"), ("cut at the length limit", "length")]
BOUNDS = ("iteration", "lowest score", "highest score", "lowest KL", "highest KL")
"""Texts, not `gr.Number`: an empty one of those becomes 0 when its accordion opens."""
PICK = """
document.addEventListener("click", (event) => {
  const row = event.target.closest?.("#run-rollouts tr")?.querySelector("[data-rollout]");
  if (!row) return;
  props.value = row.dataset.rollout;
  trigger("submit");
});
"""
"""A click on a row chooses its response."""


def build(ws: Workspace, chosen: gr.Textbox, seen: gr.Textbox) -> None:
    """Place the section; it follows the chosen run, and is drawn again whenever `seen` says that something is new."""
    with gr.Row(elem_classes="controls rollout-filters"):
        search = gr.Textbox(
            "", placeholder="Search prompts and responses", elem_id="rollout-search", min_width=220, **_BARE
        )
        sort = gr.Dropdown(list(rollouts.SORTS), value="newest", elem_id="rollout-sort", min_width=130, **_BARE)
        end = gr.Dropdown(ENDS, value="", elem_id="rollout-end", min_width=170, **_BARE)
    with gr.Accordion("More filters", open=False, elem_classes="more"), gr.Row(elem_classes="fields"):
        bounds = [
            gr.Textbox("", label=label, max_lines=1, elem_id=f"rollout-{label.replace(' ', '-')}", min_width=120)
            for label in BOUNDS
        ]
    # An empty template: the value is a number that comes from outside and must not be drawn.
    picked = html.html("", html_template="", js_on_load=PICK, elem_id="rollout-picked")
    with gr.Row(elem_classes="split"):
        with gr.Column(scale=3, min_width=300):
            table = html.html(elem_id="run-rollouts")
        with gr.Column(scale=2, min_width=280, elem_classes="rollout-side"):
            colour = gr.Radio(list(COLOURS), value="advantage", label="Colour tokens by", elem_id="rollout-colour")
            detail = html.html(_NONE_PICKED, elem_id="rollout")
    wanted = [chosen, picked, search, sort, end, *bounds]
    narrowed = any_of([seen, chosen, search, sort, end, *bounds], "change", picked.submit)
    on(narrowed, partial(_table, ws), wanted, [table])
    shown = any_of([chosen, colour], "change", picked.submit)
    on(shown, partial(_detail, ws), [chosen, picked, colour], [detail])


_BARE: dict[str, Any] = {"show_label": False, "container": False}
_NONE_PICKED = '<p class="quiet">Choose a response to see its tokens.</p>'


def _table(ws: Workspace, chosen: str, picked: str, search: str, sort: Any, end: str, *bounds: str) -> str:
    """Draw the rollouts that fit, as a table."""
    with ws.read() as db:
        return _draw_table(db, chosen, picked, search, sort, end, *bounds)


def _draw_table(db: Database, chosen: str, picked: str, search: str, sort: Any, end: str, *bounds: str) -> str:
    run = runs.chosen_or_newest(db, chosen)
    if run is None or run.stage != "ppo":
        return '<p class="quiet">Only PPO has rollouts. Choose a PPO run.</p>'
    try:
        iteration, *figures = (float(bound) if bound.strip() else None for bound in bounds)
    except ValueError:
        return html.notice(f"A filter is not a number. Leave it empty, or give a number: {', '.join(BOUNDS)}.", "bad")
    wanted = Filter(search, iteration, *figures, end_reason=end or None)
    stored = rollouts.count(db, run.id)
    if not stored:
        return '<p class="quiet">No rollouts are stored. PPO keeps those of its newest iterations (keep_rollouts).</p>'
    found = rollouts.find(db, run.id, wanted, sort=sort, limit=NUM_ROWS)
    if not found:
        return f'<p class="quiet">None of the {stored:,} stored responses match.</p>'
    rows = "".join(_row(rollout, str(rollout.id) == picked) for rollout in found)
    num = rollouts.count(db, run.id, wanted)
    shown = f"{len(found):,} of {num:,} that match" if num > len(found) else f"{num:,} match"
    return (
        f'{html.wide("Responses")}<table class="rollouts"><thead><tr><th class="num">iteration</th><th class="num">score</th>'
        f'<th class="num">KL</th><th class="num">tokens</th><th>response</th></tr></thead><tbody>{rows}</tbody></table></div>'
        f'<p class="quiet">{shown}; {stored:,} are stored.</p>'
    )


def _row(rollout: Rollout, is_picked: bool) -> str:
    cut = html.tags(["cut"]) if rollout.end_reason == "length" else ""
    current = ' class="is-picked"' if is_picked else ""
    return (
        f'<tr{current}><td class="num">{rollout.iteration}</td><td class="num">{html.number(rollout.score)}</td>'
        f'<td class="num">{html.number(rollout.kl)}</td><td class="num">{rollout.num_tokens}</td>'
        f'<td><button type="button" data-rollout="{rollout.id}"><span class="asked">'
        f"{escape(_first(rollout.messages[-1]['content']))}</span>{escape(_first(rollout.response)) or '(empty)'}"
        f"</button>{cut}</td></tr>"
    )


def _detail(ws: Workspace, chosen: str, picked: str, colour: str) -> str:
    """Draw the picked response with its figures, its tokens coloured, and all its numbers; none of another run."""
    with ws.read() as db:
        try:
            return _draw_detail(db, chosen, picked, colour)
        except RunError:
            return _NONE_PICKED


def _draw_detail(db: Database, chosen: str, picked: str, colour: str) -> str:
    run = runs.chosen_or_newest(db, chosen)
    if run is None or not str(picked).isdecimal():
        return _NONE_PICKED
    rollout = rollouts.get(db, run, int(picked))
    table = rollouts.token_table(db, run.id, rollout)
    figures = {"score": rollout.score, "shaped": rollout.shaped_score, "KL": rollout.kl} | rollout.components
    sampled = rollout.checkpoint or f"the policy after {rollout.iteration - 1} iterations, which was not saved"
    return (
        f'<article class="rollout"><header>{html.tags(f"{name} {html.number(value)}" for name, value in figures.items())}'
        f'</header><p class="quiet">Iteration {rollout.iteration}, sampled by {escape(sampled)}.</p>'
        f"{html.conversation(rollout.messages)}"
        f'<div class="turn is-assistant"><span>assistant</span><div class="words">{_coloured(table, COLOURS[colour])}</div></div>'
        f"{_legend(table, colour)}<details><summary>All numbers</summary>{_numbers(table)}</details></article>"
    )


def _coloured(table: list[Token], name: str) -> str:
    largest = max((abs(getattr(token, name)) for token in table), default=0.0) or 1.0
    return "".join(
        f'<span class="token {"is-up" if getattr(token, name) > 0 else "is-down"}" '
        f'style="--strength:{abs(getattr(token, name)) / largest:.2f}" title="{escape(_said(token))}">{escape(token.text)}</span>'
        for token in table
    )


def _said(token: Token) -> str:
    return (
        f"{token.text!r}: log-probability {token.logprob:.3f}, reference {token.ref_logprob:.3f}, KL {token.kl:.3f}, "
        f"value {token.value:.3f}, advantage {token.advantage:.3f}"
    )


def _legend(table: list[Token], colour: str) -> str:
    name = COLOURS[colour]
    low, high = (f(getattr(token, name) for token in table) for f in (min, max))
    ends = [("is-down", f"lowest {low:.2f}"), ("is-up", f"highest {high:.2f}")]
    marks = "".join(f'<span class="token {kind}" style="--strength:1">{words}</span>' for kind, words in ends)
    return f'<p class="legend">{escape(colour)} of a token: {marks}</p>'


def _numbers(table: list[Token]) -> str:
    columns = {
        "logprob": "logprob",
        "reference": "ref_logprob",
        "KL": "kl",
        "value": "value",
        "advantage": "advantage",
        "return": "return_to_go",
    }
    head = "".join(f'<th class="num">{name}</th>' for name in columns)
    rows = ""
    for token in table:
        cells = "".join(f'<td class="num">{getattr(token, name):.3f}</td>' for name in columns.values())
        text = escape(token.text.replace("\n", "↵"))
        rows += f"<tr><td><code>{text}</code></td>{cells}</tr>"
    return (
        f'{html.wide("Tokens")}<table class="rollouts"><thead><tr><th>token</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _first(text: str) -> str:
    line = " ".join(text.split())
    return line[:FIRST_LETTERS] + ("…" if len(line) > FIRST_LETTERS else "")
