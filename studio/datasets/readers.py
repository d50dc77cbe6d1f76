"""Opens a file, a folder, a zip file or a data set of the Hugging Face hub, and yields its raw rows. `formats` interprets them.

JSONL and Parquet are read row by row, so that they need no more memory than a row or a batch. A file with any damage is
refused as a whole, with the file, the line and the cause: half a data set is worse than none.
"""

import hashlib
import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

from modules.model import hub
from studio.datasets import archive, columns, files, json_rows, mapping, tables
from studio.datasets.files import MAX_GIB as MAX_GIB
from studio.datasets.files import Meter
from studio.datasets.mapping import Mapped
from studio.datasets.splits import split_name
from studio.errors import ImportRefused
from studio.models.base_models import instead
from studio.redaction import redact

HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?(?::([\w.\[\]%+-]+))?")
NOT_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
MOST_NAMED = 5
LOOK_AT = 100
"""Rows by which a format is recognised."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """The rows of a file, or of a split of a data set; `split` only where it tells its parts apart.

    Attributes:
        name: the file's name, or the split's.
        rows: opens the part and yields its rows; each call begins again.
        split: the split that its name tells.
        mapped: which columns mean what, where a description next to the file says so.
        meter: how far the rows were read.
    """

    name: str
    rows: Callable[[], Iterator[Row]]
    split: str | None = None
    mapped: Mapped | None = None
    meter: Meter = field(default_factory=Meter)

    @cached_property
    def sample(self) -> list[Row]:
        """The first rows."""
        return list(islice(self.rows(), LOOK_AT))

    @property
    def columns(self) -> list[str]:
        """The columns of the first rows."""
        return columns.of_rows(self.sample)


@dataclass(frozen=True)
class RawData:
    """The contents of a source; `sha256` is of a file's raw bytes, or of the rows of a data set.

    `notes` are sentences about what was left out.
    """

    name: str
    sha256: str
    parts: list[Part]
    notes: tuple[str, ...] = ()


@contextmanager
def opened(source: str, max_gib: float = MAX_GIB) -> Iterator[RawData]:
    """Open a source as `read` does; a zip file is unpacked for as long as the block lasts.

    Raises:
        ImportRefused: as `read`.
    """
    path = Path(source).expanduser()
    if not files.is_type(path.name, files.ZIP) or not path.is_file():
        yield read(source, max_gib)
        return
    with tempfile.TemporaryDirectory(prefix="rlhf-studio-import-") as folder:
        _unpack(path, Path(folder), max_gib)
        found = _read_folder(Path(folder), max_gib, path.name)
        yield RawData(path.name, _sha256(path), found.parts, found.notes)


def read(source: str, max_gib: float = MAX_GIB) -> RawData:
    """Read a file, a folder (of data files, or written by `datasets.save_to_disk`), or a hub id (owner/name[:config[:split]]).

    A file of which more than `max_gib` GiB would be held in memory is refused.

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
            return _read_folder(path, max_gib, str(path))
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
        return _read_hub(hub_id[1], hub_id[2], hub_id[3])
    raise ImportRefused(
        f"There is no file or folder {source}. Give the path of a .jsonl, .json, .csv, .tsv, .parquet or .zip file, "
        "a folder, or a hub id such as Anthropic/hh-rlhf."
    )


def _unpack(path: Path, folder: Path, max_gib: float) -> None:
    """Unpack a zip file's data files into a folder, within the bound."""
    try:
        with zipfile.ZipFile(path) as packed:
            files.check_size(path.name, sum(each.file_size for each in packed.infolist()), max_gib)
            for each in packed.infolist():
                if not each.is_dir() and not each.filename.startswith("__MACOSX"):
                    packed.extract(each, folder)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise ImportRefused(f"{path.name} cannot be unpacked ({error}). Download or pack it again.") from error


def _read_folder(path: Path, max_gib: float, told: str) -> RawData:
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
            f"{'The folder ' if path.is_dir() and told == str(path) else ''}{told} holds no data files. Known types: {', '.join(files.TYPES)}.{_left_out(left_out)}"
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


def _read_hub(name: str, config: str | None, split: str | None) -> RawData:
    import datasets  # takes seconds to import, and is only needed here
    from datasets import config as switches
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    try:
        with hub.asked(switches, constants):
            found = datasets.load_dataset(name, config, split=split) if split else datasets.load_dataset(name, config)
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
    return _from_datasets(":".join(filter(None, (name, config, split))), found)


def _from_datasets(name: str, found: Any) -> RawData:
    """Return the rows of a `datasets` Dataset or DatasetDict."""
    splits: Mapping[str, Any] = found if isinstance(found, Mapping) else {"": found}
    parts = []
    digest = hashlib.sha256()
    for split, data in splits.items():
        written = list(data.column_names)
        named = columns.names(written, split or name)
        data = data.rename_columns({old: new for old, new in zip(written, named, strict=True) if old != new})
        for row in data:
            digest.update(json.dumps([split, row], default=str, sort_keys=True).encode())
        parts.append(Part(split, partial(iter, data), split_name(split) if len(splits) > 1 else None))
    return RawData(name, digest.hexdigest(), parts)


def _read_file(path: Path, name: str, max_gib: float, split: str | None = None) -> Part:
    """Open one file by the ending of its name.

    Raises:
        ImportRefused: empty, damaged or of no known type; names file, line and cause.
    """
    if archive.is_archive(path):
        raise ImportRefused(f"{name} is an archive of a workspace, not a list of rows. Import this file alone.")
    if path.stat().st_size == 0:
        raise ImportRefused(f"{name} is empty. Nothing was imported; check that the file was written completely.")
    meter = Meter(total=path.stat().st_size)
    if files.is_type(name, files.PARQUET):
        rows = partial(tables.read_parquet, path, name, max_gib)
    elif files.is_type(name, files.JSON_LINES):
        rows = partial(json_rows.stream, path, name, max_gib, meter)
    elif files.is_type(name, files.JSON):
        rows = partial(iter, json_rows.document(files.text(path, name, max_gib), name))
    elif files.is_type(name, files.TABLES):
        rows = partial(iter, tables.read_csv(files.text(path, name, max_gib), name)[1])
    else:
        raise ImportRefused(f"{name} is not of a known type. Known types: {', '.join((*files.TYPES, *files.ZIP))}.")
    part = Part(name, rows, split, mapping.described(path), meter)
    if not part.sample:
        raise ImportRefused(f"{name} holds no rows. Nothing was imported; check that the file was written completely.")
    return part


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
