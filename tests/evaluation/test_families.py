"""What PPO earned for its KL, of hand-written results: each SFT policy with what was trained from it, and best-of-n of any policy."""

import json
import math

import pytest

from modules.config import EvaluateConfig, PPOConfig, SFTConfig
from studio.evaluation import best_of, comparison, curves, distances, overoptimisation, report, results
from studio.evaluation.results import Result, Subject
from studio.models import checkpoints
from studio.runs import runs
from studio.workspace import Workspace
from tests.support import stored
from tests.ui import filling
from ui.pages.evaluate import earned
from ui.pages.evaluate import page as evaluate


@pytest.fixture
def ws(tmp_path):
    """Two SFT policies, two PPO runs from the first and one from the second."""
    ws = Workspace.open(tmp_path / "studio")
    filling.add_texts(ws, 4)
    for _ in range(2):
        filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()), step=6)
    for name, origin, steps in (("ppo-1", "sft-1@6", (2, 4)), ("ppo-2", "sft-1@6", (3,)), ("ppo-4", "sft-2@6", (4,))):
        run = filling.add_run(ws, SFTConfig())
        with ws.write() as db:
            db.execute(
                "UPDATE runs SET stage = 'ppo', name = ?, config = ? WHERE id = ?",
                [name, PPOConfig().model_dump_json(), run.id],
            )
            db.execute("INSERT INTO run_parents VALUES (?, 'sft', ?)", [run.id, checkpoints.id_of(db, origin)])
        for step in steps:
            filling.add_checkpoint(ws, stored.read(ws, runs.get, name), step=step)
    return ws


KLS = {"sft-1@6": 0.0, "ppo-1@2": 1.0, "ppo-1@4": 4.0, "ppo-2@3": 2.0, "sft-2@6": 0.0, "ppo-4@4": 9.0}


def measure(ws, names, samples=1, **conditions):
    """Answers with scores by two reward models and the KL from the policy's own start."""
    run = filling.add_run(ws, EvaluateConfig(base_model="starter", suites="grammar"))
    items = [{"prompt": f"Question {n}?"} for n in range(6)]
    known = {"scorer": 1, "top_p": 1.0, "samples": samples, "reward": "reward-1@4"} | conditions
    with ws.write() as db:
        suite = results.keep_suite(db, "answers", "Answers", "prompt", known, items)
        for name in names:
            scores = {"tokens": 3, "truncated": 0.0, "distinct_4": None, "listed_words": 0, "refusal": 0.0}
            kl = {"kl": KLS[name]} if name in KLS and known["top_p"] == 1 else {}
            judged = {"reward": KLS.get(name, -1.0)} | kl
            found = [
                Result(n, k, scores | judged | {"reward": judged["reward"] + k + n / 9}, "So.")
                for n in range(len(items))
                for k in range(samples)
            ]
            results.add(db, run.id, suite, Subject(name, "policy", "f", None), found)


def test_each_sft_policy_has_a_curve_of_its_own_descendants_only(ws):
    measure(ws, KLS)
    second, first = stored.read(ws, overoptimisation.read)
    assert [policy.name for policy in first.policies] == ["sft-1@6", "ppo-1@2", "ppo-2@3", "ppo-1@4"]
    assert [policy.name for policy in second.policies] == ["sft-2@6", "ppo-4@4"]
    names = [name for name, _, _ in curves._groups(first)]
    assert names == ["ppo-1", "ppo-2"], "two runs are two lines"
    lines = {name: [root for root, *_ in points] for name, points, _ in curves._groups(first)}
    assert lines == {"ppo-1": [0.0, 1.0, 2.0], "ppo-2": [0.0, pytest.approx(math.sqrt(2))]}
    assert [name for name, _, _ in curves._groups(second)] == ["PPO"]
    assert "over sft-2@6" in curves.units(second)
    assert [facts["start"] for facts in stored.read(ws, report.earned)] == ["sft-2@6", "sft-1@6"]
    (drawn,) = earned._refresh(ws)
    assert "Answers, from sft-1@6" in drawn
    assert "Answers, from sft-2@6" in drawn


def test_a_policy_whose_start_was_not_measured_says_so_and_gains_are_over_the_nearest(ws):
    measure(ws, ["sft-1@6", "ppo-4@4"])
    assert stored.read(ws, overoptimisation.read)[0].advice.startswith(
        "sft-2@6 was not measured on these prompts, from which this policy began"
    )
    measure(ws, ["ppo-1@4", "ppo-1@2"], seed=1)
    (curve, *_) = stored.read(ws, overoptimisation.read)
    assert [policy.name for policy in curve.policies] == ["ppo-1@2", "ppo-1@4"]
    assert "measure it too, and gains are over it, not over ppo-1@2" in curve.advice


