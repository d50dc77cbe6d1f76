"""A stand-in for the driver of GPUs: what `studio.runs.gpus` asks pynvml, answered of cards that are not there."""

from types import SimpleNamespace
from typing import NamedTuple

import pynvml
import pytest

from studio.runs import gpus

MIB = 2**20


class Card(NamedTuple):
    uuid: str
    title: str = "Card"
    total_mib: int = 8192
    free_mib: int = 8192
    busy: int = 0


SMALL, LARGE = Card("GPU-a", "Small", 8192, 6000), Card("GPU-b", "Large", 24576, 20000, 73)


class Driver:
    """Knows these cards; `hold` and `release` say which processes hold their memory."""

    def __init__(self, *cards: Card) -> None:
        self.cards, self.held = cards, []
        self.questions = 0

    def hold(self, uuid: str, pid: int, name: str, mib: int) -> None:
        self.held.append((uuid, pid, name, mib))

    def release(self) -> None:
        self.held.clear()

    def nvmlInit(self) -> None:
        self.questions += 1

    def nvmlShutdown(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Card:
        return self.cards[index]

    def nvmlDeviceGetUUID(self, card: Card) -> str:
        return card.uuid

    def nvmlDeviceGetName(self, card: Card) -> str:
        return card.title

    def nvmlDeviceGetMemoryInfo(self, card: Card) -> SimpleNamespace:
        return SimpleNamespace(total=card.total_mib * MIB, free=card.free_mib * MIB)

    def nvmlDeviceGetUtilizationRates(self, card: Card) -> SimpleNamespace:
        return SimpleNamespace(gpu=card.busy)

    def nvmlDeviceGetComputeRunningProcesses(self, card: Card) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(pid=pid, usedGpuMemory=mib * MIB) for uuid, pid, _, mib in self.held if uuid == card.uuid
        ]

    def nvmlSystemGetProcessName(self, pid: int) -> str:
        return next(name for _, held_by, name, _ in self.held if held_by == pid)


class Missing(Driver):
    """No driver is installed."""

    def nvmlInit(self) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)


def use(patch: pytest.MonkeyPatch, driver: Driver) -> Driver:
    """Ask this one instead of the machine's, and see all of its cards."""
    patch.setattr(gpus, "pynvml", driver)
    patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return driver
