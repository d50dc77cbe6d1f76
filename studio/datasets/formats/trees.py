"""OpenAssistant's conversation trees, one tree a row or one message a row: replies that people wrote and ranked."""

from collections.abc import Iterable, Iterator
from typing import Any

from studio.datasets import conversations
from studio.datasets.formats import cells
from studio.datasets.formats.cells import Row
from studio.datasets.formats.family import Columns, Family, Outcome
from studio.datasets.formats.item import Dropped, Item
from studio.preferences.prompts import Messages

ASSISTANT = "assistant"
DEEPEST = 200


def read_tree(row: Row, columns: Columns) -> Iterator[Outcome]:
    """Yield every ranking and every single reply of a tree."""
    root = row.get("prompt")
    if not isinstance(root, dict):
        raise Dropped("a tree without its first message")
    found = list(_below(root, []))
    if not found:
        raise Dropped("a tree without replies")
    yield from found


def read_messages(rows: Iterable[Row]) -> Iterator[Outcome]:
    """Yield the same from messages that name their parent."""
    children: dict[str, list[dict[str, Any]]] = {}
    messages: dict[str, dict[str, Any]] = {}
    for row in rows:
        key = cells.name(row.get("message_id"))
        if not key or key in messages:
            yield Dropped("a message without an id" if not key else "duplicate")
            continue
        messages[key] = {**row, "replies": children.setdefault(key, [])}
        children.setdefault(cells.name(row.get("parent_id")), []).append(messages[key])
        if row.get("role") != ASSISTANT:
            yield Dropped("a user's turn, which belongs to a conversation")
    for parent, replies in children.items():
        answers = [each for each in replies if each.get("role") == ASSISTANT]
        if not answers:
            continue
        path = _path(messages, parent)
        yield from (
            [Dropped("the message that it answers is missing")] * len(answers)
            if path is None
            else _replies(path, answers)
        )


def _path(messages: dict[str, dict[str, Any]], key: str) -> list[dict[str, Any]] | None:
    """Return the messages down to this one; None where one is missing."""
    path: list[dict[str, Any]] = []
    while key and len(path) < DEEPEST:
        if key not in messages:
            return None
        path.append(messages[key])
        key = cells.name(messages[key].get("parent_id"))
    return path[::-1] or None


def _below(message: dict[str, Any], path: list[dict[str, Any]]) -> Iterator[Outcome]:
    path = [*path, message]
    replies = cells.listed(message.get("replies"))
    replies = [reply for reply in replies if isinstance(reply, dict)]
    answers = [reply for reply in replies if reply.get("role") == ASSISTANT]
    if answers:
        yield from _replies(path, answers)
    if len(path) < DEEPEST:
        for reply in replies:
            yield from _below(reply, path)


def _replies(path: list[dict[str, Any]], replies: list[dict[str, Any]]) -> Iterator[Outcome]:
    """Yield the replies to one message: a ranking of those with ranks, else a demonstration for the only one."""
    try:
        prompt = conversations.ending_with_user(_turns(path))
    except Dropped as reason:
        yield from [reason] * len(replies)
        return
    kept = []
    for reply in replies:
        if reply.get("deleted") is True or reply.get("review_result") is False:
            yield Dropped("a deleted or rejected message")
        elif not isinstance(reply.get("text"), str) or not reply["text"].strip():
            yield Dropped("empty response")
        else:
            kept.append(reply)
    ranked = [(reply, rank) for reply in kept if (rank := _rank(reply)) is not None]
    if len(ranked) > 1:
        yield _ranking(prompt, [reply["text"].strip() for reply, _ in ranked], [rank for _, rank in ranked])
        yield from [Dropped("ranked with its siblings")] * (len(ranked) - 1)
        yield from [Dropped("a reply without a rank")] * (len(kept) - len(ranked))
    elif len(kept) == 1 and not _rank(kept[0]):  # alone, or the best of replies that are not here
        yield Item("demonstration", prompt, (kept[0]["text"].strip(),))
    else:
        yield from [Dropped("replies without ranks")] * len(kept)


def _ranking(prompt: Messages, texts: list[str], ranks: list[float]) -> Outcome:
    try:
        return cells.ranking(prompt, texts, ranks)
    except Dropped as reason:
        return reason


def _rank(reply: dict[str, Any]) -> float | None:
    try:
        return cells.number(reply.get("rank"), "rank")
    except Dropped:
        return None


def _turns(path: list[dict[str, Any]]) -> Messages:
    return conversations.turns([{"role": each.get("role"), "content": each.get("text")} for each in path], "user")


FAMILIES = (
    Family(
        "oasst-trees", "OpenAssistant trees", "preferences", (("message_tree_id",), ("prompt",), ("tree_state",)), read_tree,
        reads=frozenset(("message_tree_id", "prompt", "tree_state")),
    ),
    Family(
        "oasst-messages", "OpenAssistant messages", "preferences", (("message_id",), ("parent_id",), ("role",), ("text",)),
        read_all=read_messages, reads=frozenset(("message_id", "parent_id", "role", "text", "rank", "deleted", "review_result", "labels")),
    ),
)  # fmt: skip
