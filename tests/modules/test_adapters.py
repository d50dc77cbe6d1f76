"""Adapters in 16 bits: near the products in float32, and little kept for the backward pass; a switch of roles is one word."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import scramble
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from modules.model import adapters
from modules.model.adapters import Turn, share_turn
from modules.model.backbone import Backbone

Load = Callable[..., Backbone]
SCALE = 3.0


@pytest.fixture(params=[True, False], ids=["with bias", "without bias"])
def layer(request: pytest.FixtureRequest) -> Any:
    """A bfloat16 layer of 24 to 40 with a float32 adapter of rank 4."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40, bias=request.param)).to(torch.bfloat16)
    config = LoraConfig(r=4, lora_alpha=4 * SCALE, target_modules=["0"], init_lora_weights=False)
    found: Any = get_peft_model(model, config).base_model.model[0]
    for name in ("lora_A", "lora_B"):
        getattr(found, name)["default"].to(torch.float32)
    turn = Turn()
    turn.role = "default"
    return share_turn(found, turn)


def by_hand(layer: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Result, base weight and factors of the adapter, all in float64."""
    base = layer.base_layer
    down, up = layer.lora_A["default"].weight.double(), layer.lora_B["default"].weight.double()
    bias = 0 if base.bias is None else base.bias.double()
    return x.double() @ base.weight.double().T + bias + SCALE * (x.double() @ down.T) @ up.T, down, up


def test_result_and_gradients_are_those_of_float64_but_for_the_rounding_of_16_bits(layer: Any) -> None:
    x = torch.randn(2, 5, 24).bfloat16().requires_grad_()
    weights = torch.randn(2, 5, 40).bfloat16()
    layer.base_layer.requires_grad_(False)
    result = layer(x)
    result.backward(weights)
    with torch.no_grad():
        expected, down, up = by_hand(layer, x)
    grad, rows = weights.double().reshape(-1, 40), x.detach().double().reshape(-1, 24)
    wanted = {
        "x": (x.grad, (grad @ layer.base_layer.weight.double() + SCALE * (grad @ up) @ down).view(2, 5, 24)),
        "A": (layer.lora_A["default"].weight.grad, SCALE * (grad @ up).T @ rows),
        "B": (layer.lora_B["default"].weight.grad, SCALE * grad.T @ (rows @ down.T)),
        "result": (result, expected),
    }
    for name, (found, exact) in wanted.items():
        assert float((found.detach().double() - exact).norm() / exact.norm()) < 0.01, name
    assert result.dtype is torch.bfloat16
    assert layer.lora_A["default"].weight.grad.dtype is torch.float32, "as Adam and its weights"


def test_a_layer_keeps_its_input_once_and_no_float32_copy(layer: Any) -> None:
    x = torch.randn(64, 24).bfloat16().requires_grad_()
    layer.base_layer.requires_grad_(False)
    weights = {tensor.data_ptr() for tensor in layer.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    assert sorted((tensor.dtype, tuple(tensor.shape)) for tensor in kept.values()) == sorted(
        [(torch.bfloat16, (64, 24)), (torch.bfloat16, (64, 4))]
    )


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(adapters, "_is_half", lambda *_: False)


@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"quantisation": "nf4", "precision": "bf16"}])
def test_a_policy_in_16_bits_is_near_that_of_pefts_own_layers(
    load: Load, slowly: Callable[[], None], options: dict[str, Any]
) -> None:
    backbone = load(**options)
    backbone.add_role("policy", trainable=True)
    scramble(backbone, "policy")
    ids = torch.randint(6, 90, (3, 9))
    weights = torch.randn(3, 9, backbone.hidden_size)

    def run() -> tuple[Tensor, list[Tensor]]:
        with backbone.role("policy"):
            hidden = backbone.hidden(ids).float()
            (hidden * weights).sum().backward()
        parameters = backbone.role_parameters("policy").values()
        found = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
        for parameter in parameters:
            parameter.grad = None
        return hidden.detach(), found

    hidden, gradients = run()
    slowly()
    plain, expected = run()
    assert float((hidden - plain).norm() / plain.norm()) < 0.02
    assert len(gradients) == len(expected) > 0
    both = torch.cat([g.flatten() for g in gradients]), torch.cat([g.flatten() for g in expected])
    assert float((both[0] - both[1]).norm() / both[1].norm()) < 0.05


def test_a_switch_of_roles_calls_no_layer(four_roles: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = four_roles()
    flags = {name: parameter.requires_grad for name, parameter in backbone.named_parameters()}
    assert len(set(flags.values())) == 2
    monkeypatch.setattr(nn.Module, "modules", None)
    monkeypatch.setattr(nn.Parameter, "requires_grad_", None)
    for name in ("policy", "value", "reference", "base"):
        with backbone.role(name):
            assert {layer.active_adapters[0] for layer in backbone.roles._layers} == {name}
            assert {layer.disable_adapters for layer in backbone.roles._layers} == {name == "base"}
    assert {name: parameter.requires_grad for name, parameter in backbone.named_parameters()} == flags
