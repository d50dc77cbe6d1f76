import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Memory, comparison, conversation, same, scramble, tensors_of, trainer

from modules.data.datamodules import RewardDataModule
from modules.intervals import wilson_interval
from modules.metrics import sentence
from modules.model import checkpoint
from modules.model.backbone import Backbone
from modules.reward import RewardModule

Load = Callable[..., Backbone]


def build(load: Load, rows: list[dict[str, Any]], held_out: list[dict[str, Any]] | None = None, **options: Any) -> Any:
    backbone = load(method=options.pop("method", "lora"))
    names = ("batch_size", "epochs", "weighting", "ensemble", "demonstrations")
    settings: dict[str, Any] = {"batch_size": 8} | {name: options.pop(name) for name in names if name in options}
    backbone.add_role("reward", trainable=True, head=True, members=settings.get("ensemble", 1))
    scramble(backbone, "reward")
    data = RewardDataModule(rows, held_out or [], backbone.chat, **settings)
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
    real = module.backbone.member_scores
    monkeypatch.setattr(
        module.backbone, "member_scores", lambda ids, lengths: rows.append(len(ids)) or real(ids, lengths)
    )
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
    assert [name for name in logged - {"step"} if not sentence(name)] == []


def scores_of(backbone: Backbone, row: dict[str, Any], responses: list[str]) -> list[list[float]]:
    """Each member's score of each response, one forward a response."""
    found = []
    for text in responses:
        ids = backbone.chat.encode_prompt(row["messages"]).ids + backbone.chat.encode_response(text)
        with torch.no_grad(), backbone.role("reward"):
            found.append(backbone.member_scores(torch.tensor([ids]), torch.tensor([len(ids)]))[0].tolist())
    return found


def log1p_exp(x: float) -> float:
    return math.log(1 + math.exp(x))


RANKINGS = [
    comparison(70) | {"responses": ["w1", "w2 w3", "w4", "w5 w6 w7"], "ranks": [3, 1, 2, 4]},
    comparison(71) | {"responses": ["w8 w9", "w10"], "ranks": [1, 2]},
    comparison(72) | {"responses": ["w11", "w12 w13", "w14"], "ranks": [1, 1, 2]},
]


@pytest.mark.parametrize("micro_batch_size", [1, 2, 16])
def test_item_32_the_loss_is_a_mean_over_prompts_of_means_over_their_pairs(
    load: Load, alone: Any, micro_batch_size: int
) -> None:
    module, data = build(load, RANKINGS, weighting="prompt", micro_batch_size=micro_batch_size)
    log = alone(module)
    means = []
    for row in RANKINGS:
        scores, ranks = [member[0] for member in scores_of(module.backbone, row, row["responses"])], row["ranks"]
        losses = []
        for i, j in itertools.combinations(range(len(ranks)), 2):
            d = (scores[i] - scores[j]) * (1 if ranks[i] < ranks[j] else -1)
            is_tie = ranks[i] == ranks[j]
            losses.append((log1p_exp(-d) + log1p_exp(d)) / 2 if is_tie else log1p_exp(-d))
        means.append(sum(losses) / len(losses))
    (batch,) = data.train_dataloader()
    module.training_step(batch, 0)
    assert float(log["train/loss"]) == pytest.approx(sum(means) / 3, abs=1e-5)


def test_item_32_two_ranked_responses_are_one_comparison(load: Load, gradients: Any) -> None:
    row = RANKINGS[1]
    pair = comparison(71, chosen=row["responses"][0], rejected=row["responses"][1])
    found = []
    for rows, weighting in (([row], "prompt"), ([pair], "pair")):
        module, data = build(load, rows, weighting=weighting)
        (batch,) = data.train_dataloader()
        found.append(gradients(module, batch))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True) if a is not None)


def test_item_32_prompts_stay_whole_in_micro_batches_so_each_response_is_scored_once(
    load: Load, alone: Any, monkeypatch: Any
) -> None:
    rows = [comparison(80 + i) | {"responses": [f"w{k}" for k in range(5)], "ranks": [1, 2, 3, 4, 5]} for i in range(6)]
    module, data = build(load, rows, weighting="prompt", micro_batch_size=6)
    alone(module)
    counts = []
    real = module.backbone.member_scores
    monkeypatch.setattr(
        module.backbone, "member_scores", lambda ids, lengths: counts.append(len(ids)) or real(ids, lengths)
    )
    (batch,) = data.train_dataloader()
    module.training_step(batch, 0)
    assert counts == [10, 10, 10], "6 prompts of 5 responses, 12 responses at a time"


def test_members_of_an_ensemble_learn_each_from_its_own_draw(load: Load, alone: Any) -> None:
    rows = [comparison(i) for i in range(6)]
    module, data = build(load, rows, ensemble=3)
    log = alone(module)
    (indices,), (batch,) = data.plan, data.train_dataloader()
    assert len(data.bootstrap.unique()) > 1
    total = 0.0
    for i in indices:
        chosen, rejected = scores_of(module.backbone, rows[i], [rows[i]["chosen"], rows[i]["rejected"]])
        for member in range(3):
            total += float(data.bootstrap[i, member]) * log1p_exp(rejected[member] - chosen[member])
    module.training_step(batch, 0)
    assert float(log["train/loss"]) == pytest.approx(total / 3 / 6, abs=1e-5)


