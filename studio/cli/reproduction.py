"""A run as one file, and run again from it: ``runs bundle``, ``reproduce``."""

import argparse
from typing import Any

from studio.cli import follow
from studio.cli.printing import printable
from studio.errors import RunError
from studio.reproduction import bundling, differences, opening, repeating
from studio.runs import devices, launcher, runs
from studio.workspace import Workspace


def add_verb(verbs: Any) -> None:
    """Add the verb to ``runs``."""
    command = verbs.add_parser(
        "bundle",
        help="write a run as one file from which it can be run again: settings, frozen rows, hashes, versions",
        description="Writes exports/NAME.bundle.zip. It holds the rows that the run began with, as text.",
    )
    command.add_argument("name")
    command.set_defaults(action=_bundle)


def add(commands: Any) -> None:
    """Add ``reproduce``."""
    summary = "Run a bundle again, and say what differs; 0 if nothing does, 1 otherwise."
    command = commands.add_parser("reproduce", help=summary, description=summary)
    command.add_argument("bundle", metavar="FILE", help="as `runs bundle` writes it")
    how = command.add_mutually_exclusive_group()
    how.add_argument("--show", action="store_true", help="start nothing: say what it is and what differs here")
    how.add_argument("--against", default="", metavar="RUN", help="start nothing: compare a run that has ended")
    command.set_defaults(action=_reproduce)


def _bundle(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    path = bundling.write(ws, arguments.name)
    print(f"Written to {path}. It holds the rows that {arguments.name} began with, as text.")
    print(f"Run it again with: {follow.command(arguments, 'reproduce', str(path))}")
    return 0


def _reproduce(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with opening.opened(arguments.bundle) as bundle:
        bundle.check()
        if arguments.against:
            with ws.read() as db:
                run = runs.get(db, arguments.against)
            return _compare(ws, bundle, run)
        with ws.read() as db:
            plan = repeating.plan(db, bundle)
        there = bundle.contents
        print(printable(f"{there.run} ({there.stage}), which {there.state}. {there.message}"))
        print(printable(there.command))
        print("\n".join(["It was run elsewhere, or under other conditions:", *map(printable, plan.surroundings)]) if plan.surroundings else "Code, packages and machine are the same here.")  # fmt: skip
        if arguments.show:
            return 0
        devices.check_here(plan.config)
        run = launcher.start(ws, repeating.start(ws, bundle, plan))
        follow.follow(ws, run, arguments)
        with ws.read() as db:
            run = runs.get(db, run.id)
        if not run.is_ended:
            words = "reproduce", arguments.bundle, "--against", run.name
            print(f"Compare it when it has ended: {follow.command(arguments, *words)}")
            return 0
        return _compare(ws, bundle, run)


def _compare(ws: Workspace, bundle: opening.Bundle, run: runs.Run) -> int:
    if not run.is_ended:
        raise RunError(f"{run.name} is {run.state}: compare it when it has ended.")
    found = differences.between(ws, bundle, run)
    print(printable("\n".join(found.sentences)))
    return 0 if found.are_none else 1
