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


TABLE = ("comparison_id", "outcome", "responses", "messages", "rater")


def read_table(row: Row, columns: Columns) -> Iterator[Item]:
    """Yield the judgement of a row of our Parquet file, its responses as they were on the screen."""
    outcome = row.get("outcome")
    if outcome == "skip":
        raise Dropped("skipped")
    prompt = conversations.prompt(row.get("messages"))
    responses = [cells.text(each) for each in cells.listed(cells.parsed(row.get("responses")))]
    said = _beside(row, len(responses))
    verdict: Any = {"left": "first", "right": "second"}.get(str(outcome), outcome)
    if outcome == "ranking":
        ranks = [cells.number(each, "rank") or 0 for each in cells.listed(cells.parsed(row.get("ranks")))]
        if len(ranks) != len(responses):
            raise Dropped("a ranking that does not fit its responses")
        yield cells.ranking(prompt, responses, ranks, **said)
    elif outcome == "both_bad" and len(responses) > 2:
        yield Item(
            "both_bad", prompt, tuple(responses), **{name: each for name, each in said.items() if name != "strength"}
        )
    elif len(responses) != 2 or verdict not in ("first", "second", "tie", "both_bad"):
        raise Dropped(f"unknown outcome {str(outcome)[:20]!r}")
    else:
        yield cells.pair(prompt, responses, verdict, **said)


def _beside(row: Row, num: int) -> dict[str, Any]:
    """Return what a row says besides the outcome; scales and flags by the position of the response."""
    said = cells.common(row) | cells.strength(row)
    models = tuple(cells.name(each) for each in cells.listed(cells.parsed(row.get("models"))))
    said |= {"models": models} if len(models) == num and all(models) else {}
    said |= {"event_id": uuid} if (uuid := cells.name(row.get("uuid"))) else {}
    flags, scales = (cells.inside(cells.parsed(row.get(name))) for name in ("flags", "attributes"))
    said |= (
        {"flags": {name: tuple(at for at in cells.listed(where) if at in range(num)) for name, where in flags.items()}}
        if flags
        else {}
    )
    full = {name: tuple(values) for name, values in scales.items() if isinstance(values, list) and len(values) == num}
    said |= {"scores": full} if full else {}
    return said


FAMILIES = (
    Family(
        "ratings-table", "the studio's own table of ratings", "preferences", tuple((name,) for name in TABLE), read_table,
        reads=frozenset((*TABLE, "uuid", "prompt_id", "strength", "ranks", "models", "flags", "attributes")) | cells.COMMON,
    ),
    Family(
        "native", "the studio's own export", "preferences", tuple((name,) for name in OWN), read,
        reads=frozenset((*OWN, "format", "id", "prompt_id", "category", "split", "run", "created_at")),
    ),
)  # fmt: skip
