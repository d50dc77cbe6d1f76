"""DPO: its loss is the closed form, only the policy learns, and a run that goes on equals one that was left alone."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Memory, comparison, same, scramble, tensors_of, trainer

from modules.data.datamodules import RewardDataModule
from modules.dpo import DPOModule
from modules.metrics import sentence
from modules.model import checkpoint
from modules.model.backbone import Backbone

Load = Callable[..., Backbone]
MIXED = [
    *(comparison(i, target_p=0.5 if i == 2 else 1.0, margin=0.5 * (i % 2), weight=1.0 + i % 3) for i in range(5)),
    *(comparison(50, chosen=a, rejected=b, weight=1 / 3) for a, b in (("w1", "w2"), ("w1", "w3 w4"), ("w2", "w3 w4"))),
]


def build(load: Load, rows: Any, held_out: Any = (), *, epochs: int = 1, moved: bool = True, **options: Any) -> Any:
    backbone = load(method=options.pop("method", "lora"), lora_dropout=options.pop("lora_dropout", 0.0))
    backbone.add_role("reference")
    scramble(backbone, "reference")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    if moved:
        scramble(backbone, "policy", seed=1, scale=0.02)
    data = RewardDataModule(rows, held_out, backbone.chat, batch_size=8, epochs=epochs)
    return DPOModule(backbone, num_steps=data.num_steps, **options), data


def logprob(backbone: Backbone, role: str, row: dict[str, Any], side: str) -> float:
    """The sum over a response's tokens, one full softmax at a time."""
    prompt, response = backbone.chat.encode_prompt(row["messages"]).ids, backbone.chat.encode_response(row[side])
    ids = torch.tensor([prompt + response])
    with torch.no_grad(), backbone.role(role):
        logits = backbone.logits(backbone.hidden(ids))[0].double()
    places = range(len(prompt), ids.shape[1])
    return sum(float(logits[place - 1].log_softmax(-1)[ids[0, place]]) for place in places)


def ratio(backbone: Backbone, row: dict[str, Any], side: str) -> float:
    return logprob(backbone, "policy", row, side) - logprob(backbone, "reference", row, side)


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_closed_form_over_an_explicit_loop_of_pairs(load: Load, alone: Any, smoothing: float) -> None:
    module, data = build(load, MIXED, beta=0.7, label_smoothing=smoothing)
    log, backbone = alone(module), module.backbone
    total, margins, per_token = 0.0, [], []
    for row in MIXED:
        chosen, rejected = ratio(backbone, row, "chosen"), ratio(backbone, row, "rejected")
        margin = 0.7 * (chosen - rejected)
        p = row["target_p"] * (1 - smoothing) + (1 - row["target_p"]) * smoothing
        d = margin - row["margin"] * (2 * p - 1)
        total += row["weight"] * (p * softplus(-d) + (1 - p) * softplus(d))
        margins.append(margin)
        sizes = [len(backbone.chat.encode_response(row[side])) for side in ("chosen", "rejected")]
        per_token.append(0.7 * (chosen / sizes[0] - rejected / sizes[1]))
    (batch,) = data.train_dataloader()
    module.training_step(batch, 0)
    assert float(log["train/loss"]) == pytest.approx(total / sum(row["weight"] for row in MIXED), abs=1e-5)
    assert log["train/margin"] == pytest.approx(sum(margins) / len(margins), abs=1e-5)
    assert log["train/margin_per_token"] == pytest.approx(sum(per_token) / len(per_token), abs=1e-5)
    assert log["train/chosen_reward"] - log["train/rejected_reward"] == pytest.approx(log["train/margin"], abs=1e-6)


