"""Looks at a run with all rules, and keeps the list short: a rule rests after it has spoken, and there is an upper bound."""

from typing import NamedTuple

from sqlite_utils import Database

from modules.config import PPOConfig
from studio.checkup.rules import RULES, START, STEPS, WARM, Curves, Rule
from studio.runs import metrics
from studio.runs.runs import Run

REST = 100
"""Iterations for which a rule says nothing after it has spoken (rlwatch)."""
MOST = 50
"""Findings of a run, at most (rlwatch)."""
NOT_FINITE = "a number was not finite"
NEWEST = 1_000
"""Iterations that are looked at, besides the first ones."""
METRICS = (
    "objective/kl",
    "objective/score",
    "objective/score_groups",
    "objective/score_spread",
    "eval/score",
    "policy/approx_kl",
    "policy/clip_fraction",
    "policy/entropy",
    "policy/grad_norm",
    "policy/ratio",
    "value/advantage_spread",
    "value/explained_variance",
    "value/grad_norm",
    "value/loss",
    "rollout/distinct_4grams",
    "rollout/eos_share",
    "rollout/length_correlation",
    "rollout/response_tokens",
)


class Finding(NamedTuple):
    """Something that looks wrong, at an iteration."""

    rule: str
    step: int
    metric: str
    said: str
    advice: str
    asks_votes: bool


def of_run(db: Database, run: Run) -> list[Finding]:
    """Return what looks wrong with a PPO run, in order; empty for a run of another stage."""
    if not isinstance(run.config, PPOConfig):
        return []
    first = max(START, WARM)
    curves = {name: metrics.ends(db, run.id, name, first, NEWEST) for name in METRICS}
    found = examine(curves, run.config)
    if run.state == "stopped" and run.is_fault:  # the trainer stops by itself for this reason only
        last = max((curve[-1][0] for curve in curves.values() if curve), default=0)
        found.append(Finding(NOT_FINITE, last, "", run.message, STEPS, False))
    return found


def examine(curves: Curves, config: PPOConfig) -> list[Finding]:
    """Return what the rules say, in order of iterations."""
    found = [finding for rule in RULES for finding in _spoken(rule, curves, config)]
    return sorted(found, key=lambda finding: finding.step)[:MOST]


def _spoken(rule: Rule, curves: Curves, config: PPOConfig) -> list[Finding]:
    found: list[Finding] = []
    for sign in sorted(rule.look(curves, config)):
        if not found or sign.step >= found[-1].step + REST:
            found.append(Finding(rule.name, sign.step, sign.metric, sign.said, rule.advice, rule.asks_votes))
    return found


def votes(run: Run) -> list[str]:
    """Return the command that asks for ten blind votes between a PPO run's policy and its reference."""
    assert isinstance(run.config, PPOConfig)
    return ["compare", run.name, run.config.sft_checkpoint, "--votes", "10"]
