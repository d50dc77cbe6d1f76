"""report.html and report.json from a workspace made by hand: self-contained, escaped, with the figures in it."""

import json
import math
import re
from html.parser import HTMLParser

import pytest

from modules.config import PPOConfig, RewardConfig, SampleConfig, SFTConfig
from modules.intervals import wilson_interval
from studio.demo import figures as demo_figures
from studio.demo import report
from studio.errors import RunError
from studio.models import checkpoints
from studio.plots import Interval, Node, Series, family_tree, interval_chart, line_chart, nice_ticks
from studio.preferences import comparisons, prompts, ratings
from studio.runs import metrics, runs
from studio.workspace import Workspace
from tests.support import stored

NASTY = "<script>alert('x')</script> & \"quoted\""
VOID = {"meta", "br", "link", "img", "hr", "input"}


def finish(ws, run, values, is_saved=True):
    """Give a created run its metrics by step and a checkpoint, as its worker would have."""
    for step, named in values.items():
        stored.written(ws, metrics.add, run.id, step, named)
    if is_saved:
        folder = runs.folder(ws, run.name) / "checkpoints" / f"step-{max(values):06d}"
        folder.mkdir(parents=True)
        stored.written(
            ws, checkpoints.add, run.id, max(values), folder, base_model="starter", base_fingerprint="f", metrics={}
        )
    stored.written(ws, runs.move, run.id, "running")
    stored.written(ws, runs.move, run.id, "finished", "Done.")
    return run.name


def put_up(ws, run_name, prompt_id, *answers):
    """A comparison of (checkpoint name, text) pairs, as a sampling run writes it."""
    run = stored.read(ws, runs.get, run_name)
    with ws.write() as db:
        ids = [
            prompts.add_response(
                db,
                prompt_id,
                text,
                "sample",
                run_id=run.id,
                sampling="{}",
                checkpoint_id=stored.read(ws, checkpoints.get, name).id,
            )
            for name, text in answers
        ]
        comparisons.add_comparison(db, prompt_id, (ids[0], ids[1]), run.id)


def rate_open(ws, wanted):
    """Rate all open pairs: the response with the text `wanted` wins, else a tie."""
    while showing := stored.written(ws, comparisons.next_showing, rater="scripted"):
        outcome = "left" if showing.left == wanted else "right" if showing.right == wanted else "tie"
        stored.written(ws, ratings.record, showing.id, outcome)


