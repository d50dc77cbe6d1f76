import math

import pytest
import torch
from torch import Tensor

from modules.rl import advantages
from modules.rl.advantages import (
    KLController,
    RunningMoments,
    explained_variance,
    gae,
    kl_estimates,
    token_rewards,
    whiten,
)


def ragged(lengths: list[int], columns: int) -> Tensor:
    return torch.tensor([[t < length for t in range(columns)] for length in lengths])


def naive_gae(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """The definition as a double sum: A_t = sum_k (gamma lam)^k (r + gamma V' - V) at t + k."""
    n = len(rewards)
    following = [*values[1:], 0.0]
    return [
        sum((gamma * lam) ** (k - t) * (rewards[k] + gamma * following[k] - values[k]) for k in range(t, n))
        for t in range(n)
    ]


@pytest.mark.parametrize("lengths", [[1, 3, 5], [5, 5, 5]])
def test_item_9_rewards_add_up_and_the_score_lands_on_the_last_token(lengths: list[int]) -> None:
    mask = ragged(lengths, 5)
    kl, scores = torch.randn(3, 5), torch.tensor([2.0, -1.0, 0.5])
    rewards = token_rewards(scores, kl, mask, 0.3)
    for row, length in enumerate(lengths):
        total = float(scores[row]) - 0.3 * float(kl[row, :length].sum())
        assert rewards[row].sum().item() == pytest.approx(total, abs=1e-5)
        assert rewards[row, length - 1].item() == pytest.approx(
            float(scores[row] - 0.3 * kl[row, length - 1]), abs=1e-6
        )
        assert (rewards[row, length:] == 0).all()


POLICY = torch.tensor([0.4, 0.3, 0.1, 0.1, 0.05, 0.03, 0.01, 0.01], dtype=torch.float64)
REFERENCE = torch.tensor([0.02, 0.05, 0.3, 0.2, 0.2, 0.13, 0.05, 0.05], dtype=torch.float64)


def expectation(estimator: str) -> float:
    terms = kl_estimates(POLICY.log(), REFERENCE.log(), estimator)
    return float((POLICY * terms).sum())


def test_item_10_k1_and_k3_are_unbiased_by_enumeration_and_k3_is_never_negative() -> None:
    truth = sum(p * math.log(p / q) for p, q in zip(POLICY.tolist(), REFERENCE.tolist(), strict=True))
    assert expectation("k1") == pytest.approx(truth, abs=1e-12)
    assert expectation("k3") == pytest.approx(truth, abs=1e-12)
    inverted = float((POLICY * ((POLICY / REFERENCE) - 1 - (POLICY / REFERENCE).log())).sum())
    assert abs(inverted - truth) > 0.5, "the enumeration tells k3 from its inversion"
    half_squares = 0.5 * sum(p * math.log(p / q) ** 2 for p, q in zip(POLICY.tolist(), REFERENCE.tolist(), strict=True))
    assert expectation("k2") == pytest.approx(half_squares, abs=1e-12)
    assert (kl_estimates(POLICY.log(), REFERENCE.log(), "k3") >= 0).all()
    assert (kl_estimates(POLICY.log(), REFERENCE.log(), "k1") < 0).any()


def gradient_of(estimator: str) -> Tensor:
    """Expected gradient on the logits of a sampled estimate used as a loss, by enumeration of the samples."""
    logits = POLICY.log().clone().requires_grad_()
    terms = kl_estimates(torch.log_softmax(logits, 0), REFERENCE.log(), estimator)
    (POLICY * terms).sum().backward()
    assert logits.grad is not None
    return logits.grad


def test_item_11_as_a_loss_k1_teaches_nothing_k2_the_kl_and_k3_the_forward_kl() -> None:
    logits = POLICY.log().clone().requires_grad_()
    logprobs = torch.log_softmax(logits, 0)
    (logprobs.exp() * (logprobs - REFERENCE.log())).sum().backward()
    assert torch.allclose(gradient_of("k1"), torch.zeros(8, dtype=torch.float64), atol=1e-12)
    assert logits.grad is not None
    assert torch.allclose(gradient_of("k2"), logits.grad, atol=1e-12)
    assert torch.allclose(gradient_of("k3"), POLICY - REFERENCE, atol=1e-12)


def test_item_12_the_controller_multiplies_by_one_plus_a_clipped_error() -> None:
    controller = KLController(0.1, target=6.0, horizon=10_000)
    controller.update(12.0, num_responses=100)  # twice the target, n / horizon = 0.01
    assert controller.coef == pytest.approx(0.1 * 1.002)
    controller = KLController(0.1, target=6.0, horizon=1000)
    controller.update(5.4, num_responses=100)  # error -0.1, inside the clip
    assert controller.coef == pytest.approx(0.1 * (1 - 0.1 * 0.1))
    fixed = KLController(0.1)
    fixed.update(1e9, num_responses=64)
    assert fixed.coef == 0.1


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.99, 0.0)])
def test_item_14_gae_equals_the_double_sum_of_its_definition(gamma: float, lam: float) -> None:
    lengths = [1, 4, 7]
    rewards, values = torch.randn(3, 7, dtype=torch.float64), torch.randn(3, 7, dtype=torch.float64)
    found = gae(rewards, values, ragged(lengths, 7), gamma=gamma, lam=lam)
    for row, n in enumerate(lengths):
        expected = naive_gae(rewards[row, :n].tolist(), values[row, :n].tolist(), gamma, lam)
        assert found[row, :n].tolist() == pytest.approx(expected, abs=1e-12)
        assert (found[row, n:] == 0).all()


