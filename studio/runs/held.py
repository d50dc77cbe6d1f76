"""A workspace that is found through an open handle of its folder: a run goes on where the folder is when somebody moves it.

Linux names an open handle as a path of its own, which leads to the folder wherever it is now. Elsewhere the workspace stays
the path that it was.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from studio.workspace import Workspace

POLL_S = 0.5


@dataclass(frozen=True)
class HeldWorkspace(Workspace):
    """A workspace whose database may be away for a while: whoever moves it or puts back a backup does it in steps."""

    patience_s: float

    @contextmanager
    def read(self) -> Iterator[Database]:
        """As that of any workspace, after it is there."""
        self._wait()
        with super().read() as db:
            yield db

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
    """The same workspace wherever it is moved, for as long as this process lives; a missing database is waited for."""
    descriptor = os.open(ws.root, os.O_RDONLY | os.O_DIRECTORY)
    path = Path(f"/proc/self/fd/{descriptor}")
    if path.exists():
        return HeldWorkspace(path, patience_s)
    os.close(descriptor)
    return HeldWorkspace(ws.root, patience_s)


def _is_there(database: Path) -> bool:
    try:
        return database.stat().st_size > 0
    except FileNotFoundError:
        return False
    except OSError:
        return True  # SQLite says why it cannot be used
