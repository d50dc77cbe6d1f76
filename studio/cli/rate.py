"""Rating in the terminal: the same keys as in the browser, one press each, recorded before the next item is shown.

Where the input is no terminal (a pipe), keys are read from it one character at a time, and texts up to the line's end.
"""

import argparse
import shutil
import textwrap
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from studio import comparisons, edits, guidelines, ratings, sampling_ahead, sessions
from studio.cli import follow
from studio.cli.keyboard import ENTER, Keyboard, keyboard
from studio.comparisons import Showing
from studio.errors import StudioError
from studio.ratings import ATTRIBUTES, SKIP_REASONS, Outcome, Remarks
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
    "8 9 0  response 2 is slightly better, better, much better     b  all bad     s  skip         q  quit\n"
    "Three or more: 1 to 9  comes next   =  the next ties with it   backspace  take out   Enter  record\n"
    "n  note   u h r  unsafe, hallucinated, refused   a  scales   e  edit to ideal   d  demonstrate   g  guideline   ?  keys"
)
WORDS = {"left": "response 1", "right": "response 2", "tie": "tie", "both_bad": "all bad", "skip": "skipped"}
STRENGTHS = {1: " slightly better", 2: " better", 3: " much better", None: ""}
FLAGS = {"u": "unsafe", "h": "hallucinated", "r": "refused"}
BACKSPACE = ("\x7f", "\b")
NARROWEST_PAIR = 100


def add(commands: Any) -> None:
    """Add ``rate``."""
    summary = "Rate pairs and rankings in the terminal."
    command = commands.add_parser("rate", help=summary, description=summary, epilog=LEGEND)
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.set_defaults(action=_rate)


def _rate(arguments: argparse.Namespace) -> int:
    ws = Workspace.open(arguments.workspace)
    print(LEGEND)
    num_rated = 0
    with keyboard() as keys:
        while showing := sessions.next_showing(ws):
            print(_page(showing, comparisons.counts(ws)["unrated"]), flush=True)
            change = _Judging(ws, showing, keys).run()
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