def test_item_14_with_lambda_one_advantage_plus_value_is_the_discounted_return() -> None:
    rewards, values = torch.randn(2, 6, dtype=torch.float64), torch.randn(2, 6, dtype=torch.float64)
    returns = gae(rewards, values, ragged([6, 6], 6), gamma=0.9, lam=1.0) + values
    for row in range(2):
        for t in range(6):
            expected = sum(0.9 ** (k - t) * float(rewards[row, k]) for k in range(t, 6))
            assert returns[row, t].item() == pytest.approx(expected, abs=1e-12)


def test_item_14_more_padding_changes_no_advantage() -> None:
    rewards, values = torch.randn(2, 4), torch.randn(2, 4)
    garbage = torch.full((2, 3), 1e6)
    short = gae(rewards, values, ragged([2, 4], 4), gamma=1.0, lam=0.95)
    long = gae(
        torch.cat([rewards, garbage], 1), torch.cat([values, garbage], 1), ragged([2, 4], 7), gamma=1.0, lam=0.95
    )
    assert torch.equal(short, long[:, :4])


def test_item_17_whitening_gives_mean_0_and_variance_1_over_real_tokens_only() -> None:
    mask = ragged([2, 5, 1], 5)
    values = torch.randn(3, 5) * 3 + 7
    white = whiten(values, mask)
    kept = white[mask].tolist()
    mean = sum(kept) / len(kept)
    assert mean == pytest.approx(0.0, abs=1e-5)
    assert sum((x - mean) ** 2 for x in kept) / len(kept) == pytest.approx(1.0, abs=1e-4)
    order = values[mask].argsort().tolist()
    assert order == white[mask].argsort().tolist(), "whitening keeps the order: nothing is mirrored"


def test_item_17_garbage_in_padding_has_no_effect_and_one_value_is_safe() -> None:
    mask = ragged([2, 3], 4)
    values = torch.randn(2, 4)
    dirty = values.masked_fill(~mask, 1e9)
    assert torch.equal(whiten(values, mask), whiten(dirty, mask))
    unmasked = (dirty - dirty.mean()) / dirty.std()
    assert not torch.allclose(unmasked[mask], whiten(dirty, mask)[mask], atol=0.1)
    alone = whiten(torch.tensor([[5.0, 1.0]]), torch.tensor([[True, False]]))
    assert alone.tolist() == [[0.0, 0.0]]


def test_explained_variance_is_1_for_perfect_values_and_0_for_a_constant() -> None:
    returns = torch.randn(9)
    assert explained_variance(returns, returns) == pytest.approx(1.0)
    assert explained_variance(torch.full((9,), 4.0), returns) == pytest.approx(0.0, abs=1e-5)
    assert explained_variance(-returns, returns) == pytest.approx(-3.0, abs=1e-5)
    assert explained_variance(returns, torch.ones(9)) == 0.0


def test_item_13_running_moments_are_those_of_all_scores_however_they_come() -> None:
    scores = torch.randn(50) * 3 + 7
    moments = RunningMoments()
    for part in scores.split([1, 9, 0, 30, 10]):
        moments = moments.updated(part)
    assert (moments.count, moments.mean) == (50, pytest.approx(float(scores.mean()), abs=1e-5))
    assert moments.std == pytest.approx(float(scores.std(correction=0)), abs=1e-5)
    scaled = (scores - moments.mean) / moments.std
    assert (float(scaled.mean()), float(scaled.std(correction=0))) == pytest.approx((0.0, 1.0), abs=1e-5)
    assert RunningMoments(**moments.state()) == moments
    far = RunningMoments().updated(torch.tensor([1e6, 1e6 + 1, 1e6 + 2]))
    assert far.std == pytest.approx(math.sqrt(2 / 3)), "no cancellation far from 0"


def test_item_13_scores_that_do_not_differ_are_not_scaled() -> None:
    assert RunningMoments().std == RunningMoments().updated(torch.full((4,), 2.0)).std == 1.0


def test_item_13_two_processes_take_in_the_scores_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 9.0, 5.0])
    both = torch.cat([mine, other])
    sums = [torch.tensor([3.0, 18.0]), (other - both.mean()).square().sum()]
    monkeypatch.setattr(advantages, "sum_over_ranks", lambda values: values + sums.pop(0))
    found = RunningMoments().updated(mine)
    assert (found.count, found.mean) == (5, pytest.approx(4.2))
    assert found.std == pytest.approx(float(both.std(correction=0)))
