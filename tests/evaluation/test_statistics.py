"""Paired statistics against simulation, hand values and, as `peer`, scipy and statsmodels."""

import numpy as np
import pytest

from studio.evaluation import statistics
from studio.evaluation.statistics import holm, mcnemar, paired, t_quantile, verdict

NUM = 400


def coverage(draw, truth: float, **options) -> tuple[float, float]:
    """Return how often the paired and the clustered interval hold the truth."""
    rng, held, clustered = np.random.default_rng(7), 0, 0
    for _ in range(NUM):
        before, after, clusters = draw(rng)
        found = paired(before, after, clusters=clusters, **options)
        held += found.low <= truth <= found.high
        clustered += found.cluster_low is not None and found.cluster_low <= truth <= found.cluster_high
    return held / NUM, clustered / NUM


def test_the_interval_of_a_paired_share_covers_the_truth_at_its_nominal_rate():
    def draw(rng):
        kinds = rng.choice(4, 150, p=(0.45, 0.12, 0.18, 0.25))  # both wrong, only before, only after, both right
        return np.isin(kinds, (1, 3)), np.isin(kinds, (2, 3)), None

    assert coverage(draw, 0.06)[0] == pytest.approx(0.95, abs=0.03)


def test_the_interval_of_a_paired_mean_covers_the_truth_also_for_few_items():
    def draw(rng):
        before = rng.normal(size=12)
        return before, before + rng.normal(0.3, 0.5, size=12), None

    assert coverage(draw, 0.3)[0] == pytest.approx(0.95, abs=0.03)


def test_where_items_rise_and_fall_by_clusters_only_resampling_them_covers_at_the_nominal_rate():
    names = np.repeat([f"c{n}" for n in range(15)], 20).tolist()

    def draw(rng):
        before = rng.normal(size=300)
        return before, before + np.repeat(rng.normal(0.1, 0.5, size=15), 20) + rng.normal(0, 0.5, size=300), names

    plain, clustered = coverage(draw, 0.1)
    assert clustered == pytest.approx(0.95, abs=0.035)
    assert plain < 0.6, "items are not independent here"


def test_a_difference_of_the_smallest_size_is_shown_four_times_in_five():
    rng, shown = np.random.default_rng(3), 0
    spread = 0.6
    smallest = paired(np.zeros(100), rng.normal(0, spread, 100)).smallest
    assert smallest == pytest.approx(2.8 * spread / 10, rel=0.15)
    for _ in range(NUM):
        found = paired(np.zeros(100), rng.normal(2.8 * spread / 10, spread, 100))
        shown += found.p_value < 0.05
    assert shown / NUM == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(
    ("only_before", "only_after", "p"), [(0, 0, 1.0), (0, 5, 0.0625), (5, 0, 0.0625), (3, 3, 1.0), (1, 9, 22 / 1024)]
)
def test_mcnemar_is_a_fair_coin_for_each_discordant_item(only_before, only_after, p):
    assert mcnemar(only_before, only_after) == pytest.approx(p)


def test_mcnemar_takes_thousands_of_discordant_items():
    assert mcnemar(477, 444) == pytest.approx(0.29, abs=0.01)
    assert mcnemar(5000, 3000) < 1e-100


def test_holm_keeps_the_order_and_the_number_of_tests():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_weights_make_the_mean_a_ratio_of_sums():
    found = paired([1.0, 3.0], [2.0, 2.0], weights=[1.0, 3.0])
    assert (found.before, found.after) == (2.5, 2.0)
    assert found.difference == pytest.approx(-0.5)
    assert found.only_before is None


def test_discordant_items_are_counted_each_way():
    found = paired([1, 1, 0, 0, 1], [1, 0, 1, 1, 0])
    assert (found.only_before, found.only_after) == (2, 2)
    assert (found.before, found.after, found.p_value) == (0.6, 0.6, 1.0)


def test_a_verdict_needs_the_adjusted_p_and_every_interval():
    worse = paired(np.ones(60), np.repeat([0, 1], [20, 40]))
    assert verdict(worse, holm([worse.p_value])[0], higher_is_better=True) == "worse"
    assert verdict(worse, worse.p_value, higher_is_better=False) == "better"
    assert verdict(worse, 0.06, higher_is_better=True) == "no difference shown"
    of_one_cluster = paired(np.ones(60), np.repeat([0, 1], [20, 40]), clusters=["a"] * 20 + ["b"] * 20 + ["c"] * 20)
    assert verdict(of_one_cluster, of_one_cluster.p_value, higher_is_better=True) == "no difference shown"


def test_one_item_and_equal_items_show_nothing_and_divide_by_nothing():
    for before, after in (([0.5], [0.7]), ([1.0], [0.0]), ([0.5, 0.5], [0.5, 0.5])):
        found = paired(before, after, clusters=["a"] * len(before))
        assert verdict(found, found.p_value, higher_is_better=True) == "no difference shown"
        has_one = len(before) == 1
        assert ((found.low, found.high, found.smallest) == (None, None, None)) is has_one


@pytest.mark.parametrize(("freedom", "value"), [(1, 12.7062), (2, 4.3027), (5, 2.5706), (10, 2.2281), (60, 2.0003)])
def test_quantiles_of_t(freedom, value):
    assert t_quantile(freedom) == pytest.approx(value, rel=2e-3)


@pytest.mark.parametrize(("freedom", "p"), [(1, 0.5), (2, 0.4226), (3, 0.3910), (10, 0.3409), (1000, 0.3176)])
def test_p_values_of_t_at_one(freedom, p):
    assert statistics.p_of_t(1.0, 1.0, freedom) == pytest.approx(p, abs=1e-4)


@pytest.mark.peer
def test_mcnemar_holm_and_t_are_those_of_scipy_and_statsmodels():
    stats = pytest.importorskip("scipy.stats", reason="scipy is a peer")
    multi = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels is a peer")
    tables = pytest.importorskip("statsmodels.stats.contingency_tables", reason="statsmodels is a peer")
    rng = np.random.default_rng(0)
    for lost, won in rng.integers(0, 200, (20, 2)):
        assert mcnemar(lost, won) == pytest.approx(tables.mcnemar([[0, lost], [won, 0]], exact=True).pvalue)
    values = rng.uniform(size=12).tolist()
    assert holm(values) == pytest.approx(multi.multipletests(values, method="holm")[1])
    before, after = rng.normal(size=(2, 40))
    assert paired(before, after).p_value == pytest.approx(stats.ttest_rel(before, after).pvalue)
    assert t_quantile(17) == pytest.approx(stats.t.ppf(0.975, 17), rel=1e-4)
    for freedom in (1, 2, 3, 9, 10, 3349):
        assert statistics.p_of_t(2.0, 1.0, freedom) == pytest.approx(2 * stats.t.sf(2.0, freedom))
