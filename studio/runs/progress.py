"""Gives a run's figures: time left, speed, shares of the time, memory. The page and the terminal show the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil
from sqlite_utils import Database

from modules.config import PPOConfig
from studio.runs import gpus, metrics, processes, run_pages
from studio.runs.runs import Run

SHOWN = ("train/loss", "eval/loss", "train/accuracy", "eval/accuracy", "objective/score", "eval/score", "objective/kl")
"""Metrics that sum up a run, where it logs them."""
SHARES = {"time/rollout_s": "rollout", "time/score_s": "scoring", "time/update_s": "update"}


@dataclass(frozen=True)
class Progress:
    """The figures known now; None or empty where unknown."""

    elapsed_s: float
    left_s: float | None
    tokens_per_s: float | None
    shares: Mapping[str, float]
    """Part of an iteration to its share of the time."""
    memory: int | None
    """Bytes of RAM of its processes."""
    gpu: str
    """Use and memory of its GPUs, in words."""
    is_ended: bool

    def words(self) -> list[str]:
        """Return the figures as short phrases."""
        said = [f"took {duration(self.elapsed_s)}" if self.is_ended else f"{duration(self.elapsed_s)} so far"]
        if self.left_s is not None:
            said.append(f"about {duration(self.left_s)} left")
        if self.tokens_per_s:
            said.append(f"{self.tokens_per_s:,.0f} tokens/s")
        if self.shares:
            said.append(", ".join(f"{name} {share:.0%}" for name, share in self.shares.items()) + " of the time")
        if self.memory:
            said.append(f"{self.memory / 2**30:.1f} GiB of RAM")
        if self.gpu:
            said.append(self.gpu)
        return said


def figures(db: Database, run: Run) -> list[str]:
    """Return the newest values of `SHOWN`, as short phrases."""
    values = metrics.latest(db, run.id)
    return [f"{name} {values[name]:.4g}" for name in SHOWN if name in values]


def read(db: Database, run: Run) -> Progress | None:
    """Return the figures of a run that has started."""
    if run.started_at is None:
        return None
    end = datetime.fromisoformat(run.ended_at) if run.ended_at else datetime.now(UTC)
    elapsed = max(0.0, (end - datetime.fromisoformat(run.started_at)).total_seconds())
    values = metrics.latest(db, run.id)
    spent = {word: values[name] for name, word in SHARES.items() if name in values}
    whole = sum(spent.values())
    is_going = run.state == "running"
    memory, gpu = _held(run) if is_going else (None, "")
    is_paused = run.is_paused
    return Progress(
        elapsed,
        time_left(db, run),
        None if is_paused else values.get("train/tokens_per_s") or _ppo_speed(run, values, whole),
        {word: seconds / whole for word, seconds in spent.items()} if whole > 0 else {},
        memory,
        gpu,
        run.is_ended,
    )


def time_left(db: Database, run: Run) -> float | None:
    """Return the seconds that a run still takes; None while that is unknown, or it does not go on."""
    if run.started_at is None or run.state != "running" or run.is_paused:
        return None
    return _left(db, run, (datetime.now(UTC) - datetime.fromisoformat(run.started_at)).total_seconds())


def first_step_after(db: Database, run: Run) -> float | None:
    """Return the seconds after its start at which the last run of the same stage logged its first step.

    None where there is no such run, or this one is past its own first step or does not go on.
    """
    if run.state != "running" or run.is_paused or run.progress > 0:
        return None
    last = run_pages.newest(db, run.stage, "finished", "stopped")
    first = metrics.first_at(db, last.id) if last and last.started_at and last.resumed_from is None else None
    if last is None or last.started_at is None or first is None:
        return None
    return (datetime.fromisoformat(first) - datetime.fromisoformat(last.started_at)).total_seconds()


def duration(seconds: float) -> str:
    """Write seconds in words, less than one as one."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _left(db: Database, run: Run, elapsed_s: float) -> float | None:
    """Return the seconds left at the pace of the last steps: a resumed run did not do its first ones itself."""
    if run.progress <= 0:
        return None
    if pace := metrics.pace(db, run.id):
        step, seconds = pace
        return step * (1 - run.progress) / run.progress * seconds
    is_own = run.resumed_from is None and run.progress > 0.01
    return elapsed_s * (1 - run.progress) / run.progress if is_own else None


def _ppo_speed(run: Run, values: Mapping[str, float], seconds: float) -> float | None:
    """Return an iteration's response tokens per second."""
    if not isinstance(run.config, PPOConfig) or seconds <= 0 or "rollout/response_tokens" not in values:
        return None
    return values["rollout/response_tokens"] * run.config.batch_size / seconds


def _held(run: Run) -> tuple[int | None, str]:
    """Return the bytes of RAM that the run's processes hold, and their GPUs in words."""
    if run.pid is None or not processes.is_alive(run.pid, run.pid_started):
        return None, ""
    try:
        leader = psutil.Process(run.pid)
        family = [leader, *leader.children(recursive=True)]
        return sum(process.memory_info().rss for process in family), gpus.usage({process.pid for process in family})
    except psutil.Error:
        return None, ""
