"""The benchmark of active choice: how many labels a way saves, on curves whose answer is known."""

import numpy as np
import pytest

from studio.insights.saving import rising
from tests.benchmarks import active_choice
from tests.benchmarks.active_choice import BLOCK, Pairs


def hits(accuracies, num_seeds=8, num_test=4000, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((num_seeds, len(accuracies), num_test)) < np.array(accuracies)[:, None]


def test_a_way_that_needs_half_the_labels_has_a_ratio_of_two_and_random_choice_one(monkeypatch):
    monkeypatch.setattr(active_choice, "RESAMPLES", 100)
    blocks = np.arange(1, 25)
    slow, quick = (0.9 - 0.4 * np.exp(-rate * blocks) for rate in (0.1, 0.2))
    value, low, high = active_choice.ratio(hits(slow), hits(quick, seed=1))
    assert low < 2 < high
    assert value == pytest.approx(2, abs=0.1)
    value, low, high = active_choice.ratio(hits(slow), hits(slow, seed=1))
    assert low < 1 < high


def test_a_curve_that_never_falls_is_the_closest_one_and_an_accuracy_is_reached_between_two_blocks():
    assert rising(np.array([1.0, 3.0, 2.0, 4.0])).tolist() == [1.0, 2.5, 2.5, 4.0]
    assert active_choice._reached(np.array([0.5, 0.6, 0.8]), 0.7) == pytest.approx(2.5 * BLOCK)
    assert active_choice._reached(np.array([0.5, 0.6]), 0.7) == 2 * BLOCK


def test_no_pair_is_chosen_twice_and_each_way_looks_at_what_its_name_says():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((60, 3))
    pool = Pairs(features, active_choice._scaled(rng.standard_normal((60, 3))), (features[:, 0] > 0).astype(float))
    for way in active_choice.WAYS:
        found = active_choice.run(pool, pool, way, 3 * BLOCK, seed=0)
        assert found.shape == (3, 60)
        assert found[-1].mean() > 0.8
    margins = np.array([[2.0, 2.0], [0.1, -0.1], [3.0, -3.0]])
    of = {
        way: active_choice._scores(way, pool, [0], margins).argmax()
        for way in active_choice.WAYS
        if way[:6] != "random"
    }
    assert of["margin near zero"] in (1, 2)
    assert of["disagreement"] == of["expected information"] == 2
    similar = active_choice._scores("diversity of prompts", pool, [0], margins)
    assert similar.argmin() == 0
