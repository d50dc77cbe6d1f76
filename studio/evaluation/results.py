"""Suites, items and results as they are stored: the owner of those tables.

A result belongs to an item, a subject (a checkpoint, or ``base:NAME``) and a sample, and is stored once: what was measured under
the same conditions is not measured again.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlite_utils import Database

from studio.workspace import now


class Subject(NamedTuple):
    """What is measured."""

    name: str
    """A checkpoint's name, or a pretrained model's, as `base_names.stored` gives it."""
    role: str
    """The backbone's role that was active."""
    base_fingerprint: str
    checkpoint_id: int | None


class Result(NamedTuple):
    """What a subject did with an item."""

    place: int
    sample: int
    scores: dict[str, Any]
    text: str | None = None


class Measured(NamedTuple):
    """A suite that something was measured on."""

    id: int
    name: str
    title: str
    kind: str
    conditions: dict[str, Any]
    subjects: tuple[str, ...]


class Item(NamedTuple):
    """An item with its results: subject to the samples' scores and texts."""

    id: int
    cluster: str
    content: dict[str, Any]
    scores: dict[str, list[dict[str, Any]]]
    texts: dict[str, list[str]]


def keep_suite(
    db: Database,
    name: str,
    title: str,
    kind: str,
    conditions: Mapping[str, Any],
    items: Sequence[Mapping[str, Any]],
) -> int:
    """Store a suite with its items, once; returns its id.

    A suite that came from an archive or was rescued may have other items than its fingerprint says: it is passed over.
    """
    whole = json.dumps([name, kind, conditions, items], sort_keys=True, ensure_ascii=False)
    while True:
        fingerprint = hashlib.sha256(whole.encode()).hexdigest()
        known = next(db.query("SELECT * FROM evaluation_suites WHERE fingerprint = ?", [fingerprint]), None)
        if known is None:
            break
        if (known["name"], known["kind"], json.loads(known["conditions"])) == (name, kind, conditions) and (
            _stored_items(db, known["id"]) == [(place, *_parts(item)) for place, item in enumerate(items)]
        ):
            return known["id"]
        whole += " "
    suite = {"name": name, "title": title, "kind": kind, "conditions": json.dumps(conditions, sort_keys=True)}
    suite_id: Any = (
        db.table("evaluation_suites").insert(suite | {"fingerprint": fingerprint, "created_at": now()}).last_pk
    )
    db.table("evaluation_items").insert_all(
        {
            "suite_id": suite_id,
            "place": place,
            "cluster": cluster,
            "content": json.dumps(content, ensure_ascii=False),
        }
        for place, (cluster, content) in enumerate(map(_parts, items))
    )
    return suite_id


def _parts(item: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return an item's cluster and its other fields."""
    return item.get("cluster", ""), {key: value for key, value in item.items() if key != "cluster"}


def _stored_items(db: Database, suite_id: int) -> list[tuple[int, str, dict[str, Any]]]:
    rows = db.query(
        "SELECT place, cluster, content FROM evaluation_items WHERE suite_id = ? ORDER BY place", [suite_id]
    )
    return [(row["place"], row["cluster"], json.loads(row["content"])) for row in rows]


def add(db: Database, run_id: int, suite_id: int, subject: Subject, results: Iterable[Result]) -> None:
    """Store results in one transaction; those that are known stay as they are."""
    ids = {
        row["place"]: row["id"]
        for row in db.query("SELECT id, place FROM evaluation_items WHERE suite_id = ?", [suite_id])
    }
    fixed = {
        "subject": subject.name,
        "role": subject.role,
        "base_fingerprint": subject.base_fingerprint,
        "checkpoint_id": subject.checkpoint_id,
        "run_id": run_id,
        "created_at": now(),
    }
    db.table("evaluation_results").insert_all(
        (
            fixed
            | {
                "item_id": ids[result.place],
                "sample": result.sample,
                "scores": json.dumps(result.scores),
                "text": result.text,
            }
            for result in results
        ),
        ignore=True,
    )


def places_done(db: Database, suite_id: int, subject: str) -> set[int]:
    """Return the places of the items that have results of a subject; a batch is stored whole or not at all."""
    rows = db.query(
        "SELECT DISTINCT i.place FROM evaluation_results r JOIN evaluation_items i ON i.id = r.item_id"
        " WHERE i.suite_id = ? AND r.subject = ?",
        [suite_id, subject],
    )
    return {row["place"] for row in rows}


def measured(db: Database) -> list[Measured]:
    """Return the suites that have results, with their subjects in the order in which they were first measured."""
    rows = db.query(
        "SELECT s.id, s.name, s.title, s.kind, s.conditions, r.subject, min(r.id) AS first"
        " FROM evaluation_suites s JOIN evaluation_items i ON i.suite_id = s.id"
        " JOIN evaluation_results r ON r.item_id = i.id GROUP BY s.id, r.subject ORDER BY s.id, first"
    )
    found: dict[int, Measured] = {}
    for row in rows:
        known = found.get(row["id"]) or Measured(
            row["id"], row["name"], row["title"], row["kind"], json.loads(row["conditions"]), ()
        )
        found[row["id"]] = known._replace(subjects=(*known.subjects, row["subject"]))
    return list(found.values())


def items(db: Database, suites: int | Sequence[int], subjects: Iterable[str]) -> list[Item]:
    """Return the items that each of these subjects has results on, with the results.

    Args:
        db: an open connection.
        suites: ids; of several, got under conditions that make no difference here, results on the same item at the same
            place count together, a subject's newest ones.
        subjects: names.
    """
    wanted = list(dict.fromkeys(subjects))
    found: dict[tuple[int, str], Item] = {}
    suite_of: dict[tuple[int, str, str], int] = {}
    rows = db.query(
        "SELECT i.id, i.suite_id, i.place, i.cluster, i.content, r.subject, r.scores, r.text FROM evaluation_items i"
        " JOIN evaluation_results r ON r.item_id = i.id WHERE i.suite_id IN (SELECT value FROM json_each(?))"
        " AND r.subject IN (SELECT value FROM json_each(?)) ORDER BY i.suite_id, i.place, r.sample",
        [json.dumps([suites] if isinstance(suites, int) else list(suites)), json.dumps(wanted)],
    )
    for row in rows:
        key, subject = (row["place"], row["content"]), row["subject"]
        if key not in found:
            found[key] = Item(row["id"], row["cluster"], json.loads(row["content"]), {}, {})
        item = found[key]
        if suite_of.get((*key, subject)) != row["suite_id"]:
            suite_of[*key, subject] = row["suite_id"]
            item.scores[subject], item.texts[subject] = [], []
        item.scores[subject].append(json.loads(row["scores"]))
        item.texts[subject].append(row["text"] or "")
    return [found[key] for key in sorted(found) if len(found[key].scores) == len(wanted)]
