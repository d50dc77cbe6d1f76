"""What the loop suggests next, from an empty workspace once round and on."""

from modules.config import PPOConfig, RewardConfig, SampleConfig, SFTConfig
from studio import next_step
from studio.preferences import prompts, ratings
from studio.preferences.prompts import NewPrompt
from tests.support import stored
from tests.ui import filling


def step(ws):
    return stored.read(ws, next_step.status).step


def test_the_loop_leads_from_nothing_round_and_into_the_second_round(ws, monkeypatch):
    monkeypatch.setattr(ratings, "ENOUGH", 6)
    monkeypatch.setattr(next_step, "FRESH_RATINGS", 4)
    assert (step(ws).key, step(ws).page) == ("begin", "data")
    with ws.write() as db:
        prompts.add_prompt(db, NewPrompt([{"role": "user", "content": "Only a prompt."}], split="train"))
    assert step(ws).key == "demonstrate"
    ids = filling.add_texts(ws, 24)
    assert (step(ws).key, step(ws).page, step(ws).item) == ("sft", "train", "sft")
    sft = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    assert (step(ws).key, step(ws).item) == ("sample", "sample")
    filling.add_pairs(ws, ids[:12], sft, run=filling.add_run(ws, SampleConfig()))
    assert (step(ws).key, step(ws).page) == ("rate", "rate")
    assert "6 more pairs" in step(ws).sentence
    filling.add_rated(ws, 6)
    assert (step(ws).key, step(ws).item) == ("reward", "reward")
    filling.add_checkpoint(ws, filling.add_run(ws, RewardConfig()))
    assert (step(ws).key, step(ws).item) == ("ppo", "ppo")
    ppo = filling.add_checkpoint(ws, filling.add_run(ws, PPOConfig()))
    assert step(ws).key == "sample"
    assert "ppo-1@40" in step(ws).sentence
    filling.add_pairs(ws, ids[12:], ppo, run=filling.add_run(ws, SampleConfig()))
    assert step(ws).key == "rate"
    filling.add_rated(ws, 4)
    assert step(ws).key == "reward"
    assert "has not seen 4" in step(ws).sentence
    filling.add_checkpoint(ws, filling.add_run(ws, RewardConfig()))
    assert step(ws).key == "ppo"


def test_a_reward_model_of_few_ratings_keeps_more_of_them_on_offer_and_a_policy_can_be_talked_to(ws):
    ids = filling.add_texts(ws, 24)
    assert step(ws).others == ()
    sft = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    filling.add_pairs(ws, ids, sft, run=filling.add_run(ws, SampleConfig()))
    filling.add_rated(ws, 10)
    filling.add_checkpoint(ws, filling.add_run(ws, RewardConfig()))
    assert step(ws).key == "ppo"
    assert "was made from 10 ratings; from about 50 on" in step(ws).sentence
    assert step(ws).others == (("Rate 14 more pairs first", "rate"), ("Chat with sft-1@40", "chat"))


def test_a_reward_model_of_enough_ratings_is_taken_as_it_is(ws, monkeypatch):
    monkeypatch.setattr(ratings, "ENOUGH", 10)
    ids = filling.add_texts(ws, 24)
    sft = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    filling.add_pairs(ws, ids, sft, run=filling.add_run(ws, SampleConfig()))
    filling.add_rated(ws, 10)
    filling.add_checkpoint(ws, filling.add_run(ws, RewardConfig()))
    assert (step(ws).key, step(ws).others) == ("ppo", (("Chat with sft-1@40", "chat"),))


def test_after_a_few_ratings_more_pairs_are_advised_before_a_reward_model(ws):
    ids = filling.add_texts(ws, 2)
    sft = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    filling.add_pairs(ws, ids, sft, run=filling.add_run(ws, SampleConfig()))
    filling.add_rated(ws, 1)
    assert "Rate 1 more pair;" in step(ws).sentence
    filling.add_rated(ws, 1)
    assert step(ws).key == "sample"
    assert "You have 2 ratings; about 50 make a first reward model." in step(ws).sentence


def test_a_run_at_work_is_what_to_watch(ws):
    filling.add_texts(ws, 2)
    filling.add_run(ws, SFTConfig(), "running", text="step 3 of 9")
    status = stored.read(ws, next_step.status)
    assert (status.step.key, status.step.page, status.step.item) == ("watch", "runs", "sft-1")
    run = status.station("sft").run
    assert run is not None
    assert run.name == "sft-1"
    assert status.station("reward").run is None


def test_stations_count_and_say_what_is_stale(full_ws):
    status = stored.read(full_ws, next_step.status)
    counts = {station.key: station.count for station in status.stations}
    assert counts == {"demonstrations": 24, "sft": 2, "pairs": 12, "ratings": 12, "reward": 1, "ppo": 2}
    assert status.station("sft").checkpoint == "sft-1@60"
    assert status.station("reward").stale == "has not seen 3 ratings"
    assert status.station("pairs").stale == "ppo-2@40 has not answered yet"
    assert status.station("sft").stale == ""
    stored.written(full_ws, prompts.add_demonstration, [{"role": "user", "content": "New?"}], "Yes.")
    assert stored.read(full_ws, next_step.status).station("sft").stale == "has not seen 1 demonstration"
    filling.add_checkpoint(full_ws, filling.add_run(full_ws, RewardConfig()), 9)
    status = stored.read(full_ws, next_step.status)
    assert status.station("reward").stale == ""
    assert status.station("ppo").stale == "older than reward-2@9"