def test_after_the_fit_demonstrations_score_0_on_average_for_each_member_and_it_is_saved(
    load: Load, tmp_path: Path
) -> None:
    demonstrations = [conversation(i, response_words=1 + i % 5) for i in range(30)]
    rows, held_out = [comparison(i) for i in range(8)], [comparison(i) for i in range(20, 28)]
    module, data = build(load, rows, held_out, ensemble=3, demonstrations=demonstrations)
    lightning = trainer(Memory())
    before = lightning.validate(module, datamodule=data, verbose=False)[0]
    found = module.finish(data.reference_answers())
    after = lightning.validate(module, datamodule=data, verbose=False)[0]
    assert abs(found["eval/center"]) > 0.01
    assert after["eval/loss"] == pytest.approx(before["eval/loss"], abs=1e-5), "comparisons do not see the shift"
    module.backbone.save_role("reward", tmp_path)
    module.backbone.add_role("again", source=tmp_path, head=True)
    answers = [(row["messages"][:1], row["messages"][1]["content"]) for row in demonstrations]
    for role in ("reward", "again"):
        means = []
        for messages, text in answers:
            ids = module.backbone.chat.encode_prompt(messages).ids + module.backbone.chat.encode_response(text)
            with torch.no_grad(), module.backbone.role(role):
                means.append(module.backbone.member_scores(torch.tensor([ids]), torch.tensor([len(ids)]))[0])
        assert torch.stack(means).mean(0).tolist() == pytest.approx([0.0] * 3, abs=1e-5)


def test_the_weights_of_the_lowest_held_out_loss_are_kept_also_over_a_resume(load: Load, tmp_path: Path) -> None:
    """Training and held-out comparisons contradict each other, so the first measurement is the best one."""
    rows = [comparison(i, chosen=f"w{i} w77", rejected=f"w{i} w33") for i in range(32)]
    held_out = [comparison(i, chosen=f"w{i} w33", rejected=f"w{i} w77") for i in range(40, 52)]
    module, data = build(load, rows, held_out, epochs=2, learning_rate=2e-2, keep_best=True)
    memory = Memory()
    lightning = trainer(memory, val_check_interval=2)
    lightning.validate(module, datamodule=data, verbose=False)
    first = tensors_of(module.backbone, "reward")
    lightning.fit(module, datamodule=data)
    last = tensors_of(module.backbone, "reward")
    checkpoint.save(tmp_path, module, stage="reward", config={})
    losses = memory.of("eval/loss")
    assert min(losses, key=lambda step: losses[step]) == 0
    found = module.finish(data.reference_answers())
    assert found["eval/kept_step"] == 0
    assert found["eval/loss"] == losses[0]
    kept = tensors_of(module.backbone, "reward")
    assert same(
        {k: v for k, v in kept.items() if k != "head.bias"}, {k: v for k, v in first.items() if k != "head.bias"}
    )
    again, _ = build(load, rows, held_out, epochs=2, learning_rate=2e-2, keep_best=True)
    checkpoint.restore(again, tmp_path)
    assert same(tensors_of(again.backbone, "reward"), last)
    assert again.finish(data.reference_answers())["eval/loss"] == losses[0]
    assert same(tensors_of(again.backbone, "reward"), kept)


def test_a_run_that_was_stopped_and_centred_goes_on_as_if_it_had_not(load: Load, tmp_path: Path) -> None:
    rows, held_out = [comparison(i) for i in range(32)], [comparison(40)]
    whole, data = build(load, rows, held_out, learning_rate=1e-2)
    trainer(Memory()).fit(whole, datamodule=data)
    half, data = build(load, rows, held_out, learning_rate=1e-2)
    trainer(Memory(), limit_train_batches=2).fit(half, datamodule=data)
    half.finish(data.reference_answers())
    checkpoint.save(tmp_path, half, stage="reward", config={})
    again, data = build(load, rows, held_out, learning_rate=1e-2)
    checkpoint.restore(again, tmp_path)
    data.start_step = again.step_index
    trainer(Memory()).fit(again, datamodule=data)
    assert same(tensors_of(again.backbone, "reward"), tensors_of(whole.backbone, "reward"))


def test_weight_decay_pulls_each_weight_towards_0_beside_the_step(load: Load, alone: Any) -> None:
    found = []
    for weight_decay in (0.0, 0.5):
        module, data = build(load, MIXED, learning_rate=1e-2, weight_decay=weight_decay, warmup_fraction=0.0)
        start = [p.detach().clone() for p in module.parameters_trained]
        alone(module)
        (batch,) = data.train_dataloader()
        module.training_step(batch, 0)
        found.append([p.detach().clone() for p in module.parameters_trained])
    for before, plain, decayed in zip(start, *found, strict=True):
        assert torch.allclose(decayed, plain - 1e-2 * 0.5 * before, atol=1e-6)


def test_label_smoothing_trains_on_labels_of_a_rater_who_errs(load: Load, gradients: Any) -> None:
    """The same gradient as soft labels given by hand; a tie stays a tie."""
    smoothed, data = build(load, [comparison(1), comparison(2, target_p=0.5)], label_smoothing=0.1)
    (batch,) = data.train_dataloader()
    by_hand, data = build(load, [comparison(1, target_p=0.9), comparison(2, target_p=0.5)])
    (soft,) = data.train_dataloader()
    for a, b in zip(gradients(smoothed, batch), gradients(by_hand, soft), strict=True):
        assert torch.allclose(a, b, atol=1e-7)
