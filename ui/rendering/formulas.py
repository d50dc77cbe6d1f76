"""TeX to MathML through latex2mathml. What it does not know, or what would hide a part of the formula, is refused.

The elements it makes are written here, one by one and escaped, with a list of attributes that may stay. The list is
about what can be seen: invisible, zero-width and coloured parts, addresses and styles are not on it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from html import escape
from unicodedata import normalize
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element
from latex2mathml.symbols_parser import convert_symbol

from ui.rendering.errors import RenderingError

MOST = 2000
"""Characters of a formula that is drawn; a longer one is shown as its source."""
DEEPEST = 60
LEAVES = ("mi", "mn", "mo", "mtext")
ROWS = ("mrow", "mstyle", "msqrt", "mfrac", "mroot", "msub", "msup", "msubsup", "munder", "mover", "munderover",
        "mtable", "mtr", "mtd", "menclose")  # fmt: skip
CHILDREN = {"mfrac": 2, "mroot": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "msubsup": 3, "munderover": 3}
"""Element to the number of its parts, where a browser insists on it."""
ATTRIBUTES = frozenset(
    ("accent", "columnalign", "columnlines", "displaystyle", "fence", "form", "largeop", "linethickness", "maxsize",
     "minsize", "movablelimits", "notation", "rowlines", "scriptlevel", "separator", "stretchy", "symmetric")
)  # fmt: skip
IGNORED = frozenset(("columnspacing", "rowspacing", "linebreak"))
"""Spaces that a browser chooses well by itself."""
FONTS = {
    "bold": "mathbf",
    "italic": "mathit",
    "bold-italic": "boldsymbol",
    "double-struck": "mathbb",
    "script": "mathcal",
    "fraktur": "mathfrak",
    "sans-serif": "mathsf",
    "monospace": "mathtt",
}
"""A font of MathML to the TeX command for one letter in it: browsers know only the letters, not the fonts."""
BRACKETS = {"\\{": "{", "\\}": "}", "\\|": "‖"}
TALL = {
    "lim",
    "max",
    "min",
    "sup",
    "inf",
    "liminf",
    "limsup",
    "argmax",
    "argmin",
    "lim inf",
    "lim sup",
    "arg max",
    "arg min",
}
UNDER = {"msub": "munder", "msup": "mover", "msubsup": "munderover"}
SAME = {
    "aligned": "split", "align": "align*", "gathered": "matrix", "gather": "matrix", "gather*": "matrix",
    "equation*": "equation", "dcases": "cases", "multline": "matrix", "multline*": "matrix",
}  # fmt: skip
"""An environment to one that the library knows and that looks alike, without numbers that the text does not have."""
_MACROS = re.compile(
    r"\\(?:[a-z]*def|let|(?:re|provide)?newcommand|newenvironment|renewenvironment|DeclareMathOperator)\b"
)
_COMMENT = re.compile(r"(?<!\\)(?:\\\\)*%")
_ENVIRONMENT = re.compile(r"\\(begin|end)\s*\{(\w+\*?)\}")
_ROW_SPACE = re.compile(r"\\\\\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm|in)\s*\]")
_COLUMNS = re.compile(r"(\\begin\s*\{array\})\s*\{[lcr|\s]*\}")
_OPERATOR = re.compile(r"\\operatorname\*?\s*\{((?:[a-zA-Z\s]|\\[,;: ])+)\}")
_ESCAPED = re.compile(r"\\.")
_COMMAND = re.compile(r"\\[a-zA-Z]+\*?")
_POINT = re.compile(r"&#x([0-9A-Fa-f]{1,6});")
_SPACE = re.compile(r"[0-3]?\.?\d{1,3}em")


@lru_cache(maxsize=2000)
def to_mathml(source: str, is_display: bool) -> str:
    """Return the inside of a `<math>` element for a formula.

    Args:
        source: TeX without its dollar signs.
        is_display: it stands alone on its line.

    Raises:
        RenderingError: the formula cannot be drawn, or not all of it.
    """
    if len(source) > MOST or _MACROS.search(source) or _COMMENT.search(source):
        raise RenderingError("This formula is long, defines commands or has comments. Show its source.")
    braces = _ESCAPED.sub("", source)
    if braces.count("{") != braces.count("}"):
        raise RenderingError("This formula has an unmatched brace. Show its source.")
    tex = _ROW_SPACE.sub(r"\\\\", source)
    tex = _OPERATOR.sub(lambda found: f"\\operatorname{{{re.sub('[^a-zA-Z]+', ' ', found[1])}}}", tex)
    tex = _ENVIRONMENT.sub(lambda found: f"\\{found[1]}{{{SAME.get(found[2], found[2])}}}", tex)
    try:
        root = convert_to_element(tex, display="block" if is_display else "inline")
    except Exception as error:  # the library raises whatever its parser met
        raise RenderingError("latex2mathml cannot read this formula. Show its source.") from error
    written = list(_write(root[0], is_display, 0))
    _compare(tex, (text for text, is_shown in written if is_shown))
    return "".join(text if not is_shown else escape(text) for text, is_shown in written)


def _write(node: Element, is_display: bool, depth: int) -> Iterator[tuple[str, bool]]:
    """Yield pieces of markup (False) and of text to be escaped (True)."""
    if depth > DEEPEST or (node.tail or "").strip():
        raise RenderingError("This formula is nested too deeply. Show its source.")
    tag = "mrow" if node.tag == "mpadded" else node.tag  # its only use is to overlay, squeeze or shift
    if tag == "mspace":
        width = node.get("width", "")
        yield (f'<mspace width="{width}"></mspace>' if _SPACE.fullmatch(width) else ""), False
        return
    if tag in LEAVES:
        yield from _write_leaf(node)
        return
    if tag not in ROWS or (node.text or "").strip() or len(node) != CHILDREN.get(tag, len(node)):
        raise RenderingError(f"This formula uses {tag}, which is not supported. Show its source.")
    if tag in UNDER and is_display and _text(node[0].text or "") in TALL:
        tag = UNDER[tag]
    if tag == "mtable":
        _lay_lines(node)
    attributes = "" if node.tag == "mpadded" else _attributes(node)
    yield f"<{tag}{attributes}>", False
    for child in node:
        yield from _write(child, is_display, depth + 1)
    yield f"</{tag}>", False


def _lay_lines(table: Element) -> None:
    """Give each cell the lines at its side, which `text.css` draws: browsers know no table lines."""
    columns, rows = (table.attrib.pop(name, "").split() for name in ("columnlines", "rowlines"))
    for below, row in zip(rows + ["none"] * len(table), table, strict=False):
        for right, cell in zip(columns + ["none"] * len(row), row, strict=False):
            cell.attrib |= {"columnlines": right} if right != "none" else {}
            cell.attrib |= {"rowlines": below} if below != "none" else {}


def _write_leaf(node: Element) -> Iterator[tuple[str, bool]]:
    raw = BRACKETS.get(node.text or "", node.text or "")
    if "\\" in raw or raw == "&" or len(node):
        raise RenderingError("This formula has an unknown command. Show its source.")
    font = node.attrib.pop("mathvariant", "")
    text = _text(raw)
    if font in FONTS:
        text = "".join(_letter(FONTS[font], letter) for letter in text)
    elif font not in ("", "normal"):
        raise RenderingError(f"This formula uses the font {font}, which is not supported. Show its source.")
    upright = ' mathvariant="normal"' if font == "normal" and node.tag == "mi" else ""
    yield f"<{node.tag}{_attributes(node)}{upright}>", False
    yield text, True
    yield f"</{node.tag}>", False


def _attributes(node: Element) -> str:
    found = {name: value for name, value in node.attrib.items() if name not in IGNORED}
    if not ATTRIBUTES.issuperset(found) or found.get("notation", "box") != "box":
        raise RenderingError("This formula has a colour, a style or an address. Show its source.")
    return "".join(f' {name}="{escape(value)}"' for name, value in found.items())


def _text(raw: str) -> str:
    """Decode references such as `&#x0003D;`, as which the library writes signs."""
    return _POINT.sub(lambda found: _sign(int(found[1], 16)), raw)


def _sign(point: int) -> str:
    if point < 0x20 or 0xD800 <= point < 0xE000 or point > 0x10FFFF:
        raise RenderingError("This formula has an invalid character code. Show its source.")
    return chr(point)


def _letter(command: str, letter: str) -> str:
    point = convert_symbol(f"\\{command}{{{letter}}}")
    return chr(int(point, 16)) if point else letter


def _compare(tex: str, shown: Iterable[str]) -> None:
    """Refuse a drawing that lacks letters or digits which are not part of a command."""
    said = _COMMAND.sub(" ", _ENVIRONMENT.sub(" ", _COLUMNS.sub(" ", tex.replace("\\\\", " "))))
    missing = Counter(filter(str.isalnum, normalize("NFKC", said)))
    missing.subtract(filter(str.isalnum, normalize("NFKC", "".join(shown))))
    if any(count > 0 for count in missing.values()):
        raise RenderingError("A part of this formula would not be shown. Show its source.")
