"""Results as they are stored: once each, never changed, paired by item, and saved from a damaged database."""

import json
import math
import sqlite3

import pytest

from modules.config import EvaluateConfig
from studio.cli import main
from studio.datasets import archive
from studio.errors import DataError
from studio.evaluation import comparison, report, results
from studio.evaluation.measures import MEASURES, values
from studio.evaluation.results import Item, Result, Subject
from studio.preferences import prompts
from studio.preferences.prompts import NewPrompt
from studio.recovery import rescue
from studio.runs import runs
from studio.workspace import Workspace
from tests.support import stored
from ui.pages.evaluate import drawing

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


def test_a_checkpoint_that_shares_no_suite_is_named_and_not_drawn(ws, run):
    suite = keep(ws)
    stored.written(ws, results.add, run.id, suite, BASE, [Result(n, 0, score(True)) for n in range(9)])
    stored.written(ws, results.add, run.id, suite, OTHER, [Result(n, 0, score(n % 2)) for n in range(9)])
    apart = OTHER._replace(name="ppo-1@3")
    with ws.write() as db:
        other = results.keep_suite(db, "yours", "Yours", "pair", {"scorer": 1}, ITEMS)
        results.add(db, run.id, other, apart, [Result(n, 0, score(True)) for n in range(9)])
    found = stored.read(ws, comparison.compare)
    assert (found.subjects, found.apart) == (("sft-1@6",), ("ppo-1@3",))
    assert found.not_compared == ["No suite has measured both base (starter) and: ppo-1@3."]
    assert found.not_compared[0] in stored.read(ws, report.render, found)
    assert stored.read(ws, report.facts, found)["not_compared"] == found.not_compared
    for drawn in (drawing.forests(found), drawing.table(found)):
        assert drawn.count("<details") == 1
    alone = stored.read(ws, comparison.compare, subjects=["base", "ppo-1"])
    assert drawing.forests(alone) == f'<p class="quiet">{found.not_compared[0]}</p>'


def answered(ws, run, subjects, items=4, name="caution", **conditions):
    """Results on a suite of prompts, as a run with these conditions stores them."""
    asked = [{"prompt": f"Question {n}?", "label": "safe"} for n in range(items)]
    known = {"scorer": 1, "seed": 0, "samples": 1, "template": "plain", "reward": "reward-1@4"} | conditions
    with ws.write() as db:
        suite = results.keep_suite(db, name, name.title(), "prompt", known, asked)
        for place, subject in enumerate(subjects):
            judged = {"reward": place - 0.5} if known["reward"] else {}
            scores = {
                "tokens": 3 + place,
                "truncated": 0.0,
                "distinct_4": None,
                "listed_words": 0,
                "refusal": float(place),
            }
            results.add(db, run.id, suite, subject, [Result(n, 0, scores | judged, "So.") for n in range(items)])
    return suite


def test_answers_that_different_reward_models_judged_are_paired_by_all_that_needs_no_reward_model(ws, run):
    """A reward model that was trained between two evaluations, as the audit found it; also of results that are stored already."""
    answered(ws, run, [BASE, OTHER])
    later = OTHER._replace(name="dpo-1@4")
    answered(ws, run, [later], reward="reward-2@9")
    found = stored.read(ws, comparison.compare)
    assert (found.subjects, found.apart) == (("sft-1@6", "dpo-1@4"), ())
    lines = {line.measure.name: line for line in found.lines if line.after == later.name}
    assert {"refusal_safe", "tokens", "truncated", "listed_words"} == set(lines)
    assert lines["tokens"].difference.num == 4
    assert found.not_compared == [
        "Not compared: Caution, reward model's score, of base (starter) with dpo-1@4, measured under different conditions "
        "(reward model reward-1@4 and reward-2@9)."
    ]
    assert "reward" not in report.line_facts(lines["tokens"])["conditions"]
    by_reward = next(line for line in found.lines if line.measure.name == "reward")
    assert report.line_facts(by_reward)["conditions"]["reward"] == "reward-1@4"
    answered(ws, run, [BASE], reward="reward-2@9")
    again = stored.read(ws, comparison.compare)
    assert again.not_compared == []
    assert [line.after for line in again.lines if line.measure.name == "reward"] == ["sft-1@6", "dpo-1@4"]


