"""Votes against a confident reward model come again unmarked, are settled once, and change no figure that a random sample gives."""

import io
import json
import sqlite3

import pytest

from studio.annotation import disagreements, guidelines, history, predictions, session_summary, sessions
from studio.annotation.session_config import SessionConfig
from studio.cli import main
from studio.datasets import archive
from studio.errors import DataError, RatingError
from studio.insights import consistency, report
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.workspace import Workspace
from tests.support import earlier, many, stored
from tests.test_sessions import add_pairs, add_reward, rows_of, vote

ONLY = SessionConfig(target=10, block_size=10, second_looks=1.0, repeat_share=0.0)
"""Shows nothing but second looks while there are any."""


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "workspace")


def judged(ws, sure=3.0, num=8, wrong=6, start=0):
    """Pairs of which a reward model gives the good answer a probability, those first surest; the first ones judged against it."""
    add_pairs(ws, num, start=start)
    if start == 0:
        add_reward(ws)
    reward = max(row["id"] for row in rows_of(ws, "checkpoints"))
    waiting = stored.read(ws, predictions.pending, reward)
    stored.written(
        ws, predictions.add, reward, [(row["id"], [[sure - 0.1 * n], [0.0]]) for n, row in enumerate(waiting)]
    )
    given = []
    for row in waiting:
        with ws.write() as db:
            showing = comparisons.get_showing(db, comparisons.add_showing(db, row["id"], "person"))
        is_wrong = len(given) < wrong
        given.append(vote(ws, showing, ("right" if showing.left.startswith("good") else "left") if is_wrong else None))
    return given


def look_again(ws, preferred="good"):
    """Start a session and judge its first second look; returns the session, its showing and the question."""
    session = stored.read(ws, sessions.active) or stored.written(ws, sessions.start, ONLY)
    showing = stored.written(ws, sessions.next_showing)
    vote(ws, showing, "left" if showing.left.startswith(preferred) else "right")
    return session, showing, stored.written(ws, disagreements.ask, session.id)


def settle(ws, showing, outcome, **given):
    return stored.written(ws, disagreements.settle, showing.id, outcome, **given)


# The queue.


def test_the_open_votes_are_those_against_a_confident_model_surest_first(ws):
    given = judged(ws)
    found = stored.read(ws, disagreements.find)
    assert [each.rating_id for each in found] == [rating.id for rating in given[:6]]
    assert all(
        each.probability < 0.2 and each.preferred.startswith("bad") and each.other.startswith("good") for each in found
    )
    assert stored.read(ws, disagreements.count) == 6
    assert stored.read(ws, disagreements.find, sure=0.93) == found[:5], "1 / (1 + e^-2.6) is 0.931"
    assert stored.read(ws, disagreements.find, "nobody") == []
    assert stored.read(ws, disagreements.count, at_most=2) == 2


def test_a_vote_taken_back_or_corrected_is_no_longer_open_and_one_put_back_is(ws):
    given = judged(ws)
    stored.written(ws, ratings.correct, given[0].id, "tie")
    assert [each.rating_id for each in stored.read(ws, disagreements.find)] == [each.id for each in given[1:6]]
    stored.undone(ws)
    assert stored.read(ws, disagreements.count) == 6, "what the correction had replaced counts again"
    for _ in range(2):
        stored.undone(ws)
    assert stored.read(ws, disagreements.count) == 5


def test_an_unsure_model_ties_and_pairs_without_a_prediction_are_left_out(ws):
    judged(ws, sure=1.2)
    assert stored.read(ws, disagreements.count) == 0
    assert stored.read(ws, disagreements.count, sure=0.6) == 6
    add_pairs(ws, 2, start=100)
    vote(ws, stored.written(ws, comparisons.next_showing), "tie")
    assert stored.read(ws, disagreements.count, sure=0.5) == 6


# The second look.


