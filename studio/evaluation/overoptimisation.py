"""What PPO earned for its KL: the reward model's score, that of another reward model, people's votes, and best-of-n for comparison.

A policy that is trained against a reward model ends in raising its score and nothing else. The score of a *gold* reward model,
which learnt from other votes, shows from which KL on (Gao et al. 2023, "Scaling Laws for Reward Model Overoptimization"). All
figures come from answers to the same prompts, sampled under the same conditions; gains are over the SFT policy.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean, pstdev
from typing import NamedTuple

import numpy as np

from studio.errors import RatingError
from studio.evaluation import best_of, leaderboard, results, statistics
from studio.evaluation.best_of import Best
from studio.evaluation.results import Item, Measured
from studio.evaluation.statistics import Difference
from studio.models import checkpoints
from studio.preferences import snapshots
from studio.workspace import Workspace

MIN_POINTS = 5
"""Fewer policies than these do not tell a curve that turns from one that goes on rising."""
NO_GOLD = (
    "Only the reward model that was trained against has scored these answers, and its score rises also where they get no better. "
    "Train a second one on the other half of the votes (votes_half) and name it as gold_checkpoint."
)


class Policy(NamedTuple):
    """A checkpoint, at a KL from the SFT policy."""

    name: str
    stage: str
    kl: float
    """Mean over prompts and answers, nats per response; an estimate, so that it may be slightly below 0."""
    proxy: float
    """Mean score by the reward model that policies were trained against."""
    gold: float | None
    """Mean score by the gold reward model."""
    win_rate: float | None
    """Expected share of people's votes against the SFT policy, a tie counting as half; None without such votes."""


class Fit(NamedTuple):
    """Gao's form of a gain: d (alpha - beta log d) with d the root of the KL."""

    alpha: float
    beta: float

    @property
    def peak_kl(self) -> float | None:
        """The KL at which the gain is greatest, in nats; None where it goes on rising."""
        return math.exp(2 * (self.alpha / self.beta - 1)) if self.beta > 0 else None


class Curve(NamedTuple):
    """All that is known of a suite of answers under some conditions."""

    suite: Measured
    policies: list[Policy]
    """By KL, behind the SFT policy, from which gains are counted."""
    best: list[Best]
    """Best-of-n of the SFT policy; empty where it was sampled once."""
    proxy_fit: Fit | None
    gold_fit: Fit | None
    proxy_spread: float
    gold_spread: float
    """Standard deviations of the scores of the SFT policy's answers: the units in which gains are drawn."""
    advice: str
    """Which checkpoint to take, and why."""
    has_own_votes: bool
    """True if the gold reward model has learned from none of the other one's votes, by the ratings frozen for both."""


def read(ws: Workspace, rater: str = "person") -> list[Curve]:
    """Return a curve for each suite of answers with scores and KLs of the SFT policy and of another; the newest first."""
    with ws.read() as db:
        measured = results.measured(db)
    found = [_curve(ws, suite, rater) for suite in measured if suite.kind == "prompt"]
    return [curve for curve in reversed(found) if curve]


def fit(kls: Sequence[float], gains: Sequence[float]) -> Fit | None:
    """Fit Gao's form by least squares; None with fewer than five policies away from the start."""
    far = [(math.sqrt(kl), gain) for kl, gain in zip(kls, gains, strict=True) if kl > 0]
    if len(far) < MIN_POINTS:
        return None
    d, gain = np.array(far).T
    (alpha, beta), *_ = np.linalg.lstsq(np.stack([d, -d * np.log(d)], axis=1), gain, rcond=None)
    return Fit(float(alpha), float(beta))


