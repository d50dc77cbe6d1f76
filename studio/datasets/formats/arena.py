"""Chatbot Arena: raw log, cleaned battles of every release, and the 55k table. Two models answer, a person votes."""

import json
from collections.abc import Iterator
from typing import Any

from studio.datasets import conversations
from studio.datasets.formats import cells
from studio.datasets.formats.cells import Row, Verdict
from studio.datasets.formats.family import Columns, Family
from studio.datasets.formats.item import Dropped, Item
from studio.preferences.prompts import Messages

VOTES: dict[str, Verdict] = {"leftvote": "first", "rightvote": "second", "tievote": "tie", "bothbad_vote": "both_bad"}
WINNERS: dict[str, Verdict] = {
    "model_a": "first", "model_b": "second", "tie": "tie", "both_bad": "both_bad", "tie (bothbad)": "both_bad", "tie (both bad)": "both_bad",
}  # fmt: skip
WHOLE = "whole conversations were compared, whose earlier answers differ"


def read_log(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield a vote of the raw log. The address of the voter is never read."""
    verdict = VOTES.get(str(row.get("type")))
    if verdict is None:
        raise Dropped("not a vote")
    states = row.get("states")
    if not isinstance(states, list) or len(states) != 2 or not all(isinstance(state, dict) for state in states):
        raise Dropped("a vote without two conversations")
    sides = [_of_state(state) for state in states]
    models = tuple(cells.name(state.get("model_name")) for state in states)
    yield vote_between(sides, verdict, models, row)


def _of_state(state: dict[str, Any]) -> Messages:
    offset = state.get("offset") if isinstance(state.get("offset"), int) else 0
    turns = state.get("messages")
    if not isinstance(turns, list) or not all(isinstance(turn, list) and len(turn) == 2 for turn in turns):
        raise Dropped("no turns")
    roles = cells.listed(state.get("roles"))
    names = {name: role for name, role in zip(roles, ("user", "assistant"), strict=False) if isinstance(name, str)}
    return conversations.turns(
        [{"role": names.get(str(who), who), "content": text} for who, text in turns[offset:]], "user"
    )


def read_battle(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield a cleaned battle."""
    verdict = WINNERS.get(str(row.get("winner")).strip().lower())
    if verdict is None:
        raise Dropped(f"unknown winner {str(row.get('winner'))[:20]!r}")
    sides = [conversations.turns(conversations.cell(row.get(f"conversation_{side}")), "user") for side in "ab"]
    sides = [_until(side, row.get("turn")) for side in sides]
    yield vote_between(sides, verdict, tuple(cells.name(row.get(f"model_{side}")) for side in "ab"), row)


def _until(side: Messages, turn: Any) -> Messages:
    """Return a conversation up to the answer that was judged: MT-bench tells its number, and goes on after it."""
    answers = [at for at, each in enumerate(side) if each["role"] == "assistant"]
    if isinstance(turn, bool) or not isinstance(turn, int) or not 0 < turn <= len(answers):
        return side
    return side[: answers[turn - 1] + 1]


def read_table(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield a row of the 55k table, whose cells hold JSON lists with an entry a turn."""
    flags = [cells.yes_or_no(row.get(name)) for name in ("winner_model_a", "winner_model_b", "winner_tie")]
    if flags.count(True) != 1:
        raise Dropped("not exactly one of the winner columns is 1")
    verdict: Verdict = ("first", "second", "tie")[flags.index(True)]
    asked = _entries(row.get("prompt"))
    sides = [_woven(asked, _entries(row.get(f"response_{side}"))) for side in "ab"]
    yield vote_between(sides, verdict, tuple(cells.name(row.get(f"model_{side}")) for side in "ab"), row)


def _entries(value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
    return value if isinstance(value, list) else [value]


def _woven(asked: list[Any], answered: list[Any]) -> Messages:
    if len(asked) != len(answered):
        raise Dropped("not as many answers as questions")
    turns = [
        turn for pair in zip(asked, answered, strict=True) for turn in zip(("user", "assistant"), pair, strict=True)
    ]
    return conversations.turns([{"role": role, "content": text} for role, text in turns], "user")


def vote_between(
    sides: list[Messages], verdict: Verdict, models: tuple[str, ...], row: Row, *, rater: str = "", **more: Any
) -> Item:
    """Return the item of two conversations that end with the answers that were judged.

    Raises:
        Dropped: they do not, or their prompts differ.
    """
    for side in sides:
        if side[-1]["role"] != "assistant":
            raise Dropped("does not end with an assistant turn")
    if sides[0][:-1] != sides[1][:-1]:
        asked, asked_too = ([turn for turn in side if turn["role"] == "user"] for side in sides)
        raise Dropped(WHOLE if asked == asked_too else "prompts of the two sides differ")
    prompt = conversations.ending_with_user(sides[0][:-1])
    said: dict[str, Any] = more | ({"models": models} if all(models) else {})
    if judge := rater or cells.name(row.get("judge") or row.get("judge_hash") or row.get("evaluation_session_id")):
        said["rater"] = judge
    said["at"] = cells.when(row.get("tstamp") or row.get("timestamp"))
    said["event_id"] = cells.name(row.get("question_id") or row.get("id"))
    return cells.pair(prompt, [side[-1]["content"].strip() for side in sides], verdict, **said)


_BATTLE = frozenset(
    (
        "model_a", "model_b", "winner", "conversation_a", "conversation_b", "judge", "judge_hash", "evaluation_session_id",
        "tstamp", "timestamp", "question_id", "id", "turn",
    )
)  # fmt: skip
_TABLE = ("prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie")
FAMILIES = (
    Family(
        "arena-log", "Chatbot Arena's raw log", "preferences", (("type",), ("states",), ("models",)), read_log,
        reads=frozenset(("type", "states", "models", "tstamp")),
    ),
    Family(
        "arena", "Chatbot Arena battles", "preferences", (("conversation_a",), ("conversation_b",), ("winner",)), read_battle,
        reads=_BATTLE,
    ),
    Family(
        "arena-table", "Chatbot Arena's table", "preferences", tuple((name,) for name in _TABLE), read_table,
        reads=frozenset((*_TABLE, "model_a", "model_b", "id")),
    ),
)  # fmt: skip
