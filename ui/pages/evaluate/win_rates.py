"""Win rates, a section of Evaluate: start blind votes between two checkpoints, and see what all such votes say."""

import math
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from studio import plots
from studio.annotation import prefetch, session_config, sessions
from studio.errors import StudioError
from studio.evaluation import leaderboard
from studio.evaluation.leaderboard import Group, HeadToHead, Leaderboard
from studio.models import checkpoint_pages as shelf
from studio.models import checkpoints
from studio.models.base_names import BASE
from studio.preferences import model_votes
from studio.workspace import Workspace
from ui.components import dropdown, html, raters
from ui.handlers import any_of, on
from ui.page import Page

LEAD = (
    "Both checkpoints answer the same held-out prompts, and you judge their answers blind on Rate. The interval holds at "
    "every look, so stop as soon as it is decided. Prompts that both answer alike are neither shown nor counted. "
    "One of the two may be base, the pretrained model of the other."
)
HEADS = ("checkpoint", "strength", "95 %", "expected", "won", "tied", "lost")
TEXTS = HEADS[0], HEADS[2]
EXPECTED = "Expected share of points against the anchor, a tie counting as half, the sides drawn at random"

SHOWN = """(asked) => {
  if (asked) requestAnimationFrame(() => document.getElementById("versus-start")?.scrollIntoView({ block: "center" }));
  return [asked];
}"""
"""Who asks for votes by an address is led to the form."""


def build(ws: Workspace, tabs: gr.Tabs) -> Page:
    """Place the section; a started session opens Rate."""
    html.html(f'<h2>Win rates</h2><p class="lead">{LEAD}</p>')
    with gr.Row(elem_classes="fields"):
        one = gr.Dropdown([], label="Checkpoint", elem_id="versus-one", min_width=180, allow_custom_value=True)
        other = gr.Dropdown([], label="against", elem_id="versus-other", min_width=180, allow_custom_value=True)
        votes = gr.Number(50, label="Votes", precision=0, minimum=1, elem_id="versus-votes", min_width=100)
    with gr.Row(elem_classes="controls is-labelled"):
        start = gr.Button("Compare blind", variant="primary", elem_id="versus-start", min_width=150)
        rater = gr.Dropdown(
            list(_raters(["person"])), value="person", label="Votes of", elem_id="versus-rater", min_width=180
        )
    asked = gr.Textbox("", visible=False)  # ONE/OTHER/VOTES of an address, until it is taken over
    told = html.html(html.notice(""), elem_id="versus-told")
    board = html.html(elem_id="leaderboard")
    on(start.click, partial(_start, ws), [one, other, votes], [told, tabs])
    on(any_of([rater], "input"), partial(_draw, ws), [rater], [board])
    on(any_of([asked], "change"), _take_over, [asked], [one, other, votes, asked], js=SHOWN)
    return Page(partial(_refresh, ws), [asked, one, other, rater], [one, other, rater, board], item=asked)


def _two(asked: str) -> tuple[str, str, str] | None:
    """Return the two checkpoints and the number of votes that an address asks for; None where it names no two."""
    one, _, rest = asked.partition("/")
    other, _, votes = rest.partition("/")
    return (one, other, votes) if one and other else None


def _take_over(asked: str) -> list[Any]:
    """Choose what an address asks for."""
    two = _two(asked)
    if two is None:
        return [gr.skip()] * 4
    one, other, votes = two
    is_number = votes.isdecimal() and len(votes) < 5
    return [one, other, int(votes) if is_number and int(votes) else gr.skip(), ""]


def _refresh(ws: Workspace, asked: str, one: Any, other: Any, rater: Any) -> list[Any]:
    if two := _two(asked):
        one, other, _ = two
    with ws.read() as db:
        names = [checkpoint.name for checkpoint in shelf.page(db, *checkpoints.POLICIES)]
    first, second = str(one or "") or (names[0] if names else ""), str(other or "") or (names[-1] if names else "")
    offered = [*names, *([BASE] if names else [])]
    with ws.read() as db:
        known = model_votes.raters(db) or ["person"]
    chosen = str(rater) if rater in known else known[0]
    return [
        dropdown.offer(offered, one, first),
        dropdown.offer(offered, other, second),
        dropdown.offer(_raters(known), rater, chosen),
        _draw(ws, chosen),
    ]


