"""Resuming with other settings: what differs is said, what cannot change is refused, and nothing is created then."""

import shutil

import pytest

from modules.config import PPOConfig, RewardConfig, SampleConfig, SFTConfig
from studio.cli import main
from studio.errors import ConfigError, DataError, RunError
from studio.models import checkpoints
from studio.runs import changes, runs
from studio.runs.prepare import Prepared
from studio.workspace import Workspace
from tests.support import stored
from ui.pages.runs import controls

TRAINED = {"method": "lora", "quantisation": "none", "lora_rank": 4, "lora_alpha": 8.0, "lora_targets": "all-linear"}
CONFIGS = {
    "sft": SFTConfig(epochs=2),
    "reward": RewardConfig(sft_checkpoint="sft-1@9", snapshot="snapshot-1", **TRAINED),
    "ppo": PPOConfig(sft_checkpoint="sft-1@9", reward_checkpoint="reward-1@9", iterations=9, kl_coef=0.05, **TRAINED),
}


def add_checkpoint(ws, run, step):
    folder = runs.folder(ws, run.name) / "checkpoints" / f"step-{step}"
    folder.mkdir(parents=True)
    return stored.written(
        ws, checkpoints.add, run.id, step, folder, base_model="starter", base_fingerprint="f", metrics={}
    )


def ended(ws, config, state="finished", rows=None):
    run = runs.create_prepared(ws, Prepared(config, {}, rows or {"train": [{}], "validation": [{}]}))
    stored.written(ws, runs.move, run.id, "running")
    add_checkpoint(ws, run, 4)
    add_checkpoint(ws, run, 9)
    stored.written(ws, runs.move, run.id, state)
    return stored.read(ws, runs.get, run.id)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    workspace = Workspace.open(tmp_path_factory.mktemp("template"))
    for config in CONFIGS.values():
        ended(workspace, config)
    return workspace


@pytest.fixture
def ws(template, tmp_path):
    """A finished run of each stage, with checkpoints after 4 and 9 steps."""
    return Workspace(shutil.copytree(template.root, tmp_path / "workspace"))


@pytest.fixture
def made(ws):
    """The workspace, and stage -> run."""
    return ws, {stage: stored.read(ws, runs.get, f"{stage}-1") for stage in CONFIGS}


@pytest.mark.parametrize(("stage", "more"), [("sft", "epochs=3"), ("reward", "epochs=2"), ("ppo", "iterations=20")])
def test_a_finished_run_takes_more_steps_from_its_end_as_a_new_run(made, stage, more):
    ws, of = made
    run = of[stage]
    with pytest.raises(
        RunError, match=f"finished: all its steps are done at {run.name}@9. Give it more with --set {more[:4]}"
    ):
        runs.resume(ws, run.name, ["learning_rate=1e-5"])
    longer = runs.resume(ws, run.name, [more, "learning_rate=1e-5"])
    assert stored.read(ws, checkpoints.name_of, longer.resumed_from) == f"{run.name}@9"
    name, value = more.split("=")
    assert longer.config == run.config.model_copy(update={name: int(value), "learning_rate": 1e-5})
    assert runs.read_rows(ws, longer.name, "train") == [{}]
    assert stored.read(ws, runs.get, run.name).config == run.config, "the old run stays what it was"


FIXED = [
    ("sft", "base_model=other", "it belongs to the model"),
    ("sft", "lora_rank=8", "it belongs to the model"),
    ("sft", "quantisation=nf4", "it belongs to the model"),
    ("sft", "batch_size=8", "some would come twice and others never"),
    ("sft", "seed=3", "some would come twice and others never"),
    ("sft", "max_demonstrations=5", "it decided which rows were frozen"),
    ("reward", "snapshot=snapshot-2", "it decided which rows were frozen"),
    ("reward", "ensemble=3", "it belongs to the model"),
    ("reward", "keep_best=true", "did not keep its best weights"),
    ("ppo", "reward_checkpoint=reward-2", "stay those that the run began with"),
    ("ppo", "reward_pessimism=1", "has learnt scores with that zero"),
    ("ppo", "ptx_coef=0.1", "no demonstrations were frozen"),
    ("ppo", "ema_decay=0.9", "from the first iteration on or not at all"),
    ("ppo", "value_start=zero", "it only decides how a run begins"),
]


@pytest.mark.parametrize(("stage", "setting", "reason"), FIXED)
def test_what_a_state_depends_on_is_refused_with_both_values_and_the_way_out(made, stage, setting, reason):
    ws, of = made
    run, (name, value) = of[stage], setting.split("=")
    with pytest.raises(ConfigError) as refused:
        runs.resume(ws, f"{run.name}@4", [setting])
    said = str(refused.value)
    before = getattr(run.config, name)
    assert said.startswith(f"{name} cannot change on a resume, from {before} to {'True' if value == 'true' else value}")
    assert reason in said
    assert f"--config {runs.folder(ws, run.name) / 'config.json'} --set {name}=" in said
    assert len(stored.read(ws, runs.list_all)) == 3


def test_every_setting_named_as_fixed_exists():
    fields = {name for config in CONFIGS.values() for name in type(config).model_fields}
    assert {*changes.FIXED, *changes.ORDERED, *changes.SWITCHES} <= fields


