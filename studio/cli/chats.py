"""Looks after conversations (``chats``): list, search, show, rename, export, delete."""

import argparse
from typing import Any

from studio.chat import conversations, transcripts
from studio.cli import arguments as takes
from studio.cli import chat_lines
from studio.cli.printing import printable, when
from studio.errors import DataError
from studio.files import whole
from studio.workspace import Workspace


def add(commands: Any) -> None:
    """Add ``chats``."""
    summary = "List, search, show, rename, export and delete conversations."
    command = commands.add_parser("chats", help=summary, description=f"{summary} Without a verb: the list.")
    command.add_argument("--search", metavar="TEXT", default="", help="only those with this text in title or turns")
    command.add_argument("--limit", type=takes.count, default=20, metavar="N", help="list this many (20)")
    command.set_defaults(action=_list)
    verbs = command.add_subparsers(dest="verb", metavar="VERB")
    show = verbs.add_parser("show", help="the branch that was talked on last")
    show.set_defaults(action=_show)
    rename = verbs.add_parser("rename", help="give one another title")
    rename.set_defaults(action=_rename)
    export = verbs.add_parser("export", help="write one to WORKSPACE/exports")
    export.add_argument(
        "--format",
        choices=transcripts.FORMATS,
        default="jsonl",
        help="jsonl: a line of messages for each branch, which import reads (default); json: everything",
    )
    export.set_defaults(action=_export)
    delete = verbs.add_parser("delete", help="remove one; its ratings, demonstrations and prompts stay")
    delete.set_defaults(action=_delete)
    for verb in (show, rename, export, delete):
        verb.add_argument("id", type=takes.identifier, help="the conversation's number")
    rename.add_argument("title")


def _list(arguments: argparse.Namespace) -> int:
    with Workspace.existing(arguments.workspace).read() as db:
        found = conversations.find(db, arguments.search, limit=arguments.limit)
    for each in found:
        names = ", ".join(each.settings.checkpoints)
        print(f"{each.id:>5}  {when(each.changed_at)}  {printable(each.title):<62} {names}".rstrip())
    if not found:
        print("No conversation contains this text." if arguments.search else "There are none yet: rlhf-studio chat")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    with Workspace.existing(arguments.workspace).read() as db:
        print(printable(conversations.get(db, arguments.id).title))
        print("\n".join(chat_lines.shown(db, arguments.id)))
    return 0


def _rename(arguments: argparse.Namespace) -> int:
    with Workspace.existing(arguments.workspace).write() as db:
        conversations.rename(db, arguments.id, arguments.title)
        print(f"Conversation {arguments.id} is now: {printable(conversations.get(db, arguments.id).title)}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.read() as db:
        text = transcripts.write(db, arguments.id, arguments.format)
    if not text:
        raise DataError(f"Conversation {arguments.id} has no answer yet, so there is no line to write.")
    path = ws.exports / f"conversation-{arguments.id}.{arguments.format}"
    with whole.exported(path) as part:
        part.write_text(text, encoding="utf-8")
    print(f"Written to {path}")
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    with Workspace.existing(arguments.workspace).write() as db:
        title = conversations.get(db, arguments.id).title
        conversations.delete(db, arguments.id)
    print(f"Conversation {arguments.id} is deleted: {printable(title)}")
    return 0
