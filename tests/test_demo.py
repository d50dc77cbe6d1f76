"""The demo: which folders it takes, and a very small one from end to end with real child processes."""

import html
import json

import pytest

from modules.config import EvaluateConfig, PPOConfig, RewardConfig, SampleConfig, SFTConfig
from studio.demo import rounds
from studio.errors import WorkspaceError
from studio.evaluation import curves
from studio.models import checkpoints
from studio.preferences import comparisons, prompts, ratings
from studio.runs import runs
from studio.workspace import Workspace
from tests.support import stored, warm

TINY = rounds.Recipe(
    sft=SFTConfig(max_demonstrations=64, epochs=1, eval_every=1000, learning_rate=1e-3),
    sample=SampleConfig(num_prompts=40, exclude_categories="story", max_new_tokens=24),
    reward=RewardConfig(epochs=1, eval_every=1000),
    ppo=PPOConfig(
        iterations=2, batch_size=16, minibatch_size=16, micro_batch_size=16, epochs=1, value_warmup=1, max_new_tokens=24,
        eval_prompts=8, exclude_categories="story",
    ),
    judge=SampleConfig(num_prompts=16, split="test", exclude_categories="story", max_new_tokens=24, temperature=0.7),
    gold=SampleConfig(num_prompts=20, responses_per_prompt=4, exclude_categories="story", max_new_tokens=24),
    suites=EvaluateConfig(suites="grammar, held_out, caution", limit=8, max_new_tokens=16),
    best_of=EvaluateConfig(best_of=2, limit=4, max_new_tokens=16),
    error_rate=0.1,
)  # fmt: skip


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("three years")
    with pytest.raises(WorkspaceError, match="not empty and holds no demo"):
        rounds.run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_demo_of_another_seed_is_refused(tmp_path):
    (tmp_path / "demo.json").write_text('{"seed": 4}')
    with pytest.raises(WorkspaceError, match="holds a demo of seed 4"):
        rounds.run(tmp_path, seed=5)


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="is a file"):
        rounds.run(tmp_path / "file")


def test_a_demo_that_a_person_rated_in_is_refused(tmp_path):
    (tmp_path / "demo.json").write_text('{"seed": 0}')
    ws = Workspace.open(tmp_path)
    with ws.write() as db:
        prompt = prompts.add_prompt(db, prompts.NewPrompt([{"role": "user", "content": "hello"}]))
        pair = [prompts.add_response(db, prompt, text, "import") for text in ("a", "b")]
        comparisons.add_comparison(db, prompt, (pair[0], pair[1]))
    showing = stored.written(ws, comparisons.next_showing)
    assert showing is not None
    stored.written(ws, ratings.record, showing.id, "left")
    with pytest.raises(WorkspaceError, match="1 ratings by a person"):
        rounds.run(tmp_path)


def test_an_earlier_demo_of_the_same_seed_is_made_anew(tmp_path):
    (tmp_path / "demo.json").write_text('{"seed": 0}')
    (tmp_path / "report.html").write_text("old")
    (tmp_path / "mine.txt").write_text("kept")
    old = Workspace.open(tmp_path)
    stored.written(old, prompts.add_demonstration, [{"role": "user", "content": "hello"}], "Hello!")
    ws = rounds._new_workspace(tmp_path, 0)
    assert stored.read(ws, prompts.counts)["prompts"] == 0
    assert not (tmp_path / "report.html").exists()
    assert (tmp_path / "mine.txt").read_text() == "kept"
    assert (tmp_path / "earlier-1" / "report.html").read_text() == "old", "it is put aside, never deleted"
    assert stored.read(Workspace.open(tmp_path / "earlier-1"), prompts.counts)["prompts"] == 1


@pytest.mark.parametrize("lost", ["gone", "emptied"])
def test_a_demo_whose_database_is_lost_is_put_aside_with_its_runs(tmp_path, lost):
    (tmp_path / "demo.json").write_text('{"seed": 0}')
    weights = tmp_path / "runs" / "sft-1" / "weights"
    weights.parent.mkdir(parents=True)
    weights.write_text("days of work")
    if lost == "emptied":
        (tmp_path / "studio.db").write_bytes(b"")
    try:
        rounds._new_workspace(tmp_path, 0)
    except WorkspaceError:  # an empty database next to runs may be refused as well
        assert weights.read_text() == "days of work"
    else:
        assert (tmp_path / "earlier-1" / "runs" / "sft-1" / "weights").read_text() == "days of work"


