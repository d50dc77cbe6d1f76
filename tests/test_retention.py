"""`keep_checkpoints`: older checkpoints leave while a run trains, those that are needed stay, and a resume is still exact."""

import os
import signal

import pytest

from modules.config import PPOConfig, SampleConfig, SFTConfig
from studio.models import checkpoints, deletion, disk, retention
from studio.preferences import prompts
from studio.preferences.prompts import NewPrompt
from studio.runs import launcher, runs
from studio.workspace import Workspace
from tests.support import stored, warm
from tests.support.waiting import for_run as wait
from tests.test_deletion import created, saved
from tests.ui import filling

pytestmark = pytest.mark.timeout(900)
PPO = PPOConfig(
    batch_size=8,
    micro_batch_size=8,
    max_length=128,
    rewards="function:length.py:wavy",
    iterations=8,
    minibatch_size=8,
    epochs=1,
    max_new_tokens=8,
    value_warmup=0,
    learning_rate=1e-3,
    eval_every=1,
    eval_prompts=4,
    save_every=1,
    kl_budget=50.0,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace in which sft-1 has been trained by a real worker, with keep_checkpoints."""
    ws = Workspace.open(tmp_path_factory.mktemp("workspace"))
    (ws.rewards / "length.py").write_text(
        "def wavy(prompts, responses):\n    return [float(sum(map(ord, r)) % 17) for r in responses]\n"
    )
    with ws.write() as db:
        for number in range(24):
            question = [{"role": "user", "content": f"What is {number} plus 1?"}]
            prompt_id = prompts.add_prompt(db, NewPrompt(question, "", "validation" if number % 6 == 0 else "train"))
            prompts.add_response(db, prompt_id, f"It is {number + 1}.", "demonstration")
    with warm.starts():
        config = SFTConfig(
            batch_size=8, max_length=128, lora_rank=4, epochs=3, eval_every=100, save_every=1, keep_checkpoints=2
        )
        run = wait(ws, launcher.start(ws, runs.create(ws, config)).name, lambda r: r.is_ended)
    assert run.state == "finished", run.message
    return ws


@pytest.fixture
def ws(tmp_path):
    made = Workspace.open(tmp_path / "workspace")
    filling.add_texts(made)
    (made.rewards / "length.py").write_text("def short(prompts, responses):\n    return [0.0 for _ in responses]\n")
    return made


def steps(ws, name):
    return sorted(c.step for c in stored.read(ws, checkpoints.list_all) if c.run_name == name)


def folders(ws, name):
    return sorted(int(path.name.split("-")[1]) for path in (ws.runs / name / "checkpoints").glob("step-*"))


def files_of(checkpoint):
    """Relative name -> bytes of all that a checkpoint holds but its config, which differs."""
    found = {
        path.relative_to(checkpoint.folder).as_posix(): path.read_bytes() for path in disk.files(checkpoint.folder)
    }
    return {name: content for name, content in found.items() if name != "meta.json"}


def go(ws, run):
    run = wait(ws, launcher.start(ws, run).name, lambda r: r.is_ended)
    assert run.state == "finished", run.message
    return run


def test_a_real_run_keeps_its_newest_ones_and_its_log_says_what_left(trained):
    last = stored.read(trained, checkpoints.get, "sft-1").step
    assert last > 4
    assert steps(trained, "sft-1") == folders(trained, "sft-1") == [last - 1, last]
    deleted = [c.step for c in stored.read(trained, checkpoints.list_all, has_deleted=True) if c.deleted_at]
    assert sorted(deleted) == list(range(1, last - 1)), "their rows stay"
    assert "Deleted sft-1@1 (keep_checkpoints 2)." in runs.tail_log(trained, "sft-1")
    assert stored.tables(trained)["unfinished_deletions"] == []


def test_ppo_that_keeps_two_is_killed_and_resumed_ends_in_the_same_bytes(trained):
    """The best policy stays, as do those that a kept state resumes with; weights, moments and random states are the same."""
    with warm.starts():
        whole = go(trained, runs.create(trained, PPO))
        run = launcher.start(trained, runs.create(trained, PPO.model_copy(update={"keep_checkpoints": 2})))
        wait(trained, run.name, lambda r: max(steps(trained, r.name), default=0) >= 5)
        pid = stored.read(trained, runs.get, run.name).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait(trained, run.name, lambda r: launcher.reap(trained) is not None and r.is_ended)
        left = steps(trained, run.name)
        assert left[-1] < 8, "it was killed before its end"
        deletion.finish(trained)  # the kill may have come in the middle of one
        assert left == [step for step in folders(trained, run.name) if step <= left[-1]]
        assert len(left) <= 4
        resumed = go(trained, runs.resume(trained, run.name))
    assert files_of(stored.read(trained, checkpoints.last, whole.name)) == files_of(
        stored.read(trained, checkpoints.last, resumed.name)
    )
    assert (
        stored.read(trained, checkpoints.get, whole.name).step
        == stored.read(trained, checkpoints.get, resumed.name).step
    )
    assert files_of(stored.read(trained, checkpoints.get, whole.name)) == files_of(
        stored.read(trained, checkpoints.get, resumed.name)
    )
    kept = steps(trained, resumed.name)
    assert {7, 8, stored.read(trained, checkpoints.get, resumed.name).step} <= set(kept)
    assert len(kept) <= 4


def test_what_is_handed_on_and_what_a_kept_one_resumes_with_stay(ws):
    run = runs.create(ws, SFTConfig())
    saved(ws, run, 1, best=1)
    saved(ws, run, 2, best=2)
    saved(ws, run, 3, best=2)
    saved(ws, run, 4, best=4, is_chosen=True)
    assert retention.apply(ws, run.id, 2) == ["sft-1@1"]
    assert steps(ws, run.name) == folders(ws, run.name) == [2, 3, 4], "3 resumes with 2, the best until then"
    saved(ws, run, 5, best=4)
    saved(ws, run, 6, best=4)
    assert retention.apply(ws, run.id, 2) == ["sft-1@3", "sft-1@2"]
    assert steps(ws, run.name) == [4, 5, 6]
    assert retention.apply(ws, run.id, 2) == []


def test_those_of_save_at_kl_and_those_that_others_use_or_began_with_stay(ws):
    run = created(ws, SFTConfig())
    for step in range(1, 7):
        saved(ws, run, step)
    with ws.write() as db:
        db.execute("UPDATE checkpoints SET metrics = ? WHERE step = 1", [f'{{"{checkpoints.SAVED_AT_KL}": 3.0}}'])
    runs.create(ws, SampleConfig(checkpoint="sft-1@2", num_prompts=2))
    ended = created(ws, PPOConfig(sft_checkpoint="sft-1@3", rewards="function:length.py:short"))
    measured = created(ws, SampleConfig(checkpoint="sft-1@4", num_prompts=2))
    assert (ended.stage, measured.stage) == ("ppo", "sample")
    assert retention.apply(ws, run.id, 1) == ["sft-1@5", "sft-1@4"]
    assert steps(ws, run.name) == folders(ws, run.name) == [1, 2, 3, 6]


def test_by_default_all_stay():
    assert SFTConfig().keep_checkpoints == PPOConfig().keep_checkpoints == 0
