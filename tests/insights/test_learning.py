"""What more labels would bring, against simulated learning curves whose truth is known."""

from statistics import NormalDist

import numpy as np
import pytest

from studio.insights import learning
from studio.insights.learning import Gain, PowerLaw

SIZES = (50, 100, 200, 400, 800)


def simulated(law: PowerLaw, seed: int, num_held_out: int = 500, num_seeds: int = 5, luck: float = 0.08) -> np.ndarray:
    """Whether models of each size and seed are right on the held-out votes, (S, R, T).

    Of some votes every model is more often right than of others, and a model of one seed is a little better than another.
    """
    rng = np.random.default_rng(seed)
    items, lucky = rng.standard_normal(num_held_out), rng.standard_normal((len(SIZES), num_seeds, 1))
    noise = rng.standard_normal((len(SIZES), num_seeds, num_held_out))
    seen = 0.6 * items + luck * lucky + np.sqrt(1 - 0.6**2 - luck**2) * noise
    needed = np.array([NormalDist().inv_cdf(law.at(size)) for size in SIZES])
    return seen < needed[:, None, None]


@pytest.mark.parametrize("law", [PowerLaw(0.8, 1.2, 0.5), PowerLaw(0.75, 2.0, 0.8), PowerLaw(0.9, 0.6, 0.2)])
def test_a_curve_without_noise_is_found_again(law):
    (found,) = learning.fit(SIZES, np.array([[law.at(size) for size in SIZES]]), ceiling=1.0)
    assert found.at(1600) == pytest.approx(law.at(1600), abs=1e-6)
    assert found.rate == pytest.approx(law.rate)


def test_no_curve_ends_above_the_noise_ceiling_or_falls_with_more_labels():
    rising, falling = [0.5, 0.6, 0.7, 0.8, 0.9], [0.8, 0.78, 0.75, 0.74, 0.7]
    one, other = learning.fit(SIZES, np.array([rising, falling]), ceiling=0.85)
    assert one.at(10**12) <= 0.85
    assert one.at(1600) > one.at(800)
    assert other.at(1600) == other.at(50) == pytest.approx(np.mean(falling))


def test_the_fit_is_the_best_of_all_curves_under_the_ceiling():
    """A dense search finds none that is closer to the points."""
    points = np.array([0.58, 0.66, 0.69, 0.74, 0.75])
    (found,) = learning.fit(SIZES, points[None], ceiling=0.77)
    close = sum((found.at(n) - y) ** 2 for n, y in zip(SIZES, points, strict=True))
    least = min(
        float(((end - drop * np.array(SIZES, float) ** -rate - points) ** 2).sum())
        for end in np.linspace(0.7, 0.77, 71)
        for drop in np.linspace(0.0, 6.0, 301)
        for rate in learning.RATES
    )
    assert close <= least + 1e-9


def test_the_interval_of_the_gain_covers_the_truth_at_its_nominal_rate_or_more():
    """Of a hundred curves at least 90: five short of the nominal 95 is 2.3 standard errors."""
    law, covered = PowerLaw(0.8, 1.2, 0.5), 0
    truth = law.at(1600) - law.at(800)
    for seed in range(100):
        gain = learning.forecast(SIZES, simulated(law, seed), range(500), 1.0, seed=seed).twice
        covered += gain.low <= truth <= gain.high
    assert covered >= 90


def test_few_seeds_that_differ_much_widen_the_interval():
    """Three seeds: drawn from themselves and not widened, their intervals cover 82 of these hundred."""
    law, covered = PowerLaw(0.8, 1.2, 0.5), 0
    truth = law.at(1600) - law.at(800)
    for seed in range(100):
        results = simulated(law, seed, 2000, num_seeds=3, luck=0.15)
        gain = learning.forecast(SIZES, results, range(2000), 1.0, seed=seed).twice
        covered += gain.low <= truth <= gain.high
    assert covered >= 86


