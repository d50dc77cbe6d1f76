"""Shows and changes the texts of the workspace at the terminal: ``data``, with list, show, edit, hide, unhide, undo, imports and take-back."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from studio.cli import arguments as takes
from studio.cli.printing import printable, when
from studio.datasets import batches, taking_back
from studio.errors import DataError
from studio.preferences import catalogue, demonstrations, prompts, texts
from studio.preferences.catalogue import Filter, Text
from studio.preferences.texts import ONE, WHATS
from studio.recovery import rescue
from studio.workspace import Workspace

FIRST_LETTERS = 60
COUNTED = 10_000
"""Most matching texts that are counted."""


def add(commands: Any) -> None:
    """Add ``data``."""
    summary = "Demonstrations, prompts and imported preferences: list, edit, hide."
    command = commands.add_parser("data", help=summary, description=f"{summary} Without a verb: the demonstrations.")
    command.set_defaults(action=_list, what="demonstrations", **_EVERY)
    verbs = command.add_subparsers(dest="verb", metavar="VERB")
    listed = verbs.add_parser("list", help="newest first, filtered")
    listed.add_argument("what", choices=WHATS)
    listed.add_argument("--search", metavar="TEXT", default="", help="only those with this text")
    listed.add_argument("--split", choices=prompts.SPLITS, default="")
    listed.add_argument("--category", help="'' for those without")
    listed.add_argument(
        "--source", metavar="NAME", default="", help=f"import:NUMBER, or one of: {', '.join(catalogue.SOURCES)}"
    )
    listed.add_argument("--hidden", action="store_true", help="only what is hidden")
    listed.add_argument("--limit", type=takes.count, default=20, metavar="N", help="show this many (20)")
    listed.add_argument("--before", type=takes.identifier, metavar="ID", help="continue after this one")
    listed.add_argument("--json", action="store_true", help="one JSON object a line")
    listed.set_defaults(action=_list)
    _verb(verbs, "show", "one with its whole text, where it came from and what was done with it", _show)
    edit = _verb(
        verbs, "edit", "another answer of a demonstration, or another category; the old one stays on record", _edit
    )
    edit.add_argument("--text", help="what the assistant should have said")
    edit.add_argument("--file", help="a file that holds that text")
    edit.add_argument("--category", help="of the prompt, with all its answers; '' for none")
    _verb(verbs, "hide", "do not train on it or sample from it; nothing is deleted", _hide)
    _verb(verbs, "unhide", "use it again", _unhide)
    _verb(verbs, "undo", "take back what was done last with it", _undo)
    _add_imports(verbs)


_EVERY: dict[str, Any] = {
    "search": "",
    "split": "",
    "category": None,
    "source": "",
    "hidden": False,
    "limit": 20,
    "before": None,
    "json": False,
}


def _add_imports(verbs: Any) -> None:
    listed = verbs.add_parser("imports", help="what was imported, and what is left of it")
    listed.set_defaults(action=_imports)
    back = verbs.add_parser(
        "take-back", help="remove all that came with an import, while nothing was trained or rated on it"
    )
    back.add_argument("id", type=takes.identifier, help="the import's number")
    back.set_defaults(action=_take_back)


def _verb(verbs: Any, name: str, summary: str, action: Any) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    verb.add_argument("what", choices=WHATS)
    verb.add_argument("id", type=takes.identifier, help="its number, as listed")
    verb.set_defaults(action=action)
    return verb


def _list(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    rescue.check(ws)
    wanted = Filter(
        arguments.what, arguments.search, arguments.split, arguments.category, arguments.source, arguments.hidden
    )
    with ws.read() as db:
        catalogue.check_names(db, wanted)
        found = catalogue.find(db, wanted, limit=arguments.limit, before=arguments.before)
        number = 0 if arguments.json or arguments.before else catalogue.count(db, wanted, COUNTED + 1)
    for text in found:
        print(json.dumps(asdict(text), ensure_ascii=False) if arguments.json else _line(text))
    if not arguments.json and arguments.before is None:
        print(f"{len(found):,} of {f'more than {COUNTED:,}' if number > COUNTED else f'{number:,}'} {arguments.what}.")
    return 0


def _line(text: Text) -> str:
    first = " ".join(printable(text.messages[-1]["content"]).split())[:FIRST_LETTERS]
    answer = text.judgement or " ".join(printable(text.answers[0] if text.answers else "").split())[:FIRST_LETTERS]
    about = ", ".join(filter(None, (text.split, printable(text.category), printable(text.source))))
    return f"{text.id:>7}  {first}{f' | {answer}' if answer else ''}  ({about}{', hidden' if text.is_hidden else ''})"


def _show(arguments: argparse.Namespace) -> int:
    with Workspace.existing(arguments.workspace).read() as db:
        text = catalogue.get(db, arguments.what, arguments.id)
        uses, done = catalogue.uses(db, text), texts.history(db, arguments.what, arguments.id)
        standing = demonstrations.standing(db, arguments.id) if arguments.what == "demonstrations" else ""
    print("\n".join(filter(None, (_line(text), standing))))
    for turn in text.messages:
        print(printable(f"{turn['role']}: {turn['content']}"))
    for number, answer in enumerate(text.answers, 1):
        print(f"\n[{number}]\n{printable(answer)}")
    print("\nIts prompt has: " + ", ".join(f"{number:,} {name}" for name, number in uses.items()))
    for event in done:
        print(
            f"{when(event['created_at'], 19)}: {printable(_said(event))}, by {printable(event['rater'])}{' (undo)' if event['is_undo'] else ''}"
        )
    return 0


def _said(event: dict[str, Any]) -> str:
    if event["action"] == "category":
        return f"category {event['before']!r} became {event['after']!r}"
    if event["action"] == "edit":
        return f"edited; before: {' '.join(event['before'].split())[:FIRST_LETTERS]}"
    return {"hide": "hidden", "show": "shown again"}[event["action"]]


def _edit(arguments: argparse.Namespace) -> int:
    if arguments.text is not None and arguments.file is not None:
        raise DataError("Give --text or --file, not both.")
    text = _read(arguments.file) if arguments.file is not None else arguments.text
    if text is None and arguments.category is None:
        raise DataError("Nothing was changed: give --text, --file or --category.")
    if text is not None and arguments.what != "demonstrations":
        raise DataError(
            f"The text of a {ONE[arguments.what]} stays as it is. Hide it, and write or import another one."
        )
    with Workspace.existing(arguments.workspace).write() as db:
        said = []
        if arguments.category is not None:
            prompt_id = catalogue.get(db, arguments.what, arguments.id).prompt_id
            texts.set_category(db, prompt_id, arguments.category)
            said.append(f"Prompt {prompt_id} and its answers have another category.")
        if text is not None:
            new = texts.edit(db, arguments.id, text)
            said.append(f"Demonstration {new} takes the place of {arguments.id}, which stays on record.")
    print("\n".join(said))
    return 0


def _read(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}. Nothing was changed.") from error


def _hide(arguments: argparse.Namespace) -> int:
    with Workspace.existing(arguments.workspace).write() as db:
        texts.hide(db, arguments.what, arguments.id)
    print(f"Hidden. Use it again with: rlhf-studio data unhide {arguments.what} {arguments.id}")
    return 0


def _unhide(arguments: argparse.Namespace) -> int:
    with Workspace.existing(arguments.workspace).write() as db:
        texts.show(db, arguments.what, arguments.id)
    print(f"{ONE[arguments.what].capitalize()} {arguments.id} is used again.")
    return 0


def _undo(arguments: argparse.Namespace) -> int:
    with Workspace.existing(arguments.workspace).write() as db:
        found = texts.undo(db, arguments.what, arguments.id)
    print(f"Undone. It is {ONE[arguments.what]} {found} now." if found != arguments.id else "Undone.")
    return 0


def _imports(arguments: argparse.Namespace) -> int:
    with Workspace.existing(arguments.workspace).read() as db:
        found = [(row, batches.brought(db, row["id"])) for row in prompts.list_imports(db)]
    for row, counts in found:
        brought = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number) or "nothing new"
        dropped = sum(row["dropped"].values())
        print(
            f"{row['id']:>5}  {when(row['created_at'])}  {printable(row['source'])}: {row['kept']:,} rows of {row['kind']} kept, "
            f"{dropped:,} dropped; {brought}"
        )
    if not found:
        print("Nothing has been imported yet. Import a file with: rlhf-studio import FILE")
    return 0


def _take_back(arguments: argparse.Namespace) -> int:
    print(taking_back.take_back(Workspace.existing(arguments.workspace), arguments.id))
    return 0