def test_a_second_look_comes_unmarked_and_of_votes_from_before_the_session_with_swapped_sides_for_half(ws):
    given = judged(ws, num=20, wrong=12)
    session = stored.written(ws, sessions.start, ONLY)
    shown = []
    while showing := stored.written(ws, sessions.next_showing):
        shown.append(showing)
        vote(ws, showing)
        settle(ws, showing, "later")
    items = rows_of(ws)
    firsts = {row["id"]: row["showing_id"] for row in rows_of(ws, "rating_events")}
    assert [item["repeat_of"] for item in items] == [firsts[rating.id] for rating in given[:10]], "the surest first"
    assert all(item["arm"] == "repeat" and item["prediction_id"] and item["probability"] == 1.0 for item in items)
    assert sum(item["is_swapped"] for item in items) == 5
    assert {item["session_id"] for item in items} == {session.id}


def test_held_out_prompts_count_and_a_session_confined_to_a_part_looks_again_at_that_part_only(ws):
    for number in (3, 4):
        turns = [{"role": "user", "content": f"Question {number}"}]
        stored.written(ws, prompts.add_prompt, NewPrompt(turns, "sums", "test"))
    judged(ws)
    assert [each.split for each in stored.read(ws, disagreements.find)].count("test") == 2
    for confined, num in ((ONLY, 6), (ONLY.model_copy(update={"split": "test"}), 2), (ONLY.model_copy(update={"categories": "sums"}), 2), (ONLY.model_copy(update={"rank": 3}), 0)):  # fmt: skip
        session = stored.written(ws, sessions.start, confined)
        while showing := stored.written(ws, sessions.next_showing):
            stored.written(ws, ratings.record, showing.id, "skip")
        assert len([item for item in rows_of(ws) if item["session_id"] == session.id and item["prediction_id"]]) == num
        stored.written(ws, sessions.end, session.id)


def test_a_session_of_second_looks_alone_says_that_it_has_something_until_there_is_no_more(ws):
    judged(ws, num=3, wrong=1)
    for title in ("one", "none"):
        session = stored.written(ws, sessions.start, ONLY)
        with ws.read() as db:
            why = sessions.why_nothing(db, session)
        assert (why == "") == (title == "one"), why
        assert (stored.written(ws, sessions.next_showing) is None) == (title == "none")
        if title == "one":
            _, showing, _ = look_again(ws)
            settle(ws, showing, "model")
        stored.written(ws, sessions.end, session.id)
    assert "already judged" in why


def test_nothing_of_a_session_comes_as_its_own_second_look(ws):
    add_pairs(ws, 12)
    reward = add_reward(ws)
    waiting = stored.read(ws, predictions.pending, reward)
    stored.written(ws, predictions.add, reward, [(row["id"], [[4.0], [0.0]]) for row in waiting])
    stored.written(ws, sessions.start, ONLY)
    while showing := stored.written(ws, sessions.next_showing):
        vote(ws, showing, "left" if showing.left.startswith("bad") else "right")
    assert stored.read(ws, disagreements.count) == 10
    assert not [item for item in rows_of(ws) if item["prediction_id"]]


def test_the_question_comes_after_the_vote_with_the_sides_of_the_screen(ws):
    judged(ws)
    session = stored.written(ws, sessions.start, ONLY)
    showing = stored.written(ws, sessions.next_showing)
    assert stored.written(ws, disagreements.ask, session.id) is None
    good = "left" if showing.left.startswith("good") else "right"
    vote(ws, showing, good, strength=3)
    asked = stored.written(ws, disagreements.ask, session.id)
    bad = "right" if good == "left" else "left"
    assert (asked.first, asked.second) == (f"{bad} better", f"{good} much better")
    assert (asked.expected, round(asked.probability, 3), asked.is_same) == (good, 0.953, False)
    assert asked.checkpoint.startswith("reward-1@")
    assert asked.offered == ("slip", "model", "gap", "later")
    views = rows_of(ws, "prediction_views")
    assert len(views) == 2, "the question tells what the model expected, of both votes"


