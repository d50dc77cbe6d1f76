"""Lets an idle tab and an idle server rest.

The tab: by a script that runs before Gradio's own, added to the page when it is sent. While the tab is hidden it holds
the clocks of a second and more, such as Gradio's timers; only the bell goes on. And Gradio 6.31 removes its loading
screen without ending the screen's counter of seconds, which then asks for every frame for as long as the page is open:
some 5 % of a core. Gradio keeps `requestAnimationFrame` for itself while it loads, and adds the app's head later, so
the counter can only be slowed by a script that stands in the page before it. The same script says what a proxy in
front must send if the Host here is not the one that the browser went to: Gradio's own scripts are refused then, and
the page would stay blank.

The server: by a queue that looks for work less often the longer it is idle; Gradio's looks 1,000 times a second.
"""

import json
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

import gradio as gr
from gradio.queueing import Queue
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui import static

IDLE_SHARE, SHORTEST_S, LONGEST_S = 0.01, 0.001, 0.1
"""The queue looks for work after a hundredth of its idle time, within these bounds."""
SCRIPT = b"""<script>{
const frame = requestAnimationFrame.bind(window);
const isCounter = (draw) => /performance\\.now\\(\\)-.{1,40}\\/1e3/.test(Function.prototype.toString.call(draw));
const every = setInterval.bind(window);
const rests = (act, ms) => ms >= 1000 && typeof act === "function" && !act.isForHiddenTabs;
window.setInterval = (act, ms, ...given) => every(rests(act, ms) ? (...values) => document.hidden || act(...values) : act, ms, ...given);
window.requestAnimationFrame = (draw) => (isCounter(draw) ? setTimeout(() => frame(draw), 1000) : frame(draw));
}</script>"""
STREAM = b"<script>" + static.read("stream.js").encode() + b"</script>"
PROXY = """<script>{
const came = HOST;
if (came && location.host !== new URL(`${location.protocol}//${came}`).host) addEventListener("DOMContentLoaded", () => {
  const said = document.createElement("p");
  said.id = "behind-a-proxy";
  said.setAttribute("role", "alert");
  said.style.cssText = "font:15px/1.6 system-ui,sans-serif;max-width:68ch;margin:12vh auto;padding:0 24px;white-space:pre-wrap";
  said.textContent = `This page was opened at ${location.host}, but the proxy in front of the studio asked for ${came}. So the studio must refuse the page's requests.\\n\\n` +
    `Let the proxy pass the Host on as the browser sent it. In nginx: proxy_set_header Host $http_host;\\n` +
    `If ${location.hostname} is a name of yours, start the studio with --name ${location.hostname} too.`;
  document.body.replaceChildren(said);
});
}</script>"""


class RestingQueue(Queue):
    """Gradio's queue, which looks for work at once after a task, and less often the longer it is idle."""

    _busy_at = 0.0

    @property
    def sleep_when_free(self) -> float:
        """The seconds that its loop sleeps when it finds nothing to begin."""
        now = time.monotonic()
        if len(self) or any(self.active_jobs):
            self._busy_at = now
        return min(LONGEST_S, max(SHORTEST_S, (now - self._busy_at) * IDLE_SHARE))

    @sleep_when_free.setter
    def sleep_when_free(self, _: float) -> None:  # Gradio sets its own
        ...


def calm(app: gr.Blocks) -> None:
    """Give the app a queue that rests; no handler here reports progress, which Gradio checks 100 times a second."""
    app._queue.__class__ = RestingQueue
    app._queue.progress_update_sleep_when_free = 0.5


class Rest:
    """Middleware: the script after the page's `<head>`, and what the page shows first; every other answer is left as it is.

    Args:
        app: what answers.
        shown: text in the components' values to what gives the value that is sent in its place.
    """

    def __init__(self, app: ASGIApp, shown: Mapping[str, Callable[[], str]] = MappingProxyType({})) -> None:
        self._app, self._shown = app, shown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request."""
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            return await self._app(scope, receive, send)
        headers = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        proxy = PROXY.replace("HOST", json.dumps(host).replace("<", "\\u003c"), 1).encode()
        start: Message = {}
        body = b""

        async def rewrite(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            whole = body.replace(b"<head>", b"<head>" + SCRIPT + STREAM + proxy, 1)
            for text, value in self._shown.items():
                if _in_script(text) in whole:
                    whole = whole.replace(_in_script(text), _in_script(await run_in_threadpool(_or_nothing, value)), 1)
            lengths = [(b"content-length", str(len(whole)).encode())]
            await send(
                {**start, "headers": [h for h in start["headers"] if h[0].lower() != b"content-length"] + lengths}
            )
            await send({"type": "http.response.body", "body": whole})

        await self._app({**scope, "headers": headers}, receive, rewrite)


def _in_script(text: str) -> bytes:
    """Return a text as Gradio writes it into the page's config: JSON that may stand in a script."""
    found = json.dumps(text, ensure_ascii=True)
    for sign in "<>&'":
        found = found.replace(sign, f"\\u{ord(sign):04x}")
    return found.encode()


def _or_nothing(value: Callable[[], str]) -> str:
    """Return a value, or nothing where the workspace cannot be read: the page then says why."""
    try:
        return value()
    except Exception:  # the page asks again by itself, and then says what is wrong
        return ""
