"""The studio in the browser. Gradio is loaded here first, where no proxy of the person's can stop it."""

import gc
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
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


@contextmanager
def _no_collections() -> Iterator[None]:
    """Let Python look for no garbage meanwhile: loading makes objects that stay."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _load_when_used(name: str) -> None:
    """Put a module instead of one that Gradio imports and nothing here uses; it loads the other when it is asked.

    A module's own `__getattr__` (PEP 562) answers for all that the module lacks, `__path__` among it.
    """
    spec = importlib.util.find_spec(name)
    if name in sys.modules or spec is None:
        return

    def load(attribute: str) -> Any:
        if sys.modules.get(name) is empty:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    empty = ModuleType(name)
    empty.__spec__, empty.__file__ = spec, spec.origin
    empty.__dict__["__getattr__"] = load
    sys.modules[name] = empty


_load_when_used("pandas")
with proxies.set_aside(), _no_stubs(), _no_collections():
    import gradio as gradio
