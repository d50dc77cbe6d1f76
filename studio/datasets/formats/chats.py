"""Demonstrations, thumbs and prompts: chat messages, prompt and response, Alpaca, ShareGPT, KTO."""

from collections.abc import Iterator, Sequence
from typing import Any

from studio.datasets import conversations
from studio.datasets.conversations import first
from studio.datasets.formats import cells
from studio.datasets.formats.cells import Row
from studio.datasets.formats.family import Columns, Family
from studio.datasets.formats.item import Dropped, Item
from studio.datasets.formats.prompts import ASKED_WITH, SYSTEM, asked, with_context
from studio.preferences.prompts import Messages

TURNS = ("messages", "conversations", "conversation", "contents")
ASKED = ("prompt", "instruction", "question", "query", "inputs")
ANSWERED = ("response", "completion", "output", "targets", "generation")
THUMBS = ("label", "kto_tag", "thumbs_up")
BAD = ("false", "no", "bad", "0", "0.0", "-1", "-1.0", "rejected", "undesirable", "thumbs_down", "down")
GOOD = ("true", "yes", "good", "1", "1.0", "chosen", "desirable", "thumbs_up", "up")


def read_chat(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield the last answer of a conversation."""
    label = _thumb(row, columns)
    messages = _turns(row)
    if messages[-1]["role"] != "assistant":
        raise Dropped("does not end with an assistant turn")
    prompt = conversations.ending_with_user(with_context(row, messages[:-1]))
    yield _answered(row, prompt, messages[-1]["content"], label)


def read_asked(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield a conversation that waits for an answer."""
    yield Item("prompt", with_context(row, conversations.prompt(_written(row))))


def read_answered(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield a prompt with its response."""
    label = _thumb(row, columns)
    prompt = asked(row)
    yield _answered(row, prompt, conversations.after(prompt, conversations.answer(first(row, ANSWERED))), label)


def read_prompt(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield a bare prompt."""
    yield Item("prompt", with_context(row, conversations.prompt(first(row, ("prompt", "instruction")))))


def _answered(row: Row, prompt: Messages, response: str, label: bool | None) -> Item:
    warnings = cells.repeats(prompt, (response,))
    if label is None:
        return Item("demonstration", prompt, (response,), warnings=warnings)
    return Item("unpaired", prompt, (response,), label=label, warnings=warnings, **cells.common(row))


def _thumb(row: Row, columns: Columns) -> bool | None:
    """Return whether a row's label calls its response good; None for a row of a file without labels.

    Raises:
        Dropped: the label is empty, unknown or missing.
    """
    name = next((name for name in THUMBS if name in row or name in columns), None)
    if name is None:
        return None
    label = str(row[name] if row.get(name) is not None else "").strip().lower()
    if label in GOOD or label in BAD:
        return label in GOOD
    raise Dropped(f"unknown label {label[:20]!r}" if label not in ("", "nan") else "no label")


def _written(row: Row) -> Any:
    name = next((name for name in TURNS if row.get(name) is not None), "")
    return _opened(row.get(name), name)


def _opened(value: Any, name: str) -> Any:
    """Return what a cell of turns holds: turns, exchanges of input and output, or whatever else is no text.

    Bare texts of a conversation take turns, as in LIMA.
    """
    value = conversations.cell(value)
    found = conversations.notation(value) if isinstance(value, str) and value.lstrip()[:1] in ("[", "{") else None
    value = found if isinstance(found, list | dict) else value
    if name == "conversations" and isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return [{"role": ("user", "assistant")[at % 2], "content": each} for at, each in enumerate(value)]
    return value


def _turns(row: Row) -> Messages:
    value = _written(row)
    if (
        isinstance(value, list)
        and value
        and all(isinstance(turn, dict) and {"input", "output"} <= turn.keys() for turn in value)
    ):
        value = [each for turn in value for each in _exchange(turn)]
    found = conversations.turns(value, "user")
    last = value[-1] if isinstance(value, list) and isinstance(value[-1], dict) else {}
    if last.get("weight") in (0, "0"):
        raise Dropped("its last answer has weight 0")
    if any(last.get(name) in (0, "0", "false") for name in ("train", "loss")):
        raise Dropped("its last answer is marked as not to be learnt")
    return found


def _exchange(turn: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": turn["input"]}, {"role": "assistant", "content": turn["output"]}]


def _has_answers(rows: Sequence[Row]) -> bool:
    return any(_is_answered(row.get(name), name) for row in rows for name in TURNS)


def _is_answered(value: Any, name: str) -> bool:
    try:
        value = _opened(value, name)
    except Dropped:
        return False
    pairs = (
        isinstance(value, list) and value and isinstance(value[-1], dict) and {"input", "output"} <= value[-1].keys()
    )
    return bool(pairs) or conversations.ends_with_assistant(value)


_CHAT_READS = frozenset((*TURNS, *SYSTEM, *THUMBS)) | cells.COMMON - {"strength", "margin"}
FAMILIES = (
    Family("chat", "chat messages", "demonstrations", (TURNS,), read_chat, reads=_CHAT_READS, looks=_has_answers),
    Family(
        "chat-prompts", "chat messages that end with the user", "prompts", (TURNS,), read_asked,
        reads=frozenset((*TURNS, *SYSTEM, "category", "split")), looks=lambda rows: not _has_answers(rows),
    ),
    Family(
        "prompt-response", "prompt and response", "demonstrations", (ASKED, ANSWERED), read_answered,
        reads=frozenset((*ASKED_WITH, *ANSWERED, *THUMBS)) | cells.COMMON - {"strength", "margin"},
    ),
    Family(
        "prompts", "prompts", "prompts", (("prompt", "instruction"),), read_prompt,
        reads=frozenset(("prompt", "instruction", *SYSTEM, "category", "split")),
    ),
)  # fmt: skip
