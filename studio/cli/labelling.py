"""Has others label, from the terminal: ``export to-label`` and ``label-studio push|pull``."""

import argparse
import os
import sys
from typing import Any

from studio.cli import arguments as takes
from studio.exchange import to_label
from studio.exchange.label_studio import pull, push
from studio.exchange.label_studio.client import TOKEN, URL, Server
from studio.exchange.tasks import WHAT
from studio.workspace import Workspace


def add(commands: Any) -> None:
    """Add ``label-studio``."""
    summary = "Have pairs, rankings and prompts labelled on a Label Studio server."
    command = commands.add_parser(
        "label-studio", help=summary, description=f"{summary} The token is read from {TOKEN}."
    )
    verbs = command.add_subparsers(dest="verb", metavar="VERB", required=True)
    pushing = verbs.add_parser("push", help="push what is not there yet, without names of models")
    _add_server(pushing, default=["pairs", "rankings"])
    _add_choice(pushing)
    pushing.add_argument(
        "--annotators",
        type=takes.count,
        default=1,
        help="how many people judge each task, in a project that is made (default: 1)",
    )
    pushing.set_defaults(action=_push)
    pulling = verbs.add_parser("pull", help="bring judgements that are new, corrected or taken back")
    _add_server(pulling, default=list(WHAT))
    pulling.set_defaults(action=_pull)


def add_to_label(what: Any) -> None:
    """Add ``export to-label``."""
    command = what.add_parser("to-label", help="pairs, rankings or prompts for another tool to label, blind")
    command.add_argument("--format", choices=list(to_label.FORMATS), default="label-studio", help="the tool")
    command.add_argument("--what", choices=WHAT, default="pairs", help="what to label (default: pairs)")
    _add_choice(command)
    command.set_defaults(action=_export)


def _add_choice(command: argparse.ArgumentParser) -> None:
    command.add_argument("--all", action="store_true", help="also what is judged or answered here already")
    command.add_argument("--run", help="only comparisons of this sampling run")
    command.add_argument("--limit", type=takes.count, help="at most this many of each kind")


def _add_server(command: argparse.ArgumentParser, default: list[str]) -> None:
    address = "address of the server, such as http://127.0.0.1:8080"
    command.add_argument("--url", default=os.environ.get(URL, ""), help=f"{address} (default: ${URL})")
    command.add_argument(
        "--project", required=True, help="name; the projects are NAME: pairs, NAME: rankings, NAME: prompts"
    )
    command.add_argument("--what", nargs="+", choices=WHAT, default=default, help=f"default: {' '.join(default)}")


def _export(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    exported = to_label.export(
        ws, arguments.format, arguments.what, is_all=arguments.all, run=arguments.run, limit=arguments.limit
    )
    print(f"{exported.folder}\n{exported.sentence}")
    return 0


def _push(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with Server(arguments.url) as server:
        pushed = push.push(
            ws,
            server,
            arguments.project,
            arguments.what,
            is_all=arguments.all,
            run=arguments.run,
            limit=arguments.limit,
            annotators=arguments.annotators,
            tell=_tell,
        )
    print("\n".join(each.sentence for each in pushed))
    return 0


def _pull(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with Server(arguments.url) as server:
        pulled = pull.pull(ws, server, arguments.project, arguments.what)
    print("\n".join(each.sentence for each in pulled))
    return 0


def _tell(done: int, of: int) -> None:
    if of and sys.stderr.isatty():
        print(f"\r{done:,} of {of:,} tasks", end="\n" if done == of else "", file=sys.stderr, flush=True)
