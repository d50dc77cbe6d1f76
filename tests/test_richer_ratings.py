"""Rankings, remarks and ideal answers: nothing of them is lost, changed or counted twice, and no press reads all ratings."""

import json
import random
import sqlite3

import pytest
from sqlite_utils import Database

from studio.database import migrations
from studio.errors import DataError, RatingError
from studio.preferences import comparisons, edits, prompts, ratings, undo, vocabulary
from studio.preferences.judgements import Remarks
from studio.preferences.prompts import NewPrompt
from studio.workspace import Workspace
from tests.support import stored


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path)


def put_up(ws, num=1, size=2):
    """Put up comparisons of `size` responses; returns their ids."""
    found = []
    with ws.write() as db:
        for n in range(num):
            prompt_id = prompts.add_prompt(
                db, NewPrompt([{"role": "user", "content": f"Question {n} of {size}"}], split="train")
            )
            ids = [prompts.add_response(db, prompt_id, f"answer {k} to {n}", "import") for k in range(size)]
            found.append(comparisons.add_comparison(db, prompt_id, ids))
    return found


def shown(ws):
    showing = stored.written(ws, comparisons.next_showing)
    assert showing is not None
    return showing


# A database of the version before.


def older_database(path):
    """A workspace as the version before left it: a vote, one undone, one given again, an import, a snapshot."""
    db = Database(sqlite3.connect(path / "studio.db"))
    db.enable_wal()
    migrations.ALL.apply(db, stop_before="m006_richer_ratings")
    with db.conn:
        db.execute(
            "INSERT INTO prompts VALUES (1, 'h', '[{\"role\":\"user\",\"content\":\"Q\"}]', '', 'train', '{}', NULL, 'now')"
        )
        for n in range(1, 11):
            db.execute(
                "INSERT INTO responses (id, prompt_id, text, kind, created_at) VALUES (?, 1, ?, 'import', 'now')",
                [n, f"text {n}"],
            )
        for n in range(1, 6):
            db.execute("INSERT INTO comparisons VALUES (?, ?, 1, NULL, 'now')", [n, f"key {n}"])
            for slot in (0, 1):
                db.execute("INSERT INTO comparison_responses VALUES (?, ?, ?)", [n, slot, 2 * n - 1 + slot])
        for n in range(1, 4):
            db.execute("INSERT INTO showings VALUES (?, ?, ?, ?, 7, 'person', 'now')", [n, n, 2 * n, 2 * n - 1])
        event = "INSERT INTO rating_events (id, uuid, comparison_id, showing_id, outcome, strength, rater, supersedes, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'now')"
        db.execute(event, [1, "a", 1, 1, "left", 3, "person", None])
        db.execute(event, [2, "b", 2, 2, "tie", None, "person", None])
        db.execute(event, [3, "c", 2, 2, "undo", None, "person", 2])
        db.execute(event, [4, "d", 3, 3, "right", 1, "person", None])
        db.execute(event, [5, "e", 3, 3, "undo", None, "person", 4])
        db.execute(event, [6, "f", 3, 3, "both_bad", None, "person", 5])
        db.execute(event, [7, "g", 4, None, "left", None, "import", None])
        db.execute("INSERT INTO snapshots VALUES (1, '{}', 'sha', 1, 'now')")
        db.execute("INSERT INTO snapshot_rows VALUES (1, 0, 1, 2, 1, 1.0, 0.0, 1.0)")
    rows = list(db.query("SELECT * FROM rating_events ORDER BY id"))
    db.close()
    return rows


