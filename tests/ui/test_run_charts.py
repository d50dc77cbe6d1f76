"""A run's charts: in named groups that fold, flat values as numbers."""

import re

import pytest

from modules.config import PPOConfig, SFTConfig
from modules.metrics import METRICS
from studio.runs import metrics
from tests.support import stored
from tests.ui import filling
from tests.ui.filling import HOSTILE
from ui.components.charts import Curve
from ui.pages.runs import curves, groups

NAMES = ("objective/kl", "objective/kl_coef", "policy/loss", "value/loss", "rollout/response_tokens", "time/update_s")


@pytest.fixture
def ppo(ws):
    """A PPO run of forty iterations, each value its iteration but one that never changes."""
    filling.add_texts(ws)
    filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()), 10)
    (ws.rewards / "length.py").write_text("def short(prompts, responses):\n    return [0.0 for _ in responses]\n")
    run = filling.add_run(ws, PPOConfig(rewards="function:length.py:short"))
    for step in range(1, 41):
        values = {name: float(step) for name in NAMES} | {"objective/kl_coef": 0.05, "eval/kl": 2.0 * step}
        stored.written(ws, metrics.add, run.id, step, values)
    return ws, run


def drawn(ws, run, *others):
    return stored.read(ws, curves.draw, run.name, [other.name for other in others], 0, False)


def test_charts_stand_in_named_groups_in_order_and_time_is_folded(ppo):
    found = re.findall(r'data-group="(\w+)"( open)?><summary><h3>(\w+)</h3><span class="num">(\d+)', drawn(*ppo))
    assert found == [
        ("objective", " open", "Objective", "2"),
        ("policy", " open", "Policy", "1"),
        ("value", " open", "Value", "1"),
        ("rollout", " open", "Rollout", "1"),
        ("time", "", "Time", "1"),
    ]


def test_every_metric_that_is_logged_has_a_group():
    of = {name: groups.of([name]) for name in METRICS}
    assert set(of.values()) <= {group.key for group in groups.GROUPS}
    assert (of["train/lr"], of["train/tokens_per_s"], of["train/loss"]) == ("steps", "time", "objective")
    assert groups.of(["objective/kl", "eval/kl"]) == "objective"
    assert groups.of(["eval/response_tokens", "rollout/response_tokens"]) == "rollout"


def test_a_value_that_never_changed_is_a_number_until_it_does(ppo):
    ws, run = ppo
    assert drawn(ws, run).count("<figure") == 5
    assert '<b>kl coef</b> <span class="num">0.050</span>' in drawn(ws, run)
    stored.written(ws, metrics.add, run.id, 41, {"objective/kl_coef": 0.0500001})
    assert drawn(ws, run).count("<figure") == 6
    assert "<b>kl coef</b>" in drawn(ws, run)
    assert 'class="flat"' not in drawn(ws, run)


def test_a_single_value_is_a_point_and_not_called_unchanged():
    assert not groups.is_flat([Curve("a", [(1, 2.0)])])
    assert groups.is_flat([Curve("a", [(1, 2.0), (2, 2.0)])])
    assert not groups.is_flat([Curve("a", [(1, 2.0), (2, 2.0)]), Curve("b", [(1, 2.0), (2, 2.1)])])
    assert not groups.is_flat([Curve("a", [(1, 2.0), (2, 2.0)], (), 3.0)]), "its newest value is another one"
    assert not groups.is_flat([])


def test_of_several_runs_each_has_its_number_where_they_differ(ppo):
    ws, run = ppo
    other = filling.add_run(ws, run.config)
    for step in (1, 2):
        stored.written(ws, metrics.add, other.id, step, {"objective/kl_coef": 0.2})
    assert f"{run.name} 0.050, {other.name} 0.200" in drawn(ws, run, other)
    assert groups.number(HOSTILE, HOSTILE, [Curve(HOSTILE, [(1, 2.0), (2, 2.0)])]).count("<") == 6, "tags of its own"
