"""Runs as real child processes: they finish, stop and save, die and are found lost, resume, and wait for their turn."""

import os
import signal
import time
from collections import Counter

import pytest

from modules.config import PPOConfig, RewardConfig, SampleConfig, SFTConfig
from studio.errors import CheckpointError
from studio.models import checkpoints
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.runs import launcher, metrics, runs
from studio.workspace import Workspace
from tests.support import stored, warm
from tests.support.waiting import PATIENCE_S
from tests.support.waiting import for_run as wait

pytestmark = pytest.mark.timeout(900)
TINY = {"lora_rank": 4, "batch_size": 8, "micro_batch_size": 8, "max_length": 128}
LONG_SFT = SFTConfig(**TINY, epochs=400, save_every=2, eval_every=1000)


@pytest.fixture(autouse=True, scope="module")
def quick_starts():
    with warm.starts():
        yield


def ended(run):
    return run.is_ended


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    workspace = Workspace.open(tmp_path_factory.mktemp("workspace"))
    for i in range(24):
        stored.written(
            workspace,
            prompts.add_demonstration,
            [{"role": "user", "content": f"What is {i} plus 1?"}],
            f"It is {i + 1}.",
        )
    return workspace


@pytest.fixture(scope="module")
def sft(ws):
    run = launcher.start(ws, runs.create(ws, SFTConfig(**TINY, epochs=2, eval_every=2)))
    return wait(ws, run.name, ended)


def test_an_sft_run_finishes_with_metrics_and_a_whole_checkpoint(ws, sft):
    assert (sft.state, sft.progress) == ("finished", 1.0)
    found = stored.read(ws, checkpoints.get, sft.name)
    assert {p.name for p in found.folder.iterdir()} == {"meta.json", "policy", "state.json", "state.safetensors"}
    assert not list(found.folder.rglob("*.bin")) + list(found.folder.rglob("*.pt"))
    losses = stored.read(ws, metrics.curve, sft.id, "train/loss")
    assert len(losses) == found.step
    held_out = stored.read(ws, metrics.curve, sft.id, "eval/loss")
    assert held_out[0][0] == 0
    assert held_out[-1][0] == found.step
    assert held_out[-1][1] < held_out[0][1]
    samples = stored.read(ws, metrics.list_samples, sft.id)
    assert {sample["step"] for sample in samples} == {step for step, _ in held_out}
    assert len(samples) % len(held_out) == 0, "each time the same prompts"


def test_the_loop_goes_round_through_real_processes(ws, sft):
    with ws.write() as db:
        prompts.add_prompt(db, NewPrompt([{"role": "user", "content": "Why? " * 600}], split="train"))
    config = SampleConfig(num_prompts=100, responses_per_prompt=3, max_new_tokens=16, temperature=1.3)
    sample = wait(ws, launcher.start(ws, runs.create(ws, config)).name, ended)
    assert sample.state == "finished", sample.message
    assert "1 prompt too long for the model was left out." in sample.message
    made = stored.comparisons(ws)
    by_prompt = Counter(row["prompt_id"] for row in made)
    assert max(by_prompt.values()) == 3, "three answers are three pairs"
    assert len(made) > 24
    assert len({row["prompt_id"] for row in made[:10]}) == 10, "a prompt does not come twice in a row"
    texts = [(row["prompt_id"], *sorted(answer["text"] for answer in row["responses"])) for row in made]
    assert len(set(texts)) == len(texts)
    while showing := stored.written(ws, comparisons.next_showing):
        stored.written(
            ws, ratings.record, showing.id, "left" if len(showing.left) < len(showing.right) else "right", strength=2
        )
    reward = launcher.start(ws, runs.create(ws, RewardConfig(**TINY, epochs=2, ensemble=2, keep_best=True)))
    assert wait(ws, reward.name, ended).state == "finished"
    assert stored.read(ws, metrics.latest, reward.id)["eval/center_num"] > 10, (
        "demonstrations set the zero of the score"
    )
    config = PPOConfig(
        **TINY | {"batch_size": 8},
        iterations=2,
        minibatch_size=8,
        epochs=1,
        max_new_tokens=8,
        value_warmup=1,
        eval_every=1,
    )
    ppo = wait(ws, launcher.start(ws, runs.create(ws, config)).name, ended)
    assert ppo.state == "finished", ppo.message
    assert [step for step, _ in stored.read(ws, metrics.curve, ppo.id, "eval/score")] == [0, 1, 2]
    assert stored.read(ws, metrics.curve, ppo.id, "eval/kl")[0][1] == pytest.approx(0.0, abs=1e-5)
    assert stored.read(ws, metrics.list_samples, ppo.id)
    assert stored.read(ws, checkpoints.parents, ppo.name) == {
        "sft": f"{sft.name}@{stored.read(ws, checkpoints.get, sft.name).step}",
        "policy": f"{sft.name}@{stored.read(ws, checkpoints.get, sft.name).step}",
        "reward": stored.read(ws, checkpoints.get, reward.name).name,
    }


