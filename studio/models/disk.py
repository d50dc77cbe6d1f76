"""Measures what runs and checkpoints take on the disk, by `stat` alone: no file is opened, and no link is followed.

The bytes are those that the file system has given, which for a sparse or compressed file are fewer than its length. A file
with several names (a hard link) is counted once, and its deletion gives back nothing while another name is left. The base
model is no part of a LoRA checkpoint, and is not counted: it lies where it came from, and all checkpoints share it.
"""

import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path


def files(folder: Path) -> Iterator[Path]:
    """Yield the files and links in a folder and below it, in order; a link to a folder is not entered."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from files(Path(entry.path))
        else:
            yield Path(entry.path)


def taken(*folders: Path) -> int:
    """Return the bytes that folders take together; 0 where there are none, or where they are links."""
    inodes = {
        (found.st_dev, found.st_ino): found
        for folder in folders
        if not folder.is_symlink()
        for found in _stats(files(folder))
    }
    return sum(_bytes(found) for found in inodes.values())


def summary(root: Path, runs: Path) -> str:
    """Say what a workspace takes, what its runs take of that, and how much is free."""
    free = words(shutil.disk_usage(root).free)
    return f"This workspace takes {words(taken(root))}, {words(taken(runs))} of it in runs; {free} are free."


def given_back(paths: Iterable[Path]) -> int:
    """Return the bytes that become free once these files are deleted."""
    found = list(_stats(paths))
    names = Counter((each.st_dev, each.st_ino) for each in found)
    inodes = {(each.st_dev, each.st_ino): each for each in found}
    return sum(_bytes(each) for inode, each in inodes.items() if names[inode] >= each.st_nlink)


def remove(root: Path, folder: Path, names: Iterable[str]) -> tuple[int, list[str]]:
    """Delete files of a folder below `root`, by their names in it, and the folders that this leaves empty.

    What is reached through a link is left alone, and so is everything that is not named. A name that is gone is skipped, so
    that a deletion that was cut off can be done again.

    Returns:
        The bytes given back, and for each file that could not be deleted its path with the reason.
    """
    freed, failed = 0, []
    emptied = {folder}
    for name in names:
        path = folder / name
        emptied |= {parent for parent in path.parents if folder in parent.parents}
        if not is_plain(root, path.parent):
            continue
        try:
            found = path.lstat()
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            failed.append(f"{path.relative_to(root)} ({error.strerror})")
            continue
        freed += _bytes(found) if found.st_nlink == 1 else 0
    for each in sorted(emptied, key=lambda path: len(path.parts), reverse=True):
        if is_plain(root, each):
            _remove_if_empty(each)
    return freed, failed


def is_plain(root: Path, folder: Path) -> bool:
    """Return whether a path below `root` leads through folders only, none of them a link, so that it stays in there."""
    if ".." in folder.parts or not folder.is_relative_to(root):
        return False
    path = root
    for part in folder.relative_to(root).parts:
        path = path / part
        try:
            if not stat.S_ISDIR(path.lstat().st_mode):
                return False
        except OSError:
            return False
    return True


def words(size: int) -> str:
    """Return a size for people: 812 KiB, 1.4 MiB, 3.0 GiB."""
    for unit, limit in (("KiB", 2**20), ("MiB", 2**30)):
        if size < limit:
            value = size / (limit // 2**10)
            return f"{value:.0f} {unit}" if unit == "KiB" or value >= 100 else f"{value:.1f} {unit}"
    return f"{size / 2**30:,.1f} GiB"


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # something is left in it, which is not ours, or it is gone
        folder.rmdir()


def _stats(paths: Iterable[Path]) -> Iterator[os.stat_result]:
    for path in paths:
        try:
            yield path.lstat()
        except OSError:
            continue


def _bytes(found: os.stat_result) -> int:
    return found.st_blocks * 512
