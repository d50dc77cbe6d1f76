"""Each rule speaks on a run that is sick in its way, and all are silent on a healthy one."""

import math
import random
from dataclasses import replace

import pytest

from modules.config import PPOConfig, SFTConfig
from studio.checkup import findings
from studio.checkup.findings import examine
from studio.checkup.rules import RULES
from studio.runs import metrics
from studio.workspace import Workspace
from tests.benchmarks.checkup_rates import KINDS
from tests.support import stored
from tests.ui import filling

WARM_UP, NUM = 5, 120
CONFIG = PPOConfig(value_warmup=WARM_UP)
RNG = random.Random(3)


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "studio")


def noisy(value, share=0.05):
    return value * (1 + RNG.uniform(-share, share))


def healthy():
    """Curves of a run that learns: the KL rises slowly to 6 nats, the score with it, and levels off."""
    curves = {name: [] for name in findings.METRICS}
    for step in range(1, NUM + 1):
        done = max(0, step - WARM_UP) / (NUM - WARM_UP)
        values = {
            "objective/kl": noisy(6 * math.sqrt(done)),
            "objective/score": -1 + 2.5 * done + RNG.uniform(-0.1, 0.1),
            "objective/score_spread": noisy(1.0),
            "objective/score_groups": noisy(0.72),
            "policy/approx_kl": noisy(1e-3),
            "policy/clip_fraction": noisy(0.05),
            "policy/entropy": noisy(2.5 - 0.5 * done),
            "policy/grad_norm": noisy(0.8, 0.3),
            "policy/ratio": noisy(1.0, 0.005),
            "value/advantage_spread": noisy(0.5),
            "value/explained_variance": noisy(0.6),
            "value/grad_norm": noisy(0.8, 0.3),
            "value/loss": noisy(0.2),
            "rollout/distinct_4grams": noisy(0.95, 0.02),
            "rollout/eos_share": noisy(0.95, 0.02),
            "rollout/length_correlation": RNG.uniform(-0.3, 0.3),
            "rollout/response_tokens": noisy(40),
        }
        if step % 10 == 0:
            values["eval/score"] = -1 + 2.3 * done
        for name, value in values.items():
            curves[name].append((step, value))
    return curves


def bent(name, change, start=60, end=NUM):
    """A healthy run whose metric is changed between two iterations."""
    curves = healthy()
    curves[name] = [(step, change(value, step) if start <= step <= end else value) for step, value in curves[name]]
    return curves


def falling(curves):
    curves["eval/score"] = [(step, -0.01 * step) for step, _ in curves["eval/score"]]
    return curves


def spent(curves):
    curves["objective/score"] = [(step, 1.0 - step / 100) for step, _ in curves["objective/score"]]
    return curves


SICK = {
    "the KL jumps": lambda: bent("objective/kl", lambda v, _: 3 * v, 60, 61),
    "the policy is far from SFT": lambda: bent("objective/kl", lambda v, s: v + (s - 60) * 0.3),
    "the KL is negative": lambda: bent("objective/kl", lambda v, _: -0.5),
    "the policy's choices narrow": lambda: bent("policy/entropy", lambda v, _: 0.4 * v),
    "the policy runs away from its rollouts": lambda: bent("policy/ratio", lambda v, _: 1.3, 60, 60),
    "much is clipped": lambda: bent("policy/clip_fraction", lambda v, _: 0.4, 60, 64),
    "the policy hardly moves": lambda: bent("policy/approx_kl", lambda v, _: 1e-8, 60, 69),
    "the value function does not help": lambda: bent("value/explained_variance", lambda v, _: -0.2, 60, 79),
    "the value loss jumps": lambda: bent("value/loss", lambda v, _: 4 * v, 60, 62),
    "advantages spread": lambda: bent("value/advantage_spread", lambda v, _: 4 * v, 60, 60),
    "a gradient jumps": lambda: bent("policy/grad_norm", lambda v, _: 9.0, 60, 60),
    "the scores' spread changes": lambda: bent("objective/score_spread", lambda v, _: 0.01, 60, 62),
    "scores fall into two groups": lambda: bent("objective/score_groups", lambda v, _: 0.95, 60, 62),
    "the score rises on trained prompts only": lambda: falling(healthy()),
    "answers get longer": lambda: bent("rollout/response_tokens", lambda v, _: 1.7 * v, 60, 62),
    "answers do not end": lambda: bent("rollout/eos_share", lambda v, _: 0.7, 60, 62),
    "answers repeat themselves": lambda: bent("rollout/distinct_4grams", lambda v, _: 0.5, 60, 62),
    "the run has run its course": lambda: spent(bent("objective/kl", lambda v, s: v + (s - 60) * 0.06)),
}


