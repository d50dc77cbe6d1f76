"""One answer for all tabs that ask the same: it is worked out again when the database has changed, and not more often than that.

SQLite tells of a change by a number (`PRAGMA data_version`) that costs microseconds to ask. What does not stand in the
database (a log that grows, a process that has died, how long ago something was) is looked at again after a while.
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
"""Rows of one page of a long list."""
MAX_ANSWERS = 64
"""As many runs may be looked at in different tabs at once; what is beyond is worked out more often, and no more."""

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
        """`keep_s` is how long an answer holds while the database stays as it is."""
        self._keep_s, self._clock = keep_s, clock
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, ws: Workspace, key: Hashable, work_out: Callable[[], Any]) -> Any:
        """Return the answer as it is now, worked out by one of those who ask at a time."""
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
    """A mark that differs after every change of the database, and when another file lies in its place; None where none can be had."""
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
"""A connection that stays open for each workspace: the number only means something on one and the same."""


def _open(path: Path, place: tuple[int, int]) -> None:
    for old in [path, *_held][: 1 if len(_held) < MAX_HELD else None]:
        if old in _held:
            _held.pop(old)[1].close()
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0, check_same_thread=False)
    _held[path] = (place, connection)
