"""Lists this machine's GPUs as the driver's `nvidia-smi` (NVML) sees them; no CUDA context, no torch, [] without."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

TIMEOUT_S = 10.0
FRESH_S = 30.0
"""Seconds for which the number of GPUs is remembered."""
DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Device files of the drivers of NVIDIA, of AMD and of Windows' subsystem for Linux."""
_environment: ContextVar[Mapping[str, str] | None] = ContextVar("environment", default=None)


@dataclass(frozen=True)
class Holder:
    """A process that holds GPU memory."""

    gpu: int
    pid: int
    name: str
    memory_mib: int


def count() -> int:
    """Count the GPUs that a run may use: those of CUDA_VISIBLE_DEVICES where it is set, numbered as there."""
    return len(_visible())


def may_be_there() -> bool:
    """Return False where neither nvidia-smi nor the kernel knows a GPU; only torch can tell whether it works."""
    return count() > 0 or any(os.path.exists(device) for device in DEVICES)


def can_be_used() -> bool:
    """Return whether a process of this environment may use a GPU: a visible one, or one unknown to nvidia-smi."""
    return count() > 0 or (not shutil.which("nvidia-smi") and may_be_there())


@dataclass(frozen=True)
class Memory:
    """The memory of a GPU."""

    gpu: int
    title: str
    total: int
    """Bytes."""
    free: int
    """Bytes that no process holds."""


def memories() -> list[Memory]:
    """Return the memory of the GPUs that a run may use, numbered as `count` counts them."""
    rows = {row[0]: row[1:] for row in _query("--query-gpu=index,uuid,name,memory.total,memory.free") if len(row) == 5}
    found = []
    for gpu, name in enumerate(_visible()):
        row = next((row for index, row in rows.items() if name in (index, row[0])), ["", "", "", ""])
        if row[2].isdigit() and row[3].isdigit():
            found.append(Memory(gpu, row[1], int(row[2]) * 2**20, int(row[3]) * 2**20))
    return found


def visible(lanes: tuple[str, ...]) -> str:
    """Return the value of CUDA_VISIBLE_DEVICES for these lanes (`gpu0`, ...)."""
    names = _visible()
    return ",".join(names[int(lane.removeprefix("gpu"))] for lane in lanes)


def holders() -> list[Holder]:
    """Return the processes that hold GPU memory now; GPUs are numbered as `count` counts them."""
    order = {uuid: index for index, uuid in _query("--query-gpu=index,uuid")}
    names, found = _visible(), []
    for uuid, pid, name, memory in _query("--query-compute-apps=gpu_uuid,pid,process_name,used_memory"):
        index = order.get(uuid, "")
        place = next((n for n, visible in enumerate(names) if visible in (index, uuid)), None)
        if place is not None and pid.isdigit():
            found.append(Holder(place, int(pid), os.path.basename(name), int(memory) if memory.isdigit() else 0))
    return found


def usage(family: set[int]) -> str:
    """Describe the load of the GPUs that these processes hold, and their memory; empty where they hold none."""
    held: dict[int, int] = {}
    for holder in holders():
        if holder.pid in family:
            held[holder.gpu] = held.get(holder.gpu, 0) + holder.memory_mib
    if not held:
        return ""
    figures = {row[0]: row[1:] for row in _query("--query-gpu=index,uuid,utilization.gpu,memory.total")}
    names, said = _visible(), []
    for gpu, memory in sorted(held.items()):
        found = next((row for index, row in figures.items() if names[gpu] in (index, row[0])), ["", "?", "0"])
        total = f" of {int(found[2]) / 1024:.0f}" if found[2].isdigit() else ""
        said.append(f"GPU {gpu} {found[1]} % busy, {memory / 1024:.1f}{total} GiB")
    return ", ".join(said)


def pids() -> set[int]:
    """Return the processes that hold GPU memory now."""
    return {holder.pid for holder in holders()}


def others(family: set[int]) -> str:
    """Name the other processes that hold GPU memory, in a sentence; empty where there are none."""
    found = sorted((h for h in holders() if h.pid not in family), key=lambda h: -h.memory_mib)[:3]
    held = ", ".join(f"{h.memory_mib:,} MiB of GPU {h.gpu} by process {h.pid} ({h.name})" for h in found)
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
    given = (os.environ if (seen := _environment.get()) is None else seen).get("CUDA_VISIBLE_DEVICES")
    if given is not None and shutil.which("nvidia-smi"):
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    return list(_indices(shutil.which("nvidia-smi"), int(time.monotonic() / FRESH_S)))


@lru_cache(maxsize=4)
def _indices(command: str | None, _: int) -> tuple[str, ...]:
    """Return the numbers of this machine's GPUs, cached because a waiting run asks every second."""
    return tuple(index for (index, *_) in _query("--query-gpu=index,uuid")) if command else ()


def _query(question: str) -> list[list[str]]:
    """Return the rows that `nvidia-smi` prints; [] where there is no driver or no answer."""
    if not shutil.which("nvidia-smi"):
        return []
    try:
        done = subprocess.run(
            ["nvidia-smi", question, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode:
        return []
    return [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
