"""The rollouts of PPO, a section of Runs: searched and sorted, of one run or all; one of them token by token and traced back.

All texts come from a model and are escaped.
"""

from collections.abc import Iterator
from functools import partial
from html import escape
from typing import Any, NamedTuple

import gradio as gr

from studio.annotation import tracing
from studio.chat import comparing
from studio.chat import resident as residents
from studio.chat.resident import Resident
from studio.errors import RunError, StudioError
from studio.runs import rollouts, runs
from studio.runs.rollouts import Filter, Rollout
from studio.runs.runs import Run
from studio.workspace import Database, Workspace
from ui.components import html, pager
from ui.handlers import any_of, on
from ui.pages.runs import tokens, trace

NUM_ROWS = 50
FIRST_LETTERS = 140
OFFERED = 200
"""Checkpoints in the list of those to compare with; any other can be typed."""
ENDS = [("any end", ""), ("ended by itself", "eos"), ("cut at the length limit", "length")]
BOUNDS = ("iteration", "lowest score", "highest score", "lowest KL", "highest KL")
"""Texts, not `gr.Number`: an empty one of those becomes 0 when its accordion opens."""
PICK = """
document.addEventListener("click", (event) => {
  const row = event.target.closest?.("#run-rollouts tr")?.querySelector("[data-rollout]");
  if (!row || event.target.closest("a")) return;
  props.value = row.dataset.rollout;
  trigger("clear");
  trigger("submit");
});
"""
"""A click on a row chooses its response, and clears what was compared with the one before."""


class Asked(NamedTuple):
    """What the list shows, as it was sent."""

    chosen: str
    picked: str
    everywhere: bool
    search: str
    sort: Any
    end: str
    bounds: tuple[str, ...]

    @classmethod
    def of(cls, values: tuple[Any, ...]) -> "Asked":
        """Take the values of the components in their order."""
        chosen, picked, everywhere, search, sort, end, *bounds = values
        return cls(chosen, picked, everywhere, search, sort, end, tuple(bounds))


def build(ws: Workspace, chosen: gr.Textbox, seen: gr.Textbox, resident: Resident) -> None:
    """Place the section; it follows the chosen run, and is drawn again whenever `seen` says that something is new."""
    with gr.Row(elem_classes="controls rollout-filters"):
        search = gr.Textbox(
            "", placeholder="Search prompts and responses", elem_id="rollout-search", min_width=220, **_BARE
        )
        sort = gr.Dropdown(list(rollouts.SORTS), value="newest", elem_id="rollout-sort", min_width=130, **_BARE)
        end = gr.Dropdown(ENDS, value="", elem_id="rollout-end", min_width=170, **_BARE)
        everywhere = gr.Checkbox(False, label="in all runs", elem_id="rollout-everywhere", min_width=110)
    with gr.Accordion("More filters", open=False, elem_classes="more"), gr.Row(elem_classes="fields"):
        bounds = [
            gr.Textbox(
                "",
                label=label,
                placeholder="38 or 30-40" if label == "iteration" else "",
                max_lines=1,
                elem_id=f"rollout-{label.replace(' ', '-')}",
                min_width=120,
            )
            for label in BOUNDS
        ]
    # An empty template: the value is a number that comes from outside and must not be drawn.
    picked = html.html("", html_template="", js_on_load=PICK, elem_id="rollout-picked")
    place, drawn = gr.Number(0, visible=False), gr.Textbox("", visible=False)
    with gr.Row(elem_classes="split"):
        with gr.Column(scale=3, min_width=300):
            table = html.html(elem_id="run-rollouts")
            with gr.Row(elem_classes="controls pager", visible=False) as row:
                before = gr.Button("Before", size="sm", min_width=90, elem_id="rollout-before")
                after = gr.Button("After", size="sm", min_width=90, elem_id="rollout-after")
        with gr.Column(scale=2, min_width=280, elem_classes="rollout-side"):
            colour = gr.Radio(
                list(tokens.COLOURS), value="advantage", label="Colour tokens by", elem_id="rollout-colour"
            )
            detail = html.html(_NONE_PICKED, elem_id="rollout")
            with gr.Row(elem_classes="controls", elem_id="rollout-compare"):
                other = gr.Dropdown(
                    [],
                    value=None,
                    label="The same under",
                    allow_custom_value=True,
                    elem_id="rollout-other",
                    min_width=160,
                )
                compare = gr.Button("Compare", elem_id="rollout-ask", min_width=110)
            under = html.html(elem_id="rollout-under")
            traced = html.html(elem_id="rollout-trace")
    asked = on(compare.click, partial(_compare, ws, resident), [chosen, picked, everywhere, other], [under])
    # In the browser, and an event of its own: Gradio repeats all handlers of `submit` when one of them was asked for twice, and a late
    # repetition would take away what was asked of this response meanwhile.
    picked.clear(None, None, [under], js="() => ''", cancels=[asked], api_visibility="private")
    wanted = [chosen, picked, everywhere, search, sort, end, *bounds]
    # One event for all: an earlier answer that comes late would take the place of a later page.
    listed = any_of([seen, chosen, everywhere, search, sort, end, *bounds, place], "change", picked.submit)
    on(listed, partial(_list, ws), [drawn, place, *wanted], [table, drawn, place, row, before, after])
    for button, by in ((before, -NUM_ROWS), (after, NUM_ROWS)):
        button.click(None, [place], [place], js=f"(at) => Math.max(0, (at || 0) + {by})")
    which = [chosen, picked, everywhere]
    on(any_of([chosen, colour, everywhere], "change", picked.submit), partial(_detail, ws), [*which, colour], [detail])
    on(any_of([chosen, everywhere], "change", picked.submit), partial(_trace, ws), which, [traced])
    on(picked.submit, partial(_offer, ws), None, [other])


