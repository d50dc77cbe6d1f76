"""Rates in the terminal: the same keys as in the browser, one press each, recorded before the next item is shown.

Where the input is not a terminal (a pipe), keys are read from it one character at a time.
"""

import argparse
import time
from typing import Any

from sqlite_utils import Database

from studio.annotation import disagreements as annotated
from studio.annotation import prefetch, session_status, sessions
from studio.annotation.disagreements import Question
from studio.cli import disagreements, follow, remarks
from studio.cli.keyboard import Keys, keyboard, meant
from studio.cli.printing import page, printable
from studio.cli.remarks import Aside
from studio.errors import RatingError, WorkspaceError
from studio.preferences import comparisons, edits, ratings, undo, vocabulary, wording
from studio.preferences.comparisons import Showing
from studio.preferences.vocabulary import JUDGEMENTS, JUDGING, KEYS, QUIT, Outcome
from studio.workspace import Workspace

RATER = "person"
LEGEND = "\n".join(
    f"{keys:<20}  {words}"
    for keys, words in (
        *((row.keys, row.words) for row in vocabulary.HELP if row.is_in_terminal),
        (QUIT.keys[0], QUIT.words),
    )
)


def add(commands: Any) -> None:
    """Add ``rate``."""
    summary = "Rate pairs and rankings in the terminal."
    command = commands.add_parser("rate", help=summary, description=summary, epilog=LEGEND)
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.set_defaults(action=_rate)


