"""Rating sessions: chosen with known probabilities, blind to restarts, measured by figures that can be trusted."""

import json
import math
import random
import sqlite3
from collections import Counter
from dataclasses import replace

import pytest

from modules.config import RewardConfig, SampleConfig, SFTConfig
from modules.intervals import wilson_interval
from studio.annotation import guidelines, pair_selection, predictions, session_config, session_summary, sessions
from studio.annotation.pair_selection import PairQuery
from studio.annotation.session_config import SessionConfig
from studio.errors import DataError, RatingError
from studio.models import checkpoints
from studio.preferences import comparisons, prompts, ratings, undo
from studio.preferences.prompts import NewPrompt
from studio.preferences.snapshots import Recipe
from studio.runs import runs
from studio.workspace import Workspace
from tests.support import stored
from tests.ui import filling


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "workspace")


def add_pairs(ws, num, per_prompt=1, category="", run=None, start=0):
    """Pairs of imported answers, or of a run's; the better one of each is the one that begins with good."""
    with ws.write() as db:
        for number in range(start, start + num):
            new = NewPrompt([{"role": "user", "content": f"Question {number}"}], category, "train")
            prompt_id = prompts.add_prompt(db, new)
            for n in range(per_prompt):
                pair = [prompts.add_response(db, prompt_id, f"{w} {number} {n}", "import") for w in ("good", "bad")]
                comparisons.add_comparison(db, prompt_id, (pair[0], pair[1]), run)


def add_rankings(ws, num, size):
    """Comparisons of so many answers; the better one of two is the one whose last letter comes first."""
    with ws.write() as db:
        for number in range(num):
            prompt_id = prompts.add_prompt(
                db, NewPrompt([{"role": "user", "content": f"Question {number}"}], "", "train")
            )
            texts = [f"Answer {number} {letter}" for letter in "abcdefghi"[:size]]
            comparisons.add_comparison(db, prompt_id, [prompts.add_response(db, prompt_id, t, "import") for t in texts])


def rank_well(ws, showing):
    """All in order, the better answers first."""
    order = sorted(text[-1] for text in showing.texts)
    return stored.written(
        ws, ratings.record, showing.id, "ranking", ranks=[order.index(text[-1]) + 1 for text in showing.texts]
    )


def add_reward(ws):
    """A reward checkpoint without weights; returns its id."""
    filling.add_texts(ws, 4)
    sft = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    with ws.write() as db:
        first = next(db.query("SELECT id FROM comparisons ORDER BY id LIMIT 1"), None)
        if first and not list(db.query("SELECT 1 FROM rating_events")):
            ratings.record_import(db, first["id"])
    reward = filling.add_checkpoint(ws, filling.add_run(ws, RewardConfig(sft_checkpoint=sft)))
    return stored.read(ws, checkpoints.get, reward).id


def vote(ws, showing, outcome=None, **facts):
    """A vote; without an outcome for the good answer."""
    return stored.written(
        ws, ratings.record, showing.id, outcome or ("left" if showing.left.startswith("good") else "right"), **facts
    )


def rate_all(ws, judge=vote):
    """Rate until the session shows nothing more."""
    num = 0
    while showing := stored.written(ws, sessions.next_showing):
        judge(ws, showing)
        num += 1
    return num


def rows_of(ws, table="session_items"):
    with ws.read() as db:
        return list(db.query(f"SELECT * FROM {table} ORDER BY rowid"))


# Append-only.


@pytest.mark.parametrize(
    "table",
    ["guidelines", "sessions", "session_events", "session_items", "session_runs", "predictions", "prediction_views"],
)
@pytest.mark.parametrize("action", ["UPDATE", "DELETE"])
def test_sqlite_refuses_to_change_or_delete_what_a_session_recorded(ws, table, action):
    add_pairs(ws, 4)
    reward = add_reward(ws)
    stored.written(ws, guidelines.write, "Short is good.")
    session = stored.written(ws, sessions.start, SessionConfig())
    stored.written(ws, sessions.add_run, session.id, stored.read(ws, runs.list_all)[0].id)
    stored.written(
        ws,
        predictions.add,
        reward,
        [(row["id"], [[1.0], [0.0]]) for row in stored.read(ws, predictions.pending, reward)],
    )
    showing = stored.written(ws, sessions.next_showing)
    assert stored.written(ws, predictions.reveal, showing.id, vote(ws, showing).id)
    assert rows_of(ws, table), "nothing to refuse"
    with ws.read() as db:
        column = next(db.query(f"SELECT name FROM pragma_table_info('{table}') LIMIT 1"))["name"]
    sql = f"DELETE FROM {table}" if action == "DELETE" else f"UPDATE {table} SET {column} = {column}"
    with pytest.raises(sqlite3.IntegrityError, match=f"{table} is append-only"), ws.write() as db:
        db.execute(sql)