_BARE: dict[str, Any] = {"show_label": False, "container": False}
_NONE_PICKED = '<p class="quiet">Choose a response to see its tokens.</p>'


def _list(ws: Workspace, drawn: str, place: Any, *values: Any) -> list[Any]:
    """Draw a page of the rollouts that fit; other filters than those that were `drawn` begin with the first page again."""
    asked = Asked.of(values)
    key = str(hash(asked._replace(picked="")))
    start = pager.place(place) if key == drawn else 0
    with ws.read() as db:
        text, has_more = _draw(db, asked, start)
    return [
        text,
        key,
        gr.skip() if pager.place(place) == start else start,
        gr.Row(visible=start > 0 or has_more),
        gr.Button(interactive=start > 0),
        gr.Button(interactive=has_more),
    ]


def _draw(db: Database, asked: Asked, start: int) -> tuple[str, bool]:
    """Return a page as a table, and whether there is another."""
    run = None if asked.everywhere else runs.chosen_or_newest(db, asked.chosen)
    if not asked.everywhere and (run is None or run.stage != "ppo"):
        return '<p class="quiet">Only PPO has rollouts. Choose a PPO run, or look in all runs.</p>', False
    try:
        wanted = _filter(asked)
    except StudioError as error:
        return html.notice(str(error), "bad"), False
    run_id = run.id if run else None
    stored = rollouts.count(db, run_id)
    if not stored:
        return (
            '<p class="quiet">No rollouts are stored. PPO keeps those of its newest iterations (keep_rollouts).</p>',
            False,
        )
    found = rollouts.find(db, run_id, wanted, sort=asked.sort, limit=NUM_ROWS + 1, offset=start)
    if not found:
        return f'<p class="quiet">None of the {stored:,} stored responses match.</p>', False
    has_more = len(found) > NUM_ROWS
    shown = found[:NUM_ROWS]
    rows = "".join(_row(rollout, str(rollout.id) == asked.picked, asked.everywhere) for rollout in shown)
    num = rollouts.count(db, run_id, wanted, at_most=rollouts.COUNTED) if has_more or start else len(shown)
    return _table(rows, asked.everywhere) + _how_many(start, len(shown), num, stored), has_more


