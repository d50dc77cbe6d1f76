"""Parts of a step that the three trainers share: the schedule, and clip - check - step.

Clipping is done by hand: Lightning's own clipping refuses manual optimisation, and other PPO trainers forgot it there.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from modules.config import ScheduleKind
from modules.errors import NonFiniteError
from modules.runtime.distributed import sum_gradients
from modules.stage_module import StageModule


def adam(groups: list[dict[str, object]], *, eps: float, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Return Adam; eps is 1e-5 in PPO (Huang et al. 2024), else 1e-8. Weight decay is decoupled (AdamW)."""
    return torch.optim.Adam(groups, eps=eps, weight_decay=weight_decay, decoupled_weight_decay=True, fused=True)


def schedule(step: int, num_steps: int, warmup_fraction: float, kind: ScheduleKind = "cosine") -> float:
    """Return the share of the peak learning rate at a step (0, 1, ...): a linear rise from 0, then constant or a fall to 0.

    The first step has a rate above 0 already, and so does the last.
    """
    warmup = math.ceil(warmup_fraction * num_steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min((step - warmup) / max(1, num_steps - warmup), 1.0)
    return {"constant": 1.0, "linear": 1 - progress, "cosine": 0.5 * (1 + math.cos(math.pi * progress))}[kind]


@dataclass(frozen=True)
class Rates:
    """Learning rates of PPO's two networks over its iterations; see `PPOConfig`. The policy's begin when it is first trained."""

    learning_rate: float = 1e-4
    value_learning_rate: float = 2e-4
    schedule: ScheduleKind = "constant"
    warmup_fraction: float = 0.0
    iterations: int = 100
    value_warmup: int = 0

    def at(self, iteration: int) -> tuple[float, float]:
        """Return the rates of policy and value function in an iteration (0, 1, ...)."""
        done, total = max(0, iteration - self.value_warmup), self.iterations - self.value_warmup
        return (
            self.learning_rate * schedule(done, total, self.warmup_fraction, self.schedule),
            self.value_learning_rate * schedule(iteration, self.iterations, self.warmup_fraction, self.schedule),
        )


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float, loss: Tensor, where: str) -> float:
    """Sum gradients over processes, refuse non-finite ones, and scale them down to ``max_norm``.

    Args:
        parameters: Those of one optimizer step.
        max_norm: Their greatest global norm afterwards.
        loss: The step's loss, a scalar.
        where: Names the step in the error.

    Returns:
        The norm before clipping.

    Raises:
        NonFiniteError: The loss or the norm is not finite. Gradients are dropped; weights and moments are untouched.
    """
    parameters = list(parameters)
    sum_gradients(parameters)
    kept = [parameter for parameter in parameters if parameter.grad is not None]
    # Both numbers at once, since the host waits for the device.
    total = torch.nn.utils.clip_grad_norm_(kept, max_norm).to(loss.device)
    norm, value = torch.stack([total, loss.float()]).tolist()
    if not (math.isfinite(norm) and math.isfinite(value)):
        for parameter in kept:
            parameter.grad = None
        raise NonFiniteError(
            f"The {where} gave a loss of {value:.4g} with a gradient norm of {norm:.4g}. The step was not taken and "
            "the weights are as they were: lower the learning rate, choose precision fp32, or look for broken rows."
        )
    return norm


def take_step(module: StageModule) -> None:
    """Step a module's one optimizer, through Lightning so that it is counted, and drop the gradients."""
    module.is_half_done = True
    optimizer = module.optimizers()
    assert isinstance(optimizer, LightningOptimizer)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
