import math

import pytest
import torch
from torch import Tensor

from modules.agreement import (
    Judged,
    agreement,
    area_under_roc,
    correlation,
    measure,
)
from modules.calibration import calibration_error, reliability
from modules.intervals import wilson_interval
from modules.metrics import sentence


def judged(margins: list[float], **changes: Tensor) -> Judged:
    n = len(margins)
    plain = {
        "chosen": torch.tensor(margins),
        "rejected": torch.zeros(n),
        "target_p": torch.ones(n),
        "weight": torch.ones(n),
        "chosen_length": torch.full((n,), 10.0),
        "rejected_length": torch.full((n,), 20.0),
        "strength": torch.zeros(n),
        "category": torch.zeros(n, dtype=torch.long),
        "uncertainty": torch.zeros(n),
    }
    return Judged(**(plain | changes))


def test_item_34_equal_scores_count_half_and_ties_do_not_count() -> None:
    found = agreement(torch.tensor([1.0, 0.0, -1.0, 5.0, -2.0]), torch.tensor([1.0, 1.0, 1.0, 0.5, 0.0]))
    assert found.num == 4
    assert found.accuracy == pytest.approx(2.5 / 4)
    nothing = agreement(torch.tensor([1.0]), torch.tensor([0.5]))
    assert (nothing.num, nothing.accuracy, nothing.low, nothing.high) == (0, 0.0, 0.0, 1.0)


def test_the_wilson_interval_has_its_published_values() -> None:
    """81 of 263, from Newcombe 1998: 0.2553 to 0.3662; and 0 of 20: 0 to 0.1611."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_calibration_error_is_0_for_an_honest_model_and_large_for_a_boaster() -> None:
    confidence = torch.tensor([0.75] * 4)
    assert calibration_error(confidence, torch.tensor([1.0, 1.0, 1.0, 0.0])) == pytest.approx(0.0, abs=1e-6)
    assert calibration_error(torch.full((4,), 0.999), torch.tensor([1.0, 0.0, 1.0, 0.0])) == pytest.approx(
        0.499, abs=1e-3
    )
    two_bins = calibration_error(torch.tensor([0.55, 0.95]), torch.tensor([1.0, 0.0]))
    assert two_bins == pytest.approx((0.45 + 0.95) / 2, abs=1e-6)


def test_item_35_points_of_the_reliability_curve_are_means_within_tenths_of_one_half_to_one() -> None:
    points = reliability(torch.tensor([0.51, 0.54, 0.99, 1.0, 0.72]), torch.tensor([1.0, 0.0, 1.0, 1.0, 0.5]))
    assert [(p.place, p.num) for p in points] == [(0, 2), (4, 1), (9, 2)]
    assert [p.predicted for p in points] == pytest.approx([0.525, 0.72, 0.995])
    assert [p.observed for p in points] == pytest.approx([0.5, 0.5, 1.0])


def test_item_35_an_honest_model_has_its_curve_on_the_diagonal() -> None:
    """Outcomes drawn from the model's own probabilities: 40,000 pairs, so a tenth strays by about 0.01."""
    torch.manual_seed(0)
    margins = 2 * torch.randn(40_000)
    target_p = (torch.rand(40_000) < torch.sigmoid(margins)).float()
    found = measure(judged([0.0] * 40_000, chosen=margins, target_p=target_p), ("talk",))
    assert found["eval/ece"] < 0.01
    for index in range(10):
        predicted, observed = found[f"reliability_predicted/{index}"], found[f"reliability_observed/{index}"]
        assert predicted == pytest.approx(observed, abs=0.03)
        assert 0.5 + index / 20 <= predicted <= 0.55 + index / 20
    assert sum(found[f"reliability_num/{index}"] for index in range(10)) == 40_000 == found["eval/num"]


def test_the_log_loss_is_weighted_and_its_interval_narrows_with_the_root_of_the_number() -> None:
    few = judged([1.0, -1.0], weight=torch.tensor([3.0, 1.0]))
    low, high = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    found = measure(few, ("talk",))
    assert found["eval/loss"] == pytest.approx((3 * low + high) / 4, abs=1e-6)
    widths = []
    for repeats in (50, 200):
        many = measure(judged([1.0, -1.0] * repeats), ("talk",))
        widths.append(many["eval/loss_high"] - many["eval/loss_low"])
        spread = (high - low) / 2  # of losses that are one or the other, half and half
        assert widths[-1] == pytest.approx(2 * 1.96 * spread / math.sqrt(2 * repeats), rel=1e-3)
    assert widths[0] == pytest.approx(2 * widths[1], rel=1e-3)


def test_accuracy_by_strength_and_by_category_counts_each_pair_where_it_belongs() -> None:
    found = measure(
        judged(
            [1.0, -1.0, 1.0, 1.0, -2.0],
            strength=torch.tensor([1.0, 1.0, 3.0, 0.0, 0.0]),
            category=torch.tensor([0, 1, 1, 1, 0]),
            target_p=torch.tensor([1.0, 1.0, 1.0, 0.5, 1.0]),
        ),
        ("talk", "", "unused"),
    )
    by_strength = {name: value for name, value in found.items() if name.startswith("strength")}
    assert by_strength == {
        "strength_accuracy/1": 0.5,
        "strength_num/1": 2,
        "strength_accuracy/3": 1,
        "strength_num/3": 1,
    }
    by_category = {name: value for name, value in found.items() if name.startswith("category")}
    assert by_category == {
        "category_accuracy/talk": 0.5,
        "category_num/talk": 2,
        "category_accuracy/none": 0.5,
        "category_num/none": 2,
    }
    assert all(sentence(name) for name in found)
    assert sentence("category_accuracy") == "" == sentence("eval/nonsense")


