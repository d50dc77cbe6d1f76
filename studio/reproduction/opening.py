"""Opens a bundle, which may come from anybody: bounded, checked by its hashes, and nothing of it is executed."""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from studio.errors import ImportRefused
from studio.reproduction.contents import FORMAT, FORMAT_MEASURED, HEAD, MEASURED, METRICS, Contents, of_file

LARGEST_HEAD = 2**24
LARGEST = 2**32
"""Bytes of the rows and of the metrics, unpacked."""
_PIECE = 2**20
_KIND = "rlhf-studio-run/"
FORMATS = (FORMAT, FORMAT_MEASURED)


class Bundle:
    """An open bundle."""

    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        self.path = path
        self._file = file
        self.contents = self._head()

    def unpack_rows(self, folder: Path) -> None:
        """Write the rows into `folder/data`, as they lie in a run's folder.

        Raises:
            ImportRefused: they are not those that the bundle names.
            OSError: they cannot be written.
        """
        (folder / "data").mkdir()
        for part, sha256 in self.contents.data.items():
            path = folder / "data" / f"{part}.jsonl"
            with path.open("xb") as out:
                for piece in self._pieces(f"data/{part}.jsonl"):
                    out.write(piece)
            if of_file(path) != sha256:
                raise ImportRefused(f"{self.path.name} is damaged or was changed: its rows {part} have another hash.")

    def check(self) -> None:
        """Read everything, and compare it with the hashes.

        Raises:
            ImportRefused: it is damaged.
        """
        wanted = {f"data/{part}.jsonl": sha256 for part, sha256 in self.contents.data.items()}
        wanted |= {METRICS: self.contents.metrics} | ({MEASURED: found} if (found := self.contents.measured) else {})
        for name, sha256 in wanted.items():
            digest = hashlib.sha256()
            for piece in self._pieces(name):
                digest.update(piece)
            if digest.hexdigest() != sha256:
                raise self._damaged(f"{name} has another hash than it names")

    def metrics(self) -> Iterator[tuple[str, int, float | None]]:
        """Yield the logged values as (name, step, value).

        Raises:
            ImportRefused: they cannot be read.
        """
        for name, step, value in self._rows(METRICS, "metrics"):
            if not isinstance(value, float | int | None):
                raise self._damaged("its metrics cannot be read")
            yield name, step, value

    def measured(self) -> Iterator[tuple[str, int, Any]]:
        """Yield what was sampled or measured as (name, place, value); nothing for a run that trained a model to keep.

        Raises:
            ImportRefused: it cannot be read.
        """
        if self.contents.measured:
            yield from self._rows(MEASURED, "results")

    def _rows(self, member: str, words: str) -> Iterator[tuple[str, int, Any]]:
        try:
            with self._open(member) as lines:
                while line := lines.readline(_PIECE):
                    name, step, value = json.loads(line)
                    if not (isinstance(name, str) and isinstance(step, int)):
                        raise ValueError("not a row")
                    yield name, step, value
        except (ValueError, OSError, zipfile.BadZipFile, zlib.error, EOFError, RecursionError) as error:
            raise self._damaged(f"its {words} cannot be read") from error

    def _head(self) -> Contents:
        text = b"".join(self._pieces(HEAD, LARGEST_HEAD))
        try:
            given = json.loads(text)
            form = given.get("format") if isinstance(given, dict) else None
            if isinstance(form, str) and form.startswith(_KIND) and form not in FORMATS:
                raise ImportRefused(
                    f"{self.path.name} was written by a newer version of RLHF Studio: update the studio."
                )
            if form not in FORMATS:
                raise self._damaged(f"its {HEAD} is not one of a bundle")
            return Contents.model_validate(given)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise self._damaged(f"{where} in its {HEAD} is not what a bundle has") from error
        except (ValueError, RecursionError) as error:
            raise self._damaged(f"its {HEAD} is not JSON") from error

    def _pieces(self, name: str, most: int = LARGEST) -> Iterator[bytes]:
        """Yield a member in pieces, and refuse one that unpacks to more than it may."""
        taken = 0
        try:
            with self._open(name) as member:
                while piece := member.read(_PIECE):
                    taken += len(piece)
                    if taken > most:
                        raise self._damaged(f"{name} unpacks to more than {most / 2**30:.2g} GiB")
                    yield piece
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise self._damaged(f"{name} cannot be unpacked ({error})") from error

    def _open(self, name: str) -> IO[bytes]:
        try:
            return self._file.open(name)
        except KeyError as error:
            raise self._damaged(f"it has no {name}") from error

    def _damaged(self, what: str) -> ImportRefused:
        return ImportRefused(
            f"{self.path.name} is not a bundle of a run, or is damaged: {what}. Write it again: rlhf-studio runs bundle NAME"
        )


@contextmanager
def opened(source: str | Path) -> Iterator[Bundle]:
    """Open a bundle.

    Raises:
        ImportRefused: it cannot be read, is no bundle, is damaged, or is from a newer version.
    """
    path = Path(source).expanduser()
    if not path.is_file():
        what = f"{path.name} is a folder, not a bundle" if path.is_dir() else f"There is no file {path.name}"
        raise ImportRefused(f"{what}. Write a bundle: rlhf-studio runs bundle NAME")
    try:
        file = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise ImportRefused(
            f"{path.name} cannot be opened as a bundle ({error}). Write one: rlhf-studio runs bundle NAME"
        ) from error
    with file:
        yield Bundle(path, file)
