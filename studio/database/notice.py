"""Says at the terminal that work on a database is going on: a line at the start, then the seconds it has taken."""

import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

EVERY_S = 2.0
STEPS = 1_000_000
"""Steps of SQLite's virtual machine between two looks at the clock: some hundredths of a second."""


def say(line: str) -> None:
    """Print a line for the person, apart from the command's output."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def shown(connection: sqlite3.Connection, what: str) -> Iterator[None]:
    """Print every few seconds how long it has taken; nothing where `what` is empty."""
    if not what:
        yield
        return
    started = told = time.monotonic()

    def look() -> int:
        nonlocal told
        if time.monotonic() - told >= EVERY_S:
            told = time.monotonic()
            say(f"{what}: working for {told - started:.0f} s ...")
        return 0

    connection.set_progress_handler(look, STEPS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)
    say(f"{what}: done in {time.monotonic() - started:.0f} s.")
