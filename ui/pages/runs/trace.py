"""Draws what stands behind a response's score: reward model, snapshot, and votes on pairs like it, each with a link."""

from collections.abc import Sequence
from html import escape

from studio.annotation.tracing import Trace, Vote

LETTERS = 90


def draw(found: Trace) -> str:
    """Return the trace of a response."""
    if not found.reward:
        return '<p class="quiet">No reward model took part in this run\'s reward.</p>'
    run = escape(found.reward_run)
    link = f'<a href="#runs/{run}">{escape(found.reward)}</a>' if run else escape(found.reward)
    told = f'Scored by {link} (<a href="#models">Models</a>)'
    if found.snapshot is None:
        return f'<section class="trace"><p>{told}. The votes that it learnt from are not known here.</p></section>'
    frozen = f'<a href="#rate/snapshots">{escape(found.snapshot.name)}</a>'
    return (
        f'<section class="trace"><p>{told}, which learnt from the {found.snapshot.row_count:,} preferences of {frozen}.</p>'
        f"{_group('Votes on the same prompt', found.same_prompt, found.num_same_prompt)}"
        f"{_group('Votes on pairs with the most words in common', found.similar, len(found.similar))}</section>"
    )


def _group(title: str, votes: Sequence[Vote], num: int) -> str:
    count = f"{len(votes)} of {num:,}" if num > len(votes) else f"{num:,}"
    if not votes:
        return f"<h5>{title}: none</h5>"
    return f"<h5>{title}: {count}</h5><ul>{''.join(map(_vote, votes))}</ul>"


def _vote(vote: Vote) -> str:
    sign = "as good as" if vote.is_tie else "better than"
    return (
        f'<li><a href="#rate/history/{vote.rating_id}">Rating {vote.rating_id}</a> <span class="num quiet">{vote.likeness:.0%} of '
        f'the words</span><span class="asked">{escape(_first(vote.prompt))}</span><span>{escape(_first(vote.chosen))}</span>'
        f'<em class="quiet">{sign}</em><span>{escape(_first(vote.rejected))}</span></li>'
    )


def _first(text: str) -> str:
    line = " ".join(text.split())
    return line[:LETTERS] + ("…" if len(line) > LETTERS else "") if line else "(empty)"
