"""A line of our own export of ratings: one comparison with its showings and all its events."""

import json
from collections.abc import Iterator
from typing import Any

from studio.datasets import conversations
from studio.datasets.formats import cells
from studio.datasets.formats.cells import Row
from studio.datasets.formats.family import Columns, Family
from studio.datasets.formats.item import Dropped, Item

OWN = ("messages", "responses", "showings", "events")


def read(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield the judgement that counts, with the whole line as its record."""
    try:
        yield _item(row)
    except (KeyError, TypeError, ValueError, StopIteration, AttributeError, IndexError):
        raise Dropped("not a line of the studio's own export") from None


def _item(row: Row) -> Item:
    superseded = {event["supersedes"] for event in row["events"]}
    rating = next((e for e in row["events"] if e["outcome"] != "undo" and e["id"] not in superseded), None)
    texts = {response["id"]: response["text"] for response in row["responses"]}
    sides = order(row, rating) if rating else list(texts)
    said = {"rater": str(rating["rater"]), "strength": rating["strength"]} if rating else {}
    prompt = conversations.prompt(row["messages"])
    responses = [conversations.answer(texts[side]) for side in sides]
    outcome = rating["outcome"] if rating else "none"
    said |= {"record": row, "category": row.get("category") or ""}
    if outcome == "ranking":
        ranks = ranks_of(rating)
        return cells.ranking(prompt, responses, [ranks[at] for at in range(len(responses))], **said)
    if len(responses) > 2:
        kind: Any = "both_bad" if outcome == "both_bad" else "unrated"
        return Item(
            kind, prompt, tuple(responses), **{name: value for name, value in said.items() if name != "strength"}
        )
    if outcome == "skip":
        return cells.pair(prompt, responses, "none", **said)
    verdict: Any = {"left": "first", "right": "second"}.get(outcome, outcome)
    return cells.pair(prompt, responses, verdict, **said)


def order(row: Row, event: Any) -> list[int]:
    """Return the response ids of an event by screen position."""
    ids = [response["id"] for response in row["responses"]]
    if not event["showing_id"]:
        return ids
    showing = next(s for s in row["showings"] if s["id"] == event["showing_id"])
    return showing.get("response_ids") or [showing["left_response_id"], showing["right_response_id"]]


def ranks_of(event: Any) -> list[int]:
    """Return an event's ranks, which an export holds as a list or as JSON text."""
    return json.loads(event["ranks"]) if isinstance(event["ranks"], str) else list(event["ranks"])


FAMILIES = (
    Family(
        "native", "the studio's own export", "preferences", tuple((name,) for name in OWN), read,
        reads=frozenset((*OWN, "format", "id", "prompt_id", "category", "split", "run", "created_at")),
    ),
)  # fmt: skip
