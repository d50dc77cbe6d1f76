"""Reads raw rows: from a file, a folder, or a data set of the Hugging Face hub. What the rows mean is `row_formats`.

A file that is damaged in one place is refused as a whole, with the file, the line and the cause: half a data set is
worse than none.
"""

import csv
import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio import archive
from studio.base_models import instead
from studio.confidential import hide
from studio.errors import ImportRefused
from studio.row_formats import COLUMNS, split_name

HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?")
FILE_TYPES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")
NOT_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
LONGEST_CELL = 2**31 - 1


@dataclass(frozen=True)
class Part:
    """The rows of one file, or of one split of a data set; `split` only where it tells its parts apart."""

    name: str
    columns: list[str]
    rows: list[dict[str, Any]]
    split: str | None = None


@dataclass(frozen=True)
class RawData:
    """Everything a source holds; `sha256` is of a file's raw bytes, or of the rows of a data set."""

    name: str
    sha256: str
    parts: list[Part]


def read(source: str) -> RawData:
    """Read a file, a folder (of data files, or written by `datasets.save_to_disk`), or a hub id (owner/name[:config]).

    Raises:
        ImportRefused: it is not there, damaged, or of no known type.
    """
    if "://" in source:
        raise ImportRefused(
            f"{hide(source)!r} is an address, and data is not read from there. {instead(source, 'Anthropic/hh-rlhf')}"
        )
    path = Path(source).expanduser()
    try:
        if path.is_file():
            return RawData(path.name, _sha256(path), [_read_file(path, path.name)])
        if path.is_dir():
            return _read_folder(path)
    except OSError as error:
        raise ImportRefused(
            f"{source} cannot be read: {error.strerror or error}. Check the file and its permissions."
        ) from error
    hub_id = HUB_ID.fullmatch(source)
    if hub_id and not source.endswith(FILE_TYPES):
        return _read_hub(hub_id[1], hub_id[2])
    raise ImportRefused(
        f"There is no file or folder {source}. Give the path of a .jsonl, .json, .csv or .parquet file, "
        "a folder, or a hub id such as Anthropic/hh-rlhf."
    )


def _read_folder(path: Path) -> RawData:
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        import datasets

        try:
            return _from_datasets(path.name, datasets.load_from_disk(str(path)))
        except (ValueError, OSError) as error:
            raise ImportRefused(f"The data set in {path} is damaged: {error}. Save it again.") from error
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and _is_data(file.relative_to(path))]
    if not files:
        raise ImportRefused(f"The folder {path} holds no data files. Known types: {', '.join(FILE_TYPES)}.")
    names = [file.relative_to(path).as_posix() for file in files]
    splits = [_split_of_file(name) for name in names]
    tells_apart = len(set(splits)) > 1
    parts = [
        _read_file(file, name, split if tells_apart else None)
        for file, name, split in zip(files, names, splits, strict=True)
    ]
    lines = "".join(f"{name} {_sha256(file)}\n" for file, name in zip(files, names, strict=True))
    return RawData(path.name, hashlib.sha256(lines.encode()).hexdigest(), parts)


def _is_data(path: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in path.parts)
    return path.name.endswith(FILE_TYPES) and path.name not in NOT_DATA and not is_hidden


