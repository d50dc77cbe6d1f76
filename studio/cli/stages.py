"""The stages of the loop as commands: sft, sample, reward, ppo."""

import argparse
from typing import Any

from modules.config import STAGES, SFTConfig, TrainConfig
from studio import launcher, previewing, runs
from studio.cli import follow, settings
from studio.cli.rate import printable
from studio.workspace import Workspace


def add(commands: Any) -> None:
    """Add one subcommand a stage."""
    for stage, config in STAGES.items():
        summary = (config.__doc__ or "").splitlines()[0]
        command = commands.add_parser(
            stage,
            help=summary,
            description=summary,
            epilog=settings.help_text(config),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("--config", metavar="FILE", help="a JSON file with settings")
        command.add_argument(
            "--set",
            metavar="KEY=VALUE",
            action="append",
            default=[],
            help="one setting; may be repeated, goes over --config",
        )
        how = command.add_mutually_exclusive_group()
        how.add_argument("--detach", action="store_true", help="start it and return at once")
        if issubclass(config, TrainConfig):
            how.add_argument(
                "--queue", action="store_true", help="leave the start to torchrun or SLURM; prints the lines"
            )
        if stage == "sft":
            how.add_argument(
                "--show", action="store_true", help="start nothing: show the chat template and what would be taught"
            )
        command.set_defaults(action=_start)


def _start(arguments: argparse.Namespace) -> int:
    config = settings.read(arguments.command, arguments.config, arguments.set)
    ws = Workspace.open(arguments.workspace)
    if isinstance(config, SFTConfig) and arguments.show:
        return _show(ws, config)
    run = runs.create(ws, config)
    if isinstance(config, TrainConfig) and arguments.queue:
        return follow.leave(ws, run)
    run = launcher.start(ws, run)
    if not arguments.detach:
        return follow.follow(ws, run, arguments)
    print(f"{run.name} started. Watch it: {follow.command(arguments, 'runs', 'show', run.name, '--watch')}")
    return 0


def _show(ws: Workspace, config: SFTConfig) -> int:
    found = previewing.lesson(ws, config)
    print(f"Chat template: {found.template}. {found.summary}")
    print("\nThe first demonstration as the model reads it; the part between ⟦ and ⟧ is taught:\n")
    print(printable("".join(f"⟦{text}⟧" if is_taught else text for text, is_taught in found.example)))
    return 0
