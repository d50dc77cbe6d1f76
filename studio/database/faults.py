"""Recognises what is wrong with the database in SQLite's errors: a lock, a full or read-only disk, a damaged file."""

import sqlite3

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


def explain(error: Exception, name: str, patience_s: float) -> str:
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
