import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Memory, comparison, scramble, trainer

from modules.agreement import agreement, calibration_error, wilson_interval
from modules.backbone import Backbone
from modules.data import RewardDataModule
from modules.metrics import METRICS
from modules.reward import RewardModule

Load = Callable[..., Backbone]


def build(load: Load, rows: list[dict[str, Any]], held_out: list[dict[str, Any]] | None = None, **options: Any) -> Any:
    backbone = load(method=options.pop("method", "lora"))
    backbone.add_role("reward", trainable=True, head=True)
    scramble(backbone, "reward")
    epochs = options.pop("epochs", 1)
    data = RewardDataModule(rows, held_out or [], backbone.chat, batch_size=8, epochs=epochs)
    return RewardModule(backbone, num_steps=data.num_steps, **options), data


RANKING = [
    comparison(50, chosen=a, rejected=b, weight=1 / 3) for a, b in (("w1", "w2"), ("w1", "w3 w4"), ("w2", "w3 w4"))
]
MIXED = [
    *(comparison(i, target_p=0.5 if i == 2 else 1.0, margin=0.5 * (i % 2), weight=1.0 + i % 3) for i in range(5)),
    *RANKING,
]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_item_21_the_gradient_is_the_same_for_every_micro_batch_size(load: Load, gradients: Any, method: str) -> None:
    found = []
    for size in (1, 2, 4, 8):
        module, data = build(load, MIXED, micro_batch_size=size, method=method)
        (batch,) = data.train_dataloader()
        found.append(gradients(module, batch))
    for other in found[1:]:
        pairs = [(a, b) for a, b in zip(found[0], other, strict=True) if a is not None]
        assert any(a.abs().max() > 1e-3 for a, _ in pairs)
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)


def test_the_loss_is_the_weighted_mean_of_an_explicit_loop_over_pairs(load: Load, alone: Any) -> None:
    module, data = build(load, MIXED)
    log = alone(module)
    backbone = module.backbone

    def score(row: dict[str, Any], side: str) -> float:
        ids = backbone.chat.encode_prompt(row["messages"]).ids + backbone.chat.encode_response(row[side])
        with torch.no_grad(), backbone.role("reward"):
            return backbone.scores(torch.tensor([ids]), torch.tensor([len(ids)])).item()

    total = 0.0
    for row in MIXED:
        d, p = score(row, "chosen") - score(row, "rejected"), row["target_p"]
        d -= row["margin"] * (1 if p == 1 else 0)
        total += row["weight"] * (p * math.log(1 + math.exp(-d)) + (1 - p) * math.log(1 + math.exp(d)))
    (batch,) = data.train_dataloader()
    module.training_step(batch, 0)
    assert float(log["train/loss"]) == pytest.approx(total / sum(row["weight"] for row in MIXED), abs=1e-5)


def test_one_forward_per_response_however_many_pairs_it_is_in(load: Load, alone: Any, monkeypatch: Any) -> None:
    module, data = build(load, RANKING)
    alone(module)
    rows = []
    real = module.backbone.scores
    monkeypatch.setattr(module.backbone, "scores", lambda ids, lengths: rows.append(len(ids)) or real(ids, lengths))
    (batch,) = data.train_dataloader()
    module.training_step(batch, 0)
    assert rows == [3], "K = 3 responses, not K (K - 1) = 6"


def test_a_plain_trainer_fits_it_and_it_learns_which_word_is_preferred(load: Load) -> None:
    rows = [comparison(i, chosen=f"w{i} w77", rejected=f"w{i} w33") for i in range(32)]
    held_out = [comparison(i, chosen=f"w{i} w77", rejected=f"w{i} w33") for i in range(40, 52)]
    held_out.append(comparison(60, target_p=0.5))
    module, data = build(load, rows, held_out, epochs=4, learning_rate=2e-2)
    memory = Memory()
    lightning = trainer(memory, val_check_interval=8)
    lightning.validate(module, datamodule=data, verbose=False)
    lightning.fit(module, datamodule=data)
    assert list(memory.of("eval/accuracy")) == [0, 8, 16]
    assert memory.of("eval/accuracy")[16] == 1.0
    assert memory.of("eval/num")[16] == 12.0, "a tie has no preferred response"
    assert memory.of("eval/accuracy_low")[16] == pytest.approx(wilson_interval(12, 12)[0], abs=1e-6)
    assert memory.of("train/loss")[16] < memory.of("train/loss")[1]
    logged = {name for _, metrics in memory.rows for name in metrics if name != "epoch"}
    assert logged <= METRICS.keys()


def test_item_34_equal_scores_count_half_and_ties_do_not_count() -> None:
    found = agreement(torch.tensor([1.0, 0.0, -1.0, 5.0, -2.0]), torch.tensor([1.0, 1.0, 1.0, 0.5, 0.0]))
    assert found.num == 4
    assert found.accuracy == pytest.approx(2.5 / 4)
    nothing = agreement(torch.tensor([1.0]), torch.tensor([0.5]))
    assert (nothing.num, nothing.accuracy, nothing.low, nothing.high) == (0, 0.0, 0.0, 1.0)


def test_the_wilson_interval_has_its_published_values() -> None:
    """81 of 263, from Newcombe 1998: 0.2553 to 0.3662; and 0 of 20: 0 to 0.1611."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_calibration_error_is_0_for_an_honest_model_and_large_for_a_boaster() -> None:
    confidence = torch.tensor([0.75] * 4)
    assert calibration_error(confidence, torch.tensor([1.0, 1.0, 1.0, 0.0])) == pytest.approx(0.0, abs=1e-6)
    assert calibration_error(torch.full((4,), 0.999), torch.tensor([1.0, 0.0, 1.0, 0.0])) == pytest.approx(
        0.499, abs=1e-3
    )
    two_bins = calibration_error(torch.tensor([0.55, 0.95]), torch.tensor([1.0, 0.0]))
    assert two_bins == pytest.approx((0.45 + 0.95) / 2, abs=1e-6)