def test_a_skip_and_a_vote_taken_back_ask_nothing(ws):
    judged(ws)
    session = stored.written(ws, sessions.start, ONLY)
    stored.written(ws, ratings.record, stored.written(ws, sessions.next_showing).id, "skip")
    assert stored.written(ws, disagreements.ask, session.id) is None
    _, showing, asked = look_again(ws)
    assert asked
    stored.undone(ws)
    assert stored.written(ws, disagreements.ask, session.id) is None
    with pytest.raises(RatingError, match="Nothing is asked about this pair any more"):
        settle(ws, showing, "model")


# The answers.


def test_a_slip_corrects_the_first_vote_to_the_second_whatever_the_sides(ws):
    given = judged(ws)
    for rating in given[:4]:
        _, showing, _ = look_again(ws)
        settled = settle(ws, showing, "slip")
        assert (settled.outcome, settled.said) == (
            "slip",
            "your first vote was a slip, and now says what the second one does",
        )
        counting = stored.read(ws, history.get, rating.id)
        preferred = counting.left if counting.outcome == "left" else counting.right
        assert preferred.startswith("good")
        assert counting.showing_id == next(
            r["showing_id"] for r in rows_of(ws, "rating_events") if r["id"] == rating.id
        )
    assert sorted(item["is_swapped"] for item in rows_of(ws)[:4]) == [0, 0, 1, 1]
    assert stored.read(ws, disagreements.count) == 2


def test_the_models_error_leaves_both_votes_and_is_not_asked_again(ws):
    judged(ws)
    session, showing, _ = look_again(ws)
    events = rows_of(ws, "rating_events")
    settle(ws, showing, "model")
    assert rows_of(ws, "rating_events") == events
    assert stored.read(ws, disagreements.count) == 5
    stored.written(ws, sessions.end, session.id)
    _, again, _ = look_again(ws)
    assert again.comparison_id != showing.comparison_id


def test_a_gap_is_tied_to_the_version_that_was_written_for_it(ws):
    judged(ws)
    _, showing, _ = look_again(ws)
    text = stored.read(ws, guidelines.with_open_line)
    assert text.endswith(guidelines.OPEN_LINE)
    settled = settle(
        ws,
        showing,
        "gap",
        text=text.replace(guidelines.OPEN_LINE, "When both are right, the better answer is shorter."),
    )
    assert "version 1" in settled.said
    in_force = stored.read(ws, guidelines.current)
    assert (in_force.version, in_force.text.splitlines()[1:]) == (
        1,
        ["When both are right, the better answer is shorter."],
    )
    _, showing, _ = look_again(ws)
    assert "version" not in settle(ws, showing, "gap", text=stored.read(ws, guidelines.with_open_line)).said, (
        "nothing was completed"
    )
    _, showing, _ = look_again(ws)
    settle(ws, showing, "gap")
    assert stored.read(ws, guidelines.current) == in_force
    assert [gap.guideline_id for gap in stored.read(ws, disagreements.gaps)] == [None, None, 1]


def test_a_guideline_that_is_too_long_is_refused_and_the_question_stays(ws):
    judged(ws)
    session, showing, asked = look_again(ws)
    with pytest.raises(DataError, match="nobody reads more"):
        settle(ws, showing, "gap", text="x" * 2001)
    assert stored.written(ws, disagreements.ask, session.id) == asked
    assert rows_of(ws, "settlements") == []


def test_who_votes_the_same_again_is_not_offered_a_slip(ws):
    judged(ws)
    _, showing, asked = look_again(ws, preferred="bad")
    assert asked.is_same
    assert stored.read(ws, disagreements.count) == 6, "the second vote is none of its own"
    assert asked.offered == ("model", "gap", "later")
    with pytest.raises(RatingError, match="prefer the same answer"):
        settle(ws, showing, "slip")


def test_what_is_put_off_comes_again_in_another_session_and_not_in_this_one(ws):
    judged(ws, wrong=1)
    session, showing, _ = look_again(ws)
    settle(ws, showing, "later")
    assert stored.written(ws, disagreements.ask, session.id) is None
    add_pairs(ws, 12, start=50)
    while other := stored.written(ws, sessions.next_showing):
        vote(ws, other)
    assert len([item for item in rows_of(ws) if item["prediction_id"]]) == 1
    [still] = stored.read(ws, disagreements.find)
    assert still.num_looks == 1
    stored.written(ws, sessions.end, session.id)
    _, again, _ = look_again(ws)
    assert again.comparison_id == showing.comparison_id


