"""Maintains a server's database: a backup a day, the -wal written back when nobody writes, what was killed or left behind finished.

Until it is written back, the last records are only in `studio.db-wal`: a copy of `studio.db` alone lacks them.
"""

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from studio.database import rotation
from studio.datasets import publishing
from studio.errors import StudioError
from studio.models import deletion
from studio.preferences import text_search
from studio.recovery import backups
from studio.workspace import Workspace

log = logging.getLogger("rlhf_studio.backups")
EVERY = timedelta(days=1)
LOOK_S = 10.0


@contextmanager
def kept(ws: Workspace) -> Iterator[None]:
    """Maintain the database for the length of the block; at its end the -wal is written back."""
    end = threading.Event()
    thread = threading.Thread(target=_keep, args=(ws, end), name="backups", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(timeout=5)
        _quietly(partial(write_back, ws))


def write_back(ws: Workspace) -> None:
    """Write the -wal back to the database file, without waiting for other processes."""
    with ws.read() as db:
        db.execute("PRAGMA busy_timeout = 0")
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def is_due(ws: Workspace) -> bool:
    """Return whether there are writes since the last automatic backup, and that was a day ago or never."""
    newest = next(iter(rotation.automatic(ws.backups)[::-1]), None)
    if newest is None:
        return True
    made = datetime.fromtimestamp(newest.stat().st_mtime, UTC)
    written = max(_modified(ws.database), _modified(_wal(ws)))
    return datetime.now(UTC) - made >= EVERY and written > newest.stat().st_mtime


def _keep(ws: Workspace, end: threading.Event) -> None:
    seen, is_back = 0.0, False
    _quietly(lambda: deletion.finish(ws))
    _quietly(lambda: _finish_imports(ws, end))
    while not end.wait(LOOK_S):
        _quietly(lambda: _finish_imports(ws, end))
        wal = _modified(_wal(ws))
        if wal != seen:
            seen, is_back = wal, False
        elif wal and not is_back:
            is_back = _quietly(partial(write_back, ws))
        _quietly(lambda: backups.make_daily(ws) if is_due(ws) else None)


def _finish_imports(ws: Workspace, end: threading.Event) -> None:
    """Take out what a killed import left, and index the texts that a long one left to the search."""
    publishing.take_out_leftovers(ws)
    text_search.catch_up(ws, is_ended=end.is_set)


def _quietly(act) -> bool:
    """Call `act` and return whether it worked; a server goes on without it."""
    try:
        act()
    except (StudioError, OSError, sqlite3.Error) as error:
        log.warning("The database could not be maintained: %s", error)
        return False
    return True


def _wal(ws: Workspace) -> Path:
    return ws.database.with_name(f"{ws.database.name}-wal")


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
