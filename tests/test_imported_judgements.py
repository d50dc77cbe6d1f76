"""That a judgement came in with a file is told by a column; workspaces and archives of before it lose nothing."""

import json
import sqlite3

import pytest

from studio.annotation import history
from studio.datasets import archive, importing
from studio.preferences import ratings
from studio.recovery import rescue
from studio.workspace import Workspace
from tests.support import earlier, stored

EVENTS = (
    (1, "import-1", 1, "left", "import", None),
    (2, "import-2", 2, "right", "import", None),
    (3, "a", 1, "tie", "person", 1),  # 1 corrected
    (4, "b", 3, "left", "person", None),
)
"""Id, uuid, comparison, outcome, rater, supersedes: as the version before the column wrote them."""


@pytest.fixture
def before(tmp_path):
    """A workspace of the version before the column, in a folder of its own."""
    root = tmp_path / "before"
    with earlier.written(root, "m020_imported_judgements") as db:
        for number in (1, 2, 3):
            earlier.pair(db, number)
        for event in EVENTS:
            db.execute(
                "INSERT INTO rating_events (id, uuid, comparison_id, outcome, rater, supersedes, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?, '2026-01-01T00:00:00.000+00:00')",
                event,
            )
    return root


def check(ws):
    assert {event["id"] for event in stored.read(ws, ratings.list_events) if event["is_imported"]} == {1, 2}
    assert stored.read(ws, history.count_imported) == 2
    found = stored.read(ws, history.find, history.Filter(is_imported=True))
    assert {entry.comparison_id: entry.outcome for entry in found} == {1: "tie", 2: "right"}
    with ws.write() as db:
        assert ratings.record_import(db, 2).id == 2, "an import that is given again records nothing"
        new = ratings.record_import(db, 3, outcome="right")
    assert stored.read(ws, history.count_imported) == 3
    assert new.outcome == "right"


def test_a_workspace_of_before_the_column_opens_with_it_filled_and_every_event_as_it_was(before):
    ws = Workspace.open(before)
    columns = ("id", "uuid", "comparison_id", "outcome", "rater", "supersedes")
    assert [tuple(event[name] for name in columns) for event in stored.read(ws, ratings.list_events)] == list(EVENTS)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"), ws.write() as db:
        db.execute("UPDATE rating_events SET is_imported = 1 WHERE id = 4")
    check(ws)


def test_an_archive_of_before_the_column_gets_it_filled(before, tmp_path):
    path = archive.write(Workspace.open(before)).path
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    head = {name: lines[0][name] for name in ("format", "migrations", "rows")}
    head["migrations"] = [name for name in head["migrations"] if not name.startswith("m020")]
    rows = [{name: value for name, value in row.items() if name != "is_imported"} for row in lines[1:]]
    older = tmp_path / "older.jsonl"
    older.write_text("".join(json.dumps(line) + "\n" for line in (head, *rows)), encoding="utf-8")
    read = Workspace.open(tmp_path / "read")
    archive.read(read, older)
    check(read)


def test_what_is_rescued_of_a_database_of_before_the_column_gets_it_filled(before, tmp_path):
    rescue.rescue(before, tmp_path / "rescued")
    check(Workspace.open(tmp_path / "rescued"))


def test_the_history_turns_pages_both_ways_and_shows_all_answers_of_an_imported_ranking(tmp_path):
    ws = Workspace.open(tmp_path / "studio")
    rows = [{"prompt": f"Name {n}.", "responses": ["a", "b", "c"], "ranks": [2, 1, 3]} for n in range(5)]
    path = tmp_path / "ranked.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    importing.import_source(ws, str(path))
    newest = stored.read(ws, history.find, limit=5)
    assert [entry.what for entry in newest] == ["ranking of 3, imported"] * 5
    assert stored.read(ws, history.texts, newest[0]) == ("a", "b", "c")
    assert stored.read(ws, history.find, limit=2, after=newest[3].id) == newest[1:3]
    assert stored.read(ws, history.find, limit=2, before=newest[2].id) == newest[3:]
