"""Processes of a run, known beyond doubt: by pid and birth, by the mark they carry, by descent; and their end, verified.

A birth is counted from the machine's start where the kernel says so (Linux), because a wall clock that is set forward or
back would make every living process look like a stranger.
"""

import os
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

from studio.runs import gpus, marks

EPOCH_S = 1e9
"""Births above this are wall-clock times, as earlier versions stored them and other systems give them."""
CLOSE_S = 1.0
"""Births as wall-clock times differ by so much when the clock is corrected; no number is given out again within it."""
POLL_S = 0.05
WORKER = ("studio.worker", "studio.worker.__main__")
"""The module of a worker in its command line: as it is started, and as Lightning starts those of the other devices."""

_children: list[subprocess.Popen[bytes]] = []
_exit_codes: dict[int, int] = {}


def remember(child: subprocess.Popen[bytes]) -> None:
    """Keep a child until it ends, so that it leaves no zombie and its exit code is known."""
    _children.append(child)


def see_children() -> None:
    """Take note of the children that have ended."""
    for child in [c for c in tuple(_children) if c.poll() is not None]:  # polling removes the zombie
        _exit_codes[child.pid] = child.returncode
        with suppress(ValueError):  # by another thread already
            _children.remove(child)


def exit_code(pid: int | None) -> int | None:
    """How a child of this process ended; None for one that works, or that another has started."""
    return _exit_codes.get(pid or 0)


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


def is_of_this_boot(boot: str) -> bool:
    """Whether a process that was born in this start of the machine may be here; rows of earlier versions do not say."""
    return boot in ("", marks.boot())


def is_alive(pid: int | None, born: float | None, boot: str = "") -> bool:
    """True if the process that was born then, in that start of the machine, still works; a zombie does not."""
    if pid is None or not is_of_this_boot(boot):
        return False
    try:
        process = psutil.Process(pid)
        now_born = process.create_time() if (born or 0.0) > EPOCH_S else birth(pid)
        return abs(now_born - (born or 0.0)) < CLOSE_S and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True)
class Claim:
    """What a row says of a run's first process, to be proven before anything is ended."""

    pid: int | None
    born: float | None
    boot: str
    mark: str
    folder: Path
    """The run's."""


def family(claim: Claim) -> set[psutil.Process]:
    """The living processes that are proven to be the run's: its first one, those that carry its mark, and what descends from these.

    A process of the same group or with the same number that shows neither is a stranger.
    """
    if not is_of_this_boot(claim.boot) or (claim.mark and not marks.is_for(claim.mark, claim.folder)):
        return set()
    found = {p for p in psutil.process_iter() if claim.mark and marks.of(p) == claim.mark and _works(p)}
    if (leader := _leader(claim)) is not None:
        found.add(leader)
    for each in tuple(found):
        found |= _descendants(each, claim.mark)
    return {process for process in found if process.pid != os.getpid()}


def working_folder(mark: str) -> Path | None:
    """Where a living process with this mark works, also when it is another workspace's."""
    for process in psutil.process_iter():
        if mark and marks.of(process) == mark:
            with suppress(psutil.Error):
                return Path(process.cwd())
    return None


def unproven(claim: Claim) -> bool:
    """Whether the process that the row names lives and yet does not show that it is the run's."""
    return is_alive(claim.pid, claim.born, claim.boot) and _leader(claim) is None


def end(family: set[psutil.Process], timeout_s: float) -> set[int]:
    """SIGKILL these processes and wait until they are gone and hold no GPU memory; returns those that still do either."""
    deadline = time.monotonic() + timeout_s
    pids = {process.pid for process in family}
    while True:
        left = [process for process in family if _works(process)]
        holding = {process.pid for process in left} or pids & gpus.pids()
        if not holding or time.monotonic() > deadline:
            return holding
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()  # only the very process that was found: psutil looks at its birth once more
        time.sleep(POLL_S)


def machine_started_after(when: str | None) -> bool:
    """Whether the machine was started after this time (UTC, ISO 8601)."""
    return when is not None and datetime.fromisoformat(when).timestamp() < psutil.boot_time() - 1.0


def _works(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _leader(claim: Claim) -> psutil.Process | None:
    """The run's first process, if it lives and is proven by its mark or, where others started it, by its command line."""
    if claim.pid is None or not is_alive(claim.pid, claim.born, claim.boot):
        return None
    try:
        process = psutil.Process(claim.pid)
        shown = marks.of(process)
        is_ours = shown == claim.mark if shown else _is_worker(process, claim.folder)
        return process if is_ours else None
    except psutil.NoSuchProcess:
        return None


def _is_worker(process: psutil.Process, folder: Path) -> bool:
    """Whether a command line says that it works on the run with this folder: ... -m studio.worker WORKSPACE RUN."""
    try:
        words, where = process.cmdline(), Path(process.cwd())
    except psutil.AccessDenied:
        return False
    if words[-4:-3] != ["-m"] or words[-3] not in WORKER or words[-1] != folder.name:
        return False
    root = where / Path(words[-2]).expanduser()
    try:
        return (root / "runs" / folder.name).samefile(folder)
    except OSError:
        return False


def _descendants(process: psutil.Process, mark: str) -> set[psutil.Process]:
    """What a process has started and what that has; but not another run, which carries a mark of its own."""
    try:
        children = process.children()
    except psutil.NoSuchProcess:
        return set()
    found: set[psutil.Process] = set()
    for child in children:
        if _works(child) and marks.of(child) in ("", mark):
            found |= {child} | _descendants(child, mark)
    return found
