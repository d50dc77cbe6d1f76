"""Detects a -wal that was cut or left behind: the small -shm next to it says how many pages it should hold.

Works only before the database is opened: SQLite then takes the complete part of the -wal and rebuilds the -shm.
"""

import struct
from pathlib import Path

_HEADER = 48
_BACKFILLED = 96
_WAL_HEADER, _FRAME_HEADER = 32, 24


def num_lost_pages(database: Path) -> int:
    """Count the pages missing from the -wal that were not written back yet; 0 where none is known to be missing."""
    first = _look(database)
    return first if first and first == _look(database) else 0  # twice: another process may be writing


def _look(database: Path) -> int:
    try:
        with database.with_name(f"{database.name}-shm").open("rb") as file:
            head = file.read(_BACKFILLED + 4)
        wal = database.with_name(f"{database.name}-wal")
        size = wal.stat().st_size if wal.exists() else 0
        salt = b""
        if size >= _WAL_HEADER:
            with wal.open("rb") as file:
                salt = file.read(_WAL_HEADER)[16:24]
    except OSError:
        return 0
    if len(head) < _BACKFILLED + 4 or head[:_HEADER] != head[_HEADER : 2 * _HEADER] or not head[12]:
        return 0
    page = struct.unpack_from("=H", head, 14)[0]
    frames = struct.unpack_from("=I", head, 16)[0]
    backfilled = struct.unpack_from("=I", head, _BACKFILLED)[0]
    if salt and salt != head[32:40]:
        return 0  # from another time
    page = 65536 if page == 1 else page
    held = max(0, size - _WAL_HEADER) // (_FRAME_HEADER + page)
    return max(0, frames - max(held, backfilled))
