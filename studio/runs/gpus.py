"""Asks the driver of this machine's GPUs (NVML) what they are and who holds them; no CUDA context, no torch.

Without a driver there are none. This is the only place that asks it.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, cast

import pynvml
from pynvml import NVML_ERROR_LIBRARY_NOT_FOUND, NVMLError

TIMEOUT_S = 10.0
"""Seconds after which the driver is taken to hang, as one does whose GPU is lost."""
FRESH_S = 30.0
"""Seconds for which the number of GPUs is remembered."""
DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Device files of the drivers of NVIDIA, of AMD and of Windows' subsystem for Linux."""
MIB = 2**20
_environment: ContextVar[Mapping[str, str] | None] = ContextVar("environment", default=None)


@dataclass(frozen=True)
class Holder:
    """A process that holds GPU memory."""

    gpu: int
    pid: int
    name: str
    memory_mib: int


@dataclass(frozen=True)
class Memory:
    """The memory of a GPU."""

    gpu: int
    title: str
    total: int
    """Bytes."""
    free: int
    """Bytes that no process holds."""


def count() -> int:
    """Count the GPUs that a run may use: those of CUDA_VISIBLE_DEVICES where it is set, numbered as there."""
    return len(_visible())


def may_be_there() -> bool:
    """Return False where neither the driver nor the kernel knows a GPU; only torch can tell whether it works."""
    return count() > 0 or any(os.path.exists(device) for device in DEVICES)


def can_be_used() -> bool:
    """Return whether a process of this environment may use a GPU: a visible one, or one of another maker's driver."""
    return count() > 0 or (_known() is None and may_be_there())


def memories() -> list[Memory]:
    """Return the memory of the GPUs that a run may use, numbered as `count` counts them."""
    return [Memory(gpu, card.title, card.total, card.free) for gpu, card in _numbered() if card.total]


def visible(devices: tuple[str, ...]) -> str:
    """Return the value of CUDA_VISIBLE_DEVICES for these devices (`gpu0`, ...)."""
    names = _visible()
    return ",".join(names[int(device.removeprefix("gpu"))] for device in devices)


def words(device: str) -> str:
    """Return a device's name for people: GPU 0 for gpu0."""
    return f"GPU {device.removeprefix('gpu')}"


def identity(device: str) -> str:
    """Return what names a device's card whatever number this process gives it: its UUID, or what it is made visible by.

    A device that is not there any more, as of a GPU that was lost, is named as it is.
    """
    name = dict(enumerate(_visible())).get(int(device.removeprefix("gpu")), device)
    return next((uuid for number, uuid in enumerate(_known() or ()) if _is_named(name, number, uuid)), name)


def holders() -> list[Holder]:
    """Return the processes that hold GPU memory now; GPUs are numbered as `count` counts them."""
    return [
        Holder(gpu, each.pid, os.path.basename(each.name), each.memory // MIB)
        for gpu, card in _numbered()
        for each in card.processes
    ]


def usage(family: set[int]) -> str:
    """Describe the load of the GPUs that these processes hold, and their memory; empty where they hold none."""
    said = []
    for gpu, card in _numbered():
        if held := [each.memory for each in card.processes if each.pid in family]:
            total = f" of {card.total / 2**30:.0f}" if card.total else ""
            said.append(f"GPU {gpu} {card.busy} % busy, {sum(held) / 2**30:.1f}{total} GiB")
    return ", ".join(said)


def pids() -> set[int]:
    """Return the processes that hold GPU memory now."""
    return {holder.pid for holder in holders()}


def others(family: set[int]) -> str:
    """Name the other processes that hold GPU memory, in a sentence; empty where there are none."""
    found = sorted((h for h in holders() if h.pid not in family), key=lambda h: -h.memory_mib)[:3]
    held = ", ".join(f"{h.memory_mib:,} MiB of GPU {h.gpu} by process {h.pid} ({h.name or '?'})" for h in found)
    return f"Other programs hold GPU memory: {held}. End them, or choose another GPU with gpu." if held else ""


@contextmanager
def seen_as(environment: Mapping[str, str]) -> Iterator[None]:
    """See, for the length of the block, the GPUs that a process with this environment would see."""
    token = _environment.set(environment)
    try:
        yield
    finally:
        _environment.reset(token)


def _visible() -> list[str]:
    """Return the names (index or uuid) of the GPUs that a run may use, in the order in which it numbers them."""
    given = (os.environ if (seen := _environment.get()) is None else seen).get("CUDA_VISIBLE_DEVICES")
    known = _known()
    if given is not None and known is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number in range(len(known or ()))]


