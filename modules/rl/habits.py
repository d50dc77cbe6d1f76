"""How the policy answers, next to what it earns: spread of scores, pull of length, repetition.

These change before a person sees that a policy has found a way to please the reward model only.
"""

from collections.abc import Sequence

import torch

from modules.agreement import correlation
from modules.model.generate import Rollout
from modules.rl.experience import Experience
from modules.rl.step_metrics import mean
from modules.runtime.distributed import gather_rows

SIZE = 4
"""Tokens in a run of tokens that is looked for again."""
LEAST = 0.1
"""Share of the scores that the smaller of two groups has at least: a single outlier is no group."""


def habits(experience: Experience, rollout: Rollout) -> dict[str, float]:
    """Return an iteration's metrics of its responses, over all processes."""
    scores, lengths = gather_rows(experience.scores), gather_rows(experience.mask.sum(-1).float())
    distinct = torch.tensor([distinct_share(response) for response in rollout.responses], device=scores.device)
    return {
        "objective/score_spread": float(scores.std(correction=0)),
        "objective/score_groups": groups_share(scores),
        "rollout/length_correlation": correlation(scores, lengths),
        "rollout/distinct_4grams": mean(distinct),
    }


def groups_share(scores: torch.Tensor) -> float:
    """Return the share of the variance of scores (B,) that the best cut into a lower and an upper group explains; 0 without any."""
    num, variance = len(scores), float(scores.double().var(correction=0))
    least = max(1, round(LEAST * num))
    if num < 2 * least or variance <= 1e-12:
        return 0.0
    ordered = scores.double().sort().values
    low = torch.arange(1, num, device=scores.device, dtype=torch.float64)
    below = ordered.cumsum(0)[:-1]
    apart = below / low - (ordered.sum() - below) / (num - low)
    between = low * (num - low) / num**2 * apart**2
    return float(between[least - 1 : num - least].max()) / variance


def distinct_share(ids: Sequence[int], size: int = SIZE) -> float:
    """Return the share of a response's runs of `size` tokens that are different ones; 1 where it has none."""
    runs = [tuple(ids[start : start + size]) for start in range(len(ids) - size + 1)]
    return len(set(runs)) / len(runs) if runs else 1.0
