"""Turns the pages of a long list both ways, from the ids at its ends, and says how many rows there are in all."""

from collections.abc import Callable
from typing import Any, NamedTuple

import gradio as gr


class Place(NamedTuple):
    """Where a list is.

    Attributes:
        before: rows before its page.
        first: the id of the page's first row.
        last: that of its last one.
        total: the number of all rows, in words.
    """

    before: int = 0
    first: int = 0
    last: int = 0
    total: str = ""


def turn(
    find: Callable[..., list[Any]], count: Callable[[], str], move: str, place: Any, size: int
) -> tuple[list[Any], Place, bool]:
    """Return the rows of a page, where it is, and whether there are more after it.

    Args:
        find: returns rows with an id, given `limit` and `before` or `after`, an id.
        count: says how many there are in all; asked only where the first page is full.
        move: newest, newer, older, or same for the page that is shown.
        place: of the page that is shown; may come from outside.
        size: rows of a page.
    """
    before, first, last, total = _checked(place)
    if move == "newer" and before > size:
        found = find(limit=size, after=first)
        if len(found) == size:
            return found, Place(before - size, found[0].id, found[-1].id, total), True
    if move == "older" and last:
        found, before = find(limit=size + 1, before=last), before + size
    elif move == "same" and before:
        found = find(limit=size + 1, before=first + 1)
    else:
        found, before, total = find(limit=size + 1), 0, ""
    if not found:
        return [], Place(), False
    total = total or (count() if len(found) > size else f"{len(found):,}")
    shown = found[:size]
    return shown, Place(before, shown[0].id, shown[-1].id, total), len(found) > size


def ways(*are_there: bool) -> list[gr.Button]:
    """Return the looks of the buttons that turn pages."""
    return [gr.Button(interactive=each) for each in are_there]


def _checked(place: Any) -> Place:
    try:
        before, first, last, total = place
        return Place(int(before), int(first), int(last), str(total))
    except (TypeError, ValueError):
        return Place()
