"""Settings of a PPO run that change while it goes on: taken between two iterations, kept by a resume and by a bundle."""

import json
import shutil
from pathlib import Path

import pytest

from modules.config import PPOConfig, SFTConfig
from studio.cli import main
from studio.datasets import archive
from studio.errors import ConfigError, RunError
from studio.models import checkpoints
from studio.preferences import prompts
from studio.preferences.prompts import NewPrompt
from studio.reproduction import bundling, differences, opening, repeating
from studio.runs import launcher, metrics, runs, steering
from studio.workspace import Workspace
from tests.support import stored, warm
from tests.support.waiting import for_run as wait
from tests.test_deletion import template as template  # a fixture

pytestmark = pytest.mark.timeout(900)
TINY = {"lora_rank": 4, "batch_size": 4, "micro_batch_size": 4, "max_length": 128}
STEERED = [("kl_coef", 0.5, 2), ("learning_rate", 1e-3, 2), ("temperature", 0.6, 4), ("kl_coef", 0.25, 4)]


@pytest.fixture
def ws(template, tmp_path):
    """A checkpoint of SFT and a reward function, so that PPO runs can be made; see the template."""
    return Workspace(Path(shutil.copytree(template.root, tmp_path / "workspace")))


@pytest.fixture
def going(ws):
    return ppo(ws)


def ppo(ws, **settings):
    """A PPO run that is going on."""
    config = PPOConfig(sft_checkpoint="sft-1@10", rewards="function:length.py:short", **settings)
    run = runs.create(ws, config)
    stored.written(ws, runs.move, run.id, "running")
    return stored.read(ws, runs.get, run.id)


def logged(ws, run, name):
    return dict(stored.read(ws, metrics.curve, run.id, name))


def files_of(ws, name):
    folder = stored.read(ws, checkpoints.get, name).folder
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.safetensors")}


def test_a_run_takes_other_values_between_two_iterations_and_its_resume_and_its_bundle_end_in_the_same_bytes(tmp_path):
    ws = Workspace.open(tmp_path / "workspace")
    for i in range(12):
        messages = [{"role": "user", "content": f"What is {i} plus 1?"}]
        stored.written(ws, prompts.add_demonstration, messages, f"It is {i + 1}.")
        stored.written(ws, prompts.add_prompt, NewPrompt([{"role": "user", "content": f"And {i}?"}], split="train"))
    (ws.rewards / "length.py").write_text(
        "def short(prompts, responses):\n    return [-float(len(t)) for t in responses]\n"
    )
    with warm.starts():
        wait(
            ws,
            launcher.start(ws, runs.create(ws, SFTConfig(**TINY, epochs=1, eval_every=1000))).name,
            lambda r: r.is_ended,
        )
        config = PPOConfig(
            **TINY, rewards="function:length.py:short", iterations=6, minibatch_size=4, rollout_batch_size=4, epochs=1,
            value_warmup=0, max_new_tokens=8, max_prompt_length=64, eval_prompts=2, eval_every=1000, save_every=3,
        )  # fmt: skip
        run = runs.create(ws, config)
        stored.written(ws, steering.repeat, run.id, STEERED)  # so that each is taken after the same iteration each time
        run = wait(ws, launcher.start(ws, run).name, lambda r: r.is_ended)
        assert run.state == "finished", run.message
        coef, rate = logged(ws, run, "objective/kl_coef"), logged(ws, run, "policy/lr")
        first, before = config.kl_coef, config.learning_rate
        assert [coef[step] for step in range(1, 7)] == pytest.approx([first, first, 0.5, 0.5, 0.25, 0.25])
        assert [rate[step] for step in range(1, 7)] == pytest.approx([before] * 2 + [1e-3] * 4)
        assert stored.read(ws, steering.taken, run.id) == STEERED
        meta = json.loads((stored.read(ws, checkpoints.get, f"{run.name}@3").folder / "meta.json").read_text())[
            "config"
        ]
        assert (meta["kl_coef"], meta["learning_rate"], meta["temperature"]) == (0.5, 1e-3, config.temperature)
        assert "From iteration 3 on: kl_coef 0.05 -> 0.5, learning_rate" in runs.tail_log(ws, run.name)

        resumed = runs.resume(ws, f"{run.name}@3")
        assert (resumed.config.kl_coef, resumed.config.learning_rate) == (0.5, 1e-3)
        resumed = wait(ws, launcher.start(ws, resumed).name, lambda r: r.is_ended)
        assert resumed.state == "finished", resumed.message
        assert stored.read(ws, steering.taken, resumed.id) == STEERED[2:]
        assert files_of(ws, f"{resumed.name}@6") == files_of(ws, f"{run.name}@6")

        path = bundling.write(ws, run.name)
        with opening.opened(path) as bundle:
            again = repeating.start(ws, bundle, stored.read(ws, repeating.plan, bundle))
            again = wait(ws, launcher.start(ws, again).name, lambda r: r.is_ended)
            assert differences.between(ws, bundle, again).are_none


