"""A run's charts: named groups that fold, flat values as numbers, crosshair, zoom, files; the list of runs and its views."""

import csv
import io
import json
import re
from html import unescape

import pytest
from playwright.sync_api import expect

from modules.config import PPOConfig, SFTConfig
from modules.metrics import METRICS
from studio.cli import main
from studio.runs import metrics, run_pages
from tests.support import stored, waiting
from tests.ui import filling
from tests.ui.filling import HOSTILE
from ui.components.charts import Curve
from ui.pages.runs import curves, groups, listing
from ui.pages.runs import page as runs_page

NAMES = ("objective/kl", "objective/kl_coef", "policy/loss", "value/loss", "rollout/response_tokens", "time/update_s")


@pytest.fixture
def ppo(ws):
    """A PPO run of forty iterations, each value its iteration, but one that never changes and one that rests for a while."""
    filling.add_texts(ws)
    filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()), 10)
    (ws.rewards / "length.py").write_text("def short(prompts, responses):\n    return [0.0 for _ in responses]\n")
    run = filling.add_run(ws, PPOConfig(rewards="function:length.py:short"))
    for step in range(1, 41):
        values = {name: float(step) for name in NAMES} | {"objective/kl_coef": 0.05, "eval/kl": 2.0 * step}
        values |= {"value/loss": 5.0} if 10 <= step <= 20 else {}
        stored.written(ws, metrics.add, run.id, step, values)
    return ws, run


def drawn(ws, run, *others):
    return stored.read(ws, curves.draw, run.name, [other.name for other in others], 0, False)


def test_charts_stand_in_named_groups_in_order_and_time_is_folded(ppo):
    found = re.findall(r'data-group="(\w+)"( open)?><summary><h3>(\w+)</h3><span class="num">(\d+)', drawn(*ppo))
    assert found == [
        ("objective", " open", "Objective", "2"),
        ("policy", " open", "Policy", "1"),
        ("value", " open", "Value", "1"),
        ("rollout", " open", "Rollout", "1"),
        ("time", "", "Time", "1"),
    ]


def test_every_metric_that_is_logged_has_a_group():
    of = {name: groups.of([name]) for name in METRICS}
    assert set(of.values()) <= {group.key for group in groups.GROUPS}
    assert (of["train/lr"], of["train/tokens_per_s"], of["train/loss"]) == ("steps", "time", "objective")
    assert groups.of(["objective/kl", "eval/kl"]) == "objective"
    assert [group.key for group in groups.GROUPS][:2] == ["objective", "suite"], "suites stand next to the loss"
    assert groups.of(["eval/response_tokens", "rollout/response_tokens"]) == "rollout"


def test_a_value_that_never_changed_is_a_number_until_it_does(ppo):
    ws, run = ppo
    assert drawn(ws, run).count("<figure") == 5
    assert '<b>kl coef</b> <span class="num">0.050</span>' in drawn(ws, run)
    stored.written(ws, metrics.add, run.id, 41, {"objective/kl_coef": 0.0500001})
    assert drawn(ws, run).count("<figure") == 6
    assert "<b>kl coef</b>" in drawn(ws, run)
    assert 'class="flat"' not in drawn(ws, run)


def test_a_single_value_is_a_point_and_not_called_unchanged():
    assert not groups.is_flat([Curve("a", [(1, 2.0)])])
    assert groups.is_flat([Curve("a", [(1, 2.0), (2, 2.0)])])
    assert not groups.is_flat([Curve("a", [(1, 2.0), (2, 2.0)]), Curve("b", [(1, 2.0), (2, 2.1)])])
    assert not groups.is_flat([Curve("a", [(1, 2.0), (2, 2.0)], (), 3.0)]), "its newest value is another one"
    assert not groups.is_flat([])


def test_of_several_runs_each_has_its_number_where_they_differ(ppo):
    ws, run = ppo
    other = filling.add_run(ws, run.config)
    for step in (1, 2):
        stored.written(ws, metrics.add, other.id, step, {"objective/kl_coef": 0.2})
    assert f"{run.name} 0.050, {other.name} 0.200" in drawn(ws, run, other)
    assert groups.number(HOSTILE, HOSTILE, [Curve(HOSTILE, [(1, 2.0), (2, 2.0)])]).count("<") == 6, "tags of its own"


