"""Products by oneDNN give the numbers and gradients of plain layers, and only plain layers are replaced."""

import copy
from contextlib import nullcontext

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from modules.model import cpu_linear
from modules.model.cpu_linear import QuickLinear, QuickLoraLinear, onednn_is_exact, use_onednn


class Pair(nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(24, 40, bias=bias), nn.Linear(40, 8, bias=bias)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


def adapted(bias: bool, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=12, target_modules=["first"], lora_dropout=dropout, init_lora_weights=False)
    return get_peft_model(Pair(bias), config)


@pytest.fixture(params=["onednn", "torch"], autouse=True)
def path(request, monkeypatch):
    """Take the layers by oneDNN where this CPU's oneDNN is exact, and everywhere with torch's own products in its place."""
    if request.param == "torch":
        monkeypatch.setattr(cpu_linear, "_onednn", nullcontext)
        monkeypatch.setattr(cpu_linear, "onednn_is_exact", lambda: True)
    elif not onednn_is_exact():
        pytest.skip("oneDNN rounds float32 products on this CPU, so the studio does not use it here")
    return request.param


def gradients(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    x = x.clone().requires_grad_()
    result = model(x)
    result.square().sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found | {"x": x.grad, "result": result.detach()}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("is_frozen", [True, False])
def test_values_and_gradients_are_those_of_plain_layers(bias, is_frozen):
    plain = adapted(bias)
    for name, parameter in plain.named_parameters():
        parameter.requires_grad_("lora_" in name or not is_frozen)
    quick = copy.deepcopy(plain)
    use_onednn(quick)
    assert {type(m) for m in quick.modules()} >= {QuickLinear, QuickLoraLinear}
    x = torch.randn(3, 5, 24)
    expected, found = gradients(plain, x), gradients(quick, x)
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(quick(x), expected["result"], rtol=1e-5, atol=1e-5)


def test_a_disabled_adapter_leaves_the_base_layer():
    model = adapted(bias=True)
    use_onednn(model)
    x = torch.randn(2, 24)
    with model.disable_adapter():
        base = model(x)
    assert not torch.allclose(base, model(x))
    inner = model.base_model.model
    by_hand = inner.second(torch.tanh(inner.first.base_layer(x)))
    assert torch.equal(base, by_hand)


def test_dropout_still_drops_in_training_and_only_there():
    model = adapted(bias=True, dropout=0.5)
    use_onednn(model)
    x = torch.randn(2, 24)
    assert not torch.equal(model.train()(x), model(x))
    assert torch.equal(model.eval()(x), model(x))


def test_autocast_and_other_number_formats_take_the_plain_way():
    model = adapted(bias=True)
    use_onednn(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(torch.randn(2, 24)).dtype is torch.bfloat16
    half = Pair(bias=True).to(torch.bfloat16)
    use_onednn(half)
    assert type(half.first) is nn.Linear


def test_the_switch_is_off_again_afterwards_and_attention_never_sees_it():
    before = torch.backends.mkldnn.matmul.fp32_precision
    model = adapted(bias=True)
    use_onednn(model)
    seen = []
    model.base_model.model.second.register_forward_pre_hook(
        lambda *_: seen.append(torch.backends.mkldnn.matmul.fp32_precision)
    )
    model(torch.randn(2, 24)).sum().backward()
    assert [*seen, torch.backends.mkldnn.matmul.fp32_precision] == [before, before]


def test_a_machine_that_would_round_to_bfloat16_is_found_out_and_keeps_its_plain_layers(monkeypatch):
    monkeypatch.setattr(cpu_linear, "_onednn", lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    monkeypatch.setattr(cpu_linear, "onednn_is_exact", onednn_is_exact.__wrapped__)
    assert not cpu_linear.onednn_is_exact()
    plain = adapted(bias=True)
    quick = copy.deepcopy(plain)
    use_onednn(quick)
    assert [type(m) for m in quick.modules()] == [type(m) for m in plain.modules()]
    x = torch.randn(3, 5, 24)
    expected, found = gradients(plain, x), gradients(quick, x)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
