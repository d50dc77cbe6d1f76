"""Holds kernel locks on open files, where `filelock` cannot: it opens a file of its own, which nobody inherits or reads.

The worker of a run inherits the lock of its device, and a waiter its own; a server's lies on the file that states its
address; that of a new database lies on its folder, in which no file is left. Every other lock is a `filelock.FileLock`.
All end with the last process that has the file open, also after kill -9.
"""

import fcntl
from typing import IO, Any


def lock(file: IO[Any] | int) -> None:
    """Wait for the lock and take it; it lasts until every process has closed the file."""
    fcntl.flock(file, fcntl.LOCK_EX)


def try_lock(file: IO[Any] | int) -> bool:
    """Take the lock if it is free; return whether that worked."""
    return _is_had(file, fcntl.LOCK_EX)


def is_locked(file: IO[Any]) -> bool:
    """Return whether somebody holds the lock; two may ask at a time."""
    return not _is_had(file, fcntl.LOCK_SH)


def unlock(file: IO[Any] | int) -> None:
    """Give the lock back, and leave the file open."""
    fcntl.flock(file, fcntl.LOCK_UN)


def _is_had(file: IO[Any] | int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
