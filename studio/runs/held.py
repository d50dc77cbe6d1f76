"""Finds a workspace through an open handle of its folder: a run goes on when somebody moves the folder.

Linux gives an open handle a path, which leads to the folder wherever it is now. Elsewhere the workspace keeps its
first path.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from studio.errors import WorkspaceError
from studio.workspace import Workspace

POLL_S = 0.5
MOVING_S = 5.0
"""Seconds in which the files of a database are moved, one after the other."""


@dataclass(frozen=True)
class HeldWorkspace(Workspace):
    """A workspace whose database may be missing for a while: moving it or restoring a backup takes several steps."""

    patience_s: float

    @contextmanager
    def read(self) -> Iterator[Database]:
        """Yield a connection for reading, once the database is there."""
        with ExitStack() as stack:
            yield self._opened(stack)

    def _opened(self, stack: ExitStack) -> Database:
        """Open it for reading; again where it was met while its files were moved one after the other."""
        self._wait()
        deadline = time.monotonic() + min(self.patience_s, MOVING_S)
        while True:
            try:
                return stack.enter_context(super().read())
            except WorkspaceError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(POLL_S)
            self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + self.patience_s
        is_said = False
        while not _is_there(self.database) and time.monotonic() < deadline:
            if not is_said:
                where = self.root.resolve()
                print(
                    f"{self.database.name} is gone from {where}: waiting until it is put back.",
                    file=sys.stderr,
                    flush=True,
                )
                is_said = True
            time.sleep(POLL_S)


def hold(ws: Workspace, patience_s: float = 0.0) -> Workspace:
    """Return the workspace, followed wherever it is moved while this process lives; waits for a missing database."""
    descriptor = os.open(ws.root, os.O_RDONLY | os.O_DIRECTORY)
    path = Path(f"/proc/self/fd/{descriptor}")
    if path.exists():
        return HeldWorkspace(path, patience_s)
    os.close(descriptor)
    return HeldWorkspace(ws.root, patience_s)


def named(ws: Workspace, text: str) -> str:
    """Return the text with the folder's name as a person knows it, where it holds the path of the open handle."""
    return text.replace(str(ws.root), str(ws.root.resolve())) if isinstance(ws, HeldWorkspace) else text


def _is_there(database: Path) -> bool:
    try:
        return database.stat().st_size > 0
    except FileNotFoundError:
        return False
    except OSError:
        return True  # SQLite says why it cannot be used