# Zoom.


def steps_of(markup):
    """Of each chart the steps of its first curve."""
    found = re.findall(r'data-points="([^"]+)"', markup)
    return [[step for step, _ in points[0][1]] for points in (json.loads(unescape(each)) for each in found) if points]


def test_of_a_long_run_some_steps_are_read_with_more_detail_and_none_of_the_others(ws):
    filling.add_texts(ws)
    run = filling.add_run(ws, SFTConfig())
    values = [(step * 7919) % 1000 / 1000 + (100 if step < 5_003 else 0) for step in range(20_000)]
    with ws.write() as db:
        db.table("metrics").insert_all(
            {"run_id": run.id, "step": step, "name": "train/loss", "value": value, "at": ""}
            for step, value in enumerate(values)
        )
    for first, last in ((5_003, 5_100), (5_003, 9_998), (0, 19_999), (300, 300)):
        found = stored.read(ws, metrics.curves, run.id, ["train/loss"], 140, (first, last))["train/loss"]
        assert (found.steps[0], found.steps[-1]) == (first, last)
        assert (found.means[0], found.newest) == (values[first], values[last])
        assert len(found.steps) <= 141
        assert min(found.lows) >= min(values[first : last + 1])
        assert max(found.highs) <= max(values[first : last + 1])
    few = stored.read(ws, metrics.curves, run.id, ["train/loss"], 140, (5_003, 5_100))["train/loss"]
    assert few.means == values[5_003:5_101], "each value as it was logged"
    assert stored.read(ws, metrics.curves, run.id, ["train/loss"], 140, (30_000, 40_000)) == {}


def test_zoom_draws_these_steps_in_all_charts_over_one_frame(ppo):
    ws, run = ppo
    shown = stored.read(ws, curves.draw, run.name, [], 0, False, f"{run.name} 10 20")
    assert {(min(each), max(each)) for each in steps_of(shown)} == {(10, 20)}
    assert set(re.findall(r'data-frame="\d+ \d+ (\d+ \d+)"', shown)) == {"10 20"}
    assert "Iterations 10 to 20." in shown
    assert shown.count("<figure") == drawn(ws, run).count("<figure"), (
        "a value that is flat as a whole stays a number, no other becomes one"
    )


def test_charts_of_a_run_share_the_frame_of_all_its_steps(ppo):
    ws, run = ppo
    stored.written(ws, metrics.add, run.id, 0, {"eval/kl": 1.0})
    assert set(re.findall(r'data-frame="\d+ \d+ (\d+ \d+)"', drawn(ws, run))) == {"0 40"}


@pytest.mark.parametrize(
    "zoom",
    [
        "",
        None,
        5,
        "ppo-1",
        "sft-1 10 20",
        "ppo-1 10 20 30",
        "ppo-1 -5 20",
        "ppo-1 1e3 20",
        f"ppo-1 {'9' * 30} 1",
        "<b> 1 2",
    ],
)
def test_a_zoom_that_is_none_or_of_another_run_shows_everything(ppo, zoom):
    ws, run = ppo
    assert stored.read(ws, curves.draw, run.name, [], 0, False, zoom) == drawn(ws, run)


def test_a_zoom_over_the_ends_shows_what_there_is(ppo):
    ws, run = ppo
    steps = [step for step, _ in stored.read(ws, metrics.curve, run.id, "objective/kl", 10_000)]
    first, last = steps[0], steps[-1]
    over = stored.read(ws, curves.draw, run.name, [], 0, False, f"{run.name} {first + 2} {last + 500}")
    assert f"{first + 2} to {last}." in over
    everything = stored.read(ws, curves.draw, run.name, [], 0, False, f"{run.name} 0 {last + 500}")
    assert everything == drawn(ws, run)


def test_steps_without_a_value_say_so_and_do_not_wait(ppo):
    ws, run = ppo
    shown = stored.read(ws, curves.draw, run.name, [], 0, False, f"{run.name} 900 950")
    assert "no value in these steps" in shown
    assert "waiting for the first value" not in shown
    assert "<b>kl coef</b>" in shown


