"""Draws what each round of the loop brought, the newest first."""

from collections.abc import Sequence
from html import escape

from studio.insights.round_figures import RoundFigures
from ui.components import html

HEADS = ("Round", "Learned from", "Reward model", "Policy", "Won against SFT", "KL from SFT", "Tax")
SHOWN = 5


def draw(found: Sequence[RoundFigures]) -> str:
    """Draw a table of the newest rounds; empty where nothing learned from ratings yet."""
    if not found:
        return ""
    head = "".join(f'<th scope="col"{_hint(name)}>{name}</th>' for name in HEADS)
    body = "".join(map(_row, found[:SHOWN]))
    older = len(found) - SHOWN
    more = f'<p class="quiet">{older} more under <a href="#models">Models</a>.</p>' if older > 0 else ""
    return (
        f'<section class="by-round"><h2>Rounds</h2>{html.wide("Rounds")}<table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{more}</section>"
    )


def _hint(name: str) -> str:
    hints = {
        "Learned from": "The ratings that were frozen for it; those on held-out prompts only measure it.",
        "Tax": "Change of the loss on held-out demonstrations since SFT; less is better.",
        "KL from SFT": "How far the policy has moved from SFT, in nats a response.",
        "Won against SFT": "Share of votes for the policy, a tie counting as half, with its 95 % interval.",
    }
    return f' title="{hints[name]}"' if name in hints else ""


def _row(found: RoundFigures) -> str:
    cells = [
        f"{found.snapshot.row_count:,} preferences" if found.snapshot else "–",
        _named(found.reward.run_name, found.reward.name, _accuracy(found)) if found.reward else "–",
        _named(found.policy.run_name, found.policy.name) if found.policy else "–",
        _won(found),
        html.number(found.kl),
        f"{found.tax:+z.1%}" if found.tax is not None else "–",
    ]
    return f'<tr><th scope="row">{found.number}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _named(run: str, checkpoint: str, figure: str = "") -> str:
    return f'<a href="#runs/{escape(run)}">{escape(checkpoint)}</a>{f" <small>{figure}</small>" if figure else ""}'


def _accuracy(found: RoundFigures) -> str:
    return html.figure("reward", found.reward.metrics) if found.reward else ""


def _won(found: RoundFigures) -> str:
    if found.votes is None:
        if found.policy is None:
            return "–"
        return f'<a href="#{html.versus_link(found.policy.name, found.sft)}">compare blind</a>'
    votes = found.votes
    return f"{votes.half:.0%} <small>{votes.half_low:.0%} to {votes.half_high:.0%}, {escape(votes.counted)}</small>"
