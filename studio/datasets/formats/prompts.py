"""The prompt of a flat row: a text or turns, with an Alpaca input, a system text and earlier turns in other columns."""

from collections.abc import Sequence
from typing import Any

from studio.datasets import conversations
from studio.datasets.formats.cells import Row
from studio.datasets.formats.family import Columns
from studio.datasets.formats.item import Dropped
from studio.preferences.prompts import Messages

ASKED = ("prompt", "instruction", "question", "query", "input", "inputs")
"""Columns of a prompt; the first that is there holds it."""
SYSTEM = ("system", "system_prompt", "systemInstruction", "system_instruction")
BESIDE = ("input", "context")
"""Columns with the text that an instruction is about."""
ASKED_WITH = (*ASKED, *BESIDE, *SYSTEM, "history")
"""Columns of which a prompt is made."""
TURNS = ("messages", "conversations")
LONE = ("context", "history", "contents")
"""Columns that hold the prompt where no other column can."""
IDS = frozenset((
    "id", "idx", "index", "source", "dataset", "origin", "prompt_id", "qid", "date", "margin", "subset", "hash", "uuid", "split", "category",
))  # fmt: skip
"""Columns that tell where a row comes from, and are not the prompt."""
KINDS = frozenset(("language", "lang", "domain", "task", "type", "topic", "url", "license", "model", "version", "tags"))
"""Columns that tell what kind of row it is."""


def asked(row: Row) -> Messages:
    """Return the prompt of a row, ending with the user.

    Raises:
        Dropped: there is none, or it cannot be read.
    """
    for name in ("messages", "conversations"):  # earlier turns whose answers stand in columns of their own
        if not any(row.get(each) for each in ASKED) and isinstance(turns := conversations.cell(row.get(name)), list):
            return conversations.ending_with_user(with_context(row, conversations.turns(turns, "user")))
    name = next((name for name in ASKED if not conversations.is_empty(conversations.cell(row.get(name)))), None)
    if name is None:
        raise Dropped("empty prompt")
    messages = conversations.prompt(row.get(name))
    more = conversations.cell(conversations.first(row, BESIDE)) if name == "instruction" else None
    if isinstance(more, list) and more:
        raise Dropped("the text next to the instruction is a list")
    if isinstance(more, str) and more.strip():
        messages = [*messages[:-1], {"role": "user", "content": f"{messages[-1]['content']}\n{more.strip()}"}]
    return with_context(row, messages)


def prompt_of(row: Row, columns: Columns, known: Columns) -> Messages:
    """Return the prompt of a row as `asked`; where the file has no column of a prompt, the context or the history is one if it stands alone.

    Args:
        row: the row.
        columns: those of the file.
        known: columns that are read otherwise, and are not the prompt.

    Raises:
        Dropped: there is no prompt, or it may be in several columns.
    """
    if not columns.isdisjoint((*ASKED, *TURNS)) or not (here := written(row, known | KINDS)):
        return asked(row)
    if len(here) > 1 or here[0] not in LONE:
        raise unknown(row, here)
    return with_context({**row, "history": None}, conversations.prompt(row[here[0]]))


def written(row: Row, known: Columns) -> list[str]:
    """Return the columns of a row that hold a text or an object, and are not known as something else."""
    return sorted(name for name, value in row.items() if name not in known and name not in SYSTEM and _may_ask(value))


def unknown(row: Row, names: Sequence[str]) -> Dropped:
    """Return why a row has no prompt: it may be in any of these columns."""
    inside = conversations.first(row, names)
    parts = inside.items() if isinstance(inside, dict) else ()
    deeper = next((key for key, each in parts if isinstance(each, str) and key not in IDS | KINDS), "")
    where = f"{names[0]}.{deeper}" if deeper else names[0]
    return Dropped(f"no prompt is understood; if it is in {' or '.join(names[:3])}, map it: --map prompt={where}")


def _may_ask(value: Any) -> bool:
    """Return whether a cell holds a text, turns, or an object with a text that is not just where the row comes from."""
    if isinstance(value, dict):
        return any(_may_ask(each) for name, each in value.items() if name not in IDS | KINDS)
    return bool(value.strip() if isinstance(value, str) else value) and isinstance(value, str | list)


def with_context(row: Row, messages: Messages) -> Messages:
    """Return messages after the row's history, and after its system text where they have none."""
    messages = [*_history(row.get("history")), *messages] if row.get("history") else messages
    system = next((row[name] for name in SYSTEM if row.get(name) is not None), None)
    system = _parts(conversations.cell(system)) if isinstance(system, str | list | dict) else None
    if isinstance(system, list) and system:
        system = "\n\n".join(_system(turn) for turn in conversations.turns(system, "system"))
    if isinstance(system, str) and system.strip() and all(turn["role"] != "system" for turn in messages):
        return [{"role": "system", "content": system.strip()}, *messages]
    return messages


def _parts(system: Any) -> Any:
    """Return the text of a system text in parts that names no role, any other value unchanged."""
    parts = system.get("parts") if isinstance(system, dict) else system
    if not isinstance(parts, list) or not parts:
        return system
    is_apart = all(isinstance(each, dict) and each.keys() <= {"text", "type"} for each in parts)
    return conversations.joined(parts) if is_apart else system


def _system(turn: dict[str, str]) -> str:
    if turn["role"] != "system":
        raise Dropped("the system text holds another turn")
    return turn["content"]


def _history(value: Any) -> Messages:
    """Read earlier exchanges: pairs of a question and its answer, or turns."""
    value = conversations.cell(value)
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return conversations.turns(value, "user")
    if not isinstance(value, list) or not all(isinstance(each, list) and len(each) == 2 for each in value):
        raise Dropped("the history is not a list of questions with their answers")
    roles = ("user", "assistant")
    turns = [{"role": role, "content": text} for each in value for role, text in zip(roles, each, strict=True)]
    return conversations.turns(turns, "user")