@pytest.mark.browser
def test_the_crosshair_is_in_all_charts_dragging_zooms_and_a_double_click_shows_all(ppo, serve, visit):
    ws, run = ppo
    page = visit(serve(ws).url + f"#runs/{run.name}")
    charts = page.locator("#run-curves figure.chart > svg")
    expect(charts).to_have_count(5)
    loss = page.locator("#run-curves figure.chart", has_text="policy loss").locator("> svg")

    def at(step):
        """A place over the frame of the chart, of a step from 1 to 40."""
        loss.scroll_into_view_if_needed()
        share = (step - 1) / 39
        box, (left, right) = waiting.at_rest(loss), map(float, loss.get_attribute("data-frame").split()[:2])
        return box["x"] + left + share * (box["width"] - left - right), box["y"] + box["height"] / 2

    page.mouse.move(*at(21))
    visible = [chart for chart in charts.all() if chart.is_visible()]
    assert len(visible) == 4, "the one of the folded group is out of sight"
    expect(page.locator("#run-curves .cross")).to_have_count(4)
    expect(page.locator(".chart-tip")).to_contain_text("iteration 21")
    kl = page.locator("#run-curves figure.chart", has_text="kl").first
    assert [each.strip() for each in kl.locator(".cross tspan").all_text_contents()] == ["21", "42"], (
        "objective and eval, at the same step"
    )
    lines = {
        round(
            chart.locator(".cross line").evaluate(
                "line => line.getBoundingClientRect().x - line.closest('figure').getBoundingClientRect().x"
            )
        )
        for chart in visible
    }
    assert len(lines) == 1, "at the same place in each"

    page.mouse.move(*at(10.3))
    page.mouse.down()
    page.mouse.move(*at(15))
    page.mouse.move(*at(20.7))
    expect(page.locator("#run-curves .drag")).to_have_count(1)
    page.mouse.up()
    expect(page.locator("#run-curves .zoomed")).to_contain_text("Iterations 10 to 21.")
    expect(loss).to_have_attribute("data-frame", re.compile(r" 10 21$"))
    expect(page.locator("#run-curves .drag")).to_have_count(0)
    stored.written(ws, metrics.add, run.id, 41, {"policy/loss": 41.0})
    page.reload()
    expect(loss).to_have_attribute("data-frame", re.compile(r" 1 41$"))

    page.mouse.move(*at(10))
    page.mouse.down()
    page.mouse.move(*at(20), steps=3)
    page.mouse.up()
    expect(page.locator("#run-curves .zoomed")).to_be_visible()
    page.mouse.dblclick(*at(20))
    expect(page.locator("#run-curves .zoomed")).to_have_count(0)
    expect(loss).to_have_attribute("data-frame", re.compile(r" 1 41$"))


@pytest.mark.browser
def test_the_keyboard_goes_from_point_to_point_zooms_and_opens_a_table(ppo, serve, visit):
    ws, run = ppo
    page = visit(serve(ws).url + f"#runs/{run.name}")
    chart = page.locator("[data-group=value] figure.chart > svg")
    chart.focus()
    page.keyboard.press("End")
    tip, crosses = page.locator(".chart-tip"), page.locator(".run-charts .cross")
    expect(tip).to_contain_text("iteration 40")
    expect(tip).to_have_attribute("role", "status")
    shown = page.locator("figure.chart svg[data-points]").locator("visible=true").count()
    expect(crosses).to_have_count(shown)
    page.keyboard.press("PageUp")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    expect(tip).to_contain_text("iteration 30")
    before = chart.get_attribute("data-frame").split()[2:]
    assert before == ["1", "40"]
    page.keyboard.press("+")
    expect(chart).to_have_attribute("data-frame", re.compile(r" 20 40$"))
    expect(chart).to_be_focused()
    page.keyboard.press("+")
    expect(chart).to_have_attribute("data-frame", re.compile(r" 25 35$"))
    expect(chart).to_be_focused()
    page.keyboard.press("-")
    expect(chart).to_have_attribute("data-frame", re.compile(r" 20 40$"))
    page.keyboard.press("0")
    expect(chart).to_have_attribute("data-frame", re.compile(r" 1 40$"))
    chart.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    table = page.get_by_role("dialog", name=re.compile("as a table$")).get_by_role("table")
    expect(table.get_by_role("row")).to_have_count(41)
    expect(table.get_by_role("row").nth(15)).to_have_text(re.compile(r"^15\s*5$"))
    page.keyboard.press("Escape")
    expect(table).to_have_count(0)
    expect(page.locator("[data-group=value] [data-table]")).to_be_focused()