# The course of a session.


def test_a_session_rests_after_a_block_and_is_done_at_its_target(ws):
    add_pairs(ws, 30)
    session = stored.written(ws, sessions.start, SessionConfig(target=12, block_size=5, repeat_share=0.0))
    assert rate_all(ws) == 5
    assert stored.read(ws, sessions.get, session.id).state == "resting"
    assert stored.written(ws, sessions.resume, session.id).state == "running"
    assert rate_all(ws) == 5
    stored.written(ws, sessions.resume, session.id)
    assert rate_all(ws) == 2
    done = stored.read(ws, sessions.active)
    assert (done.state, done.num_given) == ("done", 12)
    assert stored.written(ws, sessions.end, session.id).state == "ended"
    assert stored.read(ws, sessions.active) is None
    assert stored.written(ws, sessions.next_showing) is not None, "other pairs can be rated without a session"


def test_undo_leads_back_into_a_full_block_and_a_skip_does_not_count(ws):
    add_pairs(ws, 30)
    session = stored.written(ws, sessions.start, SessionConfig(target=20, block_size=5, repeat_share=0.0))
    vote(ws, stored.written(ws, sessions.next_showing), "skip", reason="other")
    assert rate_all(ws) == 5
    last = stored.undone(ws)
    back = stored.read(ws, sessions.get, session.id)
    assert (back.state, back.num_given) == ("running", 4)
    assert stored.written(ws, sessions.next_showing).id == last.showing_id
    assert rate_all(ws) == 1
    assert stored.read(ws, sessions.get, session.id).state == "resting"


def test_undo_stops_at_the_start_of_the_session_at_work(ws):
    add_pairs(ws, 12)
    old = stored.written(ws, sessions.start, SessionConfig(target=2, block_size=5, repeat_share=0.0))
    for _ in range(2):
        vote(ws, stored.written(ws, sessions.next_showing))
    stored.written(ws, sessions.end, old.id)
    new = stored.written(ws, sessions.start, SessionConfig(repeat_share=0.0))
    vote(ws, stored.written(ws, sessions.next_showing))

    def take_back():
        with ws.write() as db:
            return undo.newest(db, "person", since=sessions.undo_since(db, "person"))

    assert take_back() is not None
    assert take_back() is None
    assert stored.read(ws, sessions.get, old.id).num_given == 2
    stored.written(ws, sessions.end, new.id)
    assert take_back() is not None
    assert stored.read(ws, sessions.get, old.id).num_given == 1


def test_a_session_goes_on_after_a_restart_with_the_pair_that_was_on_the_screen(ws):
    add_pairs(ws, 20)
    session = stored.written(ws, sessions.start, SessionConfig())
    vote(ws, stored.written(ws, sessions.next_showing))
    shown = stored.written(ws, sessions.next_showing)
    again = Workspace.open(ws.root)
    assert stored.read(again, sessions.active) == stored.read(ws, sessions.get, session.id)
    assert stored.written(again, sessions.next_showing) == shown


def test_a_paused_session_lets_others_work_and_is_taken_up_where_it_was(ws):
    add_pairs(ws, 20)
    first = stored.written(ws, sessions.start, SessionConfig())
    vote(ws, stored.written(ws, sessions.next_showing))
    with pytest.raises(RatingError, match=f"Session {first.id} is running"):
        stored.written(ws, sessions.start, SessionConfig())
    stored.written(ws, sessions.pause, first.id)
    second = stored.written(ws, sessions.start, SessionConfig(target=1))
    with pytest.raises(RatingError, match=f"Session {second.id} is running"):
        stored.written(ws, sessions.resume, first.id)
    rate_all(ws)
    stored.written(ws, sessions.end, second.id)
    assert stored.written(ws, sessions.resume, first.id).num_given == 1
    with pytest.raises(RatingError, match="is running, so it cannot be resumed"):
        stored.written(ws, sessions.resume, first.id)