def test_each_rule_has_a_sick_run():
    assert {rule.name for rule in RULES} == set(SICK)


@pytest.mark.parametrize("name", SICK)
def test_a_rule_speaks_on_a_run_that_is_sick_in_its_way(name):
    found = {finding.rule: finding for finding in examine(SICK[name](), CONFIG)}
    assert name in found
    assert found[name].step >= 10
    assert found[name].said.endswith(".")
    assert found[name].advice.endswith(".")


def test_the_benchmark_makes_a_real_run_sick_for_each_rule():
    meant = {name for kind in KINDS.values() for name in kind.meant}
    assert meant == {*(rule.name for rule in RULES), findings.NOT_FINITE}
    assert sum(not kind.meant for kind in KINDS.values()) >= 10, "healthy runs"


def test_all_rules_are_silent_on_ten_healthy_runs_and_on_one_that_has_just_begun():
    assert [examine(healthy(), CONFIG) for _ in range(10)] == [[]] * 10
    assert examine({name: curve[:1] for name, curve in healthy().items()}, CONFIG) == []
    assert examine({}, CONFIG) == []


def test_the_first_iterations_of_a_long_run_are_not_taken_for_those_just_before_the_newest():
    curves = healthy()
    late = {
        name: [*curve[:25], *((step + 5000, value) for step, value in curve[-60:])] for name, curve in curves.items()
    }
    late["policy/grad_norm"] = [(step, 0.1 if step < 100 else 5.0) for step, _ in late["policy/grad_norm"]]
    late["value/loss"] = [(step, 0.1 if step < 100 else 5.0) for step, _ in late["value/loss"]]
    late["objective/score"] = [(step, score if step < 100 else score - 3) for step, score in late["objective/score"]]
    assert examine(late, CONFIG) == []


def spoken(curves, config=CONFIG):
    return {finding.rule for finding in examine(curves, config)}


def test_a_value_function_that_gets_better_is_given_time():
    getting_better = bent("value/explained_variance", lambda v, step: -3 * 0.9 ** (step - 6), 6, 45)
    assert spoken(getting_better) == set()
    staying = bent("value/explained_variance", lambda v, step: -3.0, 6, 45)
    assert spoken(staying) == {"the value function does not help"}


def test_a_value_loss_that_is_high_once_is_no_fault_unless_it_is_very_high():
    assert spoken(bent("value/loss", lambda v, _: 5 * v, 60, 61)) == set()
    assert spoken(bent("value/loss", lambda v, _: 12 * v, 60, 60)) == {"the value loss jumps"}


def test_a_kl_that_rises_fast_or_is_high_once_does_not_jump():
    assert spoken(bent("objective/kl", lambda v, _: 1.3 * v, 60, 61)) == set()
    assert spoken(bent("objective/kl", lambda v, _: 2.2 * v, 30, 30)) == set()


def test_a_gradient_that_is_high_once_is_no_fault_unless_it_is_very_high():
    assert spoken(bent("policy/grad_norm", lambda v, _: 2.4, 60, 60)) == set()
    assert spoken(bent("policy/grad_norm", lambda v, _: 3.9, 60, 60)) == {"a gradient jumps"}


