"""Reads single key presses and lines of text from the terminal, or from a pipe one character at a time."""

import os
import select
import shlex
import subprocess
import sys
import tempfile
import termios
import time
import tty
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

with suppress(ImportError):  # lets input() take more than the 4,095 bytes at which a terminal cuts a line
    import readline  # noqa: F401  # being there is enough

SETTLE_S = 0.15
ESCAPE_S = 0.02
NAMED = {"\n": "enter", "\r": "enter", "\x7f": "backspace", "\b": "backspace", "<": "backspace"}
"""Keys with a name; ``<`` stands for backspace in a pipe."""
END = "."
"""The line that ends a text of several lines."""


class Pipe:
    """Keys from an input that is not a terminal."""

    def settle(self) -> None:
        """Do nothing: everything in the pipe is intended."""

    def press(self, *, takes_enter: bool = False) -> str:
        """Return the next character; a line end only with `takes_enter`. Empty at the end of the input."""
        while (key := sys.stdin.read(1)).isspace() and key != " " and not (takes_enter and key == "\n"):
            pass
        return key

    def line(self, asked: str) -> str:
        """Return a line of text."""
        print(asked, end="", flush=True)
        return sys.stdin.readline().strip()

    def text(self, asked: str, before: str = "") -> str:
        """Return a text of several lines; a line with only a dot ends it."""
        print(f"{asked} A line with a dot alone ends it.", flush=True)
        lines = []
        while (line := sys.stdin.readline()) and line.rstrip("\r\n") != END:
            lines.append(line.rstrip("\r\n"))
        return "\n".join(lines)


class Terminal:
    """Single key presses of a terminal."""

    def __init__(self, modes: list) -> None:
        self._descriptor = sys.stdin.fileno()
        self._modes = modes

    def settle(self) -> None:
        """Drop keys pressed before the pair was on the screen for a moment: they were meant for another pair."""
        time.sleep(SETTLE_S)
        termios.tcflush(self._descriptor, termios.TCIFLUSH)

    def press(self, *, takes_enter: bool = False) -> str:
        """Return the next key, skipping arrow and function keys (their codes hold digits); empty at the input's end."""
        while (key := os.read(self._descriptor, 1)) == b"\x1b":
            while select.select([self._descriptor], [], [], ESCAPE_S)[0]:
                os.read(self._descriptor, 1)
        for _ in range(_num_following(key)):  # a letter beyond ASCII has several bytes but is one key
            key += os.read(self._descriptor, 1)
        return key.decode("utf-8", errors="replace")

    def line(self, asked: str) -> str:
        """Return a line of text, of any length."""
        with self._as_before(), suppress(EOFError):
            return input(asked).strip()
        return ""

    def text(self, asked: str, before: str = "") -> str:
        """Edit a text, starting from `before`, in the person's editor ($VISUAL or $EDITOR); without one, read lines."""
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        with self._as_before():
            if not editor:
                print(f"{asked} A line with a dot alone ends it.", flush=True)
                return "\n".join(self._lines())
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "answer.md"
                path.write_text(before, encoding="utf-8")
                done = subprocess.run([*shlex.split(editor), str(path)], check=False)
                return path.read_text(encoding="utf-8") if done.returncode == 0 else before

    def _lines(self) -> Iterator[str]:
        with suppress(EOFError):
            while (line := input()) != END:
                yield line

    @contextmanager
    def _as_before(self) -> Iterator[None]:
        """Restore the terminal's earlier mode for the length of the block."""
        now = termios.tcgetattr(self._descriptor)
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._modes)
        try:
            yield
        finally:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, now)


def _num_following(first: bytes) -> int:
    """Return the number of UTF-8 bytes that follow the first one of a character."""
    lead = first[0] if first else 0
    return 3 if lead >= 0xF0 else 2 if lead >= 0xE0 else 1 if lead >= 0xC0 else 0


def meant(key: str) -> str:
    """Return the key in the page's form: small letters, digits of any script and width as 0 to 9, enter, backspace."""
    if len(key) == 1 and "\uff01" <= key <= "\uff5e":
        key = chr(ord(key) - 0xFEE0)
    return str(unicodedata.decimal(key)) if key.isdecimal() else NAMED.get(key, key.lower())


Keys = Pipe | Terminal


@contextmanager
def keyboard() -> Iterator[Keys]:
    """Yield the keys, one press each; a terminal is restored at the end."""
    if not sys.stdin.isatty():
        yield Pipe()
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield Terminal(before)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
