"""What is typed while rating: single key presses of a terminal, lines of text, or the characters of a pipe."""

import os
import select
import shlex
import subprocess
import sys
import tempfile
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SETTLE_S = 0.15
ESCAPE_S = 0.02
ENTER = "\n"


class Pipe:
    """Keys from an input that is no terminal."""

    def settle(self) -> None:
        """Nothing to wait for: what is in the pipe is meant."""

    def press(self, *, takes_enter: bool = False) -> str:
        """The next character, a line end only where it `takes_enter`; empty at the end of the input."""
        while (key := sys.stdin.read(1)).isspace() and key != " " and not (takes_enter and key == ENTER):
            pass
        return key

    def line(self) -> str:
        """The rest of the line."""
        return sys.stdin.readline().strip()

    def text(self, start: str) -> str:
        """The rest of the line, in the place of `start`."""
        return self.line()


class Terminal:
    """Single key presses of a terminal."""

    def __init__(self, before: list[object]) -> None:
        """`before` are the terminal's settings for lines."""
        self._descriptor, self._before = sys.stdin.fileno(), before

    def settle(self) -> None:
        """Drop what was pressed before the pair had been on the screen for a moment: it was meant for another pair."""
        time.sleep(SETTLE_S)
        termios.tcflush(self._descriptor, termios.TCIFLUSH)

    def press(self, *, takes_enter: bool = False) -> str:
        """The next key; arrow and function keys, whose codes hold digits, are passed over."""
        while (key := os.read(self._descriptor, 1)) == b"\x1b":
            while select.select([self._descriptor], [], [], ESCAPE_S)[0]:
                os.read(self._descriptor, 1)
        return key.decode("ascii", errors="replace")

    def line(self) -> str:
        """A line, edited as the terminal edits lines; empty if it was given up with Ctrl-D."""
        with self._lines(), suppress(EOFError):
            return input("> ").strip()
        return ""

    def text(self, start: str) -> str:
        """A text, in the editor that VISUAL or EDITOR names, beginning with `start`; without an editor, one line."""
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        if not editor:
            return self.line()
        with tempfile.TemporaryDirectory() as folder, self._lines():
            file = Path(folder) / "answer.txt"
            file.write_text(start, encoding="utf-8")
            try:
                is_kept = subprocess.run([*shlex.split(editor), file], check=False).returncode == 0
            except OSError as error:
                print(f"The editor {editor} could not be opened: {error.strerror}. Set EDITOR to another.")
                return ""
            return file.read_text(encoding="utf-8").strip() if is_kept else ""

    @contextmanager
    def _lines(self) -> Iterator[None]:
        keys = termios.tcgetattr(self._descriptor)
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]
        try:
            yield
        finally:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, keys)


Keyboard = Pipe | Terminal


@contextmanager
def keyboard() -> Iterator[Keyboard]:
    """The keys, one press each; a terminal is put back as it was at the end."""
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
