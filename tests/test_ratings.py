"""Comparisons, showings and ratings: what a person did is never changed, never doubled and never lost."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from studio.annotation import history
from studio.errors import DataError, RatingError
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.workspace import Workspace
from tests.support import stored

ROOT = Path(__file__).parent.parent


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path)


def add_pairs(ws, count, split="train"):
    """Put up pairs of imported responses, unrated; returns the comparison ids."""
    with ws.write() as db:
        found = []
        for number in range(count):
            prompt_id = prompts.add_prompt(
                db, NewPrompt([{"role": "user", "content": f"Question {number}"}], split=split)
            )
            pair = [prompts.add_response(db, prompt_id, f"{side} {number}", "import") for side in ("one", "two")]
            found.append(comparisons.add_comparison(db, prompt_id, (pair[0], pair[1])))
    return found


def rate(ws, outcome="left", **facts):
    showing = stored.written(ws, comparisons.next_showing)
    assert showing is not None
    return stored.written(ws, ratings.record, showing.id, outcome, **facts)


# Append-only, enforced by SQLite.


@pytest.mark.parametrize("table", ["rating_events", "showings", "responses", "snapshots", "snapshot_rows"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET rowid = rowid", "DELETE FROM {}"])
def test_sqlite_refuses_to_change_or_delete_what_was_recorded(ws, table, statement):
    add_pairs(ws, 1)
    rate(ws)
    stored.freeze(ws, ties="half", use_strength=False)
    column = {"rating_events": "outcome", "showings": "seed", "responses": "text", "snapshots": "sha256"}.get(
        table, "margin"
    )
    sql = statement.format(table).replace("rowid = rowid", f"{column} = {column}")
    with pytest.raises(sqlite3.IntegrityError, match=f"{table} is append-only"), ws.write() as db:
        db.execute(sql)


@pytest.mark.parametrize("column", ["messages", "split", "hash"])
def test_sqlite_refuses_to_change_a_prompt(ws, column):
    add_pairs(ws, 1)
    with pytest.raises(sqlite3.IntegrityError, match="prompts are immutable"), ws.write() as db:
        db.execute(f"UPDATE prompts SET {column} = {column}")


def test_sqlite_refuses_a_second_rating_of_a_showing_whatever_the_code_does(ws):
    add_pairs(ws, 1)
    first = rate(ws)
    copy = "INSERT INTO rating_events (uuid, comparison_id, showing_id, outcome, rater, created_at) VALUES (?, ?, ?, ?, ?, ?)"
    with pytest.raises(sqlite3.IntegrityError), ws.write() as db:
        db.execute(copy, ["another", first.comparison_id, first.showing_id, "right", "person", "now"])


# Recording.


def test_a_rating_counts_with_its_strength_and_the_time_it_took(ws):
    add_pairs(ws, 1)
    rating = rate(ws, "right", strength=3, elapsed_ms=1234)
    assert (rating.outcome, rating.strength) == ("right", 3)
    event = stored.read(ws, ratings.list_events)[0]
    assert (event["elapsed_ms"], event["rater"], event["supersedes"]) == (1234, "person", None)
    assert stored.read(ws, ratings.summary)["rated"] == 1


def test_the_same_press_sent_twice_is_one_rating(ws):
    add_pairs(ws, 2)
    showing = stored.written(ws, comparisons.next_showing)
    assert showing is not None
    first = stored.written(ws, ratings.record, showing.id, "left", uuid="press-1")
    again = stored.written(ws, ratings.record, showing.id, "left", uuid="press-1")
    assert first == again
    assert len(stored.read(ws, ratings.list_events)) == 1


def test_a_second_press_on_a_rated_showing_is_refused(ws):
    add_pairs(ws, 1)
    rating = rate(ws)
    with pytest.raises(RatingError, match=r"rated already \(left\)\. Undo it first"):
        stored.written(ws, ratings.record, rating.showing_id, "right")
    assert stored.read(ws, ratings.summary)["rated"] == 1


@pytest.mark.parametrize(
    ("outcome", "strength", "sentence"),
    [
        ("better", None, "'better' is not an outcome"),
        ("undo", None, "'undo' is not an outcome"),
        ("tie", 2, "Strength 2 does not go with tie"),
        ("left", 4, "Strength 4 does not go with left"),
    ],
)
def test_an_impossible_judgement_is_refused(ws, outcome, strength, sentence):
    add_pairs(ws, 1)
    with pytest.raises(RatingError, match=sentence):
        rate(ws, outcome, strength=strength)
    assert stored.read(ws, ratings.list_events) == []


def test_an_unknown_showing_is_refused(ws):
    with pytest.raises(RatingError, match="Showing 99 does not exist"):
        stored.written(ws, ratings.record, 99, "left")


def test_a_skip_is_kept_with_its_reason_and_does_not_count_as_rated(ws):
    add_pairs(ws, 1)
    rate(ws, "skip", reason="cannot judge")
    summary = stored.read(ws, ratings.summary)
    assert (summary["skip"], summary["rated"]) == (1, 0)
    assert stored.written(ws, comparisons.next_showing) is None
    with pytest.raises(DataError, match="no ratings to train on"):
        stored.freeze(ws, ties="half", use_strength=False)


# Undo.


def test_undo_goes_back_to_any_depth_and_the_taken_back_pair_comes_next(ws):
    add_pairs(ws, 4)
    given = [rate(ws, outcome) for outcome in ("left", "right", "tie", "both_bad")]
    for expected in reversed(given):
        taken_back = stored.undone(ws)
        assert taken_back is not None
        assert taken_back.id == expected.id
        showing = stored.written(ws, comparisons.next_showing)
        assert showing is not None
        assert showing.id == expected.showing_id
    assert stored.undone(ws) is None
    assert stored.read(ws, ratings.summary)["rated"] == 0
    assert len(stored.read(ws, ratings.list_events)) == 8


def test_a_pair_can_be_rated_again_after_undo_as_often_as_wanted(ws):
    add_pairs(ws, 1)
    showing_ids = set()
    for outcome in ("left", "right", "tie", "left"):
        showing_ids.add(rate(ws, outcome).showing_id)
        stored.undone(ws)
    rate(ws, "right")
    assert len(showing_ids) == 1
    assert stored.read(ws, ratings.summary) | {"right": 1, "rated": 1, "left": 0, "tie": 0} == stored.read(
        ws, ratings.summary
    )


def test_the_same_undo_sent_twice_takes_back_one_rating(ws):
    add_pairs(ws, 2)
    rate(ws, "left")
    rate(ws, "right")
    taken_back = stored.undone(ws, uuid="press-z")
    assert stored.undone(ws, uuid="press-z") == taken_back
    assert stored.read(ws, ratings.summary)["rated"] == 1


def test_undo_never_takes_back_an_import_or_another_raters_rating(ws):
    ids = add_pairs(ws, 2)
    with ws.write() as db:
        ratings.record_import(db, ids[0])
    showing = stored.written(ws, comparisons.next_showing, rater="scripted")
    assert showing is not None
    stored.written(ws, ratings.record, showing.id, "left")
    assert stored.undone(ws) is None
    assert stored.read(ws, ratings.summary)["rated"] == 2


def test_after_corrections_are_undone_the_order_of_undo_is_that_of_giving(ws):
    add_pairs(ws, 4)
    first = rate(ws, "left")
    others = [rate(ws, "right") for _ in range(2)]
    once = stored.written(ws, ratings.correct, first.id, "tie")
    twice = stored.written(ws, ratings.correct, once.id, "both_bad")
    taken = [stored.undone(ws) for _ in range(5)]
    assert [each and each.outcome for each in taken] == ["both_bad", "tie", "right", "right", "left"]
    assert [each and each.showing_id for each in taken[2:]] == [
        *(each.showing_id for each in others[::-1]),
        first.showing_id,
    ]
    assert twice.showing_id == first.showing_id
    assert stored.undone(ws) is None
    assert stored.read(ws, ratings.summary)["rated"] == 0


def test_a_corrected_import_stays_one_and_undo_gives_back_what_it_came_with(ws):
    ids = add_pairs(ws, 2)
    with ws.write() as db:
        imported = [ratings.record_import(db, each) for each in ids]
    stored.written(ws, ratings.correct, imported[0].id, "right", strength=2)

    def outcomes():
        return {
            entry.comparison_id: entry.outcome
            for entry in stored.read(ws, history.find, history.Filter(is_imported=True))
        }

    assert outcomes() == {ids[0]: "right", ids[1]: "left"}
    assert stored.read(ws, history.count_imported) == 2
    taken = stored.undone(ws)
    assert taken is not None
    assert taken.outcome == "right"
    assert outcomes() == {ids[0]: "left", ids[1]: "left"}
    assert stored.undone(ws) is None


# What the eye saw.


def test_an_open_showing_comes_back_as_it_was_after_a_restart(ws):
    add_pairs(ws, 20)
    rate(ws)
    before = stored.written(ws, comparisons.next_showing)
    after = stored.written(Workspace.open(ws.root), comparisons.next_showing)
    assert before == after


def test_the_order_on_the_screen_is_stored_before_it_is_shown_and_varies(ws):
    add_pairs(ws, 40)
    lefts = []
    while showing := stored.written(ws, comparisons.next_showing):
        assert stored.read(ws, comparisons.get_showing, showing.id) == showing
        lefts.append(showing.left.split()[0])
        stored.written(ws, ratings.record, showing.id, "left")
    assert 8 < lefts.count("one") < 32  # 40 fair draws fall outside once in 30,000 times


def test_the_pair_behind_the_one_on_the_screen_can_be_fetched_ahead(ws):
    add_pairs(ws, 3)
    first = stored.written(ws, comparisons.next_showing)
    assert first is not None
    ahead = stored.written(ws, comparisons.next_showing, after=first.id)
    assert ahead is not None
    assert ahead.comparison_id != first.comparison_id
    stored.written(ws, ratings.record, first.id, "left")
    assert stored.written(ws, comparisons.next_showing) == ahead


def test_the_table_of_open_showings_holds_those_without_an_event_and_no_others(ws):
    add_pairs(ws, 6)
    rate(ws)
    rate(ws, "skip", reason="other")
    shown = stored.written(ws, comparisons.next_showing)
    stored.written(ws, comparisons.next_showing, after=shown.id)
    stored.undone(ws)
    with ws.read() as db:
        found = {row["showing_id"] for row in db.query("SELECT showing_id FROM open_showings")}
        expected = db.query("SELECT id FROM showings WHERE id NOT IN (SELECT showing_id FROM rating_events)")
        assert found == {row["id"] for row in expected}
    assert len(found) == 2


def test_the_same_pair_is_put_up_once_whichever_way_round(ws):
    with ws.write() as db:
        prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": "Hi"}]))
        a, b = (prompts.add_response(db, prompt_id, text, "import") for text in ("a", "b"))
        assert comparisons.add_comparison(db, prompt_id, (a, b)) is not None
        assert comparisons.add_comparison(db, prompt_id, (b, a)) is None


# Snapshots.


def snapshot_after(root, swap):
    """A workspace of six rated pairs; the better response is judged the winner, wherever it stands on the screen."""
    ws = Workspace.open(root)
    add_pairs(ws, 6)
    while showing := stored.written(ws, comparisons.next_showing):
        if (showing.left.startswith("one")) == swap:  # redraw until the order is the wanted one
            with ws.write() as db:
                pair = next(db.query("SELECT * FROM showings WHERE id = ?", [showing.id]))
                sides = {"left_response_id": pair["right_response_id"], "right_response_id": pair["left_response_id"]}
                db.execute("DROP TRIGGER IF EXISTS showings_refuse_update")
                db.table("showings").update(showing.id, sides)
            showing = stored.read(ws, comparisons.get_showing, showing.id)
            assert showing is not None
        winner = "left" if showing.left.startswith("one") else "right"
        stored.written(
            ws,
            ratings.record,
            showing.id,
            "tie" if showing.comparison_id == 3 else winner,
            strength=None if showing.comparison_id == 3 else 2,
        )
    return ws, stored.freeze(ws, ties="half", use_strength=True)


def test_the_same_judgements_on_flipped_screens_give_the_same_snapshot(tmp_path):
    ws, straight = snapshot_after(tmp_path / "straight", swap=False)
    other, flipped = snapshot_after(tmp_path / "flipped", swap=True)
    assert {s["left_response_id"] % 2 for row in stored.comparisons(ws) for s in row["showings"]} == {1}
    assert {s["left_response_id"] % 2 for row in stored.comparisons(other) for s in row["showings"]} == {0}
    assert straight.sha256 == flipped.sha256
    assert stored.training_rows(ws, straight.id) == stored.training_rows(other, flipped.id)


def test_the_same_ratings_and_recipe_are_one_snapshot_and_other_ones_another(ws):
    add_pairs(ws, 2)
    rate(ws, "left", strength=3)
    first = stored.freeze(ws, ties="half", use_strength=False)
    assert stored.freeze(ws, ties="half", use_strength=False) == first
    assert stored.freeze(ws, ties="half", use_strength=True).sha256 != first.sha256
    rate(ws, "tie")
    assert stored.freeze(ws, ties="half", use_strength=False).row_count == 2
    assert stored.freeze(ws, ties="drop", use_strength=False).row_count == 1


def test_ties_and_strength_become_targets_and_margins(ws):
    add_pairs(ws, 4)
    for outcome, strength in (("left", 1), ("right", 3), ("tie", None), ("both_bad", None)):
        rate(ws, outcome, strength=strength)
    snapshot = stored.freeze(ws, ties="half", use_strength=True)
    rows = stored.training_rows(ws, snapshot.id)
    assert [row["target_p"] for row in rows] == [1.0, 1.0, 0.5, 0.5]
    assert [row["margin"] for row in rows] == [0.0, 2 / 3, 0.0, 0.0]
    assert [row["strength"] for row in rows] == [1, 3, None, None]


def test_strength_becomes_a_soft_label_instead_where_that_is_wanted(ws):
    add_pairs(ws, 5)
    for outcome, strength in (("left", 1), ("right", 2), ("left", 3), ("tie", None), ("left", None)):
        rate(ws, outcome, strength=strength)
    soft = stored.freeze(ws, ties="half", use_strength=True, strength_as="soft_label")
    rows = stored.training_rows(ws, soft.id)
    assert [row["target_p"] for row in rows] == [0.7, 0.85, 0.95, 0.5, 1.0]
    assert {row["margin"] for row in rows} == {0.0}
    assert soft.sha256 != stored.freeze(ws, ties="half", use_strength=True).sha256
    off = stored.freeze(ws, ties="half", use_strength=False, strength_as="soft_label")
    assert off == stored.freeze(ws, ties="half", use_strength=False), "strength_as means nothing on its own"


# Nothing acknowledged is lost.

RATE_FOR_EVER = """
import sys
from studio.preferences import comparisons, ratings
from studio.workspace import Workspace
from tests.support import stored
ws = Workspace.open(sys.argv[1])
while showing := stored.written(ws, comparisons.next_showing):
    stored.written(ws, ratings.record, showing.id, "left", uuid=f"press-{showing.id}")
    print(f"press-{showing.id}", flush=True)
