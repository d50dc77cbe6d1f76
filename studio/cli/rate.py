"""Rating in the terminal: the same keys as in the browser, one press each, recorded before the next pair is shown.

Where the input is no terminal (a pipe), keys are read from it one character at a time.
"""

import argparse
import os
import select
import shutil
import sys
import termios
import textwrap
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from studio import comparisons, ratings, sampling_ahead, sessions
from studio.cli import follow
from studio.comparisons import Showing
from studio.ratings import SKIP_REASONS, Outcome
from studio.workspace import Workspace

KEYS: dict[str, tuple[Outcome, int | None]] = {
    "1": ("left", 3),
    "2": ("left", 2),
    "3": ("left", 1),
    "8": ("right", 1),
    "9": ("right", 2),
    "0": ("right", 3),
    "5": ("tie", None),
    " ": ("tie", None),
    "b": ("both_bad", None),
}
LEGEND = (
    "1 2 3  response 1 is much better, better, slightly better     5 or space  tie, both fine     z  undo\n"
    "8 9 0  response 2 is slightly better, better, much better     b  both bad    s  skip         q  quit"
)
WORDS = {"left": "response 1", "right": "response 2", "tie": "tie", "both_bad": "both bad", "skip": "skipped"}
STRENGTHS = {1: " slightly better", 2: " better", 3: " much better", None: ""}
SETTLE_S = 0.15
ESCAPE_S = 0.02
NARROWEST_PAIR = 100


def add(commands: Any) -> None:
    """Add ``rate``."""
    summary = "Rate pairs in the terminal."
    command = commands.add_parser("rate", help=summary, description=summary, epilog=LEGEND)
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.set_defaults(action=_rate)


def _rate(arguments: argparse.Namespace) -> int:
    ws = Workspace.open(arguments.workspace)
    print(LEGEND)
    num_rated = 0
    with _keyboard() as keys:
        while showing := sessions.next_showing(ws):
            print(_page(showing, comparisons.counts(ws)["unrated"]), flush=True)
            change = _judge(ws, showing, keys)
            if change is None:
                break
            num_rated += change
            sampling_ahead.look_after(ws)
        else:
            session = sessions.active(ws)
            if session:
                print(f"\n{session.sentence} Look at it: {follow.command(arguments, 'session', 'card')}")
            else:
                print(f"\nNothing is left to rate. Sample new pairs: {follow.command(arguments, 'sample')}")
    print(f"{num_rated} rated now, {ratings.summary(ws)['rated']} in all.")
    return 0


def _judge(ws: Workspace, showing: Showing, keys: "_Pipe | _Terminal") -> int | None:
    """Read keys until one judges the pair or takes the last judgement back; +1, -1, or None to quit."""
    displayed = time.monotonic()
    keys.settle()
    while True:
        key = keys.press().lower()
        if key in ("q", ""):
            return None
        if key == "z":
            last = ratings.undo(ws)
            if last is None:
                print("There is nothing to undo.", flush=True)
                continue
            print(f"Taken back: {WORDS[last.outcome]}{STRENGTHS[last.strength]}.", flush=True)
            return -1
        reason = _ask_reason(keys) if key == "s" else None
        if key not in KEYS and reason is None:
            continue
        outcome, strength = KEYS.get(key, ("skip", None))
        elapsed_ms = round(1000 * (time.monotonic() - displayed))
        ratings.record(ws, showing.id, outcome, strength=strength, reason=reason, elapsed_ms=elapsed_ms)
        print(f"{WORDS[outcome]}{STRENGTHS[strength]}", flush=True)
        return 1


def _ask_reason(keys: "_Pipe | _Terminal") -> str | None:
    """Why a pair is skipped; any other key goes back to the pair."""
    print("Skip: " + "   ".join(f"{number} {reason}" for number, reason in enumerate(SKIP_REASONS, 1)), flush=True)
    key = keys.press()
    return SKIP_REASONS[int(key) - 1] if key in [str(n + 1) for n in range(len(SKIP_REASONS))] else None


def _page(showing: Showing, num_left: int) -> str:
    """The pair as text: the conversation, then both responses side by side, or one under the other where it is narrow."""
    width = shutil.get_terminal_size().columns
    lines = ["", f"── {num_left} to rate ".ljust(width, "─")]
    for turn in showing.messages:
        lines += _wrapped(f"{turn['role']}: {turn['content']}", width)
    lines.append("")
    if width < NARROWEST_PAIR:
        for number, text in ((1, showing.left), (2, showing.right)):
            lines += [f"[{number}]", *_wrapped(text, width), ""]
        return "\n".join(lines)
    half = (width - 3) // 2
    left, right = (["[1]", *_wrapped(showing.left, half)], ["[2]", *_wrapped(showing.right, half)])
    for row in range(max(len(left), len(right))):
        sides = [column[row] if row < len(column) else "" for column in (left, right)]
        lines.append(f"{sides[0].ljust(half)} │ {sides[1]}".rstrip())
    return "\n".join(lines)


def printable(text: str) -> str:
    """The text with a box for each control character, which could command the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of the text."""
    return [
        line
        for paragraph in printable(text).split("\n")
        for line in textwrap.wrap(paragraph.expandtabs(4), width) or [""]
    ]


class _Pipe:
    """Keys from an input that is no terminal."""

    def settle(self) -> None:
        """Nothing to wait for: what is in the pipe is meant."""

    def press(self) -> str:
        """The next character that is no line end; empty at the end of the input."""
        while (key := sys.stdin.read(1)).isspace() and key != " ":
            pass
        return key


class _Terminal:
    """Single key presses of a terminal."""

    def __init__(self) -> None:
        self._descriptor = sys.stdin.fileno()

    def settle(self) -> None:
        """Drop what was pressed before the pair had been on the screen for a moment: it was meant for another pair."""
        time.sleep(SETTLE_S)
        termios.tcflush(self._descriptor, termios.TCIFLUSH)

    def press(self) -> str:
        """The next key; arrow and function keys, whose codes hold digits, are passed over."""
        while (key := os.read(self._descriptor, 1)) == b"\x1b":
            while select.select([self._descriptor], [], [], ESCAPE_S)[0]:
                os.read(self._descriptor, 1)
        return key.decode("ascii", errors="replace")


@contextmanager
def _keyboard() -> Iterator[_Pipe | _Terminal]:
    """The keys, one press each; a terminal is put back as it was at the end."""
    if not sys.stdin.isatty():
        yield _Pipe()
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield _Terminal()
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