@dataclass
class _Judging:
    """One item on the screen: keys until it is judged or left. What is said about it goes with its judgement."""

    ws: Workspace
    showing: Showing
    keys: Keyboard
    rungs: list[list[int]] = field(default_factory=list)
    """Of a ranking: screen positions, best first, ties together."""
    is_tying: bool = False
    note: str = ""
    flags: dict[str, list[int]] = field(default_factory=dict)
    attributes: dict[str, list[int | None]] = field(default_factory=dict)
    started: float = 0.0

    @property
    def is_ranking(self) -> bool:
        return len(self.showing.texts) > 2

    def run(self) -> int | None:
        """+1 for a judgement, -1 for one taken back, None to quit."""
        self.started = time.monotonic()
        self.keys.settle()
        while True:
            key = self.keys.press(takes_enter=self.is_ranking).lower()
            if key in ("q", ""):
                return None
            if key == "z":
                last = ratings.undo(self.ws)
                if last is None:
                    print("There is nothing to undo.", flush=True)
                    continue
                print(f"Taken back: {_words(last)}.", flush=True)
                return -1
            try:
                if self._judged(key):
                    return 1
            except StudioError as error:
                print(error, flush=True)

    def _judged(self, key: str) -> bool:
        """Act on a key; True once the item is judged."""
        if key == "s":
            reason = self._ask_reason()
            return reason is not None and self._record("skip", reason=reason)
        if key == "b":
            return self._record("both_bad")
        if self.is_ranking and (key.isdigit() or key in ("=", ENTER, *BACKSPACE)):
            return self._rank(key)
        if not self.is_ranking and key in KEYS:
            outcome, strength = KEYS[key]
            return self._record(outcome, strength=strength)
        self._remark(key)
        return False

    def _record(self, outcome: Outcome, **facts: Any) -> bool:
        remarks = Remarks(self.note, self.flags, self.attributes)
        elapsed_ms = round(1000 * (time.monotonic() - self.started))
        rating = ratings.record(self.ws, self.showing.id, outcome, remarks=remarks, elapsed_ms=elapsed_ms, **facts)
        print(_words(rating), flush=True)
        return True

    def _rank(self, key: str) -> bool:
        """Put an answer on the ladder or take it off; Enter records the ladder once all stand on it."""
        num = len(self.showing.texts)
        if key == ENTER:
            if sum(map(len, self.rungs)) < num:
                print(f"Give each of the {num} answers its place first.", flush=True)
                return False
            ranks = [next(n for n, rung in enumerate(self.rungs, 1) if at in rung) for at in range(num)]
            return self._record("ranking", ranks=ranks)
        if key in BACKSPACE and self.rungs:
            self._take_out(self.rungs[-1][-1])
        elif key == "=":
            self.is_tying = bool(self.rungs)
        elif key.isdigit() and 1 <= int(key) <= num:
            position = int(key) - 1
            is_placed = any(position in rung for rung in self.rungs)
            if is_placed:
                self._take_out(position)
            elif self.is_tying:
                self.rungs[-1].append(position)
            else:
                self.rungs.append([position])
            self.is_tying = False
        ladder = " > ".join(" = ".join(str(at + 1) for at in rung) for rung in self.rungs)
        print(f"Best first: {ladder}{' =' if self.is_tying else ''}", flush=True)
        return False

    def _take_out(self, position: int) -> None:
        self.rungs = [left for rung in self.rungs if (left := [at for at in rung if at != position])]
        self.is_tying = False

    def _remark(self, key: str) -> None:
        """Note, flags, scales, ideal answers; the guideline and the keys."""
        if key == "n":
            print("Note, recorded with the judgement:", flush=True)
            self.note = self.keys.line()
        elif key in FLAGS:
            position = self._ask_which(f"Which is {FLAGS[key]}?")
            if position is not None:
                flagged = set(self.flags.get(FLAGS[key], [])) ^ {position}
                self.flags = {**self.flags, FLAGS[key]: sorted(flagged)}
                marked = ", ".join(str(at + 1) for at in sorted(flagged))
                print(f"{FLAGS[key]}: {marked or 'none'}", flush=True)
        elif key == "a":
            self._ask_scales()
        elif key == "e":
            position = self._ask_which("Over which is the ideal answer written?")
            if position is not None:
                print("The ideal answer:", flush=True)
                text = self.keys.text(self.showing.texts[position])
                edits.edit_to_ideal(self.ws, self.showing.id, position, text, uuid=str(uuid.uuid4()))
                print("Recorded: your ideal answer, better than the one it was made from. Now judge these.", flush=True)
        elif key == "d":
            print("What the assistant should have said:", flush=True)
            edits.demonstrate(self.ws, self.showing.id, self.keys.text(""))
            print("Recorded: a demonstration for this prompt. Now judge these.", flush=True)
        elif key == "g":
            print(printable(guidelines.current(self.ws).text) or "No guideline is in force.", flush=True)
        elif key == "?":
            print(LEGEND, flush=True)

    def _ask_reason(self) -> str | None:
        """Why it is skipped; any other key goes back to the item."""
        print("Skip: " + "   ".join(f"{number} {reason}" for number, reason in enumerate(SKIP_REASONS, 1)), flush=True)
        key = self.keys.press()
        return SKIP_REASONS[int(key) - 1] if key in [str(n + 1) for n in range(len(SKIP_REASONS))] else None

    def _ask_which(self, question: str) -> int | None:
        """A screen position; any key but their numbers goes back to the item."""
        num = len(self.showing.texts)
        print(f"{question} 1 to {num}", flush=True)
        key = self.keys.press()
        return int(key) - 1 if key in [str(n + 1) for n in range(num)] else None

    def _ask_scales(self) -> None:
        """1 to 7 for each answer and attribute; any other key leaves one open."""
        for name in ATTRIBUTES:
            given: list[int | None] = []
            for position in range(len(self.showing.texts)):
                print(f"How {name} is response {position + 1}? 1 to 7", flush=True)
                key = self.keys.press()
                given.append(int(key) if key in "1234567" and key else None)
            self.attributes[name] = given


def _words(rating: ratings.Rating) -> str:
    """A judgement as the terminal says it."""
    if rating.edited_response_id is not None:
        return "your ideal answer"
    if rating.outcome == "ranking":
        return f"ranking {rating.ladder}"
    return f"{WORDS[rating.outcome]}{STRENGTHS[rating.strength]}"


def _page(showing: Showing, num_left: int) -> str:
    """The item as text: the conversation, then two responses side by side; more, or where it is narrow, one under the other."""
    width = shutil.get_terminal_size().columns
    lines = ["", f"── {num_left} to rate ".ljust(width, "─")]
    for turn in showing.messages:
        lines += _wrapped(f"{turn['role']}: {turn['content']}", width)
    lines.append("")
    if width < NARROWEST_PAIR or len(showing.texts) > 2:
        for number, text in enumerate(showing.texts, 1):
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
