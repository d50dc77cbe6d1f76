"""Says at the terminal that a database is being worked on: a line at the start, and the seconds while it lasts."""

import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

EVERY_S = 2.0
STEPS = 1_000_000
"""Of SQLite's machine between two looks at the clock: some hundredths of a second."""


def say(line: str) -> None:
    """One line to the person, beside the output of the command."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def shown(connection: sqlite3.Connection, what: str) -> Iterator[None]:
    """Say every few seconds how long it has taken; nothing where `what` is empty."""
    if not what:
        yield
        return
    started = told = time.monotonic()

    def look() -> int:
        nonlocal told
        if time.monotonic() - told >= EVERY_S:
            told = time.monotonic()
            say(f"{what}: at work for {told - started:.0f} s ...")
        return 0

    connection.set_progress_handler(look, STEPS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)
    say(f"{what}: done in {time.monotonic() - started:.0f} s.")