def test_on_hand_values_the_loss_is_that_of_the_paper(load: Load, alone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log-ratios of 2 and -1 at beta 0.1: -log sigmoid(0.3) = 0.5544."""
    module, data = build(load, [comparison(3)], beta=0.1)
    log = alone(module)
    (batch,) = data.train_dataloader()
    both = {"policy": [-3.0, -6.0], "reference": [-5.0, -5.0]}

    def given(backbone: Backbone, sequences: Any) -> torch.Tensor:
        values = both.pop("policy") if "reference" not in both else both.pop("reference")
        ends = [int(batch.chosen), int(batch.rejected)]
        return torch.tensor([values[ends.index(row)] for row in sorted(ends)], requires_grad=True)

    monkeypatch.setattr("modules.dpo.response_logprobs", given)
    monkeypatch.setattr("modules.dpo.clip_gradients", lambda *args: 0.0)
    module.training_step(batch, 0)
    assert float(log["train/loss"]) == pytest.approx(0.5543552444685272)
    assert log["train/chosen_reward"] == pytest.approx(0.2)
    assert log["train/rejected_reward"] == pytest.approx(-0.1)


def test_at_the_start_the_loss_is_the_log_of_2_and_dropout_moves_nothing(load: Load, alone: Any) -> None:
    module, data = build(load, MIXED[:1], moved=False, lora_dropout=0.5)
    log = alone(module)
    (batch,) = data.train_dataloader()
    module.training_step(batch, 0)
    assert float(log["train/loss"]) == pytest.approx(math.log(2), abs=1e-6)
    assert log["train/margin"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_gradient_is_the_same_for_every_micro_batch_size(load: Load, gradients: Any, method: str) -> None:
    found = []
    for size in (1, 2, 8):
        module, data = build(load, MIXED, micro_batch_size=size, method=method)
        (batch,) = data.train_dataloader()
        found.append(gradients(module, batch))
    for other in found[1:]:
        pairs = [(a, b) for a, b in zip(found[0], other, strict=True) if a is not None]
        assert any(a.abs().max() > 1e-3 for a, _ in pairs)
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)


def test_it_learns_held_out_preferences_and_the_reference_stays(load: Load) -> None:
    """The preferred responses are of some words, the others of other ones."""
    rows = [comparison(i, chosen=f"w{i % 9} w{i % 7}", rejected=f"w{40 + i % 9} w{40 + i % 7}") for i in range(64)]
    module, data = build(load, rows[:48], rows[48:], epochs=3, moved=False, learning_rate=5e-3, beta=0.5)
    before, policy = tensors_of(module.backbone, "reference"), tensors_of(module.backbone, "policy")
    memory = Memory()
    measured = trainer(memory, val_check_interval=6)
    measured.validate(module, datamodule=data, verbose=False)
    measured.fit(module, datamodule=data)
    accuracies, losses = (list(memory.of(name).values()) for name in ("eval/accuracy", "eval/loss"))
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert accuracies[-1] > 0.9
    assert losses[-1] < 0.4
    assert list(memory.of("eval/margin_per_token").values())[-1] > 0
    assert same(before, tensors_of(module.backbone, "reference"))
    assert not same(policy, tensors_of(module.backbone, "policy"))
    names = {name for _, metrics in memory.rows for name in metrics if "/" in name}
    assert all(sentence(name) for name in names)


def test_n_steps_then_a_new_process_and_the_rest_equal_a_run_left_alone_bit_for_bit(load: Load, tmp_path: Path) -> None:
    rows = [comparison(i) for i in range(32)]
    whole, data = build(load, rows, moved=False, learning_rate=1e-2)
    trainer(Memory(), limit_val_batches=0).fit(whole, datamodule=data)
    first, data = build(load, rows, moved=False, learning_rate=1e-2)
    trainer(Memory(), limit_val_batches=0, limit_train_batches=2).fit(first, datamodule=data)
    checkpoint.save(tmp_path, first, stage="dpo", config={})
    torch.manual_seed(99)
    second, data = build(load, rows, moved=False, learning_rate=1e-2)
    checkpoint.restore(second, tmp_path)
    data.start_step = second.step_index
    trainer(Memory(), limit_val_batches=0).fit(second, datamodule=data)
    assert (first.step_index, second.step_index, whole.step_index) == (2, 4, 4)
    assert same(tensors_of(second.backbone, "policy"), tensors_of(whole.backbone, "policy"))
    moments = [checkpoint._optimizer_tensors(module.optimizer) for module in (second, whole)]
    assert same(moments[0], moments[1])
