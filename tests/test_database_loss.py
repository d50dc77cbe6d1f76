"""A database that is lost, emptied or taken away next to the folders that belong to it: nothing is made in its place, and it is said."""

import sqlite3
import uuid
from contextlib import closing

import pytest

from studio.cli import main
from studio.errors import WorkspaceError, WorkspaceUnavailable
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.workspace import Workspace
from tests.support import stored
from ui.handlers import served
from ui.pages.rate import pairs

SUFFIXES = ("", "-wal", "-shm")


@pytest.fixture
def ws(tmp_path):
    """Two pairs to rate."""
    ws = Workspace.open(tmp_path / "workspace")
    with ws.write() as db:
        for number in range(2):
            prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"Question {number}"}]))
            pair = [prompts.add_response(db, prompt_id, f"{side} {number}", "import") for side in ("one", "two")]
            comparisons.add_comparison(db, prompt_id, (pair[0], pair[1]))
    return ws


def empty(path):
    path.write_bytes(b"")


def remove(path):
    path.unlink()


def blank(path):
    """A database without a table, as a program leaves it that only opened it."""
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 1")
    db.close()


def files(ws):
    return {path: path.stat().st_size for path in sorted(ws.root.rglob("*"))}


@pytest.mark.parametrize("lose", [empty, remove, blank])
@pytest.mark.parametrize("left", ["runs/sft-1", "exports/ratings.jsonl", "backups/studio.db"])
def test_an_empty_database_beside_what_belongs_to_one_is_refused_with_what_to_do(ws, capsys, lose, left):
    (ws.root / left).parent.mkdir(exist_ok=True)
    (ws.root / left).write_text("what was made")
    lose(ws.database)
    before = files(ws)
    for words in (["runs"], ["history"], ["sft"], ["import", "some.jsonl"], ["ui", "--no-browser"]):
        assert main([*words, "--workspace", str(ws.root)]) == 1
        said = capsys.readouterr().err
        assert left.split("/")[1] in said
        assert "Put studio.db back" in said
        assert "doctor --repair" in said
    assert files(ws) == before


def test_a_database_whose_wal_alone_is_left_is_not_made_again_over_it(ws):
    ws.database.with_name("studio.db-wal").write_bytes(b"what was not written back yet")
    ws.database.unlink()
    with pytest.raises(WorkspaceError, match="studio.db-wal, which belongs to it"):
        Workspace.open(ws.root)
    assert not ws.database.exists()


def test_a_folder_that_was_never_used_becomes_a_workspace(tmp_path):
    (tmp_path / "rewards").mkdir()
    (tmp_path / "rewards" / "mine.py").write_text("def reward(prompt, response): return 0.0")
    assert Workspace.open(tmp_path).database.exists()


@pytest.mark.parametrize("is_emptied", [False, True])
def test_a_press_on_a_page_whose_database_was_taken_away_is_kept_and_recorded_once_it_is_back(ws, is_emptied):
    showing = stored.written(ws, comparisons.next_showing)
    press = {"uuid": str(uuid.uuid4()), "showing": showing.id, "outcome": "left", "elapsed_ms": 400}
    record = served(lambda sent: pairs._record(ws, pairs._checked(pairs.Press, sent)))
    moved = []
    for suffix in SUFFIXES:
        path = ws.database.with_name(ws.database.name + suffix)
        if path.exists():
            moved.append((path, path.rename(f"{path}.away")))
    if is_emptied:
        ws.database.write_bytes(b"")
    before = files(ws)
    for _ in range(2):
        answer = record(press)
        assert answer["is_kept"]
        assert f"studio.db {'is empty' if is_emptied else 'is gone from'}" in answer["error"]
        assert str(ws.root) in answer["error"]
        assert "Put it back" in answer["error"]
    assert files(ws) == before, "no new file"
    for path, away in moved:
        away.rename(path)
    assert record(press)["recorded"] == "left better"
    assert [event["uuid"] for event in stored.read(ws, ratings.list_events)] == [press["uuid"]]


def test_what_the_workspace_cannot_take_now_is_kept_by_the_page_and_what_is_wrong_is_not():
    def unavailable(_):
        raise WorkspaceUnavailable("The disk is full.")

    def wrong(_):
        raise WorkspaceError("A number is too large to be stored here.")

    assert served(unavailable)() == {"error": "The disk is full.", "is_kept": True}
    assert "is_kept" not in served(wrong)()


def test_the_database_of_another_program_is_left_as_it_is(ws, capsys):
    for suffix in SUFFIXES:
        ws.database.with_name(ws.database.name + suffix).unlink(missing_ok=True)
    with closing(sqlite3.connect(ws.database)) as db:
        db.execute("CREATE TABLE letters (text TEXT)")
        db.commit()
    before = ws.database.read_bytes()
    assert main(["runs", "--workspace", str(ws.root)]) == 1
    said = capsys.readouterr().err
    assert "the database of another program: it has the table letters" in said
    assert said.count("\n") == 1
    assert ws.database.read_bytes() == before
