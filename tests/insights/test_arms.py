"""Chosen against random labels: which arm a label has, what is refused, what is told, and what an automatic choice goes by."""

import json
from collections import Counter

import pytest

from modules.config import CurveConfig
from studio.annotation import pair_selection, sessions
from studio.annotation.session_config import SessionConfig
from studio.cli import main
from studio.datasets import archive
from studio.errors import DataError
from studio.insights import active_choice, learning_curves
from studio.preferences import arms, comparisons, ratings
from studio.runs import extent, label_curve, runs
from studio.workspace import Workspace
from tests.insights.test_learning_curve import rate
from tests.support import curves, rated, stored
from tests.support.rated import World
from tests.test_sessions import add_pairs, rows_of

SIZES = (50, 100, 200, 400, 800)
WORLD = World(num=60, error=0.1, ties=0.0, skips=0.0, repeats=10, models=())


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "studio")


@pytest.fixture
def world(ws):
    """A session of one rater that chose half of its items, and drew the others at random."""
    rated.fill(ws, WORLD)
    return ws


def test_a_label_has_the_arm_of_the_item_through_which_it_was_first_voted_on(world):
    found = stored.read(world, arms.by_comparison)
    first = {row["comparison_id"]: row["showing_id"] for row in reversed(rows_of(world, "rating_events"))}
    items = {row["showing_id"]: row["arm"] for row in rows_of(world)}
    assert found == {
        comparison: "random" if items[showing] == "random" else "active"
        for comparison, showing in first.items()
        if showing in items
    }
    assert sorted(set(found.values())) == ["active", "random"]
    before = dict(found)
    rate(world, "train", 6)
    assert stored.read(world, arms.by_comparison) == before, "plain rating belongs to neither"
    _rate_session(world, SessionConfig(choose="random", target=5, repeat_share=0.0))
    assert stored.read(world, arms.by_comparison) == before, "a session that chose nothing has no arms"
    _rate_session(world, SessionConfig(choose="newest", random_share=0.0, target=5, repeat_share=0.0))
    assert stored.read(world, arms.by_comparison) == before, "the newest were not chosen for what they teach"


def _rate_session(ws, config):
    add_pairs(ws, 8, start=100 * len(rows_of(ws, "sessions")))
    session = stored.written(ws, sessions.start, config)
    while showing := stored.written(ws, sessions.next_showing):
        stored.written(ws, ratings.record, showing.id, "left")
    stored.written(ws, sessions.end, session.id)


def test_a_vote_of_another_later_changes_no_arm(world):
    before = stored.read(world, arms.by_comparison)
    showing = rows_of(world, "showings")[0]
    with world.write() as db:
        ratings.record(db, comparisons.add_showing(db, showing["comparison_id"], "somebody else"), "right")
    assert stored.read(world, arms.by_comparison) == before


def test_a_curve_with_arms_takes_labels_with_an_arm_and_leaves_out_held_out_votes_on_chosen_pairs(world):
    known = stored.read(world, arms.by_comparison)
    one, other = (next(id for id, arm in known.items() if arm == wanted) for wanted in arms.ARMS)
    rows = [{"comparison_id": each, "weight": 1.0} for each in (one, other, 10**6)]
    every = {"train": rows, "validation": rows}
    found = stored.read(world, label_curve.by_arm, CurveConfig(arms=True), every)
    assert [(row["comparison_id"], row["arm"]) for row in found["train"]] == [(one, "active"), (other, "random")]
    assert [row["comparison_id"] for row in found["validation"]] == [other, 10**6]
    assert stored.read(world, label_curve.by_arm, CurveConfig(), every) == every
    assert label_curve.num_common(CurveConfig(arms=True), found["train"] + found["train"][:1]) == 1


def test_too_few_labels_of_an_arm_or_held_out_votes_are_refused_with_what_to_do(ws):
    rated.fill(ws, WORLD._replace(models=(1.0,)))
    with pytest.raises(DataError) as refused:
        runs.create(ws, CurveConfig(arms=True))
    assert str(refused.value) == (
        "Sessions that choose have given 30 labels on train prompts that were chosen and 30 drawn at random, so the smallest of 5 sizes would have 1, and "
        "at least 4 are needed. Rate in a session that does both (rlhf-studio session start --set choose=uncertainty --set random_share=0.5) until "
        "there are 64 of each."
    )
    assert not stored.read(ws, runs.list_all, stage="curve")
    said = stored.read(ws, extent.sentence, CurveConfig(arms=True, num_seeds=2))
    assert said == stored.read(ws, extent.refusal, CurveConfig(arms=True)), "what would be refused has no time to tell"
    assert "needs 64 ratings on train prompts of each kind, chosen and drawn at random" in said
    assert said.endswith("There are 30.")


def test_the_command_tells_both_curves_and_the_ratio(world, capsys):
    curves.fill_arms(world, SIZES, 4.0, num_active=900)
    found = stored.read(world, active_choice.newest)
    assert found.saving.low < 0.25 < found.saving.high < 1
    assert main(["insights", "--workspace", str(world.root)]) == 0
    text = capsys.readouterr().out
    assert found.sentence == (
        f"Active choice needed {found.saving.ratio:.2f} times as many labels as random choice ({found.saving.low:.2f} to {found.saving.high:.2f}), "
        "from 900 and 800 labels."
    )
    assert found.sentence in text
    for point in (*found.active, *found.random):
        assert f"{point.accuracy:.1%}" in text
    assert main(["insights", "--json", "--workspace", str(world.root)]) == 0
    plain = json.loads(capsys.readouterr().out)["active_choice"]
    assert plain["saving"]["ratio"] == found.saving.ratio
    assert plain["sentence"] == found.sentence
    assert stored.read(world, learning_curves.newest) is None, "it is no curve of all labels"