@pytest.mark.browser
def test_a_finger_that_is_drawn_sideways_zooms(ppo, serve, visit):
    ws, run = ppo
    page = visit(serve(ws).url + f"#runs/{run.name}", width=390)
    chart = page.locator("[data-group=value] figure.chart > svg")
    chart.scroll_into_view_if_needed()
    expect(chart).to_have_css("touch-action", "pan-y")
    box, touch = waiting.at_rest(chart), page.context.new_cdp_session(page)
    y = box["y"] + box["height"] / 2
    for kind, share in (("touchStart", 0.3), ("touchMove", 0.4), ("touchMove", 0.6), ("touchEnd", None)):
        points = [] if share is None else [{"x": box["x"] + share * box["width"], "y": y}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    expect(chart).not_to_have_attribute("data-frame", re.compile(r" 1 40$"))


@pytest.mark.browser
def test_dragging_goes_on_when_the_chart_is_drawn_again_meanwhile(ppo, serve, visit):
    ws, run = ppo
    page = visit(serve(ws).url + f"#runs/{run.name}")
    chart = page.locator("[data-group=value] figure.chart > svg")
    box = waiting.at_rest(chart)
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.3 * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.4 * box["width"], y)
    page.evaluate(
        """() => {
            const figure = document.querySelector("[data-group=value] figure.chart");
            const again = figure.cloneNode(true);
            again.querySelector(".drag").remove();
            figure.replaceWith(again);
        }"""
    )
    page.mouse.move(box["x"] + 0.6 * box["width"], y)
    expect(chart.locator(".drag")).to_have_count(1)
    page.mouse.up()
    expect(chart).not_to_have_attribute("data-frame", re.compile(r" 1 40$"))


def test_a_group_stays_folded_over_a_reload_and_when_it_is_drawn_again(ppo, serve, visit):
    ws, run = ppo
    page = visit(serve(ws).url + f"#runs/{run.name}")
    policy, time = (page.locator(f'.fold[data-group="{key}"]') for key in ("policy", "time"))
    policy.locator("summary").click()
    time.locator("summary").click()
    expect(policy.locator("figure > svg")).to_be_hidden()
    expect(time.locator("figure > svg")).to_be_visible()
    before = time.locator("polyline").get_attribute("points")
    page.locator("#curve-log input").check()
    expect(time.locator("polyline")).not_to_have_attribute("points", before)
    expect(policy.locator("figure > svg")).to_be_hidden()
    expect(time.locator("figure > svg")).to_be_visible()
    page.reload()
    expect(time.locator("figure > svg")).to_be_visible()
    expect(policy.locator("figure > svg")).to_be_hidden()
    expect(policy).to_be_visible()


@pytest.mark.browser
def test_charts_fill_their_columns_at_every_width_and_their_words_keep_their_size(ppo, serve, visit):
    ws, run = ppo
    page = visit(serve(ws).url + f"#runs/{run.name}", width=1600)
    chart = page.locator("[data-group=objective] figure.chart > svg").first
    waiting.at_rest(chart)
    page.evaluate(
        """() => {
            window.drawn = 0;
            const isPointers = (node) => node.matches?.(".cross");
            new MutationObserver((changes) => {
                for (const { addedNodes, removedNodes } of changes) window.drawn += ![...addedNodes, ...removedNodes].every(isPointers);
            }).observe(document.getElementById("run-curves"), { childList: true, subtree: true });
        }"""
    )
    for width, num_columns in ((1600, 3), (2100, 4), (1280, 2), (390, 1), (1600, 3)):
        page.set_viewport_size({"width": width, "height": 900})
        box = waiting.at_rest(chart)
        seen = chart.evaluate(
            """svg => {
                const parts = [...svg.querySelectorAll("text")].map((text) => {
                    const { a, d } = text.getScreenCTM();
                    return [parseFloat(getComputedStyle(text).fontSize) * a, parseFloat(getComputedStyle(text).fontSize) * d];
                });
                const place = (node) => node.getBoundingClientRect();
                return {
                    sizes: [...new Set(parts.flat().map((size) => size.toFixed(2)))].sort(),
                    columns: getComputedStyle(svg.closest(".charts")).gridTemplateColumns.split(" ").length,
                    spare: place(svg.closest("figure")).width - place(svg).width,
                    over: Math.max(...[...svg.querySelectorAll("text")].map((text) => place(text).right - place(svg).right)),
                    apart: place(svg.querySelector(".dot.c0")).right - place(svg.querySelector(".line.c0")).right,
                };
            }"""
        )
        assert (seen["sizes"], seen["columns"], round(seen["spare"])) == (["11.00", "12.00"], num_columns, 0), width
        assert seen["over"] <= 0, "a curve's name ends within the chart"
        assert 0 <= seen["apart"] <= 4, "the curve ends at its dot"
        page.mouse.move(box["x"] + 42, box["y"] + box["height"] / 2)
        expect(page.locator(".chart-tip")).to_contain_text("iteration 1")
        page.mouse.move(box["x"] + box["width"] - 100, box["y"] + box["height"] / 2)
        expect(page.locator(".chart-tip")).to_contain_text("iteration 40")
    assert page.evaluate("window.drawn") == 0, "nothing is drawn again"


