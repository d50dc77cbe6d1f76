"""Writes exported files and folders: complete or not at all, an earlier one that differs is put aside."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from studio.files import whole


def write_text(path: Path, texts: Iterable[str]) -> Path:
    """Write the file as its parts come.

    Raises:
        WorkspaceError: it cannot be written.
    """

    def write(part: Path) -> None:
        with part.open("x", encoding="utf-8") as file:
            file.writelines(texts)

    return write_part(path, write)


def write_folder(path: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a new folder, then give it its name.

    Raises:
        WorkspaceError: it cannot be written.
    """

    def fill(part: Path) -> None:
        part.mkdir(parents=True)
        write(part)

    return write_part(path, fill)


def write_part(path: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` make a file or folder under a temporary name, then rename it.

    Raises:
        WorkspaceError: it cannot be written.
    """
    with whole.exported(path) as part:
        write(part)
    return path


def json_text(value: Any) -> str:
    """Return a value as an indented JSON file."""
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
