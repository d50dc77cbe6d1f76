"""A long import comes in piece by piece: others write in between, see none of it until it is whole, and a stopped one leaves nothing."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from studio.annotation import history, sessions
from studio.annotation.session_config import SessionConfig
from studio.database import curtain
from studio.datasets import archive, importing, publishing, staging
from studio.datasets.formats.item import Item
from studio.datasets.sifting import Tally
from studio.datasets.staging import Stage
from studio.errors import DataError
from studio.preferences import comparisons, edits, prompts, ratings, text_search
from studio.preferences.prompts import NewPrompt
from studio.recovery import backups, daily, rescue
from studio.workspace import Workspace
from tests.exchange.test_storing import told
from tests.support import stored
from tests.support.waiting import until

NUM = 60
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    for name, value in {"LARGE": 10, "FIRST_PIECE": 7, "GRACE_S": 0.0, "PAUSE_S": 0.0}.items():
        monkeypatch.setattr(publishing, name, value)
    monkeypatch.setattr(publishing, "_next_size", lambda size, started: 7)


@pytest.fixture
def ws(tmp_path):
    """Two pairs to rate, one of them rated."""
    ws = Workspace.open(tmp_path / "workspace")
    with ws.write() as db:
        for number in range(2):
            asked = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"Here {number}?"}]))
            pair = [prompts.add_response(db, asked, text, "import") for text in ("one", "two")]
            comparisons.add_comparison(db, asked, (pair[0], pair[1]))
    rate(ws)
    return ws


def rate(ws):
    """Judge the next pair as a person does; returns its prompt."""
    showing = stored.written(ws, comparisons.next_showing)
    if showing is None:
        return None
    stored.written(ws, ratings.record, showing.id, "left")
    return showing.messages[0]["content"]


@pytest.fixture
def source(tmp_path):
    """Judged pairs, open ones, a tie, one of a prompt that is here, and one prompt twice."""
    rows = [{"prompt": f"New {n}?", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(NUM)]
    rows += [
        {"prompt": "Here 0?", "chosen": "three", "rejected": "four"},
        {"prompt": "New 3?", "chosen": "good 3", "rejected": "worse"},
    ]
    return write(tmp_path / "many.jsonl", rows)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def seen(ws):
    """Everything of the tables as one program sees it, and what the pages show."""
    with ws.read() as db:
        tables = {
            name: list(db.query(f"SELECT * FROM {name} ORDER BY 1, 2"))
            for name in (*curtain.TABLES, "ratings", "demonstrations")
        }
        return tables | {
            "counts": prompts.counts(db),
            "rated": ratings.summary(db),
            "imports": prompts.list_imports(db),
            "listed": prompts.list_prompts(db, search="New"),
            "pairs": comparisons.counts(db),
            "history": history.count(db),
        }


def test_nobody_sees_any_of_it_until_it_is_whole_and_then_all_of_it_is_there(ws, source, tmp_path):
    before, shares, packed = seen(ws), [], archive.write(ws).path.read_bytes()

    def look(num_rows, share, doing):
        if doing == "stored" and share < 1:
            shares.append(share)
            assert seen(ws) == before
            assert archive.write(ws).path.read_bytes() == packed

    result = importing.import_source(ws, source, progress=look)
    assert len(shares) > 20
    assert shares == sorted(shares)
    assert (result.num_new, result.num_rows) == (NUM + 2, NUM + 2)
    other = Workspace.open(tmp_path / "other")
    archive.read(other, tmp_path / "workspace/exports/archive.jsonl")
    assert seen(other) == before
    publishing.LARGE = 10**9
    importing.import_source(other, source)
    whole, pieces = without_times(seen(other)), without_times(seen(ws))
    for name, value in whole.items():
        assert pieces[name] == value, f"{name}: the same as in one transaction"
    assert stored.read(ws, history.count) == NUM + 3
    assert len(stored.read(ws, prompts.list_prompts, search="New 3?")) == 1, "found by the search"


def without_times(found):
    """The same without what is drawn or clocked."""
    fixed = {"created_at": "", "uuid": ""}
    return json.loads(json.dumps(found), object_hook=lambda row: row | {name: "" for name in fixed if name in row})


def test_a_person_rates_and_writes_between_the_pieces(ws, source, monkeypatch):
    told = []

    def meanwhile(num_rows, share, doing):
        if doing != "stored" or share == 1:
            return
        told.append(rate(ws))
        stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": f"Mine {len(told)}?"}], "Yes.")

    result = importing.import_source(ws, source, progress=meanwhile)
    assert result.num_new == NUM + 2
    assert told[0] == "Here 1?"
    assert set(told[1:]) == {None}, "no pair of the import is shown before it is whole"
    with ws.read() as db:
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert ratings.summary(db)["rated"] == NUM + 2 + 2
        assert sum(row["number"] for row in db.query("SELECT number FROM rating_tallies")) == NUM + 2 + 2
        rows = db.query(
            "SELECT p.messages, group_concat(r.text) AS texts FROM prompts p JOIN responses r ON r.prompt_id = p.id GROUP BY p.id"
        )
        texts = {json.loads(row["messages"])[0]["content"]: set(row["texts"].split(",")) for row in rows}
    assert texts["New 7?"] == {"good 7", "bad 7"}
    assert texts["New 3?"] == {"good 3", "bad 3", "worse"}
    assert texts["Mine 2?"] == {"Yes."}


def test_a_row_is_hidden_without_reading_all_pieces(ws):
    """Each press of a person between two pieces begins a new one."""
    with ws.write() as db:
        for number in range(3):
            curtain.hide(db, curtain.Piece("prompts", 900 + 10 * number, 905 + 10 * number))
    with ws.read() as db:
        plan = " ".join(row["detail"] for row in db.query("EXPLAIN QUERY PLAN SELECT count(*) FROM prompts"))
        assert "SEARCH u USING COVERING INDEX unfinished_imports_first" in plan
        assert db.execute("SELECT count(*) FROM prompts").fetchone()[0] == 2


def test_everything_that_a_person_does_works_while_something_is_hidden(ws, tmp_path):
    """An INSERT that did not name the table itself would meet a view."""
    with ws.write() as db:
        curtain.hide(db, curtain.Piece("prompts", 900, 950))
    with ws.write() as db:
        asked = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": "Now?"}]))
        pair = [prompts.add_response(db, asked, text, "import") for text in ("first", "second")]
        assert comparisons.add_comparison(db, asked, pair) is not None
        import_id = prompts.record_import(db, "x", "0" * 64, "prompts")
        prompts.close_import(db, import_id, 1, {})
    session = stored.written(ws, sessions.start, SessionConfig())
    showing = stored.written(ws, sessions.next_showing)
    assert showing is not None
    rating = stored.written(ws, ratings.record, showing.id, "left")
    stored.written(ws, ratings.correct, rating.id, "right")
    stored.undone(ws)
    following = stored.written(ws, sessions.next_showing)
    assert following is not None
    stored.written(ws, edits.demonstrate, following.id, "written from scratch")
    stored.written(ws, edits.edit_to_ideal, following.id, 1, "better", uuid="11111111-1111-1111-1111-111111111111")
    stored.written(ws, sessions.end, session.id)
    assert stored.freeze(ws).row_count
    with ws.read() as db:
        assert prompts.list_imports(db)[0]["kept"] == 1
        assert len(prompts.list_prompts(db)) == 3
    other = Workspace.open(tmp_path / "other")
    archive.read(other, archive.write(ws).path)
    assert seen(other)["counts"] == seen(ws)["counts"]


@pytest.mark.parametrize("after", [0, 3, 12, 20, 30])
def test_an_import_that_is_stopped_between_two_pieces_leaves_nothing(ws, source, after):
    before, num = stored.tables(ws), 0

    def stop(num_rows, share, doing):
        nonlocal num
        num += doing == "stored"
        if num > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        importing.import_source(ws, source, progress=stop)
    left = stored.tables(ws)
    assert {name for name in before if left[name] != before[name]} <= {"high_water"}
    assert left["unfinished_imports"] == []
    assert importing.import_source(ws, source).num_new == NUM + 2


def test_what_a_killed_import_left_is_never_seen_and_taken_out_by_the_next(ws, source, tmp_path):
    before = seen(ws)
    code = (
        "import sys, time; from studio.datasets import importing, publishing; from studio.workspace import Workspace\n"
        "publishing.LARGE, publishing.FIRST_PIECE, publishing.GRACE_S, publishing.PAUSE_S = 10, 7, 0, 0\n"
        "publishing._next_size = lambda size, started: 7\n"
        "def report(num, share, doing):\n"
        "    if share > 0.9 and doing == 'stored': print('there', flush=True); time.sleep(600)\n"
        "importing.import_source(Workspace.existing(sys.argv[1]), sys.argv[2], progress=report)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(ws.root), source], stdout=subprocess.PIPE, env=environment
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"there\n"
    assert not publishing.take_out_leftovers(ws), "it is running"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert len(stored.tables(ws)["unfinished_imports"]) >= 4
    assert seen(ws) == before
    saved = backups.make(ws).path
    found = rescue.rescue(ws.root, tmp_path / "rescued")
    assert found.saved["prompts"] == 2
    assert seen(Workspace.open(tmp_path / "rescued"))["pairs"] == before["pairs"]
    assert saved.exists()
    small = write(tmp_path / "small.jsonl", [{"prompt": "Small?", "chosen": "a", "rejected": "b"}])
    assert importing.import_source(ws, small).num_new == 1
    assert stored.tables(ws)["unfinished_imports"] == []
    with ws.read() as db:
        assert db.execute("SELECT count(*) FROM main.prompts").fetchone()[0] == 3, "two were here, one came"
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    assert importing.import_source(ws, source).num_new == NUM + 2


def test_a_server_takes_out_what_a_killed_import_left_and_indexes_what_a_long_one_left(ws, source, monkeypatch):
    monkeypatch.setattr(daily, "LOOK_S", 0.05)
    monkeypatch.setattr(text_search, "PAUSE_S", 0)
    stored.written(ws, lambda db: curtain.hide(db, curtain.Piece("imports", 90, 91)))
    with daily.kept(ws):
        until(lambda: not stored.read(ws, curtain.is_needed), "nothing is hidden any more")
        importing.import_source(ws, source)
        until(lambda: stored.tables(ws)["search_backlog"] == [], "the search has the texts")
        stored.written(ws, lambda db: curtain.hide(db, curtain.Piece("imports", 90, 91)))
        until(
            lambda: not stored.read(ws, curtain.is_needed), "nothing is hidden any more, without a start or an import"
        )


@pytest.mark.parametrize("which", ["New 0?", f"New {NUM - 1}?"])
def test_a_prompt_that_another_program_adds_between_the_pieces_is_one_with_that_of_the_source(ws, source, which):
    messages, refused = [{"role": "user", "content": which}], []

    def meanwhile(num_rows, share, doing):
        if doing == "stored" and 0 < share < 0.2 and not refused:
            refused.append("")
            try:
                stored.written(ws, prompts.add_demonstration, messages, "Mine.")
            except DataError as error:
                refused[0] = str(error)

    result = importing.import_source(ws, source, progress=meanwhile)
    is_hidden = which == "New 0?"
    assert ("belongs to an import that is not complete" in refused[0]) == is_hidden
    with ws.read() as db:
        (found,) = prompts.list_prompts(db, search=which)
        texts = {row["text"] for row in db.query("SELECT text FROM responses WHERE prompt_id = ?", [found["id"]])}
    number = which.removeprefix("New ").removesuffix("?")
    assert texts == {f"good {number}", f"bad {number}"} | (set() if is_hidden else {"Mine."})
    assert result.num_new == NUM + 2
    assert stored.tables(ws)["unfinished_imports"] == []


OLD = [
    {"prompt": f"Old {n}?", "response_a": "a", "response_b": "b", "preference": "a", "rater": "zoe"} for n in range(NUM)
] + [{"prompt": f"Waits {n}?", "response_a": "a", "response_b": "b"} for n in range(3)]
OLD += [{"prompt": "Nobody?", "response_a": "a", "response_b": "b", "preference": "a"}]
OLD += [{"prompt": "Three?", "response_a": first, "response_b": second} for first, second in ("ab", "bd")]
MORE = [
    *({"prompt": f"Old {n}?", "response_a": "b", "response_b": "c", "preference": "b", "rater": "max"} for n in range(NUM)),
    *({"prompt": f"Old {n}?", "response_a": "b", "response_b": "a", "preference": "a", "rater": "max"} for n in range(NUM)),
    {"prompt": "Waits 0?", "response_a": "a", "response_b": "b", "preference": "tie", "rater": "max"},
    {"prompt": "Waits 1?", "response_a": "b", "response_b": "a", "preference": "a"},
    {"prompt": "Nobody?", "response_a": "b", "response_b": "a", "preference": "a"},
    {"prompt": "Three?", "response_a": "d", "response_b": "a", "preference": "b", "rater": "max"},
    {"prompt": "Waits 1?", "response_a": "a", "response_b": "b", "preference": "b", "rater": "max"},
    {"prompt": "Waits 2?", "response_a": "a", "response_b": "c"},
    {"prompt": "Waits 2?", "response_a": "c", "response_b": "a", "preference": "a", "rater": "max"},
    {"prompt": "Waits 2?", "response_a": "b", "response_b": "c", "preference": "a", "rater": "zoe", "judged_at": "2026-02-03T04:05:06Z"},
    {"prompt": "Old 0?", "response_a": "a", "response_b": "b", "preference": "a", "rater": "zoe"},
]  # fmt: skip
"""New pairs of answers of which one is here, or two are; judgements of pairs that are here: more, the first, a contrary one, one again."""


@pytest.fixture
def old(ws, tmp_path):
    """The workspace with prompts that another source brought, and a source of which all prompts are among them."""
    importing.import_source(ws, write(tmp_path / "old.jsonl", OLD))
    return ws, write(tmp_path / "more.jsonl", MORE)


def test_what_comes_in_on_prompts_that_are_here_comes_by_pieces_too_and_is_what_would_come_item_by_item(old, tmp_path):
    ws, more = old
    shutil.copytree(ws.root, tmp_path / "other")
    before, shares = seen(ws), []

    def look(num_rows, share, doing):
        if doing == "stored" and share < 1:
            shares.append(share)
            assert seen(ws) == before

    results, other = [importing.import_source(ws, more, progress=look)], Workspace.existing(tmp_path / "other")
    assert len(shares) > 20, "by pieces"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stage, "add", lambda self, item: self._put("later", pickle.dumps(item)))
        results.append(importing.import_source(other, more))
    facts = [(each.num_kept, each.num_new, each.num_added, each.num_judged, each.num_contrary) for each in results]
    assert facts[0] == facts[1] == (len(MORE), NUM + 3, NUM + 1, 3, 1)
    assert told(ws) == told(other)
    for each in (ws, other):
        with each.read() as db:
            assert len(stored.tables(each)["waiting_comparisons"]) == 4, (
                "those of Here 1?, Waits 2? and Three?, no judged one"
            )
            assert db.execute("PRAGMA foreign_key_check").fetchall() == []
            num_ratings = db.execute("SELECT count(*) FROM ratings").fetchone()[0]
            assert sum(row["number"] for row in db.query("SELECT number FROM rating_tallies")) == num_ratings
    assert importing.import_source(ws, more).is_repeat


def test_two_versions_of_one_event_in_a_source_are_one_event_and_its_correction(old, monkeypatch):
    ws, _ = old
    pair = Item("pair", [{"role": "user", "content": "Waits 0?"}], ("a", "b"), ((0,), (1,)), rater="max", event_id="7")
    versions = [replace(pair, at="2026-02-03"), replace(pair, at="2026-02-04", groups=((1,), (0,)))]
    counts = Counter()
    with staging.opened(ws) as (db, stage):
        for item in versions:
            stage.add(item)
        stage.close()
        with ws.transaction(db, is_import=True):
            importing._publish(db, stage, 1, Tally(), counts, is_there=False)
    assert counts == {"judged": 1, "corrected": 1}
    (found,) = [row for row in stored.preferences(ws) if row["rater"] == "max"]
    assert found["outcome"] == "right"


@pytest.mark.parametrize("after", [0, 5, 20])
def test_an_import_on_prompts_that_are_here_that_is_stopped_leaves_nothing(old, after):
    ws, more = old
    before, shares = stored.tables(ws), []

    def stop(num_rows, share, doing):
        if doing == "stored":
            shares.append(share)
            if len(shares) > after:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        importing.import_source(ws, more, progress=stop)
    left = stored.tables(ws)
    assert {name for name in before if left[name] != before[name]} <= {"high_water"}
    assert importing.import_source(ws, more).num_new == NUM + 3


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize(("prompt", "pair"), [("Old 7?", "bc"), ("Three?", "ad")])
def test_what_another_program_adds_to_a_prompt_meanwhile_is_one_with_what_the_source_has(old, share, prompt, pair):
    """An answer that is in no comparison yet, and a comparison of answers that were here."""
    ws, more = old
    done = []

    def meanwhile(num_rows, at, doing):
        if doing == "stored" and at >= share and not done:
            done.append(stored.written(ws, add))

    def add(db):
        (here,) = prompts.list_prompts(db, search=prompt)
        if prompt == "Old 7?":
            return prompts.add_response(db, here["id"], "c", "import")
        ids = [prompts.find_response(db, here["id"], each) or 0 for each in pair]
        return comparisons.add_comparison(db, here["id"], ids)

    result = importing.import_source(ws, more, progress=meanwhile)
    is_one = prompt == "Three?"
    assert (result.num_new, result.num_added, result.num_judged) == (NUM + 3 - is_one, NUM + 1, 3 + is_one)
    (found,) = [
        row
        for row in stored.comparisons(ws)
        if row["messages"][0]["content"] == prompt and {each["text"] for each in row["responses"]} == set(pair)
    ]
    assert [event["rater"] for event in found["events"]] == ["max"]
    assert done[0] in (found["id"], *(each["id"] for each in found["responses"]))


def test_a_judgement_that_another_program_adds_meanwhile_is_not_there_twice(old, tmp_path):
    ws, more = old
    some = write(tmp_path / "some.jsonl", MORE[NUM : NUM + 3])
    done = []

    def meanwhile(num_rows, share, doing):
        if doing == "read" and not done:
            done.append(importing.import_source(ws, some).num_added)

    publishing.LARGE = 10**9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studio.datasets.sifting.EVERY", len(MORE))
        result = importing.import_source(ws, more, progress=meanwhile)
    assert done == [3]
    assert (result.num_new, result.num_added) == (NUM + 3, NUM + 1 - 3)
    assert sum(event["rater"] == "max" for row in stored.comparisons(ws) for event in row["events"]) == 2 * NUM + 4


def test_two_long_imports_at_once_come_in_one_after_the_other(ws, source, tmp_path):
    both = write(tmp_path / "both.jsonl", [{"prompt": f"New {n}?", "chosen": "x", "rejected": "y"} for n in range(NUM)])
    results, first = [], threading.Event()

    def second():
        first.wait()
        results.append(importing.import_source(ws, both).num_new)

    thread = threading.Thread(target=second)
    thread.start()

    def begin(num_rows, share, doing):
        if doing == "stored" and share > 0.3 and not first.is_set():
            first.set()
            time.sleep(0.3)

    results.append(importing.import_source(ws, source, progress=begin).num_new)
    thread.join()
    assert sorted(results) == [NUM, NUM + 2]
    with ws.read() as db:
        assert prompts.counts(db)["prompts"] == NUM + 2
        assert ratings.summary(db)["rated"] == 2 * NUM + 3


@pytest.mark.slow
def test_a_rater_waits_a_second_at_most_while_a_large_import_ends(tmp_path, monkeypatch):
    monkeypatch.undo()
    ws = Workspace.open(tmp_path / "workspace")
    with ws.write() as db:
        for number in range(3000):
            asked = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"Here {number}?"}]))
            pair = [prompts.add_response(db, asked, text, "import") for text in ("one", "two")]
            comparisons.add_comparison(db, asked, (pair[0], pair[1]))
    rows = (
        {
            "prompt": f"New {n}? {'word ' * 40}",
            "chosen": f"good {n} {'x y ' * 60}",
            "rejected": f"bad {n} {'z w ' * 60}",
        }
        for n in range(120_000)
    )
    path = write(tmp_path / "many.jsonl", rows)
    thread = threading.Thread(target=importing.import_source, args=(ws, path))
    waits = []
    thread.start()
    until(lambda: stored.read(ws, curtain.is_needed), "the first piece")
    while thread.is_alive():
        started = time.monotonic()
        assert rate(ws)
        waits.append(time.monotonic() - started)
        time.sleep(0.05)
    thread.join()
    print(f"{len(waits)} votes, the longest took {max(waits):.2f} s")
    assert len(waits) > 20
    assert max(waits) < 2.5
    assert stored.read(ws, ratings.summary)["rated"] == 120_000 + len(waits)
