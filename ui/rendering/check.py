"""Checks markup before it leaves the studio: it is read back here, by rules stricter than a browser's.

`read` refuses every element and attribute that is not on the list, and gives the text that stands on the screen;
`compare` sets that text against the source. So neither a mistake of a library nor one of ours can run anything in the
browser, or take a word from an answer without a trace.
"""

import re
from html import unescape

from ui.rendering.errors import RenderingError

ELEMENTS = frozenset(
    ("p", "div", "span", "pre", "code", "strong", "em", "s", "blockquote", "ul", "ol", "li", "hr",
     "table", "tbody", "tr", "th", "td",
     "math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "msub", "msup", "msubsup", "munder", "mover", "munderover",
     "mfrac", "msqrt", "mroot", "mtable", "mtr", "mtd", "mstyle", "menclose")
)  # fmt: skip
PLAIN = re.compile(r"[A-Za-z0-9 .+-]{0,40}")
ATTRIBUTES = {
    "class": re.compile(r"[a-z0-9 -]{1,40}"),
    "dir": re.compile(r"auto"),
    "alttext": re.compile(r"[\s\S]*"),
    "display": re.compile(r"block|inline"),
} | dict.fromkeys(
    ("accent", "columnalign", "columnlines", "displaystyle", "fence", "form", "largeop", "linethickness",
     "mathvariant", "maxsize", "minsize", "movablelimits", "notation", "rowlines", "scriptlevel", "separator",
     "stretchy", "symmetric", "width"),
    PLAIN,
)  # fmt: skip
"""Attribute to its allowed values. None links anywhere, loads anything or carries a style."""
SYNTAX = "*_~#>-+=|:\\[]()<!`\"'"
"""Signs that Markdown takes for itself; everything else of a text must be on the screen, in its order."""
_PIECE = re.compile(r'<(/?)([a-z]+)((?: [a-z]+="[^"<>]*")*)>|([^<>]+)')
_ATTRIBUTE = re.compile(r' ([a-z]+)="([^"]*)"')
_NO_SYNTAX = re.compile(rf"[\s{re.escape(SYNTAX)}]+")


def read(html: str) -> str:
    """Return the text that markup shows; a formula stands for its TeX.

    Raises:
        RenderingError: something in it is not on the list.
    """
    shown: list[str] = []
    opened: list[str] = []
    at = 0
    while at < len(html):
        piece = _PIECE.match(html, at)
        if piece is None:
            raise RenderingError("The markup has a stray character. Show the text as it is.")
        end, tag, attributes, text = piece.groups()
        at = piece.end()
        if text is not None:
            if "math" not in opened:
                shown.append(text)
        elif end:
            if not opened or opened.pop() != tag or attributes:
                raise RenderingError(f"The markup closes {tag} in the wrong place. Show the text as it is.")
        else:
            tex = _look_at(tag, attributes)
            if tag == "math":
                shown.append(tex)
            if tag != "hr":
                opened.append(tag)
    if opened:
        raise RenderingError(f"The markup leaves {opened[-1]} open. Show the text as it is.")
    return unescape("".join(shown))


def _look_at(tag: str, attributes: str) -> str:
    """Refuse what is not on the list; gives the TeX of a formula, still escaped."""
    if tag not in ELEMENTS:
        raise RenderingError(f"The markup has an element {tag}. Show the text as it is.")
    found = _ATTRIBUTE.findall(attributes)
    for name, value in found:
        if name not in ATTRIBUTES or not ATTRIBUTES[name].fullmatch(value):
            raise RenderingError(f"The markup has an attribute {name}. Show the text as it is.")
    return dict(found).get("alttext", "")


def compare(text: str, shown: str) -> None:
    """Refuse markup that shows less, more or something else than its text says.

    Raises:
        RenderingError: a character is missing, new, or in another place.
    """
    text = text.replace("\0", "\ufffd")
    if kept(text) == kept(shown):
        return
    if kept(unescape(text)) != kept(unescape(shown)):  # in the address of a link, &amp; is an ampersand
        raise RenderingError("Part of the text is missing from its markup. Show the text as it is.")


def kept(text: str) -> str:
    """Return a text without blanks and without signs that may be Markdown."""
    return _NO_SYNTAX.sub("", text)


def squeeze(text: str) -> str:
    """Return a text without blanks."""
    return "".join(text.split())
