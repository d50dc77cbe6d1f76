"""Follows a run at the terminal: a bar with what is happening now, and the run's last sentence at its end.

Ctrl-C only stops the watching: a run does not depend on a terminal.
"""

import re
import shlex
import sys
import time
from argparse import Namespace
from typing import Any

from tqdm import tqdm

from modules.config import TrainConfig
from studio.models import checkpoints
from studio.runs import held, launcher, queue, runs
from studio.runs.runs import Run
from studio.workspace import Workspace

POLL_S = 0.5
PATIENCE_S = 60.0
"""Seconds to wait for a database that was taken away."""
BAR = "{percentage:3.0f} %|{bar:20}| {elapsed}  {desc}"


def follow(ws: Workspace, run: Run, arguments: Namespace) -> int:
    """Watch a run until it ends; returns 0 if it finished or was stopped, else 1."""
    is_terminal = sys.stderr.isatty()
    ws = held.hold(ws, PATIENCE_S)
    try:
        with tqdm(total=1.0, bar_format=BAR, file=sys.stderr, dynamic_ncols=True, disable=not is_terminal) as bar:
            told = None
            while True:
                with ws.read() as db:
                    run = runs.get(db, run.id)
                if run.is_ended and not run.is_ending:
                    break
                text = f"{run.name}: {run.progress_text or run.state}"
                if is_terminal:
                    _draw(bar, run.progress, text)
                elif (news := _news(text, run.progress)) != told:
                    print(text, file=sys.stderr, flush=True)
                    told = news
                launcher.reap(ws)
                time.sleep(POLL_S)
            _draw(bar, run.progress, run.name)
    except KeyboardInterrupt:
        print(
            f"\n{run.name} keeps running in the background. Watch it: {command(arguments, 'runs', 'show', run.name, '--watch')}\n"
            f"Stop it: {command(arguments, 'runs', 'stop', run.name)}",
            file=sys.stderr,
        )
        return 0
    return report_end(ws, run)


def _news(text: str, progress: float) -> tuple[str, int]:
    """Return what must differ for another line in a file: the words without their numbers, or a twentieth of the run."""
    return re.sub(r"[\d.,]+", "", text), int(20 * progress)


def leave(ws: Workspace, run: Run) -> int:
    """Leave a new run to torchrun or SLURM, and print the lines that start it; returns the exit code."""
    with ws.write() as db:
        queue.leave_to_others(db, run.id)
    worker = shlex.join(["-m", "studio.worker", str(ws.root), run.name])
    devices, nodes = (run.config.devices, run.config.num_nodes) if isinstance(run.config, TrainConfig) else (1, 1)
    machines = (
        f"--nnodes {nodes} --node-rank N --master-addr FIRST --master-port 29500" if nodes > 1 else "--standalone"
    )
    print(f"{run.name} waits for its worker. With torchrun{', on each machine' if nodes > 1 else ''}:")
    print(f"  torchrun {machines} --nproc-per-node {devices} {worker}")
    print("With SLURM:")
    print(f"  srun --nodes {nodes} --ntasks-per-node {devices} --gpus-per-node {devices} {sys.executable} {worker}")
    return 0


def report_end(ws: Workspace, run: Run) -> int:
    """Print how the run ended and the checkpoint it hands on; returns the exit code."""
    print(f"{run.name} {run.state}. {run.message}".rstrip())
    with ws.read() as db:
        known = checkpoints.list_all(db, run.stage, is_newest_of_run=True)
    for checkpoint in known:
        if checkpoint.run_id == run.id:
            print(f"checkpoint {checkpoint.name}")
    if run.state in ("failed", "lost"):
        print(f"log: {runs.folder(ws, run.name).resolve() / 'log.txt'}", file=sys.stderr)
    is_well = run.state == "finished" or (run.state == "stopped" and not run.is_fault)
    return 0 if is_well else 1


def command(arguments: Namespace, *words: str) -> str:
    """Return a command to type, with the given workspace."""
    workspace = ["--workspace", arguments.workspace] if arguments.workspace else []
    return shlex.join(["rlhf-studio", *words, *workspace])


def _draw(bar: "tqdm[Any]", progress: float, text: str) -> None:
    bar.n = round(progress, 3)
    bar.set_description_str(text)
