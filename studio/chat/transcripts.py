"""Conversations as files: the whole tree as JSON, or each branch as a line of messages, which an import reads again."""

import json
from typing import Any

from sqlite_utils import Database

from studio.chat import conversations, turns
from studio.chat.turns import Turn

FORMATS = ("json", "jsonl")


def write(db: Database, conversation_id: int, form: str) -> str:
    """Return a conversation as text.

    Args:
        db: an open connection.
        conversation_id: which one.
        form: json for the tree with how each answer was sampled and ended; jsonl for a line of messages for each branch that ends
            with an answer.

    Raises:
        DataError: there is no such conversation.
    """
    return _branches(db, conversation_id) if form == "jsonl" else _tree(db, conversation_id)


def _tree(db: Database, conversation_id: int) -> str:
    found = conversations.get(db, conversation_id)
    told = {
        "id": found.id,
        "title": found.title,
        "created_at": found.created_at,
        "settings": found.settings.model_dump(),
        "turns": [_turn(each) for each in turns.list_all(db, conversation_id)],
    }
    return json.dumps(told, ensure_ascii=False, indent=1) + "\n"


def _branches(db: Database, conversation_id: int) -> str:
    conversations.get(db, conversation_id)
    lines = []
    for leaf in turns.leaves(db, conversation_id):
        path = turns.branch(db, leaf)
        if path[-1].role == "user":
            path.pop()
        if path and path[-1].text.strip():
            row = {"messages": turns.messages(db, path[-1].id, path[-1].system)}
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(dict.fromkeys(lines))


def _turn(each: Turn) -> dict[str, Any]:
    told = {
        name: value for name, value in vars(each).items() if value not in (None, "", {}) and name != "conversation_id"
    }
    return told | {"text": each.text}
