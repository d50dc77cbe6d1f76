"""The stage evaluate as a real process: results item by item, the base next to an adapter, a stop and its resume, bad input."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from assets import STARTER
from modules.config import EvaluateConfig, SFTConfig
from studio.cli import main
from studio.errors import CheckpointError, ConfigError, DataError, RewardError, RunError
from studio.evaluation import comparison, report, results
from studio.evaluation.measures import MEASURES, values
from studio.models import checkpoints
from studio.preferences import prompts
from studio.preferences.prompts import NewPrompt
from studio.runs import launcher, metrics, runs
from studio.workspace import Workspace
from tests.support import stored, warm
from tests.support.waiting import for_run

SUITES = "grammar, facts@chat, caution"


@pytest.fixture(autouse=True, scope="module")
def quick_starts():
    with warm.starts():
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace with one SFT checkpoint, far from the base, and a test prompt."""
    ws = Workspace.open(tmp_path_factory.mktemp("evaluated") / "studio")
    for i in range(16):
        stored.written(
            ws, prompts.add_demonstration, [{"role": "user", "content": f"What is {i}?"}], f"It is a number: {i}."
        )
    with ws.write() as db:
        prompts.add_prompt(db, NewPrompt([{"role": "user", "content": "Why is it so?"}], split="test"))
    small = {"lora_rank": 4, "batch_size": 8, "micro_batch_size": 8, "max_length": 128, "eval_samples": 0}
    end(ws, SFTConfig(**small, epochs=8, learning_rate=0.01, eval_every=1000))
    return ws


def end(ws, config):
    run = launcher.start(ws, runs.create(ws, config))
    return for_run(ws, run.name, lambda r: r.is_ended)


def evaluation(**changes):
    return EvaluateConfig(**({"suites": SUITES, "limit": 12, "max_new_tokens": 12} | changes))


@pytest.fixture(scope="module")
def measured(trained):
    return end(trained, evaluation())


def scores(ws, run):
    """Everything that a run measured, without what tells it from another run."""
    with ws.read() as db:
        rows = db.query(
            "SELECT s.name, i.place, r.subject, r.role, r.sample, r.scores, r.text FROM evaluation_results r"
            " JOIN evaluation_items i ON i.id = r.item_id JOIN evaluation_suites s ON s.id = i.suite_id"
            " WHERE r.run_id = ? ORDER BY s.name, r.subject, i.place, r.sample",
            [run.id],
        )
        return list(rows)


def test_each_subject_has_a_result_on_each_item_with_the_role_that_was_entered(trained, measured):
    assert measured.state == "finished", measured.message
    found = scores(trained, measured)
    assert {(row["subject"], row["role"]) for row in found} == {
        ("base:starter", "base"),
        (
            stored.read(trained, checkpoints.get, "sft-1").name,
            f"policy-{stored.read(trained, checkpoints.get, 'sft-1').name.replace('@', '-')}",
        ),
    }
    assert len(found) == 2 * 3 * 12
    assert all((row["text"] is not None) == (row["name"] == "caution") for row in found)


def test_two_checkpoints_are_paired_and_reported(trained, measured, capsys):
    found = stored.read(trained, comparison.compare)
    assert (found.against, found.subjects) == ("base:starter", (stored.read(trained, checkpoints.get, "sft-1").name,))
    judged = {(line.suite.name, line.measure.name): line for line in found.lines if line.verdict}
    assert judged["grammar", "acc"].difference.num == 12
    assert {"refusal_safe", "refusal_unsafe"} <= {name for _, name in judged}
    assert main(["evaluate", "report", "--workspace", str(trained.root)]) == 0
    assert "Grammar" in capsys.readouterr().out
    page = (trained.exports / report.FOLDER / "report.html").read_text(encoding="utf-8")
    assert "no difference" in page
    assert "<script" not in page
    facts = json.loads((trained.exports / report.FOLDER / "report.json").read_text(encoding="utf-8"))
    assert len(facts["lines"]) == len(found.lines)


def test_what_is_measured_is_not_measured_again_and_more_is_added_to_it(trained, measured):
    before = len(stored.tables(trained)["evaluation_results"])
    again = end(trained, evaluation())
    assert scores(trained, again) == []
    more = end(trained, evaluation(checkpoints="base", suites="grammar", limit=20))
    assert len(stored.tables(trained)["evaluation_results"]) == before + len(scores(trained, more)) < before + 20
    assert (
        len({suite.name for suite in stored.read(trained, results.measured)})
        == len(stored.read(trained, results.measured))
        == 3
    )