def test_a_score_that_counts_words_is_found_out_by_its_correlation_and_by_pairs_of_equal_length() -> None:
    """The score is the length: right wherever the longer one is preferred, and at chance where lengths are equal."""
    longer = torch.arange(10.0, 50.0)
    lengths = torch.cat([longer, torch.tensor([30.0, 30.0, 40.0, 38.0])])
    others = torch.cat([longer / 2, torch.tensor([30.0, 30.0, 40.0, 40.0])])
    counted = judged([0.0] * 44, chosen=lengths, rejected=others, chosen_length=lengths, rejected_length=others)
    found = measure(counted, ("talk",))
    assert found["eval/accuracy"] > 0.9
    assert found["eval/length_correlation"] == pytest.approx(1.0, abs=1e-6)
    assert found["eval/length_matched_num"] == 4
    assert found["eval/length_matched_accuracy"] == pytest.approx(1.5 / 4)
    blind = measure(counted._replace(chosen=torch.ones(44), rejected=torch.zeros(44)), ("talk",))
    assert abs(blind["eval/length_correlation"]) < 0.6


def test_the_correlation_agrees_with_torch_and_its_interval_with_fisher() -> None:
    torch.manual_seed(1)
    length = torch.randint(5, 60, (60,)).float()
    score = 0.03 * length + torch.randn(60)
    expected = torch.corrcoef(torch.stack([score, length]))[0, 1].item()
    assert correlation(score, length) == pytest.approx(expected, abs=1e-6)
    assert correlation(score, torch.ones(60)) == 0.0
    pairs = judged(
        [0.0] * 30, chosen=score[:30], rejected=score[30:], chosen_length=length[:30], rejected_length=length[30:]
    )
    found = measure(pairs, ("talk",))
    assert found["eval/length_correlation"] == pytest.approx(expected, abs=1e-6)
    z = 0.5 * math.log((1 + expected) / (1 - expected))
    assert found["eval/length_correlation_low"] == pytest.approx(math.tanh(z - 1.959964 / math.sqrt(27)), abs=1e-6)
    assert found["eval/length_correlation_high"] == pytest.approx(math.tanh(z + 1.959964 / math.sqrt(27)), abs=1e-6)


def test_the_area_under_the_roc_counts_pairs_of_one_right_and_one_wrong() -> None:
    values, is_wrong = torch.tensor([3.0, 1.0, 2.0, 2.0]), torch.tensor([True, False, False, True])
    assert area_under_roc(values, is_wrong) == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    assert area_under_roc(values, torch.zeros(4, dtype=torch.bool)) == 0.5
    assert area_under_roc(values, torch.ones(4, dtype=torch.bool)) == 0.5
    assert area_under_roc(torch.zeros(0), torch.zeros(0, dtype=torch.bool)) == 0.5


@pytest.mark.parametrize("levels", [2, 5, 1000], ids=str)
def test_the_area_under_the_roc_by_ranks_is_that_of_all_pairs_ties_included(levels: int) -> None:
    generator = torch.Generator().manual_seed(levels)
    values = torch.randint(levels, (300,), generator=generator).float() / levels
    is_wrong = torch.rand(300, generator=generator) < 0.3
    wrong, right = values[is_wrong].unsqueeze(1), values[~is_wrong].unsqueeze(0)
    expected = float(((wrong > right).double() + 0.5 * (wrong == right).double()).mean())
    assert area_under_roc(values, is_wrong) == pytest.approx(expected, abs=1e-15)


def test_the_area_under_the_roc_of_many_pairs_takes_no_memory_for_each_two_of_them() -> None:
    num = 400_000  # all pairs of one right and one wrong: 40 billion, 320 GB in float64
    values = torch.arange(num) % 1000
    is_wrong = torch.arange(num) % 2 == 0
    assert area_under_roc(values.float(), is_wrong) == pytest.approx(0.499, abs=1e-12)


def test_disagreement_is_reported_for_ensembles_only_and_judged_by_whether_it_predicts_errors() -> None:
    assert "eval/uncertainty" not in measure(judged([1.0, -1.0]), ("talk",))
    found = measure(judged([1.0, -1.0, 2.0], uncertainty=torch.tensor([0.1, 0.9, 0.2])), ("talk",))
    assert found["eval/uncertainty"] == pytest.approx(0.4)
    assert found["eval/uncertainty_auc"] == 1.0
    for margins in ([1.0, 2.0], [-1.0, -2.0]):  # with no wrong or no right one there is nothing to tell apart
        found = measure(judged(margins, uncertainty=torch.tensor([0.1, 0.9])), ("talk",))
        assert "eval/uncertainty" in found
        assert "eval/uncertainty_auc" not in found
