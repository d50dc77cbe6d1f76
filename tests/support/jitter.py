"""Makes the studio slow at random, as a busy machine does: ``pytest tests/ui --jitter=2``.

What waits for a condition still passes. What counts on one thing being quicker than another fails here, and not first on
somebody else's machine.
"""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ui import handlers

SHARE = 0.3
"""Of the events, the calls of the page's scripts and the starts of processes."""


def add(monkeypatch: pytest.MonkeyPatch, longest_s: float) -> None:
    """Let some of what the page asks for, and some children, begin up to `longest_s` seconds late."""
    guarded, served, start = handlers._border, handlers.served, subprocess.Popen.__init__

    @contextmanager
    def late_border(handler: Callable[..., Any]) -> Iterator[None]:
        _wait(longest_s)
        with guarded(handler):
            yield

    def late_served(handler: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
        serve = served(handler)

        def late(data: Any = None) -> dict[str, Any]:
            _wait(longest_s)
            return serve(data)

        late.__name__ = serve.__name__
        return late

    def late_start(*arguments: Any, **named: Any) -> None:
        _wait(longest_s)
        start(*arguments, **named)

    monkeypatch.setattr(handlers, "_border", late_border)
    monkeypatch.setattr(subprocess.Popen, "__init__", late_start)
    for module in [each for name, each in sys.modules.items() if name.startswith("ui.") and hasattr(each, "served")]:
        monkeypatch.setattr(module, "served", late_served)


def _wait(longest_s: float) -> None:
    if random.random() < SHARE:
        time.sleep(random.uniform(0, longest_s))
