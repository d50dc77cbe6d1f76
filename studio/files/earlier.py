"""Bounds the exports that were put aside: of those that are still as they were written, the last seven stay.

What was written is remembered by sizes and times in a file next to the folder. An export that somebody changed, or that
another version wrote, is never removed.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

KEEP = 7


def bound(path: Path) -> None:
    """Remember that the file or folder was written just now, and remove the oldest of those put aside for it."""
    with suppress(OSError):  # the export itself is there, which counts
        record = path.parent.with_name(f".{path.parent.name}-written")
        known = {_state(path), *_read(record)}
        for each in [aside for aside in _put_aside(path) if _state(aside) in known][:-KEEP]:
            shutil.rmtree(each) if each.is_dir() else each.unlink()
        left = known & {_state(each) for each in path.parent.iterdir()}
        record.write_text("".join(f"{state}\n" for state in sorted(left)), encoding="ascii")


def _put_aside(path: Path) -> list[Path]:
    """Return what `whole.place` put aside for this name, oldest first."""
    stem, suffix = (path.name, "") if path.is_dir() else (path.stem, path.suffix)
    name = re.compile(rf"{re.escape(stem)}-earlier-(\d+){re.escape(suffix)}")
    found = [(int(match[1]), each) for each in path.parent.iterdir() if (match := name.fullmatch(each.name))]
    return [each for _, each in sorted(found)]


def _state(path: Path) -> str:
    """Return a digest of sizes and times of all files, under which a rename changes nothing and a write does."""
    return hashlib.sha256(json.dumps(sorted(_files(path, path))).encode()).hexdigest()


def _files(path: Path, root: Path) -> Iterator[tuple[str, int, int]]:
    found = path.lstat()
    yield path.relative_to(root).as_posix(), 0 if path.is_dir() else found.st_size, found.st_mtime_ns
    if path.is_dir() and not path.is_symlink():
        for each in path.iterdir():
            yield from _files(each, root)


def _read(record: Path) -> list[str]:
    try:
        return record.read_text(encoding="ascii").split()
    except (FileNotFoundError, UnicodeDecodeError):
        return []
