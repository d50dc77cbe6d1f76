"""Two checkpoints next to each other: what differs is listed, what is alike is not, and answers belong to the same prompt."""

import json

import pytest

from modules.config import EvaluateConfig, PPOConfig, RewardConfig, SFTConfig
from studio.cli import main
from studio.errors import CheckpointError
from studio.evaluation import results
from studio.evaluation.results import Result, Subject
from studio.models import checkpoints, deletion
from studio.preferences import prompts
from studio.runs import metrics, side_by_side
from studio.workspace import Workspace
from tests.support import stored
from tests.ui import filling
from tests.ui.filling import add_checkpoint, add_pairs, add_rated, add_rivals, add_run

PROMPT = "<|bos|><|user|>How are you?<|end|><|assistant|>"


@pytest.fixture
def ws(tmp_path):
    made = Workspace.open(tmp_path / "workspace")
    ids = filling.add_texts(made)
    sft = add_run(made, SFTConfig())
    for step, loss in ((10, 1.4), (20, 1.2)):
        add_checkpoint(made, sft, step, **{"eval/loss": loss, "eval/loss_low": 0.1, "eval/perplexity": 4.0})
    add_pairs(made, ids[:4], "sft-1@20")
    add_rated(made, 3)
    add_checkpoint(made, add_run(made, RewardConfig()), 30)
    for kl_coef in (0.05, 0.2):
        run = add_run(made, PPOConfig(kl_coef=kl_coef))
        add_checkpoint(made, run, 40, **{"eval/score": 1.0 + kl_coef, "eval/kl": 5.0})
        for step, answer in ((20, "Early."), (40, f"Well, at {kl_coef}."), (60, "Too late.")):
            stored.written(made, metrics.add_samples, run.id, step, [{"prompt": PROMPT, "response": answer}])
    return made


def test_settings_that_differ_are_listed_and_no_others(ws):
    found = stored.read(ws, side_by_side.read, "ppo-1", "ppo-2")
    assert found.settings == [("kl_coef", "0.05", "0.2")]
    assert stored.read(ws, side_by_side.read, "sft-1@10", "sft-1@20").settings == []


def test_of_two_stages_common_settings_that_differ_and_others_that_are_no_defaults_are_listed(ws):
    found = {each.name: each for each in stored.read(ws, side_by_side.read, "sft-1", "ppo-2").settings}
    assert found["kl_coef"][1:] == ("–", "0.2")
    assert found["sft_checkpoint"][1:] == ("–", "sft-1@20")
    assert found["learning_rate"][1:] == (str(SFTConfig().learning_rate), str(PPOConfig().learning_rate))
    assert "clip_range" not in found, "PPO alone has it, at its default"
    assert "seed" not in found, "both have the same"


def test_other_code_is_a_difference(ws):
    with ws.write() as db:
        db.execute("UPDATE runs SET revision = 'older' WHERE name = 'ppo-1'")
    assert stored.read(ws, side_by_side.read, "ppo-1", "ppo-2").settings[-1][:2] == ("code", "older")


def test_figures_stand_beside_each_other_those_of_the_stage_first_and_without_the_ends_of_intervals(ws):
    values = stored.read(ws, side_by_side.read, "sft-1@10", "ppo-2").values
    assert [(each.metric, each.one, each.other) for each in values] == [
        ("eval/loss", 1.4, None),
        ("eval/perplexity", 4.0, None),
        ("eval/score", None, 1.2),
        ("eval/kl", None, 5.0),
    ]
    assert values[0].sentence.startswith("Mean loss on held-out data")


