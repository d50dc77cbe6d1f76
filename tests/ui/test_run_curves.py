"""Curves laid over each other, smoothed and on a log scale; where settings differ; the search in the log."""

import itertools
import math
import random
import time

import pytest
from playwright.sync_api import expect

from modules.config import SFTConfig
from studio.runs import metrics, runs
from studio.runs.metrics import Thinned
from tests.support import stored
from tests.ui import filling
from tests.ui.filling import HOSTILE
from ui.components import charts
from ui.pages.runs import curves, log


@pytest.fixture
def two(ws):
    filling.add_texts(ws)
    made = [filling.add_run(ws, SFTConfig(epochs=epochs)) for epochs in (2, 5)]
    for place, run in enumerate(made, start=1):
        for step in range(1, 21):
            stored.written(ws, metrics.add, run.id, step, {"train/loss": place / step, "eval/loss": 2 * place / step})
    return ws, made


def add_values(ws, run, values, name="train/loss"):
    with ws.write() as db:
        db.table("metrics").insert_all(
            {"run_id": run.id, "step": step, "name": name, "value": value, "at": ""}
            for step, value in enumerate(values)
        )


def noise(num, end=1.0):
    rng = random.Random(num)
    return [end + rng.gauss(0, 0.3) for _ in range(num)]


@pytest.fixture
def run(ws):
    filling.add_texts(ws)
    return filling.add_run(ws, SFTConfig())


def test_a_long_curve_keeps_its_first_and_newest_value_its_mean_and_its_range(ws, run):
    values = [math.sin(step / 7) + step / 1000 for step in range(3000)]
    values[1234] = 50.0
    add_values(ws, run, values)
    found = stored.read(ws, metrics.curves, run.id, ["train/loss", "train/none"], max_points=240)
    assert list(found) == ["train/loss"]
    curve = found["train/loss"]
    assert 100 < len(curve.steps) <= 241
    assert (curve.steps[0], curve.means[0]) == (0, values[0])
    assert (curve.steps[-1], curve.newest) == (2999, values[-1])
    assert curve.means[1] == pytest.approx(sum(values[:16]) / 16)
    assert max(curve.highs) == 50.0
    assert stored.read(ws, metrics.curve, run.id, "train/loss", 5000) == list(enumerate(values))


@pytest.mark.parametrize("num", [139, 140, 141, 155, 279, 280, 1119, 1121, 1200, 2240, 2241, 9000, 20_000])
def test_a_curve_has_at_least_half_the_points_it_may_have_and_its_means_are_those_of_all_values(ws, run, num):
    values = noise(num)
    add_values(ws, run, values)
    curve = stored.read(ws, metrics.curves, run.id, ["train/loss"], max_points=140)["train/loss"]
    assert min(num, 70) <= len(curve.steps) <= 140
    assert curve.steps[-1] == num - 1
    assert curve.newest == values[-1]
    if num > 140:
        starts = [0, *(step + 1 for step in curve.steps[1:])]
        stretches = [values[start:end] for start, end in itertools.pairwise(starts)]
        assert curve.means[1:] == pytest.approx([sum(each) / len(each) for each in stretches])
        assert min(map(len, stretches)) > len(stretches[0]) / 2, "no point is of much fewer values than its neighbours"


def test_a_sparse_curve_over_many_steps_is_not_thinned(ws, run):
    with ws.write() as db:
        row = {"run_id": run.id, "name": "eval/loss", "at": ""}
        db.table("metrics").insert_all(row | {"step": step, "value": 1 / (step + 1)} for step in range(0, 50_000, 500))
    curve = stored.read(ws, metrics.curves, run.id, ["eval/loss"], max_points=140)["eval/loss"]
    assert list(zip(curve.steps, curve.means, strict=True)) == [
        (step, 1 / (step + 1)) for step in range(0, 50_000, 500)
    ]


def test_a_curve_is_read_in_few_rows(ws, run):
    add_values(ws, run, noise(10_000))
    with ws.read() as db:
        for span, most in ((1119, 10_000), (5000, 1200), (9999, 700), (100_000, 700)):
            assert len(metrics._rows(db, [run.id, "train/loss", *metrics.ALL_STEPS], span, 140)) <= most


def test_newest_and_first_values_are_those_of_the_last_and_first_step(two):
    ws, (run, _) = two
    assert stored.read(ws, metrics.latest, run.id) == {"train/loss": 1 / 20, "eval/loss": 2 / 20}
    assert stored.read(ws, metrics.first, run.id) == {"train/loss": 1.0, "eval/loss": 2.0}


def test_smoothing_leaves_a_constant_alone_and_averages_the_rest():
    flat = Thinned([1, 2, 3], [4.0] * 3, [4.0] * 3, [4.0] * 3, 4.0)
    assert [value for _, value in curves.smooth(flat, 0.9)] == pytest.approx([4.0] * 3)
    step = Thinned([1, 2], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0], 1.0)
    # Weights 0.5 * 0.5 and 0.5, made to sum to 1.
    assert curves.smooth(step, 0.5)[1][1] == pytest.approx(0.5 / 0.75)
    assert curves.smooth(step, 0.0) == [(1, 0.0), (2, 1.0)]


