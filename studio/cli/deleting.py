"""Deletes runs and checkpoints (``runs delete``, ``models delete``): first what would leave and what depends on it."""

import argparse
import os
import sys
from functools import partial
from typing import Any

from studio.cli import follow, watch
from studio.models import deletion, disk
from studio.models.deletion import Others, Plan
from studio.runs import launcher
from studio.workspace import Workspace


def add(verbs: Any, noun: str) -> None:
    """Add the verb to ``runs`` or ``models``."""
    what = "runs with their checkpoints, rows and log" if noun == "runs" else "checkpoints, such as ppo-1@20"
    delete = verbs.add_parser("delete", help=f"delete the files of {what}; without --yes: show what would leave")
    delete.add_argument("names", nargs="+", metavar="NAME")
    delete.add_argument("--yes", action="store_true", help="do it; there is no undo")
    others = delete.add_mutually_exclusive_group()
    others.add_argument(
        "--with-dependants", action="store_true", help="also delete the runs that began with one of them, with theirs"
    )
    others.add_argument(
        "--keep-dependants",
        action="store_true",
        help="leave those runs as they are: they can be asked and exported, but no longer resumed",
    )
    delete.set_defaults(action=partial(_delete, noun))


def _delete(noun: str, arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    launcher.reap(ws)
    deletion.finish(ws)
    others: Others = "delete" if arguments.with_dependants else "keep" if arguments.keep_dependants else "refuse"
    is_runs = noun == "runs"
    found = deletion.plan(ws, arguments.names, is_runs=is_runs, others=others)
    print("\n".join(lines(ws, found)))
    again = follow.command(arguments, noun, "delete", *arguments.names)
    if found.dependants and others == "refuse" and not found.forbidden:
        print(
            f"Nothing was deleted, since more depends on it. Delete that too: {again} --with-dependants\n"
            f"Or leave it as it is, to be asked and exported but no longer resumed: {again} --keep-dependants",
            file=sys.stderr,
        )
        return 1
    if arguments.yes or found.forbidden:
        done = deletion.delete(ws, arguments.names, is_runs=is_runs, others=others, expected=found.names)
        print(f"Deleted {', '.join(found.names)}. {done.sentence}")
        return 1 if done.failed else 0
    flags = [f"--{name}-dependants" for name, word in (("with", "delete"), ("keep", "keep")) if word == others]
    print(
        f"Nothing was deleted yet, and there is no undo. To do it: {' '.join([again, *flags, '--yes'])}",
        file=sys.stderr,
    )
    return 0


def lines(ws: Workspace, found: Plan) -> list[str]:
    """Return what would leave, what depends on it and what stays, in lines."""
    rows = [
        (piece.name, disk.words(disk.given_back(piece.paths)), os.path.relpath(piece.folder, ws.root))
        for piece in found.pieces
    ]
    said = [watch.table(rows), f"{disk.words(found.size)} would be free again."]
    if found.dependants:
        said += ["Depends on it:", *(f"  {each}" for each in found.dependants)]
    said += found.changes
    if found.facts:
        said.append(f"Stays, with its name: {', '.join(found.facts)}.")
    if found.left:
        more = f" and {len(found.left) - 3:,} more" if len(found.left) > 3 else ""
        said.append(f"Stays, since the run did not write it: {', '.join(found.left[:3])}{more}.")
    return said
