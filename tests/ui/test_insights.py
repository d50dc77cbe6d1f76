"""The page Insights: each section says its figures with intervals and numbers, what is missing, and follows new votes."""

import json
import re
from html import unescape

import pytest
from playwright.sync_api import expect

from modules.config import RewardConfig, SFTConfig
from studio.insights import active_choice, consistency, learning_curves, report
from studio.preferences import snapshots
from studio.runs import runs
from studio.workspace import Workspace
from tests.support import curves as curves_of_labels
from tests.support import rated, stored
from tests.support.rated import World
from tests.ui import filling
from ui.components import charts
from ui.components.charts import Curve, Limit, chart
from ui.pages.insights import drawing
from ui.pages.runs import curves

HOSTILE = "<img src=x onerror='window.hacked = 1'>"
SHARE = re.compile(r"^\d+% \d+% to \d+%\d")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Workspace:
    """Two raters, one of a hostile name, and two reward models."""
    ws = Workspace.open(tmp_path_factory.mktemp("rated") / "studio")
    rated.fill(ws, World(num=300, error=0.1, repeats=80, raters=("person", HOSTILE), models=(1.0, 3.0)))
    return ws


def test_the_limit_is_drawn_at_its_value_over_the_band_of_its_interval():
    curve = Curve("accuracy", [(1, 0.5), (2, 0.6)])
    plain, limited = (chart("accuracy", "", [curve], limit=each) for each in (None, Limit(0.9, 0.8, 1.0, "a < b")))
    assert 'class="limit"' not in plain
    y = charts._scale(0.4, 1.0, charts.HEIGHT - charts.BOTTOM, charts.TOP)
    assert f'y1="{y(0.9):.1f}" y2="{y(0.9):.1f}"' in limited
    assert f'y="{y(1.0):.1f}" width="100%" height="{y(0.8) - y(1.0):.1f}"' in limited
    assert "a &lt; b" in limited


def test_the_curve_of_a_reward_run_is_drawn_under_the_noise_ceiling_where_something_was_rated_twice(full_ws):
    (name,) = [
        r["name"]
        for r in stored.read(full_ws, lambda db: list(db.query("SELECT name FROM runs WHERE stage = 'reward'")))
    ]
    assert "limit-words" not in stored.read(full_ws, curves.draw, name, [], 0, False)
    rated.fill(full_ws, World(num=60, repeats=40, models=()))
    drawn = stored.read(full_ws, curves.draw, name, [], 0, False)
    ceiling = stored.read(full_ws, consistency.noise_ceiling)
    assert drawn.count('class="limit"') == 1, "on the accuracy and nowhere else"
    with full_ws.write() as db:
        agreed = snapshots.freeze(db, snapshots.Recipe(raters="majority"))
        db.execute("UPDATE runs SET snapshot_id = ? WHERE name = ?", [agreed.id, name])
    of_many = stored.read(full_ws, curves.draw, name, [], 0, False)
    assert 'class="limit"' not in of_many, "what raters agreed on has another ceiling than single votes"
    assert f">ceiling at most {ceiling.value:.0%},<" in drawn
    assert f">{ceiling.num} repeats<" in drawn


def test_every_share_of_the_page_says_how_sure_it_is_and_from_how_many(world):
    drawn = drawing.page(stored.read(world, report.read))
    cells = re.findall(r'<td class="num">(<b>.*?)</td>', drawn)
    assert len(cells) > 30
    for cell in cells:
        assert SHARE.match(re.sub("<.*?>", "", cell)), cell
    assert HOSTILE not in drawn


@pytest.mark.browser
def test_an_empty_page_says_what_belongs_there_and_is_filled_by_the_first_votes(ws, serve, visit):
    page = visit(serve(ws).url + "#insights")
    nothing = page.locator("#insights .nothing")
    expect(nothing).to_contain_text("Nothing is rated yet")
    expect(nothing.locator("a")).to_have_attribute("href", "#rate")
    expect(page.locator("#insights-rater")).to_be_hidden()
    rated.fill(ws, World(num=30, repeats=0, models=()))
    expect(page.locator("#insights")).to_contain_text("From 30 judgements.")
    expect(page.locator("#insight-consistency")).to_contain_text("Nothing has been rated twice yet.")
    models = page.locator("#insight-models")
    expect(models).to_contain_text("There is no reward model yet. Train one,")
    expect(page.locator("#insight-raters")).to_contain_text("No pair of these was judged by two raters.")
    stored.undone(ws)
    expect(page.locator("#insights")).to_contain_text("From 29 judgements.")
    filling.add_texts(ws, 4)
    sft = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    reward = filling.add_checkpoint(ws, filling.add_run(ws, RewardConfig(sft_checkpoint=sft)))
    expect(models).to_contain_text(f"{reward} has predicted none of these votes.")
    models.get_by_role("link", name="a session").click()
    expect(page.locator("#session-start")).to_be_visible()


