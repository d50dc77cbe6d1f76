"""Which checkpoints the resident processes hold (Chat, a tried prompt, `serve`), so that a deletion can list that use.

Each such process keeps a file with their names, and a kernel lock on it while it lives: one that was killed holds nothing.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self
from uuid import uuid4

from studio.files import locks
from studio.workspace import Workspace

SUFFIX = ".loaded"


class Holding:
    """The list of this process, as a context; on a disk that cannot be written there is none."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._file: BinaryIO | None = None
        self._names: list[str] = []

    def __enter__(self) -> Self:
        with suppress(OSError):
            folder = _folder(self._ws)
            folder.mkdir(exist_ok=True)
            for path in folder.glob(f"*{SUFFIX}"):
                with path.open("rb") as file:
                    if locks.try_lock(file):
                        path.unlink()  # its process is gone
            file = (folder / f"{os.getpid()}-{uuid4().hex[:8]}{SUFFIX}").open("xb", buffering=0)
            locks.lock(file)
            self._file = file
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()
            with suppress(OSError):
                Path(self._file.name).unlink()

    def keep(self, names: Iterable[str]) -> None:
        """Store the names of the checkpoints that are held now."""
        found = sorted(set(names))
        if self._file is None or found == self._names:
            return
        text = "".join(f"{name}\n" for name in found).encode()
        with suppress(OSError):
            os.pwrite(self._file.fileno(), text, 0)
            self._file.truncate(len(text))
            self._names = found


def by_processes(ws: Workspace) -> set[str]:
    """Return the names of the checkpoints that living processes hold; nothing is changed."""
    found: set[str] = set()
    with suppress(OSError):
        for path in _folder(ws).glob(f"*{SUFFIX}"):
            with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
                if locks.is_locked(file):
                    found |= set(file.read().splitlines())
    return found


def _folder(ws: Workspace) -> Path:
    return ws.root / "servers"
