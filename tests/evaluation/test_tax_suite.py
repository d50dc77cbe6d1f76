"""PPO's tax budget measured by a suite: what is handed on, in a real short run, and what is refused beforehand."""

import json

import pytest

from modules.config import PPOConfig, SFTConfig
from modules.rl.best_policy import Selection
from studio.errors import ConfigError, DataError
from studio.models import checkpoints
from studio.preferences import prompts
from studio.preferences.prompts import NewPrompt
from studio.runs import budgets, launcher, metrics, runs
from studio.workspace import Workspace
from tests.evaluation.test_best_of import TINY
from tests.support import stored, warm
from tests.support.waiting import for_run

SHORT = "def short(prompts, responses):\n    return [-0.1 * len(response) for response in responses]\n"
TAXED = PPOConfig(
    **TINY,
    iterations=6,
    minibatch_size=8,
    epochs=2,
    max_new_tokens=8,
    value_warmup=0,
    learning_rate=2e-2,
    rewards="function:short.py:short",
    eval_every=1,
    eval_suites="stories",
    eval_suite_items=8,
    tax_suite="stories",
    tax_budget=1e-4,
)


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    """A workspace with an SFT checkpoint, prompts, and a reward that likes short answers; no demonstration is held out."""
    with warm.starts():
        ws = Workspace.open(tmp_path_factory.mktemp("taxed") / "studio")
        (ws.rewards / "short.py").write_text(SHORT, encoding="utf-8")
        with ws.write() as db:
            for n in range(24):
                split = "validation" if n % 4 == 0 else "train"
                asked = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"What is {n}?"}], split=split))
                if split == "train":
                    prompts.add_response(db, asked, f"It is {n}.", "demonstration")
        ended(ws, SFTConfig(**TINY | {"eval_every": 1000}, epochs=1, eval_samples=0))
        yield ws


def ended(ws, config):
    run = launcher.start(ws, runs.create(ws, config))
    run = for_run(ws, run.name, lambda r: r.is_ended)
    assert run.state == "finished", run.message
    return run


def curve(ws, run, name):
    return dict(stored.read(ws, metrics.curve, run.id, name))


def test_the_policy_that_is_handed_on_is_the_best_one_that_kept_within_the_suites_budget(ws):
    run = ended(ws, TAXED)
    tax, score = curve(ws, run, "suite/stories"), curve(ws, run, "eval/score")
    assert tax.keys() == score.keys() == set(range(7))
    within = [step for step in tax if tax[step] <= tax[0] * 1.0001]
    assert max(score, key=lambda step: score[step]) not in within, "without the budget another one would be handed on"
    best = max(within, key=lambda step: score[step])
    assert stored.read(ws, checkpoints.get, run.name).step == best
    assert f"Step {best}" in run.message
    assert "within 0.0% worse on stories" in run.message
    generous = ended(ws, TAXED.model_copy(update={"tax_budget": 100.0}))
    score = curve(ws, generous, "eval/score")
    assert stored.read(ws, checkpoints.get, generous.name).step == max(score, key=lambda step: score[step]) != best


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tax_budget": 0.0}, "but tax_budget is 0"),
        ({"eval_suites": ""}, "but eval_suites is empty"),
        ({"eval_suites": "grammar, facts@chat"}, "eval_suites has: grammar, facts@chat"),
    ],
)
def test_a_suite_that_limits_nothing_or_is_not_measured_is_refused(ws, changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        runs.create(ws, TAXED.model_copy(update=changes))


def test_without_held_out_demonstrations_a_suite_is_asked_for(ws):
    with pytest.raises(DataError, match="name a suite as tax_suite"):
        runs.create(ws, TAXED.model_copy(update={"tax_suite": ""}))
    budgets.check(TAXED, has_prompts=True, has_demonstrations=False)


def test_no_resume_measures_the_tax_by_something_else(ws):
    run = stored.read(ws, runs.list_all, stage="ppo")[0]
    with pytest.raises(ConfigError, match="tax_suite cannot change on a resume"):
        runs.resume(ws, run.name, ["iterations=9", "tax_suite="])


def test_a_share_that_may_fall_is_kept_as_well_as_a_loss_that_may_rise():
    """Accuracies of 0.60, 0.58, 0.56 with a budget of 5 %: 0.57 is the least."""
    found = Selection(tax_budget=0.05, tax_suite="grammar")
    for step, accuracy in enumerate((0.60, 0.58, 0.56)):
        found.consider(step, {"eval/score": float(step), "eval/kl": 1.0, "eval/tax_loss": 2.0}, -accuracy)
    assert found.best is not None
    assert (found.best.step, found.start_loss) == (1, -0.60)
    again = Selection(tax_budget=0.05, tax_suite="grammar")
    again.load_state(json.loads(json.dumps(found.state())))
    assert again == found
    found.consider(3, {"eval/score": 9.0, "eval/kl": 1.0})
    assert found.best.step == 1, "what was not measured is not handed on"
