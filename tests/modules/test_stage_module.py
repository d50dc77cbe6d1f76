"""Where the model of a trainer is: on the device it was loaded to, before, between and after fits and measurements.

There is no GPU here. Lightning's moves are made visible by sending them to ``meta``, which holds no numbers, and ``cuda`` is
one of torch's fake tensors.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from modules.data.datamodules import PPODataModule, RewardDataModule, SFTDataModule
from modules.model.backbone import Backbone
from modules.ppo import PPOModule
from modules.reward import RewardModule
from modules.sft import SFTModule
from modules.stage_module import StageModule

from conftest import Memory, comparison, conversation, prompt, trainer  # isort: skip

Load = Callable[..., Backbone]


def sft(load: Load) -> tuple[Any, Any]:
    backbone = load()
    backbone.add_role("policy", trainable=True)
    rows = [conversation(i) for i in range(6)]
    data = SFTDataModule(rows, rows[:2], backbone.chat, batch_size=2)
    prompts = data.sample_prompts(1)
    return SFTModule(backbone, num_steps=data.num_steps, sample_prompts=prompts), data


def reward(load: Load) -> tuple[Any, Any]:
    backbone = load()
    backbone.add_role("reward", trainable=True, head=True)
    held_out = [comparison(i) for i in range(20, 24)]
    data = RewardDataModule([comparison(i) for i in range(8)], held_out, backbone.chat, batch_size=4)
    return RewardModule(backbone, num_steps=data.num_steps, keep_best=True), data


def ppo(load: Load) -> tuple[Any, Any]:
    backbone = load()
    backbone.add_role("reference")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    backbone.add_role("reward", head=True)
    backbone.add_role("value", copy_of="reward", trainable=True, head=True)
    demonstrations = [conversation(i) for i in range(40, 43)]
    data = PPODataModule(
        [prompt(i) for i in range(4)],
        [prompt(i) for i in range(20, 22)],
        backbone.chat,
        demonstrations=demonstrations,
        validation_demonstrations=demonstrations,
        ptx_per_iteration=2,
        batch_size=4,
        iterations=2,
    )
    module = PPOModule(
        backbone, max_new_tokens=4, value_warmup=0, epochs=1, ptx_coef=0.5, ema_decay=0.5, score_scale="running"
    )
    return module, data


STAGES = pytest.mark.parametrize("make", [sft, reward, ppo])


@pytest.fixture
def abroad(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """From its call on, every move of a whole module goes to ``meta``; gives the list of moves. The data moves as ever."""

    def apply() -> list[str]:
        moves: list[str] = []

        def go(module: nn.Module, name: str) -> nn.Module:
            moves.append(name)
            return module._apply(lambda tensor: tensor.to("meta"))

        monkeypatch.setattr(nn.Module, "cpu", lambda module: go(module, "cpu"))
        monkeypatch.setattr(nn.Module, "to", lambda module, *to, **more: go(module, f"to {to}"))
        return moves

    return apply


def steps_on(module: StageModule) -> set[str]:
    """The devices of all weights and of all of Adam's moments."""
    moments = [v for state in module.optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
    return {tensor.device.type for tensor in [*module.backbone.parameters(), *module.parameters(), *moments]}


@STAGES
def test_the_model_stays_where_it_is_when_a_fit_or_a_measurement_begins_or_ends(
    load: Load, abroad: Callable[[], list[str]], make: Any
) -> None:
    module, data = make(load)
    before = {name: tensor.data_ptr() for name, tensor in module.named_parameters()}
    moves = abroad()
    plain = trainer(Memory())
    plain.validate(module, datamodule=data, verbose=False)
    plain.fit(module, datamodule=data)
    plain.validate(module, datamodule=data, verbose=False)
    if isinstance(module, RewardModule):
        module.finish(data.reference_answers())
    assert moves == []
    assert steps_on(module) == {"cpu"}
    assert {name: tensor.data_ptr() for name, tensor in module.named_parameters()} == before


def test_the_lines_of_a_notebook_leave_the_model_usable_where_it_is(
    load: Load, abroad: Callable[[], list[str]]
) -> None:
    backbone = load()
    backbone.add_role("policy", trainable=True)
    data = SFTDataModule([conversation(1)], [conversation(2)], backbone.chat, batch_size=1, epochs=2)
    module = SFTModule(backbone, num_steps=data.num_steps)
    moves = abroad()
    for _ in range(2):  # going on after a fit, too
        trainer(Memory()).fit(module, datamodule=data)
    assert moves == []
    with torch.no_grad(), backbone.role("policy"):
        assert torch.isfinite(backbone.logits(backbone.hidden(torch.tensor([[5, 6, 7]])))).all()


@STAGES
def test_the_strategy_has_no_moments_to_move_to_the_cpu_when_a_fit_ends(
    load: Load, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    module, data = make(load)
    moves: list[tuple[int, str]] = []
    monkeypatch.setattr(
        "lightning.pytorch.strategies.strategy._optimizers_to_device",
        lambda optimizers, device: moves.append((len(optimizers), str(device))),
    )
    plain = trainer(Memory())
    plain.fit(module, datamodule=data)
    plain.validate(module, datamodule=data, verbose=False)
    assert moves == [(1, "cpu"), (0, "cpu"), (0, "cpu")], "begin, end; measured"


def test_restored_moments_are_beside_their_weights_when_a_fit_begins(load: Load) -> None:
    module, _ = sft(load)
    with FakeTensorMode():
        weight = nn.Parameter(torch.empty(2, 2, device="cuda:0"))
        module.optimizer = torch.optim.Adam([weight])
        module.optimizer.state[weight] = {"step": torch.empty(()), "exp_avg": torch.empty(2, 2)}
        module.on_fit_start()
        found = module.optimizer.state[weight]
        assert found["exp_avg"].device == torch.device("cuda:0")
        assert found["step"].device == torch.device("cpu"), "this is where plain Adam wants it"


def test_cuda_weights_stay_on_cuda_whatever_lightning_asks_for(load: Load) -> None:
    module, _ = sft(load)
    with FakeTensorMode(allow_non_fake_inputs=True):
        module.fake = nn.ParameterDict({"weight": nn.Parameter(torch.empty(2, 2, device="cuda:0"))})
        module.cpu()
        module.to("cpu")
        module.to(torch.device("cpu"))
        assert {p.device for p in module.fake.parameters()} == {torch.device("cuda:0")}
    del module.fake
    module.to(torch.bfloat16)
    assert {p.dtype for p in module.parameters()} == {torch.bfloat16}, "a number format is no device"


def test_the_device_of_a_module_is_that_of_its_model(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _ = sft(load)
    monkeypatch.setattr(module.backbone, "device", torch.device("cuda", 1))
    assert module.device == torch.device("cuda", 1)


@STAGES
def test_a_trainer_that_chose_another_device_says_so_and_the_model_is_trained_where_it_is(
    load: Load, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    module, data = make(load)
    before = [parameter.clone() for parameter in module.optimizer.param_groups[0]["params"]]
    plain = trainer(Memory())
    monkeypatch.setattr(plain.strategy, "_root_device", torch.device("meta"))
    monkeypatch.setattr(plain.strategy, "setup_environment", lambda: None)
    for loop in ("fit_loop", "evaluation_loop"):  # they count rows in a tensor on the trainer's device
        monkeypatch.setattr(f"lightning.pytorch.loops.{loop}.has_len_all_ranks", lambda *_, **__: True)
    with pytest.warns(UserWarning, match="chose meta, but the model was loaded to cpu and stays there"):
        plain.fit(module, datamodule=data)
    after = module.optimizer.param_groups[0]["params"]
    assert not all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert steps_on(module) == {"cpu"}


def test_a_batch_of_ppo_comes_to_the_model_whatever_the_trainer_chose(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, data = ppo(load)
    trainer(Memory()).fit(module, datamodule=data)
    batch = next(iter(data.train_dataloader()))
    monkeypatch.setattr(module.backbone, "device", torch.device("meta"))
    moved = module.trainer.strategy.batch_to_device(batch)
    assert moved.prompts == batch.prompts
    assert moved.demonstrations.ids.device.type == "meta"