def _raters(names: list[str]) -> list[tuple[str, str]]:
    return [(raters.words(name), name) for name in names]


def _start(ws: Workspace, one: Any, other: Any, votes: Any) -> list[Any]:
    """Start a session between the two and open Rate; or say why not."""
    try:
        config = session_config.head_to_head(str(one or ""), str(other or ""), max(1, int(votes or 1)))
        with ws.write() as db:
            session = sessions.start(db, config)
            outlook = sessions.outlook(db, session)
    except (StudioError, ValueError) as error:
        return [html.notice(str(error), "bad"), gr.skip()]
    prefetch.look_after(ws)
    return [html.notice(f"{session.sentence} {outlook}.", "good"), gr.Tabs(selected="rate")]


def _draw(ws: Workspace, rater: Any) -> str:
    try:
        with ws.read() as db:
            found = leaderboard.read(db, str(rater or "person"))
    except StudioError:
        return html.empty(
            "No votes between two checkpoints yet", "Choose two and compare them; their strengths will be shown here."
        )
    groups = "".join(_group(found, group) for group in found.groups)
    apart = "<p>These groups never met, directly or through others: their strengths do not compare.</p>"
    return f"{_votes(found)}{groups}{apart if len(found.groups) > 1 else ''}{''.join(_pair(found, pair) for pair in found.pairs)}"


def _votes(found: Leaderboard) -> str:
    who = escape(raters.words(found.rater))
    return f'<p class="quiet">{found.num_votes:,} votes on {found.num_prompts:,} prompts: {who}.</p>'


def _group(found: Leaderboard, group: Group) -> str:
    head = "".join(
        f'<th scope="col" class="{"" if name in TEXTS else "num"}"{_hint(name)}>{name}</th>' for name in HEADS
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(found.shown(each.name))}</th><td class="num">{each.strength:+.2f}</td>'
        f"<td>{'anchor' if each.name == group.anchor else f'{each.low:+.2f} to {each.high:+.2f}'}</td>"
        f'<td class="num">{each.win_rate:.0%}</td><td class="num">{each.wins}</td><td class="num">{each.ties}</td>'
        f'<td class="num">{each.losses}</td></tr>'
        for each in group.standings
    )
    left = 1.0 / (1.0 + math.exp(-group.side))
    return (
        f'{html.wide("Leaderboard")}<table class="evaluation"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        f'<p class="quiet">Between equals the left answer wins {left:.0%} of the decided votes.</p>'
    )


def _hint(name: str) -> str:
    return f' title="{EXPECTED}"' if name == "expected" else ""


def _pair(found: Leaderboard, pair: HeadToHead) -> str:
    shares = [plots.Interval("with a tie as half", pair.half, pair.half_low, pair.half_high, _total(pair), 1)]
    if not math.isnan(pair.decided):
        decided = pair.wins + pair.losses
        shares.append(
            plots.Interval(
                "decided votes, at every look", pair.decided, pair.anytime_low, pair.anytime_high, decided, 3
            )
        )
    names = f"{found.shown(pair.one)} against {found.shown(pair.other)}"
    drawn = plots.interval_chart(shares, title=names, reference_text="equal")
    return (
        f'<section class="forest versus"><h3>{escape(names)}</h3>{drawn}'
        f"<p>Won {pair.wins}, tied {pair.ties}, lost {pair.losses}. {escape(pair.verdict)} At equal length it would win "
        f"{pair.length_controlled:.0%}; its answers differ by {pair.length_difference:+,.0f} letters in the median.</p></section>"
    )


def _total(pair: HeadToHead) -> int:
    return pair.wins + pair.ties + pair.losses