def test_a_mix_and_an_average_go_on_with_another_weight_but_an_average_never_ends(ws):
    run = ended(ws, CONFIGS["ppo"].model_copy(update={"ptx_coef": 0.1, "ema_decay": 0.9}))
    given = ["iterations=10", "ptx_coef=0", "ema_decay=0.99", "seed=4", "batch_size=32"]
    assert [c.name for c in changes.between(run.config, runs.resume(ws, run.name, given).config)] == [
        "seed", "batch_size", "iterations", "ptx_coef", "ema_decay",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"ema_decay cannot change on a resume, from 0\.9 to 0\.0"):
        runs.resume(ws, run.name, ["iterations=10", "ema_decay=0"])


def test_settings_that_no_run_could_have_are_refused_as_for_a_new_one(made):
    ws, of = made
    name = f"{of['ppo'].name}@4"
    with pytest.raises(ConfigError, match=r"ppo has no setting 'kl_coeff'. Did you mean kl_coef"):
        runs.resume(ws, name, ["kl_coeff=1"])
    with pytest.raises(ConfigError, match="kl_coef = -1 is not possible"):
        runs.resume(ws, name, ["kl_coef=-1"])
    with pytest.raises(ConfigError, match="kl_target is 6, so kl_coef should adapt"):
        runs.resume(ws, name, ["kl_coef=0", "kl_target=6"])
    with pytest.raises(RunError, match="has 4 iterations behind it, so iterations=4 leaves none"):
        runs.resume(ws, name, ["iterations=4"])
    assert len(stored.read(ws, runs.list_all)) == 3


def test_a_budget_needs_something_held_out_among_the_frozen_rows(ws):
    run = ended(ws, CONFIGS["ppo"], rows={"train": [{}], "validation": []})
    with pytest.raises(DataError, match="no.* held-out|held-out prompts, but there are none"):
        runs.resume(ws, f"{run.name}@4", ["kl_budget=5"])


def test_a_run_that_ended_with_its_best_weights_has_no_end_to_go_on_from(ws):
    run = ended(ws, CONFIGS["reward"].model_copy(update={"keep_best": True}))
    with pytest.raises(RunError, match="ended with its best weights"):
        runs.resume(ws, run.name, ["epochs=2"])
    assert runs.resume(ws, f"{run.name}@4", ["epochs=2"]).config.model_dump()["epochs"] == 2


def test_what_does_not_train_goes_on_as_it_was(ws):
    run = runs.create_prepared(ws, Prepared(SampleConfig(), {}, {"prompts": [{}]}))
    stored.written(ws, runs.move, run.id, "stopped")
    with pytest.raises(ConfigError, match="saves no model"):
        runs.resume(ws, run.name, ["num_prompts=3"])


def test_the_terminal_says_what_differs_before_the_start_and_a_run_shows_it_afterwards(made, capsys):
    ws, _ = made
    words = ["runs", "resume", "ppo-1", "--set", "iterations=20", "--set", "kl_coef=0.1", "--workspace", str(ws.root)]
    assert main([*words, "--show"]) == 0
    out = capsys.readouterr().out
    assert out == "Continuing ppo-1@9 with\n  iterations  9 -> 20\n  kl_coef     0.05 -> 0.1\n"
    assert len(stored.read(ws, runs.list_all)) == 3
    assert main([*words, "--queue"]) == 0
    assert capsys.readouterr().out.startswith(out)
    assert main(["runs", "show", "ppo-2", "--workspace", str(ws.root)]) == 0
    assert "continues ppo-1@9 with iterations 9 -> 20, kl_coef 0.05 -> 0.1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stage", "given", "meaning"),
    [
        ("sft", ["epochs=3"], "From step 9 on the learning rate follows the curve of the new total"),
        ("ppo", ["iterations=20", "schedule=linear"], "From step 9 on the learning rate follows"),
        ("ppo", ["iterations=20", "seed=1"], "drawn in another order"),
        ("ppo", ["iterations=20", "tax_budget=0.1"], "Policies measured before are not judged again"),
    ],
)
def test_what_a_change_means_beyond_its_value_is_said(ws, stage, given, meaning):
    run = ended(ws, CONFIGS[stage], rows={"train": [{}], "validation": [{}], "demonstrations": [{}]})
    assert meaning in " ".join(runs.continuation(ws, run.name, given).words())
    assert not changes.notes(run.config, run.config, 9)


def test_the_page_says_what_differs_while_it_is_typed_and_resumes_with_it(made, monkeypatch):
    ws, _ = made
    monkeypatch.setattr(controls.launcher, "start", lambda ws, run: run)
    assert controls._differs(ws, "ppo-1", "", " ") == ""
    assert "From ppo-1@9 on: iterations  9 -&gt; 20; kl_coef     0.05 -&gt; 0.1" in controls._differs(
        ws, "ppo-1", "", "iterations=20, kl_coef=0.1"
    )
    assert "From ppo-1@4 on" in controls._differs(ws, "ppo-1", "ppo-1@4", "kl_coef=0.1")
    assert "snapshot cannot change" in controls._differs(ws, "reward-1", "reward-1@4", "snapshot=snapshot-2")
    assert controls._settings(" save_at_kl=1, 3 kl_coef=0.1, ") == ["save_at_kl=1, 3", "kl_coef=0.1"]
    assert "has no value" in controls._differs(ws, "ppo-1", "", "iterations")
    assert controls._resume(ws, "ppo-1", "", "iterations=20 kl_coef=0.1") == ("ppo-2", "")
    assert stored.read(ws, runs.get, "ppo-2").config.model_dump()["kl_coef"] == 0.1
    assert stored.read(ws, controls.states, stored.read(ws, runs.get, "ppo-1"))[-2].visible
    assert not stored.read(ws, controls.states, None)[-1].visible
