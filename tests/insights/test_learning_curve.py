"""The stage curve as a real process: what it measures, a kill and its resume, what it refuses; and what is told of it."""

import json
import random
from itertools import pairwise

import numpy as np
import pytest

from modules.config import CurveConfig, RewardConfig, SFTConfig
from studio.cli import main
from studio.errors import CheckpointError, DataError, RunError
from studio.insights import active_choice, learning_curves, report
from studio.models import checkpoints
from studio.preferences import comparisons, prompts, ratings, snapshots
from studio.preferences.prompts import NewPrompt
from studio.runs import extent, launcher, runs
from studio.worker.learning import describe, nested
from studio.workspace import Workspace
from tests.support import curves, rated, stored, warm
from tests.support.rated import World
from tests.support.waiting import for_run
from tests.ui import filling

SMALL = {"lora_rank": 4, "batch_size": 8, "micro_batch_size": 8, "max_length": 128}
CURVE = CurveConfig(num_sizes=4, num_seeds=2)


WORTH = {"kind": 2, "clear": 1, "warm": 1, "plain": 0, "long": 0, "short": 0, "vague": -1, "cold": -1, "rude": -2}


def worth(text):
    return sum(WORTH[word] for word in text.split())


def rate(ws, split, num, *, error=0.0, ties=0, first=0):
    """Pairs of so many prompts, rated by one who prefers the answer of greater worth, and errs at this rate."""
    rng = random.Random(f"{split}{first or ''}")
    with ws.write() as db:
        for n in range(first, first + num):
            turns = [{"role": "user", "content": f"What is {split} {n}?"}]
            asked = prompts.add_prompt(db, NewPrompt(turns, split=split))
            if split == "train":
                prompts.add_response(db, asked, f"It is {n}.", "demonstration")
            texts = ("kind", "rude")
            while abs(worth(texts[0]) - worth(texts[1])) != 1:
                texts = [" ".join(rng.choices(list(WORTH), k=5)) for _ in range(2)]
            pair = [prompts.add_response(db, asked, text, "import") for text in texts]
            comparisons.add_comparison(db, asked, (pair[0], pair[1]))
    for n in range(num):
        showing = stored.written(ws, comparisons.next_showing)
        is_left = (worth(showing.left) > worth(showing.right)) != (rng.random() < error)
        stored.written(ws, ratings.record, showing.id, "tie" if n < ties else "left" if is_left else "right")


def end(ws, config):
    run = launcher.start(ws, runs.create(ws, config))
    return for_run(ws, run.name, lambda r: r.is_ended)


def results(ws, run=None):
    """Size, seed and hits of all reward models, or of those that one run measured."""
    rows = stored.tables(ws)["learning_results"]
    return {(r["size"], r["seed"]): r["hits"] for r in rows if run is None or r["run_id"] == run.id}


@pytest.fixture(autouse=True, scope="module")
def quick_starts():
    with warm.starts():
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """48 labels, 16 held-out votes of which 2 are ties, and a reward model."""
    ws = Workspace.open(tmp_path_factory.mktemp("curve") / "studio")
    rate(ws, "train", 48, error=0.05)
    rate(ws, "validation", 16, ties=2)
    end(ws, SFTConfig(**SMALL, epochs=1, eval_samples=0, eval_every=1000))
    end(ws, RewardConfig(**SMALL, epochs=2, learning_rate=5e-3, ties="half", offtopic_share=0.5))
    return ws


@pytest.fixture(scope="module")
def measured(trained):
    """A copy with a learning curve."""
    ws = stored.copied(trained, trained.root.parent / "measured")
    run = end(ws, CURVE)
    assert run.state == "finished", run.message
    return ws


