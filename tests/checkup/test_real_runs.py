"""Two real PPO runs that were made sick on purpose: the rules for them speak. `tests/benchmarks/checkup_rates.py` has all kinds."""

import pytest

from studio.checkup import findings
from tests.benchmarks.checkup_rates import HEALTHY, KINDS, Bench
from tests.support import stored

SMALL = HEALTHY.model_copy(update={"iterations": 12, "batch_size": 8, "minibatch_size": 4, "max_new_tokens": 24})


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    made = Bench.open(tmp_path_factory.mktemp("sick") / "studio")
    made.prepare(has_reward=False)
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "rule", "state"),
    [
        ("constant", "the scores' spread changes", "finished"),
        ("endless", "answers do not end", "finished"),
        ("broken", findings.NOT_FINITE, "stopped"),
    ],
)
def test_the_rule_for_a_sickness_speaks_on_a_real_run_that_has_it(bench, kind, rule, state):
    run = bench.ppo(kind, SMALL)
    assert run.state == state, run.message
    found = {finding.rule: finding for finding in stored.read(bench.ws, findings.of_run, run)}
    assert rule in KINDS[kind].meant
    assert rule in found
    assert found[rule].step <= run.config.iterations