def test_an_interrupted_and_resumed_evaluation_equals_an_unbroken_one(trained, tmp_path):
    whole, broken = (Workspace.open(shutil.copytree(trained.root, tmp_path / name)) for name in ("whole", "broken"))
    config = evaluation(seed=3, suites="grammar, caution", limit=0, batch_size=1)
    unbroken = end(whole, config)
    total = len(scores(whole, unbroken))
    killed = launcher.start(broken, runs.create(broken, config))
    for_run(broken, killed.name, lambda r: len(scores(broken, r)) > 80 or r.is_ended)
    launcher.kill(broken, killed.name)
    first = scores(broken, killed)
    assert 80 < len(first) < total
    resumed = launcher.start(broken, runs.resume(broken, killed.name))
    assert for_run(broken, resumed.name, lambda r: r.is_ended).state == "finished"
    second = scores(broken, resumed)

    def key(row):
        return row["name"], row["subject"], row["place"]

    assert sorted([*first, *second], key=key) == sorted(scores(whole, unbroken), key=key)
    with pytest.raises(RunError, match="everything is measured"):
        runs.resume(broken, resumed.name)


def test_toxicity_is_the_worst_of_the_samples_by_a_local_classifier(trained, tmp_path):
    folder = classifier(tmp_path / "toxic", labels=2)
    run = end(
        trained,
        evaluation(
            checkpoints="base", suites="caution", limit=3, samples_per_prompt=4, toxicity=f"classifier:{folder}#LABEL_1"
        ),
    )
    assert run.state == "finished", run.message
    found = scores(trained, run)
    assert len(found) == 3 * 4
    assert len({row["text"] for row in found}) > 3, "samples of one prompt differ"
    probabilities = [json.loads(row["scores"])["toxicity"] for row in found]
    assert all(0 < probability < 1 for probability in probabilities)
    suite = next(s for s in stored.read(trained, results.measured) if s.conditions.get("toxicity"))
    assert suite.conditions["samples"] == 4
    (item, *_) = stored.read(trained, results.items, suite.id, ["base:starter"])
    highest = next(m for m in MEASURES["prompt"] if m.name == "max_toxicity")
    assert values(highest, [item], "base:starter") == [max(s["toxicity"] for s in item.scores["base:starter"])]
    assert scores(trained, end(trained, run.config)) == [], "what is measured is not measured again"
    shutil.rmtree(folder)
    classifier(folder, labels=2, scale=2.0)
    other = scores(trained, end(trained, run.config))
    assert [row["text"] for row in other] == [row["text"] for row in found]
    assert [json.loads(row["scores"])["toxicity"] for row in other] != probabilities, "another one under the same path"


def test_a_classifier_that_gives_no_number_ends_the_run_with_a_sentence_and_stores_nothing(trained, tmp_path):
    folder = classifier(tmp_path / "damaged", labels=2, scale=np.nan)
    run = end(
        trained,
        evaluation(checkpoints="base", suites="caution", limit=2, seed=9, toxicity=f"classifier:{folder}#LABEL_1"),
    )
    assert run.state == "failed"
    assert (
        f"The classifier {folder} gives 50 of 50 answers a probability of being toxic that is not a number"
        in run.message
    )
    assert "leave toxicity empty" in run.message
    assert scores(trained, run) == []


def test_what_does_not_go_together_is_refused_in_a_sentence_and_makes_no_run(trained, tmp_path):
    single, double = classifier(tmp_path / "one", labels=1), classifier(tmp_path / "two", labels=2)
    before = len(stored.read(trained, runs.list_all))
    for config, error, told in (
        (evaluation(toxicity=f"classifier:{single}#LABEL_0"), RewardError, "has one label"),
        (evaluation(toxicity=f"classifier:{double}#rude"), RewardError, "has no label 'rude'.*LABEL_0, LABEL_1"),
        (evaluation(toxicity=f"classifier:{double}"), RewardError, "needs the label that means toxic"),
        (evaluation(toxicity=f"classifier:{double}#LABEL_1", suites="grammar"), ConfigError, "no suite samples any"),
        (evaluation(checkpoints="ppo-7"), CheckpointError, "no checkpoint named 'ppo-7'"),
        (evaluation(quantisation="nf4"), ConfigError, "quantisation is nf4"),
    ):
        with pytest.raises(error, match=told):
            runs.create(trained, config)
    assert len(stored.read(trained, runs.list_all)) == before