@pytest.mark.parametrize("name", ["base:starter", "sft-1@6", "ppo-1@4"])
def test_best_of_n_is_shown_of_any_policy_also_where_it_stands_alone(ws, name):
    measure(ws, [name], samples=4)
    (curve,) = stored.read(ws, overoptimisation.read)
    assert [best.n for best in curve.best] == [1, 2, 3, 4]
    assert curve.best[3].proxy == pytest.approx(curve.start.proxy + 1.5), (
        "of 0, 1, 2 and 3 the highest instead of the mean"
    )
    assert curve.best[3].kl == pytest.approx(best_of.kl(4) + KLS.get(name, 0.0))
    shown = name.replace("base:starter", "base (starter)")
    assert [row[0] for row in curves.table(curve)[1:]] == [shown, f"best of 2 of {shown}", f"best of 4 of {shown}"]
    (drawn,) = earned._refresh(ws)
    assert f"best of 4 of {shown}" in drawn
    assert "<svg" in drawn


def test_best_of_n_of_a_trained_policy_stands_beside_that_of_its_start(ws):
    measure(ws, ["sft-1@6", "ppo-1@4"], samples=4)
    (curve,) = stored.read(ws, overoptimisation.read)
    assert [row[0] for row in curves.table(curve)[3:]] == [
        "best of 2 of sft-1@6",
        "best of 4 of sft-1@6",
        "best of 4 of ppo-1@4",
    ]
    (facts,) = stored.read(ws, report.earned)
    assert [best["n"] for best in facts["best_of_n_of_others"]["ppo-1@4"]] == [1, 2, 3, 4]


def test_single_answers_of_one_policy_and_answers_cut_by_top_p_draw_nothing(ws):
    measure(ws, ["sft-1@6"])
    measure(ws, ["base:starter", "sft-1@6", "ppo-1@4"], samples=4, top_p=0.9)
    assert stored.read(ws, overoptimisation.read) == []


def grammar(ws, names):
    """Results on sentence pairs, each checkpoint with one right answer more than the one before it."""
    run = filling.add_run(ws, EvaluateConfig(base_model="starter", suites="grammar"))
    pairs = [{"good": f"They are {n}.", "bad": f"They is {n}."} for n in range(8)]
    with ws.write() as db:
        suite = results.keep_suite(db, "grammar", "Grammar", "pair", {"scorer": 1}, pairs)
        for place, name in enumerate(names):
            found = [Result(n, 0, {"acc": float(n < place), "mass": 0.5}) for n in range(8)]
            results.add(db, run.id, suite, Subject(name, "policy", "f", None), found)


def test_scores_are_drawn_over_the_measured_kl_a_line_a_run_from_its_own_start(ws):
    names = ["base:starter", *KLS]
    grammar(ws, names)
    measure(ws, list(KLS))
    found = stored.read(ws, comparison.compare)
    far = stored.read(ws, distances.read, found)
    assert far.kl == KLS
    assert far.source == "measured on Answers"
    right = {name: place / 8 for place, name in enumerate(names)}
    lines = {each.name: each.points for each in distances._series({name: right[name] for name in names}, far)}
    assert lines == {
        "ppo-1": [(0.0, right["sft-1@6"]), (1.0, right["ppo-1@2"]), (4.0, right["ppo-1@4"])],
        "ppo-2": [(0.0, right["sft-1@6"]), (2.0, right["ppo-2@3"])],
        "ppo-4": [(0.0, right["sft-2@6"]), (9.0, right["ppo-4@4"])],
    }
    assert "Against the KL" in stored.read(ws, report.render, found)
    forests, *_ = evaluate._draw(ws, "")
    assert "Grammar: accuracy against KL" in forests
    assert "grammar: accuracy</text>" in forests
    assert "measured on Answers" in forests
    against_sft = stored.read(ws, comparison.compare, "sft-1", ["sft-1", "ppo-1@2"])
    assert distances.charts(against_sft, stored.read(ws, distances.read, against_sft)), (
        "what is compared with is a point too"
    )


def test_scores_under_different_conditions_are_not_joined_in_one_line(ws):
    measure(ws, ["sft-1@6", "ppo-1@2", "ppo-1@4"])
    for seed in (1, 2):
        measure(ws, ["sft-1@6", f"ppo-1@{2 * seed}"], seed=seed)
    found = stored.read(ws, comparison.compare, "sft-1")
    drawn = distances.charts(found, stored.read(ws, distances.read, found))
    assert len(drawn) == 2, "each policy's newest conditions are others"
    assert [chart.count('class="target"') for chart in drawn] == [2, 2]


def test_without_sampled_answers_the_kl_is_that_of_the_runs_also_between_evaluations(ws):
    grammar(ws, ["sft-1@6", "ppo-1@2", "ppo-1@4"])
    with ws.write() as db:
        for name, figures in (("ppo-1@2", {"saved_at_kl": 1.0, "objective/kl": 1.25}), ("ppo-1@4", {"eval/kl": 3.5})):
            db.execute("UPDATE checkpoints SET metrics = ? WHERE name = ?", [json.dumps(figures), name])
    found = stored.read(ws, comparison.compare, "sft-1")
    far = stored.read(ws, distances.read, found)
    assert (far.kl, far.source) == ({"sft-1@6": 0.0, "ppo-1@2": 1.25, "ppo-1@4": 3.5}, distances.OF_RUNS)
    assert stored.read(ws, report.facts, found)["kl"] == far.kl
    alone = stored.read(ws, comparison.compare, "sft-1", ["sft-1"])
    assert distances.charts(alone, stored.read(ws, distances.read, alone)) == []