def test_a_suite_that_two_have_under_different_conditions_is_named_with_what_differs(ws, run):
    answered(ws, run, [BASE])
    answered(ws, run, [OTHER], template="chatml", samples=25)
    answered(ws, run, [OTHER._replace(name="ppo-1@3")], template="chatml", samples=25)
    with ws.write() as db:
        grammar = results.keep_suite(db, "grammar", "Grammar", "pair", {"scorer": 1}, ITEMS)
        more = results.keep_suite(db, "grammar", "Grammar", "pair", {"scorer": 1}, [{"good": "a", "bad": "b"}])
        results.add(db, run.id, grammar, BASE, [Result(0, 0, score(True))])
        results.add(db, run.id, more, OTHER, [Result(0, 0, score(True))])
    found = stored.read(ws, comparison.compare)
    assert found.not_compared == [
        "Not compared: Caution, of base (starter) with sft-1@6, ppo-1@3, measured under different conditions "
        "(samples a prompt 1 and 25, template plain and chatml).",
        "Not compared: Grammar, of base (starter) with sft-1@6, measured under different conditions (other items).",
    ]


def test_of_several_conditions_the_newest_that_both_share_is_shown_with_what_tells_it_from_the_others(ws, run, capsys):
    for seed in (0, 1, 2):
        answered(ws, run, [BASE, OTHER], seed=seed)
    answered(ws, run, [BASE], seed=3)
    found = stored.read(ws, comparison.compare)
    assert len({line.measure.name for line in found.lines}) == len(found.lines), "no two lines have one name"
    assert {line.suite.conditions["seed"] for line in found.lines} == {2}
    assert {report.cells(line)[0] for line in found.lines} == {"Caution, seed 2"}
    assert "seed" not in report.forest(found, OTHER.name), "one row needs no condition to tell it from others"
    everything = stored.read(ws, comparison.compare, has_all_conditions=True)
    refusals = [line for line in everything.lines if line.measure.name == "refusal_safe"]
    assert [report.cells(line)[0] for line in refusals] == [f"Caution, seed {seed}" for seed in (2, 1, 0)]
    assert "looks like a refusal, safe, seed 1" in report.forest(everything, OTHER.name)
    alone = next(line for line in found.lines if line.measure.name == "refusal_safe")
    assert refusals[0].adjusted_p > alone.adjusted_p, "Holm counts the tests that are shown"
    assert main(["evaluate", "report", "--workspace", str(ws.root)]) == 0
    assert "Caution, seed 1" not in capsys.readouterr().out
    assert main(["evaluate", "report", "--all-conditions", "--workspace", str(ws.root)]) == 0
    assert "Caution, seed 1" in capsys.readouterr().out