@pytest.mark.parametrize("num", [20, 300])
def test_a_smoothed_curve_tells_the_newest_value_and_keeps_the_logged_line_behind_it(ws, run, num):
    values = [*noise(num - 1), 7.25]
    add_values(ws, run, values)
    plain, smoothed = (stored.read(ws, curves.draw, run.name, [], weight, False) for weight in (0, 0.9))
    for drawn in (plain, smoothed):
        assert "<tspan>7.25</tspan>" in drawn
        assert f"7.25 at step {num - 1}" in drawn, "what a screen reader says"
    hover = [drawn.partition('data-points="')[2].partition('"')[0] for drawn in (plain, smoothed)]
    assert hover[0] == hover[1]
    assert smoothed.count("<polyline") == 2
    assert smoothed.count('class="line c0 is-raw"') == 1
    assert "smoothed, numbers as logged" in smoothed
    assert "is-raw" not in plain
    assert "smoothed" not in plain


def test_a_curve_of_few_evaluations_is_not_smoothed(ws, run):
    add_values(ws, run, [3.0, 1.0, 2.0, 1.5], "eval/loss")
    plain, smoothed = (stored.read(ws, curves.draw, run.name, [], weight, False) for weight in (0, 0.9))
    assert plain == smoothed


def test_a_log_scale_that_cannot_be_says_so(ws, run):
    add_values(ws, run, [0.0, 1.0, 2.0], "eval/kl")
    assert "linear: has values of 0 or less" in stored.read(ws, curves.draw, run.name, [], 0, True)
    assert "linear" not in stored.read(ws, curves.draw, run.name, [], 0, False)
    add_values(ws, run, [1.0, 2.0], "eval/loss")
    assert stored.read(ws, curves.draw, run.name, [], 0, True).count("linear") == 1


@pytest.mark.parametrize(("low", "high"), [(0.03, 0.04), (1e-6, 10.0), (1.0, 1.0), (2.0, 700.0)])
def test_log_ticks_are_few_and_enclose_the_values(low, high):
    ticks = charts._log_ticks(low, high)
    assert 2 <= len(ticks) <= 8
    assert ticks[0] <= low * (1 + 1e-6)
    assert ticks[-1] >= high * (1 - 1e-6)


def test_equal_ratios_are_equal_heights_on_a_log_scale():
    drawn = charts.chart("t", "", [charts.Curve("a", [(0, 1.0), (1, 10.0), (2, 100.0)])], is_log=True)
    ys = [
        float(pair.split(",")[1]) for pair in drawn.partition('class="line c0" points="')[2].partition('"')[0].split()
    ]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)


def test_runs_are_laid_over_each_other_with_what_differs(two):
    ws, (first, second) = two
    drawn = stored.read(ws, curves.draw, first.name, [second.name, "no-such-run", {"a": 1}][:2], 0, False)
    assert drawn.count("<polyline") == 2
    assert f"<th>{first.name}</th><th>{second.name}</th>" in drawn
    assert "<tr><th>epochs</th><td>2</td><td>5</td></tr>" in drawn
    assert drawn.partition("Last figures")[0].count("<tr>") == 2, "the head and the one setting that differs"
    assert drawn.index('class="overlaid"') < drawn.index('class="difference"') < drawn.index('class="run-charts"')


def test_a_sampled_prompt_is_shown_as_turns_and_not_as_template():
    own = "<|bos|><|system|>Be kind.<|end|><|user|>Which city?<|end|><|assistant|>"
    assert [(turn["role"], turn["content"]) for turn in metrics.turns_of(own)] == [
        ("system", "Be kind."),
        ("user", "Which city?"),
    ]
    chatml = "<|im_start|>user\nWhich\ncity?<|im_end|>\n<|im_start|>assistant\n"
    assert metrics.turns_of(chatml) == [{"role": "user", "content": "Which\ncity?"}]
    assert metrics.turns_of("Plain") == [{"role": "user", "content": "Plain"}]


def test_the_log_is_searched_and_stays_text(two):
    ws, (first, _) = two
    (runs.folder(ws, first.name) / "log.txt").write_text(f"one\nTwo {HOSTILE}\ntwo again\n", encoding="utf-8")
    found = log._find(ws, first.name, "TWO")
    assert "2 of the last 3 lines" in found
    assert found.count("<mark>") == 2
    assert "<script" not in found
    assert log._find(ws, first.name, "") == ""


@pytest.mark.browser
def test_overlay_smoothing_and_log_scale_in_a_browser(two, serve, visit):
    ws, (first, second) = two
    page = visit(serve(ws).url + f"#runs/{first.name}")
    expect(page.locator("#run-curves polyline")).to_have_count(2)
    page.locator("#curve-others input").click()
    page.get_by_role("option", name=second.name).click()
    expect(page.locator("#run-curves .overlaid li")).to_have_text([first.name, second.name])
    expect(page.locator("#run-curves .difference td")).to_have_text(["2", "5", "0.100", "0.200"])
    before = page.locator("#run-curves polyline").first.get_attribute("points")
    page.locator("#curve-log input").check()
    deadline = time.monotonic() + 20
    while page.locator("#run-curves polyline").first.get_attribute("points") == before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
