"""A chat template is a program that came with a model: it is tried in a separate process before it may run here.

An endless loop, or a text that doubles itself, cannot be stopped from inside the process that renders it: some of it
happens in one call of C. So a forked child renders first, and what it may use is bounded by the system. A template that
only a certain row leads astray is met later, and stopped by the clock of the process that reads the rows (`in_time`);
there its memory is not bounded, since that process holds the model.
"""

import os
import resource
import select
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import psutil

TIME_LIMIT_S = 10.0
"""A template takes about a millisecond for a short conversation."""
MEMORY_LIMIT = 2**30
"""Bytes that a template may take on top of what the process has."""
LONGEST = 1_000_000
"""Characters that a template may write around a short conversation."""

_GOOD, _TOO_MUCH_MEMORY, _TOO_LONG = 0, 3, 4


def fault_of(render: Callable[[], str]) -> str:
    """Return what is wrong with rendering, in words that follow `it`; empty where it ends in time and within bounds.

    Exceptions of the template are no fault here: they are harmless.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child runs no code of other threads
        child = os.fork()
    if child == 0:
        _try(render, writing)
    os.close(writing)
    try:
        is_done = bool(select.select([reading], [], [], TIME_LIMIT_S)[0])  # readable when the child has ended
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    if not is_done:
        return f"does not end within {TIME_LIMIT_S:g} seconds"
    if code == _TOO_LONG:
        return f"writes more than {LONGEST:,} characters"
    return "" if code == _GOOD else f"takes more than {MEMORY_LIMIT / 2**30:g} GiB of memory"


class TooLong(Exception):
    """A template took too long for a row."""


@contextmanager
def in_time() -> Iterator[None]:
    """Raise `TooLong` where the block computes for longer than `TIME_LIMIT_S`; in the main thread only, which has signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, TIME_LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


def _try(render: Callable[[], str], writing: int) -> None:
    """Render in the child and exit with the result; `writing` tells the parent, since it closes at the end."""
    leave = partial(os._exit, _TOO_MUCH_MEMORY)
    try:
        os.set_inheritable(writing, False)
        _limit(resource.RLIMIT_AS, psutil.Process().memory_info().vms + MEMORY_LIMIT)
        _limit(resource.RLIMIT_CPU, int(TIME_LIMIT_S) + 1)  # so it ends even if the parent was killed meanwhile
        leave = partial(os._exit, _TOO_LONG if len(render()) > LONGEST else _GOOD)
    except MemoryError:
        pass
    except BaseException:
        leave = partial(os._exit, _GOOD)
    finally:
        leave()


def _limit(kind: int, most: int) -> None:
    """Bound what this process may use, by less than `most` where less is allowed already."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
