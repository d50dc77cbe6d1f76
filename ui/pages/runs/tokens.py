"""A response of PPO token by token, with the numbers that it was trained by, and the same under another checkpoint."""

from collections.abc import Callable, Sequence
from html import escape

from studio.chat.comparing import Under
from studio.runs.rollouts import Rollout, Token
from ui.components import html, token_row

COLOURS: dict[str, Callable[[Token], float]] = {
    "advantage": lambda token: token.advantage,
    "KL": lambda token: token.kl,
    "value": lambda token: token.value,
    "ratio": lambda token: token.ratio - 1,
    "log-probability": lambda token: token.logprob,
    "reward": lambda token: token.reward,
}
"""What tokens are coloured by; a ratio by how far it is from 1."""
_COLUMNS: dict[str, Callable[[Token], float]] = {
    "logprob": lambda token: token.logprob,
    "reference": lambda token: token.ref_logprob,
    "KL": lambda token: token.kl,
    "ratio": lambda token: token.ratio,
    "value": lambda token: token.value,
    "advantage": lambda token: token.advantage,
    "reward": lambda token: token.reward,
    "return": lambda token: token.return_to_go,
}


def draw(rollout: Rollout, table: Sequence[Token], colour: str) -> str:
    """Return a response with its figures, its tokens coloured, and all its numbers."""
    figures = {"score": rollout.score, "shaped": rollout.shaped_score, "KL": rollout.kl} | rollout.components
    sampled = rollout.checkpoint or f"the policy after {rollout.iteration - 1} iterations, which was not saved"
    values = [COLOURS[colour](token) for token in table]
    texts = [token.text for token in table]
    words = token_row.draw(texts, values, [_said(token) for token in table])
    columns = {name: [value(token) for token in table] for name, value in _COLUMNS.items()}
    name = "ratio to the reference, less 1," if colour == "ratio" else colour
    return (
        f'<article class="rollout"><header>{html.tags(f"{name} {html.number(value)}" for name, value in figures.items())}'
        f'</header><p class="quiet">{escape(rollout.run)}, iteration {rollout.iteration}, sampled by {escape(sampled)}.</p>'
        f"{html.conversation(rollout.messages)}{_turn(words)}{token_row.legend(values, name)}"
        f"{token_row.numbers(texts, columns)}</article>"
    )


def draw_under(under: Under) -> str:
    """Return the same response under another checkpoint: its tokens coloured by how much likelier they are there."""
    texts = [token.text for token in under.tokens]
    columns = {
        "when sampled": [token.logprob for token in under.tokens],
        under.checkpoint: under.logprobs,
        "difference": under.differences,
    }
    said = [
        f"{token.text!r}: log-probability {token.logprob:.3f} when it was sampled, {logprob:.3f} under {under.checkpoint}, "
        f"difference {logprob - token.logprob:+.3f}"
        for token, logprob in zip(under.tokens, under.logprobs, strict=True)
    ]
    totals = {
        "log-probability when sampled": sum(token.logprob for token in under.tokens),
        f"under {under.checkpoint}": sum(under.logprobs),
    }
    score = f"Score by {under.reward}: {html.number(under.score)}." if under.score is not None else under.why_none
    words = token_row.draw(texts, under.differences, said)
    return (
        f'<article class="rollout"><header>{html.tags(f"{name} {html.number(value)}" for name, value in totals.items())}'
        f'</header><p class="quiet">{escape(score)}</p>{_turn(words)}'
        f"{token_row.legend(under.differences, 'difference')}{token_row.numbers(texts, columns)}</article>"
    )


def _turn(words: str) -> str:
    return f'<div class="turn is-assistant"><span>assistant</span><div class="words">{words}</div></div>'


def _said(token: Token) -> str:
    return (
        f"{token.text!r}: log-probability {token.logprob:.3f}, reference {token.ref_logprob:.3f}, KL {token.kl:.3f}, "
        f"ratio {token.ratio:.3f}, value {token.value:.3f}, advantage {token.advantage:.3f}, reward {token.reward:.3f}, "
        f"return {token.return_to_go:.3f}"
    )