def begun(seed: int, num: int = 200, num_held_out: int = 400, size: int = 60) -> tuple[np.ndarray, float]:
    """Where linear models of preferences that see few labels for their size were right, and what twice as many bring on average.

    They are trained: on nested parts of the same labels, a tenth of which is wrong.
    """
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(size) * np.exp(-np.arange(size) / 15)

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        features = rng.standard_normal((n, size))
        return features, np.sign(features @ truth) * np.where(rng.random(n) < 0.1, -1, 1)

    def trained(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
        weights = np.linalg.solve(features.T @ features + 5 * np.eye(size), features.T @ labels)
        return weights + 0.15 * np.linalg.norm(weights) * rng.standard_normal(size) / np.sqrt(size)

    def accuracy(n: int) -> float:
        return np.mean([np.mean(np.sign(features @ trained(*drawn(n))) == labels) for _ in range(6)])

    (known, votes), (held_out, answers), (features, labels) = drawn(num), drawn(num_held_out), drawn(10_000)
    orders = [rng.permutation(num) for _ in range(5)]
    right = [
        [np.sign(held_out @ trained(known[order[:n]], votes[order[:n]])) == answers for order in orders]
        for n in (num >> 4, num >> 3, num >> 2, num >> 1, num)
    ]
    return np.array(right), float(accuracy(2 * num) - accuracy(num))


def test_the_interval_covers_the_truth_also_where_accuracy_follows_no_power_law_yet():
    """Drawing again alone covers 3 of these forty, and calls nearly all of them identifiable."""
    covered = told = 0
    for seed in range(40):
        right, truth = begun(seed)
        gain = learning.forecast((12, 25, 50, 100, 200), right, range(400), 0.9, seed=seed).twice
        covered += gain.low <= truth <= gain.high
        told += gain.is_identifiable
    assert covered >= 34
    assert told <= 4
    assert "accuracy has not settled on a curve yet" in gain.sentence


def test_what_the_votes_cannot_tell_is_not_told():
    flat = learning.forecast(SIZES, simulated(PowerLaw(0.7, 0.0, 0.5), 1), range(500), 1.0)
    assert not flat.twice.is_identifiable
    assert flat.twice.sentence.startswith("Not identifiable yet")
    steep = learning.forecast(
        SIZES, simulated(PowerLaw(0.95, 1.6, 0.2), 1, num_held_out=20_000, luck=0.0), range(20_000), 1.0
    )
    assert steep.twice.is_identifiable
    assert "expected to bring" in steep.twice.sentence
    assert steep.next_100.gain < steep.twice.gain
    assert 0 < steep.next_100.missed < steep.twice.missed


def test_nothing_is_told_of_more_than_twice_the_labels():
    results = simulated(PowerLaw(0.8, 1.2, 0.5), 2, num_held_out=50)
    assert learning.forecast(SIZES, results, range(50), 1.0).twice.more == 800
    few = learning.forecast((5, 10, 20, 40, 80), results, range(50), 1.0)
    assert (few.next_100, few.twice.more) == (None, 80)


def test_held_out_votes_of_one_prompt_are_drawn_together():
    """Five votes that say the same of a prompt are no surer than one of them."""
    once = simulated(PowerLaw(0.8, 1.2, 0.5), 3, num_held_out=100)
    one = learning.forecast(SIZES, once, range(100), 1.0).twice
    five = learning.forecast(SIZES, np.repeat(once, 5, axis=2), [n // 5 for n in range(500)], 1.0).twice
    assert five[:4] == pytest.approx(one[:4])
    assert (one.num_held_out, five.num_held_out) == (100, 500)


def test_the_held_out_votes_that_would_be_needed_follow_from_the_width():
    gain = Gain(100, 0.01, -0.01, 0.03, 500)
    assert "about 8,000 held-out votes" in gain.sentence, "four times as wide as the gain: sixteen times the votes"
    assert "It may take" not in gain._replace(gain=-0.001).sentence
    assert "bring +0.0 to +3.0 points" in gain._replace(low=-0.0004).sentence
