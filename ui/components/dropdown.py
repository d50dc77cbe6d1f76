"""New choices for a dropdown that is on the page."""

from collections.abc import Sequence
from typing import Any

import gradio as gr


def offer(choices: Sequence[Any], shown: Any, value: Any, **more: Any) -> gr.Dropdown:
    """Return an update that offers `choices`, and sets `value` only where it is not what the page shows.

    An update takes a while; what a person chose meanwhile is not overwritten with what was shown when it was asked for.

    Args:
        choices: As `gr.Dropdown` takes them.
        shown: The value that the page sent.
        value: The value that it must have.
        more: Other settings of the dropdown.
    """
    wanted = {} if value == shown else {"value": value}
    return gr.Dropdown(choices=list(choices), **wanted, **more)
