"""Handles a worker's signals. SIGTERM (a shutdown, `kill`), SIGINT and those by which a batch system says that time is
nearly over (SIGUSR1, SIGUSR2, SIGXCPU) ask it to stop as the page's button does: it finishes its step, saves and ends as
`stopped`. SIGHUP (a terminal that closes) is ignored.

Python inherits an ignored SIGINT from a shell that starts it in the background, and Lightning replaces our handlers at
each fit, so both are set again where that matters. A handler only sets a flag, since it may interrupt a transaction.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType

ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
_asked = threading.Event()
_received: list[str] = []
_handler: list[Callable[[int, FrameType | None], None] | signal.Handlers] = []


def heed() -> None:
    """Install the handlers; `pass_on` acts on what they record."""
    _set(_ask)


def ignore() -> None:
    """Leave signals to the first process of the run, which gets the same ones and tells this one."""
    _set(signal.SIG_IGN)


def keep() -> None:
    """Install the handlers again, after a library has replaced them."""
    for handler in _handler:
        _set(handler)


def pass_on(request_stop: Callable[[], object]) -> None:
    """Call this, in a thread of its own, when a signal asks for a stop."""

    def wait() -> None:
        _asked.wait()
        request_stop()

    threading.Thread(target=wait, daemon=True, name="signals").start()


def received() -> str:
    """Return the name of the first signal that asked for a stop; empty where none did."""
    return next(iter(_received), "")


def take_interrupts() -> None:
    """Let Ctrl-C and `kill -INT` reach a command that a shell has started in the background, with SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _ask(number: int, _: FrameType | None) -> None:
    _received.append(signal.Signals(number).name)
    _asked.set()


def _set(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    _handler[:] = [handler]
    for number in ASKING:
        signal.signal(number, handler)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
