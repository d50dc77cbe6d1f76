"""How much a run would have to do, told before it starts."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from modules.config import EvaluateConfig, PPOConfig, RewardConfig, SampleConfig, SFTConfig
from studio.errors import CheckpointError
from studio.preferences import prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.runs import extent
from studio.workspace import Workspace
from tests.support import stored
from tests.ui import filling


@pytest.fixture
def ws(tmp_path):
    found = Workspace.open(tmp_path / "studio")
    folder = found.root / "rewards"
    folder.mkdir(exist_ok=True)
    (folder / "f.py").write_text("def f(prompts, responses):\n    return [0.0 for _ in responses]\n")
    return found


@pytest.fixture(autouse=True)
def nothing_measured(monkeypatch):
    monkeypatch.setattr(extent, "_measured", {})


def _pace(ws, run, seconds):
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        {"run_id": run.id, "step": step, "name": "train/loss", "value": 1.0, "at": (begun + timedelta(seconds=step * seconds)).isoformat()}
        for step in range(1, 6)
    ]  # fmt: skip
    stored.written(ws, lambda db: db["metrics"].insert_all(rows))


def test_steps_are_told_from_what_is_there_and_few_are_called_few(ws):
    assert stored.read(ws, extent.sentence, SFTConfig()) == "", "there is nothing to train on"
    filling.add_texts(ws, 24)
    num = stored.read(ws, lambda db: db.execute("SELECT count(*) FROM demonstrations d JOIN prompts p ON p.id = d.prompt_id WHERE p.split = 'train'").fetchone()[0])  # fmt: skip
    said = stored.read(ws, extent.sentence, SFTConfig(base_model="mine", batch_size=4, epochs=3))
    assert said.startswith(f"About {3 * -(-num // 4)} steps: {num} demonstrations, 3 times.")
    assert "starter" not in said
    assert "starter was made to answer" in stored.read(ws, extent.sentence, SFTConfig(batch_size=1))
    limited = stored.read(ws, extent.sentence, SFTConfig(max_demonstrations=1, epochs=1))
    assert limited.startswith(
        "About 1 step: 1 of 24 demonstrations (23 left out by these settings). So few steps teach"
    )


def test_few_ratings_name_how_many_are_enough(ws, monkeypatch):
    ids = filling.add_texts(ws, 24)
    sft = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    filling.add_pairs(ws, ids, sft, run=filling.add_run(ws, SampleConfig()))
    filling.add_rated(ws, 10)
    said = stored.read(ws, extent.sentence, RewardConfig(batch_size=16))
    assert said.startswith("About 1 step: 10 ratings. So few teach very little: from about 50 ratings on,")
    monkeypatch.setattr(ratings, "ENOUGH", 10)
    assert stored.read(ws, extent.sentence, RewardConfig(batch_size=16)) == "About 1 step: 10 ratings.", (
        "enough, however few the steps"
    )


def held_out(ws, num):
    """Prompts that nothing learns from, with a demonstration each; returns their ids."""
    with ws.write() as db:
        ids = [prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"And {n}?"}], split="test")) for n in range(num)]  # fmt: skip
        for prompt_id in ids:
            prompts.add_response(db, prompt_id, "That too.", "demonstration")
    return ids


def test_demonstrations_that_only_measure_or_that_the_settings_leave_out_are_told(ws):
    filling.add_texts(ws, 24)
    held_out(ws, 6)
    said = stored.read(ws, extent.sentence, SFTConfig(batch_size=4, epochs=3))
    assert said.startswith("About 18 steps: 24 of 30 demonstrations (6 held out to measure with), 3 times.")
    said = stored.read(ws, extent.sentence, SFTConfig(batch_size=4, epochs=1, max_demonstrations=20))
    assert "20 of 30 demonstrations (6 held out to measure with, 4 left out by these settings)." in said


def test_ratings_that_only_measure_a_reward_model_or_that_the_settings_leave_out_are_told(ws):
    ids = filling.add_texts(ws, 7)
    sft = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    filling.add_pairs(ws, [*ids, *held_out(ws, 3)], sft, run=filling.add_run(ws, SampleConfig()))
    filling.add_rated(ws, 10)
    said = stored.read(ws, extent.sentence, RewardConfig())
    assert "7 of 10 ratings (3 held out to measure with). So few teach very little" in said
    said = stored.read(ws, extent.sentence, RewardConfig(ties="drop"))
    assert re.search(r": \d of 10 ratings \([1-3] held out to measure with, [1-4] left out by these settings\)", said)


def test_iterations_of_ppo_are_told_with_their_time_at_the_pace_of_the_last_run(ws):
    filling.add_texts(ws, 4)
    filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    said = stored.read(ws, extent.sentence, PPOConfig(rewards="function:f.py:f"))
    assert said == (
        "100 iterations of 64 responses. How long it takes is known once a run has begun, from its second iteration on; "
        "Measure a real step tells it now."
    )
    before = filling.add_run(ws, PPOConfig(rewards="function:f.py:f", batch_size=32))
    filling.add_checkpoint(ws, before)
    _pace(ws, before, seconds=6.0)
    said = stored.read(ws, extent.sentence, PPOConfig(rewards="function:f.py:f", iterations=50, batch_size=64))
    assert said == "50 iterations of 64 responses. At the pace of ppo-1: about 10 min."


def test_paces_of_several_runs_are_told_as_a_range_also_when_the_newest_had_another_base_model(ws):
    filling.add_texts(ws, 4)
    filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    config = PPOConfig(rewards="function:f.py:f", batch_size=32)
    for seconds in (100.0, 6.0, 3.0, 12.0):
        before = filling.add_run(ws, config)
        filling.add_checkpoint(ws, before, 1)
        filling.add_checkpoint(ws, before, 2)
        _pace(ws, before, seconds)
    other = filling.add_run(ws, config)
    filling.add_checkpoint(ws, other)
    _pace(ws, other, 1.0)
    stored.written(ws, lambda db: db.execute("UPDATE checkpoints SET base_model = 'else' WHERE run_id = ?", [other.id]))
    said = stored.read(ws, extent.sentence, config)
    assert said.endswith("At the pace of ppo-4: about 20 min; the last 3 such runs had paces for 5 min to 20 min.")


def test_without_a_run_the_time_is_told_as_it_was_measured(ws, monkeypatch):
    filling.add_texts(ws, 24)
    config = SFTConfig(batch_size=8, epochs=4)
    before = stored.read(ws, extent.sentence, config)
    assert "from its second step on; Measure a real step tells it now." in before
    stored.read(ws, extent.remember, config, 60.0)
    num = int(before.split()[1])
    assert f"At the measured pace: about {num} min." in stored.read(ws, extent.sentence, config)
    half = stored.read(ws, extent.sentence, config.model_copy(update={"epochs": 2}))
    assert f"about {num // 2} min." in half
    assert "measured" not in stored.read(ws, extent.sentence, SFTConfig(base_model="someone/large"))
    filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    ppo = PPOConfig(rewards="function:f.py:f", iterations=10)
    monkeypatch.setattr(extent, "_measured", {})
    stored.read(ws, extent.remember, ppo, 60.0)
    assert "At the measured pace: at most about 10 min." in stored.read(ws, extent.sentence, ppo)


def test_the_pace_of_another_base_model_says_nothing(ws):
    filling.add_texts(ws, 24)
    before = filling.add_run(ws, SFTConfig())
    filling.add_checkpoint(ws, before)
    _pace(ws, before, seconds=6.0)
    assert "At the pace of sft-1" in stored.read(ws, extent.sentence, SFTConfig())
    assert "pace" not in stored.read(ws, extent.sentence, SFTConfig(base_model="someone/large"))


def test_stages_that_do_not_train_say_nothing_and_a_missing_checkpoint_is_an_error(ws):
    filling.add_texts(ws, 4)
    assert stored.read(ws, extent.sentence, SampleConfig()) == stored.read(ws, extent.sentence, EvaluateConfig()) == ""
    filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    filling.add_checkpoint(ws, filling.add_run(ws, PPOConfig(rewards="function:f.py:f")))
    with pytest.raises(CheckpointError, match="sft-9"):
        stored.read(ws, extent.sentence, PPOConfig(rewards="function:f.py:f", sft_checkpoint="sft-9"))
