"""The words and keys of judgements, for the pages, their scripts and the terminal. They stand here and nowhere else."""

import json
from typing import Literal, NamedTuple, get_args

PairOutcome = Literal["left", "right", "tie", "both_bad"]
Outcome = Literal[PairOutcome, "ranking", "skip"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
SIDES: tuple[Outcome, Outcome] = ("left", "right")
"""The outcomes with a winner, by screen position."""
TIES: tuple[Outcome, Outcome] = ("tie", "both_bad")
WORDS: dict[str, str] = {
    "left": "left",
    "right": "right",
    "tie": "both fine",
    "both_bad": "both bad",
    "ranking": "ranked",
    "skip": "skipped",
}
ALL_BAD = "all bad"
"""What `both_bad` is called for three or more answers."""
STRENGTHS = {1: "slightly better", 2: "better", 3: "much better"}
FLAGS = ("unsafe", "hallucinated", "refused")
ATTRIBUTES = ("helpful", "truthful", "harmless")
SKIP_REASONS = ("cannot judge", "broken prompt", "same answer", "other")


class Command(NamedTuple):
    """What a key does."""

    keys: tuple[str, ...]
    """By character; the first is drawn on the button."""
    name: str
    """An outcome, ``left:3`` for one with its strength, or any other command."""
    words: str
    """On the button."""


PAIR = {
    "Left is": tuple(Command((key,), f"left:{n}", STRENGTHS[n]) for key, n in (("1", 3), ("2", 2), ("3", 1))),
    "About equal": (Command(("5", " "), "tie", WORDS["tie"]), Command(("b",), "both_bad", WORDS["both_bad"])),
    "Right is": tuple(Command((key,), f"right:{n}", STRENGTHS[n]) for key, n in (("8", 1), ("9", 2), ("0", 3))),
}
"""The judgements of a pair by the heading of their buttons."""
JUDGEMENTS: dict[str, tuple[Outcome, int | None]] = {
    **{f"{side}:{strength}": (side, strength) for side in SIDES for strength in STRENGTHS},
    **{tie: (tie, None) for tie in TIES},
}
"""Name of a command to the outcome and the strength that it gives."""
PLAIN: dict[PairOutcome, str] = {"left": "left:2", "tie": "tie", "right": "right:2", "both_bad": "both_bad"}
"""Outcome of a pair to its command, where no strength is asked for."""
TYPED: dict[str, PairOutcome] = {outcome.removeprefix("both_"): outcome for outcome in PLAIN}
"""Word that is typed for an outcome to the outcome."""
RANKING = (
    Command(("=",), "same", "ties with it"),
    Command(("backspace",), "back", "take out"),
    Command(("b",), "both_bad", ALL_BAD),
    Command(("enter",), "ranking", "record ranking"),
)
OTHERS = (
    Command(("s",), "skip", "skip …"),
    Command(("z",), "undo", "undo"),
    Command(("e",), "edit", "edit to ideal …"),
    Command(("d",), "demonstrate", "demonstrate"),
    Command(("n",), "note", "note"),
    Command(("?",), "help", "more keys"),
)
"""Always in sight."""
MORE = (
    *(Command((flag[0],), flag, f"{flag} …") for flag in FLAGS),
    Command(("m",), "raw", "raw text"),
    Command(("y",), "together", "scroll together"),
    Command(("a",), "attributes", "scales"),
    Command(("g",), "guideline", "guideline"),
)
"""In the list of keys; their keys work without it."""
SCROLLING = (Command(("j",), "down", "scroll down"), Command(("k",), "up", "scroll up"))
QUIT = Command(("q",), "quit", "quit")
"""In the terminal only."""
SETTLEMENTS = {
    "slip": Command(("s",), "slip", "my first vote was a slip"),
    "model": Command(("m",), "model", "the reward model is wrong"),
    "gap": Command(("g",), "gap", "the guideline does not say"),
    "later": Command(("escape",), "later", "decide later"),
}
"""The answers after a second look at a vote that a reward model contradicts. Their keys mean this while it is asked."""
FOLLOWS = {
    "slip": "it becomes the vote you gave now",
    "model": "your votes stay as they are",
    "gap": "add a line to it",
    "later": "the pair comes again in another session",
}
"""What each of them does."""
SETTLED = {
    "slip": "your first vote was a slip, and now says what the second one does",
    "model": "the reward model is wrong; your votes stay",
    "gap": "the guideline does not say",
    "later": "left open; the pair comes again in another session",
}
"""How they are told once they are stored."""
COMMANDS = (*(command for group in PAIR.values() for command in group), *RANKING, *OTHERS, *MORE, *SCROLLING)
KEYS = {key: command.name for command in COMMANDS for key in command.keys}
"""Key, by its character, to the name of its command."""
JUDGING = frozenset(key for key, name in KEYS.items() if name in (*JUDGEMENTS, "same", "ranking"))
"""Keys that judge, or are part of a ranking: with the digits, those that must not be pressed by mistake."""
PLACES = {f"Digit{n}": str(n) for n in range(10)} | {
    f"Key{key.upper()}": key for key in KEYS if key.isalpha() and len(key) == 1
}
"""Key, by its place on the keyboard, to the character that counts where the layout writes neither letter nor digit there."""
MOVED_DIGITS = {"1": "[", "2": "[]", "3": "{/", "4": "}", "6": "=", "7": "*", "8": ")", "9": "+", "0": "]/öÖ"}
"""Digit to the characters at its place in layouts that have this digit elsewhere: other Dvoraks, Hungarian."""
MOVED_LETTERS = {"KeyY": ("зЗ", "z"), "KeyZ": ("ѕЅ", "y")}
"""Place to the characters that mean another letter there: Serbian exchanges the two, and their Latin labels with them."""
CAPS = {" ": "space", "backspace": "⌫", "enter": "⏎", "escape": "Esc"}
"""Keys whose cap shows another sign than their name."""


def cap(name: str) -> str:
    """Return the first key of a command as it is drawn."""
    key = next(key for key, command in KEYS.items() if command == name)
    return CAPS.get(key, key)


def settlement_cap(name: str) -> str:
    """Return the key of an answer after a second look, as it is drawn."""
    key = SETTLEMENTS[name].keys[0]
    return CAPS.get(key, key)


def answer(position: int, num: int) -> str:
    """Return what an answer is called by its position on the screen; `num` answers are shown.

    Those of a pair have no numbers, since the keys 1 and 2 both prefer the left one.
    """
    return f"{SIDES[position]} answer" if num == len(SIDES) else f"answer {position + 1}"


class Help(NamedTuple):
    """A line of the list of keys."""

    keys: str
    """As they are drawn, with or, then and to between them."""
    words: str
    is_in_terminal: bool = True


def _caps(*names: str) -> str:
    return " ".join(cap(name) for name in names)


_STRENGTHS = [STRENGTHS[n] for n in (3, 2, 1)]
HELP = (
    Help(_caps("left:3", "left:2", "left:1"), f"the left answer is {', '.join(_STRENGTHS)}"),
    Help(_caps("right:1", "right:2", "right:3"), f"the right answer is {', '.join(reversed(_STRENGTHS))}"),
    Help(" or ".join(CAPS.get(key, key) for key, name in KEYS.items() if name == "tie"), f"a tie: {WORDS['tie']}"),
    Help(cap("both_bad"), f"{WORDS['both_bad']}; of three or more, {ALL_BAD}"),
    Help("1 to 9", "ranking: this answer comes next; press again to take it out"),
    Help(cap("same"), "ranking: the next answer ties with the one before it"),
    Help(cap("back"), "ranking: take the last one out"),
    Help(cap("ranking"), "ranking: record it"),
    Help("← →", "ranking: move the focused answer; dragging does the same", is_in_terminal=False),
    Help(f"{cap('skip')} then 1 to {len(SKIP_REASONS)}", "skip, with a reason"),
    Help(cap("undo"), "undo, as often as you like"),
    Help(f"{cap('edit')} then 1 or 2", "edit this answer into the ideal one: a demonstration and a preference"),
    Help(cap("demonstrate"), "write a demonstration for this prompt"),
    Help(f"{_caps(*FLAGS)} then 1 or 2", f"flag this answer as {', '.join(FLAGS)}"),
    Help(cap("note"), "a note, recorded with the judgement"),
    Help(cap("attributes"), f"scales from 1 to 7: {', '.join(ATTRIBUTES)}"),
    Help(cap("raw"), "show the texts raw or formatted", is_in_terminal=False),
    Help(
        _caps("down", "up", "together"), "scroll down, up; scroll the answers together or apart", is_in_terminal=False
    ),
    Help(cap("guideline"), "show the guideline"),
    Help(cap("help"), "show this list"),
)


def as_json() -> str:
    """Return what the scripts of the rating page need of all this."""
    return json.dumps(
        {
            "keys": KEYS,
            "judging": sorted(JUDGING),
            "places": PLACES,
            "movedDigits": MOVED_DIGITS,
            "movedLetters": MOVED_LETTERS,
            "judgements": JUDGEMENTS,
            "plain": {outcome: {"command": command, "words": WORDS[outcome]} for outcome, command in PLAIN.items()},
            "sides": SIDES,
            "flags": FLAGS,
            "attributes": ATTRIBUTES,
            "skipReasons": len(SKIP_REASONS),
            "settlements": {command.keys[0]: name for name, command in SETTLEMENTS.items()},
        }
    )
