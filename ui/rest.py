"""Lets an idle tab rest: a script that runs before Gradio's own, put into the page on its way out.

Gradio 6.31 takes its loading screen away without ending the screen's counter of seconds, which then asks for every frame
for as long as the page is open: some 5 % of a core. Gradio keeps `requestAnimationFrame` for itself while it loads, and
adds the app's head later, so the counter can only be slowed by a script that stands in the page before it.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SCRIPT = b"""<script>{
const frame = requestAnimationFrame.bind(window);
const isCounter = (draw) => /performance\\.now\\(\\)-.{1,40}\\/1e3/.test(Function.prototype.toString.call(draw));
window.requestAnimationFrame = (draw) => (isCounter(draw) ? setTimeout(() => frame(draw), 1000) : frame(draw));
}</script>"""


class Rest:
    """Middleware: the script after the page's `<head>`; every other answer is left as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request."""
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            return await self._app(scope, receive, send)
        headers = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
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
            whole = body.replace(b"<head>", b"<head>" + SCRIPT, 1)
            lengths = [(b"content-length", str(len(whole)).encode())]
            await send(
                {**start, "headers": [h for h in start["headers"] if h[0].lower() != b"content-length"] + lengths}
            )
            await send({"type": "http.response.body", "body": whole})

        await self._app({**scope, "headers": headers}, receive, rewrite)
