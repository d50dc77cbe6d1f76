"""The stages of the loop as commands: sft, sample, reward, ppo."""

import argparse
from typing import Any

from modules.config import STAGES, TrainConfig
from studio import launcher, runs
from studio.cli import follow, settings
from studio.workspace import Workspace


def add(commands: Any) -> None:
    """Add one subcommand a stage."""
    for stage, config in STAGES.items():
        summary = (config.__doc__ or "").splitlines()[0]
        command = commands.add_parser(
            stage,
            help=summary,
            description=summary,
            epilog=settings.help_text(stage),
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
        command.set_defaults(action=_start)


def _start(arguments: argparse.Namespace) -> int:
    config = settings.read(arguments.command, arguments.config, arguments.set)
    ws = Workspace.open(arguments.workspace)
    run = runs.create(ws, config)
    if isinstance(config, TrainConfig) and arguments.queue:
        return follow.leave(ws, run)
    run = launcher.start(ws, run)
    if not arguments.detach:
        return follow.follow(ws, run, arguments)
    print(f"{run.name} started. Watch it: {follow.command(arguments, 'runs', 'show', run.name, '--watch')}")
    return 0