@pytest.mark.browser
def test_each_section_tells_its_figures_and_another_rater_draws_them_again(world, serve, visit):
    page = visit(serve(world).url + "#insights")
    found = stored.read(world, report.read)
    consistent = page.locator("#insight-consistency")
    expect(consistent.locator(".figures")).to_contain_text(f"at most {found.ceiling.value:.0%}")
    expect(consistent.locator("tr")).to_have_count(12)
    models = page.locator("#insight-models")
    expect(models.locator("h3")).to_have_text(found.reward_models[0].name)
    expect(models.locator("line.limit").first).to_be_attached()
    expect(models.locator("figure", has_text="reliability").first.locator("circle")).to_have_count(
        len(found.reward_models[0].points)
    )
    older = models.locator(".older-model")
    expect(older.locator("table")).to_be_hidden()
    older.locator("summary").click()
    expect(older.locator("table")).to_be_visible()
    expect(page.locator("#insight-habits tr")).to_have_count(6)
    expect(page.locator("#insight-raters tbody tr")).to_have_count(2)
    expect(page.locator("#insight-pace figure")).to_have_count(3)
    page.locator("#insights-rater input").click()
    page.get_by_role("option", name="your votes").click()
    expect(page.locator("#insights .insights")).to_contain_text("From 381 judgements.")
    expect(consistent.locator("tr")).to_have_count(4)
    expect(page.locator("#insight-raters tbody tr")).to_have_count(2)
    assert page.evaluate("window.hacked === undefined")


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_needs_no_scrolling_to_the_side(world, serve, visit, scheme):
    page = visit(serve(world).url + "#insights", width=390, scheme=scheme)
    expect(page.locator("#insight-pace figure")).to_have_count(3)
    page.locator(".older-model summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.browser
def test_an_open_page_is_drawn_again_by_a_vote_and_by_nothing_else(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#insights")
    expect(page.locator("#insights")).to_contain_text("From 12 judgements.")
    page.evaluate("document.querySelector('#insights .insights').dataset.same = 'yes'")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    with page.expect_response(lambda answer: "component_server" in answer.url):
        pass
    assert not [url for url in asked if "queue/join" in url], "a question whether something is new draws nothing"
    filling.add_rated(full_ws, 1)
    expect(page.locator("#insights")).to_contain_text("From 13 judgements.")


def test_the_learning_curve_is_drawn_under_the_ceiling_with_what_is_expected_up_to_twice_the_labels(full_ws):
    rated.fill(full_ws, World(num=60, repeats=40, models=()))
    curves_of_labels.fill(full_ws, (50, 100, 200, 400, 800))
    drawn = drawing.page(stored.read(full_ws, report.read), "It would take <long>.")
    curve = stored.read(full_ws, learning_curves.newest)
    section = drawn.partition('id="insight-labels"')[2].partition("</section>")[0]
    assert all(gain.sentence in section for gain in curve.gains)
    assert "It would take &lt;long&gt;." in section
    assert section.count('class="limit"') == 1
    assert 'class="line c1 is-dashed"' in section
    named = dict(json.loads(unescape(re.search(r'data-points="(.*?)"', section)[1])))
    assert [x for x, _ in named["mean"]] == [50, 100, 200, 400, 800]
    assert (named["fit"][0][0], named["fit"][-1][0]) == (50, 1600)
    assert named["fit"][-1][1] == pytest.approx(curve.forecast.law.at(1600))
    assert '<a href="#insights">Insights</a>' in stored.read(full_ws, curves.draw, "curve-1", [], 0, False)


@pytest.mark.browser
def test_a_learning_curve_is_started_from_the_page_which_says_what_it_would_take_and_is_drawn_when_measured(
    full_ws, serve, visit
):
    page = visit(serve(full_ws).url + "#insights")
    labels = page.locator("#insight-labels")
    expect(labels).to_contain_text("No learning curve has been measured yet.")
    expect(labels.locator("button.go")).to_be_disabled()
    expect(labels).to_contain_text(
        "Not possible yet. A curve of 5 sizes needs 64 ratings on train prompts, since each size is half of the next"
    )
    expect(labels).to_contain_text(re.compile(r"There are \d+\."))
    curves_of_labels.fill(full_ws, (50, 100, 200, 400, 800), num_seeds=1)
    expect(labels.locator("figure polyline")).to_have_count(1)
    expect(labels).to_contain_text("1 of 5 seeds are measured")
    expect(labels.locator("a.go")).to_have_count(0)
    page.evaluate("location.hash = 'train/curve'")
    page.locator("#start-curve").click()
    expect(page.locator("#told-curve")).to_contain_text("at least 4 are needed. Rate pairs of train prompts")
    assert [run.name for run in stored.read(full_ws, runs.list_all, stage="curve")] == ["curve-1"]


def test_curves_on_chosen_and_random_labels_are_drawn_with_a_band_each_and_what_choosing_saves(full_ws):
    curves_of_labels.fill_arms(full_ws, (50, 100, 200, 400, 800), 4.0)
    drawn = drawing.page(stored.read(full_ws, report.read))
    found = stored.read(full_ws, active_choice.newest)
    section = drawn.partition('id="insight-choice"')[2].partition("</section>")[0]
    assert found.sentence in section
    assert f"sessions whose choice is auto: {found.consequence}".lower() in section.lower()
    assert '<a class="go" href="#train/curve">Measure it again</a>' in section
    assert [section.count(f'class="{name}"') for name in ("band", "band c1", "line c0", "line c1")] == [1, 1, 1, 1]
    named = dict(json.loads(unescape(re.search(r'data-points="(.*?)"', section)[1])))
    assert named["chosen"] == [[p.size, pytest.approx(p.accuracy)] for p in found.active]
    assert named["random"] == [[p.size, pytest.approx(p.accuracy)] for p in found.random]
    assert "No learning curve has been measured yet" in drawn, "of all labels there is none"


def test_the_ceiling_is_drawn_over_chosen_and_random_labels_and_its_words_stay_inside_the_plot(full_ws):
    rated.fill(full_ws, World(num=60, repeats=40, models=()))
    curves_of_labels.fill_arms(full_ws, (50, 100, 200, 400, 800), 4.0)
    drawn = drawing.page(stored.read(full_ws, report.read))
    section = drawn.partition('id="insight-choice"')[2].partition("</section>")[0]
    assert section.count('class="limit"') == 1
    for words, num_lines in (("ceiling at most 92%", 1), ("ceiling at most 92%, 190,000 repeats", 2)):
        for value in (0.2, 0.9):
            limit = Limit(value, value - 0.05, value + 0.05, words)
            text = chart("a", "", [Curve("b", [(1, 0.3), (2, 0.6)])], limit=limit).partition("limit-words")[2]
            lines = re.findall(r'<tspan x="4" dy="(\d+)">([^<]+)</tspan>', text.partition("</text>")[0])
            assert " ".join(line for _, line in lines) == words
            assert len(lines) == num_lines
            assert all(len(line) * charts.LETTER <= charts.NARROWEST - 4 for _, line in lines)
            first = float(re.search(r'y="([\d.]+)"', text)[1])
            last = first + charts.LINE * (num_lines - 1)
            assert first - 9 >= charts.TOP
            assert last <= charts.HEIGHT - charts.BOTTOM


def test_what_is_expected_of_more_labels_is_drawn_with_its_interval(full_ws):
    curves_of_labels.fill(full_ws, (50, 100, 200, 400, 800), num_held_out=4000)
    curve = stored.read(full_ws, learning_curves.newest)
    band = drawing._expected(curve)
    now, twice = curve.forecast.law.at(800), curve.forecast.twice
    assert band.low[0] == band.high[0] == (800, now)
    assert band.low[-1] == (1600, pytest.approx(now + twice.low))
    assert band.high[-1] == (1600, pytest.approx(now + twice.high))


def test_few_judgements_are_told_as_figures_with_intervals_and_no_chart_of_one_dot(full_ws):
    found = stored.read(full_ws, report.read)
    section = drawing.page(found).partition('id="insight-pace"')[2].partition("</section>")[0]
    speed = found.all_time.per_hour
    assert f"votes an hour of active time, {speed.low:,.0f} to {speed.high:,.0f}, from 12 judgements" in section
    assert "<figure" not in section
    for cell in re.findall(r'<td class="num">(<b>.*?)</td>', section):
        assert SHARE.match(re.sub("<.*?>", "", cell)), cell