def test_a_session_takes_only_what_it_was_asked_for(ws):
    add_pairs(ws, 6, category="sum")
    add_pairs(ws, 6, category="why", start=6)
    stored.written(ws, sessions.start, SessionConfig(categories=" why", repeat_share=0.0))
    assert rate_all(ws) == 6
    with ws.read() as db:
        found = db.query("SELECT DISTINCT p.category FROM session_items i JOIN prompts p ON p.id = i.prompt_id")
        assert [row["category"] for row in found] == ["why"]


def test_a_source_is_a_policy_a_policy_against_sft_or_imported_pairs(ws):
    filling.add_texts(ws, 4)
    sft = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    other = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    add_pairs(ws, 3)
    add_pairs(ws, 3, run=filling.add_run(ws, SampleConfig(checkpoint=other)).id, start=10)
    add_pairs(ws, 3, run=filling.add_run(ws, SampleConfig(checkpoint=other, opponent=sft)).id, start=20)
    for config, numbers in (
        (SessionConfig(source="imported"), range(3)),
        (SessionConfig(source="policy"), range(10, 13)),
        (SessionConfig(source="policy_vs_sft", checkpoint=other, opponent=sft), range(20, 23)),
    ):
        session = stored.written(ws, sessions.start, config.model_copy(update={"repeat_share": 0.0}))
        found = set()
        while showing := stored.written(ws, sessions.next_showing):
            found.add(int(showing.left.split()[1]))
            vote(ws, showing)
        assert found == set(numbers), config.source
        stored.written(ws, sessions.end, session.id)
    with pytest.raises(RatingError, match="cannot be compared with itself"):
        stored.written(ws, sessions.start, SessionConfig(source="policy_vs_sft"))
    with pytest.raises(RatingError, match="go with the sources"):
        stored.written(ws, sessions.start, SessionConfig(checkpoint=sft))


def test_a_comparison_on_held_out_prompts_shows_no_pair_that_waits_on_others_and_says_so(ws):
    filling.add_texts(ws, 4)
    one, other = (filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig())) for _ in range(2))
    add_pairs(ws, 3, run=filling.add_run(ws, SampleConfig(checkpoint=one, opponent=other)).id)
    config = session_config.head_to_head(one, other, 5).model_copy(update={"sample_below": 0})
    session = stored.written(ws, sessions.start, config)
    assert stored.written(ws, sessions.next_showing) is None
    with ws.read() as db:
        assert "has a prompt of the validation split" in sessions.why_nothing(db, session)
    stored.written(ws, sessions.end, session.id)
    stored.written(ws, sessions.start, config.model_copy(update={"split": "train"}))
    assert stored.written(ws, sessions.next_showing)


def test_the_guideline_in_force_is_stored_with_each_item(ws):
    add_pairs(ws, 20)
    stored.written(ws, sessions.start, SessionConfig())
    assert stored.read(ws, guidelines.current).version == 0
    vote(ws, stored.written(ws, sessions.next_showing))
    first = stored.written(ws, guidelines.write, "Short is good.")
    assert stored.written(ws, guidelines.write, " Short is good. ") == first, "the same text is no new version"
    vote(ws, stored.written(ws, sessions.next_showing))
    second = stored.written(ws, guidelines.write, "Long is good.")
    vote(ws, stored.written(ws, sessions.next_showing))
    assert [row["guideline_id"] for row in rows_of(ws)] == [None, first.version, second.version]
    with pytest.raises(DataError, match="is empty"):
        stored.written(ws, guidelines.write, "  ")


# Repeats, and what is shown near what.


def test_a_tenth_are_repeats_half_of_them_swapped_and_none_is_repeated_twice(ws):
    add_pairs(ws, 200)
    stored.written(ws, sessions.start, SessionConfig(target=200, block_size=500))
    rate_all(ws)
    items = rows_of(ws)
    repeats = [row for row in items if row["arm"] == "repeat"]
    assert 18 <= len(repeats) <= 22
    assert abs(sum(row["is_swapped"] for row in repeats) - len(repeats) / 2) <= 0.5
    assert max(Counter(row["repeat_of"] for row in repeats).values()) == 1
    shown = {row["id"]: (row["left_response_id"], row["right_response_id"]) for row in rows_of(ws, "showings")}
    for row in repeats:
        assert shown[row["showing_id"]] == shown[row["repeat_of"]][:: -1 if row["is_swapped"] else 1]


