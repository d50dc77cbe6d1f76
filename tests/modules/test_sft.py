import logging
import math
from collections.abc import Callable
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from conftest import Memory, conversation, same, scramble, tensors_of, trainer
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

from modules.data.datamodules import SFTDataModule
from modules.errors import NonFiniteError
from modules.metrics import METRICS
from modules.model.backbone import Backbone
from modules.model.packing import negative_logprobs
from modules.optimisation import schedule
from modules.sft import SFTModule

Load = Callable[..., Backbone]
ROWS = [conversation(i, prompt_words=1 + i % 5, response_words=1 + (i * 7) % 13) for i in range(24)]


def build(load: Load, **options: Any) -> tuple[SFTModule, SFTDataModule]:
    kinds = {name: options.pop(name) for name in ("method", "quantisation", "lora_dropout") if name in options}
    backbone = load(**kinds)
    backbone.add_role("policy", trainable=True)
    scramble(backbone, "policy")
    data = SFTDataModule(ROWS[:16], ROWS[16:], backbone.chat, batch_size=8, epochs=options.pop("epochs", 2))
    return SFTModule(backbone, num_steps=data.num_steps, **options), data


@pytest.mark.parametrize("method", ["lora", "full"])
def test_item_21_the_gradient_is_the_same_for_every_micro_batch_size(load: Load, gradients: Any, method: str) -> None:
    found = []
    for size in (1, 2, 4, 8):
        module, data = build(load, micro_batch_size=size, method=method)
        found.append(gradients(module, next(iter(data.train_dataloader()))))
    assert any(g.abs().max() > 1e-4 for g in found[0])
    for other in found[1:]:
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found[0], other, strict=True))


def test_the_loss_is_transformers_own_loss_on_assistant_tokens(load: Load, alone: Any, tiny: Any) -> None:
    backbone = load()
    backbone.add_role("policy", trainable=True)
    data = SFTDataModule(ROWS, [], backbone.chat, batch_size=8)
    batch = next(iter(data.train_dataloader()))
    module = SFTModule(backbone, num_steps=10, micro_batch_size=3)
    log = alone(module)
    module.training_step(batch, 0)
    labels = batch.ids.masked_fill(~batch.mask, -100)
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(tiny)(input_ids=batch.ids, labels=labels).loss
    assert float(log["train/loss"]) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("options", [{}, {"method": "full"}, {"quantisation": "nf4"}])
def test_a_plain_trainer_fits_it_and_the_loss_falls(load: Load, options: dict[str, str]) -> None:
    rate = 3e-3 if options.get("method") == "full" else 2e-2
    module, data = build(load, learning_rate=rate, epochs=5, **options)
    memory = Memory()
    lightning = trainer(memory, val_check_interval=5)
    lightning.validate(module, datamodule=data, verbose=False)
    lightning.fit(module, datamodule=data)
    assert module.step_index == data.num_steps == 10
    assert lightning.global_step == 10
    loss = memory.of("train/loss")
    assert list(loss) == list(range(1, 11))
    assert loss[10] < 0.8 * loss[1]
    evaluated = memory.of("eval/loss")
    assert list(evaluated) == [0, 5, 10]
    assert evaluated[10] < evaluated[0]
    assert memory.of("eval/perplexity")[10] == pytest.approx(math.exp(evaluated[10]), rel=1e-4)
    assert module.evaluated_at == 10
    logged = {name for _, metrics in memory.rows for name in metrics if name != "epoch"}
    assert logged <= METRICS.keys()


