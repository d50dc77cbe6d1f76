import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import END, Memory, conversation, prompt, same, scramble, tensors_of, trainer, write_model
from safetensors.torch import load_file

from modules.data.datamodules import PPODataModule, SFTDataModule
from modules.errors import CheckpointError
from modules.model import checkpoint
from modules.model.backbone import Backbone
from modules.ppo import PPOModule
from modules.sft import SFTModule

Load = Callable[..., Backbone]


def sft_module(load: Load, **options: Any) -> tuple[SFTModule, SFTDataModule]:
    backbone = load(**options)
    backbone.add_role("policy", trainable=True)
    data = SFTDataModule([conversation(i) for i in range(16)], [], backbone.chat, batch_size=4, epochs=1)
    return SFTModule(backbone, num_steps=data.num_steps, learning_rate=1e-2), data


def ppo_module(four_roles: Load, iterations: int, **settings: Any) -> tuple[PPOModule, PPODataModule]:
    backbone = four_roles()
    backbone.chat.stop_ids = frozenset({END, *range(12, 96, 12)})
    data = PPODataModule([prompt(i) for i in range(7)], [], backbone.chat, batch_size=6, iterations=iterations, seed=3)
    module = PPOModule(
        backbone,
        seed=3,
        max_new_tokens=6,
        minibatch_size=3,
        value_warmup=1,
        epochs=2,
        kl_target=0.5,
        learning_rate=1e-3,
        **settings,
    )
    return module, data


def test_item_36_n_steps_then_a_new_process_and_n_more_equal_2n_bit_for_bit(four_roles: Load, tmp_path: Path) -> None:
    """Weights, moments, KL coefficient, score centre, prompts, random numbers and logged metrics."""
    whole, data = ppo_module(four_roles, 4)
    through = Memory()
    trainer(through, limit_val_batches=0).fit(whole, datamodule=data)

    first, data = ppo_module(four_roles, 2)
    before = Memory()
    trainer(before, limit_val_batches=0).fit(first, datamodule=data)
    checkpoint.save(tmp_path, first, stage="ppo", config={})
    del first
    torch.manual_seed(99)  # a new process knows nothing of the old one's random numbers
    second, data = ppo_module(four_roles, 4)
    checkpoint.restore(second, tmp_path)
    data.start_step = second.step_index
    after = Memory()
    trainer(after, limit_val_batches=0).fit(second, datamodule=data)

    assert second.step_index == whole.step_index == 4
    for role in ("policy", "value"):
        assert same(tensors_of(second.backbone, role), tensors_of(whole.backbone, role))
    moments = [checkpoint._optimizer_tensors(module.optimizer) for module in (second, whole)]
    assert same(moments[0], moments[1])
    assert second.state() == whole.state()
    assert whole.kl_controller.coef != 0.05
    named = {
        name for _, metrics in through.rows for name in metrics if not name.startswith("time/") and name != "epoch"
    }
    assert len(named) > 10
    for name in named:
        assert before.of(name) | after.of(name) == through.of(name), name


@pytest.mark.parametrize("options", [{"lora_dropout": 0.3}, {"method": "full"}, {"quantisation": "nf4"}])
def test_item_36_sft_resumes_bit_for_bit_dropout_included(load: Load, tmp_path: Path, options: dict[str, Any]) -> None:
    whole, data = sft_module(load, **options)
    torch.manual_seed(5)
    trainer(Memory(), limit_val_batches=0).fit(whole, datamodule=data)

    first, data = sft_module(load, **options)
    torch.manual_seed(5)
    trainer(Memory(), limit_val_batches=0, limit_train_batches=2).fit(first, datamodule=data)
    checkpoint.save(tmp_path, first, stage="sft", config={})
    second, data = sft_module(load, **options)
    checkpoint.restore(second, tmp_path)
    data.start_step = second.step_index
    assert data.start_step == 2
    trainer(Memory(), limit_val_batches=0).fit(second, datamodule=data)
    assert same(tensors_of(second.backbone, "policy"), tensors_of(whole.backbone, "policy"))


