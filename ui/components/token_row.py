"""A response token by token: coloured by a number, and its numbers as text and as a table.

All texts come from a model and are escaped; colours are strengths in a CSS variable, so light and dark need no redraw. One token
can be focused at a time and the arrow keys go on to the next (`static/tokens.js`), which shows a token's numbers as text.
"""

from collections.abc import Mapping, Sequence
from html import escape

from ui.components import html


def draw(texts: Sequence[str], values: Sequence[float], said: Sequence[str]) -> str:
    """Return tokens coloured by their values, the first of which can be reached by Tab, and the line that says the numbers of the focused one.

    Args:
        texts: of each token.
        values: what it is coloured by.
        said: its numbers in words.
    """
    largest = max(map(abs, values), default=0.0) or 1.0
    tokens = "".join(
        f'<span class="token {"is-up" if value > 0 else "is-down"}" role="option" aria-selected="false" '
        f'tabindex="{0 if at == 0 else -1}" style="--strength:{abs(value) / largest:.2f}" aria-label="{escape(words)}" '
        f'title="{escape(words)}">{escape(text)}</span>'
        for at, (text, value, words) in enumerate(zip(texts, values, said, strict=True))
    )
    return (
        f'<div class="token-row" role="listbox" aria-orientation="horizontal" aria-label="Tokens of the response">{tokens}</div>'
        '<output class="token-said">Point at a token, or reach it by Tab and the arrow keys, to see its numbers.</output>'
    )


def legend(values: Sequence[float], name: str) -> str:
    """Return the line that says what the colours mean."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    ends = [
        ("is-down" if low <= 0 else "is-up", f"lowest {low:.2f}", low),
        ("is-up" if high > 0 else "is-down", f"highest {high:.2f}", high),
    ]
    largest = max(abs(low), abs(high)) or 1.0
    marks = "".join(
        f'<span class="token {kind}" style="--strength:{abs(value) / largest:.2f}">{words}</span>'
        for kind, words, value in ends
    )
    return f'<p class="legend">{escape(name)} of a token: {marks}</p>'


def numbers(texts: Sequence[str], columns: Mapping[str, Sequence[float]]) -> str:
    """Return all numbers of the tokens as a folded table."""
    head = "".join(f'<th class="num">{escape(name)}</th>' for name in columns)
    rows = ""
    for text, *values in zip(texts, *columns.values(), strict=True):
        cells = "".join(f'<td class="num">{value:.3f}</td>' for value in values)
        rows += f"<tr><td><code>{escape(text.replace(chr(10), '↵'))}</code></td>{cells}</tr>"
    return (
        f'<details><summary>All numbers</summary>{html.wide("Tokens")}<table class="rollouts"><thead><tr><th>token</th>{head}'
        f"</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )
