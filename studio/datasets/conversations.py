"""Reads conversations in common formats: role/content pairs, from/value pairs, transcripts, plain texts.

An unreadable one raises `Dropped` with a reason that is counted and shown to the person.
"""

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from studio.preferences.prompts import Messages

ROLES = {
    **dict.fromkeys(("user", "human", "prompter", "customer"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "chatbot", "chatgpt", "bing", "bard", "model", "ai"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
ROLE_NAMES = ("role", "from", "author", "speaker")
CONTENT_NAMES = ("content", "value", "text", "message")
TOOL_NAMES = ("tool_calls", "function_call")
TOOL_ROLES = ("function", "function_call", "observation", "tool_call", "tool_response")
LOOKS_LIKE_TURNS = re.compile(r"""\s*\[\s*\{\s*(["'])(role|from|author|speaker|content|value|text)\1\s*:""")
LONGEST_NOTATION = 1_000_000
"""Most characters of a cell in Python's notation that is read; its parser needs some hundred bytes for each."""
TRANSCRIPT_TURN = re.compile(r"\n\n(Human|Assistant):")


class Dropped(Exception):
    """A row cannot be used; the text is the reason."""


def prompt(value: Any) -> Messages:
    """Return a prompt given as a text, a transcript or turns; ends with the user."""
    value = cell(value)
    if isinstance(value, str) and is_transcript(value):
        value = transcript(value, is_prompt=True)
    if is_empty(value):
        raise Dropped("empty prompt")
    return ending_with_user(turns(value.strip() if isinstance(value, str) else value, "user"))


def answer(value: Any) -> str:
    """Return a response given as text or as turns."""
    value = cell(value)
    if is_empty(value):
        raise Dropped("empty response")
    found = turns(value.strip() if isinstance(value, str) else value, "assistant")
    if len(found) != 1 or found[0]["role"] != "assistant":
        raise Dropped("the response is not one assistant turn")
    return found[0]["content"]


def turns(value: Any, role: str) -> Messages:
    """Return turns from a text (one turn of `role`), role/content pairs, or from/value pairs."""
    if isinstance(value, str):
        return [{"role": role, "content": value.strip()}]
    if value is not None and not isinstance(value, list):
        raise Dropped(f"{_type(value)} where a text or turns are needed")
    if not value:
        raise Dropped("no turns")
    return [_turn(turn) for turn in value]


def _turn(turn: Any) -> dict[str, str]:
    if not isinstance(turn, dict):
        raise Dropped("a turn has no role")
    written = first(turn, ROLE_NAMES)
    role = ROLES.get(written.strip().lower()) if isinstance(written, str) else None
    if any(turn.get(name) is not None for name in TOOL_NAMES) or written in TOOL_ROLES:
        raise Dropped("tool calls")
    if role is None:
        raise Dropped("a turn has no role" if written is None else f"a turn has the role {str(written)[:20]}")
    content = _as_text(first(turn, CONTENT_NAMES))
    if isinstance(content, list):  # the parts of a multimodal message
        parts = [part.get("text") if isinstance(part, dict) else None for part in content]
        if not all(isinstance(part, str) for part in parts):
            raise Dropped("a turn is not text")
        content = "".join(str(part) for part in parts)
    if content is not None and not isinstance(content, str):
        raise Dropped("a turn is not text")
    if content is None or not content.strip():
        raise Dropped("empty response" if role == "assistant" else "empty turn")
    return {"role": role, "content": content}


def first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return the first of these values that is there; None where none is."""
    for name in names:
        if (value := row.get(name)) is not None:
            return value
    return None


def is_transcript(text: str) -> bool:
    """Return whether a text is a conversation in Anthropic's format."""
    return TRANSCRIPT_TURN.match("\n\n" + text.lstrip()) is not None


def transcript(text: str, is_prompt: bool = False) -> Messages:
    r"""Read a transcript "\n\nHuman: ...\n\nAssistant: ..."; a prompt may end with an open "\n\nAssistant:"."""
    before, *pieces = TRANSCRIPT_TURN.split("\n\n" + text.lstrip())
    if before.strip():
        raise Dropped("text before the first turn")
    if not pieces:
        raise Dropped("no turns")
    if is_prompt and pieces[-2] == "Assistant" and not pieces[-1].strip():
        pieces = pieces[:-2]
    names = {"Human": "user", "Assistant": "assistant"}
    pairs = zip(pieces[::2], pieces[1::2], strict=True)
    return [_turn({"role": names[name], "content": content.strip()}) for name, content in pairs]


def after(prompt: Messages, text: str) -> str:
    """Return the answer of a text that holds its prompt once more, as a transcript; any other text without blanks around it."""
    if not is_transcript(text):
        return text.strip()
    try:
        *before, last = transcript(text)
    except Dropped:
        return text.strip()
    asked = [turn for turn in prompt if turn["role"] != "system"]
    is_whole = last["role"] == "assistant" and (before in ([], asked, asked[-1:]))
    return last["content"] if is_whole else text.strip()


def ending_with_user(messages: Messages) -> Messages:
    """Return the messages, refused unless the last turn is the user's."""
    if not messages:
        raise Dropped("empty prompt")
    if messages[-1]["role"] != "user":
        raise Dropped("the prompt does not end with a user turn")
    return messages


def cell(value: Any) -> Any:
    """Return a value as it is; turns that a table holds as text (JSON or Python's notation) as turns; a number as its text.

    Raises:
        Dropped: it looks like turns and cannot be read as such.
    """
    if isinstance(value, dict) and any(name in value for name in ROLE_NAMES):
        return [value]
    if not isinstance(value, str):
        return _as_text(value)
    if value.lstrip().startswith("["):
        found = notation(value)
        if isinstance(found, list) and found and all(_is_turn(turn) for turn in found):
            return found
        if found is None and LOOKS_LIKE_TURNS.match(value):
            raise Dropped(
                "looks like turns and cannot be read; write them as JSON, [{'role': ..., 'content': ...}, ...]"
            )
    return value


def is_empty(value: Any) -> bool:
    """Return whether a cell holds nothing: no value, no turns, or blanks."""
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def ends_with_assistant(value: Any) -> bool:
    """Return whether the last turn is the assistant's."""
    try:
        value = cell(value)
    except Dropped:
        return False
    last = value[-1] if isinstance(value, list) and value else {}
    return isinstance(last, dict) and ROLES.get(str(first(last, ROLE_NAMES)).lower()) == "assistant"


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and any(n in value for n in ROLE_NAMES) and any(n in value for n in CONTENT_NAMES)


def notation(text: str) -> Any:
    """Return what a text says in JSON, or in Python's notation as `str` of a list writes it; None where it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if len(text) > LONGEST_NOTATION or not LOOKS_LIKE_TURNS.match(text):
        return None
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _as_text(value: Any) -> Any:
    """Return a number as its text, as a CSV file would hold it; NaN, which stands for a missing cell, as None."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return None if math.isnan(value) else repr(value)
    return str(value) if isinstance(value, int) else value


def _type(value: Any) -> str:
    return {dict: "an object", bytes: "bytes"}.get(type(value), f"a {type(value).__name__}")
