"""Reads raw rows from a file, a folder, or a data set of the Hugging Face hub. `row_formats` interprets them.

A file with any damage is refused as a whole, with the file, the line and the cause: half a data set is worse than none.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.model import hub
from studio.datasets import archive, columns, files, json_rows, tables
from studio.datasets.files import MAX_GIB as MAX_GIB
from studio.datasets.row_formats import COLUMNS, split_name
from studio.errors import ImportRefused
from studio.models.base_models import instead
from studio.redaction import redact

HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?")
NOT_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
MOST_NAMED = 5


@dataclass(frozen=True)
class Part:
    """The rows of a file, or of a split of a data set; `split` only where it tells its parts apart."""

    name: str
    columns: list[str]
    rows: list[dict[str, Any]]
    split: str | None = None


@dataclass(frozen=True)
class RawData:
    """The contents of a source; `sha256` is of a file's raw bytes, or of the rows of a data set.

    `notes` are sentences about what was left out.
    """

    name: str
    sha256: str
    parts: list[Part]
    notes: tuple[str, ...] = ()


def read(source: str, max_gib: float = MAX_GIB) -> RawData:
    """Read a file, a folder (of data files, or written by `datasets.save_to_disk`), or a hub id (owner/name[:config]).

    A file that holds more than `max_gib` GiB when unpacked is refused.

    Raises:
        ImportRefused: it is missing, damaged, or of no known type.
    """
    if "://" in source:
        raise ImportRefused(
            f"{redact(source)!r} is an address, and data is not read from addresses. {instead(source, 'Anthropic/hh-rlhf')}"
        )
    if not source.strip():
        raise ImportRefused(
            "No file is named. Give the path of a file or a folder, or a hub id; the folder you are in is written as a dot."
        )
    path = Path(source).expanduser()
    try:
        if path.is_file():
            return RawData(path.name, _sha256(path), [_read_file(path, path.name, max_gib)])
        if path.is_dir():
            return _read_folder(path, max_gib)
        if path.exists():
            raise ImportRefused(
                f"{source} is not a regular file but a pipe or a device. Give the path of a file or a folder."
            )
    except OSError as error:
        raise ImportRefused(
            f"{source} cannot be read: {error.strerror or error}. Check the file and its permissions."
        ) from error
    except MemoryError as error:
        raise ImportRefused(
            f"{path.name} does not fit into this machine's memory. Nothing was imported; split the file."
        ) from error
    hub_id = HUB_ID.fullmatch(source)
    if hub_id and not files.is_type(source):
        return _read_hub(hub_id[1], hub_id[2])
    raise ImportRefused(
        f"There is no file or folder {source}. Give the path of a .jsonl, .json, .csv, .tsv or .parquet file, "
        "a folder, or a hub id such as Anthropic/hh-rlhf."
    )


def _read_folder(path: Path, max_gib: float) -> RawData:
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        import datasets

        try:
            return _from_datasets(path.name, datasets.load_from_disk(str(path)))
        except (ValueError, OSError) as error:
            raise ImportRefused(f"The data set in {path} is damaged: {error}. Save it again.") from error
    there = [file for file in sorted(path.rglob("*")) if file.is_file() and not _is_beside(file.relative_to(path))]
    found = [file for file in there if files.is_type(file.name)]
    left_out = [file.relative_to(path).as_posix() for file in there if not files.is_type(file.name)]
    if not found:
        raise ImportRefused(
            f"The folder {path} holds no data files. Known types: {', '.join(files.TYPES)}.{_left_out(left_out)}"
        )
    names = [file.relative_to(path).as_posix() for file in found]
    splits = [_split_of_file(name) for name in names]
    tells_apart = len(set(splits)) > 1
    parts = [
        _read_file(file, name, max_gib, split if tells_apart else None)
        for file, name, split in zip(found, names, splits, strict=True)
    ]
    lines = "".join(f"{name} {_sha256(file)}\n" for file, name in zip(found, names, strict=True))
    note = _left_out(left_out).strip()
    return RawData(path.name, hashlib.sha256(lines.encode()).hexdigest(), parts, (note,) if note else ())


def _is_beside(path: Path) -> bool:
    """Return whether a file is next to data and holds none: hidden, a description, a licence."""
    is_hidden = any(part.startswith(".") for part in path.parts)
    return is_hidden or path.name in NOT_DATA or not files.may_hold_data(path)


def _left_out(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f" Left out, since their type is not known: {', '.join(names[:MOST_NAMED])}{more}."


def _split_of_file(name: str) -> str | None:
    """Return the split named in train-00000.parquet, data/test.jsonl or helpful.valid.csv; None for words.csv."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((split for word in reversed(words) if (split := split_name(word))), None)


def _read_hub(name: str, config: str | None) -> RawData:
    import datasets  # takes seconds to import, and is only needed here
    from datasets import config as switches
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    try:
        with hub.asked(switches, constants):
            found = datasets.load_dataset(name, config)
    except DatasetNotFoundError as error:
        raise ImportRefused(
            f"The hub has no data set {name} that is open to you. Check the spelling; a gated one needs `hf auth login`."
        ) from error
    except (OSError, HfHubHTTPError) as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImportRefused(
            f"There is no folder {name} here, and the data set could not be fetched from the hub: {cause}. "
            "Check the network, or give the path of a local file."
        ) from error
    except (ValueError, RuntimeError, DatasetsError) as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImportRefused(
            f"The hub's data set {name} cannot be loaded: {cause} A configuration is given as {name}:config."
        ) from error
    return _from_datasets(f"{name}:{config}" if config else name, found)


def _from_datasets(name: str, found: Any) -> RawData:
    """Return the rows of a `datasets` Dataset or DatasetDict, only of the columns that are read."""
    splits: Mapping[str, Any] = found if isinstance(found, Mapping) else {"": found}
    parts = []
    digest = hashlib.sha256()
    for split, data in splits.items():
        written = list(data.column_names)
        named = columns.names(written, split or name)
        wanted = {old: new for old, new in zip(written, named, strict=True) if new in COLUMNS}
        rows = data.select_columns(list(wanted)).rename_columns(wanted).to_list()
        digest.update(json.dumps([split, rows], default=str, sort_keys=True).encode())
        parts.append(Part(split, named, rows, split_name(split) if len(splits) > 1 else None))
    return RawData(name, digest.hexdigest(), parts)


def _read_file(path: Path, name: str, max_gib: float, split: str | None = None) -> Part:
    """Read one file by the ending of its name.

    Raises:
        ImportRefused: empty, damaged or of no known type; names file, line and cause.
    """
    if archive.is_archive(path):
        raise ImportRefused(f"{name} is an archive of a workspace, not a list of rows. Import this file alone.")
    if path.stat().st_size == 0:
        raise ImportRefused(f"{name} is empty. Nothing was imported; check that the file was written completely.")
    if files.is_type(name, files.PARQUET):
        named, rows = tables.read_parquet(path, name, max_gib)
    elif files.is_type(name, files.JSON_LINES):
        rows = json_rows.lines(files.text(path, name, max_gib), name)
        named = columns.of_rows(rows)
    elif files.is_type(name, files.JSON):
        rows = json_rows.document(files.text(path, name, max_gib), name)
        named = columns.of_rows(rows)
    elif files.is_type(name, files.TABLES):
        named, rows = tables.read_csv(files.text(path, name, max_gib), name)
    else:
        raise ImportRefused(f"{name} is not of a known type. Known types: {', '.join(files.TYPES)}.")
    if not rows:
        raise ImportRefused(f"{name} holds no rows. Nothing was imported; check that the file was written completely.")
    return Part(name, named, rows, split)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
