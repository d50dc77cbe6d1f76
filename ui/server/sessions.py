"""Keeps the state of each open tab, for a limited time.

Gradio 6.31 copies the settings of every component for each tab, some 900 KiB, and keeps ten thousand of them. The copy
serves deep links, which the studio has none of, so it is not made; and what is kept of a tab goes soon after the tab.
A tab that comes back later (a laptop that slept) starts like one loaded before a restart of the server.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from gradio.state_holder import SessionState, StateHolder
from starlette.types import ASGIApp, Receive, Scope, Send

KEEP_S = 600.0
KEEP_CLOSED = 32
_HEARTBEAT = "/gradio_api/heartbeat/"


class Session(SessionState):
    """The changes of a tab, without a copy of everything else."""

    @property
    def config_values(self) -> "_Nothing":
        """Nothing: only deep links read them."""
        return _NOTHING

    @config_values.setter
    def config_values(self, _: Any) -> None: ...

    def _update_config(self, key: int) -> None: ...


class Sessions(StateHolder):
    """The sessions of open tabs, and of those that were closed or last heard of a moment ago."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._open: Counter[str] = Counter()
        self._used: dict[str, float] = {}

    def __getitem__(self, session_id: str) -> SessionState:
        with self.lock:
            self._used[session_id] = self._clock()
            if session_id not in self.session_data:
                self.session_data[session_id] = Session(self.blocks)
                self._sweep(session_id)
            return self.session_data[session_id]

    def opened(self, session_id: str) -> None:
        """Note that a tab has begun to report that it is open."""
        with self.lock:
            self._open[session_id] += 1

    def closed(self, session_id: str) -> None:
        """Note that a tab has stopped reporting."""
        with self.lock:
            self._open[session_id] -= 1
            if self._open[session_id] <= 0:
                del self._open[session_id]
            if session_id in self.session_data:
                self._used[session_id] = self._clock()
            self._sweep()

    def _sweep(self, spared: str = "") -> None:
        """Drop what is left of tabs that are gone: the older ones, and all but the last few."""
        gone = sorted(
            (name for name in self.session_data if name not in self._open and name != spared),
            key=lambda name: self._used.get(name, 0.0),
        )
        old = [name for name in gone if self._clock() - self._used.get(name, 0.0) > KEEP_S]
        for name in {*old, *gone[: max(0, len(gone) - KEEP_CLOSED)]}:
            del self.session_data[name]
        for name in [name for name in self._used if name not in self.session_data]:
            del self._used[name]


class KeepSessions:
    """ASGI middleware that gives the app its `Sessions`, and reports tabs that come and go to them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._sessions: Sessions | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        sessions = self._take(scope["app"])
        session_id = scope["path"][len(_HEARTBEAT) :] if scope.get("path", "").startswith(_HEARTBEAT) else ""
        if not session_id:
            await self._app(scope, receive, send)
            return
        sessions.opened(session_id)
        try:
            await self._app(scope, receive, send)
        finally:
            sessions.closed(session_id)

    def _take(self, app: Any) -> Sessions:
        """Install the sessions before the first request, which is when the app is started."""
        if self._sessions is None:
            self._sessions = Sessions()
            self._sessions.set_blocks(app.get_blocks())
            app.state_holder = self._sessions
        return self._sessions


class _Nothing(dict[int, Any]):
    """Holds every key, with an empty value."""

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: int) -> dict[str, Any]:
        return {}

    def __setitem__(self, key: int, value: Any) -> None: ...


_NOTHING = _Nothing()
