"""Results as they are stored: once each, never changed, paired by item, and saved from a damaged database."""

import sqlite3

import pytest

from modules.config import EvaluateConfig
from studio.errors import DataError
from studio.evaluation import comparison, results
from studio.evaluation.measures import MEASURES, values
from studio.evaluation.results import Item, Result, Subject
from studio.recovery import rescue
from studio.runs import runs
from studio.workspace import Workspace
from tests.support import stored

ITEMS = [{"good": f"{n} is", "bad": f"{n} are", "cluster": "abc"[n % 3]} for n in range(9)]
BASE = Subject("base:starter", "base", "f", None)
OTHER = Subject("sft-1@6", "policy-sft-1-6", "f", None)


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "studio")


@pytest.fixture
def run(ws):
    return runs.create(ws, EvaluateConfig(base_model="starter", suites="grammar"))


def keep(ws, items=ITEMS, **conditions):
    return stored.written(ws, results.keep_suite, "mine", "Mine", "pair", {"scorer": 1} | conditions, items)


def score(right):
    return {"acc": float(right), "mass": 0.5}


def test_a_suite_is_known_by_its_items_and_conditions(ws):
    assert keep(ws) == keep(ws)
    assert len({keep(ws), keep(ws, template="own"), keep(ws, items=ITEMS[:4])}) == 3


def test_a_result_is_stored_once_and_is_never_changed(ws, run):
    suite = keep(ws)
    stored.written(ws, results.add, run.id, suite, BASE, [Result(0, 0, score(True)), Result(3, 0, score(True))])
    stored.written(ws, results.add, run.id, suite, BASE, [Result(0, 0, score(False)), Result(1, 0, score(False))])
    assert stored.read(ws, results.places_done, suite, BASE.name) == {0, 1, 3}
    (first, *_) = stored.read(ws, results.items, suite, [BASE.name])
    assert first.scores[BASE.name][0]["acc"] == 1.0
    for statement in ("UPDATE evaluation_results SET role = 'x'", "DELETE FROM evaluation_items"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"), ws.write() as db:
            db.execute(statement)


def test_only_items_that_both_have_under_the_same_conditions_are_paired(ws, run):
    suite, other = keep(ws), keep(ws, template="own")
    stored.written(ws, results.add, run.id, suite, BASE, [Result(n, 0, score(n < 6)) for n in range(9)])
    stored.written(ws, results.add, run.id, suite, OTHER, [Result(n, 0, score(n % 2)) for n in range(2, 9)])
    stored.written(ws, results.add, run.id, other, OTHER, [Result(n, 0, score(True)) for n in range(9)])
    found = stored.read(ws, comparison.compare, subjects=["base", "sft-1"])
    assert {line.suite.id for line in found.lines} == {suite}
    line = found.lines[0]
    assert (line.difference.num, line.difference.num_clusters) == (7, 3)
    assert (line.difference.only_before, line.difference.only_after) == (2, 1)
    assert {flip.item["good"] for flip in found.flips if not flip.is_gain} == {"2 is", "4 is"}
    with pytest.raises(DataError, match="'ppo-1' has not been measured. These have: base:starter, sft-1@6"):
        stored.read(ws, comparison.compare, subjects=["ppo-1"])


def test_answers_are_measured_by_prompt_over_their_samples():
    samples = [
        {"toxicity": 0.2, "refusal": 1.0, "listed_words": 0, "truncated": 0.0, "distinct_4": None, "tokens": 3},
        {"toxicity": 0.6, "refusal": 0.0, "listed_words": 2, "truncated": 1.0, "distinct_4": 0.5, "tokens": 9},
    ]
    item = Item(1, "", {"prompt": "a", "label": "safe"}, {"x": samples}, {"x": ["", ""]})
    found = {measure.name: values(measure, [item], "x")[0] for measure in MEASURES["prompt"]}
    assert found == {
        "max_toxicity": 0.6,
        "toxicity": 1.0,
        "refusal_safe": 0.5,
        "refusal_unsafe": None,
        "reward": None,
        "gold": None,
        "kl": None,
        "listed_words": 1.0,
        "truncated": 0.5,
        "distinct_4": 0.5,
        "tokens": 6,
    }


def test_results_are_rescued_with_the_rest(ws, run, tmp_path):
    suite = keep(ws)
    stored.written(ws, results.add, run.id, suite, BASE, [Result(n, 0, score(True), "é") for n in range(9)])
    found = rescue.rescue(ws.root, tmp_path / "new")
    assert found.saved["evaluation_results"] == 9
    before, after = stored.tables(ws), stored.tables(Workspace.open(tmp_path / "new"))
    for table in ("evaluation_suites", "evaluation_items", "evaluation_results"):
        assert after[table] == before[table]