"""


def test_kill_minus_9_between_ratings_loses_none_that_was_acknowledged(ws):
    add_pairs(ws, 400)
    child = subprocess.Popen(
        [sys.executable, "-c", RATE_FOR_EVER, str(ws.root)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    acknowledged = [child.stdout.readline().strip() for _ in range(25)]
    time.sleep(0.013)  # somewhere inside a later rating
    os.kill(child.pid, signal.SIGKILL)
    acknowledged += child.stdout.read().split()
    child.stdout.close()
    child.wait()
    reopened = Workspace.open(ws.root)
    found = [event["uuid"] for event in stored.read(reopened, ratings.list_events, limit=-1)]
    assert set(acknowledged) <= set(found)
    assert len(found) - len(acknowledged) <= 1  # at most the one that was recorded and not yet acknowledged
    assert len(set(found)) == len(found) < 400
    assert stored.written(reopened, comparisons.next_showing) is not None


def test_the_history_for_the_export_has_every_showing_and_every_event(ws):
    add_pairs(ws, 2)
    rate(ws, "left")
    stored.undone(ws)
    rate(ws, "right")
    stored.written(ws, comparisons.next_showing)
    history = stored.comparisons(ws)
    assert [len(row["showings"]) for row in history] == [1, 1]
    assert [[r["text"] for r in row["responses"]] for row in history] == [["one 0", "two 0"], ["one 1", "two 1"]]
    assert [event["outcome"] for event in stored.read(ws, ratings.list_events, limit=-1)] == ["left", "undo", "right"]
    assert json.dumps(history)
