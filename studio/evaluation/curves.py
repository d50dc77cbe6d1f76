"""Draws and tells what PPO earned for its KL, for the page Evaluate and the report."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from studio.evaluation.best_of import Best
from studio.evaluation.overoptimisation import Curve, Fit, Policy
from studio.models.base_names import shown
from studio.plots import Series, line_chart

SHARED_VOTES = (
    "The two reward models may share votes, and then share their errors: the gold one is a judge of its own only where they learned from "
    "different votes, such as another half each (votes_half=first and votes_half=second)."
)
STAGES = {"ppo": "PPO", "dpo": "DPO"}
TONES = (1, 2, 4)
"""Of the curves of runs; best of n has the third."""


def title(curve: Curve) -> str:
    """Return the title of a curve: the suite, and the policy that it begins with."""
    return f"{curve.suite.title}, from {shown(curve.start.name)}"


def units(curve: Curve) -> str:
    """Say in what gains are given."""
    return f"Gains over {shown(curve.start.name)}, in standard deviations of the scores of its answers."


def charts(curve: Curve) -> list[Markup]:
    """Draw both gains over the root of the KL, one over the other, and the share of votes; what was not measured is left out."""
    groups = _groups(curve)
    x_label = f"root of the KL from {'base' if curve.start.stage == 'base' else 'SFT'}, nats"
    reward = [Series(name, [(d, proxy) for d, proxy, _ in points], tone) for name, points, tone in groups]
    if not groups:
        return []
    drawn = [line_chart(reward, title="Gain by the reward model", x_label=x_label, y_label="gain by the reward model")]
    if curve.start.gold is not None:
        gold = [Series(name, [(d, g or 0.0) for d, _, g in points], tone) for name, points, tone in groups]
        over = [Series(name, sorted((p, g or 0.0) for _, p, g in points), tone) for name, points, tone in groups]
        drawn += [
            line_chart(gold, title="Gain by gold", x_label=x_label, y_label="gain by gold"),
            line_chart(over, title="Gold over reward", x_label="gain by the reward model", y_label="gain by gold"),
        ]
    votes = [(_root(policy.kl), policy.win_rate) for policy in curve.policies if policy.win_rate is not None]
    if votes:
        shares = [Series("votes", [(0.0, 0.5), *votes], 4)]
        drawn.append(line_chart(shares, title="Votes won against SFT", x_label=x_label, y_label="won", is_percent=True))
    return drawn


def table(curve: Curve) -> list[tuple[str, ...]]:
    """Return the head and the rows of a table; no empty column.

    Policies by their KL, then the best of 2, 4, 8 and so on of the start, and the best of most answers of each other policy.
    """
    best = [(curve.start.name, each) for each in curve.best if each.n > 1 and each.n & (each.n - 1) == 0]
    best += [(name, found[-1]) for name, found in curve.best_of_others.items()]
    rows = [
        ("Checkpoint", "KL, nats", "Reward model", "Gold", "Won"),
        *(_cells(shown(p.name), p.kl, p.proxy, p.gold, p.win_rate) for p in curve.policies),
        *(_cells(f"best of {b.n} of {shown(name)}", b.kl, b.proxy, b.gold, None) for name, b in best),
    ]
    return list(zip(*(column for column in zip(*rows, strict=True) if any(column[1:])), strict=True))


def sentences(curve: Curve) -> list[str]:
    """Say which checkpoint to take, and what the fitted form says of where scores turn."""
    found = [("reward model's", curve.proxy_fit), ("gold", curve.gold_fit)]
    furthest = max(policy.kl for policy in curve.policies)
    has_gold = curve.policies[0].gold is not None
    caution = [] if curve.has_own_votes or not has_gold else [SHARED_VOTES]
    return [curve.advice, *caution, *(_told(name, fit, furthest) for name, fit in found if fit)]


def _told(name: str, fit: Fit, furthest: float) -> str:
    is_within = fit.peak_kl is not None and fit.peak_kl <= furthest
    where = f"is greatest at a KL of {fit.peak_kl:.1f} nats" if is_within else f"still rises at {furthest:.1f} nats"
    return (
        f"Fitted by d ({fit.alpha:.3f} {'-' if fit.beta >= 0 else '+'} {abs(fit.beta):.3f} log d), d the root of the KL, the gain in "
        f"{name} score {where}."
    )


def _groups(curve: Curve) -> list[tuple[str, list[tuple[float, float, float | None]], int]]:
    """Return name, points (root of the KL, gains by reward model and gold) and tone of each curve."""
    start = curve.policies[0]

    def gains(found: Policy | Best) -> tuple[float, float, float | None]:
        gold = None if found.gold is None or start.gold is None else (found.gold - start.gold) / curve.gold_spread
        return _root(found.kl), (found.proxy - start.proxy) / curve.proxy_spread, gold

    runs = list(dict.fromkeys((policy.stage, policy.run) for policy in curve.policies if policy.stage in STAGES))
    runs.sort(key=lambda run: list(STAGES).index(run[0]))
    groups: list[tuple[str, Sequence[Policy | Best], int]] = []
    for number, (stage, run) in enumerate(runs):
        is_alone = sum(other == stage for other, _ in runs) == 1
        begins = [start] if start.stage == "sft" else []
        members = [*begins, *(policy for policy in curve.policies if policy.run == run)]
        groups.append((STAGES[stage] if is_alone else run, members, TONES[number % len(TONES)]))
    groups.append(("best of n", curve.best, 3))
    return [(name, [gains(each) for each in members], tone) for name, members, tone in groups if len(members) > 1]


def _root(kl: float) -> float:
    return math.sqrt(max(0.0, kl))


def _cells(name: str, kl: float, proxy: float, gold: float | None, won: float | None) -> tuple[str, ...]:
    return (
        name,
        f"{kl:.2f}",
        f"{proxy:+.3f}",
        "" if gold is None else f"{gold:+.3f}",
        "" if won is None else f"{won:.0%}",
    )
