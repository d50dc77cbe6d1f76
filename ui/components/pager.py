"""A list in pages: a field to search it, and two buttons. Long lists are never drawn, or offered, as a whole."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import gradio as gr

from studio.page_reads import PAGE
from ui.handlers import any_of, on


class Pager(NamedTuple):
    """The components of one list; `inputs` are what its page is drawn from, `outputs` what drawing it sets."""

    search: gr.Textbox
    offset: gr.Number
    row: gr.Row
    newer: gr.Button
    older: gr.Button

    @property
    def inputs(self) -> list[Any]:
        """The search word, and how many rows come before the page."""
        return [self.search, self.offset]

    @property
    def outputs(self) -> list[Any]:
        """The components that `states` sets."""
        return [self.offset, self.search, self.row, self.newer, self.older]

    def bind(
        self, draw: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any], *filters: gr.Dropdown
    ) -> None:
        """Draw again with `draw(*inputs)`, whose last two are the pager's, when one of them or of the `filters` changes."""
        first = partial(_moved, draw, None)
        if filters:
            on(any_of(filters, "input"), first, list(inputs), list(outputs))
        on(self.search.input, first, list(inputs), list(outputs), trigger_mode="always_last")
        for button, by in ((self.newer, -PAGE), (self.older, PAGE)):
            on(button.click, partial(_moved, draw, by), list(inputs), list(outputs))


def build(name: str, words: str) -> Pager:
    """Place it; `words` stand in the empty field."""
    search = gr.Textbox(
        "", label=words, placeholder=words, show_label=False, container=False, max_lines=1, visible=False, min_width=160,
        elem_id=f"{name}-search",
    )  # fmt: skip
    offset = gr.Number(0, visible=False)
    with gr.Row(elem_classes="controls pager", visible=False) as row:
        newer = gr.Button("Newer", interactive=False, size="sm", min_width=90, elem_id=f"{name}-newer")
        older = gr.Button("Older", interactive=False, size="sm", min_width=90, elem_id=f"{name}-older")
    return Pager(search, offset, row, newer, older)


def place(offset: Any) -> int:
    """Return the number of rows before the page, whatever was sent."""
    try:
        return max(0, min(int(offset or 0), 10**9))
    except (TypeError, ValueError, OverflowError):
        return 0


def states(start: int, num_found: int, search: str) -> list[Any]:
    """Return the pager's look when `num_found` rows were found from `start` on, of which `PAGE` are shown."""
    is_long = start > 0 or num_found > PAGE
    return [
        start,
        gr.Textbox(visible=is_long or bool(search)),
        gr.Row(visible=is_long),
        gr.Button(interactive=start > 0),
        gr.Button(interactive=num_found > PAGE),
    ]


def _moved(draw: Callable[..., Any], by: int | None, *values: Any) -> Any:
    *rest, search, offset = values
    return draw(*rest, search, 0 if by is None else max(0, place(offset) + by))
