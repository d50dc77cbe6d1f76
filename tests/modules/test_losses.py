import math

import pytest
import torch
from torch import Tensor

from modules import losses
from modules.losses import (
    bradley_terry_loss,
    masked_mean,
    policy_losses,
    select_shifted,
    token_stats,
    value_losses,
)


def identity(hidden: Tensor) -> Tensor:
    return hidden


def test_item_1_temperature_divides_the_logits_before_the_softmax() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5]])
    by_hand = [math.exp(x / 0.7) for x in (1.0, 2.0, 0.5)]
    found = token_stats(identity, logits, torch.tensor([1]), temperature=0.7, vocab_size=3).logprobs
    assert found.item() == pytest.approx(math.log(by_hand[1] / sum(by_hand)), abs=1e-6)


def test_item_4_a_model_that_knows_the_next_token_has_logprob_near_zero() -> None:
    """A toy whose state at t points at the token of t + 1; without the shift its log-probability would be very low."""
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    hidden = torch.full((1, 5, 6), -50.0)
    for t in range(4):
        hidden[0, t, ids[0, t + 1]] = 50.0
    states, targets = select_shifted(hidden, ids, torch.ones(1, 5, dtype=torch.bool))
    assert targets.tolist() == [1, 4, 1, 5]
    found = token_stats(identity, states, targets, vocab_size=6).logprobs
    assert torch.allclose(found, torch.zeros(4), atol=1e-6)


def test_only_masked_tokens_are_picked_row_by_row() -> None:
    ids = torch.arange(8).view(2, 4)
    mask = torch.tensor([[True, False, True, False], [False, False, False, True]])
    states, targets = select_shifted(ids.float().unsqueeze(-1), ids, mask)
    assert targets.tolist() == [2, 7], "the first column cannot be predicted"
    assert states.squeeze(-1).tolist() == [1.0, 6.0]


@pytest.mark.parametrize("entropy", ["none", "measured", "trained"])
def test_chunks_change_neither_values_nor_gradients(monkeypatch: pytest.MonkeyPatch, entropy: losses.Entropy) -> None:
    weight = torch.randn(11, 5)
    targets = torch.randint(11, (17,))

    def run(chunk: int) -> tuple[Tensor, Tensor]:
        monkeypatch.setattr(losses, "CHUNK_ELEMENTS", chunk)
        hidden = torch.linspace(-2, 2, 85).view(17, 5).requires_grad_()
        stats = token_stats(lambda h: h @ weight.T, hidden, targets, vocab_size=11, entropy=entropy)
        total = stats.logprobs.square().sum() + (stats.entropy.sum() if stats.entropy is not None else 0.0)
        total.backward()
        assert hidden.grad is not None
        return stats.logprobs.detach(), hidden.grad

    whole, pieces = run(10**6), run(33)
    assert torch.allclose(whole[0], pieces[0], atol=1e-6)
    assert torch.allclose(whole[1], pieces[1], atol=1e-5)


def test_the_kl_from_the_reference_is_that_of_torch_in_whatever_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    own, theirs, weight = torch.randn(17, 5, requires_grad=True), torch.randn(17, 5), torch.randn(11, 5)
    distributions = [torch.distributions.Categorical(logits=states @ weight.T) for states in (theirs, own)]
    expected = torch.distributions.kl_divergence(*distributions)
    (gradient,) = torch.autograd.grad(expected.sum(), own)
    for chunk in (10**6, 33):
        monkeypatch.setattr(losses, "CHUNK_ELEMENTS", chunk)
        found = losses.kl_from_reference(lambda h: h @ weight.T, own, lambda h: h @ weight.T, theirs, vocab_size=11)
        assert torch.allclose(found, expected, atol=1e-5)
        assert torch.allclose(torch.autograd.grad(found.sum(), own)[0], gradient, atol=1e-5)


def test_the_logits_of_all_tokens_never_exist_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CHUNK_ELEMENTS", 64)
    largest = 0

    def watch(hidden: Tensor) -> Tensor:
        nonlocal largest
        logits = hidden.repeat(1, 4)
        largest = max(largest, logits.numel())
        return logits

    hidden = torch.randn(50, 4, requires_grad=True)
    token_stats(watch, hidden, torch.zeros(50, dtype=torch.long), vocab_size=16).logprobs.sum().backward()
    assert largest <= 64


def test_item_25_entropy_is_log_v_for_uniform_logits_and_never_negative() -> None:
    uniform = token_stats(
        identity, torch.full((3, 50), 7.0), torch.zeros(3, dtype=torch.long), vocab_size=50, entropy="measured"
    )
    assert uniform.entropy is not None
    assert torch.allclose(uniform.entropy, torch.full((3,), math.log(50)))
    peaked = torch.zeros(4, 50)
    peaked[:, 3] = torch.tensor([0.0, 10.0, 100.0, 1000.0])
    found = token_stats(identity, peaked, torch.zeros(4, dtype=torch.long), vocab_size=50, entropy="measured").entropy
    assert found is not None
    assert (found >= 0).all()
    by_hand = -sum(p * math.log(p) for p in torch.softmax(peaked[1].double(), 0).tolist())
    assert found[1].item() == pytest.approx(by_hand, abs=1e-5)


