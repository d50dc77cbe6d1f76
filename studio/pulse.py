"""How a run is doing, in figures: time left, speed, where its time goes, memory. The page and the terminal show the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil

from modules.config import PPOConfig
from studio import metrics
from studio.runs import Run
from studio.workspace import Workspace

SHARES = {"time/rollout_s": "rollout", "time/score_s": "scoring", "time/update_s": "update"}


@dataclass(frozen=True)
class Pulse:
    """What is known now; None or empty where it is not."""

    elapsed_s: float
    left_s: float | None
    tokens_per_s: float | None
    shares: Mapping[str, float]
    """Part of an iteration to its share of the time."""
    memory: int | None
    """Bytes of RAM of its processes."""
    is_ended: bool

    def words(self) -> list[str]:
        """As short phrases."""
        said = [f"took {duration(self.elapsed_s)}" if self.is_ended else f"{duration(self.elapsed_s)} so far"]
        if self.left_s is not None:
            said.append(f"about {duration(self.left_s)} left")
        if self.tokens_per_s:
            said.append(f"{self.tokens_per_s:,.0f} tokens/s")
        if self.shares:
            said.append(", ".join(f"{name} {share:.0%}" for name, share in self.shares.items()) + " of the time")
        if self.memory:
            said.append(f"{self.memory / 2**30:.1f} GiB of RAM")
        return said


def of_run(ws: Workspace, run: Run) -> Pulse | None:
    """The figures of a run that has started."""
    if run.started_at is None:
        return None
    end = datetime.fromisoformat(run.ended_at) if run.ended_at else datetime.now(UTC)
    elapsed = max(0.0, (end - datetime.fromisoformat(run.started_at)).total_seconds())
    values = metrics.latest(ws, run.id)
    spent = {word: values[name] for name, word in SHARES.items() if name in values}
    whole = sum(spent.values())
    is_going = run.state == "running"
    left = elapsed * (1 - run.progress) / run.progress if is_going and run.progress > 0.01 else None
    return Pulse(
        elapsed,
        left,
        values.get("train/tokens_per_s") or _ppo_speed(run, values, whole),
        {word: seconds / whole for word, seconds in spent.items()} if whole > 0 else {},
        _memory(run) if is_going else None,
        run.is_ended,
    )


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _ppo_speed(run: Run, values: Mapping[str, float], seconds: float) -> float | None:
    """Response tokens of an iteration by its seconds."""
    if not isinstance(run.config, PPOConfig) or seconds <= 0 or "rollout/response_tokens" not in values:
        return None
    return values["rollout/response_tokens"] * run.config.batch_size / seconds


def _memory(run: Run) -> int | None:
    """Bytes that the run's processes hold in RAM."""
    if run.pid is None:
        return None
    try:
        leader = psutil.Process(run.pid)
        if abs(leader.create_time() - (run.pid_started or 0.0)) >= 1.0:
            return None
        return sum(process.memory_info().rss for process in [leader, *leader.children(recursive=True)])
    except psutil.Error:
        return None
