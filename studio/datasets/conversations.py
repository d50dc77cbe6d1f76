"""Reads conversations in common formats: role/content pairs, from/value pairs, transcripts, plain texts.

An unreadable one raises `Dropped` with a reason that is counted and shown to the person.
"""

import ast
import contextlib
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
CONTENT_NAMES = ("content", "value", "text", "message", "parts")
TOOL_NAMES = ("tool_calls", "function_call")
HELD_UNDER = ("messages", "conversations", "conversation")
"""Names under which a cell may hold turns in an object."""
TOOL_ROLES = ("function", "function_call", "observation", "tool_call", "tool_response")
_OPENS = re.compile(r"""(?:(?:np\.|numpy\.)?array\(|[\s\ufeff\u200b\[("'])*\{(?![{%#])""")
"""How turns begin in JSON, in Python's notation, as an array of NumPy, or as JSON in a text once more."""
_NAMED = re.compile(r"""[{,]\s*\\?["']{1,2}(?:role|from|author|speaker)\\?["']{1,2}\s*:""")
_FILLED = re.compile(r"""[{,]\s*\\?["']{1,2}(?:content|value|text|message|input|output)\\?["']{1,2}\s*:""")
_FIRST_OBJECT = 300
"""Characters of a list's first object in which a name of content tells that it is a turn."""
_SPOKEN = re.compile(
    r"""[{,]\s*\\?["']{0,2}(?:role|from|author|speaker)\\?["']{0,2}\s*:\s*\\?["']{1,2}(?:"""
    + "|".join((*ROLES, *TOOL_ROLES))
    + r""")\\?["']""",
    re.IGNORECASE,
)
"""A role that is known, under a name that may be without quotes as in JavaScript."""
_UNREADABLE = re.compile(
    r"""[\s\[(]*(?:[\[(]\s*[\[(]\s*["'](?:user|human|system|assistant|gpt)["']\s*,|OrderedDict\(|\w{0,40}Message\w{0,40}\((?:role|content)=)"""
)
"""How turns begin as pairs, and as the objects of other libraries."""
_NOTHING = re.compile(
    r"\s*(?:\[\s*(?:(?:None|nan)[\s,]*)+\]|array\(\[(?:(?:None|nan)|[\s,])*\](?:,\s*dtype=\w+)?\))\s*"
)
"""A list of missing values, or an array of none, as `str` writes it."""
_HOLDS_TURNS = re.compile(r"""\s*\{\s*["'](?:messages|conversations?)["']\s*:\s*\[""")
_TOKEN = re.compile(
    r"""'[^'\\]*(?:\\.[^'\\]*)*(?:'|\\?\Z)|"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)"""
    r"""|(?P<array>\b(?:np\.|numpy\.)?array\()|(?P<dtype>,\s*dtype=[^,()\[\]]+)|(?P<gap>\}\s*(?=\{))|(?P<nothing>\b(?:nan|null)\b)|(?P<true>\btrue\b)|(?P<false>\bfalse\b)""",
    re.DOTALL,
)
"""A text in quotes, which stays as it is, or what Python's parser cannot read."""
_PYTHON = {"array": "(", "dtype": "", "gap": "}, ", "nothing": "None", "true": "True", "false": "False"}
_JSON_ESCAPE = re.compile(r"\\(?:/|u[dD][89abAB])")
"""An escape that Python's parser would read as something else than JSON means."""
_PROSE = re.compile(r"[\s.:;]*\s[^\W\d_]+[,:]?\s+\w")
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
        content = joined(content)
        if content is None:
            raise Dropped("a turn is not text")
    if content is not None and not isinstance(content, str):
        raise Dropped("a turn is not text")
    if content is None or not content.strip():
        raise Dropped("empty response" if role == "assistant" else "empty turn")
    return {"role": role, "content": content}


def _are_parts(found: Any) -> bool:
    """Return whether a list holds a message in parts, a text among them."""
    if not isinstance(found, list | tuple) or not all(isinstance(part, dict) and "type" in part for part in found):
        return False
    return any(part["type"] == "text" and isinstance(part.get("text"), str) for part in found)


