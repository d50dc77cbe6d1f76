"""What PPO earned for its KL: the reward model's score, that of another reward model, people's votes, and best-of-n for comparison.

A policy that is trained against a reward model ends in raising its score and nothing else. The score of a *gold* reward model,
which learnt from other votes, shows from which KL on (Gao et al. 2023, "Scaling Laws for Reward Model Overoptimization"). All
figures come from answers to the same prompts, sampled under the same conditions. Each SFT policy has a curve of its own, with what
was trained from it: a KL is a distance from one start, and a gain one over it.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean, pstdev
from typing import NamedTuple

import numpy as np
from sqlite_utils import Database

from studio.errors import RatingError
from studio.evaluation import best_of, leaderboard, results, statistics
from studio.evaluation.best_of import Best
from studio.evaluation.results import Item, Measured
from studio.evaluation.statistics import Difference
from studio.models import checkpoints
from studio.models.base_names import is_base
from studio.preferences import snapshots

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

    @property
    def run(self) -> str:
        """The run that trained it."""
        return self.name.partition("@")[0]


class Fit(NamedTuple):
    """Gao's form of a gain: d (alpha - beta log d) with d the root of the KL."""

    alpha: float
    beta: float

    @property
    def peak_kl(self) -> float | None:
        """The KL at which the gain is greatest, in nats; None where it goes on rising."""
        return math.exp(2 * (self.alpha / self.beta - 1)) if self.beta > 0 else None


class Curve(NamedTuple):
    """All that is known of a suite of answers under some conditions, of one SFT policy and what was trained from it."""

    suite: Measured
    policies: list[Policy]
    """By KL, behind the start, from which gains are counted: the SFT policy where it was measured, else the nearest to it."""
    best: list[Best]
    """Best-of-n of the start; empty where it was sampled once."""
    best_of_others: dict[str, list[Best]]
    """The same of each other policy that was sampled several times, by its name."""
    proxy_fit: Fit | None
    gold_fit: Fit | None
    """Forms fitted to all policies of PPO; None with fewer than five, or without the SFT policy they began with."""
    proxy_spread: float
    gold_spread: float
    """Standard deviations of the scores of the start's answers: the units in which gains are drawn."""
    advice: str
    """Which checkpoint to take, and why."""
    has_own_votes: bool
    """True if the gold reward model has learned from none of the other one's votes, by the ratings frozen for both."""

    @property
    def start(self) -> Policy:
        """The policy from which gains are counted."""
        return self.policies[0]


def read(db: Database, rater: str = "person") -> list[Curve]:
    """Return a curve for each suite of answers and each SFT policy, where there is something to compare; the newest first.

    That is another policy, or answers to choose the best of; both need scores, and KLs, which answers cut by top_p do not have.
    """
    known = {c.name: c for c in checkpoints.list_all(db, has_deleted=True)}
    found = []
    measured = [suite for suite in results.measured(db) if suite.kind == "prompt"]
    runs = {known[name].run_id for suite in measured for name in suite.subjects if name in known}
    origins = {run_id: checkpoints.parents_of_run(db, run_id).get("sft", "") for run_id in runs}
    for suite in measured:
        families: dict[str, list[str]] = {}
        for name in suite.subjects:
            if checkpoint := known.get(name):
                origin = origins[checkpoint.run_id] if checkpoint.stage != "sft" else name
                families.setdefault(origin or name, []).append(name)
            elif is_base(name):
                families[name] = [name]
        found += [(suite, origin, names) for origin, names in families.items()]
    stages = {name: c.stage for name, c in known.items()}
    drawn = [_curve(db, suite, origin, names, stages, rater) for suite, origin, names in found]
    return [curve for curve in reversed(drawn) if curve]


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