def advise(policies: Sequence[Policy], compare: Callable[[str, str], Difference]) -> str:
    """Say which of the policies to take by the gold score, and whether going further is shown to be worse.

    Args:
        policies: by KL, the start first; all have a gold score.
        compare: gives the paired difference in gold score from one to another, by their names.
    """
    start, best = policies[0], max(policies, key=lambda policy: policy.gold or 0.0)
    if best is start:
        return f"The gold reward model scores none of them above {start.name}, where they began."
    said = f"Take {best.name} (KL {best.kl:.1f} nats): it has the highest gold score."
    if (compare(start.name, best.name).low or 0.0) <= 0:
        said += f" That it is better than {start.name} is not shown."
    further = [policy for policy in policies if policy.kl > best.kl and policy.stage == best.stage]
    if not further:
        return f"{said} Nothing further away was measured, so where the gold score turns down is not known yet."
    last = further[-1]
    loss = compare(best.name, last.name)
    if loss.low is None or loss.high is None or loss.high >= 0:
        return f"{said} That {last.name} (KL {last.kl:.1f} nats), the furthest away, is worse is not shown."
    return (
        f"{said} From there on it turns down: {last.name} (KL {last.kl:.1f} nats) is lower by {-loss.difference:.3f} "
        f"(95 % interval {-loss.high:.3f} to {-loss.low:.3f})."
    )


def _curve(ws: Workspace, suite: Measured, rater: str) -> Curve | None:
    """Return the curve of a suite; None where it has not the SFT policy and another one with KL and score."""
    stages = {c.name: c.stage for c in checkpoints.list_all(ws, has_deleted=True)}
    subjects = [name for name in suite.subjects if name in stages]
    with ws.read() as db:
        items = results.items(db, suite.id, subjects)
    known = [name for name in subjects if _has(items, name, "kl") and _has(items, name, "reward")]
    start = next((name for name in known if stages[name] == "sft"), None)
    others = [name for name in known if stages[name] != "sft"]
    if start is None or not others:
        return None
    has_gold = all(_has(items, name, "gold") for name in (start, *others))
    votes = _win_rates(ws, rater, start)
    policies = [
        Policy(
            name,
            stages[name],
            _mean(items, name, "kl"),
            _mean(items, name, "reward"),
            _mean(items, name, "gold") if has_gold else None,
            votes.get(name),
        )
        for name in (start, *others)
    ]
    policies[1:] = sorted(policies[1:], key=lambda policy: policy.kl)
    trained = [policy for policy in policies if policy.stage == "ppo"]
    kls, first = [policy.kl for policy in trained], policies[0]
    return Curve(
        suite,
        policies,
        best_of.curve(items, start),
        fit(kls, [policy.proxy - first.proxy for policy in trained]),
        fit(kls, [(policy.gold or 0.0) - (first.gold or 0.0) for policy in trained]) if has_gold else None,
        _spread(items, start, "reward"),
        _spread(items, start, "gold") if has_gold else 1.0,
        advise(policies, partial(_difference, items)) if has_gold else NO_GOLD,
        has_gold and _has_own_votes(ws, suite),
    )


def _has_own_votes(ws: Workspace, suite: Measured) -> bool:
    """Return whether both judges are known, and were not trained on a common vote."""
    known = {c.name: c.run_id for c in checkpoints.list_all(ws, "reward", has_deleted=True)}
    proxy, gold = (known.get(str(suite.conditions.get(role))) for role in ("reward", "gold"))
    with ws.read() as db:
        return proxy is not None and gold is not None and not snapshots.share_votes(db, proxy, gold)


def _win_rates(ws: Workspace, rater: str, start: str) -> dict[str, float]:
    """Return expected shares of votes against the SFT policy; none where it was never voted on."""
    try:
        board = leaderboard.read(ws, rater, [start])
    except RatingError:
        return {}
    groups = [group for group in board.groups if group.anchor == start]
    return {each.name: each.win_rate for group in groups for each in group.standings if each.name != start}


def _difference(items: Sequence[Item], before: str, after: str) -> Difference:
    """Compare gold scores on the same prompts."""
    return statistics.paired(_by_prompt(items, before, "gold"), _by_prompt(items, after, "gold"))


def _has(items: Sequence[Item], subject: str, score: str) -> bool:
    return bool(items) and all(score in sample for item in items for sample in item.scores[subject])


def _mean(items: Sequence[Item], subject: str, score: str) -> float:
    return fmean(_by_prompt(items, subject, score))


def _by_prompt(items: Sequence[Item], subject: str, score: str) -> list[float]:
    return [fmean(sample[score] for sample in item.scores[subject]) for item in items]


def _spread(items: Sequence[Item], subject: str, score: str) -> float:
    """Return the standard deviation of a score over all answers; 1 where they are all alike."""
    return pstdev([sample[score] for item in items for sample in item.scores[subject]]) or 1.0
