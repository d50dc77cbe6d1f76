"""Processes of a run, known beyond doubt: by pid and birth, by group, by descent; and their end, verified.

A birth is counted from the machine's start where the kernel says so (Linux), because a wall clock that is set forward or
back would make every living process look like a stranger.
"""

import os
import time
from datetime import datetime
from pathlib import Path

import psutil

from studio import gpus

EPOCH_S = 1e9
"""Births above this are wall-clock times, as earlier versions stored them and other systems give them."""
POLL_S = 0.05


def birth(pid: int) -> float:
    """When a process was born, in seconds since the machine's start, or since 1970 where the kernel does not say.

    Raises:
        psutil.NoSuchProcess: there is no such process.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return psutil.Process(pid).create_time()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def is_alive(pid: int | None, born: float | None) -> bool:
    """True if the process that was born then still works; a zombie does not."""
    if pid is None:
        return False
    try:
        process = psutil.Process(pid)
        now_born = process.create_time() if (born or 0.0) > EPOCH_S else birth(pid)
        return abs(now_born - (born or 0.0)) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(pid: int | None, born: float | None) -> set[int]:
    """Living members of the process's group and all its descendants; the group also when its leader is dead."""
    if pid is None:
        return set()
    is_here = is_alive(pid, born)
    if psutil.pid_exists(pid) and not is_here and not _is_zombie(pid):
        return set()  # the number went to a stranger, so nothing of the group is left
    found = _descendants(pid) | {pid} if is_here else set()
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == pid and process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found - {os.getpid()}


def end(pids: set[int], timeout_s: float) -> set[int]:
    """SIGKILL these processes and wait until they are gone and hold no GPU memory; returns those that still do either."""
    deadline = time.monotonic() + timeout_s
    left = {pid: psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)}
    while True:
        left = {pid: process for pid, process in left.items() if _works(process)}
        holding = set(left) or pids & gpus.pids()
        if not holding or time.monotonic() > deadline:
            return holding
        for process in left.values():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        time.sleep(POLL_S)


def machine_started_after(when: str | None) -> bool:
    """Whether the machine was started after this time (UTC, ISO 8601)."""
    return when is not None and datetime.fromisoformat(when).timestamp() < psutil.boot_time() - 1.0


def _works(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _descendants(pid: int) -> set[int]:
    try:
        return {child.pid for child in psutil.Process(pid).children(recursive=True) if _works(child)}
    except psutil.NoSuchProcess:
        return set()