def test_a_press_that_is_sent_again_is_one_answer(ws):
    judged(ws)
    _, showing, _ = look_again(ws)
    first = settle(ws, showing, "slip", uuid="a" * 36)
    assert settle(ws, showing, "slip", uuid="a" * 36) == first
    with pytest.raises(RatingError, match="Nothing is asked"):
        settle(ws, showing, "model", uuid="b" * 36)
    assert len(rows_of(ws, "settlements")) == 1


@pytest.mark.parametrize("outcome", ["slip", "model", "gap", "later"])
def test_undo_takes_back_the_answer_then_the_second_vote(ws, outcome):
    given = judged(ws)
    session, showing, asked = look_again(ws)
    before = stored.read(ws, history.get, given[0].id).outcome
    settle(ws, showing, outcome)
    assert stored.written(ws, disagreements.take_back, "person", "u" * 36).outcome == outcome
    assert stored.written(ws, disagreements.take_back, "person", "u" * 36).outcome == outcome, "the same press again"
    assert stored.read(ws, history.get, given[0].id).outcome == before
    assert stored.written(ws, disagreements.ask, session.id) == asked
    assert stored.read(ws, disagreements.count) == 6
    assert stored.written(ws, disagreements.take_back, "person") is None
    assert stored.undone(ws).showing_id == showing.id
    assert stored.written(ws, disagreements.ask, session.id) is None
    assert stored.written(ws, sessions.next_showing).id == showing.id


def test_a_vote_given_after_the_answer_is_taken_back_first(ws):
    judged(ws)
    _, showing, _ = look_again(ws)
    settle(ws, showing, "model")
    last = vote(ws, stored.written(ws, sessions.next_showing))
    assert stored.written(ws, disagreements.take_back, "person") is None
    assert stored.undone(ws).id == last.id
    assert stored.written(ws, disagreements.take_back, "person").outcome == "model"


# What it must not change.


def test_second_looks_are_no_part_of_self_agreement_and_of_the_noise_ceiling(ws):
    judged(ws, num=26, wrong=20)
    add_pairs(ws, 40, start=50)
    stored.written(ws, sessions.start, SessionConfig(target=40, block_size=40, second_looks=0.2, repeat_share=0.3))
    while showing := stored.written(ws, sessions.next_showing):
        vote(ws, showing)  # the second looks contradict the first votes, the random repeats do not
    session = stored.read(ws, sessions.list_all)[0]
    items = rows_of(ws)
    num_random = sum(item["arm"] == "repeat" and item["prediction_id"] is None for item in items)
    num_chosen = sum(item["prediction_id"] is not None for item in items)
    assert num_random > 5
    assert 5 < num_chosen < 10, "a fifth of 40"
    card = stored.read(ws, session_summary.card, session.id)
    assert (card.self_agreement.hits, card.self_agreement.num) == (num_random, num_random)
    told = stored.read(ws, consistency.noise_ceiling)
    assert (told.value, told.num) == (1.0, num_random)


def test_a_slip_makes_no_rater_more_consistent_and_no_reward_model_better(ws):
    given = judged(ws)
    first = rows_of(ws, "showings")[0]
    with ws.write() as db:  # a random repeat of the first vote, judged the other way, before the second look
        other = (
            db.table("sessions")
            .insert({"rater": "person", "config": "{}", "seed": 0, "created_at": first["created_at"]})
            .last_pk
        )
        repeat = comparisons.add_showing(db, first["comparison_id"], "person", like=first["id"])
        db.table("session_items").insert(
            {"showing_id": repeat, "session_id": other, "position": 0, "prompt_id": comparisons.prompt_of(db, first["comparison_id"]),
             "arm": "repeat", "probability": 1.0, "repeat_of": first["id"], "is_swapped": 0, "created_at": first["created_at"]}
        )  # fmt: skip
        ratings.record(db, repeat, "left" if given[0].outcome == "right" else "right")
    before = stored.read(ws, report.read)
    _, showing, _ = look_again(ws)
    settle(ws, showing, "slip")
    after = stored.read(ws, report.read)
    assert stored.read(ws, history.get, given[0].id).outcome != given[0].outcome
    assert before.consistencies[0].agreement[:4] == after.consistencies[0].agreement[:4]
    assert after.consistencies[0].agreement.value == 0
    assert before.reward_models[0].accuracy == after.reward_models[0].accuracy
    assert after.disagreements.slips.num == 1


