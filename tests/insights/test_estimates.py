"""Intervals by simulation, the ceiling by its truth, and the agreement of raters by the textbooks' examples."""

import itertools
import math

import numpy as np
import pytest

from modules.intervals import wilson_interval
from studio.evaluation.statistics import t_quantile
from studio.insights import ceiling, raters
from studio.insights.estimates import blocks, mean, rate, share

NUM = 600


def within(covered: float, nominal: float = 0.95, num: int = NUM) -> bool:
    """Whether a share of simulated intervals is what chance leaves of the nominal rate: four standard errors, and one
    point for the steps of small counts."""
    return abs(covered - nominal) < 4 * math.sqrt(nominal * (1 - nominal) / num) + 0.01


def test_a_share_of_one_vote_a_prompt_has_wilsons_interval():
    found = share([1, 0, 1, 1], [1, 2, 3, 4])
    assert found[:3] == (0.75, *wilson_interval(3, 4))
    assert (found.num, found.num_prompts) == (4, 4)
    assert share([], []).num == 0
    assert share([3, 0], [1, 2], [4, 0]).num == 4, "what counts nothing is left out"


@pytest.mark.parametrize("error", [0.05, 0.15, 0.25])
@pytest.mark.parametrize("num_repeats", [40, 200])
def test_intervals_of_self_agreement_and_ceiling_cover_the_truth_at_their_nominal_rate(error, num_repeats):
    rng = np.random.default_rng(1)
    self_agreement = (1 - error) ** 2 + error**2
    covered = ceilings = 0
    for _ in range(NUM):
        found = share((rng.random(num_repeats) < error) == (rng.random(num_repeats) < error), range(num_repeats))
        highest = ceiling.of(found)
        covered += found.low <= self_agreement <= found.high
        ceilings += highest.low <= 1 - error <= highest.high
    assert within(covered / NUM)
    assert within(ceilings / NUM)


def test_votes_of_one_prompt_widen_the_interval_as_much_as_they_are_alike():
    rng, truth, covered, too_narrow = np.random.default_rng(2), 0.75, 0, 0
    for _ in range(NUM):
        chances = rng.beta(1.05 * truth, 1.05 * (1 - truth), 40)
        prompts = np.repeat(np.arange(40), rng.integers(1, 10, 40))
        hits = rng.random(len(prompts)) < chances[prompts]
        found = share(hits, prompts)
        covered += found.low <= truth <= found.high
        low, high = wilson_interval(float(hits.sum()), len(hits))
        too_narrow += low <= truth <= high
    assert within(covered / NUM)
    assert too_narrow / NUM < 0.8


def test_the_interval_of_a_mean_covers_the_truth_at_its_nominal_rate():
    rng, covered = np.random.default_rng(3), 0
    for _ in range(NUM):
        prompts = np.repeat(np.arange(30), rng.integers(1, 6, 30))
        values = rng.normal(0.0, 1.0, 30)[prompts] + rng.normal(0.0, 1.0, len(prompts))
        found = mean(list(values), list(prompts))
        covered += found.low <= 0.0 <= found.high
    assert within(covered / NUM)
    assert math.isnan(mean([1.0, 2.0], [7, 7]).low)


def test_the_interval_of_a_rate_covers_the_truth_at_its_nominal_rate():
    rng, truth, covered = np.random.default_rng(4), 0.9 / 10, 0
    for _ in range(NUM):
        found = rate(rng.random(60) < 0.9, rng.gamma(2.0, 5.0, 60))
        covered += found.low <= truth <= found.high
    assert within(covered / NUM)
    assert rate([1, 0, 1], [10.0, 10.0, 20.0]).value == 2 / 40
    assert math.isnan(rate([1], [0.0]).value)
    assert math.isnan(rate([1], [5.0]).low)


def test_where_all_votes_agree_those_of_one_prompt_count_once():
    assert share([1] * 9, [1, 1, 1, 2, 2, 2, 3, 3, 3])[1:3] == wilson_interval(3, 3, t_quantile(2))
    assert share([1, 1, 0], [5, 5, 5])[1:3] == (0.0, 1.0), "one prompt tells nothing of others"


def test_the_ceiling_is_that_of_the_table_and_at_most_the_truth():
    for self_agreement, expected in ((0.70, 0.816), (0.80, 0.887), (0.85, 0.918), (0.90, 0.947)):
        assert ceiling.ceiling(self_agreement) == pytest.approx(expected, abs=5e-4)
    assert ceiling.ceiling(1.0) == 1.0
    assert ceiling.ceiling(0.4) == ceiling.ceiling(0.5) == 0.5
    correct = (0.99, 0.60)  # pairs that are easy, and as many that are hard
    self_agreement = sum(c**2 + (1 - c) ** 2 for c in correct) / 2
    assert ceiling.ceiling(self_agreement) > sum(correct) / 2


@pytest.mark.parametrize("error", [0.01, 0.1, 0.3, 0.49])
def test_the_ceiling_gives_back_the_error_that_made_the_self_agreement(error):
    assert ceiling.ceiling((1 - error) ** 2 + error**2) == pytest.approx(1 - error)


def test_kappa_and_alpha_are_those_of_the_textbooks():
    yes_no = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    one, other = zip(*yes_no, strict=True)
    assert raters.kappa(one, other, range(50)).value == pytest.approx(0.4)
    # Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C: alpha nominal is 0.743.
    observers = (
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    )
    columns = zip(*(line.split() for line in observers), strict=True)
    units = {n: {str(k): value for k, value in enumerate(unit) if value != "."} for n, unit in enumerate(columns)}
    units = {n: unit for n, unit in units.items() if len(unit) > 1}
    found = raters.alpha(units, {n: n for n in units})
    assert found.value == pytest.approx(0.743, abs=5e-4)
    assert found.low < found.value < found.high
    assert found.num == 11


def test_intervals_of_kappa_and_alpha_cover_the_truth_at_their_nominal_rate():
    """Two raters who miss the truth in 15 and 25 %, ties too: the truth is that of very many votes."""
    rng = np.random.default_rng(4)

    def judged(num: int) -> tuple[list[str], list[str]]:
        true = rng.integers(0, 2, num)
        found = []
        for error in (0.15, 0.25):
            votes = np.where(rng.random(num) < error, 1 - true, true)
            found.append([("first", "second", "neither")[v] for v in np.where(rng.random(num) < 0.1, 2, votes)])
        return found[0], found[1]

    def both(num: int):
        one, other = judged(num)
        units = {n: {"a": a, "b": b} for n, (a, b) in enumerate(zip(one, other, strict=True))}
        return raters.kappa(one, other, range(num)), raters.alpha(units, {n: n for n in units})

    truths = [each.value for each in both(100_000)]
    covered = [0, 0]
    for _ in range(NUM):
        for k, found in enumerate(both(80)):
            covered[k] += found.low <= truths[k] <= found.high
    assert all(within(each / NUM) for each in covered), covered


def test_agreement_that_chance_alone_explains_has_no_kappa():
    assert math.isnan(raters.kappa(["first"] * 4, ["first"] * 4, range(4)).value)


@pytest.mark.parametrize("num", [0, 1, 19, 20, 79, 1000])
def test_blocks_hold_all_votes_once_and_are_nearly_equal(num):
    cuts = blocks(num, 12, 20)
    assert list(itertools.chain.from_iterable(range(num)[cut] for cut in cuts)) == list(range(num))
    sizes = [cut.stop - cut.start for cut in cuts]
    assert len(cuts) <= 12
    assert not sizes or max(sizes) - min(sizes) <= 1
    assert num < 20 or min(sizes) >= 20
