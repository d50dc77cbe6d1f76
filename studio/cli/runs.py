"""Manages runs: ``runs`` (list, show, stop, pause, move, resume, curves, rollouts, checkup, bundle, delete)."""

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

from modules.config import STAGES
from studio.cli import checkup, deleting, follow, reproduction, rollouts, watch
from studio.errors import RunError
from studio.models import checkpoints, disk, figures
from studio.preferences import snapshots
from studio.runs import (
    changes,
    curve_files,
    devices,
    launcher,
    metrics,
    progress,
    queue,
    reward_evaluation,
    runs,
    seeds,
    steering,
    trackers,
)
from studio.workspace import Workspace

EVERY = 2**62
"""Points of a curve that is not thinned."""
WHERE = {"earlier": -1, "later": 1, "first": -(10**6), "last": 10**6}


def add(commands: Any) -> None:
    """Add ``runs``."""
    command = commands.add_parser("runs", help="List, show, stop and resume runs.", description="List the runs.")
    command.add_argument(
        "--watch",
        action="store_true",
        help="keep the list up to date until Ctrl-C; into a file or pipe: until all have ended",
    )
    command.add_argument("--stage", choices=list(STAGES), default="", help="only runs of this stage")
    command.add_argument(
        "--best", action="store_true", help="with --stage: those with the best last held-out figure first"
    )
    command.set_defaults(action=_list_runs)
    verbs = command.add_subparsers(dest="verb", metavar="VERB")
    show = verbs.add_parser("show", help="config, newest metrics and the end of the log of one run")
    show.add_argument("name")
    show.add_argument("--watch", action="store_true", help="follow its progress until it ends")
    show.set_defaults(action=_show_run)
    stop = verbs.add_parser("stop", help="finish the step, save and stop; cancel a waiting run")
    stop.add_argument("name")
    stop.add_argument(
        "--now",
        action="store_true",
        help="kill it and wait until its processes are gone; what came after its last checkpoint is lost",
    )
    stop.set_defaults(action=_stop_run)
    pause = verbs.add_parser("pause", help="save after the step and wait there, keeping the memory; hold a waiting run")
    pause.add_argument("name")
    pause.set_defaults(action=_pause_run)
    go_on = verbs.add_parser("continue", help="let a paused or held run go on")
    go_on.add_argument("name")
    go_on.set_defaults(action=_continue_run)
    steer = verbs.add_parser(
        "steer", help="change settings of a PPO run while it goes on: its price of the KL, rates, temperature"
    )
    steer.add_argument("name")
    steer.add_argument(
        "--set", metavar="KEY=VALUE", action="append", required=True, help="such as kl_coef=0.1; may be repeated"
    )
    steer.set_defaults(action=_steer_run)
    move = verbs.add_parser("move", help="move a waiting run in the queue")
    move.add_argument("name")
    move.add_argument("where", choices=list(WHERE))
    move.set_defaults(action=_move_run)
    resume = verbs.add_parser(
        "resume", help="continue an ended run from its newest checkpoint, or any checkpoint, as a new run"
    )
    resume.add_argument("name", help="a run, or one of its checkpoints, such as ppo-1@20")
    resume.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="go on with another value of a setting, such as iterations=300; may be repeated",
    )
    how = resume.add_mutually_exclusive_group()
    how.add_argument("--show", action="store_true", help="start nothing: say what would differ")
    how.add_argument("--detach", action="store_true", help="start it and return at once")
    how.add_argument("--queue", action="store_true", help="leave the start to torchrun or SLURM; prints the lines")
    resume.set_defaults(action=_resume_run)
    curves = verbs.add_parser("curves", help="what a run logged, as CSV: a row a step, a column a metric")
    curves.add_argument("name")
    curves.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME",
        help="such as eval/loss; may be repeated (default: all)",
    )
    curves.add_argument("--parquet", metavar="FILE", default="", help="write a Parquet file instead")
    curves.set_defaults(action=_print_curves)
    spread = verbs.add_parser(
        "seeds", help="runs that differ from it in nothing but the seed, and how far their figures spread"
    )
    spread.add_argument("name")
    spread.set_defaults(action=_print_seeds)
    checkup.add(verbs)
    rollouts.add(verbs)
    reproduction.add_verb(verbs)
    deleting.add(verbs, "runs")