def test_without_a_measurement_the_command_names_the_one_that_measures_it(world, capsys):
    assert main(["insights", "--workspace", str(world.root)]) == 0
    assert "rlhf-studio curve --set arms=true --workspace" in " ".join(capsys.readouterr().out.split())


def test_a_part_of_a_comparison_is_told_as_a_part_and_takes_no_place_of_a_whole_one(world):
    curves.fill_arms(world, SIZES, 1.0, num_seeds=1, num_held_out=50)
    found = stored.read(world, active_choice.newest)
    assert (found.sentence, found.saving) == ("", None)
    assert found.unfinished == "1 of 2 seeds are measured on both (curve-1 is finished: resume it)."
    curves.fill_arms(world, SIZES, 1.0, num_held_out=50, name="curve-2")
    curves.fill_arms(world, SIZES, 1.0, num_seeds=1, num_held_out=50, name="curve-3")
    assert stored.read(world, active_choice.newest).run == "curve-2"


@pytest.mark.parametrize(
    ("worth", "random_share", "says"),
    [
        (None, 0.3, "whether that saves labels is not measured yet"),
        (4.0, 0.3, "since that saves labels. curve-1: Active choice needed 0."),
        (1.0, 0.9, "has not been shown to save labels. curve-1: Active choice needed "),
        (0.5, 0.9, "has not been shown to save labels. curve-1: Active choice needed "),
        (200.0, 0.3, "until it can be told whether that saves labels. curve-1: Not identifiable yet"),
    ],
)
def test_an_automatic_choice_goes_by_the_newest_measurement_and_the_session_stores_it(
    world, worth, random_share, says, capsys
):
    if worth:
        curves.fill_arms(world, SIZES, worth)
    add_pairs(world, 40, start=500)
    assert SessionConfig().choose == "auto"
    assert main(["session", "start", "--set", "target=20", "--workspace", str(world.root)]) == 0
    assert says in capsys.readouterr().out
    session = stored.read(world, sessions.active)
    assert (session.config.choose, session.config.random_share) == ("uncertainty", random_share)
    assert says in session.reason
    assert main(["session", "card", "--workspace", str(world.root)]) == 0
    assert session.reason in capsys.readouterr().out
    stored.written(world, sessions.end, session.id)
    own = stored.written(world, active_choice.start_session, SessionConfig(choose="margin"))
    assert (own.config.choose, own.reason) == ("margin", "")


def test_where_choosing_saves_nothing_one_pair_in_ten_is_still_chosen_and_can_be_measured_again(ws):
    rated.fill(ws, WORLD._replace(models=(1.0,)))
    curves.fill_arms(ws, SIZES, 0.5)
    before = Counter(stored.read(ws, arms.by_comparison).values())
    add_pairs(ws, 300, start=500)
    with ws.write() as db:
        db.execute(
            "INSERT INTO predictions (comparison_id, checkpoint_id, scores, preference, uncertainty, uncertainty_kind, created_at)"
            " SELECT id, (SELECT max(id) FROM checkpoints), '[[0.0],[0.0]]', 0.5, 0.5, 'closeness', '' FROM comparisons"
            " WHERE id IN (SELECT comparison_id FROM waiting_comparisons)"
        )
    config = SessionConfig(target=200, block_size=200, random_share=0.0, repeat_share=0.0, second_looks=0.0)
    session = stored.written(ws, active_choice.start_session, config)
    assert session.config.random_share == 0.9
    stored.written(ws, sessions.next_showing)
    with ws.read() as db:
        drawn = list(db.query("SELECT arm, probability, num_behind FROM session_queue"))
    chosen = [row for row in drawn if row["arm"] != "random"]
    assert 5 <= len(chosen) <= 40, "one in ten of some 200"
    assert all(row["probability"] >= 0.1 for row in chosen)
    for _ in range(60):
        stored.written(ws, ratings.record, stored.written(ws, sessions.next_showing).id, "left")
    after = Counter(stored.read(ws, arms.by_comparison).values())
    assert after["random"] > before["random"]
    assert after["active"] > before["active"], "labels from which choosing is measured again"


def test_who_wants_all_at_random_gets_all_at_random(world):
    curves.fill_arms(world, SIZES, 0.5)
    add_pairs(world, 40, start=500)
    assert (
        stored.written(world, active_choice.start_session, SessionConfig(random_share=1.0)).config.random_share == 1.0
    )


def test_a_query_of_an_automatic_choice_that_nobody_settled_chooses():
    assert pair_selection.PairQuery().choose == "uncertainty"


def test_an_archive_carries_both_curves_and_what_the_session_went_by(ws, tmp_path):
    rate(ws, "train", 6)
    curves.fill_arms(ws, SIZES, 4.0, num_held_out=400)
    session = stored.written(ws, active_choice.start_session, SessionConfig())
    there = Workspace.open(tmp_path / "there")
    archive.read(there, archive.write(ws).path)
    measured = stored.read(ws, active_choice.newest)
    assert measured.sentence
    assert stored.read(there, active_choice.newest) == measured
    assert stored.read(there, sessions.get, session.id).reason == session.reason