def test_stop_finishes_the_step_saves_and_says_stopped(ws):
    run = launcher.start(ws, runs.create(ws, LONG_SFT))
    wait(ws, run.name, lambda r: r.progress > 0)
    stored.written(ws, runs.request_stop, run.name)
    run = wait(ws, run.name, ended)
    assert run.state == "stopped"
    last_step = stored.read(ws, metrics.curve, run.id, "train/loss")[-1][0]
    assert stored.read(ws, checkpoints.get, run.name).step == last_step
    wait(ws, run.name, lambda r: not launcher.is_alive(r))


def test_a_killed_worker_reads_lost_its_checkpoint_is_whole_and_resume_continues(ws):
    run = launcher.start(ws, runs.create(ws, LONG_SFT))
    wait(ws, run.name, lambda r: len([c for c in stored.read(ws, checkpoints.list_all) if c.run_id == r.id]) >= 2)
    os.kill(stored.read(ws, runs.get, run.name).pid, signal.SIGKILL)
    while launcher.is_alive(run):
        time.sleep(0.05)
    assert launcher.reap(ws) == [run.name]
    assert stored.read(ws, runs.get, run.name).state == "lost"
    last = stored.read(ws, checkpoints.get, run.name)
    resumed = launcher.start(ws, runs.resume(ws, run.name))
    wait(ws, resumed.name, lambda r: len(stored.read(ws, metrics.curve, r.id, "train/loss")) >= 2)
    launcher.kill(ws, resumed.name)
    assert stored.read(ws, metrics.curve, resumed.id, "train/loss")[0][0] == last.step + 1
    assert stored.read(ws, runs.get, resumed.name).state == "stopped"


def test_a_second_run_waits_for_the_first_and_a_waiting_run_can_be_cancelled(ws):
    first = launcher.start(ws, runs.create(ws, LONG_SFT))
    second = launcher.start(ws, runs.create(ws, LONG_SFT))
    wait(ws, first.name, lambda r: r.progress > 0)
    assert wait(ws, second.name, lambda r: "waiting" in r.progress_text).state == "queued"
    stored.written(ws, runs.request_stop, second.name)
    assert wait(ws, second.name, ended).state == "stopped"
    assert stored.read(ws, runs.get, first.name).state == "running"
    launcher.kill(ws, first.name)
    assert not launcher.is_alive(first)


def test_a_damaged_checkpoint_fails_with_a_sentence_and_no_traceback_reaches_the_person(ws, sft):
    found = stored.read(ws, checkpoints.get, sft.name)
    weights = found.folder / "policy" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    try:
        run = launcher.start(ws, runs.create(ws, SampleConfig(checkpoint=found.name, num_prompts=2)))
        deadline = time.monotonic() + PATIENCE_S
        while not stored.read(ws, runs.get, run.name).is_ended and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        weights.write_bytes(whole)
    run = stored.read(ws, runs.get, run.name)
    assert run.state == "failed"
    assert (
        f"The checkpoint {found.folder} is damaged: policy/adapter_model.safetensors is not what was saved."
        in run.message
    )


def test_a_reward_checkpoint_is_refused_where_a_policy_is_needed(ws):
    reward = stored.read(ws, checkpoints.newest, "reward")
    assert reward is not None
    with pytest.raises(CheckpointError, match="comes from the reward model; one from PPO, DPO or SFT is needed"):
        runs.create(ws, SampleConfig(checkpoint=reward.name))