def test_answers_are_to_the_same_prompt_and_those_of_training_of_the_step_that_was_saved(ws):
    add_rivals(ws, 3, ("ppo-1@40", "ppo-2@40"))
    found = stored.read(ws, side_by_side.read, "ppo-1", "ppo-2", 2).answers
    assert [(each.where, each.messages[-1]["content"], each.one, each.other) for each in found] == [
        ("sampled", "Question 2", "ppo-1@40 2 0", "ppo-2@40 2 1"),
        ("sampled", "Question 1", "ppo-1@40 1 0", "ppo-2@40 1 1"),
        ("written while training", "How are you?", "Well, at 0.05.", "Well, at 0.2."),
    ]
    turned = stored.read(ws, side_by_side.read, "ppo-2", "ppo-1", 1).answers[0]
    assert (turned.one, turned.other) == ("ppo-2@40 2 1", "ppo-1@40 2 0")
    with ws.write() as db:
        id_ = checkpoints.id_of(db, "ppo-1@40")
        prompts.add_response(db, 1, "Only one of them.", "sample", checkpoint_id=id_, sampling='{"temperature": 1}')
    assert len(stored.read(ws, side_by_side.read, "ppo-1", "ppo-2").answers) == 4


def test_what_was_measured_on_the_same_items_is_compared_with_its_answers(ws):
    assert stored.read(ws, side_by_side.read, "ppo-1", "ppo-2").measured is None
    run = add_run(ws, EvaluateConfig(checkpoints="ppo-1,ppo-2", suites="grammar"), "queued")
    with ws.write() as db:
        suite = results.keep_suite(
            db, "ask", "Questions", "prompt", {}, [{"prompt": f"Item {n}", "label": "safe"} for n in range(8)]
        )
        for number, name in enumerate(("ppo-1@40", "ppo-2@40")):
            subject = Subject(name, "policy", "f", checkpoints.id_of(db, name))
            scores = {"refusal": 0.0, "truncated": 0.0, "tokens": 3.0 + number, "distinct_4": 1.0, "listed_words": 0}
            results.add(db, run.id, suite, subject, [Result(n, 0, scores, f"{name} says {n}") for n in range(8)])
    found = stored.read(ws, side_by_side.read, "ppo-1", "ppo-2", 2)
    assert found.measured is not None
    assert {(line.before, line.after) for line in found.measured.lines} == {("ppo-1@40", "ppo-2@40")}
    assert next(each for each in found.answers if each.where == "measured on Questions")[1:] == (
        [{"role": "user", "content": "Item 0"}],
        "ppo-1@40 says 0",
        "ppo-2@40 says 0",
    )
    assert len([each for each in found.answers if each.where == "measured on Questions"]) == 2


def test_deleted_checkpoints_can_be_compared_and_one_not_with_itself(ws):
    deletion.delete(ws, ["ppo-1"], is_runs=True)
    assert stored.read(ws, side_by_side.read, "ppo-1@40", "ppo-2").settings == [("kl_coef", "0.05", "0.2")]
    with pytest.raises(CheckpointError, match="ppo-2@40 cannot be compared with itself"):
        stored.read(ws, side_by_side.read, "ppo-2", "ppo-2@40")
    with pytest.raises(CheckpointError, match="There is no checkpoint named 'ppo-9'"):
        stored.read(ws, side_by_side.read, "ppo-2", "ppo-9")


def test_the_terminal_prints_it_and_json_holds_the_same(ws, capsys):
    assert main(["models", "compare", "ppo-1", "ppo-2", "--workspace", str(ws.root)]) == 0
    out = capsys.readouterr().out
    assert "setting  ppo-1@40  ppo-2@40\nkl_coef  0.05      0.2" in out
    assert "eval/score  1.05      1.2" in out
    assert "No suite has measured both." in out
    assert "[ppo-2@40] Well, at 0.2." in out
    assert main(["models", "compare", "ppo-1", "ppo-2", "--json", "--workspace", str(ws.root)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["settings"] == [{"name": "kl_coef", "one": "0.05", "other": "0.2"}]
    assert facts["answers"][0]["other"] == "Well, at 0.2."
    assert main(["models", "compare", "ppo-1", "nothing", "--workspace", str(ws.root)]) == 1
    assert "There is no checkpoint named 'nothing'" in capsys.readouterr().err