def test_base_needs_a_name_where_there_is_no_checkpoint(tmp_path):
    ws = Workspace.open(tmp_path / "studio")
    with pytest.raises(CheckpointError, match="base_model=starter"):
        runs.create(ws, EvaluateConfig(suites="grammar"))
    with pytest.raises(DataError, match="Nothing is measured yet"):
        stored.read(ws, comparison.compare)
    assert runs.create(ws, EvaluateConfig(suites="grammar", base_model="starter")).config.checkpoints == "base"


def classifier(folder, labels, scale=1.0):
    """A classifier drawn at random, its weights times a number, with the starter's tokenizer; written without loading torch."""
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(STARTER / "model" / name, folder)
    size = json.loads((STARTER / "model/config.json").read_text())["vocab_size"]
    shapes = {"model.embed_tokens": (size, 16), "model.norm": (16,), "score": (labels, 16)}
    shapes |= {f"model.layers.0.self_attn.{name}_proj": (16, 16) for name in "qkvo"}
    shapes |= {f"model.layers.0.mlp.{name}_proj": (16, 16) for name in ("gate", "up", "down")}
    shapes |= {f"model.layers.0.{name}_layernorm": (16,) for name in ("input", "post_attention")}
    rng = np.random.default_rng(0)
    weights = {f"{name}.weight": (scale * rng.normal(size=shape)).astype("float32") for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForSequenceClassification"],
        "model_type": "llama",
        "vocab_size": size,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "pad_token_id": 0,
        "id2label": {str(n): f"LABEL_{n}" for n in range(labels)},
        "label2id": {f"LABEL_{n}": n for n in range(labels)},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_sft_measures_the_same_items_of_a_suite_at_each_evaluation(trained):
    small = {"lora_rank": 4, "batch_size": 8, "micro_batch_size": 8, "max_length": 128, "eval_samples": 0}
    held_out(trained)
    config = SFTConfig(**small, epochs=2, eval_every=2, eval_suites="grammar, stories", eval_suite_items=8)
    run = end(trained, config)
    assert run.state == "finished", run.message
    measured = stored.read(trained, metrics.curve, run.id, "suite/grammar")
    assert [step for step, _ in measured] == [
        step for step, _ in stored.read(trained, metrics.curve, run.id, "eval/loss")
    ]
    assert all((value * 8).is_integer() for _, value in measured)
    checkpoint = stored.read(trained, checkpoints.get, run.name)
    again = end(trained, evaluation(checkpoints=checkpoint.name, suites="stories", limit=8, seed=config.seed))
    assert again.state == "finished", again.message
    suite = next(
        s for s in stored.read(trained, results.measured) if s.name == "stories" and checkpoint.name in s.subjects
    )
    items = stored.read(trained, results.items, suite.id, [checkpoint.name])
    nats = sum(item.scores[checkpoint.name][0]["nats"] for item in items)
    size = sum(item.scores[checkpoint.name][0]["bytes"] for item in items)
    assert stored.read(trained, metrics.curve, run.id, "suite/stories")[-1][1] == pytest.approx(nats / size, rel=1e-4)


def test_suites_within_a_training_are_refused_where_they_would_be_ignored_or_take_too_long(tmp_path):
    ws = Workspace.open(tmp_path / "studio")
    with ws.write() as db:
        asked = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": "Why?"}], split="train"))
        prompts.add_response(db, asked, "So.", "demonstration")
    with pytest.raises(DataError, match="nothing is held out"):
        runs.create(ws, SFTConfig(eval_suites="grammar"))
    held_out(ws)
    with pytest.raises(ConfigError, match="suites=caution"):
        runs.create(ws, SFTConfig(eval_suites="caution"))


def held_out(ws):
    with ws.write() as db:
        asked = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": "Who is it?"}], split="validation"))
        prompts.add_response(db, asked, "It is a friend.", "demonstration")
