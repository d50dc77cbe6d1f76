"""Recognises faults of the machine in exceptions: out of memory, a disk that is full or read-only, a database that
another program holds. Libraries raise many types (safetensors its own, torch a plain RuntimeError), so the text is
read too. No torch.
"""

import errno
import re
import sqlite3

from modules import phases
from modules.phases import Phase

_NO_INDEX = sqlite3.SQLITE_IOERR_SHMSIZE
"""The small -shm file that readers need next to the database does not fit on the disk."""
_SQLITE = {
    5: "is held by another program (locked), and it did not let go in {patience:.0f} s. Close that program (a backup, a database "
    "browser, a second studio that hangs) and try again.",
    8: "cannot be written: its disk or its folder is read-only. Make it writable, or choose another workspace.",
    10: "cannot be read or written: the disk gives errors, or a file would become larger than a limit (ulimit -f) allows. Check "
    "both, then try again.",
    13: "cannot be written: the disk is full. Free some space and try again.",
    _NO_INDEX: "cannot be opened: the disk is full. Free some space and try again.",
    14: "cannot be opened. Check that its folder is there and that you may write to it.",
}
"""SQLite result codes, mostly primary ones -> message about the database."""
_DISK = {
    errno.ENOSPC: "The disk is full: free some space.",
    errno.EDQUOT: "The disk quota is used up: free some space.",
    errno.EFBIG: "A file would become larger than the disk or a limit (ulimit -f) allows: lift the limit, or use another disk.",
    errno.EROFS: "The disk is read-only: make it writable again (a faulty disk is often switched to read-only; look at dmesg).",
    errno.EACCES: "A file or folder of the run may not be written or read: fix its permissions.",
    errno.EIO: "The disk gives errors: check it and its cable before anything else.",
}
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")
_SMALLER: dict[Phase | None, str] = {
    Phase.SAVING: "Close other programs.",
    Phase.LOADING: "Close other programs, or choose nf4 or a smaller base model in a new run.",
    Phase.SAMPLING: "Close other programs, or lower rollout_batch_size or max_new_tokens in a new run.",
}
_SMALLER_STEP = "Close other programs, or lower micro_batch_size or the lengths, or turn on gradient_checkpointing or nf4, in a new run."


def of_database(error: Exception, name: str, patience_s: float) -> str:
    """Return the message for an unusable database; empty where the fault lies elsewhere (a constraint, bad SQL)."""
    code = getattr(error, "sqlite_errorcode", 0)
    said = _SQLITE.get(code) or _SQLITE.get(code & 0xFF, "")
    return f"The database {name} {said.format(patience=patience_s)}" if said else ""


def is_damage(error: Exception) -> bool:
    """Return whether the database file is damaged: a malformed page, another file's bytes, an invalid text."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    is_text = isinstance(error, UnicodeDecodeError)
    return (
        is_text
        or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        or str(error).startswith("Could not decode to UTF-8")
    )


def of_work(error: BaseException, others: str = "") -> str:
    """Return the message for a run that the machine made fail, without the next step; empty for other failures.

    Args:
        error: what was raised.
        others: a sentence about other programs that hold GPU memory.
    """
    text, phase = str(error), phases.of(error)
    doing = phase or "at work"
    if isinstance(error, MemoryError) or any(word in text.lower() for word in _MEMORY_WORDS):
        kind = "GPU memory" if "cuda" in text.lower() else "memory"
        return f"Out of {kind} while {doing}. {others or _SMALLER.get(phase, _SMALLER_STEP)}"
    number = error.errno if isinstance(error, OSError) else None
    if found := re.search(r"\(os error (\d+)\)", text):  # as Rust writes it
        number = int(found[1])
    if number in _DISK:
        return f"{_DISK[number]} It happened while {doing}."
    if type(error).__name__ == "SafetensorError":
        return (
            f"A file of weights is damaged ({text}), met while {doing}: put back a copy, or choose another checkpoint."
        )
    return ""
