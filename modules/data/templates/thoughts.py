"""Thinking blocks, which some chat templates open in front of an answer, and some answers bring along."""

import re
from typing import NamedTuple

_NAME = r"(?:\w+:)?(?:think(?:ing)?|thought|reasoning)"
_OPENING = re.compile(rf"(?:<{_NAME}>|\[{_NAME}\]|◁{_NAME}▷)", re.IGNORECASE)
_CLOSING = re.compile(rf"(?:</{_NAME}>|\[/{_NAME}\]|◁/{_NAME}▷)", re.IGNORECASE)
_BLOCK = re.compile(rf"{_OPENING.pattern}.*?(?:{_CLOSING.pattern}|$)", re.IGNORECASE | re.DOTALL)
_AT_END = re.compile(rf"(?P<tag>{_OPENING.pattern})\s*(?P<close>{_CLOSING.pattern})?\s*$", re.IGNORECASE)


class Opening(NamedTuple):
    """Text before an answer, cut where its thinking block begins."""

    head: str
    block: str
    """Empty where there is none."""
    is_open: bool
    """True where the block does not end, so that what follows reads as thinking."""


def is_tag(text: str) -> bool:
    """Return whether a text is a tag that opens or closes a thinking block."""
    return bool(_OPENING.fullmatch(text) or _CLOSING.fullmatch(text))


def are_mentioned(text: str) -> bool:
    """Return whether a text, such as a template, holds a tag of thinking blocks."""
    return bool(_OPENING.search(text) or _CLOSING.search(text))


def without(text: str) -> str:
    """Return a text without thinking blocks, ended or not, and without the space around it."""
    return _BLOCK.sub("", text).strip()


def split(text: str) -> Opening:
    """Cut a prompt before the empty or open thinking block at its end."""
    found = _AT_END.search(text)
    if not found:
        return Opening(text, "", False)
    return Opening(text[: found.start()], text[found.start() :], not found["close"])


def closed(block: str) -> str:
    """Return an open, empty block as an ended one."""
    tag = block.strip()
    return f"{tag}\n\n{closing_of(tag)}\n\n"


def closing_of(tag: str) -> str:
    """Return the tag that ends a block."""
    return f"{tag[0]}/{tag[1:]}"


def brings(text: str) -> bool:
    """Return whether an answer has a thinking block of its own, or only the end of one."""
    opening, closing = _OPENING.search(text), _CLOSING.search(text)
    starts = bool(opening and not text[: opening.start()].strip())
    return starts or bool(closing and not (opening and opening.start() < closing.start()))


def behind(text: str, block: str) -> str:
    """Return an answer that brings a block as it continues after `block`: the template's open one, or none."""
    opening = _OPENING.search(text)
    has_own = bool(opening and not text[: opening.start()].strip())
    if block:
        assert has_own or _CLOSING.search(text)
        return text[opening.end() :].lstrip("\n") if opening and has_own else text
    if has_own:
        return text
    closing = _CLOSING.search(text)
    assert closing
    return closing[0].replace("/", "", 1) + "\n" + text