def _curve(
    db: Database, suite: Measured, origin: str, names: Sequence[str], stages: dict[str, str], rater: str
) -> Curve | None:
    """Return the curve of a start and what was trained from it; None where there is nothing to compare.

    Args:
        db: the workspace's database.
        suite: of answers.
        origin: the SFT policy, measured or not, or a pretrained model.
        names: of what was measured.
        stages: of all checkpoints.
        rater: whose votes count.
    """
    items = results.items(db, suite.id, names)
    is_whole = suite.conditions.get("top_p", 1.0) == 1.0
    known = [n for n in names if _has(items, n, "reward") and (_has(items, n, "kl") or (is_base(n) and is_whole))]
    known.sort(key=lambda name: (name != origin, _kl(items, name)))
    best = {name: best_of.curve(items, name) for name in known} if is_whole else {}
    if not known or (known == [origin] and not best.get(origin)):
        return None
    has_gold = all(_has(items, name, "gold") for name in known)
    votes = _win_rates(db, rater, origin) if known[0] == origin and len(known) > 1 else {}
    policies = [
        Policy(
            name,
            stages.get(name, "base"),
            _kl(items, name),
            _mean(items, name, "reward"),
            _mean(items, name, "gold") if has_gold else None,
            votes.get(name),
        )
        for name in known
    ]
    start, is_from_sft = policies[0], known[0] == origin
    trained = [policy for policy in policies if policy.stage == "ppo" and is_from_sft]
    kls = [policy.kl for policy in trained]
    return Curve(
        suite,
        policies,
        best.pop(start.name, []),
        {name: each for name, each in best.items() if each},
        fit(kls, [policy.proxy - start.proxy for policy in trained]),
        fit(kls, [(policy.gold or 0.0) - (start.gold or 0.0) for policy in trained]) if has_gold else None,
        _spread(items, start.name, "reward"),
        _spread(items, start.name, "gold") if has_gold else 1.0,
        _advice(policies, origin, items, has_gold),
        has_gold and _has_own_votes(db, suite),
    )


def _advice(policies: Sequence[Policy], origin: str, items: Sequence[Item], has_gold: bool) -> str:
    """Say which policy to take; first, what is missing for that."""
    start = policies[0]
    if start.name == origin and len(policies) == 1:
        return "Only this policy was measured on these prompts, so this shows what choosing the best of n of its answers gains."
    missing = "" if start.name == origin else (
        f"{origin} was not measured on these prompts, from which {'this policy' if len(policies) == 1 else 'these policies'} began: measure it too, "
        f"and gains are over it, not over {start.name}. "
    )  # fmt: skip
    if len(policies) == 1:
        return missing.strip()
    return missing + (advise(policies, partial(_difference, items)) if has_gold else NO_GOLD)


def _has_own_votes(db: Database, suite: Measured) -> bool:
    """Return whether both judges are known, and were not trained on a common vote."""
    known = {c.name: c.run_id for c in checkpoints.list_all(db, "reward", has_deleted=True)}
    proxy, gold = (known.get(str(suite.conditions.get(role))) for role in ("reward", "gold"))
    return proxy is not None and gold is not None and not snapshots.share_votes(db, proxy, gold)


def _win_rates(db: Database, rater: str, start: str) -> dict[str, float]:
    """Return expected shares of votes against the SFT policy; none where it was never voted on."""
    try:
        board = leaderboard.read(db, rater, [start])
    except RatingError:
        return {}
    groups = [group for group in board.groups if group.anchor == start]
    return {each.name: each.win_rate for group in groups for each in group.standings if each.name != start}


def _difference(items: Sequence[Item], before: str, after: str) -> Difference:
    """Compare gold scores on the same prompts."""
    return statistics.paired(_by_prompt(items, before, "gold"), _by_prompt(items, after, "gold"))


def _has(items: Sequence[Item], subject: str, score: str) -> bool:
    return bool(items) and all(score in sample for item in items for sample in item.scores[subject])


def _kl(items: Sequence[Item], subject: str) -> float:
    """Return a policy's mean KL from the SFT policy; 0 for a pretrained model, which is measured from itself."""
    return _mean(items, subject, "kl") if _has(items, subject, "kl") else 0.0


def _mean(items: Sequence[Item], subject: str, score: str) -> float:
    return fmean(_by_prompt(items, subject, score))


def _by_prompt(items: Sequence[Item], subject: str, score: str) -> list[float]:
    return [fmean(sample[score] for sample in item.scores[subject]) for item in items]


def _spread(items: Sequence[Item], subject: str, score: str) -> float:
    """Return the standard deviation of a score over all answers; 1 where they are all alike."""
    return pstdev([sample[score] for item in items for sample in item.scores[subject]]) or 1.0
