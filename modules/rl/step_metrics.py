"""Metrics of an iteration, summed over its optimizer steps and processes."""

import time

import torch
from torch import Tensor

from modules.runtime.distributed import sum_over_ranks, union


class StepSums:
    """Metrics summed over an iteration's optimizer steps; padding never enters.

    Args:
        device: Where the sums are kept.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sums: dict[str, Tensor] = {}

    def add_tokens(self, values: dict[str, Tensor]) -> None:
        """Add numbers of real tokens (N,)."""
        for name, tensor in values.items():
            tensor = tensor.detach()
            self._add(name, torch.stack([tensor.sum(), torch.tensor(float(len(tensor)), device=tensor.device)]))

    def add_step(self, name: str, value: float) -> None:
        """Add one number of an optimizer step."""
        self._add(name, torch.tensor([value, 1.0], device=self._device))

    def means(self) -> dict[str, float]:
        """Return means over tokens or steps, by name, of what any process has seen: one may have had no row at all."""
        names = union(self._sums)
        if not names:
            return {}
        nothing = torch.zeros(2, device=self._device)
        totals = sum_over_ranks(torch.stack([self._sums.get(name, nothing) for name in names])).tolist()
        return {name: total / max(count, 1) for name, (total, count) in zip(names, totals, strict=True)}

    def _add(self, name: str, pair: Tensor) -> None:
        self._sums[name] = self._sums[name] + pair if name in self._sums else pair


class Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._start = time.monotonic()

    def lap(self, name: str) -> None:
        """Name the time since the last lap."""
        now = time.monotonic()
        self.laps[name], self._start = now - self._start, now


def mean(values: Tensor) -> float:
    """Return the mean over all rows (B,) of all processes."""
    total, count = sum_over_ranks(
        torch.stack([values.float().sum(), torch.tensor(float(len(values)), device=values.device)])
    ).tolist()
    return total / max(count, 1)
