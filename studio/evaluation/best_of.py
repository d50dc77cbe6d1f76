"""Best-of-n: what choosing the best of n answers by the reward model gains, for all n at once, without training anything.

From N sampled answers of a prompt the mean score of the best of n is known without bias for every n up to N: each set of n of
them is as likely as any other (Nakano et al. 2021). Choosing costs the KL log n - (n - 1)/n at most (Stiennon et al. 2020).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sqlite_utils import Database

from modules.config import EvaluateConfig
from studio.errors import ConfigError
from studio.evaluation.results import Item
from studio.models import checkpoint_pages, checkpoints
from studio.models.checkpoints import SAVED_AT_KL
from studio.models.parents import traits

Array = NDArray[np.float64]


class Best(NamedTuple):
    """The best of n answers, chosen by the reward model."""

    n: int
    kl: float
    """Nats, from the SFT policy: what choosing costs, and of a policy that was trained from it the mean KL of the chosen answers."""
    proxy: float
    """Mean score over prompts by the reward model that chooses."""
    gold: float | None
    """Mean score by the other reward model; None without one."""


def complete(db: Database, config: EvaluateConfig) -> EvaluateConfig:
    """Fill in what best_of leaves open: whole distribution, test prompts, the SFT policy and what was trained from it, its reward model.

    Raises:
        ConfigError: another setting contradicts it.
    """
    if config.samples_per_prompt not in (0, config.best_of):
        raise ConfigError(
            f"best_of is {config.best_of} and samples_per_prompt {config.samples_per_prompt}, but both are the number of sampled "
            "answers: leave one at 0."
        )
    changes: dict[str, object] = {"top_p": 1.0, "suites": config.suites or "answers"}
    ppo = checkpoints.newest(db, "ppo")
    if ppo:
        of_run = checkpoints.parents_of_run(db, ppo.run_id)
        changes["reward_checkpoint"] = config.reward_checkpoint or of_run.get("reward", "")
        changes["gold_checkpoint"] = config.gold_checkpoint or _other_half(db, str(changes["reward_checkpoint"]))
        if not config.checkpoints:
            kept = [c for c in checkpoint_pages.of_run(db, ppo.run_id) if SAVED_AT_KL in c.metrics or c.id == ppo.id]
            dpo = checkpoints.newest(db, "dpo")
            names = [of_run["sft"], *(c.name for c in reversed(kept)), *([dpo.name] if dpo else [])]
            changes["checkpoints"] = ", ".join(names)
    return config.model_copy(update=changes)


def kl(n: int) -> float:
    """Return the KL of best-of-n from the policy that it chooses from, in nats."""
    return math.log(n) - (n - 1) / n


def means(chosen_by: ArrayLike, scores: ArrayLike) -> Array:
    """Return the expected score of the best of n of N answers for n = 1 to N, (N,).

    The k-th lowest of N is the best of n drawn ones in C(k - 1, n - 1) of C(N, n) draws.

    Args:
        chosen_by: (N,) scores by which the best is chosen.
        scores: (N,) scores whose mean is wanted, of the same answers.
    """
    chosen, wanted = np.asarray(chosen_by, float), np.asarray(scores, float)
    return _weights(len(chosen)) @ wanted[np.argsort(chosen, kind="stable")]


def curve(items: Sequence[Item], subject: str) -> list[Best]:
    """Return best-of-n for n = 1 to the number of answers to each prompt; empty where answers have no score, or are single."""
    samples = [item.scores[subject] for item in items]
    num = min((len(each) for each in samples), default=0)
    if num < 2 or any("reward" not in sample for each in samples for sample in each):
        return []

    def chosen(score: str) -> Array | None:
        if any(score not in sample for each in samples for sample in each):
            return None
        columns = [[[sample[name] for sample in each[:num]] for name in ("reward", score)] for each in samples]
        return np.mean([means(*pair) for pair in columns], axis=0)

    proxy, gold, far = chosen("reward"), chosen("gold"), chosen("kl")
    return [
        Best(
            n,
            kl(n) + (0.0 if far is None else float(far[n - 1])),
            0.0 if proxy is None else float(proxy[n - 1]),
            None if gold is None else float(gold[n - 1]),
        )
        for n in range(1, num + 1)
    ]


def _other_half(db: Database, reward: str) -> str:
    """Return the newest reward model that learned from the other half of the votes; empty without one."""
    halves = {c.name: traits.votes_half(c) for c in checkpoints.list_all(db, "reward", is_newest_of_run=True)}
    wanted = {"first": "second", "second": "first"}.get(halves.get(reward, ""))
    return next((name for name, half in halves.items() if half == wanted), "") if wanted else ""


def _weights(num: int) -> Array:
    """Return the chance (N, N) that the k-th lowest (column) is the best of n (row)."""
    return np.array(
        [[math.comb(k - 1, n - 1) / math.comb(num, n) for k in range(1, num + 1)] for n in range(1, num + 1)]
    )
