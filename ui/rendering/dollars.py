r"""Finds formulas in a text: rules for markdown-it for `$...$`, `$$...$$`, `\(...\)` and `\[...\]`.

Dollar signs are more often money or shell variables than math. A formula in single ones touches both of them, holds no
other one, and no letter or digit stands next to its outside; words alone are not a formula.
"""

import re

from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

from ui.rendering.formulas import MOST

CLOSING = {"$$": "$$", "\\[": "\\]", "\\(": "\\)"}
_SINGLE = re.compile(r"\$(?![\s$])((?:[^$\\`]|\\[\s\S])+)(?<!\s)\$(?![$_{(@#&%^+=\[])")
_WORDS = re.compile(r"(?:^|\s)[A-Za-z]{2,}[\s.,;:!?]|\s[A-Za-z]{2,}$")
_WORD = re.compile(r"\s+[A-Za-z]{2,}\s+")
_MARKS = re.compile(r"[.,;:!?]{0,3}")


def span_at(text: str, at: int, end: int) -> tuple[int, str] | None:
    """Return where the formula that begins at `at` ends, and its TeX; None where no formula begins."""
    mark = text[at : at + 2]
    if mark in CLOSING:
        close = text.find(CLOSING[mark], at + 2, min(end, at + 4 + MOST))
        source = text[at + 2 : close]
        return (close + 2, source) if close > 0 and _is_tex(source, mark) else None
    if not mark.startswith("$") or (at and (text[at - 1] == "$" or _is_word(text[at - 1]))):
        return None
    found = _SINGLE.match(text, at, min(end, at + 2 + MOST))
    if not found or (found.end() < end and _is_word(text[found.end()])) or not _is_tex(found[1], "$"):
        return None
    return found.end(), found[1]


def inline_rule(state: StateInline, silent: bool) -> bool:
    """Find a formula within a paragraph."""
    if state.src[state.pos] not in "$\\":
        return False
    found = span_at(state.src, state.pos, state.posMax)
    if not found:
        return False
    end, source = found
    if not silent:
        token = state.push("math", "", 0)
        token.content, token.markup = source, state.src[state.pos : end]
    state.pos = end
    return True


def block_rule(state: StateBlock, start: int, end_line: int, silent: bool) -> bool:
    """Find a formula on lines of its own. It may hold what elsewhere begins a list or a heading."""
    at = state.bMarks[start] + state.tShift[start]
    mark = state.src[at : at + 2]
    if mark not in ("$$", "\\[") or state.is_code_block(start):
        return False
    limit = min(state.eMarks[end_line - 1], at + 4 + MOST)
    if state.src.find(CLOSING[mark], at + 2, limit) < 0:
        return False
    lines = [state.src[at + 2 : state.eMarks[start]]]
    line = start
    while CLOSING[mark] not in lines[-1]:
        line += 1
        if line >= end_line or (state.sCount[line] < state.blkIndent and not state.isEmpty(line)):
            return False
        lines.append(state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]])
    source, _, rest = "\n".join(lines).partition(CLOSING[mark])
    if not _MARKS.fullmatch(rest.strip()) or not _is_tex(source, mark):
        return False
    if not silent:
        token = state.push("math_block", "", 0)
        token.content, token.markup, token.info = source, f"{mark}{source}{CLOSING[mark]}", rest.strip()
        token.map = [start, line + 1]
        state.line = line + 1
    return True


def _is_word(sign: str) -> bool:
    """Return whether a sign is a letter or digit, but not of a script without blanks between words: math may follow."""
    return sign.isdecimal() or (sign.isalpha() and sign.lower() != sign.upper())


def _is_tex(source: str, mark: str) -> bool:
    if not source.strip() or len(source) > MOST:
        return False
    if not mark.startswith("$") or "\\" in source:
        return True
    return not _WORDS.search(source.strip()) and not _WORD.fullmatch(source)
