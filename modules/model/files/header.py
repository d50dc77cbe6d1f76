"""The head of a safetensors file: a length, then a table of its tensors as JSON."""

import json
from pathlib import Path
from typing import Any

LARGEST_HEADER = 100_000_000
"""Bytes; the format allows no more."""


def read_header(file: Path) -> tuple[dict[str, Any], int] | None:
    """Return the table of tensors, by name, and where the numbers start; None for any other kind of file."""
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if size > min(LARGEST_HEADER, file.stat().st_size):
            return None
        try:
            table = json.loads(stream.read(size))
        except (ValueError, RecursionError):
            return None
    if not isinstance(table, dict):
        return None
    table.pop("__metadata__", None)
    return table, 8 + size


def is_whole(file: Path) -> bool:
    """Return whether the file is as long as its head says; the weights themselves are checked when they are loaded."""
    found = read_header(file)
    if found is None:
        return False
    table, start = found
    try:
        end = max((tensor["data_offsets"][1] for tensor in table.values()), default=0)
        return file.stat().st_size == start + end
    except (KeyError, TypeError, AttributeError, IndexError):
        return False