@pytest.mark.parametrize("repeats", ["drop", "keep"])
def test_a_second_look_is_never_trained_on_as_a_second_rating(ws, repeats):
    judged(ws, num=4, wrong=4)
    before = stored.training_rows(ws, stored.freeze(ws, repeats=repeats).id)
    look_again(ws)
    assert stored.training_rows(ws, stored.freeze(ws, repeats=repeats).id) == before
    assert len(stored.preferences(ws)) == len(before), "nor exported"


# Elsewhere.


def test_sqlite_refuses_to_change_or_delete_an_answer(ws):
    judged(ws)
    _, showing, _ = look_again(ws)
    settle(ws, showing, "model")
    for sql in ("UPDATE settlements SET outcome = 'gap'", "DELETE FROM settlements"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"), ws.write() as db:
            db.execute(sql)


def test_an_archive_brings_second_looks_and_their_answers_over_and_refuses_contradictions(ws, tmp_path):
    judged(ws)
    for outcome in ("slip", "gap", "model"):
        _, showing, _ = look_again(ws)
        settle(ws, showing, outcome, text="Prefer the shorter one." if outcome == "gap" else "")
    stored.written(ws, disagreements.take_back, "person")
    path = archive.write(ws).path
    other = Workspace.open(tmp_path / "other")
    archive.read(other, path)
    for table in ("settlements", "session_items", "contradictions", "rating_events"):
        assert rows_of(other, table) == rows_of(ws, table)
    assert stored.read(other, disagreements.find) == stored.read(ws, disagreements.find)
    assert archive.write(other).path.read_bytes() == path.read_bytes()
    for table, name, value in (
        ("settlements", "first_event_id", 4), ("settlements", "outcome", "perhaps"), ("settlements", "showing_id", 1),
        ("session_items", "prediction_id", 5), ("settlements", "correction_id", 10**6),
    ):  # fmt: skip
        lines = path.read_text().splitlines()
        at = next(n for n, line in enumerate(lines) if f'"table": "{table}"' in line)
        row = json.loads(lines[at])
        broken = tmp_path / "broken.jsonl"
        head = {k: v for k, v in json.loads(lines[0]).items() if k not in ("sha256", "rows")}
        changed = json.dumps(row | {name: value})
        assert changed != lines[at]
        broken.write_text("\n".join([json.dumps(head), *lines[1:at], changed, *lines[at + 1 :]]) + "\n")
        with pytest.raises(Exception, match="Nothing was imported"):
            archive.read(Workspace.open(tmp_path / f"broken-{table}-{name}"), broken)


def test_a_workspace_of_an_earlier_version_has_its_disagreements_after_the_migration(ws, tmp_path):
    judged(ws)
    wanted = stored.read(ws, disagreements.find)
    rows = stored.tables(ws)
    old = tmp_path / "old"
    with earlier.written(old, "m061_disagreements") as db:
        db.execute("PRAGMA foreign_keys = OFF")
        kept = ("runs", "checkpoints", "run_parents", "prompts", "responses", "comparisons", "comparison_responses", "showings", "predictions", "rating_events")  # fmt: skip
        for table in kept:
            names = {column.name for column in db.table(table).columns}
            db.table(table).insert_all([{k: v for k, v in row.items() if k in names} for row in rows[table]])
    assert stored.read(Workspace.open(old), disagreements.find) == wanted


def test_the_queue_of_many_ratings_is_read_by_its_index(ws):
    many.fill(ws, 20)
    plans = []
    with ws.read() as db:
        real = db.query
        db.query = lambda sql, bound=None: (
            plans.append([row["detail"] for row in real(f"EXPLAIN QUERY PLAN {sql}", bound)]) or real(sql, bound)
        )
        disagreements.find(db, "person")
        disagreements.count(db, "person")
        disagreements.choose(db, 1, "person", many.AT, {1, 2})
    assert len(plans) == 3
    for plan in plans:
        assert any("contradictions_surest" in step for step in plan), plan
        scanned = [
            step
            for step in plan
            if step.startswith("SCAN") and "json_each" not in step and step not in ("SCAN o", "SCAN (subquery-2)")
        ]
        assert scanned == [], plan
    assert not any("TEMP B-TREE" in step for step in plans[2]), plans[2]


def test_the_command_lists_what_is_open_with_its_texts(ws, capsys):
    judged(ws)
    assert main(["history", "disagreements", "--limit", "2", "--workspace", str(ws.root)]) == 0
    told = capsys.readouterr().out
    assert "2 of 6 that are open." in told
    assert "gave the preferred answer 5%" in told
    assert "preferred  bad 1 0" in told
    assert main(["history", "disagreements", "--rater", "nobody", "--workspace", str(ws.root)]) == 1
    assert "There is no rater 'nobody'" in capsys.readouterr().err
    for wrong in ("0.4", "nan", "x"):
        with pytest.raises(SystemExit):
            main(["history", "disagreements", "--sure", wrong, "--workspace", str(ws.root)])
        assert wrong in capsys.readouterr().err
    assert main(["history", "disagreements", "--json", "--workspace", str(ws.root)]) == 0
    first, *others = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["preferred"], len(others)) == ("bad 1 0", 5)