def _rate(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    print(LEGEND)
    num_rated, last = 0, None
    with keyboard() as keys:
        while True:
            with ws.write() as db:
                question = _question(db)
            if question:
                if question.showing.id != last:
                    print(page(question.showing, "an earlier vote"))
                answer = disagreements.ask(ws, question, keys)
                if answer == "quit":
                    break
                if answer == "undo":
                    with ws.write() as db:
                        change, said = _undo(db)
                    print(said, flush=True)
                    num_rated += change or 0
                continue
            with ws.write() as db:
                showing = sessions.next_showing(db, RATER)
            last = showing.id if showing else None
            if showing:
                with ws.read() as db:
                    heading = _heading(db)
                print(page(showing, heading), flush=True)
                change = _Judge(ws, showing, keys).judge()
            else:
                print(f"\n{_end(ws, arguments)}", flush=True)
                with ws.read() as db:
                    has_rated = ratings.summary(db)[RATER] > 0
                change = None
                if has_rated and _wants_last_back(keys):
                    with ws.write() as db:
                        change, said = _undo(db)
                    print(said, flush=True)
            if change is None:
                break
            num_rated += change
            prefetch.look_after(ws)
    with ws.read() as db:
        total = ratings.summary(db)["rated"]
    print(f"{max(0, num_rated)} rated now, {total} in all.")
    return 0


def _question(db: Database) -> Question | None:
    """Return what the active session's second looks leave to ask, in a write transaction: it tells a prediction."""
    session = sessions.active(db, RATER)
    return annotated.ask(db, session.id) if session else None


def _end(ws: Workspace, arguments: argparse.Namespace) -> str:
    """Say why nothing is shown, and what to do next."""
    with ws.read() as db:
        session = sessions.active(db, RATER)
        why_nothing = sessions.why_nothing(db, session) if session else ""
    if session is None:
        return f"Nothing is left to rate. Sample new pairs: {follow.command(arguments, 'sample')}"
    lines = {
        "resting": [f"Next block: {follow.command(arguments, 'session', 'resume')}"],
        "done": [f"End it: {follow.command(arguments, 'session', 'end')}"],
    }.get(session.state)
    if lines is None:
        why = prefetch.explain(ws, session, why_nothing)
        lines = [
            f"Nothing to rate in it now. {why}".rstrip(),
            f"Sample: {follow.command(arguments, 'sample')}",
            f"Let it wait and rate others: {follow.command(arguments, 'session', 'pause')}",
            f"End it: {follow.command(arguments, 'session', 'end')}",
        ]
    lines.append(f"Look at it: {follow.command(arguments, 'session', 'card')}")
    return "\n".join([session.sentence, *lines])


def _wants_last_back(keys: Keys) -> bool:
    """Offer to take the last judgement back, too."""
    print(f"{vocabulary.cap('undo')} takes the last one back, any other key ends.", flush=True)
    return KEYS.get(meant(keys.press())) == "undo"


def _heading(db: Database) -> str:
    """Say how much is left, of the active session if there is one, and what it asks besides the judgement."""
    session, counts = sessions.active(db, RATER), comparisons.counts(db)
    if session is None:
        return f"{counts['unrated']} to rate"
    scales = f" It asks for scales: {vocabulary.cap('attributes')}" if session.config.attributes else ""
    return f"{session.sentence}{scales}"


class _Judge:
    """Reads the keys that judge an item."""

    def __init__(self, ws: Workspace, showing: Showing, keys: Keys) -> None:
        self.ws, self.showing, self.keys = ws, showing, keys
        self.is_ranking = len(showing.texts) > 2
        self.aside = Aside.begin(ws, showing, keys)
        self.placed: list[list[int]] = []
        self.is_tie = self.is_held = False
        self.displayed = time.monotonic()

    def judge(self) -> int | None:
        """Read keys until one judges the item or takes the last judgement back; +1, -1, 0, or None to quit."""
        self.keys.settle()
        while True:
            key = meant(self.keys.press(takes_enter=self.is_ranking))
            if key in (*QUIT.keys, ""):
                return None
            if (change := self._press(key)) is not None:
                return change

    def _press(self, key: str) -> int | None:
        """Carry out a key's command; None where the item stays."""
        was_held, self.is_held = self.is_held, False
        name = KEYS.get(key, "")
        if name == "undo":
            with self.ws.write() as db:
                change, said = _undo(db)
            print(said, flush=True)
            return change
        if name == "help":
            print(LEGEND, flush=True)
        elif name in remarks.COMMANDS:
            self.aside.press(name)
        elif name == "skip":
            reason = remarks.ask_reason(self.keys)
            return self._record("skip", reason=reason) if reason else None
        elif self._is_unknown(key):
            self.is_held = True
            print(
                f"{printable(key)} is not a key here, so nothing was done. Press {vocabulary.cap('help')} for the keys.",
                flush=True,
            )
        elif was_held and self._judges(key):
            print(
                "The key before it was not understood, so this one was not taken. Press it again to judge.", flush=True
            )
        elif name == "both_bad" or (name in JUDGEMENTS and not self.is_ranking):
            outcome, strength = JUDGEMENTS[name]
            return self._record(outcome, strength=strength)
        elif self.is_ranking and name == "ranking":
            ranks = self._ranks()
            return None if ranks is None else self._record("ranking", ranks=ranks)
        elif self.is_ranking:
            self._place(key)
        return None

    def _is_unknown(self, key: str) -> bool:
        """Return whether a key is a letter of another layout, perhaps a command; a terminal gives no key codes."""
        return key.isprintable() and not key.isascii()

    def _judges(self, key: str) -> bool:
        return key in JUDGING or key.isdecimal()

    def _record(self, outcome: Outcome, **facts: Any) -> int | None:
        """Record the judgement; where that fails for now, say so and stay: nothing that was typed is lost."""
        elapsed_ms = round(1000 * (time.monotonic() - self.displayed))
        try:
            with self.ws.write() as db:
                rating = ratings.record(
                    db, self.showing.id, outcome, remarks=self.aside.remarks(), elapsed_ms=elapsed_ms, **facts
                )
                self.aside.drop(db)
                said = wording.of_rating(db, rating)
                seen = session_status.prediction(db, RATER, self.showing.id, rating.id)
        except RatingError as error:  # for instance: rated elsewhere meanwhile; go on with the next item
            print(error, flush=True)
            return 0
        except WorkspaceError as error:
            print(f"{error}\nNothing was recorded. Press the key again when that is done.", flush=True)
            return None
        print(said + (f". {seen}" if seen else ""), flush=True)
        return 1

    def _place(self, key: str) -> None:
        """Place an answer next, remove a placed one, or let the next one tie; then show the placed ones."""
        flat = [position for rung in self.placed for position in rung]
        if KEYS.get(key) == "back" and flat:
            self._take(flat[-1])
        elif KEYS.get(key) == "same":
            self.is_tie = bool(flat)
        elif key in "123456789"[: len(self.showing.texts)]:
            self._place_answer(int(key) - 1, is_placed=int(key) - 1 in flat)
        else:
            return
        line = " > ".join(" = ".join(str(position + 1) for position in rung) for rung in self.placed)
        print(f"ranking: {printable(line)}{' =' if self.is_tie else ''}", flush=True)

    def _place_answer(self, position: int, is_placed: bool) -> None:
        if is_placed:
            self._take(position)
        elif self.is_tie and self.placed:
            self.placed[-1].append(position)
        else:
            self.placed.append([position])
        self.is_tie = False

    def _take(self, position: int) -> None:
        self.placed = [left for rung in self.placed if (left := [each for each in rung if each != position])]

    def _ranks(self) -> list[int] | None:
        """Return ranks by screen position, one answer left over last; where more are left, say so and return None."""
        flat = [position for rung in self.placed for position in rung]
        left = [position for position in range(len(self.showing.texts)) if position not in flat]
        if len(left) > 1:
            print(
                f"Place {', '.join(str(each + 1) for each in left)} first; the last one comes last by itself.",
                flush=True,
            )
            return None
        rungs = [*self.placed, left] if left else self.placed
        return [
            1 + next(at for at, rung in enumerate(rungs) if each in rung) for each in range(len(self.showing.texts))
        ]


def _undo(db: Database) -> tuple[int | None, str]:
    """Take back the newest judgement; returns the change in the number of ratings, None where there is none, and what to say."""
    since = sessions.undo_since(db, RATER)
    if settled := annotated.take_back(db, RATER, since=since):
        return 0, f"Taken back: {settled.said}."
    last = undo.newest(db, RATER, since=since)
    edits.put_back(db, last, sessions.upcoming(db, RATER, 1))
    again = undo.counting(db, last) if last else None
    said, again_said = (wording.of_rating(db, each) if each else "" for each in (last, again))
    if last is None:
        return None, sessions.nothing_to_undo(db, RATER)
    change = 0 if again or last.edited_response_id is not None else -1
    return change, f"Taken back: {said}." + (f" Counts again: {again_said}." if again else "")
