"""Yields comparisons, preferences and demonstrations one by one, in the order of the exported file. Read-only.

The caller holds one read transaction, so that all rows are of one moment.
"""

import json
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlite_utils import Database

Row = dict[str, Any]
_KEY = "comparison_id"


def comparisons(db: Database) -> Iterator[Row]:
    """Yield every comparison with its prompt, its responses and where they came from, every showing and every event."""
    responses = _in_step(
        db.query(
            "SELECT cr.comparison_id, cr.slot, r.id, r.text, r.kind, k.name AS checkpoint, r.sampling, r.token_ids,"
            " r.end_reason, r.model, r.created_at FROM comparison_responses cr JOIN responses r ON r.id = cr.response_id"
            " LEFT JOIN checkpoints k ON k.id = r.checkpoint_id ORDER BY cr.comparison_id, cr.slot"
        )
    )
    showings = _in_step(db.query("SELECT * FROM showings ORDER BY comparison_id, id"))
    events = _in_step(db.query("SELECT * FROM rating_events ORDER BY comparison_id, id"))
    for row in db.query(
        "SELECT c.id, c.prompt_id, p.messages, p.category, p.split, u.name AS run, c.created_at FROM comparisons c"
        " JOIN prompts p ON p.id = c.prompt_id LEFT JOIN runs u ON u.id = c.run_id ORDER BY c.id"
    ):
        found = {"responses": responses(row["id"]), "showings": showings(row["id"]), "events": events(row["id"])}
        for response in found["responses"]:
            response |= {name: json.loads(response[name]) for name in ("sampling", "token_ids") if response[name]}
        for showing in found["showings"]:
            showing["response_ids"] = json.loads(showing["response_ids"]) if showing["response_ids"] else None
        yield row | {"messages": json.loads(row["messages"])} | found


def preferences(db: Database) -> Iterator[Row]:
    """Yield the ratings that count, without a session's repeats, with texts by screen position, oldest first."""
    for row in db.query(
        "SELECT r.outcome, r.strength, r.rater, r.reason, r.showing_id, r.elapsed_ms, p.messages, p.category, p.split,"
        " a.text AS left, b.text AS right FROM ratings r JOIN comparisons c ON c.id = r.comparison_id"
        " JOIN prompts p ON p.id = c.prompt_id JOIN responses a ON a.id = r.left_id"
        " JOIN responses b ON b.id = r.right_id WHERE NOT EXISTS (SELECT 1 FROM session_items i"
        " WHERE i.showing_id = r.showing_id AND i.arm = 'repeat') ORDER BY r.id"
    ):
        yield row | {"messages": json.loads(row["messages"])}


def count_events(db: Database) -> int:
    """Count the events, including those that no longer count."""
    return next(db.query("SELECT count(*) AS n FROM rating_events"))["n"]


def demonstrations(db: Database) -> Iterator[Row]:
    """Yield the demonstrations as chat messages, oldest first."""
    for row in db.query(
        "SELECT p.messages, r.text, p.category, p.split FROM demonstrations r JOIN prompts p ON p.id = r.prompt_id ORDER BY r.id"
    ):
        messages = [*json.loads(row["messages"]), {"role": "assistant", "content": row["text"]}]
        yield {"messages": messages, "category": row["category"], "split": row["split"]}


def _in_step(rows: Iterator[Row]) -> Callable[[int], list[Row]]:
    """Return a function from comparison id to its rows; call it in the order of the rows, since it holds one group."""
    groups = groupby(rows, key=itemgetter(_KEY))
    ahead = next(groups, None)

    def of(comparison_id: int) -> list[Row]:
        nonlocal ahead
        while ahead is not None and ahead[0] < comparison_id:
            ahead = next(groups, None)
        if ahead is None or ahead[0] != comparison_id:
            return []
        found = [{name: value for name, value in row.items() if name != _KEY} for row in ahead[1]]
        ahead = next(groups, None)
        return found

    return of
