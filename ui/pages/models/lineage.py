"""Draws the family tree of the runs that trained, round by round, the newest round first."""

from html import escape

from studio.runs.rounds import Member, Round
from ui.components import html

COLUMNS = {"SFT": ("sft",), "Reward model": ("reward",), "PPO, DPO": ("ppo", "dpo")}
OPEN = 2
"""Rounds, and runs of a stage in one, that are in sight; older ones open."""
LISTED = 3


def draw(found: list[Round], num_older: int) -> str:
    """Draw rounds as rows with a column for each stage; empty where nothing was trained."""
    if not found:
        return ""
    shown, folded = found[:OPEN], found[OPEN:]
    more = ""
    if folded:
        words = f"Rounds {folded[-1].number} to {folded[0].number}" if len(folded) > 1 else f"Round {folded[0].number}"
        more = f"<details><summary>{words}</summary>{''.join(map(_round, folded))}</details>"
    older = f'<p class="quiet">{num_older:,} older runs are only in the list below.</p>' if num_older else ""
    return f'<section class="rounds"><h2>What trained on what</h2>{"".join(map(_round, shown))}{more}{older}</section>'


def _round(found: Round) -> str:
    columns = "".join(
        _column(name, [member for member in found.members if member.run.stage in stages])
        for name, stages in COLUMNS.items()
    )
    return f'<div class="round"><h3>Round {found.number}</h3>{columns}</div>'


def _column(name: str, members: list[Member]) -> str:
    newest = [_node(member) for member in reversed(members)]
    more = len(newest) - LISTED
    folded = f"<details><summary>{more} more</summary>{''.join(newest[LISTED:])}</details>" if more > 0 else ""
    nothing = "" if members else '<p class="quiet">–</p>'
    return f'<div class="stage"><h4>{name}</h4>{"".join(newest[:LISTED])}{folded}{nothing}</div>'


def _node(member: Member) -> str:
    run = escape(member.run.name)
    figure = html.figure(member.checkpoint.stage, member.checkpoint.metrics)
    return (
        f'<article class="node"><header><a href="#runs/{run}">{run}</a>{html.badge(member.run.shown_state)}</header>'
        f"<p>{escape(member.checkpoint.name)}{f' · {figure}' if figure else ''}</p>"
        f'<p class="from">{escape(member.sentence)}</p></article>'
    )