def ppo_metrics(shift):
    steps = {
        step: {"objective/score": shift + step / 10, "objective/kl": step / 2, "rollout/response_tokens": 20.0 + step}
        for step in range(1, 11)
    }
    ends = {
        step: {"eval/score": shift + step / 10, "eval/kl": step / 2, "eval/tax_loss": 1.5 + step / 500,
               "eval/demonstration_loss": 2.0 + step / 100, "eval/response_tokens": 20.0 + step}
        for step in (0, 5, 10)
    }  # fmt: skip
    return {step: steps.get(step, {}) | ends.get(step, {}) for step in range(11)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workspace with two rounds of runs, and the facts of its report."""
    ws = Workspace.open(tmp_path_factory.mktemp("demo"))
    stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "hello"}], "Hello!", "chat")
    with ws.write() as db:
        ids = {
            split: prompts.add_prompt(
                db, prompts.NewPrompt([{"role": "user", "content": f"{split} {NASTY}"}], "chat", split)
            )
            for split in prompts.SPLITS
        }
    losses = {step: {"train/loss": 3 - step / 10, "eval/loss": 3.1 - step / 10} for step in range(0, 11, 2)}
    sft = finish(ws, runs.create(ws, SFTConfig()), losses)
    done, stages, start = [], [(sft, "sft", "learned")], sft
    for number in (1, 2):
        sample = runs.create(ws, SampleConfig(checkpoint=start))
        for split in ("train", "validation"):
            put_up(ws, sample.name, ids[split], (start, "good"), (start, f"bad {NASTY}"))
        finish(ws, sample, {0: {}}, is_saved=False)
        rate_open(ws, "good")
        accuracy = {"eval/accuracy": 0.75, "eval/accuracy_low": 0.6, "eval/accuracy_high": 0.85, "eval/num": 40}
        values = {0: accuracy, 5: accuracy | {"train/loss": 0.6}, 9: {"train/loss": 0.5}}
        reward = finish(ws, runs.create(ws, RewardConfig(sft_checkpoint=sft)), values)
        config = PPOConfig(sft_checkpoint=sft, reward_checkpoint=reward, policy_checkpoint=start)
        ppo = finish(ws, runs.create(ws, config), ppo_metrics(number))
        names = {"sft": sft, "sample": sample.name, "reward": reward, "ppo": ppo}
        for role, temperature in (("judge", 0.7), ("judge_as_trained", 1.0)):
            judge = runs.create(ws, SampleConfig(checkpoint=ppo, opponent=sft, split="test", temperature=temperature))
            for text in ("good", "good", "same"):
                put_up(ws, judge.name, ids["test"], (ppo, text), (sft, f"bad {NASTY}"))
            finish(ws, judge, {0: {"sample/identical": 1}}, is_saved=False)
            names[role] = judge.name
        rate_open(ws, "good")
        figures = stored.read(ws, demo_figures.of_round, names, before=done[0] if done else None)
        done.append({"round": number, "pairs": 2, "ratings": 2 * number} | figures)
        stages += [
            (names[role], stored.read(ws, runs.get, names[role]).stage, f"did {role}")
            for role in ("sample", "reward", "ppo", "judge")
        ]
        start = ppo
    facts = {
        "seconds": 415.2,
        "seed": 3,
        "finished_at": "2026-01-02T03:04:05.000+00:00",
        "rounds": done,
        "rater": {"name": "scripted", "error_rate": 0.1},
        "stages": [
            {"run": run, "stage": stage, "purpose": text, "seconds": 40.0, "config": {"note": NASTY}}
            for run, stage, text in stages
        ],
        "command": f"demo {NASTY}",
        "machine": "2 CPU cores",
        "versions": {"torch": "2"},
    }
    return ws, facts


class Checker(HTMLParser):
    """Collects tags, addresses and text, and whether every opened tag is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.addresses, self.text = [], [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_well_formed_and_loads_nothing_from_outside(made):
    page = stored.read(made[0], report.render, made[1])
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert checker.addresses == []
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(checker.tags)
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_texts_of_people_and_models_are_escaped(made):
    page = stored.read(made[0], report.render, made[1])
    assert "<script>" not in page
    checker = Checker()
    checker.feed(page)
    assert f"test {NASTY}" in checker.text
    assert f"bad {NASTY}" in checker.text


def test_the_page_shows_the_headline_figures_with_their_intervals(made):
    ws, facts = made
    page = stored.read(ws, report.render, facts)
    win = facts["rounds"][-1]["win_rate"]
    for text in ("75 %", f"{100 * win['low']:.0f} to {100 * win['high']:.0f} %, n = 4", "75 %", "+1.3 %", "6 min 55 s"):
        assert text in page
    assert page.count("<svg") == 11
    assert "errs on purpose in 10 %" in page


def test_pairs_stand_side_by_side_with_the_verdict(made):
    page = stored.read(made[0], report.render, made[1])
    assert page.count('<article class="card pair">') == 2
    assert re.search(r"After: ppo-2@10</h4><blockquote class=\"preferred\">good<", page)


def test_report_files_are_whole_and_nothing_else_is_left(made):
    ws, facts = made
    paths = report.write(ws, facts)
    assert json.loads(paths[0].read_text()) == facts
    assert paths[1].read_text().endswith("</html>")
    assert not list(ws.root.glob(".report*"))


def test_verdicts_know_the_policy_whichever_side_it_was_shown_on(made):
    ws, facts = made
    winners = [v["winner"] for v in stored.read(ws, ratings.verdicts, facts["rounds"][0]["runs"]["judge"])]
    assert winners == ["policy", "policy", "tie"]
    assert stored.read(ws, ratings.verdicts, facts["rounds"][0]["runs"]["sample"]) == []


def test_figures_of_the_second_round_are_measured_against_the_sft_policy(made):
    tax = made[1]["rounds"][1]["alignment_tax"]
    assert (tax["before"], tax["after"]) == (1.5, 1.52)
    assert tax["change"] == pytest.approx(0.02 / 1.5)
    assert tax["all_change"] == pytest.approx(0.05)
    assert made[1]["rounds"][1]["ppo"] == {
        "score_before": 2.0, "score_after": 3.0, "kl": 5.0, "tokens_before": 20.0, "tokens_after": 30.0
    }  # fmt: skip


def test_identical_answers_are_ties_though_nobody_judged_them(made):
    win = made[1]["rounds"][0]["win_rate"]
    assert (win["wins"], win["ties"], win["losses"], win["n"], win["value"]) == (2, 2, 0, 4, 0.75)


def test_a_missing_metric_is_an_error_that_names_it(made):
    ws, facts = made
    names = facts["rounds"][0]["runs"]
    with pytest.raises(RunError, match=r"sft-1 logged no eval/accuracy"):
        stored.read(ws, demo_figures.of_round, names | {"reward": names["sft"]})


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),  # z²/(n + z²) above
        (5, 10, 0.2366, 0.7634),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
    ],
)
def test_the_interval_is_wilsons(successes, n, low, high):
    assert wilson_interval(successes, n) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_the_interval_of_nothing_is_everything():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_a_tie_counts_as_half_a_win():
    found = demo_figures.win_rate(["policy"] * 6 + ["tie"] * 2 + ["opponent"] * 2)
    assert (found["value"], found["n"], found["wins"], found["ties"], found["losses"]) == (0.7, 10, 6, 2, 2)
    assert (found["low"], found["high"]) == wilson_interval(7, 10)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 100, [0, 50, 100]),
        (0.2, 0.9, [0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3, 4, [-4, -2, 0, 2, 4]),
        (2, 2, [1.8, 1.9, 2.0, 2.1, 2.2]),
    ],
)
def test_ticks_are_round_numbers_that_span_the_data(low, high, ticks):
    assert nice_ticks(low, high) == pytest.approx(ticks)


