"""Marks that every process of a run carries in its environment, to prove that it is a process of this run.

A pid alone proves nothing: after a crash of the machine it belongs to another process, and a row may come from an
archive. A mark is a random word and the identity of the run's folder (device and inode), so that a copy of the
workspace, with other folders, knows that the process is not its own. A moved workspace keeps its folders and runs.
"""

import secrets
from functools import cache
from pathlib import Path

import psutil

VARIABLE = "RLHF_STUDIO_RUN"
"""Environment variable that holds the mark. Every process that a run starts inherits it."""


def make(folder: Path) -> str:
    """Return a new mark for the run with this folder."""
    return f"{secrets.token_hex(8)}@{_place(folder)}"


def is_for(mark: str, folder: Path) -> bool:
    """Return whether a mark was made for this folder, not for one of which this is a copy."""
    return mark.rpartition("@")[2] == _place(folder)


def of(process: psutil.Process) -> str:
    """Return the mark of a process; empty where it has none or may not be read."""
    try:
        return process.environ().get(VARIABLE, "")
    except (psutil.Error, OSError):
        return ""


@cache
def boot() -> str:
    """Identify this start of this machine: a process of another start is gone, or elsewhere."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{psutil.boot_time():.0f}"


def _place(folder: Path) -> str:
    """Return device and inode; empty where there is no such folder."""
    try:
        found = folder.stat()
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"
