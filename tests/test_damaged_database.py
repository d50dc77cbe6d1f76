"""A damaged database: one sentence everywhere, never half a list with exit code 0, and what can be read is rescued and counted."""

import random
import sqlite3
from contextlib import closing

import pytest

from studio.cli import main
from studio.database import connection
from studio.datasets import archive
from studio.preferences import prompts, ratings
from studio.recovery import rescue
from studio.workspace import Workspace
from tests.support import stored
from tests.support.many import AT, fill

NUMBER = 800
COMMANDS = (
    ["runs"], ["history"], ["history", "--search", "window"], ["history", "show", "200"], ["snapshots", "freeze"], ["snapshots"],
    ["runs", "show", "sft-1"], ["session", "card"], ["models"], ["export", "ratings"], ["export", "ratings", "--format", "archive"],
    ["export", "demonstrations"],
)  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    ws = Workspace.open(tmp_path_factory.mktemp("sound") / "workspace")
    fill(ws, NUMBER)
    with ws.write() as db:
        for number in range(1, 20):
            db.table("runs").insert(
                {"name": f"sft-{number}", "stage": "sft", "state": "finished", "config": "{}", "revision": "x", "created_at": AT,
                 "ended_at": AT, "gone_at": AT, "pid": 1, "pid_started": 1.0}
            )  # fmt: skip
        for step in range(500):
            db.execute("INSERT INTO metrics (run_id, step, name, value, at) VALUES (1, ?, 'loss', 1.0, ?)", [step, AT])
    with closing(sqlite3.connect(ws.database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return ws.database.read_bytes()


@pytest.fixture
def ws(tmp_path):
    folder = tmp_path / "workspace"
    for name in ("runs", "exports"):
        (folder / name).mkdir(parents=True)
    return Workspace(folder)


def flipped_bytes(raw):
    rng = random.Random(3)
    for _ in range(400):
        raw[rng.randrange(len(raw) // 4, 3 * len(raw) // 4)] ^= 0xFF
    return raw


def broken_page_heads(raw):
    for page in range(len(raw) // 8192, len(raw) // 4096, 9):
        raw[page * 4096 : page * 4096 + 16] = b"\xff" * 16
    return raw


def a_view_of_the_list(raw):
    """A single letter of the list of tables: SQLite then reads no table at all."""
    at = raw.index(b"CREATE VIEW ratings")
    raw[at : at + 6] = b"CR\xffATE"
    return raw


def pages_of_the_list(raw):
    """The later pages of the list of tables."""
    at = raw.index(b"CREATE TABLE rating_tallies") // 4096 * 4096
    raw[at : at + 16] = b"\xff" * 16
    return raw


def half(raw):
    return raw[: len(raw) // 2]


def other_head(raw):
    raw[:16] = b"garbage garbage "
    return raw


def broken_texts(raw):
    """A text that is no UTF-8 and a JSON that is none: the pages themselves are sound."""
    for number in range(1, 60):
        raw = bytearray(
            bytes(raw).replace(f"Question {number}:".encode(), f"Questi\xff\xfe {number}:".encode("latin-1"), 3)
        )
    return bytearray(
        bytes(raw).replace(b'[{"role": "user", "content": "Question 1', b'[{"role"; "user", "content": "Question 1')
    )


DAMAGES = {
    "flipped bytes": flipped_bytes,
    "page heads": broken_page_heads,
    "an entry of the list of tables": a_view_of_the_list,
    "a page of the list of tables": pages_of_the_list,
    "cut to half": half,
    "another head": other_head,
    "texts": broken_texts,
}


@pytest.fixture(params=DAMAGES.values(), ids=DAMAGES)
def damaged(request, ws, sound):
    ws.database.write_bytes(request.param(bytearray(sound)))
    return ws


def test_each_command_ends_in_one_sentence_or_is_right_and_never_in_a_traceback(damaged, capsys):
    num_refused = 0
    for words in COMMANDS:
        code = main([*words, "--workspace", str(damaged.root)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        if code:
            assert said.err.count("\n") == 1, said.err
            num_refused += "damaged" in said.err and "rlhf-studio rescue" in said.err
        elif words[0] == "history" and len(words) == 1:
            assert "20 of 800 ratings" in said.out, "never half a list"
    assert num_refused


def test_what_can_be_read_is_in_the_new_workspace_and_the_rest_is_counted(damaged, tmp_path, capsys):
    before = damaged.database.read_bytes()
    new = Workspace(tmp_path / "rescued")
    assert main(["rescue", str(new.root), "--workspace", str(damaged.root)]) == 0
    said = capsys.readouterr().out
    assert damaged.database.read_bytes() == before, "the damaged file is left as it is"
    assert connection.quick_check(new.database) == "ok"
    with new.read() as db:
        assert not list(db.query("PRAGMA foreign_key_check"))
        saved = db.table("rating_events").count
        assert list(db.query("SELECT 1 FROM runs WHERE pid IS NOT NULL")) == [], "nothing of the old processes"
    assert f"{saved:,} saved" in said or "rating_events" in said.partition("all ")[2], "what is not found is said"
    assert saved > 100 or stored.read(new, prompts.counts)["prompts"] > 100, "what was cut off is lost"
    for words in (["runs"], ["history"]):
        assert main([*words, "--workspace", str(new.root)]) == 0
    assert archive.write(new).rows.get("rating_events", 0) == saved
    assert not (new.root / ".damaged").exists()


def test_a_sound_database_is_rescued_whole(ws, sound, tmp_path):
    ws.database.write_bytes(sound)
    found = rescue.rescue(ws.root, tmp_path / "rescued")
    assert not found.lost
    new = Workspace.open(tmp_path / "rescued")
    assert stored.read(new, ratings.summary) == stored.read(Workspace.open(ws.root), ratings.summary)
    assert stored.read(new, prompts.counts) == stored.read(ws, prompts.counts)
    assert found.saved["metrics"] == 500


def test_ratings_behind_a_page_that_cannot_be_read_are_saved_and_the_gap_is_counted(ws, sound, tmp_path):
    ws.database.write_bytes(sound)
    with closing(sqlite3.connect(ws.database)) as db:
        try:
            pages = [
                n for (n,) in db.execute("SELECT pageno FROM dbstat WHERE name = 'rating_events' AND pagetype = 'leaf'")
            ]
        except sqlite3.OperationalError:
            pytest.skip("this SQLite tells no page numbers")
    raw = bytearray(ws.database.read_bytes())
    page = sorted(pages)[len(pages) // 2]
    raw[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    ws.database.write_bytes(raw)
    found = rescue.rescue(ws.root, tmp_path / "rescued")
    assert 0 < found.lost["rating_events"] < 120
    assert found.saved["rating_events"] + found.lost["rating_events"] == NUMBER


@pytest.mark.parametrize("kind", ["gone", "a folder with something in it", "no database at all"])
def test_what_cannot_be_rescued_is_said(ws, tmp_path, capsys, kind):
    new = tmp_path / "new"
    if kind != "gone":
        ws.database.write_bytes(b"no database at all" * 1000)
    if kind == "a folder with something in it":
        new.mkdir()
        (new / "precious.txt").write_text("precious")
    assert main(["rescue", str(new), "--workspace", str(ws.root)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    if new.exists() and kind != "no database at all":
        assert [path.name for path in new.iterdir()] == ["precious.txt"]