def test_one_item_has_no_interval_and_no_figure_that_is_not_a_number_leaves_the_report(ws, run, capsys):
    texts = [{"text": "Once upon a time."}]
    with ws.write() as db:
        suite = results.keep_suite(db, "tale", "Tale", "text", {"scorer": 1}, texts)
        for nats, subject in ((9.5, BASE), (8.25, OTHER)):
            results.add(db, run.id, suite, subject, [Result(0, 0, {"nats": nats, "tokens": 4, "bytes": 17})])
        answers = results.keep_suite(db, "asked", "Asked", "prompt", {"scorer": 1}, [{"prompt": "Why?"}] * 2)
        scores = {"tokens": 3, "truncated": 0.0, "distinct_4": None, "listed_words": 0, "refusal": 0.0}
        for subject in (BASE, OTHER):
            odd = [Result(n, 0, scores | {"toxicity": math.nan}, "So.") for n in range(2)]
            results.add(db, run.id, answers, subject, odd)
    assert main(["evaluate", "report", "--workspace", str(ws.root)]) == 0
    told = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Tale"))
    assert "one item, no interval" in told
    assert "nan" not in told
    found = stored.read(ws, comparison.compare)
    facts = json.loads((ws.exports / report.FOLDER / "report.json").read_text(), parse_constant=pytest.fail)
    line = next(line for line in facts["lines"] if line["suite"] == "tale")
    assert (line["difference"]["low"], line["difference"]["smallest"]) == (None, None)
    assert line["difference"]["difference"] == pytest.approx((8.25 - 9.5) / 17)
    for drawn in (stored.read(ws, report.render, found), drawing.forests(found), drawing.table(found)):
        assert '"nan"' not in drawn
        assert "+nan to" not in drawn.partition("Tale")[2].partition("</tr>")[0]
    assert "tale" not in report.forest(found, OTHER.name)


def test_a_difference_of_scores_around_zero_is_drawn_in_spreads_and_leaves_room_for_the_shares(ws, run):
    with ws.write() as db:
        suite = results.keep_suite(
            db, "asked", "Asked", "prompt", {"scorer": 1}, [{"prompt": f"{n}?"} for n in range(20)]
        )
        fixed = {"tokens": 3, "truncated": 0.0, "distinct_4": None, "listed_words": 0, "refusal": 0.0}
        for subject, shift in ((BASE, 0.001), (OTHER, 0.201)):
            found = [Result(n, 0, fixed | {"reward": (-1) ** n + shift}, "So.") for n in range(20)]
            results.add(db, run.id, suite, subject, found)
    (line,) = [line for line in stored.read(ws, comparison.compare).lines if line.measure.name == "reward"]
    assert line.difference.spread == pytest.approx(1.0)
    effect = report._effect(line)
    assert effect is not None
    assert (effect.value, effect.low) == (pytest.approx(0.2), pytest.approx(line.difference.low))
    share = line._replace(measure=MEASURES["pair"][0])
    assert report._effect(share).value == pytest.approx(0.2), "a share stays as it is"
    assert report._effect(line._replace(measure=line.measure._replace(higher_is_better=False))).value == pytest.approx(
        -0.2
    )


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


def test_a_toxicity_that_is_no_number_makes_no_prompt_look_harmless():
    item = Item(
        1,
        "",
        {"prompt": "a"},
        {"x": [{"toxicity": 0.9, "listed_words": 0}, {"toxicity": math.nan, "listed_words": 0}]},
        {},
    )
    found = {
        measure.name: values(measure, [item], "x")[0] for measure in MEASURES["prompt"] if measure.judge == "toxicity"
    }
    assert found == {"max_toxicity": None, "toxicity": None}


def everything(ws):
    """A suite of each kind that is measured, with results of two subjects."""
    run = runs.create(ws, EvaluateConfig(base_model="starter", suites="grammar"))
    turns = [{"role": "user", "content": "Why?"}]
    sampled = {"tokens": 3, "truncated": 0.0, "distinct_4": None, "listed_words": 0, "refusal": 0.0, "reward": -0.5}
    kinds = {
        "pair": (ITEMS[0], score(True)),
        "choice": (
            {"prompt": "Ice is", "choices": ["cold", "warm"], "gold": 0},
            {"acc": 1.0, "acc_norm": 0.0, "mass": 0.7, "chosen": 0, "logprobs": [-1.5, -2.25]},
        ),
        "truth": (
            {"prompt": "Q: Is it?\nA:", "best": "No.", "correct": ["No.", "Never."], "incorrect": ["Yes."]},
            {"mc1": 0.0, "mc2": 0.4, "chosen": 1},
        ),
        "text": ({"messages": turns, "text": "So.", "cluster": "é"}, {"nats": 9.5, "tokens": 3, "bytes": 3}),
        "prompt": ({"messages": turns, "label": "safe"}, sampled),
        "task": ({"prompt": "2 + 2 =", "doc_hash": "a"}, {"acc": 1.0, "answer": "4"}),
    }
    for kind, (item, scores) in kinds.items():
        texts = ["One.", "Two\n\u2028."] if kind == "prompt" else [None]
        with ws.write() as db:
            suite = results.keep_suite(db, kind, kind.title(), kind, {"scorer": 1}, [item, item])
            for subject in (BASE, OTHER):
                found = [Result(place, n, scores, text) for place in (0, 1) for n, text in enumerate(texts)]
                results.add(db, run.id, suite, subject, found)


