"""Data-parallel runs: deals rows out to processes and sums over them; with one process, nothing changes.

Gradients are summed here by hand, weighted by tokens, because the usual mean of per-process means would weight a
process with few tokens as much as one with many. Rows are dealt in turn, and a row keeps its random numbers whoever
gets it, so that a run is the same one with any number of processes.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

Row = TypeVar("Row")


class SummedByHand(DDPStrategy):
    """Lightning's ``ddp`` (its processes, ranks and collectives) without torch's wrapper around the module.

    The trainers call ``backward`` and sum gradients by themselves. Under plain ``ddp`` the wrapper's hooks stay idle then,
    and the result is the same, but it holds a second copy of all gradients and broadcasts every buffer at each step.
    """

    def configure_ddp(self) -> None:
        """Start from the first process's weights; there is nothing to wrap."""
        assert self.model is not None
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                dist.broadcast(parameter.data, src=0)


def world() -> tuple[int, int]:
    """Return this process's rank and the number of processes."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def share(rows: Sequence[Row]) -> Sequence[Row]:
    """Return the rows that are dealt to this process; none if there are fewer rows than processes."""
    rank, size = world()
    return rows[rank::size]


def place(index: int) -> int:
    """Return where the ``index``-th row of this process's `share` stands among all rows."""
    rank, size = world()
    return rank + index * size


def gather_shares(rows: list[Row]) -> list[Row]:
    """Return on every process all rows in their order before the deal; ``rows`` belong to this one's `share`."""
    size = world()[1]
    if size == 1:
        return rows
    parts: list[list[Row]] = [[] for _ in range(size)]
    dist.all_gather_object(parts, rows)
    return [parts[i % size][i // size] for i in range(sum(map(len, parts)))]


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum over processes of a tensor of any shape, detached."""
    values = values.detach().clone()
    if world()[1] > 1:
        dist.all_reduce(values)
    return values


def union(names: Iterable[str]) -> list[str]:
    """Return the names that any process has, sorted, so that all processes do the same for each of them."""
    own = sorted(set(names))
    size = world()[1]
    if size == 1:
        return own
    parts: list[list[str]] = [[] for _ in range(size)]
    dist.all_gather_object(parts, own)
    return sorted({name for part in parts for name in part})


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its sum over processes; where a process had no row to go backward from, it adds 0."""
    if world()[1] == 1:
        return
    pending = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        pending.append(dist.all_reduce(parameter.grad, async_op=True))
    for reduction in pending:
        reduction.wait()


def gather_rows(rows: Tensor) -> Tensor:
    """Return the rows of all processes, one after the other: (N, ...) to (sum of N, ...), detached."""
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