def _split_of_file(name: str) -> str | None:
    """train-00000.parquet, data/test.jsonl and helpful.valid.csv name their split; words.csv does not."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((split for word in reversed(words) if (split := split_name(word))), None)


def _read_hub(name: str, config: str | None) -> RawData:
    import datasets  # seconds to import, and only needed here
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    try:
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
    """The rows of a `datasets` Dataset or DatasetDict, only of the columns that are read."""
    splits: Mapping[str, Any] = found if isinstance(found, Mapping) else {"": found}
    parts = []
    digest = hashlib.sha256()
    for split, data in splits.items():
        columns = list(data.column_names)
        rows = data.select_columns([column for column in columns if column in COLUMNS]).to_list()
        digest.update(json.dumps([split, rows], default=str, sort_keys=True).encode())
        parts.append(Part(split, columns, rows, split_name(split) if len(splits) > 1 else None))
    return RawData(name, digest.hexdigest(), parts)


def _read_file(path: Path, name: str, split: str | None = None) -> Part:
    """Read one file by the ending of its name.

    Raises:
        ImportRefused: empty, damaged or of no known type; names file, line and cause.
    """
    if archive.is_archive(path):
        raise ImportRefused(f"{name} is an archive of a workspace and no list of rows. Import this file alone.")
    if path.stat().st_size == 0:
        raise ImportRefused(f"{name} is empty. Nothing was imported; check that the file was written completely.")
    if name.endswith(".parquet"):
        columns, rows = _parquet(path, name)
    elif name.endswith((".jsonl", ".jsonl.gz")):
        rows = _json_lines(_text(path, name), name)
        columns = _columns(rows)
    elif name.endswith((".json", ".json.gz")):
        rows = _json(_text(path, name), name)
        columns = _columns(rows)
    elif name.endswith((".csv", ".csv.gz")):
        columns, rows = _csv(_text(path, name), name)
    else:
        raise ImportRefused(f"{name} is of no known type. Known are {', '.join(FILE_TYPES)}.")
    if not rows:
        raise ImportRefused(f"{name} holds no rows. Nothing was imported; check that the file was written completely.")
    return Part(name, columns, rows, split)


def _text(path: Path, name: str) -> str:
    """The file's text, unpacked."""
    raw = path.read_bytes()
    if name.endswith(".gz"):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise ImportRefused(f"{name} is not a whole gzip file ({error}). Download or pack it again.") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ImportRefused(
            f"{name}, line {line}: the text is not UTF-8. Nothing was imported; save it as UTF-8."
        ) from error


def _json_lines(text: str, name: str) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            cause = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise ImportRefused(
                f"{name}, line {number}: broken JSON ({cause}). Nothing was imported; mend this line and try again."
            ) from error
        if not isinstance(row, dict):
            raise ImportRefused(
                f"{name}, line {number}: holds a {_json_type(row)} where an object with named columns is needed. Nothing was imported."
            )
        rows.append(row)
    return rows


def _json(text: str, name: str) -> list[dict[str, Any]]:
    """A list of objects, an object that holds one such list, or, as many .json files are, one object a line."""
    if not text.strip():
        return []
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("{") and isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            return _json_lines(text, name)
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        cause = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise ImportRefused(
            f"{name}{line}: broken JSON ({cause}). Nothing was imported; mend it and try again."
        ) from error
    if isinstance(data, dict):
        lists = [value for value in data.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        is_row = any(column in data for column in COLUMNS)
        data = [data] if is_row or len(lists) != 1 else lists[0]
    if not isinstance(data, list):
        raise ImportRefused(
            f"{name} holds a {_json_type(data)} where a list of objects is needed. Nothing was imported."
        )
    for number, row in enumerate(data, start=1):
        if not isinstance(row, dict):
            raise ImportRefused(
                f"{name}, entry {number}: holds a {_json_type(row)} where an object with named columns is needed. Nothing was imported."
            )
    return data


def _csv(text: str, name: str) -> tuple[list[str], list[dict[str, Any]]]:
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows = []
    try:
        for row in reader:
            if None in row:
                raise ImportRefused(
                    f"{name}, line {reader.line_num}: has more cells than the header has columns. Nothing was imported; "
                    "put texts with commas into double quotes."
                )
            rows.append(row)
    except csv.Error as error:
        raise ImportRefused(f"{name}, line {reader.line_num}: broken CSV ({error}). Nothing was imported.") from error
    return list(reader.fieldnames or []), rows


def _parquet(path: Path, name: str) -> tuple[list[str], list[dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = pq.read_schema(path).names
        rows = pq.read_table(path, columns=[column for column in columns if column in COLUMNS]).to_pylist()
    except (pa.ArrowException, OSError) as error:
        cause = str(error).splitlines()[0]
        raise ImportRefused(f"{name} is not a whole Parquet file ({cause}). Download or write it again.") from error
    return columns, rows


def _columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _json_type(value: Any) -> str:
    return {list: "list", str: "text", bool: "truth value", dict: "object"}.get(
        type(value), "number" if value is not None else "null"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
