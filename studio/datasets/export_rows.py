"""Yields comparisons, preferences and demonstrations one by one, in the order of the exported file. Read-only.

The caller holds one read transaction, so that all rows are of one moment.
"""

import json
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlite_utils import Database

from studio.models.base_names import shown
from studio.preferences import hiding

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


def judgements(db: Database) -> Iterator[Row]:
    """Yield the ratings that count of what is not hidden, without a session's repeats, oldest first, with all that belongs to them.

    A row has `texts` and `models` (names of checkpoints, of a pretrained model as people read it, or those that came with an import, or None) by screen position, `messages`, `ranks`, `flags` and
    `attributes` as values, and the columns of the event; `created_at` is when it was judged.
    """
    for row in db.query(
        "SELECT r.uuid, r.comparison_id, r.showing_id, r.outcome, r.strength, r.ranks, r.reason, r.rater, r.elapsed_ms,"
        " coalesce(r.judged_at, r.created_at) AS created_at, r.note, r.flags, r.attributes, p.id AS prompt_id, p.messages, p.category, p.split,"
        " (SELECT json_group_array(json_array(t.text, t.name)) FROM (SELECT x.text, coalesce(k.name, x.model) AS name FROM json_each(r.response_ids) e"
        " JOIN responses x ON x.id = e.value LEFT JOIN checkpoints k ON k.id = x.checkpoint_id ORDER BY e.key) t) AS shown"
        " FROM ratings r JOIN comparisons c ON c.id = r.comparison_id JOIN prompts p ON p.id = c.prompt_id"
        " WHERE NOT EXISTS (SELECT 1 FROM session_items i WHERE i.showing_id = r.showing_id AND i.arm = 'repeat')"
        f" AND {hiding.is_pair_shown('c.id', 'c.prompt_id')}"
        " ORDER BY r.id"
    ):
        texts, models = zip(*json.loads(row.pop("shown")), strict=True)
        values = {name: json.loads(row[name]) if row[name] else None for name in ("ranks", "flags", "attributes")}
        names = [model and shown(model) for model in models]
        yield row | values | {"messages": json.loads(row["messages"]), "texts": list(texts), "models": names}


def count_events(db: Database) -> int:
    """Count the events, including those that no longer count."""
    return next(db.query("SELECT count(*) AS n FROM rating_events"))["n"]


def demonstrations(db: Database) -> Iterator[Row]:
    """Yield the demonstrations that are not hidden as chat messages, oldest first."""
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
