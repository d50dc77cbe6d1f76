"""Writes next to the target, then renames: complete or not at all; an earlier file is put aside, not deleted.

An export may be all that is left of a workspace whose database was lost, or hold what a person added to it.
"""

import filecmp
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from studio.errors import WorkspaceError
from studio.files import earlier
from studio.files.folders import free_name


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yield a free name next to `path` to write to first; remove what is left there at the end."""
    part = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        yield part
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


@contextmanager
def exported(path: Path) -> Iterator[Path]:
    """Yield a free name to write an export to, file or folder; give it the name `path` when the block has ended.

    Raises:
        WorkspaceError: it cannot be written; what stands there stays.
    """
    try:
        with beside(path) as part:
            yield part
            place(part, path)
            earlier.bound(path)
    except OSError as error:
        cause = error.strerror or str(error)
        raise WorkspaceError(
            f"The export {path.name} could not be written: {cause}. Free some space and try again."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text, synced to the disk, under a temporary name first; an existing file that differs is put aside.

    Raises:
        OSError: it cannot be written.
    """
    with beside(path) as part:
        with part.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        place(part, path)


def place(part: Path, path: Path) -> Path:
    """Rename `part` to `path`, and return it; an existing one that differs is first renamed to NAME-earlier-1, -2, ...

    Raises:
        OSError: it cannot be renamed.
    """
    if os.path.lexists(path) and not _is_same(part, path):
        path.rename(_aside(path))
    elif path.is_dir():
        return path  # same content
    return part.replace(path)


def _aside(path: Path) -> Path:
    stem, suffix = (path.stem, path.suffix) if path.is_file() else (path.name, "")
    taken = re.compile(rf"{re.escape(stem)}-earlier-(\d+)\b")
    numbers = [int(match[1]) for each in path.parent.iterdir() if (match := taken.match(each.name))]
    number = max(numbers, default=0) + 1  # so that the order of the numbers is that of the times
    while os.path.lexists(
        free := path.with_name(f"{free_name(path.parent, f'{stem}-earlier', number, set())}{suffix}")
    ):
        number += 1
    return free


def _is_same(one: Path, other: Path) -> bool:
    if one.is_symlink() or other.is_symlink():
        return False
    if one.is_file() and other.is_file():
        return filecmp.cmp(one, other, shallow=False)
    if not (one.is_dir() and other.is_dir()):
        return False
    names = {path.name for path in one.iterdir()}
    return names == {path.name for path in other.iterdir()} and all(
        _is_same(one / name, other / name) for name in names
    )