def test_item_36_all_random_number_generators_come_back(load: Load, tmp_path: Path) -> None:
    module, _ = sft_module(load)
    random.gauss(0, 1)
    np.random.normal()
    checkpoint.save(tmp_path, module, stage="sft", config={})

    def draw() -> tuple[Any, ...]:
        return random.random(), random.gauss(0, 1), np.random.normal(), np.random.rand(), torch.rand(1).item()

    expected = draw()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    assert draw() != expected
    checkpoint.restore(module, tmp_path)
    assert draw() == expected


def test_a_checkpoint_is_exactly_these_files_and_no_pickle(four_roles: Load, tmp_path: Path) -> None:
    module, _ = ppo_module(four_roles, 1)
    checkpoint.save(tmp_path, module, stage="ppo", config={"kl_coef": 0.1})
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {
        "meta.json",
        "state.json",
        "state.safetensors",
        "policy/adapter_config.json",
        "policy/adapter_model.safetensors",
        "value/adapter_config.json",
        "value/adapter_model.safetensors",
        "value/head.safetensors",
    }
    for path in tmp_path.rglob("*.json"):
        json.loads(path.read_text())
    meta = checkpoint.load_meta(tmp_path)
    assert (meta.stage, meta.step, meta.method, meta.chat_template) == ("ppo", 0, "lora", "own")
    assert meta.config == {"kl_coef": 0.1}
    assert meta.base_fingerprint == module.backbone.fingerprint


def test_with_an_average_the_policy_folder_holds_it_and_the_raw_policy_lies_beside_and_both_come_back(
    four_roles: Load, tmp_path: Path
) -> None:
    module, data = ppo_module(four_roles, 2, ema_decay=0.9)
    trainer(Memory(), limit_val_batches=0).fit(module, datamodule=data)
    raw, average = tensors_of(module.backbone, "policy"), tensors_of(module.backbone, "ema")
    assert not same(raw, average)
    meta = checkpoint.save(tmp_path, module, stage="ppo", config={})
    assert meta.roles == ("policy", "value", "raw_policy")
    weights = load_file(tmp_path / "policy" / "adapter_model.safetensors")
    assert same(weights, average), "what the next stage reads"
    again, _ = ppo_module(four_roles, 2, ema_decay=0.9)
    checkpoint.restore(again, tmp_path)
    assert same(tensors_of(again.backbone, "policy"), raw)
    assert same(tensors_of(again.backbone, "ema"), average)


def test_a_checkpoint_of_another_base_model_is_refused(load: Load, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    module, _ = sft_module(load)
    meta = checkpoint.save(tmp_path / "checkpoint", module, stage="sft", config={})
    checkpoint.check_base(meta, module.backbone, "sft-1")
    other = Backbone.load(str(write_model(tmp_path / "other", seed=8)), device="cpu")
    with pytest.raises(CheckpointError, match=r"sft-1 was trained on the base model .* this run uses"):
        checkpoint.check_base(meta, other, "sft-1")
    with pytest.raises(CheckpointError, match="set method to lora"):
        checkpoint.check_base(meta, load(method="full"), "sft-1")


def test_damaged_and_foreign_checkpoints_are_refused_with_a_next_step(load: Load, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no meta\.json"):
        checkpoint.load_meta(tmp_path)
    module, _ = sft_module(load)
    checkpoint.save(tmp_path, module, stage="sft", config={})
    (tmp_path / "policy" / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="incomplete"):
        checkpoint.restore(module, tmp_path)
    meta = json.loads((tmp_path / "meta.json").read_text())
    (tmp_path / "meta.json").write_text(json.dumps(meta | {"format_version": 99}))
    with pytest.raises(CheckpointError, match="update RLHF Studio"):
        checkpoint.load_meta(tmp_path)
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load_meta(tmp_path)


def test_a_scrambled_role_is_overwritten_by_restore(load: Load, tmp_path: Path) -> None:
    module, _ = sft_module(load)
    saved = tensors_of(module.backbone, "policy")
    checkpoint.save(tmp_path, module, stage="sft", config={})
    scramble(module.backbone, "policy")
    checkpoint.restore(module, tmp_path)
    assert same(tensors_of(module.backbone, "policy"), saved)