def _filter(asked: Asked) -> Filter:
    """Return what is asked for.

    Raises:
        RunError: a field is not what it should be.
    """
    iteration, *texts = asked.bounds
    first, last = rollouts.span(iteration)
    try:
        low, high, near, far = (float(text) if text.strip() else None for text in texts)
    except ValueError:
        raise RunError(
            f"A filter is not a number. Leave it empty, or give a number: {', '.join(BOUNDS[1:])}."
        ) from None
    return Filter(asked.search, first, last, low, high, near, far, asked.end or None)


def _how_many(start: int, num_shown: int, num: int, stored: int) -> str:
    total = f"more than {rollouts.COUNTED:,}" if num > rollouts.COUNTED else f"{num:,}"
    shown = f"{start + 1:,} to {start + num_shown:,} of {total} that match" if num > num_shown else f"{num:,} match"
    return f'<p class="quiet">{shown}; {stored:,} are stored.</p>'


def _table(rows: str, has_run: bool) -> str:
    first = "run, iteration" if has_run else "iteration"
    return (
        f'{html.wide("Responses")}<table class="rollouts{" has-run" if has_run else ""}"><thead><tr>'
        f'<th class="num">{first}</th><th class="num">score</th><th class="num">KL</th><th class="num">tokens</th>'
        f"<th>response</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(rollout: Rollout, is_picked: bool, has_run: bool) -> str:
    cut = html.tags(["cut"]) if rollout.end_reason == "length" else ""
    current = ' class="is-picked"' if is_picked else ""
    run = f'<a href="#runs/{escape(rollout.run)}">{escape(rollout.run)}</a><br>' if has_run else ""
    return (
        f'<tr{current}><td class="num">{run}{rollout.iteration}</td><td class="num">{html.number(rollout.score)}</td>'
        f'<td class="num">{html.number(rollout.kl)}</td><td class="num">{rollout.num_tokens}</td>'
        f'<td><button type="button" data-rollout="{rollout.id}"><span class="asked">'
        f"{escape(_first(rollout.messages[-1]['content']))}</span>{escape(_first(rollout.response)) or '(empty)'}"
        f"</button>{cut}</td></tr>"
    )


def _picked(db: Database, chosen: str, picked: str, everywhere: bool) -> Rollout | None:
    """Return the picked response; None where there is none, or it is another run's."""
    run: Run | None = None if everywhere else runs.chosen_or_newest(db, chosen)
    if not str(picked).isdecimal() or (run is None and not everywhere):
        return None
    try:
        return rollouts.get(db, run, int(picked))
    except RunError:
        return None


def _detail(ws: Workspace, chosen: str, picked: str, everywhere: bool, colour: str) -> str:
    """Draw the picked response."""
    with ws.read() as db:
        rollout = _picked(db, chosen, picked, everywhere)
        return tokens.draw(rollout, rollouts.token_table(db, rollout), colour) if rollout else _NONE_PICKED


def _trace(ws: Workspace, chosen: str, picked: str, everywhere: bool) -> str:
    """Draw what stands behind the score of the picked response."""
    with ws.read() as db:
        rollout = _picked(db, chosen, picked, everywhere)
        return trace.draw(tracing.trace(db, rollout)) if rollout else ""


def _offer(ws: Workspace) -> gr.Dropdown:
    """Offer the checkpoints that there are now."""
    with ws.read() as db:
        return gr.Dropdown(choices=residents.policies(db)[:OFFERED])


def _compare(
    ws: Workspace, resident: Resident, chosen: str, picked: str, everywhere: bool, other: str | None
) -> Iterator[str]:
    """Draw the picked response under another checkpoint; the process that reads it may have to load the model first."""
    with ws.read() as db:
        rollout = _picked(db, chosen, picked, everywhere)
    if rollout is None or not other:
        yield html.notice("Choose a response, then a checkpoint to compare with.", "bad")
        return
    yield html.notice(f"Reading the response under {other}; the first time, its model has to be loaded.", "working")
    try:
        with ws.read() as db:
            yield tokens.draw_under(comparing.compare(db, resident, rollout, other))
    except StudioError as error:
        yield html.notice(str(error), "bad")


def _first(text: str) -> str:
    line = " ".join(text.split())
    return line[:FIRST_LETTERS] + ("…" if len(line) > FIRST_LETTERS else "")
