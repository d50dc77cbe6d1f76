"""What belongs to a model goes from a checkpoint to the runs that start from it, and what contradicts it is refused."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from modules.config import STAGES, PPOConfig, RewardConfig, SampleConfig, SFTConfig, StageConfig
from studio import settings
from studio.errors import BaseModelError, CheckpointError, ConfigError
from studio.models import checkpoints, parents
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.runs import prepare, runs
from studio.workspace import Workspace
from tests.support import stored
from tests.test_exporting import chat_ids, make_checkpoint, role_logits

QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]
WISHES: dict[str, StageConfig] = {"sample": SampleConfig(), "reward": RewardConfig(), "ppo": PPOConfig()}
PLAIN = {"quantisation": "none", "chat_template": "plain", "method": "lora"}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """With a demonstration and a rated pair."""
    ws = Workspace.open(tmp_path / "studio")
    with ws.write() as db:
        prompt_id = prompts.add_prompt(db, NewPrompt(QUESTION, "why", "train"))
        pair = [
            prompts.add_response(db, prompt_id, text, "import") for text in ("It scatters light.", "It is painted.")
        ]
        comparisons.add_comparison(db, prompt_id, (pair[0], pair[1]))
        prompts.add_response(db, prompt_id, "Air scatters blue light.", "demonstration")
    showing = stored.written(ws, comparisons.next_showing)
    assert showing is not None
    stored.written(ws, ratings.record, showing.id, "left")
    return ws


def saved(
    ws: Workspace,
    config: StageConfig,
    *,
    rank: int = 4,
    alpha: float = 8.0,
    layers: tuple[str, ...] = ("q_proj", "v_proj"),
    **meta: Any,
) -> str:
    """A checkpoint of a run, whose files hold no weights; returns its name."""
    run = runs.create(ws, config)
    stored.written(ws, runs.move, run.id, "running")
    stored.written(ws, runs.move, run.id, "finished")
    role = "reward" if run.stage == "reward" else "policy"
    folder = runs.folder(ws, run.name) / "checkpoints" / "step-1"
    (folder / role).mkdir(parents=True)
    facts = PLAIN | meta | {"roles": [role], "config": run.config.model_dump()}
    (folder / "meta.json").write_text(json.dumps(facts))
    if facts["method"] == "lora":
        adapter = {"r": rank, "lora_alpha": alpha, "target_modules": list(layers)}
        (folder / role / "adapter_config.json").write_text(json.dumps(adapter))
    return stored.written(
        ws, checkpoints.add, run.id, 1, folder, base_model="starter", base_fingerprint="f", metrics={}
    )


SMALL = SFTConfig(quantisation="nf4", lora_rank=4, lora_alpha=8, lora_targets="q_proj,v_proj", precision="fp32")


def loop(ws: Workspace) -> None:
    """SFT on a 4-bit base and a reward model from it."""
    saved(ws, SMALL, quantisation="nf4")
    saved(ws, RewardConfig(), quantisation="nf4")


@pytest.mark.parametrize("stage", WISHES)
def test_a_run_with_its_defaults_takes_from_its_checkpoint_what_belongs_to_the_model(ws: Workspace, stage: str) -> None:
    loop(ws)
    run = runs.create(ws, WISHES[stage])
    shown = json.loads((runs.folder(ws, run.name) / "config.json").read_text())
    expected = {"quantisation": "nf4", "precision": "fp32"}
    if stage != "sample":
        expected |= {"method": "lora", "lora_rank": 4, "lora_alpha": 8.0, "lora_targets": "q_proj,v_proj"}
    assert {name: shown[name] for name in expected} == expected
    taken_over = stored.read(ws, prepare.inherited, WISHES[stage])
    assert taken_over is not None
    assert parents.sentence(taken_over) == (
        "Taken over from sft-1@1: method lora, quantisation nf4, lora_rank 4, lora_alpha 8, lora_targets q_proj,v_proj, "
        "precision fp32, chat template plain."
    )


@pytest.mark.parametrize("stage", WISHES)
@pytest.mark.parametrize(
    ("name", "value", "has"),
    [
        ("quantisation", "none", "nf4"),
        ("method", "full", "lora"),
        ("lora_rank", 64, "4"),
        ("lora_alpha", 64.0, "8.0"),
        ("lora_targets", "attention", "q_proj,v_proj"),
    ],
)
def test_a_setting_that_contradicts_the_checkpoint_is_refused_with_both_values_and_no_run_is_made(
    ws: Workspace, stage: str, name: str, value: Any, has: str
) -> None:
    if name not in STAGES[stage].model_fields:
        pytest.skip("this stage has no such setting")
    loop(ws)
    before = len(stored.read(ws, runs.list_all))
    with pytest.raises(ConfigError, match=rf"{name} is {value}, but sft-1@1, .* with {name} {has}: leave {name}"):
        runs.create(ws, WISHES[stage].model_copy(update={name: value}))
    assert len(stored.read(ws, runs.list_all)) == before


def test_a_setting_that_says_what_the_checkpoint_has_is_no_contradiction(ws: Workspace) -> None:
    loop(ws)
    same = {"quantisation": "nf4", "method": "lora", "lora_rank": 4, "lora_alpha": 8, "lora_targets": "v_proj, q_proj"}
    assert runs.create(ws, PPOConfig(**same)).config.lora_rank == 4


def test_a_model_trained_in_full_hands_on_that_it_was_and_refuses_a_rank(ws: Workspace) -> None:
    saved(ws, SFTConfig(method="full"), method="full")
    assert runs.create(ws, RewardConfig()).config.method == "full"
    with pytest.raises(ConfigError, match=r"lora_rank is 8, but sft-1@1, .* was trained in full and has no adapter"):
        runs.create(ws, RewardConfig(lora_rank=8))


@pytest.mark.parametrize(
    ("name", "value"), [("quantisation", "nf4"), ("method", "full"), ("chat_template", "chatml")], ids=lambda v: str(v)
)
def test_checkpoints_that_were_trained_differently_do_not_meet_in_one_run(ws: Workspace, name: str, value: str) -> None:
    saved(ws, SFTConfig())
    saved(ws, RewardConfig())
    other = saved(ws, SFTConfig(), **{name: value})
    sentence = rf"trained with {name.replace('_', ' ')} \w+, but \S+ with \w+"
    for config in (PPOConfig(sft_checkpoint=other), SampleConfig(checkpoint="sft-1", opponent=other)):
        with pytest.raises(CheckpointError, match=sentence):
            runs.create(ws, config)


@pytest.mark.parametrize("stage", ["reward", "ppo"])
def test_a_run_that_an_earlier_version_began_on_another_quantisation_than_its_checkpoints_is_not_resumed(
    ws: Workspace, stage: str
) -> None:
    loop(ws)
    saved(ws, WISHES[stage])
    run = stored.read(ws, runs.list_all, stage=stage)[0]
    with ws.write() as db:
        config = run.config.model_dump() | {"quantisation": "none"}
        db["runs"].update(run.id, {"config": json.dumps(config), "state": "stopped"})
    number = len(stored.read(ws, runs.list_all))
    with pytest.raises(
        ConfigError, match=rf"Run {run.name} has quantisation none, but sft-1@1, .*was trained with nf4.*new run"
    ) as refused:
        runs.resume(ws, run.name)
    assert len(stored.read(ws, runs.list_all)) == number
    (runs.folder(ws, run.name) / "config.json").write_text(json.dumps(config | {"seed": 77}))
    words = shlex.split(str(refused.value).partition("trained: ")[2])
    asked = words[words.index("--config") + 1], [words[at + 1] for at, word in enumerate(words) if word == "--set"]
    again = runs.create(ws, settings.read(stage, *asked))
    assert (again.config.seed, again.config.quantisation) == (77, "nf4"), "the way out that it names is one"


def test_adapters_of_different_ranks_may_meet_and_the_policys_is_the_runs(ws: Workspace) -> None:
    saved(ws, SFTConfig(lora_rank=4), rank=4)
    saved(ws, RewardConfig())
    other = saved(ws, SFTConfig(lora_rank=8), rank=8)
    assert runs.create(ws, PPOConfig(policy_checkpoint=other)).config.lora_rank == 8


def test_the_settings_say_that_they_are_taken_over(ws: Workspace) -> None:
    for stage in ("reward", "ppo"):
        text = settings.help_text(STAGES[stage])
        for line in (
            "quantisation = auto",
            "method = auto",
            "lora_rank = 0",
            "lora_alpha = 0.0",
            "lora_targets = (empty)",
        ):
            assert line in text
    assert "lora_rank = 16" in settings.help_text(SFTConfig)


def test_a_checkpoint_whose_meta_json_is_damaged_is_named(ws: Workspace) -> None:
    name = saved(ws, SFTConfig())
    (stored.read(ws, checkpoints.get, name).folder / "meta.json").write_text("{")
    with pytest.raises(CheckpointError, match="sft-1@1 is damaged: its meta.json"):
        runs.create(ws, RewardConfig())


def test_a_base_model_that_is_gone_is_said_before_a_run_is_made(ws: Workspace) -> None:
    name = saved(ws, SFTConfig())
    with ws.write() as db:
        db.execute("UPDATE checkpoints SET base_model = '/no/such/model' WHERE name = ?", [name])
    before = len(stored.read(ws, runs.list_all))
    with pytest.raises(BaseModelError, match="/no/such/model"):
        runs.create(ws, SampleConfig())
    assert len(stored.read(ws, runs.list_all)) == before


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_a_policy_trained_on_a_4_bit_base_is_sampled_on_it_and_not_on_the_plain_one(tmp_path: Path) -> None:
    from studio.worker import sampling

    ws = Workspace.open(tmp_path / "other")
    name, backbone = make_checkpoint(ws, "policy", quantisation="nf4")
    found = {name: stored.read(ws, checkpoints.get, name)}
    ids = chat_ids(backbone)
    played = sampling.load_policies(found, SampleConfig(device="cpu"))
    assert played.quantisation == "nf4"
    expected = role_logits(backbone, "policy", ids)
    assert role_logits(played, sampling.role_of(name), ids).sub(expected).abs().max() < 1e-5
    with pytest.raises(CheckpointError, match="was trained with quantisation nf4, but this run uses none"):
        sampling.load_policies(found, SampleConfig(device="cpu", quantisation="none"))


# Lengths.


def test_ppo_and_sampling_whose_lengths_go_beyond_the_positions_are_refused_before_a_run_is_made(ws: Workspace) -> None:
    loop(ws)
    before = len(stored.read(ws, runs.list_all))
    for config in (PPOConfig(max_new_tokens=600), SampleConfig(max_new_tokens=600)):
        with pytest.raises(BaseModelError, match="With max_new_tokens = 600, .* 512 positions. Lower max_new_tokens"):
            runs.create(ws, config)
    assert len(stored.read(ws, runs.list_all)) == before


def test_a_limit_of_prompts_beyond_the_positions_is_no_fault_where_the_prompts_are_short(ws: Workspace) -> None:
    loop(ws)
    assert runs.create(ws, PPOConfig(max_prompt_length=500)).state == "queued"
