"""Adds to a judgement in the terminal: notes, flags, scales, ideal answers, demonstrations; shows the guideline."""

import json
import uuid
from dataclasses import asdict, dataclass, field

from sqlite_utils import Database

from studio.annotation import guidelines
from studio.cli.keyboard import Keys, meant
from studio.cli.printing import printable
from studio.errors import StudioError
from studio.preferences import edits, prompts, undo, vocabulary
from studio.preferences.comparisons import Showing
from studio.preferences.judgements import Remarks, check_note, stored_remarks
from studio.preferences.vocabulary import ATTRIBUTES, FLAGS, JUDGING, QUIT, SKIP_REASONS
from studio.workspace import Workspace

COMMANDS = ("note", "edit", "demonstrate", "attributes", "guideline", *FLAGS)


@dataclass
class Aside:
    """The remarks being made on the current item."""

    ws: Workspace
    showing: Showing
    keys: Keys
    note: str = ""
    flags: dict[str, list[int]] = field(default_factory=dict)
    attributes: dict[str, list[int | None]] = field(default_factory=dict)

    @classmethod
    def begin(cls, ws: Workspace, showing: Showing, keys: Keys) -> "Aside":
        """Begin with earlier remarks: those of a judgement taken back, or unrecorded ones from here or the page."""
        with ws.read() as db:
            before = undo.remarks_taken_back(db, showing.id)
            kept = _read(prompts.load_draft(db, edits.draft_name("remarks", showing.id)), len(showing.texts)) or before
        flags = {name: list(at) for name, at in kept.flags.items()}
        begun = cls(ws, showing, keys, kept.note, flags, {name: list(at) for name, at in kept.attributes.items()})
        if said := begun._words():
            print(f"It has {said}, to be recorded with your judgement.", flush=True)
        return begun

    def remarks(self) -> Remarks:
        """To be recorded with the judgement."""
        return Remarks(self.note, self.flags, self.attributes)

    def drop(self, db: Database) -> None:
        """Remove the draft of the remarks, in the transaction that records them."""
        prompts.save_draft(db, edits.draft_name("remarks", self.showing.id), "")

    def press(self, name: str) -> None:
        """Carry out one of `COMMANDS`, and say so."""
        before = json.dumps(asdict(self.remarks()))
        try:
            print(self._said(name), flush=True)
            if (after := json.dumps(asdict(self.remarks()))) != before:
                self._keep(edits.draft_name("remarks", self.showing.id), after)
        except StudioError as error:
            print(error, flush=True)

    def _keep(self, name: str, text: str) -> None:
        with self.ws.write() as db:
            prompts.save_draft(db, name, text)

    def _words(self) -> str:
        said = [f"the note {printable(self.note)!r}"] if self.note else []
        said += [
            f"the flag {name} on {' and '.join(self._answer(each) for each in at)}"
            for name, at in self.flags.items()
            if at
        ]
        return " and ".join([*said, "scales"] if any(map(any, self.attributes.values())) else said)

    def _said(self, name: str) -> str:
        if name == "guideline":
            with self.ws.read() as db:
                guideline = guidelines.current(db)
            return printable(guideline.text)
        if name == "note":
            self.note = check_note(self.keys.line("Note: ")) or self.note
            return "It is recorded with your judgement." if self.note else "No note."
        if name == "demonstrate":
            return self._write("demonstrate", None, "What should the assistant have said?", "")
        if name == "attributes":
            return self._ask_scales()
        position = self._which("Edit into the ideal answer" if name == "edit" else f"Flag as {name}")
        if position is None:
            return "Back."
        if name == "edit":
            words = f"The ideal answer, instead of {self._answer(position)}."
            return self._write("edit", position, words, self.showing.texts[position])
        return self._flag(name, position)

    def _which(self, words: str) -> int | None:
        """Return the position of the answer whose number is pressed; a letter goes back."""
        num = len(self.showing.texts)
        answers = "   ".join(f"{at + 1} {vocabulary.answer(at, num)}" for at in range(num))
        return _number(self.keys, f"{words}: which answer? {answers}", num)

    def _answer(self, position: int) -> str:
        num = len(self.showing.texts)
        return f"{'the ' * (num == 2)}{vocabulary.answer(position, num)}"

    def _write(self, kind: str, position: int | None, words: str, before: str) -> str:
        """Ask for a text and record it; if that fails, keep it as a draft and offer it again."""
        name = edits.draft_name(kind, self.showing.id, position)
        with self.ws.read() as db:
            draft = prompts.load_draft(db, name)
        if draft:
            print(f"Your draft is back:\n{printable(draft)}", flush=True)
        text = self.keys.text(words, draft or before)
        try:
            with self.ws.write() as db:
                if position is None:
                    edits.demonstrate(db, self.showing.id, text)
                else:
                    edits.edit_to_ideal(db, self.showing.id, position, text, uuid=str(uuid.uuid4()))
        except StudioError as error:
            if edits.bare(text) in ("", edits.bare(before)):
                raise
            self._keep(name, text)
            return f"{error} Your text is kept as a draft."
        self._keep(name, "")
        if position is None:
            return "Recorded: a demonstration for this prompt."
        return "Recorded: your ideal answer, better than the one it was made from, and a demonstration. The item stays open."

    def _flag(self, name: str, position: int) -> str:
        at = self.flags.setdefault(name, [])
        if position in at:
            at.remove(position)
            return f"No longer flagged {name}: {self._answer(position)}."
        at.append(position)
        return f"Flagged {name}: {self._answer(position)}. It is recorded with your judgement."

    def _ask_scales(self) -> str:
        """Ask for three numbers for each answer; anything but 1 to 7 is left open."""
        found: dict[str, list[int | None]] = {name: [] for name in ATTRIBUTES}
        num = len(self.showing.texts)
        for position in range(num):
            answer = vocabulary.answer(position, num).capitalize()
            given = self.keys.line(f"{answer}: {', '.join(ATTRIBUTES)}, each 1 to 7 or -: ").split()
            for at, name in enumerate(ATTRIBUTES):
                value = given[at] if at < len(given) else "-"
                found[name].append(int(value) if value in "1234567" and len(value) == 1 else None)
        self.attributes = found
        return "The scales are recorded with your judgement."


def ask_reason(keys: Keys) -> str | None:
    """Ask why an item is skipped; a letter goes back to it."""
    asked = "Skip: " + "   ".join(f"{number} {reason}" for number, reason in enumerate(SKIP_REASONS, 1))
    at = _number(keys, asked, len(SKIP_REASONS))
    if at is None:
        print("Back.", flush=True)
    return None if at is None else SKIP_REASONS[at]


def _number(keys: Keys, asked: str, num: int) -> int | None:
    """Ask for a number from 1 to `num` and return it less 1; None where a letter goes back.

    Any other key asks again: if it went back, the number pressed after it would become a judgement.
    """
    while True:
        print(asked, flush=True)
        key = meant(keys.press())
        if not key or (key.isascii() and key.isalpha() and key not in JUDGING):
            return None
        if key in "123456789"[:num]:
            return int(key) - 1
        asked = f"Press 1 to {num}, or a letter such as {QUIT.keys[0]} to go back."


def _read(text: str, num: int) -> Remarks | None:
    """Read remarks kept as a draft, if they fit this item."""
    try:
        found = json.loads(text)
        remarks = Remarks(found["note"], found["flags"], found["attributes"])
        stored_remarks(remarks, num)
    except (ValueError, LookupError, TypeError, AttributeError, StudioError):
        return None
    return remarks
