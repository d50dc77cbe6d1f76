"""From a response of PPO back to its reward model, that one's snapshot, and the votes on pairs like it."""

from dataclasses import replace

import pytest

from modules.config import PPOConfig, RewardConfig, SFTConfig
from studio.annotation import tracing
from studio.cli import main
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.runs import rollouts, runs
from studio.workspace import Workspace
from tests.support import stored
from tests.ui import filling

PAIRS = (
    ("Which bread keeps longest?", "Sourdough bread keeps longest in linen.", "White bread."),
    ("Which bread keeps longest?", "Rye bread keeps a week.", "Nobody knows."),
    ("Where should sourdough loaves be stored?", "Sourdough loaves keep best in linen bags.", "Somewhere."),
    ("Why is the sky blue?", "Sunlight is scattered by the air.", "It likes being blue."),
)


@pytest.fixture
def ws(tmp_path):
    """A rated pair for each of PAIRS, a reward model on them, and a PPO run against it with a response."""
    ws = Workspace.open(tmp_path / "studio")
    filling.add_texts(ws, 4)
    sft = filling.add_run(ws, SFTConfig())
    filling.add_checkpoint(ws, sft)
    for question, better, worse in PAIRS:
        with ws.write() as db:
            prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": question}], split="train"))
            pair = [prompts.add_response(db, prompt_id, text, "import") for text in (better, worse)]
            comparisons.add_comparison(db, prompt_id, (pair[0], pair[1]))
        showing = stored.written(ws, comparisons.next_showing)
        stored.written(ws, ratings.record, showing.id, "left" if showing.left == better else "right")
    reward = filling.add_run(ws, RewardConfig())
    filling.add_checkpoint(ws, reward, 30)
    ppo = filling.add_run(ws, PPOConfig())
    add(ws, ppo, "Sourdough keeps longest in linen bags.")
    return ws


def add(ws, run, text):
    tokens = rollouts.Tokens([1], [2], *([[0.0]] * 5))
    prompt = next(p["id"] for p in stored.read(ws, prompts.list_prompts) if p["messages"][-1]["content"] == PAIRS[0][0])
    new = [rollouts.NewRollout(prompt, text, 1.0, 1.0, {}, 0.0, "eos", tokens)]
    stored.written(ws, rollouts.add, run.id, 1, new, keep=1)


def traced(ws):
    (rollout,) = stored.read(ws, rollouts.find, None)
    return stored.read(ws, tracing.trace, rollout)


def test_the_reward_model_its_snapshot_and_the_votes_on_the_same_prompt_come_first(ws):
    found = traced(ws)
    assert (found.reward, found.reward_run) == ("reward-1@30", "reward-1")
    assert found.snapshot is not None
    assert (found.snapshot.name, found.snapshot.row_count) == ("snapshot-1", 4)
    assert [vote.chosen for vote in found.same_prompt] == [PAIRS[0][1], PAIRS[1][1]], "the more alike first"
    assert found.num_same_prompt == 2
    assert [(vote.prompt, vote.chosen) for vote in found.similar] == [PAIRS[2][:2]], "nothing in common with the sky"
    words = {"sourdough", "keeps", "longest", "linen", "bags", "which", "bread"}
    other = {"where", "should", "sourdough", "loaves", "stored", "keep", "best", "linen", "bags"}
    assert found.similar[0].likeness == pytest.approx(len(words & other) / len(words | other))
    assert stored.read(ws, tracing.trace, stored.read(ws, rollouts.find, None)[0]) == found


def test_a_vote_that_the_reward_model_did_not_learn_from_is_not_shown(ws):
    with ws.write() as db:
        prompt_id = prompts.add_prompt(
            db, NewPrompt([{"role": "user", "content": "Sourdough in linen bags?"}], split="train")
        )
        pair = [prompts.add_response(db, prompt_id, text, "import") for text in ("Yes, sourdough.", "No.")]
        comparisons.add_comparison(db, prompt_id, (pair[0], pair[1]))
    showing = stored.written(ws, comparisons.next_showing)
    stored.written(ws, ratings.record, showing.id, "tie")
    assert stored.freeze(ws).row_count == 5, "it is in a later snapshot only"
    assert {vote.rating_id for vote in traced(ws).similar} == {3}


def test_a_run_without_a_reward_model_says_so_and_the_terminal_tells_all(ws, capsys):
    place = ["--workspace", str(ws.root)]
    (rollout,) = stored.read(ws, rollouts.find, None)
    assert main(["runs", "rollouts", "--trace", str(rollout.id), *place]) == 0
    out = capsys.readouterr().out
    assert "scored by reward-1@30" in out
    assert "which learnt from snapshot-1: 4 preferences" in out
    assert "votes on the same prompt: 2" in out
    assert "Sourdough loaves keep best in linen bags. > Somewhere." in out
    assert "history show ID" in out
    with ws.write() as db:
        run = runs.get(db, rollout.run)
        config = replace(run, config=run.config.model_copy(update={"rewards": "function:a.py:a"})).config
        db.execute("UPDATE runs SET config = ? WHERE id = ?", [config.model_dump_json(), run.id])
    assert main(["runs", "rollouts", "--trace", str(rollout.id), *place]) == 0
    assert capsys.readouterr().out == "No reward model took part in this run's reward.\n"