def test_what_is_asked_is_taken_once_the_newest_value_last_and_what_is_due_later_waits(ws, going):
    assert not stored.read(ws, steering.is_pending, going.id, 0)
    stored.written(ws, steering.ask, going, ["kl_coef=0.1"])
    changed = stored.written(ws, steering.ask, going, ["kl_coef=0.2", "temperature=0.9"])
    assert [str(each) for each in changed] == ["kl_coef 0.1 -> 0.2", "temperature 1.0 -> 0.9"]
    stored.written(ws, steering.repeat, going.id, [("learning_rate", 0.5, 9)])
    assert stored.read(ws, steering.config_at, going, 7).kl_coef == going.config.kl_coef
    assert stored.written(ws, steering.take, going.id, 7) == {"kl_coef": 0.2, "temperature": 0.9}
    assert not stored.read(ws, steering.is_pending, going.id, 8)
    assert stored.read(ws, steering.is_pending, going.id, 9)
    assert stored.read(ws, steering.config_at, going, 7).kl_coef == 0.2
    assert stored.read(ws, steering.config_at, going, 6).kl_coef == going.config.kl_coef


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ("kl_coef=-1", ConfigError, "kl_coef = -1 is not possible"),
        ("kl_coff=1", ConfigError, "Did you mean kl_coef"),
        ("kl_coef", ConfigError, "has no value"),
        ("iterations=300", RunError, "iterations cannot change while a run goes on; these can: kl_coef, learning_rate"),
        ("kl_coef=0.05", RunError, "Nothing would change"),
    ],
)
def test_what_cannot_be_changed_is_refused_with_the_reason(ws, going, given, error, said):
    with pytest.raises(error, match=said):
        stored.written(ws, steering.ask, going, [given])
    assert stored.read(ws, steering.of_run, going.id) == []


def test_an_adaptive_price_is_not_set_to_zero_and_other_runs_are_not_steered(ws, going):
    adaptive = ppo(ws, kl_target=6)
    with pytest.raises(ConfigError, match="kl_target is 6"):
        stored.written(ws, steering.ask, adaptive, ["kl_coef=0"])
    ended, other = ppo(ws), runs.create(ws, SFTConfig())
    stored.written(ws, runs.move, ended.id, "finished")
    ended = stored.read(ws, runs.get, ended.id)
    with pytest.raises(RunError, match="is finished, not running. Resume it with --set"):
        stored.written(ws, steering.ask, ended, ["kl_coef=1"])
    with pytest.raises(RunError, match="only PPO's settings change while it goes on"):
        stored.written(ws, steering.ask, other, ["learning_rate=1"])


def test_the_terminal_asks_and_shows_it_and_an_archive_carries_it(ws, going, capsys, tmp_path):
    assert main(["runs", "steer", going.name, "--set", "kl_coef=0.1", "--workspace", str(ws.root)]) == 0
    assert f"{going.name}: kl_coef 0.05 -> 0.1, from its next iteration on." in capsys.readouterr().out
    stored.written(ws, steering.take, going.id, 3)
    with ws.write() as db:
        db.execute("UPDATE runs SET state = 'finished' WHERE id = ?", [going.id])
    assert main(["runs", "show", going.name, "--workspace", str(ws.root)]) == 0
    assert "changed on the way: kl_coef 0.1 from iteration 4 on" in capsys.readouterr().out
    other = Workspace.open(tmp_path / "other")
    archive.read(other, archive.write(ws).path)
    assert stored.read(other, steering.taken, going.id) == [("kl_coef", 0.1, 3)]
