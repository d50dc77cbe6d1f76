"""The command line ``rlhf-studio``: everything the pages can do, for terminals and scripts.

Each file of this package adds its subcommands with `add` and sets `action`, a function of the parsed arguments that
returns the exit code. A `StudioError` is one sentence on stderr and exit code 1.
"""

import argparse
import io
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from studio import redaction
from studio.cli import (
    backup,
    chat,
    chats,
    data,
    history,
    insights,
    labelling,
    models,
    rate,
    reproduction,
    runs,
    serve,
    sessions,
    stages,
    start,
    texts,
    win_rates,
)
from studio.database import high_water
from studio.errors import StudioError
from studio.recovery import rescue
from studio.runs import signals
from studio.workspace import Workspace


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="rlhf-studio",
        description="Reinforcement learning from human feedback on local GPUs. Without a command: opens the studio.",
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for room in (
        start,
        data,
        texts,
        labelling,
        stages,
        rate,
        sessions,
        win_rates,
        insights,
        history,
        runs,
        reproduction,
        models,
        chat,
        chats,
        serve,
        backup,
    ):
        room.add(commands)
    _add_workspace(top, default=None)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 refused or failed, 2 not understood."""
    if arguments is None:
        signals.take_interrupts()
    _print_what_the_terminal_can(sys.stdout, sys.stderr)
    given = list(sys.argv[1:] if arguments is None else arguments)
    chosen = parser().parse_args(given)
    if chosen.command is None:
        chosen = parser().parse_args([*given, "ui"])
    try:
        code = chosen.action(chosen)
        if chosen.command not in ("doctor", "restore"):
            _tell_what_is_missing(Workspace.place(chosen.workspace))
        return code
    except StudioError as error:
        print(redaction.redact(str(error)), file=sys.stderr)
        return 1
    except (sqlite3.Error, ValueError, LookupError, TypeError) as error:  # is it the database that cannot be read?
        if not (said := rescue.told(Workspace.place(chosen.workspace), error)):
            raise
        print(said, file=sys.stderr)
        return 1
    except MemoryError:
        print("There is not enough memory for this. Close other programs, or give it less at a time.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `rlhf-studio runs | head`
        sys.stderr.close()
        return 0


def _tell_what_is_missing(root: Path) -> None:
    """Say after any command that the database lacks what was written here, as far as that is known."""
    if said := high_water.sentence(Workspace(root).database):
        print(f"{said}. What to do is told by: rlhf-studio doctor", file=sys.stderr)


def _print_what_the_terminal_can(*streams: TextIO) -> None:
    """Replace characters that a terminal without UTF-8 lacks, instead of failing after the work is done."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _add_workspace(command: argparse.ArgumentParser, default: str | None) -> None:
    """Allow --workspace after any word of the command."""
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _add_workspace(inner, default=argparse.SUPPRESS)
    command.add_argument(
        "--workspace",
        metavar="DIR",
        default=default,
        help="the workspace folder (default: $RLHF_STUDIO_WORKSPACE, else ~/rlhf-studio)",
    )