def _list_runs(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    if arguments.watch:
        return watch.watch(ws)
    of_stage = figures.STAGES.get(arguments.stage, ())
    if arguments.best and not of_stage:
        raise RunError("--best needs a stage that is measured: give --stage sft, reward, ppo or dpo.")
    print(watch.listing(ws, arguments.stage, of_stage[0] if arguments.best else None))
    return 0


def _show_run(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    launcher.reap(ws)
    with ws.read() as db:
        run = runs.get(db, arguments.name)
    if arguments.watch and not run.is_ended:
        return follow.follow(ws, run, arguments)
    print(f"{run.name}: {run.state}, {run.progress:.0%}. {run.message or run.progress_text}")
    with ws.read() as db:
        found, values = progress.read(db, run), metrics.latest(db, run.id)
        origin = checkpoints.name_of(db, run.resumed_from)
        changed = changes.said(run, runs.get(db, origin.partition("@")[0])) if origin else ""
        steered = steering.of_run(db, run.id)
        trained_on = "" if run.snapshot_id is None else snapshots.get(db, run.snapshot_id).sentence
    if found:
        print("; ".join(found.words()))
    print(
        f"created {run.created_at}, started {run.started_at or '-'}, ended {run.ended_at or '-'}, code {run.revision}"
    )
    if origin:
        print(f"continues {origin}{changed}")
    print(f"config {run.config.model_dump_json(exclude_defaults=True)}")
    for change in steered:
        print(f"changed on the way: {change}")
    if run.unread:
        print(f"settings of another version, not read: {json.dumps(dict(run.unread), ensure_ascii=False)}")
    if trained_on:
        print(f"trained on {trained_on}")
    if values:
        alone = [name for name in sorted(values) if run.stage != "reward" or not reward_evaluation.is_summed_up(name)]
        print(watch.table([(name, f"{values[name]:.4g}") for name in alone]))
    if run.stage == "reward":
        _show_trust(values)
    if run.deleted_at:
        print(checkpoints.was_deleted(run.name, run.deleted_at))
    with ws.read() as db:
        known = checkpoints.list_all(db, run.stage, has_deleted=True)
    for checkpoint in known:
        if checkpoint.run_id == run.id:
            size = "" if checkpoint.deleted_at else f", {disk.words(disk.taken(checkpoint.folder))}"
            print(f"checkpoint {checkpoint.name}{checkpoint.remarks}{size}")
    folder = runs.folder(ws, run.name)
    if folder.is_dir():
        print(f"{disk.words(disk.taken(folder))} in {folder.relative_to(ws.root)}")
        for line in trackers.looks(folder, run.config):
            print(f"also logged for: {line}")
    log = runs.tail_log(ws, run.name, 15)
    print(f"log, last lines:\n{log}" if log else "The log is empty.")
    return 0


def _print_curves(arguments: argparse.Namespace) -> int:
    with Workspace.existing(arguments.workspace).read() as db:
        run = runs.get(db, arguments.name)
        known = metrics.names(db, run.id)
        if unknown := next((name for name in arguments.metric if name not in known), None):
            raise RunError(f"{run.name} has logged no metric {unknown!r}. It has: {', '.join(known) or 'none'}.")
        curves = {name: metrics.curve(db, run.id, name, EVERY) for name in arguments.metric or known}
    if arguments.parquet:
        path = Path(arguments.parquet).expanduser()
        curve_files.write_parquet(curves, path)
        print(f"Written to {path}.")
        return 0
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["step", *curves])
    table.writerows(curve_files.rows(curves))
    return 0


def _print_seeds(arguments: argparse.Namespace) -> int:
    with Workspace.existing(arguments.workspace).read() as db:
        run = runs.get(db, arguments.name)
        found = seeds.of_run(db, run)
    print(found.sentence if found else f"No run has the settings of {run.name} with another seed and has finished.")
    return 0


def _show_trust(values: dict[str, float]) -> None:
    """Print how far to trust a reward model: accuracies with intervals, and the reliability curve."""
    rows = [
        (f"{row.group}: {row.name}", f"{row.value:.3f}", f"{row.low:.3f} to {row.high:.3f}", str(row.num))
        for row in reward_evaluation.lines(values)
    ]
    if not rows:
        return
    print(watch.table([("held-out comparisons", "value", "95 % interval", "number"), *rows]))
    points = [
        (f"{p.predicted:.2f}", f"{p.observed:.2f}", f"{p.low:.2f} to {p.high:.2f}", str(p.num))
        for p in reward_evaluation.reliability(values)
    ]
    print(watch.table([("predicted", "observed", "95 % interval", "number"), *points]))


def _stop_run(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    launcher.reap(ws)
    with ws.read() as db:
        run = runs.get(db, arguments.name)
    if run.is_ended:
        print(f"{run.name} is already {run.state}. {run.message}".rstrip())
        return 0
    if arguments.now:
        run = launcher.kill(ws, run.name)
    else:
        with ws.write() as db:
            run = runs.request_stop(db, run.name)
    if run.is_ended:
        return follow.report_end(ws, run)
    print(f"{run.name} finishes its step, saves and stops.")
    return 0


def _pause_run(arguments: argparse.Namespace) -> int:
    with Workspace.existing(arguments.workspace).write() as db:
        run = queue.pause(db, arguments.name)
    how = (
        "is held in the queue" if run.state == "queued" else "saves after its step and waits there, keeping its memory"
    )
    print(f"{run.name} {how}. Let it go on: {follow.command(arguments, 'runs', 'continue', run.name)}")
    return 0


def _continue_run(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.write() as db:
        was_paused = runs.get(db, arguments.name).pause_requested
        run = queue.go_on(db, arguments.name)
    print(f"{run.name} goes on." if was_paused else f"{run.name} is {run.state} and was not paused.")
    return 0


def _steer_run(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.write() as db:
        changed = steering.ask(db, runs.get(db, arguments.name), arguments.set)
    print(f"{arguments.name}: {', '.join(map(str, changed))}, from its next iteration on. A resume keeps it.")
    return 0


def _move_run(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.write() as db:
        queue.shift(db, arguments.name, WHERE[arguments.where])
        waiting = queue.waiting(db)
    print(f"queue: {', '.join(run.name for run in waiting)}")
    return 0


def _resume_run(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    launcher.reap(ws)
    found = runs.continuation(ws, arguments.name, arguments.set)
    if not (arguments.queue or arguments.show):
        devices.check_here(found.config)
    if arguments.show or found.changes:
        begins = found.origin.name if found.origin else f"{found.run.name} from its start"
        print(f"Continuing {begins} {'with' if found.changes else 'with the same settings.'}")
        for line in found.words():
            print(f"  {line}")
    if arguments.show:
        return 0
    run = runs.resume(ws, arguments.name, arguments.set)
    if arguments.queue:
        return follow.leave(ws, run)
    run = launcher.start(ws, run)
    print(f"{run.name} continues {arguments.name}.")
    return 0 if arguments.detach else follow.follow(ws, run, arguments)