def test_rankings_come_again_too_half_of_them_in_reverse(ws):
    add_rankings(ws, 60, 5)
    stored.written(ws, sessions.start, SessionConfig(target=60, block_size=500, repeat_share=0.2, rank=5))
    rate_all(ws, rank_well)
    repeats = [row for row in rows_of(ws) if row["arm"] == "repeat"]
    assert 10 <= len(repeats) <= 14
    assert abs(sum(row["is_swapped"] for row in repeats) - len(repeats) / 2) <= 0.5
    shown = {row["id"]: json.loads(row["response_ids"]) for row in rows_of(ws, "showings")}
    for row in repeats:
        assert shown[row["showing_id"]] == shown[row["repeat_of"]][:: -1 if row["is_swapped"] else 1]
    frozen = stored.freeze(ws, Recipe())
    assert frozen.row_count == (60 - len(repeats)) * 10  # repeats are not trained on


@pytest.mark.parametrize("choose", ["random", "newest", "uncertainty", "margin", "diversity"])
def test_no_prompt_comes_twice_within_five_items(ws, choose):
    add_pairs(ws, 12, per_prompt=6)
    stored.written(ws, sessions.start, SessionConfig(target=80, block_size=500, choose=choose, repeat_share=0.2))
    rate_all(ws)
    shown = [row["prompt_id"] for row in rows_of(ws)]
    assert len(shown) > 60
    assert all(len(set(shown[i : i + 6])) == len(shown[i : i + 6]) for i in range(len(shown)))


# Choice.


def test_the_stored_probability_is_the_one_with_which_a_pair_is_drawn():
    pool = [{"id": n, "prompt_id": n, "score": u, "score_kind": "spread"} for n, u in enumerate((0.1, 0.3, 0.2))]
    query = PairQuery(choose="uncertainty", random_share=0.4)
    rng, first, stored = random.Random(0), Counter(), {}
    for _ in range(20_000):
        chosen = pair_selection.draw(pool, query, 1, rng)[0]
        first[chosen.comparison_id] += 1
        stored[chosen.comparison_id] = chosen.probability
    assert stored == {0: pytest.approx(0.4 / 3), 1: pytest.approx(0.4 / 3 + 0.6), 2: pytest.approx(0.4 / 3)}
    assert all(abs(first[key] / 20_000 - p) < 0.015 for key, p in stored.items())


def test_the_pairs_a_reward_model_is_least_sure_of_come_first_beside_the_random_arm():
    pool = [{"id": n, "prompt_id": n, "score": n / 100, "score_kind": "spread"} for n in range(100)]
    chosen = pair_selection.draw(pool, PairQuery(random_share=0.3), 60, random.Random(1))
    arms = Counter(item.arm for item in chosen)
    assert 10 <= arms["random"] <= 27
    active = [item.comparison_id for item in chosen if item.arm == "uncertainty"]
    assert active == sorted(active, reverse=True)
    assert len({item.comparison_id for item in chosen}) == 60
    assert chosen[0].num_behind == 99


def test_without_any_prediction_uncertainty_falls_back_to_chance_and_says_so():
    pool = [{"id": n, "prompt_id": n, "score": None, "score_kind": None} for n in range(8)]
    chosen = pair_selection.draw(pool, PairQuery(random_share=0.3), 8, random.Random(0))
    assert [item.arm for item in chosen] == ["random"] * 8
    assert [item.probability for item in chosen] == [1 / (8 - n) for n in range(8)]
    assert sorted(item.comparison_id for item in chosen) == list(range(8))


def test_score_kind_and_probability_are_stored_with_the_showing(ws):
    add_pairs(ws, 12)
    reward = add_reward(ws)
    waiting = stored.read(ws, predictions.pending, reward)
    stored.written(
        ws, predictions.add, reward, [(row["id"], [[n / 10, 0.0], [0.0, 0.0]]) for n, row in enumerate(waiting)]
    )
    stored.written(ws, sessions.start, SessionConfig(random_share=0.0, repeat_share=0.0))
    rate_all(ws)
    items = rows_of(ws)
    assert {row["arm"] for row in items} == {"uncertainty"}
    assert {row["score_kind"] for row in items} == {"spread"}
    assert [row["score"] for row in items] == sorted((row["score"] for row in items), reverse=True)
    assert {row["probability"] for row in items} == {1.0}


# Predictions.


