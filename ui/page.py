"""Describes a page to the app: how to update it, and where its address and drafts belong."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import gradio as gr


class Page(NamedTuple):
    """Everything `ui.app` needs to keep a page fresh.

    Attributes:
        refresh: called when the page is opened, and by its timer.
        inputs: what `refresh` is given.
        outputs: what it sets.
        timer: ticks while the page is open, where the page is live.
        pulse: tells by its submit event that what the open page shows has changed, where a look at that is cheap.
        live: what the timer calls instead of `refresh`, with its inputs and outputs, where that is less work.
        item: the component that holds the choice on the page; `#page/item` in the address sets it.
        typed: fields in which a text is written, each with the hidden one that `refresh` sets (`ui.components.typed`).
    """

    refresh: Callable[..., Any]
    inputs: list[Any]
    outputs: list[Any]
    timer: gr.Timer | None = None
    pulse: gr.HTML | None = None
    live: tuple[Callable[..., Any], list[Any], list[Any]] | None = None
    item: gr.Textbox | gr.Radio | None = None
    typed: Mapping[gr.Textbox, gr.Textbox] = MappingProxyType({})
