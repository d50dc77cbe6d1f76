"""What lm-evaluation-harness logs, as items, scores and lines of the report. The samples have the form of version 0.4.13."""

import pytest

from modules.config import EvaluateConfig
from studio.datasets.untrusted_results import Evaluations
from studio.evaluation import comparison, harness, report, results
from studio.evaluation.measures import LOWER, of_task
from studio.evaluation.results import Result, Subject
from studio.runs import runs
from studio.worker import lm_eval_tasks
from studio.workspace import Workspace
from tests.support import stored


def sample(doc, metrics, **changes):
    fixed = {
        "doc_id": doc,
        "arguments": [(f"Question {doc}", " yes"), (f"Question {doc}", " no")],
        "filtered_resps": [(-1.0, False), (-2.0, False)],
        "filter": "none",
        "metrics": list(metrics),
        "doc_hash": f"d{doc}",
        "prompt_hash": f"p{doc}",
    }
    return fixed | metrics | changes


def filtered(num=6):
    """A task such as gsm8k, whose two filters read the same answers."""
    return [
        sample(doc, {"exact_match": float(doc < reach)}, filter=name, filtered_resps=[f"{name} {doc}"], arguments=[(f"{doc} + 1 =", {})])
        for name, reach in (("strict-match", 2), ("flexible-extract", 4))
        for doc in range(num)
    ]  # fmt: skip


def test_a_task_with_two_filters_has_one_item_a_document_and_a_metric_a_filter():
    rows = harness.rows({"sums": filtered()}, {"sums": {"exact_match": True}})
    assert len(rows.items) == 6
    assert rows.items[1] == {"prompt": "1 + 1 =", "doc_hash": "d1", "prompt_hash": "p1"}
    strict, loose = (
        [each[f"exact_match, {name}"] for each in rows.scores] for name in ("strict-match", "flexible-extract")
    )
    assert (sum(strict), sum(loose)) == (2, 4)
    assert rows.scores[0]["answer"] == "strict-match 0"
    assert [(measure.name, measure.is_judged) for measure in of_task(rows.scores)] == [
        ("exact_match, strict-match", True),
        ("exact_match, flexible-extract", False),
    ]


def test_a_task_with_one_filter_keeps_the_names_under_which_results_are_stored_already():
    rows = harness.rows(
        {"copa": [sample(1, {"acc": 0.0, "acc_norm": 1.0}), sample(0, {"acc": 1.0, "acc_norm": 1.0})]}, {}
    )
    assert rows.scores == [
        {"acc": 1.0, "acc_norm": 1.0, "answer": "yes"},
        {"acc": 0.0, "acc_norm": 1.0, "answer": "yes"},
    ]
    assert [(measure.name, measure.is_judged) for measure in of_task(rows.scores)] == [
        ("acc", True),
        ("acc_norm", False),
    ]


def test_metrics_without_a_number_are_named_and_those_that_should_be_low_say_so():
    logged = [sample(doc, {"acc": 1.0, "f1": (1, 0), "brier_score": 0.25}) for doc in range(2)]
    rows = harness.rows({"odd": logged}, {"odd": {"brier_score": False, "acc": True}})
    assert rows.hidden == ("f1",)
    low = of_task(rows.scores)[1]
    assert (low.name, low.higher_is_better, low.is_share) == (f"brier_score{LOWER}", False, False)


def test_a_group_has_the_items_of_all_its_tasks_in_clusters():
    rows = harness.rows(
        {"one": [sample(0, {"acc": 1.0})], "two": [sample(0, {"acc": 0.0}), sample(1, {"acc": 0.0})]}, {}
    )
    assert [item["cluster"] for item in rows.items] == ["one", "two", "two"]


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "studio")


def test_the_perplexity_of_a_task_is_compared_in_nats_and_travels_in_an_archive(ws):
    def logged(nats):
        parts = {"word_perplexity": (-nats, 4), "byte_perplexity": (-nats, 20), "bits_per_byte": (-nats, 20)}
        return [sample(doc, parts, arguments=[(f"A text {doc}.",)], filtered_resps=[-nats]) for doc in range(5)]

    run = runs.create(ws, EvaluateConfig(base_model="starter", suites="grammar"))
    for subject, nats in (("base:starter", 10.0), ("sft-1@6", 8.0)):
        rows = harness.rows(
            {"texts": logged(nats)}, {"texts": dict.fromkeys(("word_perplexity", "byte_perplexity"), False)}
        )
        assert rows.hidden == ()
        assert rows.scores[0] == {"nats": nats, "words": 4, "bytes": 20, "answer": ""}
        with ws.write() as db:
            suite = results.keep_suite(db, "lm_eval:texts", "texts (lm_eval)", "task", {"scorer": 1}, rows.items)
            found = [Result(place, 0, scores) for place, scores in enumerate(rows.scores)]
            results.add(db, run.id, suite, Subject(subject, "base", "f", None), found)
    lines = {line.measure.title: line for line in stored.read(ws, comparison.compare).lines}
    assert set(lines) == {"nats per byte", "nats per word"}
    assert lines["nats per byte"].verdict == "better", "lower is better"
    assert (lines["nats per byte"].difference.before, lines["nats per word"].difference.after) == (0.5, 2.0)
    found = stored.read(ws, comparison.compare)
    assert "lm_eval&#39;s byte_perplexity" in stored.read(ws, report.render, found)
    untrusted, tables = Evaluations(), stored.tables(ws)
    for name, check in (("suites", untrusted.suite), ("items", untrusted.item), ("results", untrusted.result)):
        for row in tables[f"evaluation_{name}"]:
            check(dict(row))


def test_own_tasks_and_groups_are_known_by_what_their_files_define(tmp_path):
    folder = tmp_path / "lm_eval"
    folder.mkdir()
    (folder / "one.yaml").write_text("task: copa_mine\nprocess_results: !function u.score\n")
    (folder / "two.yaml").write_text('task: "quoted"\ntag: [mine]\n')
    (folder / "three.yaml").write_text("group: both\ntask: [copa_mine, quoted]\n")
    (folder / "latin.yaml").write_bytes(b"task: caf\xe9\n")
    (folder / "broken.yaml").write_text("task: [")
    assert lm_eval_tasks.own_names(folder) == {"copa_mine", "quoted", "mine", "both"}
    assert "copa" not in lm_eval_tasks.own_names(folder)
    assert lm_eval_tasks.own_names(tmp_path / "nowhere") == set()
