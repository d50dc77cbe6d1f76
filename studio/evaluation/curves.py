"""Draws and tells what PPO earned for its KL, for the page Evaluate and the report."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from studio.evaluation.best_of import Best
from studio.evaluation.overoptimisation import Curve, Fit, Policy
from studio.plots import Series, line_chart

HEADS = ("Checkpoint", "KL, nats", "Reward model", "Gold", "Won")
"""Of the columns that `rows` fills."""
X_LABEL = "root of the KL from SFT, nats"
UNITS = "Gains over the SFT policy, in standard deviations of the scores of its answers."
STAGES = {"ppo": "PPO", "dpo": "DPO"}


def charts(curve: Curve) -> list[Markup]:
    """Draw the gains over the root of the KL, the gold gain over the other one, and the share of votes where there are any."""
    groups = _groups(curve)
    over_kl = [
        Series(f"{name}, {which}", [(x, y) for x, y in points if y is not None], tone, is_dashed=which == "reward")
        for name, points_of, tone in groups
        for which, points in (
            ("reward", [(d, p) for d, p, _ in points_of]),
            ("gold", [(d, g) for d, _, g in points_of]),
        )
    ]
    drawn = [
        line_chart(over_kl, title="Gain in score over the root of the KL", x_label=X_LABEL, y_label="gain"),
    ]
    if curve.policies[0].gold is not None:
        against = [
            Series(name, sorted((p, g) for _, p, g in points if g is not None), tone) for name, points, tone in groups
        ]
        drawn.append(
            line_chart(against, title="Gain by gold over gain by the reward model", x_label="gain by the reward model", y_label="gain by gold")
        )  # fmt: skip
    votes = [(_root(policy.kl), policy.win_rate) for policy in curve.policies if policy.win_rate is not None]
    if votes:
        shares = [Series("votes", [(0.0, 0.5), *((d, share) for d, share in votes)], 4)]
        drawn.append(line_chart(shares, title="Votes won against SFT", x_label=X_LABEL, y_label="won", is_percent=True))
    return drawn


def rows(curve: Curve) -> list[tuple[str, ...]]:
    """Return the cells of a table: policies by their KL, then the best of 2, 4, 8 and so on."""
    best = [each for each in curve.best if each.n > 1 and each.n & (each.n - 1) == 0]
    return [
        *(_cells(p.name, p.kl, p.proxy, p.gold, p.win_rate) for p in curve.policies),
        *(_cells(f"best of {b.n} of {curve.policies[0].name}", b.kl, b.proxy, b.gold, None) for b in best),
    ]


def sentences(curve: Curve) -> list[str]:
    """Say which checkpoint to take, and what the fitted form says of where scores turn."""
    found = [("reward model's", curve.proxy_fit), ("gold", curve.gold_fit)]
    return [curve.advice, *(_told(name, fit) for name, fit in found if fit)]


def _told(name: str, fit: Fit) -> str:
    where = "goes on rising" if fit.peak_kl is None else f"is greatest at a KL of {fit.peak_kl:.1f} nats"
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

    groups: list[tuple[str, Sequence[Policy | Best], int]] = [
        (title, [start, *(policy for policy in curve.policies if policy.stage == stage)], tone)
        for tone, (stage, title) in enumerate(STAGES.items(), start=1)
    ]
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
