"""Copies a database through SQLite, as of one moment; the copy is checked, and gets its name only when complete."""

import errno
import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from uuid import uuid4

from studio.errors import WorkspaceError, WorkspaceUnavailable
from studio.files.sync import sync

MIB = 2**20


def copy(source: sqlite3.Connection, target: Path, *, is_replacing: bool = False) -> Path:
    """Write the connection's database as it is now to `target`, a single file without a -wal; returns it.

    Raises:
        WorkspaceUnavailable: it cannot be written.
        WorkspaceError: the file exists already, or the copy is not sound; no file is left then.
    """
    if target.exists() and not is_replacing:
        raise _taken(target)
    part = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_room(source, target.parent)
        with closing(sqlite3.connect(part)) as written:
            source.backup(written)
            written.execute("PRAGMA journal_mode = DELETE")
            verdict = written.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise WorkspaceError(
                f"The database is damaged ({verdict}), so no backup of it was made. Restore an earlier one, or copy what can "
                "still be read: rlhf-studio rescue NEW_FOLDER"
            )
        sync(part)
        _place(part, target, is_replacing)
        sync(target.parent)
    except (OSError, sqlite3.Error) as error:
        cause = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise WorkspaceUnavailable(
            f"The backup {target} could not be written: {cause}. Free some space, or choose another place."
        ) from error
    finally:
        with suppress(OSError):
            for name in (part.name, f"{part.name}-journal"):
                part.with_name(name).unlink(missing_ok=True)
    return target


def _check_room(source: sqlite3.Connection, folder: Path) -> None:
    pages, size = (source.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    free = shutil.disk_usage(folder).free
    if pages * size > free:
        raise OSError(errno.ENOSPC, f"it needs {pages * size / MIB:,.0f} MiB, and {free / MIB:,.0f} MiB are free")


def _place(part: Path, target: Path, is_replacing: bool) -> None:
    """Give the file its name; never replace another file created meanwhile."""
    if is_replacing:
        part.replace(target)
        return
    try:
        os.link(part, target)
    except FileExistsError:
        raise _taken(target) from None
    except OSError:  # this file system has no hard links
        if target.exists():
            raise _taken(target) from None
        part.rename(target)


def _taken(target: Path) -> WorkspaceError:
    return WorkspaceError(f"There is a file {target} already. Choose another name, or replace it with --force.")