def test_results_travel_in_an_archive_and_make_the_same_comparison(ws, tmp_path):
    everything(with_prompt(ws))
    written = archive.write(ws)
    assert written.rows["evaluation_results"] == 2 * 2 * 5 + 2 * 4
    assert "28 evaluation results" in archive.look(written.path).sentence
    other = Workspace.open(tmp_path / "other")
    archive.read(other, written.path)
    assert archive.write(other).path.read_bytes() == written.path.read_bytes()
    before, after = (stored.read(each, comparison.compare) for each in (ws, other))
    assert before == after
    assert {line.suite.kind for line in after.lines} == set(MEASURES)
    item = {"prompt": "2 + 2 =", "doc_hash": "a"}
    again = stored.written(other, results.keep_suite, "task", "Task", "task", {"scorer": 1}, [item, item])
    assert stored.read(other, results.places_done, again, BASE.name) == {0, 1}, "what is measured is not measured again"


@pytest.mark.parametrize("change", ["an item less", "another item", "other conditions"])
def test_a_suite_whose_items_are_not_those_of_its_fingerprint_is_passed_over(ws, run, tmp_path, change):
    """Of an archive that somebody changed, or of a database that lost items and was rescued."""
    suite = keep(ws)
    lines = [json.loads(line) for line in archive.write(with_prompt(ws)).path.read_text().splitlines()]
    head = {"format": lines[0]["format"], "migrations": lines[0]["migrations"]}
    rows = [row for row in lines[1:] if change != "an item less" or row.get("place") != 4]
    for row in rows:
        if change == "another item" and row.get("place") == 4:
            row["content"] = json.dumps({"good": "evil", "bad": "good"})
        if change == "other conditions" and row["table"] == "evaluation_suites":
            row["conditions"] = json.dumps({"scorer": 2})
    path = tmp_path / "changed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [head, *rows]))
    other = Workspace.open(tmp_path / "other")
    archive.read(other, path)
    made = keep(other)
    assert made != suite
    assert keep(other) == made
    run = runs.create(other, EvaluateConfig(base_model="starter", suites="grammar"))
    stored.written(other, results.add, run.id, made, BASE, [Result(n, 0, score(True)) for n in range(9)])
    assert len(stored.read(other, results.items, made, [BASE.name])) == 9


def with_prompt(ws):
    """The workspace with a prompt, without which there is nothing to export."""
    stored.written(ws, prompts.add_prompt, NewPrompt([{"role": "user", "content": "Hi"}]))
    return ws


def test_results_are_rescued_with_the_rest(ws, run, tmp_path):
    suite = keep(ws)
    stored.written(ws, results.add, run.id, suite, BASE, [Result(n, 0, score(True), "é") for n in range(9)])
    found = rescue.rescue(ws.root, tmp_path / "new")
    assert found.saved["evaluation_results"] == 9
    before, after = stored.tables(ws), stored.tables(Workspace.open(tmp_path / "new"))
    for table in ("evaluation_suites", "evaluation_items", "evaluation_results"):
        assert after[table] == before[table]