def test_a_curve_stays_inside_its_axes_and_says_exact_values():
    svg = line_chart([Series("a<b", [(0, 1.25), (10, -2)])], title="t", x_label="x", y_label="y")
    (x0, y0), (x1, y1) = (tuple(map(float, pair.split(","))) for pair in re.search(r'd="M(\S+) L(\S+)"', svg).groups())
    assert x0 < x1
    assert y0 < y1  # down is lower
    assert all(0 < v < 380 and math.isfinite(v) for v in (x0, x1, y0, y1))
    assert "a&lt;b, 0: 1.25" in svg


def test_an_empty_chart_says_so():
    assert "Nothing was measured" in line_chart([Series("a", [])], title="t", x_label="x", y_label="y")


def test_intervals_are_drawn_in_order_and_edges_to_unknown_runs_are_left_out():
    svg = interval_chart([Interval("Round 1", 0.7, 0.6, 0.8, 50)], title="t")
    x1, x2 = map(float, re.search(r'class="span tone-1" x1="(\S+)" y1="\S+" x2="(\S+)"', svg).groups())
    assert x1 < float(re.search(r'class="dot tone-1" cx="(\S+)"', svg).group(1)) < x2
    tree = family_tree([Node("a", "1"), Node("b", "2")], [("a", "sft", "b"), ("gone", "sft", "b")], title="t")
    assert tree.count("<path") == 1