def _numbered() -> Iterator[tuple[int, "_Card"]]:
    """Yield the cards that a run may use with the number that it gives them."""
    cards = _ask(_cards) or []
    for gpu, name in enumerate(_visible() if cards else []):
        yield from ((gpu, card) for card in cards if _is_named(name, card.number, card.uuid))


def _is_named(name: str, number: int, uuid: str) -> bool:
    """Return whether CUDA_VISIBLE_DEVICES means this card: by its number, or by how its UUID begins."""
    return name == str(number) or (name.startswith("GPU-") and uuid.startswith(name))


def _known() -> tuple[str, ...] | None:
    """Return the UUIDs of this machine's GPUs, in the driver's order; None where it has no such driver."""
    return _remembered(cast(Any, pynvml), int(time.monotonic() / FRESH_S))


@lru_cache(maxsize=4)
def _remembered(driver: Any, _: int) -> tuple[str, ...] | None:
    """Ask for the UUIDs; remembered because a waiting run asks every second."""
    found = _ask(lambda: [_uuid(driver, number) for number in range(driver.nvmlDeviceGetCount())], ())
    return None if found is None else tuple(found)


# What the driver says.


class _Process(NamedTuple):
    pid: int
    name: str
    memory: int
    """Bytes; 0 where the driver does not tell."""


class _Card(NamedTuple):
    number: int
    uuid: str
    title: str
    total: int
    """Bytes; 0 where the driver does not tell, as for one that shares the machine's memory."""
    free: int
    busy: str
    """Percent of the last moments in which it computed; ? where the driver does not tell."""
    processes: list[_Process]


def _cards() -> list[_Card]:
    found = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        card = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = _or_none(pynvml.nvmlDeviceGetMemoryInfo, card)
        load = _or_none(pynvml.nvmlDeviceGetUtilizationRates, card)
        at_work = _or_none(pynvml.nvmlDeviceGetComputeRunningProcesses, card) or []
        found.append(
            _Card(
                index,
                pynvml.nvmlDeviceGetUUID(card),
                pynvml.nvmlDeviceGetName(card),
                memory.total if memory else 0,
                memory.free if memory else 0,
                str(load.gpu) if load else "?",
                [
                    _Process(
                        each.pid, _or_none(pynvml.nvmlSystemGetProcessName, each.pid) or "", each.usedGpuMemory or 0
                    )
                    for each in at_work
                ],
            )
        )
    return found


def _uuid(driver: Any, number: int) -> str:
    """Return a card's UUID; its number where the driver does not tell."""
    return _or_none(lambda: driver.nvmlDeviceGetUUID(driver.nvmlDeviceGetHandleByIndex(number))) or str(number)


def _or_none(question: Callable[..., Any], *about: Any) -> Any:
    """Ask what not every card or driver can answer."""
    try:
        return question(*about)
    except NVMLError:
        return None


_silent: list[threading.Thread] = []
"""The question that the driver has not answered in time; nothing more is asked until it has."""


def _ask(question: Callable[[], Any], otherwise: Any = None) -> Any:
    """Return the driver's answer; None where there is no driver, `otherwise` where it fails or does not answer in time.

    It is asked in a thread, because nothing ends a call into a driver that hangs.
    """
    if any(thread.is_alive() for thread in _silent):
        return otherwise
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(_answer(question, otherwise)), daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    _silent[:] = [thread] if thread.is_alive() else []
    return answers[0] if answers else otherwise


def _answer(question: Callable[[], Any], otherwise: Any) -> Any:
    try:
        pynvml.nvmlInit()
        try:
            return question()
        finally:
            pynvml.nvmlShutdown()
    except NVMLError as error:
        return None if cast(Any, error).value == NVML_ERROR_LIBRARY_NOT_FOUND else otherwise
