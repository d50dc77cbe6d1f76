"""Looks for weights that are no numbers in a base model's files, before a run is made, without torch.

A child process streams the files, ``python -m studio.models.finite FOLDER SECONDS``: first the ends of each tensor, then
all of it, until its seconds are over; a small model is always read whole. What it did not come to is met when the model
is loaded.
"""

import json
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from modules.model.files.header import read_header
from studio import children
from studio.children import ChildError
from studio.errors import BaseModelError

LIMIT_S = 5.0
BLOCK = 2**22
"""Bytes."""
ALWAYS = 2**28
"""Bytes that are read whatever the clock says: a busy machine is no reason to miss a weight of a small model."""
EXPONENTS = {"F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80), "F32": ("<u4", 0x7F800000), "F64": ("<u8", 0x7FF << 52)}
"""How a number of this format is read, and its bits that are all set in NaN and infinity only."""


def check(folder: Path) -> None:
    """Refuse a model in whose files a weight that is NaN or infinite was found within `LIMIT_S` seconds.

    Raises:
        BaseModelError: there is one; its name is told.
    """
    files = sorted(folder.glob("*.safetensors"))
    if name := _first(folder, tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in files)):
        raise BaseModelError(
            f"The model in {folder} is damaged: its weights {name} hold NaN or infinity, so its outputs would not be finite. "
            "Fetch it again, or choose another model."
        )


@lru_cache(maxsize=64)
def _first(folder: Path, _: Any) -> str:
    try:
        return children.ask("studio.models.finite", None, str(folder), f"{LIMIT_S:g}", timeout_s=20 * LIMIT_S)
    except ChildError:
        return ""  # the worker looks too


def find(folder: Path, limit_s: float) -> str:
    """Return the name of a tensor that holds a number that is not finite; empty where none was met in time."""
    deadline = time.monotonic() + limit_s
    tensors = [each for file in sorted(folder.glob("*.safetensors")) for each in _tensors(file)]
    num_read = 0
    for is_whole in (False, True):
        for name, file, dtype, start, end in tensors:
            for block in _blocks(start, end, is_whole):
                if num_read >= ALWAYS and time.monotonic() > deadline:
                    return ""
                num_read += block[1] - block[0]
                if _has_other(file, dtype, *block):
                    return name
    return ""


def _tensors(file: Path) -> Iterator[tuple[str, Path, str, int, int]]:
    table, first = read_header(file) or ({}, 0)
    for name, tensor in table.items():
        if tensor["dtype"] in EXPONENTS:
            start, end = tensor["data_offsets"]
            yield name, file, tensor["dtype"], first + start, first + end


def _blocks(start: int, end: int, is_whole: bool) -> Iterator[tuple[int, int]]:
    """Yield stretches of a tensor: its two ends, or all of it."""
    size = BLOCK if is_whole else BLOCK // 64
    for at in range(start, end, size) if is_whole else {start, max(start, end - size)}:
        yield at, min(end, at + size)


def _has_other(file: Path, dtype: str, start: int, end: int) -> bool:
    import numpy as np  # only in the child: the page's process does without

    kind, exponent = EXPONENTS[dtype]
    numbers = np.fromfile(file, dtype=kind, count=(end - start) // np.dtype(kind).itemsize, offset=start)
    mask = numbers.dtype.type(exponent)
    return bool(((numbers & mask) == mask).any())


if __name__ == "__main__":
    print(json.dumps(find(Path(sys.argv[1]), float(sys.argv[2]))))
