"""The ways in which a session chooses its pairs: what each puts first, and how the choice is stored."""

import math
import sqlite3
from collections import Counter

import pytest

from studio.annotation import pair_worth, predictions, sessions
from studio.annotation.session_config import SessionConfig
from studio.workspace import Workspace
from tests.support import earlier, stored
from tests.test_sessions import add_pairs, add_reward, rate_all, rows_of


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "workspace")


def test_what_a_vote_tells_is_the_entropy_of_the_mean_less_the_mean_entropy_and_closeness_without_an_ensemble():
    def entropy(p):
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    p, q = 1 / (1 + math.exp(-2.0)), 1 / (1 + math.exp(1.0))
    known = entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2
    assert pair_worth.information([[2.0, -1.0], [0.0, 0.0]]) == (pytest.approx(known), "information")
    assert pair_worth.information([[2.0, 2.0], [0.0, 0.0]])[0] == pytest.approx(0.0), "members agree"
    assert pair_worth.information([[2.0], [0.0]]) == pair_worth.closeness([[2.0], [0.0]])
    assert pair_worth.closeness([[2.0, -2.0], [0.0, 0.0]]) == (1.0, "closeness"), "the mean of an ensemble"


@pytest.mark.parametrize(("choose", "first"), [("uncertainty", 1), ("information", 1), ("margin", 2)])
def test_each_strategy_puts_first_what_its_name_says(ws, choose, first):
    """Members that disagree about a pair (1), and a pair that both find even (2)."""
    add_pairs(ws, 4)
    reward = add_reward(ws)
    waiting = sorted(row["id"] for row in stored.read(ws, predictions.pending, reward))
    scores = [[[2.0, 2.0], [0.0, 0.0]], [[3.0, -2.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]
    stored.written(ws, predictions.add, reward, list(zip(waiting, scores, strict=True)))
    stored.written(ws, sessions.start, SessionConfig(choose=choose, random_share=0.0, repeat_share=0.0))
    rate_all(ws)
    items = rows_of(ws)
    shown = {row["id"]: row["comparison_id"] for row in rows_of(ws, "showings")}
    assert {row["arm"] for row in items} == {choose}
    assert shown[items[0]["showing_id"]] == waiting[first]
    assert [row["score"] for row in items] == sorted((row["score"] for row in items), reverse=True)


def test_diversity_takes_each_prompt_once_before_any_twice_and_the_least_rated_first(ws):
    add_pairs(ws, 12, per_prompt=3)
    stored.written(ws, sessions.start, SessionConfig(choose="random", target=9, repeat_share=0.0))
    rate_all(ws)
    before = Counter(row["prompt_id"] for row in rows_of(ws))
    stored.written(ws, sessions.end, 1)
    stored.written(ws, sessions.start, SessionConfig(choose="diversity", random_share=0.0, target=15, repeat_share=0.0))
    rate_all(ws)
    items = [row for row in rows_of(ws) if row["session_id"] == 2]
    assert {(row["arm"], row["score_kind"], row["probability"]) for row in items} == {("diversity", "rarity", 1.0)}
    for row in items:
        assert row["score"] == 1 / (1 + before[row["prompt_id"]])
        before[row["prompt_id"]] += 1
    assert [row["score"] for row in items] == sorted((row["score"] for row in items), reverse=True)


def test_items_of_the_version_before_the_strategies_stay_with_their_guards(tmp_path):
    stop = "m088_strategies"
    with earlier.written(tmp_path / "old", stop) as db:
        comparison, (left, right) = earlier.pair(db, 1)
        db.table("showings").insert(
            {"id": 7, "comparison_id": comparison, "left_response_id": left, "right_response_id": right, "seed": 0, "rater": "p", "created_at": ""}
        )  # fmt: skip
        config = {"rater": "p", "config": '{"choose": "uncertainty"}', "seed": 1, "created_at": ""}
        db.table("sessions").insert({"id": 3} | config)
        db.table("session_events").insert({"session_id": 3, "kind": "started", "num_given": 0, "created_at": ""})
        row = {
            "showing_id": 7,
            "session_id": 3,
            "position": 0,
            "prompt_id": 1,
            "arm": "uncertainty",
            "probability": 0.5,
        }
        db.table("session_items").insert(row | {"score": 0.1, "score_kind": "spread", "created_at": "then"})
    ws = Workspace.open(tmp_path / "old")
    (kept,) = rows_of(ws)
    assert row.items() <= kept.items()
    assert kept["created_at"] == "then"
    found = stored.read(ws, sessions.get, 3)
    assert (found.config.choose, found.reason) == ("uncertainty", "")
    with ws.write() as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute("UPDATE session_items SET arm = 'random'")