def test_with_one_step_an_iteration_only_the_kl_tells_that_a_policy_stands_still():
    once = PPOConfig(value_warmup=WARM_UP, epochs=1, batch_size=32, minibatch_size=32)
    curves = bent("policy/approx_kl", lambda v, _: 0.0, 1, NUM)
    assert spoken(curves, once) == set()
    curves["objective/kl"] = [(step, 0.0) for step in range(1, NUM + 1)]
    assert spoken(curves, once) == {"the policy hardly moves"}


def test_scores_that_are_all_the_same_from_the_start_are_told_of():
    assert spoken(bent("objective/score_spread", lambda v, _: 0.0, 1, NUM)) == {"the scores' spread changes"}


def test_a_reward_of_two_values_from_the_start_is_no_change():
    assert spoken(bent("objective/score_groups", lambda v, _: 1.0, 1, NUM)) == set()


def test_a_held_out_score_that_falls_within_its_noise_is_no_sign():
    curves = healthy()
    curves["eval/score"] = [(step, -0.004 * step) for step, _ in curves["eval/score"]]
    assert spoken(curves) == set()
    assert spoken(curves, CONFIG.model_copy(update={"eval_prompts": 2048})) == {
        "the score rises on trained prompts only"
    }


def test_longer_answers_that_score_higher_are_told_of():
    found = examine(bent("rollout/length_correlation", lambda v, _: 0.8, 60, 64), CONFIG)
    assert [(finding.rule, finding.step, finding.asks_votes) for finding in found] == [("answers get longer", 64, True)]


def test_a_budget_is_the_limit_of_the_kl():
    curves = healthy()
    assert examine(curves, PPOConfig(value_warmup=WARM_UP, kl_budget=20)) == []
    found = examine(curves, PPOConfig(value_warmup=WARM_UP, kl_budget=3))
    assert {finding.rule for finding in found} == {"the policy is far from SFT"}
    assert "the limit is 3." in found[0].said


def test_a_rule_rests_for_a_hundred_iterations_and_a_run_has_fifty_findings_at_most():
    curves = {"policy/ratio": [(step, 2.0) for step in range(1, 8_001)]}
    found = examine(curves, CONFIG)
    assert len(found) == 50
    assert [finding.step for finding in found[:3]] == [1, 101, 201]


def test_a_stored_run_is_looked_at_and_one_that_stopped_itself_is_told_of_last(ws):
    sft = filling.add_run(ws, filling.add_texts(ws, 2) and SFTConfig())
    run = replace(sft, config=CONFIG, stage="ppo")
    for name, curve in SICK["much is clipped"]().items():
        for step, value in curve:
            stored.written(ws, metrics.add, run.id, step, {name: value})
    assert [finding.rule for finding in stored.read(ws, findings.of_run, run)] == ["much is clipped"]
    assert stored.read(ws, findings.of_run, sft) == []
    stopped = replace(run, state="stopped", is_fault=True, message="Paused: a loss is not finite.")
    found = stored.read(ws, findings.of_run, stopped)[-1]
    assert (found.rule, found.step, found.said) == (findings.NOT_FINITE, NUM, stopped.message)


def test_the_first_and_the_newest_values_of_a_long_curve_are_read_in_order(ws):
    run = filling.add_run(ws, filling.add_texts(ws, 2) and SFTConfig())
    for step in range(1, 31):
        stored.written(ws, metrics.add, run.id, step, {"objective/kl": float(step)})
    found = stored.read(ws, metrics.ends, run.id, "objective/kl", 3, 5)
    assert found == [(step, float(step)) for step in (1, 2, 3, 26, 27, 28, 29, 30)]
    assert stored.read(ws, metrics.ends, run.id, "objective/kl", 20, 25) == [(s, float(s)) for s in range(1, 31)]