@pytest.mark.browser
def test_what_is_shown_is_saved_as_csv_and_a_chart_as_svg_and_png(ppo, serve, visit):
    ws, run = ppo
    page = visit(serve(ws).url + f"#runs/{run.name}")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the points as CSV").click()
    assert download.value.suggested_filename == f"{run.name}.csv"
    rows = list(csv.reader(io.StringIO(download.value.path().read_text())))
    assert rows[0] == [
        "step",
        "kl: objective",
        "kl: eval",
        "policy loss",
        "value loss",
        "response tokens",
        "time update s",
    ]
    assert rows[1] == ["1", "1", "2", *["1"] * 4]
    assert [row[0] for row in rows[1:]] == [str(step) for step in range(1, 41)]

    chart = page.locator("#run-curves figure.chart", has_text="policy loss")
    chart.hover()
    with page.expect_download() as download:
        chart.get_by_role("button", name="SVG").click()
    assert download.value.suggested_filename == f"{run.name}-policy-loss.svg"
    drawn_alone = download.value.path().read_text()
    assert drawn_alone.startswith("<svg")
    assert "policy loss" in drawn_alone
    assert "stroke:rgb(" in drawn_alone, "it needs no style from elsewhere"
    assert "cross" not in drawn_alone
    seen = chart.locator("> svg").evaluate(
        """(svg, text) => {
            const holder = Object.assign(document.createElement("div"), { innerHTML: text });
            document.body.append(holder);
            const from = (root) => {
                const left = root.querySelector(".grid").getBoundingClientRect().left;
                return [".dot", ".line", ".name", ".tick"].map((part) => {
                    const box = root.querySelector(part).getBoundingClientRect();
                    return [box.left - left, box.width].map(Math.round);
                });
            };
            const places = [from(svg), from(holder)];
            holder.remove();
            return places;
        }""",
        drawn_alone,
    )
    assert seen[0] == seen[1], "every part is where it is on the page"
    with page.expect_download() as download:
        chart.get_by_role("button", name="PNG").click()
    assert download.value.path().read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert download.value.path().stat().st_size > 3000, "it is not empty"