@pytest.mark.timeout(900)
def test_a_very_small_demo_runs_the_whole_loop_and_its_ratings_are_in_sqlite(tmp_path, capsys):
    with warm.starts():
        facts = rounds.run(tmp_path / "demo", seed=1, rounds=1, recipe=TINY)
    assert json.loads((tmp_path / "demo" / "report.json").read_text()) == facts
    assert "</html>" in (tmp_path / "demo" / "report.html").read_text()
    (one,) = facts["rounds"]
    assert facts["seed"] == 1
    assert facts["seconds"] > sum(stage["seconds"] for stage in facts["stages"])
    assert one["sft"]["loss_after"] != one["sft"]["loss_before"] > 0
    assert 0 <= one["reward"]["low"] <= one["reward"]["accuracy"] <= one["reward"]["high"] <= 1
    assert one["win_rate"]["low"] < one["win_rate"]["value"] < one["win_rate"]["high"]
    assert one["alignment_tax"]["before"] > 0
    assert {"score_before", "score_after", "kl"} <= one["ppo"].keys()
    evaluation = facts["evaluation"]
    assert {line["suite"]: line["n"] for line in evaluation["lines"]} == {
        "Grammar": "8",
        "Held-out demonstrations": "8",
        "Caution (safe and unsafe requests)": "8",
        "Answers to test prompts": "4",
    }
    assert evaluation["votes"]["wins"] + evaluation["votes"]["ties"] + evaluation["votes"]["losses"] > 0
    earned = evaluation["earned"][0]
    assert [best["n"] for best in earned["best_of_n"]] == [1, 2]
    assert all(found["gold"] is not None for found in [*earned["policies"], *earned["best_of_n"]])
    assert [policy["win_rate"] is None for policy in earned["policies"]] == [True, False], "the scripted rater voted"
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "Gain by gold" in page
    assert "Gold over reward" in page
    assert "scripted rater's votes against SFT" in html.unescape(page)
    assert curves.SHARED_VOTES not in html.unescape(page), "gold has votes of its own"
    assert "What PPO changed elsewhere: ppo-1@2 against sft-1@" in page
    assert "What PPO earned for its KL" in page
    assert "Toxicity is not measured" in page
    assert {"listed words", "looks like a refusal, safe"} <= {line["measure"] for line in evaluation["lines"]}
    _check_workspace(Workspace.open(tmp_path / "demo"), one, evaluation["gold"])
    assert "ppo-1" in capsys.readouterr().err


def _check_workspace(ws, one, gold):
    """Every pair is rated by a scripted rater on a stored showing, and only train prompts were trained on."""
    every = stored.read(ws, ratings.list_events, limit=1000)
    events = [event for event in every if event["rater"] == "scripted"]
    run_id = stored.read(ws, runs.get, gold["sample"]).id
    pairs_of_gold = {pair["id"] for pair in stored.tables(ws)["comparisons"] if pair["run_id"] == run_id}
    assert {event["comparison_id"] for event in every if event["rater"] == "scripted-gold"} == pairs_of_gold
    assert len(every) == len(events) + len(pairs_of_gold)
    learned = [
        {row["comparison_id"] for row in runs.read_rows(ws, name, "train")} for name in ("reward-1", gold["reward"])
    ]
    assert learned[1] <= pairs_of_gold
    assert learned[0].isdisjoint(pairs_of_gold)
    judged = [one["win_rate"], one["win_rate_as_trained"]]
    assert [win["temperature"] for win in judged] == [0.7, 1.0]
    assert len(events) == one["pairs"] + sum(win["n"] - win["identical"] for win in judged)
    assert all(event["showing_id"] for event in every)
    assert stored.read(ws, comparisons.counts)["unrated"] == 0
    assert {run.state for run in stored.read(ws, runs.list_all)} == {"finished"}
    split = {row["id"]: (row["split"], row["category"]) for row in stored.read(ws, prompts.list_prompts)}
    trained_on = [split[row["prompt_id"]] for row in runs.read_rows(ws, "reward-1", "train")]
    assert trained_on
    assert all(where == "train" and category != "story" for where, category in trained_on)
    assert {split[row["prompt_id"]][0] for row in runs.read_rows(ws, "reward-1", "validation")} == {"validation"}
    assert {split[v["prompt_id"]][0] for v in stored.read(ws, ratings.verdicts, one["runs"]["judge"])} == {"test"}
    sft = stored.read(ws, checkpoints.get, "sft-1").name
    assert stored.read(ws, checkpoints.parents, "ppo-1") == {
        "sft": sft,
        "reward": stored.read(ws, checkpoints.get, "reward-1").name,
        "policy": sft,
    }
