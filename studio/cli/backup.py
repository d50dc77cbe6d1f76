"""Maintains the database at the terminal: ``backup``, ``restore`` and ``rescue``."""

import argparse
from pathlib import Path
from typing import Any

from studio import servers
from studio.errors import StudioError, WorkspaceError
from studio.preferences import prompts, ratings
from studio.recovery import backups, rescue
from studio.runs import launcher, runs
from studio.workspace import Workspace


def add(commands: Any) -> None:
    """Add ``backup``, ``restore`` and ``rescue``."""
    summary = "Copy the database to one file and check it, also while the studio is running."
    command = commands.add_parser(
        "backup",
        help=summary,
        description=f"{summary} The folders of runs are not in it. To restore it: rlhf-studio restore FILE",
    )
    command.add_argument("file", nargs="?", help="the new file; by default a new one in WORKSPACE/backups")
    command.add_argument("--force", action="store_true", help="replace the file if there is one")
    command.set_defaults(action=_backup)
    summary = "Replace the database with a backup; the old database is set aside."
    command = commands.add_parser("restore", help=summary, description=summary)
    command.add_argument("file", help="a backup, such as one of WORKSPACE/backups")
    command.set_defaults(action=_restore)
    _add_rescue(commands)


def _add_rescue(commands: Any) -> None:
    summary = "Copy what can be read of a damaged database into a new workspace, and count what is lost."
    command = commands.add_parser("rescue", help=summary, description=f"{summary} The damaged one is not changed.")
    command.add_argument("new", metavar="NEW_FOLDER", help="the new workspace's folder")
    command.set_defaults(action=_rescue)


def _rescue(arguments: argparse.Namespace) -> int:
    root, new = Workspace.place(arguments.workspace), Path(arguments.new).expanduser().absolute()
    found = rescue.rescue(root, new)
    for line in found.lines:
        print(line)
    lost = sum(found.lost.values())
    said = f"at least {lost:,} are lost" if lost else "none is known to be lost"
    if found.unlisted:
        said = f"at least {lost:,} and all {', '.join(found.unlisted)} are lost"
    print(f"{sum(found.saved.values()):,} rows are in {new}; {said}.")
    print(
        f"The folders of runs stay where they are: copy {root / 'runs'} to {new / 'runs'}, then rlhf-studio doctor --workspace {new}"
    )
    return 0


def _backup(arguments: argparse.Namespace) -> int:
    made = backups.make(Workspace.existing(arguments.workspace), arguments.file, is_replacing=arguments.force)
    print(
        f"{made.path}\nThe database as of now, checked ({made.path.stat().st_size / 2**20:,.1f} MiB). To restore it: rlhf-studio restore FILE"
    )
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    root = Workspace.place(arguments.workspace)
    _check_quiet(root)
    aside = backups.restore(root, arguments.file)
    ws = Workspace.open(root)
    with ws.read() as db:
        rated = ratings.summary(db)["rated"]
        counts = f"{prompts.counts(db)['prompts']:,} prompts, {rated:,} ratings, {len(runs.list_all(db)):,} runs"
    before = f" What was there before is in {aside}." if any(aside.iterdir()) else ""
    print(f"{ws.database} is now the backup: {counts}.{before}")
    print(
        "For runs and checkpoints newer than the backup: rlhf-studio doctor lists them, and rlhf-studio doctor --repair recovers them."
    )
    return 0


def _check_quiet(root: Path) -> None:
    """Refuse to change the database while a server or a run uses it."""
    ws = Workspace(root)
    if found := servers.others(ws):
        raise WorkspaceError(f"The workspace is open at {' and '.join(found)}. Stop that studio first.")
    try:
        with ws.read() as db:
            at_work = [run.name for run in runs.list_all(db) if not run.is_ended and launcher.is_alive(run)]
    except StudioError:
        return  # unreadable: that is why it is restored
    if at_work:
        raise WorkspaceError(
            f"{', '.join(at_work[:3])} is running. Wait for it, or stop it first: rlhf-studio runs stop NAME"
        )
