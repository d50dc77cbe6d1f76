"""The studio in the browser. Gradio is loaded here first, where no proxy of the person's can stop it."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from studio.network import proxies


@contextmanager
def _no_stubs() -> Iterator[None]:
    """Let Gradio compare no stub file (.pyi) with the source of each component, which takes half of its loading."""
    find = inspect.getfile

    def getfile(made: Any) -> str:
        if type(made).__name__ == "ComponentMeta":
            raise OSError("a component needs no stub file")
        return find(made)

    inspect.getfile = getfile
    try:
        yield
    finally:
        inspect.getfile = find


with proxies.set_aside(), _no_stubs():
    import gradio as gradio
