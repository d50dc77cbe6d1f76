"""Markdown to markup, with markdown-it-py. Every piece of text is escaped here, and no attribute comes from a text.

It is CommonMark with tables, strikethrough and formulas, and with what hides text turned off: HTML and its entities, link
definitions and addresses in angle brackets are shown as they stand; links and images as their words and their address.
"""

import re
import time
from collections.abc import Callable, Sequence
from functools import cache
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from ui.rendering import dollars, formulas, tables
from ui.rendering.errors import RenderingError, TooSlowError

DEEPEST = 20
"""Levels of lists and quotes; below them the library leaves text out."""
MOST_S = 0.5
"""Processor time for one text."""
LOOKS = 200
"""Rules tried between two looks at the clock, which is slow."""
OFF = ["autolink", "entity", "html_block", "html_inline", "newline", "reference"]
OPENED = {
    "paragraph_open": '<p dir="auto">',
    "blockquote_open": '<blockquote dir="auto">',
    "bullet_list_open": '<ul dir="auto">',
    "ordered_list_open": '<ol dir="auto">',
    "table_open": '<div class="scroll"><table><tbody>',
    "tr_open": "<tr>",
    "strong_open": "<strong>",
    "em_open": "<em>",
    "s_open": "<s>",
    "link_open": '<span class="link">',
}
CLOSED = {
    "paragraph_close": "</p>",
    "heading_close": "</p>",
    "blockquote_close": "</blockquote>",
    "bullet_list_close": "</ul>",
    "ordered_list_close": "</ol>",
    "list_item_close": "</div></li>",
    "table_close": "</tbody></table></div>",
    "tr_close": "</tr>",
    "th_close": "</th>",
    "td_close": "</td>",
    "strong_close": "</strong>",
    "em_close": "</em>",
    "s_close": "</s>",
    "hr": "<hr>",
    "softbreak": "\n",
    "hardbreak": "\n",
}
_DUNDER = re.compile(r"__(?:[a-z0-9]+(?:_[a-z0-9]+)*|[A-Z0-9]+(?:_[A-Z0-9]+)*)__(?![\w])")


def render(text: str) -> str:
    """Return the markup of a text, not checked yet.

    Raises:
        RenderingError: the text is nested too deep.
        TooSlowError: it takes too long.
    """
    env = {"until": time.thread_time() + MOST_S, "tries": 0}
    tokens = _parser().parse(text, env)
    if any(token.level >= DEEPEST - 1 for token in tokens):
        raise RenderingError("This text is nested too deeply. Show it as it is.")
    return "".join(_write(tokens, env))


@cache
def _parser() -> MarkdownIt:
    parser = _Parser("commonmark", {"html": False, "maxNesting": DEEPEST})
    parser.enable(["strikethrough", "table"]).disable(OFF)
    parser.block.ruler.at("table", tables.table_rule, {"alt": ["paragraph"]})
    parser.block.ruler.before("fence", "math", dollars.block_rule, {"alt": ["paragraph", "blockquote", "list"]})
    parser.block.ruler.before("table", "clock", _look_at_the_clock, {"alt": ["paragraph", "blockquote", "list"]})
    parser.inline.ruler.before("text", "clock", _look_at_the_clock)
    parser.inline.ruler.before("escape", "math", dollars.inline_rule)
    parser.inline.ruler.before("emphasis", "dunder", _dunder)
    return parser


class _Parser(MarkdownIt):
    """Shows addresses as they were written; none becomes a link, so none is dangerous."""

    def validateLink(self, url: str) -> bool:
        return True

    def normalizeLink(self, url: str) -> str:
        return url


def _look_at_the_clock(state: Any, *_: Any) -> bool:
    """Match nothing, as a rule, but end what takes too long."""
    _end_in_time(state.env)
    return False


def _end_in_time(env: Any) -> None:
    env["tries"] += 1
    if env["tries"] % LOOKS == 0 and time.thread_time() > env["until"]:
        raise TooSlowError("This text takes long to format. Show it as it is.")


def _dunder(state: StateInline, silent: bool) -> bool:
    """Match `__init__` as a name, not a bold word."""
    if state.src[state.pos] != "_" or (state.pos and state.src[state.pos - 1].isalnum()):
        return False
    found = _DUNDER.match(state.src, state.pos, state.posMax)
    if not found:
        return False
    if not silent:
        state.append_pending(found[0])
    state.pos = found.end()
    return True


def _write(tokens: Sequence[Token], env: dict[str, Any]) -> list[str]:
    """Return tokens as pieces of markup."""
    out: list[str] = []
    links: list[Token] = []
    for token in tokens:
        if token.type == "inline":
            out += _write(token.children or [], env)
        elif token.type == "image":
            out += ['<span class="image">', *_write(token.children or [], env), "</span>", _address(token, "src")]
        elif token.type == "link_close":
            out += ["</span>", _address(links.pop(), "href")]
        elif token.type in _WRITERS:
            _end_in_time(env)
            out.append(_WRITERS[token.type](token))
        elif token.type in CLOSED:
            out.append(CLOSED[token.type])
        elif token.type in OPENED:
            out.append(OPENED[token.type])
            if token.type == "link_open":
                links.append(token)
        else:
            raise RenderingError(f"There is no way to draw {token.type}. Show the text as it is.")
    return out


def _address(token: Token, name: str) -> str:
    """Return where a link or an image would lead, as text next to its words, with its title."""
    address, title = token.attrs.get(name, ""), token.attrs.get("title", "")
    shown = f'({address} "{title}")' if title else f"({address})"
    return f'<span class="where"> {escape(shown, quote=False)}</span>'


def _text(token: Token) -> str:
    return escape(token.content, quote=False)


def _heading(token: Token) -> str:
    return f'<p class="heading {token.tag}" dir="auto">'


def _item(token: Token) -> str:
    """Open a list item with its number as it was written: a list that counts 1, 2, 5 must be seen as such."""
    number = f'<span class="number">{escape(token.info + token.markup)}</span>' if token.info else ""
    opened = '<li class="plus">' if token.markup == "+" else "<li>"
    return f"{opened}{number}<div>"


def _cell(token: Token) -> str:
    side = f' class="is-{token.info}"' if token.info else ""
    return f'<{token.tag} dir="auto"{side}>'


def _code(token: Token) -> str:
    """Draw a block of code below the text on its fence's line, mostly the language."""
    about = f'<div class="language">{escape(token.info.strip(), quote=False)}</div>' if token.info.strip() else ""
    content = token.content.removesuffix("\n")
    return f'{about}<pre dir="auto"><code>{escape(content, quote=False)}</code></pre>'


def _math(token: Token) -> str:
    is_display = not token.markup.startswith("\\(") and token.markup[:2] in dollars.CLOSING
    try:
        inside = formulas.to_mathml(token.content.strip(), is_display)
    except (RenderingError, RecursionError):
        return f'<code class="tex">{escape(token.markup, quote=False)}</code>'
    display = ' display="block"' if is_display else ""
    return f'<math{display} alttext="{escape(token.markup)}">{inside}</math>'


def _math_block(token: Token) -> str:
    return f'<p class="display" dir="auto">{_math(token)}{escape(token.info, quote=False)}</p>'


_WRITERS: dict[str, Callable[[Token], str]] = {
    "text": _text,
    "code_inline": lambda token: f"<code>{_text(token)}</code>",
    "heading_open": _heading,
    "list_item_open": _item,
    "th_open": _cell,
    "td_open": _cell,
    "fence": _code,
    "code_block": _code,
    "math": _math,
    "math_block": _math_block,
}
