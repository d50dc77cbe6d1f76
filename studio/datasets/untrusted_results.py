"""Checks the rows of evaluations in an untrusted archive: suites, items with the fields of their kind, scores that a report can read."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from studio.errors import DataError
from studio.models.base_names import PREFIX
from studio.preferences.prompts import check_messages

Fields = Mapping[str, Any]
LONGEST_NAME = 4096
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that steer a terminal or turn the reading direction."""
SCORES: dict[str, tuple[str, ...]] = {
    "choice": ("acc", "acc_norm", "mass"),
    "pair": ("acc", "mass"),
    "truth": ("mc1", "mc2"),
    "text": ("nats", "tokens", "bytes"),
    "prompt": ("tokens", "truncated", "listed_words", "refusal"),
    "task": (),
}
"""Kind of suite to the numbers that a result on its items always has."""


class Evaluations:
    """Checks them in order: suites come before their items, and those before the results on them."""

    def __init__(self) -> None:
        self._kinds: dict[int, str] = {}
        self._items: dict[int, tuple[str, int]] = {}

    def suite(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the suite's row.

        Raises:
            ValueError: this version would not write it.
        """
        if row.get("kind") not in SCORES:
            raise ValueError(f"{str(row.get('kind'))[:60]!r} is not a kind of suite ({', '.join(SCORES)})")
        _check_name(row.get("name"), "a suite")
        _check_name(row.get("title"), "a suite")
        self._kinds[row.get("id", 0)] = row["kind"]
        return row

    def item(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the item's row.

        Raises:
            ValueError: it has not the fields of its suite's kind, or its suite did not come before it.
        """
        kind = self._kinds.get(row.get("suite_id", 0))
        if kind is None:
            raise ValueError("the item's suite is not in the archive before it")
        _check_count(row, "place")
        try:
            self._items[row.get("id", 0)] = kind, _FIELDS[kind](json.loads(row["content"]))
        except (DataError, KeyError, TypeError) as error:
            cause = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"the item is not one of a suite of kind {kind}: {cause}") from error
        return row

    def result(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the result's row.

        Raises:
            ValueError: its scores are not those of its suite's kind, or its item did not come before it.
        """
        kind, num = self._items.get(row.get("item_id", 0), ("", 0))
        if not kind:
            raise ValueError("the result's item is not in the archive before it")
        _check_count(row, "sample")
        _check_name(row.get("subject"), "a checkpoint")
        if not row["subject"].removeprefix(PREFIX):
            raise ValueError(f"{row['subject']!r} names no model")
        if not isinstance(row.get("scores"), str):
            raise ValueError("the result has no scores")
        _check_scores(kind, num, json.loads(row["scores"]))
        return row


def _check_name(value: Any, what: str) -> None:
    if not isinstance(value, str) or not value or len(value) > LONGEST_NAME or CONTROL.search(value):
        raise ValueError(f"{str(value)[:60]!r} is not the name of {what}")


def _check_count(row: Fields, name: str) -> None:
    if type(row.get(name)) is not int or row[name] < 0:
        raise ValueError(f"{name} is {str(row.get(name))[:60]!r}, which is not a count")


def _check_scores(kind: str, num_answers: int, scores: Fields) -> None:
    """Refuse scores that lack one of their kind's, or whose value cannot be read."""
    for name in SCORES[kind]:
        if name not in scores:
            raise ValueError(f"the scores lack {name}")
    for name, value in scores.items():
        if name == "logprobs":
            fits = isinstance(value, list) and all(map(_is_number, value))
        elif name == "answer":
            fits = isinstance(value, str)
        elif name == "chosen":
            fits = type(value) is int and 0 <= value < num_answers
        elif name in ("bytes", "tokens"):
            fits = type(value) is int and value >= (name == "bytes")
        else:
            fits = _is_number(value) or (value is None and name == "distinct_4")
        if not fits:
            raise ValueError(f"the score {str(name)[:60]!r} is {str(value)[:60]!r}")
    missing = {"choice": "chosen", "truth": "chosen", "task": "answer", "prompt": "distinct_4"}.get(kind)
    if missing and missing not in scores:
        raise ValueError(f"the scores lack {missing}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(content: Fields, *names: str) -> int:
    for name in names:
        if not isinstance(content[name], str):
            raise TypeError(f"{name} is not a text")
    return 0


def _texts(content: Fields, name: str) -> int:
    value = content[name]
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise TypeError(f"{name} is not a list of texts")
    return len(value)


def _choice(content: Fields) -> int:
    _asked(content)
    num = _texts(content, "choices")
    if type(content["gold"]) is not int or not 0 <= content["gold"] < num:
        raise TypeError("gold is not the place of a choice")
    return num


def _truth(content: Fields) -> int:
    _asked(content)
    _text(content, "best")
    _texts(content, "correct")
    return 1 + _texts(content, "incorrect")


def _asked(content: Fields) -> int:
    """Check the prompt before what is scored or sampled: a text, or turns."""
    if "messages" in content:
        turns = content["messages"]
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            raise TypeError("messages is not a list of turns")
        check_messages(turns, last="user")
        return 0
    return _text(content, "prompt")


def _scored_text(content: Fields) -> int:
    if "messages" in content or "prompt" in content:
        _asked(content)
    return _text(content, "text")


_FIELDS: dict[str, Callable[[Fields], int]] = {
    "choice": _choice,
    "pair": lambda content: _text(content, "good", "bad"),
    "truth": _truth,
    "text": _scored_text,
    "prompt": _asked,
    "task": lambda content: _text(content, "prompt"),
}
"""Kind to what checks an item's fields and returns how many answers it lets a model choose from."""
