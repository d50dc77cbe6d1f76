"""Prints what is to be judged: the conversation, then the answers next to or below each other."""

import shutil
import textwrap

from studio.preferences import vocabulary
from studio.preferences.comparisons import Showing

NARROWEST_PAIR = 100


def page(showing: Showing, heading: str) -> str:
    """Lay out two answers side by side, or one below the other in a narrow window; three or more always so."""
    width = shutil.get_terminal_size().columns
    lines = ["", f"── {heading} ".ljust(width, "─")]
    for turn in showing.messages:
        lines += wrapped(f"{turn['role']}: {turn['content']}", width)
    lines.append("")
    num = len(showing.texts)
    heads = [f"[{vocabulary.answer(position, num)}]" for position in range(num)]
    if width < NARROWEST_PAIR or num > 2:
        for head, text in zip(heads, showing.texts, strict=True):
            lines += [head, *wrapped(text, width), ""]
        return "\n".join(lines)
    half = (width - 3) // 2
    left, right = ([head, *wrapped(text, half)] for head, text in zip(heads, showing.texts, strict=True))
    for row in range(max(len(left), len(right))):
        sides = [column[row] if row < len(column) else "" for column in (left, right)]
        lines.append(f"{sides[0].ljust(half)} │ {sides[1]}".rstrip())
    return "\n".join(lines)


def when(at: str, letters: int = 16) -> str:
    """Format a stored time with its zone: days and times are UTC everywhere here, also in the filters."""
    return f"{at[:letters].replace('T', ' ')} UTC"


def printable(text: str) -> str:
    """Return the text with a box for each control character, which could control the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def wrapped(text: str, width: int) -> list[str]:
    """Return the lines of the text."""
    return [
        line
        for paragraph in printable(text).split("\n")
        for line in textwrap.wrap(paragraph.expandtabs(4), width) or [""]
    ]
