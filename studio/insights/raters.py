"""How far raters agree with each other beyond chance: Cohen's kappa of two, Krippendorff's nominal alpha of all.

Each rater counts once for each pair, by the newest vote. A vote says that one response won, that the other did, or neither.
The intervals are those of the observed agreement, by prompts, with the agreement by chance taken as known.

Sources: Cohen 1960, Krippendorff 2004 (chapter 11).
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from studio.insights.estimates import NOTHING, Estimate, share
from studio.insights.votes import Vote
from studio.preferences.vocabulary import SIDES, TIES

MOST_PAIRS = 10
Units = Mapping[int, Mapping[str, str]]
"""Comparison to what each rater said of it."""


@dataclass(frozen=True)
class Kappa:
    """The agreement of two raters on pairs that both judged."""

    one: str
    other: str
    kappa: Estimate
    agreement: Estimate
    """As a plain share."""


@dataclass(frozen=True)
class Agreement:
    """The agreement among all raters."""

    alpha: Estimate
    """`num` counts the pairs that two or more of them judged."""
    kappas: list[Kappa]
    """Of the raters with the most pairs in common."""


def agreement(votes: Sequence[Vote]) -> Agreement:
    """Measure the agreement of the raters of these votes, oldest first; repeats are left out."""
    units: dict[int, dict[str, str]] = {}
    prompts: dict[int, int] = {}
    for vote in votes:
        if vote.outcome in (*SIDES, *TIES) and not vote.is_repeat:
            units.setdefault(vote.comparison_id, {})[vote.rater] = said(vote)
            prompts[vote.comparison_id] = vote.prompt_id
    units = {key: unit for key, unit in units.items() if len(unit) > 1}
    common = Counter(pair for unit in units.values() for pair in combinations(sorted(unit), 2))
    return Agreement(
        alpha(units, prompts), [_kappa(*pair, units, prompts) for pair, _ in common.most_common(MOST_PAIRS)]
    )


def said(vote: Vote) -> str:
    """Return what a vote says of the pair, whatever its sides: that the first, the second or neither response won."""
    if vote.outcome not in SIDES:
        return "neither"
    return "first" if (vote.outcome == "left") == (vote.left_id < vote.right_id) else "second"


def kappa(one: Sequence[str], other: Sequence[str], prompts: Sequence[int]) -> Estimate:
    """Return Cohen's kappa of two raters' votes on the same (N,) pairs of these prompts."""
    if not one:
        return NOTHING
    same = share([a == b for a, b in zip(one, other, strict=True)], prompts)
    first, second = Counter(one), Counter(other)
    return _beyond(same, sum(first[word] * second[word] for word in first) / len(one) ** 2)


def alpha(units: Units, prompts: Mapping[int, int]) -> Estimate:
    """Return Krippendorff's nominal alpha of units with two or more votes each."""
    if not units:
        return NOTHING
    sizes = np.array([len(unit) for unit in units.values()], float)
    same = np.array([sum(n * (n - 1) for n in Counter(unit.values()).values()) for unit in units.values()], float)
    agreeing = share(same / (sizes - 1) / sizes.mean(), [prompts[key] for key in units], sizes / sizes.mean())
    totals, num = Counter(word for unit in units.values() for word in unit.values()), float(sizes.sum())
    return _beyond(agreeing, sum(n * (n - 1) for n in totals.values()) / (num * (num - 1)))


def _beyond(observed: Estimate, by_chance: float) -> Estimate:
    """Return an agreement as the share of what chance leaves; nan where chance alone makes all agree."""
    if by_chance >= 1:
        return observed._replace(value=math.nan, low=math.nan, high=math.nan)
    value, low, high = ((each - by_chance) / (1 - by_chance) for each in observed[:3])
    return observed._replace(value=value, low=low, high=high)


def _kappa(one: str, other: str, units: Units, prompts: Mapping[int, int]) -> Kappa:
    both = [key for key, unit in units.items() if one in unit and other in unit]
    first, second = [units[key][one] for key in both], [units[key][other] for key in both]
    where = [prompts[key] for key in both]
    same = share([a == b for a, b in zip(first, second, strict=True)], where)
    return Kappa(one, other, kappa(first, second, where), same)
