"""Reads suites from JSONL: the user's own files, and public ones as their authors publish them.

Each reader takes one row and returns an item: a dict with the fields of its kind (see `modules.evaluation.items`), and `cluster`, by
which items are resampled together. A row that cannot be read is named by its line.
"""

import codecs
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from studio.errors import DataError

Row = Mapping[str, Any]
Item = dict[str, Any]
LARGEST_FILE = 2**28


class Format(NamedTuple):
    """A public format: the kind of its items, and what makes one of a row."""

    kind: str
    title: str
    item: Callable[[Row], Item]


def _blimp(row: Row) -> Item:
    return {"good": _text(row, "good"), "bad": _text(row, "bad"), "cluster": _text(row, "uid")}


def _copa(row: Row) -> Item:
    return _choice(_text(row, "query"), row, "choices")


def _hellaswag(row: Row) -> Item:
    item = _choice(f"{_text(row, 'activity')}: {_text(row, 'ctx')}", row, "endings")
    return item | {"cluster": _text(row, "activity")}


def _truthfulqa(row: Row) -> Item:
    return {
        "prompt": f"Q: {_text(row, 'question')}\nA:",
        "best": _text(row, "best"),
        "correct": _texts(row, "correct"),
        "incorrect": _texts(row, "incorrect"),
        "cluster": _text(row, "category"),
    }


def _xstest(row: Row) -> Item:
    label = _text(row, "label")
    if label not in ("safe", "unsafe"):
        raise ValueError(f"label is {label[:40]!r}; it is safe or unsafe")
    return {"prompt": _text(row, "prompt"), "label": label, "cluster": str(row.get("type", ""))}


def _prompts(row: Row) -> Item:
    item = {"prompt": _text(row, "prompt")}
    return item | {name: str(row[name]) for name in ("label", "cluster") if _is_given(row, name)}


def _is_given(row: Row, name: str) -> bool:
    """Return whether a field that may be left out is there; 0 is a name like any other."""
    return row.get(name) not in (None, "")


def _own(row: Row) -> Item:
    """Read a row of the user's own suite; its keys say what it is."""
    cluster = {"cluster": str(row["cluster"])} if _is_given(row, "cluster") else {}
    if "choices" in row or "gold" in row:
        return _choice(_text(row, "prompt"), row, "choices") | cluster
    if "good" in row or "bad" in row:
        return {"good": _text(row, "good"), "bad": _text(row, "bad")} | cluster
    if "text" in row:
        return ({"prompt": _text(row, "prompt")} if row.get("prompt") else {}) | {"text": _text(row, "text")} | cluster
    if "prompt" in row:
        return _xstest(row) | cluster if "label" in row else _prompts(row)
    raise ValueError(
        "it has none of the keys of an item: prompt, choices and gold; good and bad; text; or prompt alone, which is answered"
    )


FORMATS: dict[str, Format] = {
    "blimp": Format("pair", "BLiMP", _blimp),
    "copa": Format("choice", "COPA", _copa),
    "hellaswag": Format("choice", "HellaSwag", _hellaswag),
    "truthfulqa": Format("truth", "TruthfulQA (studio prompt)", _truthfulqa),
    "xstest": Format("prompt", "XSTest", _xstest),
    "prompts": Format("prompt", "Prompts", _prompts),
}
"""Name, as in `blimp:FILE`, to its format."""


def read_format(name: str, path: Path) -> list[Item]:
    """Read a public file.

    Raises:
        DataError: it cannot be read; the line is named.
    """
    return [item for _, item in _items(path, FORMATS[name].item)]


def read_own(path: Path) -> tuple[str, list[Item]]:
    """Read a suite in the studio's own form; returns its kind and items.

    Raises:
        DataError: it cannot be read, or its rows are of several kinds; the line is named.
    """
    found = _items(path, _own)
    first = kind_of(found[0][1])
    for number, item in found:
        if (kind := kind_of(item)) != first:
            raise DataError(
                f"{path.name}, line {number} is of another kind ({kind}) than line {found[0][0]} ({first}). Put each kind into a file of "
                "its own."
            )
    return first, [item for _, item in found]


def kind_of(item: Item) -> str:
    """Return the kind of an item by its fields."""
    for field, kind in (("choices", "choice"), ("good", "pair"), ("best", "truth"), ("text", "text")):
        if field in item:
            return kind
    return "prompt"


def _items(path: Path, item: Callable[[Row], Item]) -> list[tuple[int, Item]]:
    """Return the items with the numbers of their lines."""
    found = []
    for number, row in _rows(path):
        try:
            found.append((number, item(row)))
        except ValueError as error:
            raise DataError(f"{path.name}, line {number}: {error}. Correct the line, or leave it out.") from error
    if not found:
        raise DataError(f"{path.name} holds no items. Give a JSONL file with one JSON object a line.")
    return found


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"{path.name} has more than 256 MiB, too much for a suite. Give a smaller file.")
        raw = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise DataError(f"The suite {path} cannot be read: {error.strerror}. Give the path of a JSONL file.") from error
    try:
        lines = raw.decode().split("\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path.name}, line {line} is not UTF-8 text. Save the file as UTF-8.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path.name}, line {number} is not JSON: {error}. Correct the line, or leave it out."
            ) from error
        if not isinstance(row, dict):
            raise DataError(f"{path.name}, line {number} holds no JSON object. Write one item a line, in braces.")
        yield number, row


def _choice(prompt: str, row: Row, name: str) -> Item:
    choices, gold = _texts(row, name), row.get("gold")
    if len(choices) < 2:
        raise ValueError(f"{name} has only {len(choices)} text; an item needs two or more")
    if "gold" not in row:
        raise ValueError(f"the key gold is missing: the place of the right one in {name}, from 0")
    if not isinstance(gold, int) or isinstance(gold, bool) or not 0 <= gold < len(choices):
        raise ValueError(
            f"gold is {gold!r}; it must be the place of the right one in {name}, from 0 to {len(choices) - 1}"
        )
    return {"prompt": prompt, "choices": choices, "gold": gold}


def _text(row: Row, name: str) -> str:
    if name not in row:
        raise ValueError(f"the key {name} is missing")
    return _sound(row[name], f"the key {name}")


def _texts(row: Row, name: str) -> list[str]:
    value = row.get(name)
    if not isinstance(value, list) or not value:
        raise ValueError(f"the key {name} {'is missing' if name not in row else 'is not a list of texts'}")
    return [_sound(each, f"text {number} of {name}") for number, each in enumerate(value, start=1)]


def _sound(value: Any, what: str) -> str:
    """Return a text that can be scored.

    Raises:
        ValueError: it is not one; `what` is what a person calls it.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{what} {'is empty' if isinstance(value, str) else 'is not a text'}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} holds half a character") from error
    return value