def test_the_terminal_prints_what_a_run_logged_as_csv(ppo, capsys):
    ws, run = ppo
    where = ["--workspace", str(ws.root)]
    stored.written(ws, metrics.add, run.id, 41, {"eval/kl": 0.1 + 0.2})
    assert main(["runs", "curves", run.name, "--metric", "eval/kl", "--metric", "policy/loss", *where]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows[:2] == [["step", "eval/kl", "policy/loss"], ["1", "2.0", "1.0"]]
    assert rows[-1] == ["41", "0.30000000000000004", ""]
    assert main(["runs", "curves", run.name, *where]) == 0
    assert capsys.readouterr().out.partition("\n")[0] == "step," + ",".join(sorted([*NAMES, "eval/kl"]))
    assert main(["runs", "curves", run.name, "--metric", "eval/none", *where]) == 1
    assert f"{run.name} has logged no metric 'eval/none'. It has: eval/kl" in capsys.readouterr().err


# The list.


@pytest.fixture
def three(ppo):
    """PPO runs with held-out scores 1, 3 and none, in this order, and an SFT run before them."""
    ws, run = ppo
    other, third = (filling.add_run(ws, run.config) for _ in range(2))
    for step, one, two in ((1, 9.0, 0.0), (2, 1.0, 3.0)):
        stored.written(ws, metrics.add, run.id, step, {"eval/score": one})
        stored.written(ws, metrics.add, other.id, step, {"eval/score": two})
    return ws, [run.name, other.name, third.name]


def test_runs_are_sorted_by_their_last_figure_the_best_first_and_those_without_last(three):
    ws, (first, second, third) = three
    assert [r.name for r in stored.read(ws, run_pages.page, stage="ppo", by="eval/score")] == [second, first, third]
    lowest = stored.read(ws, run_pages.page, stage="ppo", by="eval/score", is_low_first=True)
    assert [r.name for r in lowest] == [first, second, third]
    assert [r.name for r in stored.read(ws, run_pages.page)] == [third, second, first, "sft-1"]


def test_the_list_shows_a_view_and_an_unknown_one_shows_all(three):
    ws, (first, second, third) = three

    def rows(view):
        return re.findall(r"<b>([a-z]+-\d+)</b>", runs_page._refresh(ws, first, "", None, view)[0])

    assert rows("ppo best") == [second, first, third]
    assert rows("ppo") == [third, second, first]
    assert rows("sft") == ["sft-1"]
    for view in ("", None, "zz", ["ppo"], {"a": 1}):
        assert rows(view) == [third, second, first, "sft-1"]
    assert "There are no such runs yet." in runs_page._refresh(ws, first, "", None, "evaluate")[0]


def test_a_row_shows_the_course_of_the_runs_figure_in_words_too(three):
    ws, (first, second, third) = three
    found = stored.read(ws, listing.courses, stored.read(ws, run_pages.page))
    ids = {run.name: run.id for run in stored.read(ws, run_pages.page)}
    assert found.keys() == {ids[first], ids[second]}
    assert 'aria-label="score from 0 to 3"' in found[ids[second]]
    assert 'points="1.0,16.0 63.0,2.0"' in found[ids[second]], "from the lower left to the upper right"
    assert ids[third] not in found


def test_the_terminal_lists_runs_of_a_stage_the_best_first(three, capsys):
    ws, (first, second, third) = three
    where = ["--workspace", str(ws.root)]

    def names():
        return [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]

    assert main(["runs", "--stage", "ppo", "--best", *where]) == 0
    assert names() == [second, first, third]
    assert main(["runs", "--stage", "ppo", *where]) == 0
    assert names() == [third, second, first]
    assert main(["runs", "--stage", "dpo", *where]) == 0
    assert "There are no runs of dpo yet. Start one with: rlhf-studio dpo" in capsys.readouterr().out
    assert main(["runs", "--best", *where]) == 1
    assert "--best needs a stage that is measured" in capsys.readouterr().err


@pytest.mark.browser
def test_the_list_is_filtered_and_sorted_in_a_browser_and_an_empty_one_says_how_to_begin(three, serve, visit):
    ws, (first, second, third) = three
    page = visit(serve(ws).url + f"#runs/{first}")
    names = page.locator("#run-list .run-row b")
    expect(names).to_have_text([third, second, first, "sft-1"])
    page.locator("#run-view input").click()
    page.get_by_role("option", name="PPO, highest held-out score first").click()
    expect(names).to_have_text([second, first, third])
    expect(page.locator("#run-head h2")).to_have_text(first)
    page.locator("#run-view input").click()
    page.get_by_role("option", name="evaluations").click()
    expect(page.locator("#run-list")).to_contain_text("There are no such runs yet.")
    expect(page.locator("#run-view")).to_be_visible()


@pytest.mark.browser
def test_without_a_run_the_page_says_how_to_start_one_and_shows_no_dead_controls(ws, serve, visit):
    page = visit(serve(ws).url + "#runs")
    expect(page.get_by_role("link", name="Start the first run")).to_be_visible()
    expect(page.locator("#curve-smoothing")).to_be_hidden()
    expect(page.locator("#run-view")).to_be_hidden()