def test_uncertainty_is_the_ensembles_spread_and_without_one_the_closeness_to_a_half():
    p, q = 1 / (1 + math.exp(-2.0)), 1 / (1 + math.exp(1.0))
    assert predictions.uncertainty([[2.0, -1.0], [0.0, 0.0]]) == (pytest.approx((p - q) / 2), "spread")
    assert predictions.uncertainty([[2.0], [0.0]]) == (pytest.approx(1 - 2 * (p - 0.5)), "closeness")
    assert predictions.uncertainty([[1.0], [1.0]]) == (1.0, "closeness")
    assert predictions.preference([[2.0, 2.0], [0.0, 0.0]]) == pytest.approx(p)
    three = predictions.uncertainty([[2.0], [0.0], [0.0]])[0]
    assert three == pytest.approx((2 * (1 - 2 * (p - 0.5)) + 1.0) / 3)


def test_sqlite_refuses_a_prediction_after_the_vote_even_one_that_was_taken_back(ws):
    add_pairs(ws, 3)
    reward = add_reward(ws)
    showing = stored.written(ws, comparisons.next_showing)
    vote(ws, showing)
    stored.undone(ws)
    assert stored.written(ws, predictions.add, reward, [(showing.comparison_id, [[1.0], [0.0]])]) == 0
    row = {
        "comparison_id": showing.comparison_id,
        "checkpoint_id": reward,
        "scores": "[[1.0],[0.0]]",
        "preference": 0.7,
        "uncertainty": 0.6,
        "uncertainty_kind": "closeness",
        "created_at": "now",
    }
    with pytest.raises(sqlite3.IntegrityError, match="a prediction comes before the first vote"), ws.write() as db:
        db.table("predictions").insert(row)


def test_a_prediction_is_shown_as_the_sides_stand_and_a_change_of_mind_after_it_is_known(ws):
    add_pairs(ws, 12)
    reward = add_reward(ws)
    waiting = stored.read(ws, predictions.pending, reward)
    stored.written(
        ws, predictions.add, reward, [(row["id"], [[2.0], [0.0]]) for row in waiting]
    )  # slot 0 is the good one
    session = stored.written(ws, sessions.start, SessionConfig(show_predictions=True, repeat_share=0.0))
    good = 1 / (1 + math.exp(-2.0))
    for number in range(4):
        showing = stored.written(ws, sessions.next_showing)
        is_left = showing.left.startswith("good")
        seen = stored.written(ws, predictions.reveal, showing.id, vote(ws, showing, "right" if is_left else "left").id)
        assert seen.left == pytest.approx(good if is_left else 1 - good)
        if number == 0:
            stored.undone(ws)
            vote(ws, showing)
    found = stored.read(ws, session_summary.card, session.id)
    assert found.changed == 1
    assert (found.reward_agreement.hits, found.reward_agreement.num) == (0, 4), "the first opinion counts"
    assert found.log_loss == pytest.approx(-math.log(1 - good))
    assert [c.preferred.split()[0] for c in found.contradictions] == ["bad"] * 4
    assert found.contradictions[0].probability == pytest.approx(1 - good)


def test_what_is_shown_soonest_is_predicted_first(ws):
    add_pairs(ws, 8)
    reward = add_reward(ws)
    stored.written(ws, sessions.start, SessionConfig(block_size=5))
    showing = stored.written(ws, sessions.next_showing)
    waiting = [row["id"] for row in stored.read(ws, predictions.pending, reward)]
    queued = [row["comparison_id"] for row in rows_of(ws, "session_queue")]
    assert waiting[:5] == [showing.comparison_id, *queued]
    assert stored.read(ws, predictions.pending, reward, 1)[0]["responses"][0].startswith("good")


# The card.


def play(ws, outcomes, config=None):
    """A session with these outcomes, one vote a pair."""
    session = stored.written(ws, sessions.start, config or SessionConfig(repeat_share=0.0, block_size=500))
    for outcome in outcomes:
        vote(ws, stored.written(ws, sessions.next_showing), outcome, elapsed_ms=1000)
    return session