def test_the_insights_count_how_they_ended(ws, capsys):
    judged(ws)
    for outcome in ("slip", "model", "model", "later"):
        _, showing, _ = look_again(ws)
        settle(ws, showing, outcome)
    found = stored.read(ws, report.read).disagreements
    assert [round(each.value, 3) for each in (found.slips, found.model_errors, found.gaps)] == [0.333, 0.667, 0.0]
    assert (found.slips.num, found.num_open, found.is_more) == (3, 3, False)
    assert 0 < found.slips.low < found.slips.value < found.slips.high < 1
    assert main(["insights", "--json", "--workspace", str(ws.root)]) == 0
    assert json.loads(capsys.readouterr().out)["disagreements"]["model_errors"]["num"] == 3
    assert main(["insights", "--workspace", str(ws.root)]) == 0
    assert "the reward model's error" in capsys.readouterr().out


def test_the_terminal_asks_after_the_vote_and_takes_a_line_for_the_guideline(ws, capsys, monkeypatch):
    judged(ws)
    session = stored.written(ws, sessions.start, ONLY)

    def type_keys(text):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        assert main(["rate", "--workspace", str(ws.root)]) == 0
        return capsys.readouterr().out

    told = type_keys("2")
    assert "You had judged this pair before." in told.partition("left better\n")[2], "after the vote"
    assert "reward-1@40 had given the " in told
    told = type_keys("")
    assert "You had judged this pair before." in told, "it is still open"
    assert "good 1 0" in told, "and shown again"
    told = type_keys("13m")
    assert "This is about an earlier vote. Press " in told
    assert "Recorded: the reward model is wrong; your votes stay." in told
    told = type_keys("2gWhen both are right, the better answer is shorter.\n")
    assert "version 1 of the guideline was written for it" in told
    assert (
        stored.read(ws, guidelines.current).text
        == f"{guidelines.FIRST}\nWhen both are right, the better answer is shorter."
    )
    told = type_keys("2x")
    assert "Recorded: left open" in told
    told = type_keys("zz")
    assert "Taken back: left open" in told
    assert "Taken back: left better." in told
    assert [row["outcome"] for row in rows_of(ws, "settlements")] == ["model", "gap", "later", "undo"]
    assert stored.written(ws, disagreements.ask, session.id) is None
    assert main(["session", "guideline", "--workspace", str(ws.root)]) == 0
    assert "version 1    Question " in capsys.readouterr().out