def test_item_23_a_huge_gradient_is_clipped_and_logged_as_it_was(
    load: Load, alone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, data = build(load, max_grad_norm=0.001)
    log = alone(module)
    norms = []

    def spy(module: Any) -> None:
        norms.append(float(torch.stack([p.grad.norm() for p in module.parameters_trained]).norm()))

    monkeypatch.setattr("modules.sft.take_step", spy)
    module.training_step(next(iter(data.train_dataloader())), 0)
    assert norms[0] <= 0.001 * 1.0001
    assert log["train/grad_norm"] > 0.01


def test_item_40_a_step_that_is_not_finite_is_not_taken(load: Load, alone: Any) -> None:
    module, data = build(load)
    alone(module)
    batch = next(iter(data.train_dataloader()))
    module.training_step(batch, 0)
    with torch.no_grad():
        next(iter(module.backbone.role_parameters("policy").values()))[0, 0] = float("inf")
    before = tensors_of(module.backbone, "policy")
    with pytest.raises(NonFiniteError, match="The step was not taken"):
        module.training_step(batch, 0)
    assert same(tensors_of(module.backbone, "policy"), before)
    assert module.step_index == 1
    assert all(p.grad is None for p in module.parameters_trained)


def test_dropout_of_the_adapters_is_on_in_training_and_off_in_validation(load: Load, alone: Any) -> None:
    module, data = build(load, lora_dropout=0.5)
    log = alone(module)
    (held_out,) = data.val_dataloader()
    losses = []
    for _ in range(2):
        module.eval()
        module.on_validation_epoch_start()
        module.validation_step(held_out, 0)
        module.on_validation_epoch_end()
        losses.append(log["eval/loss"])
    assert losses[0] == losses[1]
    module.train()
    batch = next(iter(data.train_dataloader()))
    module.learning_rate = 0.0
    module.training_step(batch, 0)
    first = float(log["train/loss"])
    module.training_step(batch, 0)
    assert float(log["train/loss"]) != first


def test_the_learning_rate_rises_and_falls_along_a_cosine_and_is_never_0() -> None:
    rates = [schedule(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 11)
    assert max(rates) == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert min(rates) > 0
    assert schedule(0, 1, 0.05) > 0


def test_the_same_held_out_prompts_are_answered_at_each_validation_by_the_same_random_numbers(load: Load) -> None:
    backbone = load()
    backbone.add_role("policy", trainable=True)
    data = SFTDataModule(ROWS[:16], ROWS[16:], backbone.chat, batch_size=8, epochs=10)
    prompts = data.sample_prompts(3)
    assert prompts == [backbone.chat.encode_prompt(row["messages"][:1]).ids for row in ROWS[16:19]]
    module = SFTModule(backbone, num_steps=data.num_steps, learning_rate=2e-2, sample_prompts=prompts)
    state = torch.get_rng_state()
    lightning = trainer(Memory())
    lightning.validate(module, datamodule=data, verbose=False)
    first = module.latest_eval_samples
    lightning.validate(module, datamodule=data, verbose=False)
    assert module.latest_eval_samples == first
    assert torch.equal(torch.get_rng_state(), state)
    assert [sample.prompt for sample in first] == [backbone.chat.decode_prompt(ids) for ids in prompts]
    lightning.fit(module, datamodule=data)
    lightning.validate(module, datamodule=data, verbose=False)
    assert module.latest_eval_samples != first
    assert backbone.role_parameters("policy")


def test_the_loss_never_holds_the_logits_of_all_tokens(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither forward nor backward: the largest tensor with the vocabulary as its width is one chunk."""
    monkeypatch.setattr("modules.losses.CHUNK_ELEMENTS", 16 * 96)
    backbone = load()
    backbone.add_role("policy", trainable=True)
    data = SFTDataModule(ROWS, [], backbone.chat, batch_size=24)
    batch = next(iter(data.train_dataloader()))
    assert int(batch.mask.sum()) > 100
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            is_weight = func is torch.ops.aten.t.default  # the output layer's, turned
            if isinstance(out, torch.Tensor) and out.shape[-1:] == (96,) and not is_weight:
                largest = max(largest, out.numel() // 96)
            return out

    with Watch(), backbone.role("policy"):
        negative_logprobs(backbone, batch).sum().backward()
    assert largest == 16


def test_lightning_says_what_it_found_and_advertises_nothing():
    logger = logging.getLogger("lightning.pytorch")
    said: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(listener)
    L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    logger.removeHandler(listener)
    assert any(text.startswith("GPU available") for text in said)
    assert not any("Tip:" in text or "TPU" in text for text in said)