def test_a_masked_mean_ignores_what_is_not_kept_even_if_it_is_nan() -> None:
    values = torch.tensor([[1.0, 3.0, float("nan")], [5.0, float("inf"), 9.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert masked_mean(values, mask).item() == 3.0
    assert masked_mean(values, torch.zeros_like(mask)).item() == 0.0


def test_item_33_known_values_of_the_comparison_loss() -> None:
    assert bradley_terry_loss(torch.tensor([2.0])).item() == pytest.approx(math.log(1 + math.exp(-2)))
    assert bradley_terry_loss(torch.tensor([0.0]), 0.5).item() == pytest.approx(math.log(2))
    assert bradley_terry_loss(torch.tensor([2.0]), 0.5).item() == pytest.approx(1.127, abs=5e-4)


def test_item_33_a_tie_has_its_minimum_at_equal_scores_whatever_the_margin() -> None:
    for margin in (0.0, 1.5):
        difference = torch.zeros(1, requires_grad=True)
        bradley_terry_loss(difference, 0.5, margin).backward()
        assert difference.grad is not None
        assert difference.grad.item() == pytest.approx(0.0, abs=1e-7)


def test_item_33_swapping_the_sides_and_the_label_changes_nothing() -> None:
    d, p, m = torch.tensor([0.3, -2.0]), torch.tensor([0.8, 1.0]), torch.tensor([0.5, 1.0])
    assert bradley_terry_loss(d, p, m).item() == pytest.approx(bradley_terry_loss(-d, 1 - p, m).item(), abs=1e-6)


def test_a_margin_asks_for_more_distance_and_weights_multiply() -> None:
    d = torch.tensor([1.0, 1.0])
    plain, demanding = bradley_terry_loss(d).item(), bradley_terry_loss(d, offsets=torch.tensor([2.0, 2.0])).item()
    assert demanding == pytest.approx(2 * math.log(1 + math.exp(1.0)), abs=1e-5)
    assert demanding > plain
    weighted = bradley_terry_loss(torch.tensor([1.0, -1.0]), weights=torch.tensor([3.0, 0.0])).item()
    assert weighted == pytest.approx(3 * math.log(1 + math.exp(-1.0)), abs=1e-5)


@pytest.mark.parametrize(
    ("advantage", "log_ratio", "has_gradient"),
    [
        (1.0, math.log(1.3), False),  # good and already much likelier: enough
        (-1.0, math.log(0.7), False),  # bad and already much less likely: enough
        (1.0, math.log(0.7), True),
        (-1.0, math.log(1.3), True),
        (1.0, math.log(1.1), True),
        (-1.0, math.log(0.9), True),
    ],
)
def test_item_19_the_policy_gradient_stops_only_where_clipping_helps(
    advantage: float, log_ratio: float, has_gradient: bool
) -> None:
    logprob = torch.tensor([log_ratio], requires_grad=True)
    loss = policy_losses(logprob, torch.zeros(1), torch.tensor([advantage]), 0.2)
    loss.sum().backward()
    assert logprob.grad is not None
    expected = -advantage * math.exp(log_ratio) if has_gradient else 0.0
    assert logprob.grad.item() == pytest.approx(expected, abs=1e-6)
    bound = min(max(math.exp(log_ratio), 0.8), 1.2)
    assert loss.item() == pytest.approx(max(-advantage * math.exp(log_ratio), -advantage * bound), abs=1e-6)


@pytest.mark.parametrize(
    ("value", "target", "loss", "gradient"),
    [  # the old value is 0, the clip range 0.2
        (0.1, 1.0, 0.405, -0.9),  # inside, below the target
        (0.1, -1.0, 0.605, 1.1),  # inside, above the target
        (0.5, 1.0, 0.32, 0.0),  # moved too far towards the target: held at 0.2, no gradient
        (-0.5, 1.0, 1.125, -1.5),  # moved away: the honest error is the larger
        (-0.5, -1.0, 0.32, 0.0),  # too far towards a target below: held at -0.2
        (0.5, -1.0, 1.125, 1.5),  # moved away from a target below
    ],
)
def test_item_20_the_six_cases_of_the_value_loss(value: float, target: float, loss: float, gradient: float) -> None:
    new = torch.tensor([value], requires_grad=True)
    found = value_losses(new, torch.zeros(1), torch.tensor([target]), 0.2)
    found.sum().backward()
    assert new.grad is not None
    assert found.item() == pytest.approx(loss, abs=1e-6)
    assert new.grad.item() == pytest.approx(gradient, abs=1e-6)
