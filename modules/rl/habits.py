"""How the policy answers, beside what it earns: spread of scores, pull of length, repetition.

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


def habits(experience: Experience, rollout: Rollout) -> dict[str, float]:
    """Return an iteration's metrics of its responses, over all processes."""
    scores, lengths = gather_rows(experience.scores), gather_rows(experience.mask.sum(-1).float())
    distinct = torch.tensor([distinct_share(response) for response in rollout.responses], device=scores.device)
    return {
        "objective/score_spread": float(scores.std(correction=0)),
        "rollout/length_correlation": correlation(scores, lengths),
        "rollout/distinct_4grams": mean(distinct),
    }


def distinct_share(ids: Sequence[int], size: int = SIZE) -> float:
    """Return the share of a response's runs of `size` tokens that are different ones; 1 where it has none."""
    runs = [tuple(ids[start : start + size]) for start in range(len(ids) - size + 1)]
    return len(set(runs)) / len(runs) if runs else 1.0