def test_parts_are_nested_and_differ_by_seed_and_a_ranking_is_one_label():
    rows = [{"prompt_id": n // 2, "weight": 1.0, "n": n} for n in range(40)]
    for seed in range(3):
        parts = [nested(rows, size, seed) for size in (5, 10, 20, 40)]
        assert [len(part) for part in parts] == [5, 10, 20, 40]
        for smaller, larger in pairwise(parts):
            assert {row["n"] for row in smaller} < {row["n"] for row in larger}
        assert sorted(row["prompt_id"] for row in parts[1]) == sorted([*{row["prompt_id"] for row in parts[1]}] * 2)
    assert nested(rows, 10, 0) != nested(rows, 10, 1)
    rankings = [{"prompt_id": n // 3, "weight": 1 / 3, "n": n} for n in range(30)]
    assert len(nested(rankings, 4, 0)) == 12


def test_each_size_is_measured_with_each_seed_on_the_decided_held_out_votes_and_no_model_is_kept(measured):
    found = results(measured)
    assert set(found) == {(size, seed) for size in (6, 12, 24, 48) for seed in (0, 1)}
    assert {len(hits) for hits in found.values()} == {14}, "two of the sixteen are ties"
    assert len(set(found.values())) == 8, "each model has faults of its own"
    run = stored.read(measured, runs.get, "curve-1")
    assert "8 reward models trained on 6 to 48 labels and measured on 14 held-out votes" in run.message
    assert not (runs.folder(measured, "curve-1") / "checkpoints").exists()
    assert [c.name for c in stored.read(measured, checkpoints.list_all, "curve")] == []
    curve = stored.read(measured, learning_curves.newest)
    assert (curve.run, curve.num_seeds, curve.num_held_out, curve.num_prompts) == ("curve-1", 2, 14, 14)
    assert [point.size for point in curve.points] == [6, 12, 24, 48]
    assert curve.points[3].accuracy == np.mean([[hit == "1" for hit in found[48, seed]] for seed in (0, 1)])
    assert curve.forecast.twice.more == 48


def test_a_killed_and_resumed_curve_equals_an_unbroken_one(trained, measured, tmp_path):
    ws = stored.copied(trained, tmp_path / "broken")
    killed = launcher.start(ws, runs.create(ws, CURVE))
    for_run(ws, killed.name, lambda r: len(results(ws)) >= 2 or r.is_ended)
    launcher.kill(ws, killed.name)
    first = results(ws)
    assert 2 <= len(first) < 8
    told = stored.read(ws, runs.get, killed.name)
    assert "Resume measures the rest" in stored.read(ws, launcher.next_step, told)
    resumed = launcher.start(ws, runs.resume(ws, killed.name))
    resumed = for_run(ws, resumed.name, lambda r: r.is_ended)
    assert resumed.state == "finished"
    assert results(ws) == results(measured)
    assert results(ws, resumed).keys() == results(measured).keys() - first.keys(), "nothing is measured twice"
    with pytest.raises(RunError, match="everything is measured"):
        runs.resume(ws, resumed.name)


def put_into_a_session(ws):
    """Let every other vote on a train prompt have been on a pair that a session chose, and the others on pairs it drew."""
    with ws.write() as db:
        row = {"rater": "person", "config": "{}", "seed": 0, "created_at": ""}
        session = db.table("sessions").insert(row).last_pk
        db.table("session_events").insert({"session_id": session, "kind": "ended", "num_given": 0, "created_at": ""})
        shown = db.query(
            "SELECT s.id, c.prompt_id FROM showings s JOIN comparisons c ON c.id = s.comparison_id"
            " JOIN prompts p ON p.id = c.prompt_id WHERE p.split = 'train' ORDER BY s.id"
        )
        for position, row in enumerate(list(shown)):
            item = {"showing_id": row["id"], "session_id": session, "position": position, "prompt_id": row["prompt_id"]}
            arm = ("uncertainty", "random")[position % 2]
            db.table("session_items").insert(item | {"arm": arm, "probability": 0.5, "created_at": ""})


def arms_of(ws):
    """Arm, size, seed and hits of each reward model."""
    rows = stored.tables(ws)
    arm = {row["id"]: row["arm"] for row in rows["learning_curves"]}
    return {(arm[r["curve_id"]], r["size"], r["seed"]): r["hits"] for r in rows["learning_results"]}


def test_with_arms_chosen_and_random_labels_are_measured_on_the_same_votes_also_after_a_kill_and_none_twice(
    trained, tmp_path
):
    ws = stored.copied(trained, tmp_path / "arms")
    rate(ws, "train", 16, first=48)
    put_into_a_session(ws)
    there = stored.copied(ws, tmp_path / "unbroken")
    config = CURVE.model_copy(update={"arms": True})
    killed = launcher.start(ws, runs.create(ws, config))
    for_run(ws, killed.name, lambda r: len(arms_of(ws)) >= 3 or r.is_ended)
    launcher.kill(ws, killed.name)
    first = arms_of(ws)
    assert 3 <= len(first) < 16
    rate(ws, "train", 4, first=90)  # a label that comes later moves nothing
    resumed = launcher.start(ws, runs.resume(ws, killed.name))
    resumed = for_run(ws, resumed.name, lambda r: r.is_ended)
    assert resumed.state == "finished", resumed.message
    assert "trained on 4 to 32 labels" in resumed.message
    assert arms_of(ws).keys() == {
        (arm, size, seed) for arm in ("active", "random") for size in (4, 8, 16, 32) for seed in (0, 1)
    }
    measured = [row["run_id"] for row in stored.tables(ws)["learning_results"]]
    assert (measured.count(resumed.id), len(measured)) == (16 - len(first), 16), "nothing is measured twice"
    end(there, config)
    assert arms_of(ws) == arms_of(there)
    rows = runs.read_rows(ws, killed.name, "train")
    assert [row["arm"] for row in rows].count("active") == 32
    found = stored.read(ws, active_choice.newest)
    assert (found.num_active, found.num_random, found.num_held_out, found.num_seeds) == (32, 32, 14, 2)
    assert stored.read(ws, learning_curves.newest) is None


def test_a_stopped_curve_keeps_what_is_measured_and_more_seeds_are_added_to_it(measured, tmp_path):
    ws = stored.copied(measured, tmp_path / "more")
    before = results(ws)
    run = launcher.start(ws, runs.create(ws, CURVE.model_copy(update={"num_seeds": 20})))
    for_run(ws, run.name, lambda r: len(results(ws)) > 9 or r.is_ended)
    stored.written(ws, runs.request_stop, run.name)
    run = for_run(ws, run.name, lambda r: r.is_ended)
    assert run.state == "stopped"
    assert f"Stopped after {len(results(ws, run))} of 72 reward models" in run.message
    assert results(ws).items() > before.items()
    assert not results(ws, run).keys() & before.keys()
    curve = stored.read(ws, learning_curves.newest)
    assert curve.unfinished.startswith(f"{curve.num_seeds} of 20 seeds are measured (curve-2 is stopped: resume it)")


def test_the_settings_and_the_choice_of_ratings_are_those_of_the_reward_model(trained, tmp_path):
    ws = stored.copied(trained, tmp_path / "copy")
    run = runs.create(ws, CURVE)
    (settings,) = runs.read_rows(ws, run.name, "settings")
    own = stored.read(ws, runs.get, "reward-1").config.model_dump()
    assert settings == own | {"seed": 0}
    snapshot = stored.read(ws, snapshots.get, run.config.snapshot)
    assert (run.config.reward_checkpoint, run.snapshot_id) == (
        stored.read(ws, checkpoints.get, "reward-1").name,
        snapshot.id,
    )
    assert snapshot.name == own["snapshot"], "the same ratings by the same recipe are one snapshot"
    other = stored.freeze(ws, ties="drop", use_strength=True, strength_as="soft_label")
    assert (
        stored.read(
            ws, snapshots.get, runs.create(ws, CURVE.model_copy(update={"snapshot": other.name})).config.snapshot
        )
        == other
    )
    assert snapshots.recipe_behind(other) == snapshots.Recipe(ties="drop", use_strength=True, strength_as="soft_label")


def test_what_a_curve_would_take_is_told_before(trained):
    said = stored.read(trained, extent.sentence, CURVE)
    assert said.startswith("8 reward models on about 6 to 48 labels, with the settings of reward-1@")
    assert "as much training as 3.8 reward models on all labels" in said
    assert not stored.read(trained, extent.refusal, CURVE)
    assert "needs 512 ratings on train prompts" in stored.read(
        trained, extent.refusal, CURVE.model_copy(update={"num_sizes": 8})
    )


def test_what_cannot_tell_anything_is_refused_before_a_run_is_made(tmp_path):
    ws = Workspace.open(tmp_path / "studio")
    with pytest.raises(CheckpointError, match="no checkpoint of the reward model yet"):
        runs.create(ws, CurveConfig())
    rate(ws, "train", 40)
    filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    filling.add_checkpoint(ws, filling.add_run(ws, RewardConfig()))
    with pytest.raises(
        DataError,
        match=r"40 labels on train prompts, so the smallest of 5 sizes would have 2, .* until there are 64 labels, or set num_sizes to 4",
    ):
        runs.create(ws, CurveConfig())
    with pytest.raises(DataError, match=r"of which there are 0 on 0 prompts: at least 10 prompts are needed"):
        runs.create(ws, CURVE)
    rate(ws, "validation", 12, ties=3)
    with pytest.raises(DataError, match=r"of which there are 9 on 9 prompts"):
        runs.create(ws, CURVE)
    assert stored.read(ws, runs.list_all, stage="curve") == []
    assert not list(ws.runs.glob("curve*"))


@pytest.fixture
def world(tmp_path):
    """Ratings, a noise ceiling, and a learning curve that was not trained but drawn."""
    ws = Workspace.open(tmp_path / "studio")
    rated.fill(ws, World(num=60, error=0.1, repeats=40))
    curves.fill(ws, (50, 100, 200, 400, 800), num_held_out=400)
    return ws


def test_the_command_tells_the_curve_and_what_more_labels_would_bring(world, capsys):
    assert main(["insights", "--workspace", str(world.root)]) == 0
    text = capsys.readouterr().out
    curve = stored.read(world, learning_curves.newest)
    assert "How many more labels?" in text
    assert (
        f"{curve.run}, {curve.snapshot}: reward models on 400 held-out votes of 400 prompts, under the noise ceiling of"
        in text
    )
    for point in curve.points:
        assert f"{point.accuracy:.1%}" in text
    assert [gain.more for gain in curve.gains] == [100, 800]
    assert all(gain.sentence in text for gain in curve.gains)
    assert main(["insights", "--json", "--workspace", str(world.root)]) == 0
    found = json.loads(capsys.readouterr().out)["curve"]
    assert found["points"][4] == curve.points[4]._asdict()
    assert found["gains"][1]["sentence"] == curve.gains[1].sentence
    assert found["law"]["end"] <= found["ceiling"]["value"]


def test_without_a_curve_the_command_names_the_one_that_measures_it(tmp_path, capsys):
    ws = Workspace.open(tmp_path / "studio")
    rated.fill(ws, World(num=20, repeats=0, models=()))
    assert main(["insights", "--workspace", str(ws.root)]) == 0
    assert "No learning curve has been measured yet." in (told := capsys.readouterr().out)
    assert "rlhf-studio curve --workspace" in told


def test_a_part_of_a_curve_is_told_as_a_part(tmp_path):
    ws = Workspace.open(tmp_path / "studio")
    rated.fill(ws, World(num=20, repeats=0))
    curves.fill(ws, (50, 100, 200, 400, 800), num_seeds=1)
    curve = stored.read(ws, learning_curves.newest)
    assert (curve.num_seeds, curve.forecast, curve.gains, len(curve.points)) == (1, None, [], 5)
    assert "From 2 on, Insights says" in curve.unfinished
    assert not curve.ceiling.num
    assert stored.read(ws, report.read).as_dict()["curve"]["law"] is None


def test_a_curve_that_has_only_begun_takes_no_place_of_one_that_tells_something(world):
    curves.fill(world, (50, 100, 200, 400, 800), num_seeds=1, name="curve-2")
    assert stored.read(world, learning_curves.newest).run == "curve-1"
    curves.fill(world, (50, 100, 200, 400, 800), num_seeds=2, name="curve-3")
    assert stored.read(world, learning_curves.newest).run == "curve-3"


def test_a_curve_is_known_again_by_what_its_models_learn_from_and_not_by_where_and_when():
    settings = RewardConfig(learning_rate=1e-3, batch_size=8)
    assert describe(settings) == {"learning_rate": 1e-3, "batch_size": 8}
    other = settings.model_copy(update={"seed": 3, "eval_every": 7, "snapshot": "snapshot-2", "device": "cpu"})
    assert describe(other) == describe(settings)
    assert describe(settings.model_copy(update={"epochs": 2})) != describe(settings)
