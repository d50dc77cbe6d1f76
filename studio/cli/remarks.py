"""What goes with a judgement in the terminal: notes, flags, scales, ideal answers, demonstrations; the guideline."""

import uuid
from dataclasses import dataclass, field

from studio import edits, guidelines
from studio.cli.keyboard import Keys
from studio.cli.printing import printable
from studio.comparisons import Showing
from studio.errors import StudioError
from studio.judgements import ATTRIBUTES, SKIP_REASONS, Remarks
from studio.workspace import Workspace

FLAG_KEYS = {"u": "unsafe", "h": "hallucinated", "r": "refused"}
KEYS = ("n", "e", "d", "a", "g", *FLAG_KEYS)


@dataclass
class Aside:
    """Remarks that are being made on the item at hand."""

    ws: Workspace
    showing: Showing
    keys: Keys
    note: str = ""
    flags: dict[str, list[int]] = field(default_factory=dict)
    attributes: dict[str, list[int | None]] = field(default_factory=dict)

    def remarks(self) -> Remarks:
        """To be recorded with the judgement."""
        return Remarks(self.note, self.flags, self.attributes)

    def press(self, key: str) -> None:
        """Do what one of `KEYS` stands for, and say so."""
        try:
            print(self._said(key), flush=True)
        except StudioError as error:
            print(error, flush=True)

    def _said(self, key: str) -> str:
        if key == "g":
            return printable(guidelines.current(self.ws).text)
        if key == "n":
            self.note = self.keys.line("Note: ") or self.note
            return "It is recorded with your judgement." if self.note else "No note."
        if key == "d":
            edits.demonstrate(self.ws, self.showing.id, self.keys.text("What should the assistant have said?"))
            return "Recorded: a demonstration for this prompt."
        if key == "a":
            return self._ask_scales()
        position = self._which("Make ideal" if key == "e" else f"Flag as {FLAG_KEYS[key]}")
        if position is None:
            return "Back."
        return self._edit(position) if key == "e" else self._flag(FLAG_KEYS[key], position)

    def _which(self, words: str) -> int | None:
        """The position of the answer whose number is pressed; any other key goes back."""
        print(f"{words}: which answer, 1 to {len(self.showing.texts)}?", flush=True)
        key = self.keys.press()
        return int(key) - 1 if key in "123456789"[: len(self.showing.texts)] and key else None

    def _edit(self, position: int) -> str:
        before = self.showing.texts[position]
        text = self.keys.text(f"The ideal answer in the place of answer {position + 1}.", before)
        edits.edit_to_ideal(self.ws, self.showing.id, position, text, uuid=str(uuid.uuid4()))
        return "Recorded: your ideal answer, better than the one it was made from, and a demonstration. The item stays open."

    def _flag(self, name: str, position: int) -> str:
        at = self.flags.setdefault(name, [])
        if position in at:
            at.remove(position)
            return f"Not flagged {name}: answer {position + 1}."
        at.append(position)
        return f"Flagged {name}: answer {position + 1}. It is recorded with your judgement."

    def _ask_scales(self) -> str:
        """Three numbers for each answer; what is no number from 1 to 7 is left open."""
        found: dict[str, list[int | None]] = {name: [] for name in ATTRIBUTES}
        for number in range(1, len(self.showing.texts) + 1):
            given = self.keys.line(f"Answer {number}: {', '.join(ATTRIBUTES)}, each 1 to 7 or -: ").split()
            for at, name in enumerate(ATTRIBUTES):
                value = given[at] if at < len(given) else "-"
                found[name].append(int(value) if value in "1234567" and len(value) == 1 else None)
        self.attributes = found
        return "The scales are recorded with your judgement."


def ask_reason(keys: Keys) -> str | None:
    """Why an item is skipped; any other key goes back to it."""
    print("Skip: " + "   ".join(f"{number} {reason}" for number, reason in enumerate(SKIP_REASONS, 1)), flush=True)
    key = keys.press()
    return SKIP_REASONS[int(key) - 1] if key in [str(n + 1) for n in range(len(SKIP_REASONS))] else None
