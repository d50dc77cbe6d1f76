"""The moving average of the policy: what it is, who is measured, and that it leaves the policy alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import END, Memory, prompt, same, tensors_of, trainer

from modules import ppo
from modules.data.datamodules import PPODataModule
from modules.model.backbone import Backbone
from modules.ppo import PPOModule


def fitted(four_roles: Callable[..., Backbone], decay: float, **options: Any) -> tuple[PPOModule, Memory]:
    backbone = four_roles(**options)
    backbone.chat.stop_ids = frozenset({END, *range(12, 96, 12)})
    data = PPODataModule(
        [prompt(i) for i in range(7)], [prompt(i) for i in range(20, 24)], backbone.chat, batch_size=4, iterations=3
    )
    module = PPOModule(
        backbone, max_new_tokens=6, minibatch_size=4, epochs=2, value_warmup=1, learning_rate=1e-3, ema_decay=decay
    )
    memory = Memory()
    trainer(memory, val_check_interval=1).fit(module, datamodule=data)
    return module, memory


@pytest.mark.parametrize("options", [{}, {"method": "full", "precision": "bf16"}])
def test_it_is_the_weighted_mean_of_the_policies_after_each_step(
    four_roles: Callable[..., Backbone], monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    """Steps of the value function's warm-up are none of the policy's."""
    policies = []
    real = ppo.take_step

    def spy(module: PPOModule) -> None:
        policies.append(tensors_of(module.backbone, "policy"))
        real(module)

    monkeypatch.setattr(ppo, "take_step", spy)
    module, _ = fitted(four_roles, 0.75, **options)
    policies.append(tensors_of(module.backbone, "policy"))
    policies = policies[2:]  # the start, and one after each of four steps
    assert len(policies) == 5
    weights = [0.75**4, *(0.25 * 0.75 ** (3 - i) for i in range(4))]
    average = tensors_of(module.backbone, "ema")
    for name, tensor in average.items():
        assert tensor.dtype == torch.float32
        expected = sum(w * p[name] for w, p in zip(weights, policies, strict=True))
        assert isinstance(expected, torch.Tensor)
        assert torch.allclose(tensor, expected, atol=1e-6), name
    assert not same(average, policies[-1])


def test_the_policy_trains_as_without_it_and_the_average_is_what_is_measured(
    four_roles: Callable[..., Backbone],
) -> None:
    (plain, without), (module, log) = fitted(four_roles, 0.0), fitted(four_roles, 0.99)
    assert same(tensors_of(module.backbone, "policy"), tensors_of(plain.backbone, "policy"))
    assert log.of("objective/kl") == without.of("objective/kl")
    assert 0 < abs(log.of("eval/kl")[3]) < abs(without.of("eval/kl")[3]), "it has moved less"
    assert (plain.judged_role, module.judged_role) == ("policy", "ema")
    assert not any(p.requires_grad for p in module.backbone.role_parameters("ema").values())
