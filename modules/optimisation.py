"""Parts of a step that the three trainers share: the schedule, and clip - check - step.

Clipping is done by hand: Lightning's own clipping refuses manual optimisation, and other PPO trainers forgot it there.
"""

import math
from collections.abc import Iterable

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from modules.distributed import sum_gradients
from modules.errors import NonFiniteError
from modules.stage_module import StageModule


def adam(groups: list[dict[str, object]], *, eps: float, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Return Adam; eps is 1e-5 in PPO (Huang et al. 2024), else 1e-8. Weight decay is decoupled (AdamW)."""
    return torch.optim.Adam(groups, eps=eps, weight_decay=weight_decay, decoupled_weight_decay=True, fused=True)


def schedule(step: int, num_steps: int, warmup_fraction: float) -> float:
    """Return the share of the peak learning rate at a step (0, 1, ...): a linear rise from 0, then a cosine to 0.

    The first step has a rate above 0 already, and so does the last.
    """
    warmup = math.ceil(warmup_fraction * num_steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, num_steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


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
    norm = torch.nn.utils.clip_grad_norm_(kept, max_norm)
    if not (torch.isfinite(norm) and torch.isfinite(loss)):
        for parameter in kept:
            parameter.grad = None
        raise NonFiniteError(
            f"The {where} gave a loss of {float(loss):.4g} with a gradient norm of {float(norm):.4g}. The step was not taken and "
            "the weights are as they were: lower the learning rate, choose precision fp32, or look for broken rows."
        )
    return float(norm)


def take_step(module: StageModule) -> None:
    """Step a module's one optimizer, through Lightning so that it is counted, and drop the gradients."""
    module.is_half_done = True
    optimizer = module.optimizers()
    assert isinstance(optimizer, LightningOptimizer)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
