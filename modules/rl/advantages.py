"""From scores and log-probabilities to advantages: KL penalty, per-token rewards, GAE, whitening, KL control.

All tensors are (B, R) float32, aligned so that column t belongs to the t-th response token, with a bool mask that is True
on real tokens. A response's real tokens are its first ones. Sources: Schulman et al. 2016 (GAE), Ziegler et al. 2019
(per-token KL penalty, adaptive coefficient), Schulman 2020 (k1, k2, k3).
"""

import math
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

from modules.config import contradictions
from modules.runtime.distributed import sum_over_ranks


def kl_estimates(logprobs: Tensor, ref_logprobs: Tensor, estimator: Literal["k1", "k2", "k3"]) -> Tensor:
    """Return per-token estimates of KL(policy || reference) from tokens that the policy sampled.

    With D = log policy - log reference: k1 = D is unbiased and may be negative; k2 = D^2 / 2 is biased but its gradient is
    the KL's; k3 = exp(-D) - 1 + D is unbiased and never negative. k1 must not be used as a loss: its gradient is 0 in
    expectation.

    Args:
        logprobs, ref_logprobs: (B, R).
        estimator: Its name.
    """
    difference = logprobs - ref_logprobs
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return 0.5 * difference.square()
    return torch.expm1(-difference) + difference


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """Return the reward of each token: minus the price of its KL, plus the score at the last token.

    Args:
        scores: (B,).
        kl: (B, R) per-token KL estimates.
        mask: (B, R) bool.
        kl_coef: Price of one nat.

    Returns:
        (B, R), 0 outside the mask.
    """
    return (-kl_coef * kl).masked_fill(~mask, 0.0) + at_last(scores, mask)


def at_last(numbers: Tensor, mask: Tensor) -> Tensor:
    """Place numbers (B,) at each row's last real token: (B, R), 0 elsewhere."""
    last = mask.sum(-1, keepdim=True) - 1
    placed = torch.zeros(mask.shape, dtype=numbers.dtype, device=numbers.device)
    return placed.scatter(1, last.clamp(min=0), numbers.unsqueeze(-1) * (last >= 0))


def gae(rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float) -> Tensor:
    """Return generalised advantage estimates; what follows the last real token is worth 0, unless its reward has it.

    delta_t = r_t + gamma V_{t+1} - V_t and A_t = delta_t + gamma lam A_{t+1}.

    Args:
        rewards, values: (B, R); values are those of the state *before* each token.
        mask: (B, R) bool.

    Returns:
        (B, R), 0 outside the mask.
    """
    rewards, values = rewards.masked_fill(~mask, 0.0), values.masked_fill(~mask, 0.0)
    following = torch.zeros_like(values[:, 0])
    advantage = torch.zeros_like(following)
    columns = []
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * following - values[:, t]
        advantage = delta + gamma * lam * advantage
        following = values[:, t]
        columns.append(advantage)
    return torch.stack(columns[::-1], dim=1).masked_fill(~mask, 0.0)


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Shift and scale to mean 0 and variance 1 over the mask; 0 outside it.

    In a data-parallel run both are taken over all processes. The variance is the biased one (division by n), so one
    single value becomes 0 and not NaN.

    Args:
        values: Any shape.
        mask: The same shape, bool.
    """
    count = sum_over_ranks(mask.sum()).clamp(min=1)
    mean = sum_over_ranks(values.masked_fill(~mask, 0.0).sum()) / count
    centred = (values - mean).masked_fill(~mask, 0.0)
    variance = sum_over_ranks(centred.square().sum()) / count
    return centred * torch.rsqrt(variance + 1e-8)


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """Return 1 - Var(R - V) / Var(R) over real tokens: 1 is perfect, 0 a constant's; 0 if returns do not vary.

    Args:
        values, returns: (N,).
    """
    spread = returns.var(correction=0)
    return float(1 - (returns - values).var(correction=0) / spread) if spread > 0 else 0.0


@dataclass(frozen=True)
class RunningMoments:
    """Mean and spread of all numbers seen so far, over all processes (Welford's update, in batches: Chan et al. 1983)."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared distances from the mean."""

    @property
    def std(self) -> float:
        """Standard deviation (division by n); 1 until numbers have differed."""
        spread = math.sqrt(self.squares / self.count) if self.count else 0.0
        return spread if spread > 1e-8 else 1.0

    def updated(self, values: Tensor) -> "RunningMoments":
        """Return the moments with further numbers (N,) of each process taken in."""
        values = values.double()
        own = torch.stack([torch.ones_like(values).sum(), values.sum()])
        added, total = sum_over_ranks(own).tolist()
        if not added:
            return self
        mean = total / added
        squares = float(sum_over_ranks((values - mean).square().sum()))
        count, distance = self.count + added, mean - self.mean
        return RunningMoments(
            count,
            self.mean + distance * added / count,
            self.squares + squares + distance**2 * self.count * added / count,
        )

    def state(self) -> dict[str, float]:
        """Return the moments as JSON values."""
        return asdict(self)


@dataclass
class KLController:
    """The KL price: fixed, or steered so that the KL per response nears a target.

    The KL is the mean over *responses of the summed* tokens, in nats (a target of 6 is usual); a mean over tokens would
    need another target. Each update multiplies the coefficient by 1 + e n / horizon with e = clip(KL / target - 1, +-0.2)
    and n the responses seen.

    Raises:
        ConfigError: It should adapt, but starts at 0, which stays 0.
    """

    coef: float
    target: float = 0.0
    """0 keeps the coefficient fixed."""
    horizon: int = 10_000

    def __post_init__(self) -> None:
        contradictions.check_kl(self.coef, self.target)

    def update(self, kl: float, num_responses: int) -> None:
        """Adapt to an iteration's mean KL per response."""
        if self.target <= 0:
            return
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        self.coef *= 1 + error * num_responses / self.horizon