def test_the_card_counts_outcomes_ties_and_sides(ws):
    add_pairs(ws, 20)
    session = play(ws, ["left", "left", "left", "right", "tie", "both_bad", "skip"])
    found = stored.read(ws, session_summary.card, session.id)
    assert (found.num_votes, found.num_skipped) == (6, 1)
    assert found.outcomes == {"left": 3, "right": 1, "tie": 1, "both_bad": 1, "ranking": 0}
    assert (found.ties.hits, found.ties.num) == (2, 6)
    assert (found.left.hits, found.left.num, found.left.interval) == (3, 4, wilson_interval(3, 4))
    assert math.isnan(found.log_loss)
    assert math.isnan(found.self_agreement.value)
    assert found.active_s < session_summary.PACE_FROM_S
    assert math.isnan(found.votes_per_hour), "so short a time has no pace"
    assert replace(found, active_s=120.0).votes_per_hour == 30 * found.num_votes
    assert stored.read(ws, session_summary.card, session.id, last=2).outcomes["tie"] == 1


def test_a_pause_counts_little_in_the_pace():
    def at(minute, elapsed=None):
        return {"created_at": f"2026-01-01T10:{minute:02}:00.000+00:00", "elapsed_ms": elapsed}

    votes = [at(0, 4000), at(1), at(41), at(42)]
    assert session_summary.active_seconds(votes) == 4 + 60 + session_summary.IDLE_S + 60


def test_agreement_with_oneself_is_about_the_response_and_not_about_the_side(ws):
    add_pairs(ws, 120)
    session = stored.written(ws, sessions.start, SessionConfig(target=120, block_size=500, repeat_share=0.3))
    rate_all(ws)  # always the good one
    found = stored.read(ws, session_summary.card, session.id)
    assert found.self_agreement.num > 30
    assert found.self_agreement.value == 1.0
    other = Workspace.open(ws.root.parent / "other")
    add_pairs(other, 120)
    session = stored.written(other, sessions.start, SessionConfig(target=120, block_size=500, repeat_share=0.3))
    rate_all(other, lambda ws, showing: vote(ws, showing, "left"))  # always the left one
    found = stored.read(other, session_summary.card, session.id)
    assert (found.same_sides.value, found.swapped_sides.value, found.left.value) == (1.0, 0.0, 1.0)


def test_of_a_ranking_that_comes_again_the_share_of_pairs_in_the_same_order_counts(ws):
    add_rankings(ws, 40, 3)
    session = stored.written(ws, sessions.start, SessionConfig(target=40, block_size=500, repeat_share=0.3, rank=3))
    rate_all(ws, rank_well)
    found = stored.read(ws, session_summary.card, session.id)
    assert found.self_agreement.num >= 10
    assert found.self_agreement.value == found.swapped_sides.value == 1.0
    other = Workspace.open(ws.root.parent / "other")
    add_rankings(other, 40, 3)
    session = stored.written(other, sessions.start, SessionConfig(target=40, block_size=500, repeat_share=0.3, rank=3))
    rate_all(
        other, lambda ws, showing: stored.written(ws, ratings.record, showing.id, "ranking", ranks=[1, 2, 3])
    )  # as they stand
    found = stored.read(other, session_summary.card, session.id)
    assert (found.same_sides.value, found.swapped_sides.value) == (1.0, 0.0)


def test_places_agree_pair_by_pair_and_a_tie_only_with_a_tie():
    agree, places = session_summary.self_agreement, session_summary.places
    shown = places("ranking", [11, 12, 13, 14], [1, 2, 2, 4])
    assert shown == {11: 1, 12: 2, 13: 2, 14: 4}
    assert agree(shown, places("ranking", [14, 13, 12, 11], [4, 2, 2, 1])) == 1.0
    assert agree(shown, places("ranking", [11, 12, 13, 14], [1, 2, 3, 4])) == pytest.approx(5 / 6)
    assert agree(shown, places("ranking", [11, 12, 13, 14], [4, 2, 2, 1])) == pytest.approx(1 / 6)
    assert agree(places("left", [1, 2]), places("right", [2, 1])) == 1.0
    assert agree(places("left", [1, 2]), places("left", [2, 1])) == 0.0
    assert agree(places("tie", [1, 2]), places("both_bad", [2, 1])) == 1.0
    assert agree(places("tie", [1, 2]), places("left", [1, 2])) == 0.0


