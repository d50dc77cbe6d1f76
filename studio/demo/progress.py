"""Waits for the runs of a demo and reports the whole demo's progress and time left on stderr."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from modules.config import StageConfig
from studio.errors import RunError
from studio.runs import launcher, runs
from studio.runs.runs import Run
from studio.workspace import Workspace

POLL_S = 0.25
LINE_EVERY_S = 15.0
EXPECTED_S = {"sft": 35.0, "sample": 15.0, "reward": 35.0, "ppo": 90.0, "evaluate": 20.0}
"""Rough duration of a run of each stage, relative to the others, to estimate the time left."""


def follow(ws: Workspace, config: StageConfig, progress: "Progress") -> Run:
    """Create and start a run and wait until it has finished; it is killed when the waiting is interrupted.

    Raises:
        RunError: it ended in another state; the message is the run's.
    """
    run = launcher.start(ws, runs.create(ws, config))
    try:
        while not run.is_ended:
            progress.show(run)
            launcher.reap(ws)
            time.sleep(POLL_S)
            with ws.read() as db:
                run = runs.get(db, run.id)
    except BaseException:
        launcher.kill(ws, run.name)
        raise
    if run.state != "finished":
        log = runs.folder(ws, run.name) / "log.txt"
        raise RunError(f"The demo ended early: run {run.name} is {run.state}. {run.message} Its log is {log}.")
    progress.close_stage(run)
    return run


class Progress:
    """A bar for the whole demo on a terminal, occasional lines elsewhere; both on stderr."""

    def __init__(self, bar: "tqdm[Any]", expected_s: float) -> None:
        self._bar, self._expected_s = bar, expected_s
        self._done_s, self._started, self._last_line = 0.0, time.monotonic(), time.monotonic()

    def show(self, run: Run) -> None:
        """Show the run's progress."""
        share = (self._done_s + EXPECTED_S[run.stage] * run.progress) / self._expected_s
        share = min(share, 0.99)  # runs may take longer than expected
        self._bar.n = round(share, 3)
        self._bar.set_postfix_str(f"{run.name}: {run.progress_text}")
        if self._bar.disable and time.monotonic() - self._last_line > LINE_EVERY_S:
            self._last_line = time.monotonic()
            left_s = (time.monotonic() - self._started) * (1 / share - 1) if share > 0.02 else self._expected_s
            self.say(f"{100 * share:3.0f} %  {run.name}: {run.progress_text}, about {left_s / 60:.0f} min left")

    def close_stage(self, run: Run) -> None:
        """Say that the run has finished."""
        self._done_s += EXPECTED_S[run.stage]
        self.say(f"{run.name}: {run.message}")

    def say(self, text: str) -> None:
        """Print a lasting line, with the time since the start."""
        tqdm.write(f"[{time.monotonic() - self._started:4.0f} s] {text}", file=sys.stderr)


@contextmanager
def progress(expected_s: float) -> Iterator[Progress]:
    """Yield the progress of runs that together take about `expected_s` (by `EXPECTED_S`)."""
    shape = "{percentage:3.0f} %|{bar}| {elapsed}, {remaining} left{postfix}"
    with tqdm(total=1.0, file=sys.stderr, disable=not sys.stderr.isatty(), bar_format=shape, smoothing=0) as bar:
        yield Progress(bar, expected_s)