def joined(parts: Sequence[Any]) -> str | None:
    """Return the text of a message in parts; None where a part is something else."""
    texts = [part.get("text") if isinstance(part, dict) else None for part in parts]
    return "".join(map(str, texts)) if all(isinstance(text, str) for text in texts) else None


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
        Dropped: it looks like turns and cannot be read as such, or is an infinite number.
    """
    if isinstance(value, dict) and any(name in value for name in ROLE_NAMES):
        return [value]
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return _turns_in(value) or value
    if not isinstance(value, str):
        return _as_text(value)
    if not (_OPENS.match(value) or _UNREADABLE.match(value)):
        return None if _NOTHING.fullmatch(value) else value
    found = notation(value)
    if inside := _turns_in(found):
        return inside
    if _are_parts(found):
        text = joined(found)
        if text is None:
            raise Dropped("a turn is not text")
        return text
    is_other = isinstance(found, list | tuple | dict) and not _are_spoken(found)
    if not is_other and _looks_like_turns(value) and not _goes_on(value):
        raise Dropped("looks like turns and cannot be read; write them as JSON, [{'role': ..., 'content': ...}, ...]")
    return value


def _looks_like_turns(text: str) -> bool:
    opening = _OPENS.match(text)
    if opening is None:
        return _UNREADABLE.match(text) is not None
    if _SPOKEN.search(text) or _HOLDS_TURNS.match(text):
        return True
    is_list = bool(opening[0][:-1].strip())
    start = opening.end() - 1
    return is_list and bool(_NAMED.search(text, start) or _FILLED.search(text, start, start + _FIRST_OBJECT))


def _goes_on(text: str) -> bool:
    """Return whether a text quotes turns and then goes on in prose."""
    bare = _TOKEN.sub(lambda token: "" if token[0][0] in "'\"" else token[0], text)
    return _PROSE.match(bare, max(map(bare.rfind, "]})")) + 1) is not None


def _turns_in(found: Any) -> list[Any] | None:
    """Return the turns that a notation holds, however deep in lists of one; None where it holds something else."""
    while isinstance(found, dict | list | tuple) and len(found) == 1:
        ((key, inside),) = found.items() if isinstance(found, dict) else enumerate(found)
        if key not in HELD_UNDER and (isinstance(found, dict) or isinstance(inside, dict)):
            break
        found = inside
    if isinstance(found, str):
        return _turns_in(notation(found)) if _OPENS.match(found) and _looks_like_turns(found) else None
    if isinstance(found, dict):
        return [found] if _is_spoken(found) else None
    if not isinstance(found, list | tuple) or not found:
        return None
    if all(isinstance(part, str) for part in found):
        parts = [_turns_in(part) for part in found]
        pairs = zip(found, parts, strict=True)
        return [turn for text, part in pairs for turn in part or [text]] if any(parts) else None
    inner = [turn for part in found if isinstance(part, list | tuple) for turn in part]  # several conversations
    return list(found) if any(map(_is_turn, (*found, *inner))) else None


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
    if not isinstance(value, dict) or not any(name in value for name in ROLE_NAMES):
        return False
    return any(name in value for name in (*CONTENT_NAMES, *TOOL_NAMES))


def _is_spoken(value: dict[str, Any]) -> bool:
    """Return whether an object that stands alone is a turn, and not an answer in JSON that happens to name an author."""
    return _is_turn(value) and (_role(value) in (*ROLES, *TOOL_ROLES) or {"role", "content"} <= value.keys())


def _are_spoken(found: Any) -> bool:
    """Return whether a list says who speaks, the assistant among them, though not what is said under a name that is known."""
    if not isinstance(found, list | tuple):
        return False
    pairs = [isinstance(part, list | tuple) and len(part) == 2 and str(part[0]) for part in found]
    roles = {
        ROLES.get(_role(part) if isinstance(part, dict) else str(pair).lower())
        for part, pair in zip(found, pairs, strict=True)
    }
    return None not in roles and "assistant" in roles


def _role(turn: dict[str, Any]) -> str:
    return str(first(turn, ROLE_NAMES)).strip().lower()


def notation(text: str) -> Any:
    """Return what a text says in JSON, or in Python's notation as `str` of a list or of an array writes it; None where it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if len(text) > LONGEST_NOTATION or not _looks_like_turns(text):
        return None
    try:  # objects without commas between them; no text in JSON holds a line break
        return json.loads("[" + re.sub(r"\}[^\S\n]*\n\s*\{", "}, {", text) + "]")
    except (ValueError, RecursionError):
        pass
    if _JSON_ESCAPE.search(text):
        return None
    plain = _TOKEN.sub(lambda token: _PYTHON[token.lastgroup] if token.lastgroup else token[0], text)
    for written in (text, plain):
        with contextlib.suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return ast.literal_eval(written.strip())
    return None


def _as_text(value: Any) -> Any:
    """Return a number as its text, as a CSV file would hold it; NaN, which stands for a missing cell, as None; an infinite one drops its row."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isinf(value):
            raise Dropped("a number is infinite")
        return None if math.isnan(value) else repr(value)
    return str(value) if isinstance(value, int) else value


def _type(value: Any) -> str:
    return {dict: "an object", bytes: "bytes"}.get(type(value), f"a {type(value).__name__}")