def add_simulated_sessions(ws, num, repeats, error_rate, rng):
    """Sessions of a rater who errs independently at this rate: each pair once, then once more, the sides in any order."""
    add_pairs(ws, repeats)
    made = [stored.written(ws, sessions.start, SessionConfig(), rater=f"rater {number}").id for number in range(num)]
    with ws.write() as db:
        pairs = list(
            db.query(
                "SELECT c.id, c.prompt_id, a.response_id AS good, b.response_id AS bad FROM comparisons c"
                " JOIN comparison_responses a ON a.comparison_id = c.id AND a.slot = 0"
                " JOIN comparison_responses b ON b.comparison_id = c.id AND b.slot = 1"
            )
        )
        showings, items, events = [], [], []
        for session_id in made:
            first = {}
            for position in range(2 * repeats):
                pair, is_repeat = pairs[position % repeats], position >= repeats
                key, is_swapped = len(showings) + 1, rng.random() < 0.5
                sides = (pair["bad"], pair["good"]) if is_swapped else (pair["good"], pair["bad"])
                chooses_left = is_swapped == (rng.random() < error_rate)
                showings.append((key, pair["id"], *sides))
                repeat = (first[pair["id"]], 0) if is_repeat else (None, None)
                first.setdefault(pair["id"], key)
                items.append(
                    (key, session_id, position, pair["prompt_id"], "repeat" if is_repeat else "random", *repeat)
                )
                events.append((f"uuid-{key}", pair["id"], key, "left" if chooses_left else "right"))
        many = db.conn.executemany
        many("INSERT INTO showings (id, comparison_id, left_response_id, right_response_id, seed, rater, created_at)"
             " VALUES (?, ?, ?, ?, 0, 'person', '2026-01-01T00:00:00+00:00')", showings)  # fmt: skip
        many("INSERT INTO session_items (showing_id, session_id, position, prompt_id, arm, repeat_of, is_swapped, probability,"
             " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, 0.5, '')", items)  # fmt: skip
        many("INSERT INTO rating_events (uuid, comparison_id, showing_id, outcome, rater, created_at)"
             " VALUES (?, ?, ?, ?, 'person', '2026-01-01T00:00:00+00:00')", events)  # fmt: skip
    return made


def test_the_interval_of_self_agreement_covers_the_truth_at_its_nominal_rate(ws):
    """Who errs in 15 % agrees with themselves in 0.85^2 + 0.15^2. What Wilson's interval covers exactly is summed up."""
    error_rate, repeats, num = 0.15, 25, 500
    truth = (1 - error_rate) ** 2 + error_rate**2
    covered = 0
    for session_id in add_simulated_sessions(ws, num, repeats, error_rate, random.Random(3)):
        share = stored.read(ws, session_summary.card, session_id).self_agreement
        assert share.num == repeats
        covered += share.interval[0] <= truth <= share.interval[1]
    exact = sum(
        math.comb(repeats, hits) * truth**hits * (1 - truth) ** (repeats - hits)
        for hits in range(repeats + 1)
        if wilson_interval(hits, repeats)[0] <= truth <= wilson_interval(hits, repeats)[1]
    )
    assert exact == pytest.approx(0.95, abs=0.02)
    assert covered / num == pytest.approx(exact, abs=3 * math.sqrt(exact * (1 - exact) / num))


def test_the_interval_of_rankings_covers_the_truth_at_least_at_its_nominal_rate():
    """A rater who sees each answer's worth with noise. Pairs of one ranking hang together, so they must not count as one each."""
    rng = random.Random(5)
    worth = [0.0, 0.4, 0.8, 1.6, 2.0]

    def once():
        seen = [-each - rng.gauss(0.0, 0.8) for each in worth]
        return session_summary.places("ranking", range(5), [sorted(seen).index(each) + 1 for each in seen])

    truth = sum(session_summary.self_agreement(once(), once()) for _ in range(20_000)) / 20_000
    assert 0.6 < truth < 0.9
    covered = too_narrow = 0
    for _ in range(400):
        hits = sum(session_summary.self_agreement(once(), once()) for _ in range(12))
        low, high = session_summary.Share(hits, 12).interval
        covered += low <= truth <= high
        low, high = session_summary.Share(hits * 10, 120).interval
        too_narrow += low <= truth <= high
    assert covered / 400 >= 0.95
    assert too_narrow / 400 < covered / 400


def test_a_session_that_would_show_more_than_all_items_again_is_refused(ws):
    with pytest.raises(
        RatingError, match=r"repeat_share = 0.9 and second_looks = 0.9 are more than all items together\. Lower one"
    ):
        stored.written(ws, sessions.start, SessionConfig(repeat_share=0.9, second_looks=0.9))
    assert stored.written(ws, sessions.start, SessionConfig(repeat_share=0.5, second_looks=0.5)).id
