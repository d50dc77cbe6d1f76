"""The values of the KL at which PPO saves a checkpoint."""

import pytest
from pydantic import ValidationError

from modules.config import PPOConfig
from modules.config.milestones import Milestone, Milestones, parse


def noted(milestones: Milestones, *values: float) -> list[Milestone | None]:
    found = []
    for kl in values:
        milestones.note(kl)
        found.append(milestones.latest)
    return found


def test_each_value_is_noticed_once_when_the_kl_first_reaches_it() -> None:
    found = noted(Milestones((1.0, 3.0, 6.0)), 0.2, 1.0, 0.9, 1.5, 2.9, 6.5, 4.0, 7.0)
    assert found == [None, (1.0, 1.0), None, None, None, (6.0, 6.5), None, None], "6 is reached with 3, and marks both"


def test_a_kl_that_is_not_a_number_reaches_nothing_and_what_was_passed_stays_passed() -> None:
    milestones = Milestones((1.0, 3.0))
    assert noted(milestones, float("nan"), 1.2, 0.1) == [None, (1.0, 1.2), None]
    again = Milestones((1.0, 3.0))
    again.passed = milestones.passed
    assert noted(again, 1.3, 3.3) == [None, (3.0, 3.3)]


def test_values_are_read_in_any_order_and_what_is_no_distance_is_refused() -> None:
    assert parse("10, 1,3 ,1") == (1.0, 3.0, 10.0)
    assert parse("") == parse(" , ") == ()
    for wrong in ("0", "-1", "one", "1;3", "inf", "nan"):
        with pytest.raises(ValidationError, match="not a KL in nats"):
            PPOConfig(save_at_kl=wrong)
