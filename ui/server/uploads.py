"""Keeps uploaded files until they are imported, limits their size, and removes old ones.

Gradio keeps every upload for ever, in a folder that all of its apps share. The studio has a separate folder for each
server: an upload goes after its import or after a day, the folder when the server ends, and that of a server that was
killed is removed by a later one (it is known by its name and by the lock that nobody holds any more).
"""

import atexit
import os
import re
import shutil
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from filelock import BaseFileLock, FileLock
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.errors import ConfigError

VARIABLE = "GRADIO_TEMP_DIR"
LOCK = "rlhf-studio.lock"
PREFIX = "rlhf-studio-uploads-"
KEEP_S = 86_400.0
KEEP_PART_S = 600.0
"""An upload refused half way stays a plain file of fixed size; a whole upload has its own folder."""
DEFAULT = "2GB"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?", re.IGNORECASE)
_held: list[BaseFileLock] = []


@cache
def folder() -> Path:
    """Return this server's folder of uploads, made now. Gradio learns it from its variable."""
    base = Path(os.environ.get(VARIABLE) or tempfile.gettempdir())
    try:
        base.mkdir(parents=True, exist_ok=True)
        mine = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        lock = FileLock(mine / LOCK, thread_local=False)
        lock.acquire()
    except OSError as error:
        raise ConfigError(
            f"No folder for uploads can be made in {base}: {error.strerror}. Free some space, or set TMPDIR to another folder."
        ) from error
    _held.append(lock)
    os.environ[VARIABLE] = str(mine)
    atexit.register(_end, mine)
    _sweep_left_behind(base)
    return mine


def _end(mine: Path) -> None:
    while _held:
        _held.pop().release()
    shutil.rmtree(mine, ignore_errors=True)


def _sweep_left_behind(base: Path) -> None:
    """Remove folders of servers that were killed more than a day ago."""
    for place in base.glob(f"{PREFIX}*"):
        if not (place / LOCK).is_file():
            continue
        with suppress(OSError), FileLock(place / LOCK, blocking=False):  # a lock that is held times out, an OSError
            if time.time() - place.stat().st_mtime > KEEP_S:
                shutil.rmtree(place)


def imported(path: str) -> None:
    """Remove an upload once all of it is in the workspace. A file that lies elsewhere is somebody's own, and stays."""
    place = Path(path).resolve()
    if place.parent.parent == folder().resolve() and place.is_file():
        shutil.rmtree(place.parent, ignore_errors=True)


def sweep() -> None:
    """Remove what was uploaded more than a day ago and never imported, and what was begun and refused."""
    for place in folder().iterdir():
        with suppress(OSError):
            if place.name != LOCK and time.time() - place.stat().st_mtime > (KEEP_S if place.is_dir() else KEEP_PART_S):
                shutil.rmtree(place) if place.is_dir() else place.unlink()


def size(text: str) -> int:
    """Return the bytes of a size such as 500MB or 2 GiB.

    Raises:
        ConfigError: it is not a size.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found or not float(found[1]):
        raise ConfigError(f"--max-upload {text} is not a size. Write it as 500MB or {DEFAULT}.")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def refusal(max_bytes: int) -> str:
    """Return the message about a file that is larger."""
    return (
        f"The file is larger than {max_bytes / 2**20:,.0f} MiB, the upload limit. Give its path instead, import it with "
        "`rlhf-studio import FILE`, or start the studio with a larger --max-upload."
    )


class LimitUploads:
    """ASGI middleware that ends a request whose body is too large, and removes old uploads when a new one comes."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on while its body is small enough."""
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith("/gradio_api/upload"):
            await self._app(scope, receive, send)
            return
        sweep()
        most = self._max_bytes + 65_536  # for the names and marks between the parts
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        seen = int(declared) if declared.isdigit() else 0
        refused = seen > most
        seen = 0

        async def counted() -> Message:
            nonlocal seen, refused
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                refused = True
                raise _TooLarge
            return message

        async def answered(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] == 413:
                refused = True  # by Gradio, which counts the file alone; its sentence names no other way
            if not refused:
                await send(message)

        with suppress(_TooLarge):
            if not refused:
                await self._app(scope, counted, answered)
        if refused:
            await PlainTextResponse(refusal(self._max_bytes), status_code=413)(scope, receive, send)


class _TooLarge(Exception):
    """The body has grown beyond what may be uploaded."""
