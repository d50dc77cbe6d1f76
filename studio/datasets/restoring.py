"""Brings a line of our own export back: the comparison with its showings and all its events, as they were."""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from sqlite_utils import Database

from studio.database.schema import imported
from studio.datasets.formats.item import Item
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.prompts import NewPrompt


def store(db: Database, item: Item, import_id: int) -> Literal["new", "known", "judged", "added"]:
    """Store the line; events and showings that are here already stay as they are."""
    record = item.record
    assert record is not None
    prompt_id = prompts.add_prompt(
        db, NewPrompt(record["messages"], record.get("category") or "", record.get("split")), import_id
    )
    texts = [response["text"] for response in record["responses"]]
    found = comparisons.find_by_texts(db, prompt_id, texts)
    if found is None:
        ids = [_response(db, prompt_id, response, import_id) for response in record["responses"]]
        made = comparisons.add_comparison(db, prompt_id, ids, created_at=record.get("created_at") or "")
        assert made is not None
        comparison_id, here = made, ids
    else:
        comparison_id, here = found
    was_judged = found is not None and comparisons.verdict(db, comparison_id) is not None
    to = {response["id"]: mine for response, mine in zip(record["responses"], here, strict=True)}
    before = db.conn.total_changes
    shown = {each["id"]: comparisons.restore_showing(db, comparison_id, each, to) for each in record["showings"]}
    _events(db, record, comparison_id, shown, to)
    if found is None:
        return "new"
    return "known" if db.conn.total_changes == before else "added" if was_judged else "judged"


def _response(db: Database, prompt_id: int, response: Mapping[str, Any], import_id: int) -> int:
    """Store a response; one that was sampled comes back as an imported one with its checkpoint's name as model."""
    kind = "demonstration" if response.get("kind") == "demonstration" else "import"
    model = response.get("checkpoint") or response.get("model")
    return prompts.add_response(
        db, prompt_id, response["text"], kind, import_id=import_id, model=model, **_made(response)
    )


def _made(response: Mapping[str, Any]) -> dict[str, Any]:
    return {name: response[name] for name in ("end_reason", "created_at") if response.get(name)}


def _events(
    db: Database, record: Mapping[str, Any], comparison_id: int, shown: dict[int, int], to: dict[int, int]
) -> None:
    """Store the events in their order, their links led to the events and responses here."""
    events: dict[int, int] = {}
    for event in sorted(record["events"], key=lambda each: each["id"]):
        links = {"showing_id": shown, "supersedes": events, "restores": events, "edited_response_id": to}
        row = event | {name: ids.get(event[name]) if event.get(name) else None for name, ids in links.items()}
        for name in ("ranks", "flags", "attributes", "facts"):
            row[name] = json.dumps(row[name]) if isinstance(row.get(name), dict | list) else row.get(name)
        row["is_imported"] = int(event["is_imported"] if "is_imported" in event else imported.was_imported(event))
        uuid = re.sub(rf"^import-{record['id']}(?=$|-)", f"import-{comparison_id}", event["uuid"])
        events[event["id"]] = ratings.restore_event(db, row | {"comparison_id": comparison_id, "uuid": uuid})
