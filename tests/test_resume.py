"""Runs that die by SIGKILL and go on are equal, bit for bit, to one that was left alone; runs that meet a NaN pause.

Real child processes of the real worker, see `faulty_worker`. The PPO config has everything that keeps state: adaptive KL,
running score scale, average of the policy, a choice within a KL budget, demonstrations mixed in.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from studio.cli import follow
from studio.models import checkpoints
from studio.runs import metrics, runs
from studio.workspace import Workspace
from tests.support import stored

pytestmark = pytest.mark.timeout(900)
ROOT = Path(__file__).parent.parent
DEATHS = {"killed_in_rollout": 4, "killed_in_mid_epoch": 4, "killed_in_a_checkpoint": 3, "killed_before_the_row": 3}
"""What happened -> the last checkpoint that the dead run left whole."""


@pytest.fixture(scope="module")
def names(ws):
    return json.loads((ws.root / "names.json").read_text())


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workspace")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "tests" / "faulty_worker.py"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return Workspace.open(folder)


def logged(ws, name):
    """(metric, step) -> value of everything a run logged, times aside."""
    run = stored.read(ws, runs.get, name)
    return {
        (metric, step): value
        for metric in stored.read(ws, metrics.names, run.id)
        if not metric.startswith("time/")
        for step, value in stored.read(ws, metrics.curve, run.id, metric)
    }


def files_of(checkpoint):
    """Relative name -> bytes of everything a checkpoint holds."""
    files = (path for path in checkpoint.folder.rglob("*") if path.is_file())
    return {str(path.relative_to(checkpoint.folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("death", DEATHS)
def test_item_36_a_killed_run_that_goes_on_equals_one_that_was_left_alone_bit_for_bit(ws, names, death):
    """Weights of policy, average and value function, moments, random states, counters, controller: the very same files."""
    whole, (killed, resumed) = names["whole"][0], names[death]
    assert [stored.read(ws, runs.get, name).state for name in (killed, resumed)] == ["lost", "finished"]
    assert stored.read(ws, checkpoints.last, killed).step == DEATHS[death]
    expected, found = (
        files_of(stored.read(ws, checkpoints.last, whole)),
        files_of(stored.read(ws, checkpoints.last, resumed)),
    )
    assert {"policy/adapter_model.safetensors", "raw_policy/adapter_model.safetensors", "state.safetensors"} <= set(
        expected
    )
    assert expected.keys() == found.keys()
    assert [name for name in expected if expected[name] != found[name]] == []
    state = json.loads(expected["state.json"])["module"]
    assert state["step_index"] == 5
    assert state["kl_coef"] != 0.05
    assert state["score_moments"]["count"] == 5 * 8


@pytest.mark.parametrize("death", DEATHS)
def test_item_36_its_metrics_its_texts_and_its_choice_are_those_of_the_whole_run_too(ws, names, death):
    whole, (killed, resumed) = names["whole"][0], names[death]
    expected, before, after = (logged(ws, name) for name in (whole, killed, resumed))
    assert {step for _, step in after} == set(range(DEATHS[death] + 1, 6))
    assert {metric for metric, _ in expected} >= {"eval/score", "objective/kl", "policy/ptx_loss", "value/loss"}
    assert [step for metric, step in expected if metric == "eval/score"] == [0, 3, 5]
    assert before | after == expected
    assert before.items() <= expected.items(), "also what the dead run logged after its last checkpoint"
    texts = [
        [
            (s["prompt"], s["response"], s["score"])
            for s in stored.read(ws, metrics.list_samples, stored.read(ws, runs.get, name).id)
            if s["step"] == 5
        ]
        for name in (whole, resumed)
    ]
    assert texts[0] == texts[1] != []
    assert stored.read(ws, checkpoints.get, whole).step == stored.read(ws, checkpoints.get, resumed).step
    last_words = [stored.read(ws, runs.get, name).message.replace(name, "RUN") for name in (whole, resumed)]
    assert last_words[0] == last_words[1]
    assert "the best held-out score within 5 nats of KL" in last_words[0]


def test_the_choice_is_saved_with_its_own_figures_and_is_what_the_run_hands_on(ws, names):
    (whole,) = names["whole"]
    scores = dict(stored.read(ws, metrics.curve, stored.read(ws, runs.get, whole).id, "eval/score"))
    chosen = stored.read(ws, checkpoints.get, whole)
    assert chosen.is_chosen
    assert scores[chosen.step] == max(scores.values()) == chosen.metrics["eval/score"]
    assert f"Step {chosen.step} is handed on: the best" in stored.read(ws, runs.get, whole).message


def test_a_finished_run_with_more_iterations_ends_in_the_files_of_one_that_had_them_from_the_start(ws, names):
    """Optimizer, random states, KL controller, running scale and average go on: the very same bytes, config included."""
    whole, (short, longer) = names["whole"][0], names["longer ppo"]
    assert [stored.read(ws, runs.get, name).state for name in (short, longer)] == ["finished", "finished"]
    assert stored.read(ws, checkpoints.last, short).step == 3
    expected, found = (
        files_of(stored.read(ws, checkpoints.last, whole)),
        files_of(stored.read(ws, checkpoints.last, longer)),
    )
    assert expected.keys() == found.keys()
    assert [name for name in expected if expected[name] != found[name]] == []
    assert logged(ws, short) | logged(ws, longer) == logged(ws, whole)


def test_a_price_that_is_chosen_anew_is_taken_and_a_choice_without_a_budget_is_none(ws, names):
    (dearer,), (short, _) = names["dearer ppo"], names["longer ppo"]
    before, after = logged(ws, short), logged(ws, dearer)
    assert after["objective/kl_coef", 3] == 0.25 != before["objective/kl_coef", 3]
    same = {key for key in after if key[0] in ("objective/kl", "objective/score", "rollout/response_tokens")}
    assert {key: after[key] for key in same if key[1] == 3} == {key: before[key] for key in same if key[1] == 3}
    assert stored.read(ws, checkpoints.get, dearer).step == 3
    assert not any(c.is_chosen for c in stored.read(ws, checkpoints.list_all) if c.run_name == dearer)


@pytest.mark.parametrize("stage", ["sft", "reward"])
def test_a_run_resumed_with_settings_that_touch_no_weight_ends_in_the_same_weights_and_moments(ws, names, stage):
    (whole,), (changed,) = names[f"whole {stage}"], names[f"changed {stage}"]
    assert stored.read(ws, runs.get, changed).state == "finished"
    expected, found = (
        files_of(stored.read(ws, checkpoints.last, whole)),
        files_of(stored.read(ws, checkpoints.last, changed)),
    )
    weights = [name for name in expected if name.endswith(".safetensors")]
    assert "state.safetensors" in weights
    assert [name for name in weights if expected[name] != found[name]] == []
    assert {step for metric, step in logged(ws, changed) if metric == "eval/loss"} >= {4, 6}


@pytest.mark.parametrize("stage", ["sft", "reward"])
def test_more_epochs_go_through_the_rows_as_a_longer_run_would_and_end_at_its_learning_rate(ws, names, stage):
    (whole,), (short, longer) = names[f"whole {stage}"], names[f"longer {stage}"]
    expected, after = logged(ws, whole), logged(ws, longer)
    done = stored.read(ws, checkpoints.last, short).step
    last = stored.read(ws, checkpoints.last, whole).step
    assert stored.read(ws, checkpoints.last, longer).step == last
    rates = {key: value for key, value in after.items() if key[0] == "train/lr"}
    assert [step for _, step in rates] == list(range(done + 1, last + 1)) != []
    assert rates == {key: expected[key] for key in rates}


def test_fewer_epochs_than_were_done_are_refused_with_both_numbers(ws, names):
    run = stored.read(ws, runs.get, names["shorter sft"][0])
    assert run.state == "failed"
    assert "has 4 steps behind it, but these settings make only 3: resume it with more epochs" in run.message


@pytest.mark.parametrize(("stage", "last_step"), [("ppo", 3), ("sft", 2), ("reward", 1)])
def test_item_40_a_run_that_meets_a_nan_pauses_with_the_reason_and_its_last_good_state(ws, names, stage, last_step):
    (name,) = names[f"nan {stage}"]
    run = stored.read(ws, runs.get, name)
    saved = stored.read(ws, checkpoints.last, name)
    assert (run.state, saved.step) == ("stopped", last_step)
    assert run.is_fault
    assert follow.report_end(ws, run) == 1, "a script does not go on with it"
    assert follow.report_end(ws, replace(run, is_fault=False)) == 0
    assert "finite" in run.message or "loss of nan" in run.message
    assert "weights are as they were" in run.message
    assert f"saved as {saved.name}: resume continues from there" in run.message
    if stage == "ppo":
        whole = stored.read(ws, checkpoints.get, f"{names['whole'][0]}@3")
        mine, other = files_of(saved), files_of(whole)
        weights = [name for name in mine if name.endswith(".safetensors") and name != "state.safetensors"]
        assert len(weights) == 4
        assert all(mine[name] == other[name] for name in weights), "the weights after the third iteration, untouched"


def test_checkpoints_are_saved_where_the_kl_first_reaches_a_value_and_not_again_after_a_resume(ws, names):
    whole, resumed = names["milestones"]
    kl = dict(stored.read(ws, metrics.curve, stored.read(ws, runs.get, whole).id, "objective/kl"))
    first = {value: min(step for step in kl if kl[step] >= value) for value in (0.4, 0.75)}
    assert len(set(first.values())) == 2
    saved = {c.step: c for c in stored.read(ws, checkpoints.list_all) if c.run_name == whole}
    assert set(saved) == {0, *first.values(), 5}, "the start is the choice, and the end is always saved"
    for value, step in first.items():
        assert saved[step].metrics[checkpoints.SAVED_AT_KL] == value
        assert saved[step].metrics["objective/kl"] == kl[step]
        assert saved[step].remarks == f" (reached a KL of {value:g} nats)"
        assert not [key for key in saved[step].metrics if key.startswith("eval/")], (
            "the figures of step 0 are not its own"
        )
    assert saved[5].metrics["eval/kl"] != saved[0].metrics["eval/kl"]
    assert checkpoints.SAVED_AT_KL not in saved[5].metrics
    again = {c.step for c in stored.read(ws, checkpoints.list_all) if c.run_name == resumed and c.step > 3}
    assert again == {first[0.75], 5}, "0.4 was saved by the run that it goes on from"
