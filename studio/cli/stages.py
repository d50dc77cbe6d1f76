"""The stages as commands: sft, sample, reward, ppo, dpo, evaluate, curve."""

import argparse
from typing import Any

from modules.config import STAGES, EvaluateConfig, TrainConfig
from modules.config.presets import FIRST_LOOK, HARDWARE, SHORT
from modules.config.recipes import RECIPES
from studio import settings
from studio.cli import evaluations, follow
from studio.cli.printing import printable
from studio.errors import DataError
from studio.models import parents
from studio.runs import devices, launcher, memory_fit, prepare, preview, runs
from studio.workspace import Workspace

BRACKETS = {"read": "{}", "taught": "⟦{}⟧", "scored": "⟨{}⟩"}


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
            help="one setting; may be repeated, overrides --config",
        )
        how = command.add_mutually_exclusive_group()
        how.add_argument("--detach", action="store_true", help="start it and return at once")
        if issubclass(config, TrainConfig):
            how.add_argument(
                "--queue", action="store_true", help="leave the start to torchrun or SLURM; prints the lines"
            )
            how.add_argument(
                "--show", action="store_true", help="start nothing: show the chat template and what would be taught"
            )
            how.add_argument(
                "--fit",
                action="store_true",
                help="start nothing: estimate the memory, and what to change if it does not fit",
            )
            how.add_argument(
                "--probe",
                action="store_true",
                help="start nothing: do a real step, and say what it took and how long the run takes",
            )
            command.add_argument(
                "--preset",
                choices=[*([FIRST_LOOK] if stage in SHORT else []), *HARDWARE, *RECIPES],
                action="append",
                default=[],
                help="settings for your hardware, or of a paper's recipe, or both; --config and --set override them",
            )
            command.add_argument(
                "--anyway", action="store_true", help="start even if more rows than max_dropped are left out"
            )
        if stage == "evaluate":
            evaluations.add_report(command)
        command.set_defaults(action=_start)


def _start(arguments: argparse.Namespace) -> int:
    presets = getattr(arguments, "preset", [])
    config = settings.read(arguments.command, arguments.config, arguments.set, presets)
    ws = Workspace.existing(arguments.workspace)
    if RECIPES.keys() & set(presets):
        recipe = prepare.recipe(ws, config)
        config = settings.read(arguments.command, arguments.config, arguments.set, presets, recipe)
    if isinstance(config, EvaluateConfig) and arguments.report:
        return evaluations.report_command(ws, config, arguments.against, has_all_conditions=arguments.all_conditions)
    if isinstance(config, TrainConfig):
        if arguments.show:
            return _show(ws, config)
        if arguments.fit or arguments.probe:
            return _fit(ws, config, is_measured=arguments.probe)
        if arguments.anyway:
            config = config.model_copy(update={"max_dropped": 1.0})
    prepared = prepare.resolve(ws, config)
    _check(ws, prepared)
    is_for_others = isinstance(config, TrainConfig) and arguments.queue
    if not is_for_others:
        devices.check_here(config)
    run = runs.create_prepared(ws, prepared)
    if is_for_others:
        return follow.leave(ws, run)
    run = launcher.start(ws, run)
    if not arguments.detach:
        return follow.follow(ws, run, arguments)
    how = "waits for its turn" if run.is_waiting_here else "started"
    print(f"{run.name} {how}. Watch it: {follow.command(arguments, 'runs', 'show', run.name, '--watch')}")
    return 0


def _check(ws: Workspace, prepared: prepare.Prepared) -> None:
    """Refuse a run whose rows may not be trained on."""
    refused = preview.check(ws, prepared) if isinstance(prepared.config, TrainConfig) else None
    if refused:
        raise DataError(f"Not started. {refused.text}")


def _fit(ws: Workspace, config: TrainConfig, *, is_measured: bool) -> int:
    """Print the estimate, or the measurement of a real step; returns 1 where it does not fit."""
    if is_measured:
        found = memory_fit.probe(ws, config)
        print(f"Measured peak {found.peak / 2**20:,.0f} MiB and {found.libraries / 2**20:,.0f} MiB of libraries.")
        print(
            f"Largest micro_batch_size found to fit: {found.largest}. The whole run takes {'at most ' * found.is_most}about {found.seconds / 60:.1f} min."
        )
        return 0
    prepared = prepare.resolve(ws, config)
    found = preview.lesson(ws, prepared)
    with ws.read() as db:
        fit = memory_fit.fit(db, prepared, found.longest)
    for name, count in fit.estimate.parts.items():
        if count:
            print(f"{name:12} {count / 2**20:10,.1f} MiB")
    print(f"{'libraries':12} {memory_fit.LIBRARIES / 2**20:10,.1f} MiB")
    word = "It fits" if fit.is_fitting else "It probably will not fit"
    print(f"{word}: about {fit.needed / 2**20:,.0f} MiB of {fit.place.free / 2**20:,.0f} MiB free ({fit.place.title}).")
    print(f"Estimated for texts of {fit.length:,} tokens, the longest in the data.")
    for tip in [] if fit.is_fitting else fit.advice:
        print(f"  {tip}")
    if found.refusal:
        print(f"It would not start: {found.refusal}")
    return 0 if fit.is_fitting else 1


def _show(ws: Workspace, config: TrainConfig) -> int:
    found = preview.lesson(ws, prepare.resolve(ws, config))
    with ws.read() as db:
        taken_over = prepare.inherited(db, config)
    if taken_over:
        print(parents.sentence(taken_over))
    print(f"Chat template: {found.template}. {found.summary}")
    print("The first rows as the model reads them, tokens apart by |; ⟦taught⟧, and ⟨the score is read here⟩:")
    for example in found.examples:
        print(f"\n{example.title}, {len(example.tokens)} tokens:")
        print(
            printable("|".join(BRACKETS[part].format(text) for text, part in example.tokens))
            + f" {example.rest}".rstrip()
        )
    if found.refusal:
        print(f"\nIt would not start: {found.refusal}")
    return 0
