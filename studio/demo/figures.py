"""Reads the figures of a demo's rounds from the workspace, for report.json and report.html."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from sqlite_utils import Database

from modules.config import SampleConfig
from modules.intervals import wilson_interval
from studio.errors import RunError
from studio.preferences import ratings
from studio.runs import metrics, runs

Figures = dict[str, Any]
PACKAGES = ("rlhf-studio", "torch", "lightning", "transformers", "peft")


def win_rate(winners: Sequence[str]) -> Figures:
    """Return the share of pairs that the policy wins, a tie counting as half a win, with its 95 % interval.

    Args:
        winners: one of policy, opponent, tie for each judged pair.

    Returns:
        value, low, high, n, wins, ties, losses. The interval is Wilson's for wins + ties / 2 out of n; with ties it is
        slightly wider than it need be, because a half varies less than a win or a loss.
    """
    wins, ties, losses = (winners.count(who) for who in ("policy", "tie", "opponent"))
    points = wins + ties / 2
    low, high = wilson_interval(points, len(winners))
    value = points / len(winners) if winners else 0.5
    return {"value": value, "low": low, "high": high, "n": len(winners), "wins": wins, "ties": ties, "losses": losses}


def of_round(db: Database, names: dict[str, str], before: Figures | None = None) -> Figures:
    """Return all figures of a round.

    Args:
        db: an open connection.
        names: the round's runs: sft, sample, reward, ppo, judge (at a temperature at which a model is used), and
            judge_as_trained (at the temperature of PPO's rollouts).
        before: the figures of the first round, whose losses at step 0 are those of the SFT policy; None in that round.
    """
    sft, reward, ppo = ((_first(db, names[s]), _latest(db, names[s])) for s in ("sft", "reward", "ppo"))
    return {
        "sft": {"loss_before": sft[0]("eval/loss"), "loss_after": sft[1]("eval/loss")},
        "reward": {
            "accuracy": reward[1]("eval/accuracy"),
            "low": reward[1]("eval/accuracy_low"),
            "high": reward[1]("eval/accuracy_high"),
            "n": round(reward[1]("eval/num")),
        },
        "ppo": {
            "score_before": ppo[0]("eval/score"),
            "score_after": ppo[1]("eval/score"),
            "kl": ppo[1]("eval/kl"),
            "tokens_before": ppo[0]("eval/response_tokens"),
            "tokens_after": ppo[1]("eval/response_tokens"),
        },
        "win_rate": _judged(db, names["judge"]),
        "win_rate_as_trained": _judged(db, names["judge_as_trained"]),
        "alignment_tax": _tax(ppo[0], ppo[1], before),
        "runs": names,
    }


def _judged(db: Database, judge: str) -> Figures:
    """Return the win rate of a judging run; identical answers, which need no judgement, are ties."""
    num_identical = round(_latest(db, judge)("sample/identical"))
    winners = [verdict["winner"] for verdict in ratings.verdicts(db, judge)]
    config = runs.get(db, judge).config
    assert isinstance(config, SampleConfig)
    found = win_rate([*winners, *["tie"] * num_identical])
    return found | {"identical": num_identical, "temperature": config.temperature}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect the figures."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def machine() -> str:
    """Describe the hardware in a few words, without the host's name."""
    return f"{os.cpu_count()} CPU cores, {platform.machine()}"


class _Values:
    """A run's metrics at one end; a missing one is an error that names it."""

    def __init__(self, run: str, values: dict[str, float]) -> None:
        self._run, self._values = run, values

    def __call__(self, name: str) -> float:
        if name not in self._values:
            raise RunError(f"Run {self._run} logged no {name}, so its figure is missing. Its log may say why: log.txt.")
        return self._values[name]


def _first(db: Database, name: str) -> _Values:
    return _Values(name, metrics.first(db, runs.get(db, name).id))


def _latest(db: Database, name: str) -> _Values:
    return _Values(name, metrics.latest(db, runs.get(db, name).id))


def _tax(first: _Values, latest: _Values, before: Figures | None) -> Figures:
    """Return the SFT policy's and this round's policy's losses, on the neutral task and all held-out demonstrations."""
    tax = before["alignment_tax"] if before else None
    story = (tax["before"] if tax else first("eval/tax_loss"), latest("eval/tax_loss"))
    every = (tax["all_before"] if tax else first("eval/demonstration_loss"), latest("eval/demonstration_loss"))
    return {
        "metric": "held-out demonstrations of the neutral task story, nats per token",
        "before": story[0],
        "after": story[1],
        "change": story[1] / story[0] - 1,
        "all_metric": "all held-out demonstrations, nats per token",
        "all_before": every[0],
        "all_after": every[1],
        "all_change": every[1] / every[0] - 1,
    }
