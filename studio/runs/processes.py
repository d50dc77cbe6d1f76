"""Finds the processes of a run by pid and birth, by mark and by descent, and ends them for certain.

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
"""Seconds by which wall-clock births may differ after a clock correction; no pid is reused within them."""
POLL_S = 0.05
LEAVING_S = 10.0
"""Seconds that a killed process may take to be gone, on a busy machine."""
WORKER = ("studio.worker", "studio.worker.__main__")
"""The worker's module in its command line: as the studio starts it, and as Lightning does for the other devices."""

_children: list[subprocess.Popen[bytes]] = []
_exit_codes: dict[int, int] = {}


def remember(child: subprocess.Popen[bytes]) -> None:
    """Keep a child until it ends, so that it leaves no zombie and its exit code is known."""
    _children.append(child)


def see_children() -> None:
    """Note the children that have ended."""
    for child in [c for c in tuple(_children) if c.poll() is not None]:  # polling removes the zombie
        _exit_codes[child.pid] = child.returncode
        with suppress(ValueError):  # by another thread already
            _children.remove(child)


def exit_code(pid: int | None) -> int | None:
    """Return the exit code of a child of this process; None while it lives, or for another's child."""
    return _exit_codes.get(pid or 0)


def birth(pid: int) -> float:
    """Return a process's birth, in seconds since the machine's start, or since 1970 where the kernel does not say.

    Raises:
        psutil.NoSuchProcess: there is no such process.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return psutil.Process(pid).create_time()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def is_of_this_boot(boot: str) -> bool:
    """Return whether a process of this boot may be on this machine; rows of earlier versions name no boot."""
    return boot in ("", marks.boot())


def is_alive(pid: int | None, born: float | None, boot: str = "") -> bool:
    """Return whether the process born then, in that start of the machine, still lives; a zombie does not."""
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
    """A row's claim about a run's first process, to be proven before any process is ended."""

    pid: int | None
    born: float | None
    boot: str
    mark: str
    folder: Path
    """The run's folder."""


def family(claim: Claim) -> set[psutil.Process]:
    """Return the run's proven living processes: its first one, those with its mark, and their descendants.

    A process with the same group or pid but neither proof is not the run's.
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
    """Return the run folder of a living process with this mark, also when it is another workspace's."""
    for process in psutil.process_iter():
        if mark and marks.of(process) == mark:
            with suppress(psutil.Error):
                return Path(process.cwd())
    return None


def works_for(claim: Claim) -> Path | None:
    """Return the workspace whose worker the row's process is by its command line; None where it is not a worker, or is gone.

    Rows of versions before the marks have only this to tell a copied workspace from the one it copies.
    """
    if not is_alive(claim.pid, claim.born, claim.boot):
        return None
    try:
        return _workspace_of(psutil.Process(claim.pid), claim.folder.name)
    except (psutil.Error, OSError):
        return None


def unproven(claim: Claim) -> bool:
    """Return whether the process that the row names lives but is not proven to be the run's.

    One that shows neither mark nor command line is just ending, for example killed from another page: it is waited for.
    """
    deadline = time.monotonic() + LEAVING_S
    while is_alive(claim.pid, claim.born, claim.boot) and _leader(claim) is None:
        if _shows_something(claim) or time.monotonic() > deadline:
            return True
        time.sleep(POLL_S)
    return False


def end(family: set[psutil.Process], timeout_s: float) -> set[int]:
    """Kill these processes (SIGKILL) and wait until they are gone and hold no GPU memory; returns the pids left."""
    deadline = time.monotonic() + timeout_s
    pids = {process.pid for process in family}
    while True:
        left = [process for process in family if _works(process)]
        holding = {process.pid for process in left} or pids & gpus.pids()
        if not holding or time.monotonic() > deadline:
            return holding
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()  # only the process that was found: psutil checks its birth again
        time.sleep(POLL_S)


def machine_started_after(when: str | None) -> bool:
    """Return whether the machine was started after this time (UTC, ISO 8601)."""
    return when is not None and datetime.fromisoformat(when).timestamp() < psutil.boot_time() - 1.0


def _works(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _leader(claim: Claim) -> psutil.Process | None:
    """Return the run's first process, if it lives and its mark (or command line, if others started it) proves it."""
    if claim.pid is None or not is_alive(claim.pid, claim.born, claim.boot):
        return None
    try:
        process = psutil.Process(claim.pid)
        shown = marks.of(process)
        is_ours = shown == claim.mark if shown else _is_worker(process, claim.folder)
        return process if is_ours else None
    except psutil.NoSuchProcess:
        return None


def _shows_something(claim: Claim) -> bool:
    try:
        return bool(psutil.Process(claim.pid).cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
    except psutil.AccessDenied:
        return True


def _is_worker(process: psutil.Process, folder: Path) -> bool:
    """Return whether the command line is that of this folder's worker."""
    try:
        root = _workspace_of(process, folder.name)
        return root is not None and (root / "runs" / folder.name).samefile(folder)
    except (psutil.AccessDenied, OSError):
        return False


def _workspace_of(process: psutil.Process, name: str) -> Path | None:
    """Return the workspace in the command line of a run's worker, ... -m studio.worker WORKSPACE RUN; None for others."""
    words, where = process.cmdline(), Path(process.cwd())
    if words[-4:-3] != ["-m"] or words[-3] not in WORKER or words[-1] != name:
        return None
    return where / Path(words[-2]).expanduser()


def _descendants(process: psutil.Process, mark: str) -> set[psutil.Process]:
    """Return a process's descendants, without those of another run, which carry another mark."""
    try:
        children = process.children()
    except psutil.NoSuchProcess:
        return set()
    found: set[psutil.Process] = set()
    for child in children:
        if _works(child) and marks.of(child) in ("", mark):
            found |= {child} | _descendants(child, mark)
    return found
