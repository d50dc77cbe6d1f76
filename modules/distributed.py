"""Sums over the processes of a data-parallel run; without one, each function returns what it was given.

Gradients are summed here by hand, weighted by tokens, because the usual mean of per-process means would weight a
process with few tokens as much as one with many.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world() -> tuple[int, int]:
    """This process's rank and the number of processes."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum over processes of a tensor of any shape, detached."""
    values = values.detach().clone()
    if world()[1] > 1:
        dist.all_reduce(values)
    return values


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its sum over processes."""
    if world()[1] > 1:
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, one after the other: (N, ...) to (sum of N, ...), detached."""
    rank, size = world()
    rows = rows.detach()
    if size == 1:
        return rows
    counts = torch.zeros(size, dtype=torch.long, device=rows.device)
    counts[rank] = len(rows)
    dist.all_reduce(counts)
    padded = torch.zeros(int(counts.max()), *rows.shape[1:], dtype=rows.dtype, device=rows.device)
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(size)]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts.tolist(), strict=True)])
