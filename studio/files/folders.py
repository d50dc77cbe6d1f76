"""Makes folders once: never reuses a name that is on the disk, never empties a folder.

A database may be lost, or an older copy of it put back, while the folders of its runs stay. They hold weights that took
days, so an existing name is never used again, and a failed call removes only what it made itself.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

from modules.config import StageConfig
from modules.runtime.phases import Phase, during
from studio.files.sync import sync


def state() -> Path:
    """Return the folder of what the program keeps for one person on this machine, outside every workspace (XDG's state).

    Raises:
        RuntimeError: this person has no home folder.
    """
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "rlhf-studio"


def free_name(parent: Path, stem: str, number: int, taken: set[str]) -> str:
    """Return the first of stem-number, stem-(number + 1), ... that is neither among `taken` nor on the disk."""
    while (name := f"{stem}-{number}") in taken or os.path.lexists(parent / name):
        number += 1
    return name


def make_run(path: Path, config: StageConfig, rows: dict[str, list[dict[str, Any]]], rows_from: Path | None) -> None:
    """Make a run's folder with its config and frozen rows; `rows_from` is a run folder to take them from instead.

    Raises:
        OSError: it cannot be written, or exists already; the call leaves nothing of its own, and changes nothing else.
    """
    path.parent.mkdir(exist_ok=True)
    path.mkdir()
    try:
        (path / "config.json").write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if rows_from:
            shutil.copytree(rows_from / "data", path / "data")
        else:
            _write_rows(path / "data", rows)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


@during(Phase.SAVING)
def write(folder: Path, fill: Callable[[Path], object]) -> Path:
    """Make a folder with the contents that `fill(path)` writes: it appears complete and synced, or not at all.

    Returns:
        Its path: `folder`, or, where that is taken (by a save whose row was never written), the same with a number.
    """
    temporary = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}.part")
    temporary.mkdir(parents=True)
    try:
        fill(temporary)
        for path in [*temporary.rglob("*"), temporary]:
            sync(path)
        place = next(place for place in _places(folder) if not os.path.lexists(place))
        temporary.rename(place)
        sync(place.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return place


def _places(folder: Path) -> Iterable[Path]:
    yield folder
    number = 2
    while True:
        yield folder.with_name(f"{folder.name}-{number}")
        number += 1


def _write_rows(folder: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    folder.mkdir()
    for part, lines in rows.items():
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"{part}.jsonl").write_text(text, encoding="utf-8")
