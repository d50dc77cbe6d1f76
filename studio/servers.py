"""Which servers have a workspace open. Several may: what they share is in the database. But a person should know of it.

Each holds a kernel lock on a file of its own for as long as it lives, so one that was killed is not counted.
"""

import fcntl
import os
from contextlib import ExitStack, suppress
from typing import BinaryIO
from uuid import uuid4

from studio.workspace import Workspace

_held: list[BinaryIO] = []
"""Kept open: a lock lasts as long as its file."""


def announce(ws: Workspace, url: str) -> list[str]:
    """Say that this process serves the workspace at `url`; returns the addresses at which others do.

    On a disk that cannot be written it says nothing, and returns what it had found.
    """
    folder = ws.root / "servers"
    others = []
    with suppress(OSError), ExitStack() as stack:
        folder.mkdir(exist_ok=True)
        fcntl.flock(stack.enter_context((folder / "announcing.lock").open("a")), fcntl.LOCK_EX)
        for path in folder.glob("[0-9]*.url"):
            file = stack.enter_context(path.open(encoding="utf-8"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()  # its server is gone
            except BlockingIOError:
                others.append(file.read())
        mine = (folder / f"{os.getpid()}-{uuid4().hex[:8]}.url").open(
            "xb", buffering=0
        )  # a number may be taken on another machine
        _held.append(mine)
        fcntl.flock(mine, fcntl.LOCK_EX)
        mine.write(url.encode())
    return sorted(others)


def others(ws: Workspace) -> list[str]:
    """Return the addresses at which servers have the workspace open; nothing is changed."""
    found = []
    with suppress(OSError):
        for path in sorted((ws.root / "servers").glob("*.url")):
            with path.open(encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    found.append(file.read())
    return found
