"""A judged answer token by token: how likely its own checkpoint finds each, and the other one of the pair."""

from html import escape

from studio.chat.token_view import TokenView
from ui.components import html, token_row


def draw(view: TokenView) -> str:
    """Return the answer's tokens coloured by log-probability, those coloured by the difference, and all numbers."""
    totals = {f"log-probability under {view.checkpoint}": sum(view.logprobs)}
    columns = {view.checkpoint: view.logprobs}
    if view.differences:
        totals[f"under {view.other}"] = sum(view.other_logprobs)
        columns |= {view.other: view.other_logprobs, "difference": view.differences}
    notes = " ".join(filter(None, ("At temperature 1, in nats.", view.why_none, view.note)))
    said = [_said(view, at) for at in range(len(view.texts))]
    return (
        f"<header>{html.tags(f'{name} {html.number(value)}' for name, value in totals.items())}</header>"
        f'<div class="words">{token_row.draw(view.texts, view.logprobs, said)}</div>'
        f"{token_row.legend(view.logprobs, 'log-probability')}{_differences(view, said)}"
        f'{token_row.numbers(view.texts, columns)}<p class="quiet">{escape(notes)}</p>'
    )


def _differences(view: TokenView, said: list[str]) -> str:
    if not view.differences:
        return ""
    words = f"How much likelier under {view.other}"
    return (
        f"<details><summary>{escape(words)}</summary>"
        f'<div class="words">{token_row.draw(view.texts, view.differences, said)}</div>'
        f"{token_row.legend(view.differences, 'difference')}</details>"
    )


def _said(view: TokenView, at: int) -> str:
    words = f"{view.texts[at]!r}: log-probability {view.logprobs[at]:.3f} under {view.checkpoint}"
    if view.differences:
        words += f", {view.other_logprobs[at]:.3f} under {view.other}, difference {view.differences[at]:+.3f}"
    return words
