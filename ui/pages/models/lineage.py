"""Draws the family tree of the runs that trained, round by round, the newest round first."""

from collections.abc import Mapping
from functools import partial
from html import escape

from studio.models import disk
from studio.runs.rounds import Member, Round
from ui.components import html

COLUMNS = {"SFT": ("sft",), "Reward model": ("reward",), "PPO, DPO": ("ppo", "dpo")}
OPEN = 2
"""Rounds, and runs of a stage in one, that are in sight; older ones open."""
LISTED = 3


def draw(found: list[Round], num_older: int, sizes: Mapping[str, int], summary: str) -> str:
    """Draw rounds as rows with a column for each stage; empty where nothing was trained.

    Args:
        found: the rounds, the newest first.
        num_older: runs that are left out.
        sizes: bytes by the run's name.
        summary: what the workspace takes, as a sentence.
    """
    if not found:
        return ""
    draw_round = partial(_round, sizes=sizes)
    shown, folded = found[:OPEN], found[OPEN:]
    more = ""
    if folded:
        words = f"Rounds {folded[-1].number} to {folded[0].number}" if len(folded) > 1 else f"Round {folded[0].number}"
        more = f"<details><summary>{words}</summary>{''.join(map(draw_round, folded))}</details>"
    older = f'<p class="quiet">{num_older:,} older runs are only in the list below.</p>' if num_older else ""
    taken = f'<p class="quiet">{escape(summary)}</p>'
    return f'<section class="rounds"><h2>What trained on what</h2>{"".join(map(draw_round, shown))}{more}{older}{taken}</section>'


def _round(found: Round, sizes: Mapping[str, int]) -> str:
    columns = "".join(
        _column(name, [member for member in found.members if member.run.stage in stages], sizes)
        for name, stages in COLUMNS.items()
    )
    return f'<div class="round"><h3>Round {found.number}</h3>{columns}</div>'


def _column(name: str, members: list[Member], sizes: Mapping[str, int]) -> str:
    newest = [_node(member, sizes[member.run.name]) for member in reversed(members)]
    more = len(newest) - LISTED
    folded = f"<details><summary>{more} more</summary>{''.join(newest[LISTED:])}</details>" if more > 0 else ""
    nothing = "" if members else '<p class="quiet">–</p>'
    return f'<div class="stage"><h4>{name}</h4>{"".join(newest[:LISTED])}{folded}{nothing}</div>'


def _node(member: Member, size: int) -> str:
    run = escape(member.run.name)
    figure = html.figure(member.checkpoint.stage, member.checkpoint.metrics)
    said = [escape(member.sentence), f"{disk.words(size)} on disk".replace(" ", "&nbsp;")]
    return (
        f'<article class="node"><header><a href="#runs/{run}">{run}</a>{html.badge(member.run.shown_state)}</header>'
        f"<p>{escape(member.checkpoint.name)}{f' · {figure}' if figure else ''}</p>"
        f'<p class="from">{" · ".join(filter(None, said))}</p></article>'
    )