def test_a_database_of_the_version_before_keeps_its_ratings_and_gains_the_new_columns(tmp_path):
    before = older_database(tmp_path)
    ws = Workspace.open(tmp_path)
    after = stored.read(ws, ratings.list_events, limit=-1)
    assert [{name: row[name] for name in before[0]} for row in after] == before
    assert {row[name] for row in after for name in ("ranks", "note", "flags", "attributes", "edited_response_id")} == {
        None
    }
    summary = stored.read(ws, ratings.summary)
    assert {name: summary[name] for name in ("left", "both_bad", "tie", "rated", "import", "person")} == {
        "left": 2, "both_bad": 1, "tie": 0, "rated": 3, "import": 1, "person": 2,
    }  # fmt: skip
    assert stored.read(ws, comparisons.counts) == {"comparisons": 5, "unrated": 2}
    assert shown(ws).id == 2, "the undone one comes first"
    assert stored.training_rows(ws, 1)[0]["chosen"] == "text 2"
    for sql in ("UPDATE rating_events SET rater = 'x'", "DELETE FROM rating_events", "UPDATE showings SET seed = 1"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"), ws.write() as db:
            db.execute(sql)
    with pytest.raises(sqlite3.IntegrityError), ws.write() as db:  # the index that allows one first vote is there again
        db.execute(
            "INSERT INTO rating_events (uuid, comparison_id, showing_id, outcome, rater, created_at) VALUES ('x', 1, 1, 'tie', 'p', 'n')"
        )
    assert Workspace.open(tmp_path) == ws, "a second opening changes nothing"


# Rankings.


def test_a_ranking_is_stored_by_screen_position_without_gaps(ws):
    put_up(ws, size=4)
    showing = shown(ws)
    rating = stored.written(ws, ratings.record, showing.id, "ranking", ranks=[5, 2, 9, 2])
    assert json.loads(rating.ranks) == [2, 1, 3, 1]
    with ws.read() as db:
        row = next(db.query("SELECT response_ids, left_id, right_id FROM ratings"))
    assert json.loads(row["response_ids"]) == list(showing.response_ids)
    assert (row["left_id"], row["right_id"]) == showing.response_ids[:2]
    assert stored.read(ws, ratings.summary)["ranking"] == 1


@pytest.mark.parametrize(
    ("size", "outcome", "ranks", "sentence"),
    [
        (4, "left", None, "4 responses are ranked; left judges two"),
        (4, "tie", None, "4 responses are ranked; tie judges two"),
        (4, "ranking", [1, 2, 3], "each of three or more"),
        (4, "ranking", None, "each of three or more"),
        (2, "ranking", [1, 2], "here are 2 responses"),
        (3, "both_bad", [1, 2, 3], "Ranks do not go with both_bad"),
    ],
)
def test_an_impossible_ranking_is_refused(ws, size, outcome, ranks, sentence):
    put_up(ws, size=size)
    with pytest.raises(RatingError, match=sentence):
        stored.written(ws, ratings.record, shown(ws).id, outcome, ranks=ranks)
    assert stored.read(ws, ratings.list_events) == []


def test_the_order_of_a_ranking_is_shuffled_stored_and_the_same_after_a_reload(ws):
    put_up(ws, num=30, size=3)
    firsts = []
    while showing := stored.written(ws, comparisons.next_showing):
        assert stored.written(Workspace.open(ws.root), comparisons.next_showing) == showing
        assert [text.split()[1] for text in showing.texts] == [str((i - 1) % 3) for i in showing.response_ids]
        firsts.append(showing.texts[0].split()[1])
        stored.written(ws, ratings.record, showing.id, "ranking", ranks=[1, 2, 3])
    assert all(2 < firsts.count(each) < 20 for each in "012")  # fair draws fall outside once in 2,000 times


# Remarks.

REMARKS = Remarks(" checked ", {"unsafe": [1], "refused": []}, {"helpful": [5, None], "harmless": [None, None]})


def test_note_flags_and_attributes_are_stored_with_the_vote(ws):
    put_up(ws)
    stored.written(ws, ratings.record, shown(ws).id, "left", remarks=REMARKS)
    event = stored.read(ws, ratings.list_events)[0]
    assert event["note"] == "checked"
    assert json.loads(event["flags"]) == {"unsafe": [1]}
    assert json.loads(event["attributes"]) == {"helpful": [5, None]}


@pytest.mark.parametrize(
    "remarks",
    [
        Remarks(flags={"rude": [0]}), Remarks(flags={"unsafe": [2]}), Remarks(attributes={"helpful": [8, 1]}),
        Remarks(attributes={"helpful": [1]}), Remarks(attributes={"kind": [1, 1]}),
    ],
)  # fmt: skip
def test_impossible_remarks_are_refused(ws, remarks):
    put_up(ws)
    with pytest.raises(RatingError, match="A flag is one of|go from 1 to 7"):
        stored.written(ws, ratings.record, shown(ws).id, "left", remarks=remarks)
    assert stored.read(ws, ratings.list_events) == []


def test_remarks_after_the_vote_are_a_new_event_with_the_same_judgement(ws):
    put_up(ws)
    first = stored.written(ws, ratings.record, shown(ws).id, "left", strength=2, elapsed_ms=900)
    later = stored.written(ws, ratings.annotate, first.id, REMARKS, uuid="remark")
    assert stored.written(ws, ratings.annotate, first.id, REMARKS, uuid="remark") == later
    old, new = stored.read(ws, ratings.list_events)
    assert (old["note"], new["note"], new["supersedes"]) == (None, "checked", old["id"])
    assert (new["outcome"], new["strength"], new["elapsed_ms"]) == ("left", 2, 900)
    assert stored.read(ws, ratings.summary)["rated"] == 1
    with pytest.raises(RatingError, match="no longer counts"):
        stored.written(ws, ratings.annotate, first.id, REMARKS)


# Ideal answers.


def test_an_edit_is_a_demonstration_and_a_preference_at_once_and_the_pair_stays(ws):
    put_up(ws)
    showing = shown(ws)
    for _ in range(2):  # sent twice
        stored.written(ws, edits.edit_to_ideal, showing.id, 1, " The ideal answer. ", uuid="edit-1")
    assert [(d.response, d.messages) for d in stored.read(ws, prompts.list_demonstrations)] == [
        ("The ideal answer.", showing.messages)
    ]
    preference = stored.preferences(ws)
    assert [(row["outcome"], row["left"], row["right"]) for row in preference] == [
        ("left", "The ideal answer.", showing.right)
    ]
    with ws.read() as db:
        ideal = next(db.query("SELECT * FROM responses WHERE kind = 'demonstration'"))
    assert ideal["edited_from"] == showing.response_ids[1]
    assert stored.written(ws, comparisons.next_showing) == showing
    assert stored.read(ws, comparisons.counts)["unrated"] == 1


def test_undoing_an_edit_takes_back_both_and_the_same_edit_can_be_made_again(ws):
    put_up(ws, num=2)
    showing = shown(ws)
    stored.written(ws, edits.edit_to_ideal, showing.id, 0, "Ideal.", uuid="one")
    taken = stored.undone(ws)
    assert taken is not None
    assert taken.edited_response_id is not None
    assert (
        stored.read(ws, prompts.counts)["demonstrations"],
        stored.read(ws, prompts.list_demonstrations),
        stored.preferences(ws),
    ) == (
        0,
        [],
        [],
    )
    assert stored.read(ws, comparisons.counts)["unrated"] == 2
    assert stored.written(ws, comparisons.next_showing) == showing
    stored.written(ws, edits.edit_to_ideal, showing.id, 0, "Ideal.", uuid="two")
    assert stored.read(ws, prompts.counts)["demonstrations_train"] == 1
    with pytest.raises(RatingError, match="recorded already"):
        stored.written(ws, edits.edit_to_ideal, showing.id, 0, "Ideal.", uuid="three")


def test_what_is_no_ideal_answer_is_refused(ws):
    put_up(ws)
    showing = shown(ws)
    for position, text in ((0, showing.left + " "), (1, "  "), (2, "x")):
        with pytest.raises(RatingError, match="Nothing was changed|no such answer"):
            stored.written(ws, edits.edit_to_ideal, showing.id, position, text, uuid="u")
    with pytest.raises(DataError, match="The answer is empty"):
        stored.written(ws, edits.demonstrate, showing.id, " ")
    assert stored.read(ws, prompts.counts)["demonstrations"] == 0


# Counting and finding.


def naive(ws):
    """The same figures from all events, one by one."""
    events = stored.read(ws, ratings.list_events, limit=-1)
    superseded = {event["supersedes"] for event in events}
    counting = [event for event in events if event["outcome"] != "undo" and event["id"] not in superseded]
    judged = {event["comparison_id"] for event in counting}
    once = {event["comparison_id"] for event in events if event["showing_id"] is None}
    with ws.read() as db:
        ids = {row["id"] for row in db.query("SELECT id FROM comparisons")}
    outcomes = {outcome: sum(event["outcome"] == outcome for event in counting) for outcome in vocabulary.OUTCOMES}
    return outcomes, len(ids - judged - once)


def test_the_tallies_are_what_counting_all_events_gives_whatever_was_done(ws):
    put_up(ws, num=12)
    put_up(ws, num=6, size=3)
    rng = random.Random(5)
    for step in range(120):
        showing = stored.written(ws, comparisons.next_showing)
        action = rng.choice(["rate", "rate", "undo", "edit", "remark", "skip"])
        if action == "undo" or showing is None:
            stored.undone(ws)
        elif action == "edit":
            stored.written(ws, edits.edit_to_ideal, showing.id, 0, f"Ideal {step}", uuid=f"e{step}")
        elif action == "remark" and (events := stored.read(ws, ratings.list_events, limit=-1)):
            try:
                stored.written(ws, ratings.annotate, rng.choice(events)["id"], Remarks("seen"))
            except RatingError:
                continue
        elif len(showing.texts) > 2:
            stored.written(ws, ratings.record, showing.id, "ranking", ranks=[1, 1, 2])
        else:
            stored.written(
                ws, ratings.record, showing.id, "skip" if action == "skip" else rng.choice(["left", "right", "tie"])
            )
        outcomes, unrated = naive(ws)
        assert {name: stored.read(ws, ratings.summary)[name] for name in outcomes} == outcomes
        assert stored.read(ws, comparisons.counts)["unrated"] == unrated


def test_no_press_scans_a_table_that_grows_with_the_ratings(ws):
    put_up(ws, num=8)
    stored.written(ws, ratings.record, shown(ws).id, "left")
    statements: list[str] = []
    with ws.write() as db:
        db.conn.set_trace_callback(statements.append)
        ratings.record(db, comparisons.upcoming(db, "person", 4)[0], "left")
        undo.newest(db, "person")
        comparisons.upcoming(db, "person", 4)
        ratings.summary(db)
        comparisons.counts(db)
        db.conn.set_trace_callback(None)
        plans = [
            row["detail"]
            for sql in statements
            if sql.startswith("SELECT")
            for row in db.query(f"EXPLAIN QUERY PLAN {sql}")
        ]
    assert len(plans) > 10
    small = {
        "o",
        "u",
        "w",
        "x",
        "rating_tallies",
    }  # open and undone showings, what waits in its order, hidden pairs, a row per outcome
    counted = {"comparisons", "waiting_comparisons"}  # an index is counted: a millisecond at 100,000
    for plan in plans:
        if plan.startswith("SCAN") and plan != "SCAN CONSTANT ROW":
            assert plan.split()[1] in small | counted | {"newest"}, (
                plan
            )  # newest: from the last row on, until one counts
