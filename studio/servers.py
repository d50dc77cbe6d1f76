"""Lists the other servers that have this workspace open, so that the user can be told. Several may share it.

Each holds a kernel lock on its own file while it lives, so a killed server is not counted.
"""

import os
from contextlib import ExitStack, suppress
from typing import BinaryIO
from uuid import uuid4

from filelock import FileLock

from studio.files import locks
from studio.workspace import Workspace

_held: list[BinaryIO] = []
"""Kept open: a lock lasts as long as its file."""


def announce(ws: Workspace, url: str) -> list[str]:
    """Register this process as a server of the workspace at `url`; returns the addresses of the others.

    On a disk that cannot be written it registers nothing, and returns the addresses found so far.
    """
    folder = ws.root / "servers"
    others = []
    with suppress(OSError), ExitStack() as stack:
        folder.mkdir(exist_ok=True)
        stack.enter_context(FileLock(folder / "announcing.lock"))
        for path in folder.glob("[0-9]*.url"):
            file = stack.enter_context(path.open(encoding="utf-8"))
            if locks.try_lock(file):
                path.unlink()  # its server is gone
            else:
                others.append(file.read())
        mine = (folder / f"{os.getpid()}-{uuid4().hex[:8]}.url").open(
            "xb", buffering=0
        )  # a pid may be in use on another machine
        _held.append(mine)
        locks.lock(mine)
        mine.write(url.encode())
    return sorted(others)


def others(ws: Workspace) -> list[str]:
    """Return the addresses of the servers that have the workspace open; nothing is changed."""
    found = []
    with suppress(OSError):
        for path in sorted((ws.root / "servers").glob("*.url")):
            with path.open(encoding="utf-8") as file:
                if locks.is_locked(file):
                    found.append(file.read())
    return found
