"""One response token by token: coloured by a number, all its numbers as text, and the same under another checkpoint.

All texts come from a model and are escaped; colours are strengths in a CSS variable, so light and dark need no redraw. One token
can be focused at a time and the arrow keys go on to the next (`static/tokens.js`), which shows a token's numbers as text.
"""

from collections.abc import Callable, Sequence
from html import escape

from studio.chat.comparing import Under
from studio.runs.rollouts import Rollout, Token
from ui.components import html

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
    words = _coloured(table, values, [_said(token) for token in table])
    return (
        f'<article class="rollout"><header>{html.tags(f"{name} {html.number(value)}" for name, value in figures.items())}'
        f'</header><p class="quiet">{escape(rollout.run)}, iteration {rollout.iteration}, sampled by {escape(sampled)}.</p>'
        f"{html.conversation(rollout.messages)}{_turn(words)}{_legend(values, colour)}"
        f"<details><summary>All numbers</summary>{_numbers(table, _COLUMNS)}</details></article>"
    )


def draw_under(under: Under) -> str:
    """Return the same response under another checkpoint: its tokens coloured by how much likelier they are there."""
    there = dict(zip(map(id, under.tokens), under.logprobs, strict=True))
    columns: dict[str, Callable[[Token], float]] = {
        "when sampled": lambda token: token.logprob,
        under.checkpoint: lambda token: there[id(token)],
        "difference": lambda token: there[id(token)] - token.logprob,
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
    words = _coloured(under.tokens, under.differences, said)
    return (
        f'<article class="rollout"><header>{html.tags(f"{name} {html.number(value)}" for name, value in totals.items())}'
        f'</header><p class="quiet">{escape(score)}</p>{_turn(words)}{_legend(under.differences, "difference")}'
        f"<details><summary>All numbers</summary>{_numbers(under.tokens, columns)}</details></article>"
    )


def _turn(words: str) -> str:
    return f'<div class="turn is-assistant"><span>assistant</span><div class="words">{words}</div></div>'


def _coloured(table: Sequence[Token], values: Sequence[float], said: Sequence[str]) -> str:
    """Return tokens, the first of which can be reached by Tab, and the line that says the numbers of the focused one."""
    largest = max(map(abs, values), default=0.0) or 1.0
    tokens = "".join(
        f'<span class="token {"is-up" if value > 0 else "is-down"}" role="option" aria-selected="false" '
        f'tabindex="{0 if at == 0 else -1}" style="--strength:{abs(value) / largest:.2f}" aria-label="{escape(words)}" '
        f'title="{escape(words)}">{escape(token.text)}</span>'
        for at, (token, value, words) in enumerate(zip(table, values, said, strict=True))
    )
    return (
        f'<div class="token-row" role="listbox" aria-orientation="horizontal" aria-label="Tokens of the response">{tokens}</div>'
        '<output class="token-said">Point at a token, or reach it by Tab and the arrow keys, to see its numbers.</output>'
    )


def _said(token: Token) -> str:
    return (
        f"{token.text!r}: log-probability {token.logprob:.3f}, reference {token.ref_logprob:.3f}, KL {token.kl:.3f}, "
        f"ratio {token.ratio:.3f}, value {token.value:.3f}, advantage {token.advantage:.3f}, reward {token.reward:.3f}, "
        f"return {token.return_to_go:.3f}"
    )


def _legend(values: Sequence[float], colour: str) -> str:
    low, high = min(values, default=0.0), max(values, default=0.0)
    ends = [("is-down", f"lowest {low:.2f}"), ("is-up", f"highest {high:.2f}")]
    marks = "".join(f'<span class="token {kind}" style="--strength:1">{words}</span>' for kind, words in ends)
    name = "ratio to the reference, less 1," if colour == "ratio" else colour
    return f'<p class="legend">{escape(name)} of a token: {marks}</p>'


def _numbers(table: Sequence[Token], columns: dict[str, Callable[[Token], float]]) -> str:
    head = "".join(f'<th class="num">{escape(name)}</th>' for name in columns)
    rows = ""
    for token in table:
        cells = "".join(f'<td class="num">{value(token):.3f}</td>' for value in columns.values())
        text = escape(token.text.replace("\n", "↵"))
        rows += f"<tr><td><code>{text}</code></td>{cells}</tr>"
    return (
        f'{html.wide("Tokens")}<table class="rollouts"><thead><tr><th>token</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
