"""Curves laid over each other, smoothed and on a log scale; where settings differ; the search in the log."""

import math
import time

import pytest
from playwright.sync_api import expect

from modules.config import SFTConfig
from studio import metrics, runs
from studio.metrics import Thinned
from tests.ui import filling
from tests.ui.filling import HOSTILE
from ui import charts
from ui.pages import run_curves, run_log


@pytest.fixture
def two(ws):
    filling.add_texts(ws)
    made = [filling.add_run(ws, SFTConfig(epochs=epochs)) for epochs in (2, 5)]
    for place, run in enumerate(made, start=1):
        for step in range(1, 21):
            metrics.add(ws, run.id, step, {"train/loss": place / step, "eval/loss": 2 * place / step})
    return ws, made


def test_a_long_curve_keeps_its_ends_its_mean_and_its_range(ws):
    filling.add_texts(ws)
    run = filling.add_run(ws, SFTConfig())
    values = [math.sin(step / 7) + step / 1000 for step in range(3000)]
    values[1234] = 50.0
    with ws.write() as db:
        db.table("metrics").insert_all(
            {"run_id": run.id, "step": step, "name": "train/loss", "value": value, "at": ""}
            for step, value in enumerate(values)
        )
    found = metrics.curves(ws, run.id, ["train/loss", "train/none"], max_points=240)
    assert list(found) == ["train/loss"]
    curve = found["train/loss"]
    assert 100 < len(curve.steps) <= 241
    assert (curve.steps[0], curve.means[0]) == (0, values[0])
    assert (curve.steps[-1], curve.means[-1]) == (2999, values[-1])
    assert curve.means[1] == pytest.approx(sum(values[:16]) / 16)
    assert max(curve.highs) == 50.0
    assert metrics.curve(ws, run.id, "train/loss", 5000) == list(enumerate(values))


def test_newest_and_first_values_are_those_of_the_last_and_first_step(two):
    ws, (run, _) = two
    assert metrics.latest(ws, run.id) == {"train/loss": 1 / 20, "eval/loss": 2 / 20}
    assert metrics.first(ws, run.id) == {"train/loss": 1.0, "eval/loss": 2.0}


def test_smoothing_leaves_a_constant_alone_and_averages_the_rest():
    flat = Thinned([1, 2, 3], [4.0] * 3, [4.0] * 3, [4.0] * 3)
    assert [value for _, value in run_curves.smooth(flat, 0.9)] == pytest.approx([4.0] * 3)
    step = Thinned([1, 2], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0])
    # Weights 0.5 * 0.5 and 0.5, made to sum to 1.
    assert run_curves.smooth(step, 0.5)[1][1] == pytest.approx(0.5 / 0.75)
    assert run_curves.smooth(step, 0.0) == [(1, 0.0), (2, 1.0)]


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
    drawn = run_curves.draw(ws, first.name, [second.name, "no-such-run", {"a": 1}][:2], 0, False)
    assert drawn.count("<polyline") == 2
    assert f"<th>{first.name}</th><th>{second.name}</th>" in drawn
    assert "<tr><th>epochs</th><td>2</td><td>5</td></tr>" in drawn
    assert drawn.count("<tr>") == 2, "the head and the one setting that differs"


def test_a_sampled_prompt_is_shown_as_turns_and_not_as_template():
    own = "<|bos|><|system|>Be kind.<|end|><|user|>Which city?<|end|><|assistant|>"
    assert [(turn["role"], turn["content"]) for turn in run_log._turns(own)] == [
        ("system", "Be kind."),
        ("user", "Which city?"),
    ]
    chatml = "<|im_start|>user\nWhich\ncity?<|im_end|>\n<|im_start|>assistant\n"
    assert run_log._turns(chatml) == [{"role": "user", "content": "Which\ncity?"}]
    assert run_log._turns("Plain") == [{"role": "user", "content": "Plain"}]


def test_the_log_is_searched_and_stays_text(two):
    ws, (first, _) = two
    (runs.folder(ws, first.name) / "log.txt").write_text(f"one\nTwo {HOSTILE}\ntwo again\n", encoding="utf-8")
    found = run_log._find(ws, first.name, "TWO")
    assert "2 of the last 3 lines" in found
    assert found.count("<mark>") == 2
    assert "<script" not in found
    assert run_log._find(ws, first.name, "") == ""


@pytest.mark.browser
def test_overlay_smoothing_and_log_scale_in_a_browser(two, serve, visit):
    ws, (first, second) = two
    page = visit(serve(ws).url + f"#runs/{first.name}")
    expect(page.locator("#run-curves polyline")).to_have_count(2)
    page.locator("#curve-others input").click()
    page.get_by_role("option", name=second.name).click()
    expect(page.locator("#run-curves .overlaid li")).to_have_text([first.name, second.name])
    expect(page.locator("#run-curves .difference td")).to_have_text(["2", "5"])
    before = page.locator("#run-curves polyline").first.get_attribute("points")
    page.locator("#curve-log input").check()
    deadline = time.monotonic() + 20
    while page.locator("#run-curves polyline").first.get_attribute("points") == before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
