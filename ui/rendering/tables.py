r"""Tables with pipes: a rule for markdown-it that leaves no cell out.

GitHub's rule, and with it the library's, cuts a row at pipes within code and drops the cells that a row has beyond its
header. Models' answers do both, so here pipes in code, math and after a backslash are text, and all cells are drawn.
"""

import re

from markdown_it.rules_block import StateBlock

from ui.rendering.dollars import span_at

_RULE = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?")
_CODE = re.compile(r"(`+)(?!`)(?:(?!\1(?!`))[\s\S])*?[^`]\1(?!`)")


def split_row(line: str) -> list[str]:
    """Return the cells of a row."""
    line = line.strip()
    cells, cell, at = [], "", 1 if line.startswith("|") else 0
    while at < len(line):
        step = 1
        if line[at] == "|":
            cells.append(cell.strip())
            cell, at = "", at + 1
            continue
        if math := span_at(line, at, len(line)):
            step = math[0] - at
        elif line[at] == "\\":
            step = 2
        elif line[at] == "`" and (code := _CODE.match(line, at)):
            step = code.end() - at
        elif line[at] == "`":
            step = len(line[at:]) - len(line[at:].lstrip("`"))
        piece = line[at : at + step]
        cell += piece if math else piece.replace("\\|", "|")
        at += step
    return [*cells, cell.strip()] if cell.strip() or not line.endswith("|") else cells


def table_rule(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Match a header, a line of dashes, and rows until a blank line or another block."""
    if start + 2 > end or not _is_row(state, start) or not _is_row(state, start + 1):
        return False
    header, dashes = _line(state, start), _line(state, start + 1).strip()
    if "|" not in header or not _RULE.fullmatch(dashes):
        return False
    aligned = [_aligned(cell.strip()) for cell in dashes.strip("|").split("|")]
    cells = split_row(header)
    if len(cells) != len(aligned):
        return False
    if silent:
        return True
    state.push("table_open", "table", 1).map = [start, start + 2]
    _push_row(state, start, "th", cells, aligned)
    line = start + 2
    while line < end and _is_row(state, line) and not state.isEmpty(line) and not _is_ended(state, line, end):
        _push_row(state, line, "td", split_row(_line(state, line)), aligned)
        line += 1
    state.push("table_close", "table", -1)
    state.line = line
    return True


def _is_row(state: StateBlock, line: int) -> bool:
    return state.sCount[line] >= state.blkIndent and not state.is_code_block(line)


def _is_ended(state: StateBlock, line: int, end: int) -> bool:
    parent, state.parentType = state.parentType, "table"
    try:
        return any(rule(state, line, end, True) for rule in state.md.block.ruler.getRules("blockquote"))
    finally:
        state.parentType = parent


def _line(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]


def _aligned(dashes: str) -> str:
    if dashes.endswith(":"):
        return "center" if dashes.startswith(":") else "right"
    return ""


def _push_row(state: StateBlock, line: int, tag: str, cells: list[str], aligned: list[str]) -> None:
    state.push("tr_open", "tr", 1)
    for cell, side in zip(cells, aligned + [""] * len(cells), strict=False):
        token = state.push(f"{tag}_open", tag, 1)
        token.info = side
        inline = state.push("inline", "", 0)
        inline.map, inline.content, inline.children = [line, line + 1], cell, []
        state.push(f"{tag}_close", tag, -1)
    state.push("tr_close", "tr", -1)
