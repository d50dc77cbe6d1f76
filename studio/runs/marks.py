"""The mark that every process of a run carries in its environment: what proves that a process is this run's, and no other's.

A number alone proves nothing: after a crash of the machine it belongs to somebody else, and a row may have come with an
archive. A mark is a random word and the identity of the run's folder (device and inode), so that a copy of the workspace,
whose folder is another, knows that the process is not its own; a workspace that is moved keeps its folders, and its runs.
"""

import secrets
from functools import cache
from pathlib import Path

import psutil

VARIABLE = "RLHF_STUDIO_RUN"
"""Of the environment. Whatever a run starts inherits it."""


def make(folder: Path) -> str:
    """A new mark for the run with this folder."""
    return f"{secrets.token_hex(8)}@{_place(folder)}"


def is_for(mark: str, folder: Path) -> bool:
    """Whether a mark was made for this very folder, and not for one of which this is a copy."""
    return mark.rpartition("@")[2] == _place(folder)


def of(process: psutil.Process) -> str:
    """The mark that a process carries; empty where it has none, or it may not be looked at."""
    try:
        return process.environ().get(VARIABLE, "")
    except (psutil.Error, OSError):
        return ""


@cache
def boot() -> str:
    """This start of this machine: a process of another one is gone, or elsewhere."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{psutil.boot_time():.0f}"


def _place(folder: Path) -> str:
    """Device and inode; empty where there is no such folder."""
    try:
        found = folder.stat()
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"
