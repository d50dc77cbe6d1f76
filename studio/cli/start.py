"""Opens the studio (``ui``, ``desktop``), checks the machine (``doctor``) and shows the whole loop (``demo``)."""

import argparse
import getpass
import importlib
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from studio import desktop, doctor, recent, redaction, servers
from studio.cli.printing import printable
from studio.datasets import starter
from studio.demo import rounds
from studio.errors import ConfigError
from studio.preferences import prompts
from studio.recovery import daily
from studio.workspace import Workspace


def add(commands: Any) -> None:
    """Add ``ui``, ``desktop``, ``doctor`` and ``demo``."""
    summary = "Open the studio in the browser."
    command = commands.add_parser("ui", help=summary, description=summary)
    command.add_argument("--host", default="127.0.0.1", help="anything but this machine itself needs --password")
    command.add_argument("--port", type=int, default=7860, help="where the page is served (default: %(default)s)")
    command.add_argument(
        "--password",
        nargs="?",
        const="",
        help="ask here for a password that the page then asks for; without a terminal set RLHF_STUDIO_PASSWORD instead",
    )
    command.add_argument(
        "--root",
        metavar="DIR",
        action="append",
        default=[],
        help="a folder outside the workspace whose files the page may read; may be repeated",
    )
    command.add_argument(
        "--name",
        action="append",
        default=[],
        help="a name under which a proxy or a DNS entry leads to the page (needs --password); may be repeated",
    )
    command.add_argument(
        "--max-upload", metavar="SIZE", default="2GB", help="the largest file that may be uploaded (default: 2GB)"
    )
    command.add_argument("--no-browser", action="store_true", help="do not open a tab")
    command.add_argument(
        "--app", action="store_true", help="open a window of its own (needs a Chromium-family browser)"
    )
    command.add_argument(
        "--empty", action="store_true", help="do not load the starter kit: an archive can be imported on the page then"
    )
    command.set_defaults(action=_ui)
    summary = "Put the studio into the desktop's menu: a click opens it in a window of its own."
    command = commands.add_parser("desktop", help=summary, description=summary)
    command.add_argument("--remove", action="store_true", help="take it out of the menu again")
    command.set_defaults(action=_desktop)
    summary = "Check the machine and the workspace."
    command = commands.add_parser("doctor", help=summary, description=summary)
    command.add_argument(
        "--repair",
        action="store_true",
        help="also recover runs and checkpoints on disk that the database does not know; removes nothing",
    )
    command.set_defaults(action=_doctor)
    summary = "Run the whole loop on the starter kit, with a scripted rater."
    command = commands.add_parser("demo", help=summary, description=summary)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--rounds", type=int, default=2, help="how often to sample, rate and train")
    command.set_defaults(action=_demo)


def _ui(arguments: argparse.Namespace) -> int:
    _end_in_order()
    password = _password(arguments.password)
    redaction.hide_in_output()
    ws = Workspace.open(arguments.workspace or _picked())
    recent.add(ws.root)
    with ws.read() as db:
        num_prompts = prompts.counts(db)["prompts"]
    if not arguments.empty and not num_prompts:
        with ws.write() as db:
            starter.load(db)
    if arguments.app and (open_at := servers.others(ws)):
        importlib.import_module("ui.app").open_page(open_at[0], is_window=True)
        print(f"RLHF Studio has this workspace open at {open_at[0]}")
        return 0
    app = importlib.import_module("ui.app")  # by name: studio does not depend on ui, and only this command opens it
    with ws.kept_open(), daily.kept(ws):
        app.launch(
            ws,
            host=arguments.host,
            port=arguments.port,
            password=password,
            inbrowser=not arguments.no_browser,
            is_window=arguments.app,
            roots=arguments.root,
            names=arguments.name,
            max_upload=arguments.max_upload,
        )
    return 0


def _picked() -> Path | None:
    """Ask which of the workspaces that were opened here before; None for the usual one, and without a terminal."""
    usual = Workspace.place()
    known = recent.read()
    offered = [*known, *([usual] if usual not in known else [])]
    is_decided = len(offered) < 2 or os.environ.get("RLHF_STUDIO_WORKSPACE")
    if is_decided or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    print("Workspaces:")
    for number, path in enumerate(offered, start=1):
        print(printable(f"  {number}  {path}{'' if path in known else ' (the usual one)'}"))
    while True:
        try:
            answer = input("Open which one? A number, or the path of another; Enter takes 1: ").strip()
        except EOFError:
            raise ConfigError("No workspace was chosen. Name one with --workspace.") from None
        if not answer:
            return offered[0]
        if answer.isdecimal() and 1 <= int(answer) <= len(offered):
            return offered[int(answer) - 1]
        if answer.startswith(("/", "~", ".")):
            if Workspace(Path(answer).expanduser()).database.is_file():
                return Path(answer)
            print(
                printable(
                    f"There is no workspace in {answer}. A new one is made by: rlhf-studio ui --workspace {shlex.quote(answer)}"
                )
            )
            continue
        print(f"That is neither a number from 1 to {len(offered)} nor a path, which begins with /, ~ or a dot.")


def _desktop(arguments: argparse.Namespace) -> int:
    if arguments.remove:
        gone = desktop.remove()
        print("\n".join(f"Removed {path}" for path in gone) or "There was no menu entry of the studio.")
        return 0
    written = desktop.install(Workspace.place(arguments.workspace) if arguments.workspace else None)
    print("\n".join(f"Written: {path}" for path in written))
    print("RLHF Studio is in the menu now. Take it out with: rlhf-studio desktop --remove")
    return 0


def _end_in_order() -> None:
    """Let a shutdown, `kill` or a closed terminal end the server as Ctrl-C does, with the -wal written back."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores it
            signal.signal(number, signal.default_int_handler)


def _password(given: str | None) -> str | None:
    """Return the page's password: typed now, else from the environment, else none."""
    if given:
        raise ConfigError(
            "A password on a command line can be read by every account of this machine. Choose another one, and write --password "
            f"alone to be asked for it, or set {redaction.PASSWORD}."
        )
    if given is None:
        return os.environ.get(redaction.PASSWORD)
    try:
        return getpass.getpass("Password for the page: ")
    except EOFError as error:
        raise ConfigError(
            f"There is no terminal to ask for the password. Set {redaction.PASSWORD} and leave out --password."
        ) from error


def _doctor(arguments: argparse.Namespace) -> int:
    checks = doctor.examine(arguments.workspace, is_repairing=arguments.repair)
    for check in checks:
        print(check.line)
    return 1 if any(check.level == "problem" for check in checks) else 0


def _demo(arguments: argparse.Namespace) -> int:
    if not arguments.workspace:
        raise ConfigError("The demo needs a folder of its own: rlhf-studio demo --workspace DIR")
    return rounds.main(arguments.workspace, arguments.seed, arguments.rounds)
