"""Shares one answer among all tabs that ask the same; it is computed again only when the database has changed.

SQLite shows a change by a number (`PRAGMA data_version`) that takes microseconds to read. What is not in the database
(a growing log, a dead process, an age) is read again after a while.
"""

import os
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.workspace import Workspace

PAGE = 50
"""Rows of a page of a long list."""
MAX_ANSWERS = 64
"""Most answers kept, for as many runs in different tabs; any beyond are only computed more often."""

MAX_HELD = 8


@dataclass
class _Answer:
    lock: threading.Lock = field(default_factory=threading.Lock)
    version: Any = None
    at: float = float("-inf")
    value: Any = None


class Shared:
    """Answers by key, for one kind of question."""

    def __init__(self, keep_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep an answer for `keep_s` seconds while the database is unchanged."""
        self._keep_s, self._clock = keep_s, clock
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, ws: Workspace, key: Hashable, work_out: Callable[[], Any]) -> Any:
        """Return the current answer, computed by one caller at a time."""
        with self._lock:
            answer = self._answers.setdefault((ws.root, key), _Answer())
            self._answers.move_to_end((ws.root, key))
            while len(self._answers) > MAX_ANSWERS:
                self._answers.popitem(last=False)
        with answer.lock:
            version = version_of(ws)
            if version is None or answer.version != version or self._clock() - answer.at > self._keep_s:
                answer.value = work_out()
                answer.version, answer.at = version, self._clock()
            return answer.value


def version_of(ws: Workspace) -> tuple[int, ...] | None:
    """Return a mark that differs after every change or replacement of the database file; None where it is unknown."""
    with _asking:
        try:
            state = os.stat(ws.database)
            place = (state.st_dev, state.st_ino)
            if ws.database not in _held or _held[ws.database][0] != place:
                _open(ws.database, place)
            return (*place, *_held[ws.database][1].execute("PRAGMA data_version").fetchone())
        except (OSError, sqlite3.Error):
            return None


_asking = threading.Lock()
_held: dict[Path, tuple[tuple[int, int], sqlite3.Connection]] = {}
"""One open connection for each workspace: the number is only meaningful within one connection."""


def _open(path: Path, place: tuple[int, int]) -> None:
    for old in [path, *_held][: 1 if len(_held) < MAX_HELD else None]:
        if old in _held:
            _held.pop(old)[1].close()
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0, check_same_thread=False)
    _held[path] = (place, connection)
