"""``history disagreements`` lists votes against a confident reward model; in ``rate`` the question after a second look is asked."""

import argparse
import json
from dataclasses import asdict
from typing import Any, Literal, cast

from sqlite_utils import Database

from studio.annotation import disagreements, guidelines, history
from studio.annotation.disagreements import Disagreement, Outcome, Question
from studio.annotation.history import Filter
from studio.annotation.session_summary import CONFIDENT
from studio.cli import arguments as takes
from studio.cli.keyboard import Keys, meant
from studio.cli.printing import printable, when
from studio.errors import StudioError
from studio.preferences import vocabulary
from studio.preferences.vocabulary import FOLLOWS, JUDGING, KEYS, QUIT, SETTLEMENTS
from studio.workspace import Workspace

FIRST_LETTERS = 200


def add(verbs: Any) -> None:
    """Add ``disagreements`` to the verbs of ``history``."""
    summary = "votes against a reward model that was sure of the other answer, not settled yet"
    command = verbs.add_parser(
        "disagreements",
        help=summary,
        description=f"List {summary}, the surest first. Sessions show them again, unmarked, and ask after that vote what it was.",
    )
    command.add_argument("--rater", default="", metavar="NAME", help="whose votes (default: everybody's)")
    command.add_argument(
        "--sure",
        type=takes.sure,
        default=CONFIDENT,
        metavar="P",
        help=f"the least probability of the other answer, from 0.5 to 1 ({CONFIDENT})",
    )
    command.add_argument("--limit", type=takes.count, default=20, metavar="N", help="show this many (20)")
    command.add_argument("--json", action="store_true", help="one JSON object a line")
    command.set_defaults(action=_list)


def _list(arguments: argparse.Namespace) -> int:
    with Workspace.existing(arguments.workspace).read() as db:
        history.check_names(db, Filter(rater=arguments.rater))
        found = disagreements.find(db, arguments.rater, sure=arguments.sure, limit=arguments.limit)
        number = disagreements.count(db, arguments.rater, sure=arguments.sure, at_most=disagreements.COUNTED + 1)
    if arguments.json:
        for each in found:
            print(json.dumps(asdict(each), ensure_ascii=False))
        return 0
    for each in found:
        print(_line(each))
    num = f"more than {disagreements.COUNTED:,}" if number > disagreements.COUNTED else f"{number:,}"
    print(f"{len(found):,} of {num} that are open." if found else "None is open.")
    return 0


def _line(each: Disagreement) -> str:
    prompt, preferred, other = (
        " ".join(printable(text).split())[:FIRST_LETTERS]
        for text in (each.messages[-1]["content"], each.preferred, each.other)
    )
    again = f", judged again {each.num_looks} time{'s' * (each.num_looks != 1)}" if each.num_looks else ""
    return (
        f"{each.rating_id:>7}  {when(each.created_at)}  {printable(each.rater)}, {each.split}: {printable(each.checkpoint)} gave the "
        f"preferred answer {each.probability:.0%}{again}\n         prompt     {prompt}\n         preferred  {preferred}\n         over       {other}"
    )


def ask(ws: Workspace, question: Question, keys: Keys) -> Literal["answered", "undo", "quit"]:
    """Ask what became of the two votes and store the answer; where the person wants to undo or quit, it stays open."""
    print(_asked(question), flush=True)
    names = {SETTLEMENTS[name].keys[0]: name for name in question.offered if name != "later"}
    while True:
        key = meant(keys.press())
        if key in ("", *QUIT.keys):
            return "quit"
        if KEYS.get(key) == "undo" and key not in names:
            return "undo"
        is_other_letter = key.isascii() and key.isalpha() and key not in JUDGING
        if key not in names and not is_other_letter:
            print(
                f"This is about an earlier vote. Press {', '.join(names)}, or another letter to decide later.",
                flush=True,
            )
            continue
        outcome = cast(Outcome, names.get(key, "later"))
        line = keys.line("The line for the guideline (empty: none now): ") if outcome == "gap" else ""
        try:
            with ws.write() as db:
                print(f"Recorded: {_settle(db, question, outcome, line)}.", flush=True)
        except StudioError as error:
            print(error, flush=True)
        return "answered"


def _settle(db: Database, question: Question, outcome: Outcome, line: str) -> str:
    text = f"{guidelines.current(db).text}\n{line}" if line else ""
    return disagreements.settle(db, question.showing.id, outcome, text=text).said


def _asked(question: Question) -> str:
    offered = "\n".join(
        f"  {'any other letter' if name == 'later' else vocabulary.settlement_cap(name):<16}  {SETTLEMENTS[name].words}: {FOLLOWS[name]}"
        for name in question.offered
    )
    return (
        f"\nYou had judged this pair before. {when(question.first_at)}, with the sides as they are now: {question.first}. Now: {question.second}.\n"
        f"{printable(question.checkpoint)} had given the {question.expected} answer {question.probability:.0%} before your first vote. Why did you differ?\n{offered}"
    )
