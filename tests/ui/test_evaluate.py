"""The page Evaluate in a real browser: two measured checkpoints, the table, the forest plot, a flip that opens, and a start."""

import json

import pytest
from playwright.sync_api import expect

from modules.config import EvaluateConfig, SampleConfig, SFTConfig
from studio.annotation import prefetch, sessions
from studio.evaluation import comparison, results
from studio.evaluation.results import Result, Subject
from studio.models import checkpoints
from studio.preferences import comparisons, ratings
from studio.runs import launcher, runs
from tests.support import stored, waiting
from tests.ui import filling
from tests.ui.filling import HOSTILE
from ui.components import html
from ui.pages.evaluate import page as evaluate
from ui.pages.evaluate import win_rates


def measure(ws, num=40):
    """Results of the base and of two checkpoints on a suite of pairs and one of choices, as a run would store them."""
    run = filling.add_run(ws, EvaluateConfig(suites="grammar"))
    pairs = [{"good": f"They are {n}.", "bad": f"They is {n}.", "cluster": f"c{n % 8}"} for n in range(num)]
    asked = [{"prompt": f"{HOSTILE} {n}", "choices": ["yes", HOSTILE], "gold": 0} for n in range(num)]
    known = [c.name for c in reversed(stored.read(ws, checkpoints.list_all, "sft", "ppo"))]
    for place, name in enumerate(["base:starter", *known]):
        subject = Subject(name, "base", "f", None)
        for kind, rows in (("pair", pairs), ("choice", asked)):
            suite_id = stored.written(ws, results.keep_suite, kind, f"Suite of {kind}s", kind, {"scorer": 1}, rows)
            right = [float(n >= place * 12) if kind == "choice" else float(n % 3 > 0) for n in range(num)]
            scores = [{"acc": r, "acc_norm": r, "mass": 0.2 + r / 2, "chosen": int(1 - r)} for r in right]
            stored.written(ws, results.add, run.id, suite_id, subject, [Result(n, 0, s) for n, s in enumerate(scores)])
    return known


@pytest.mark.browser
def test_two_checkpoints_are_compared_and_a_flip_opens(full_ws, serve, visit):
    _, policy = measure(full_ws)
    page = visit(serve(full_ws).url + "#evaluate")
    forest = page.locator("#evaluate-forests .fold").last
    expect(forest.locator("h3")).to_have_text(f"{policy} against base (starter)")
    expect(forest.locator("summary .num")).to_have_text("1 worse, 0 better, 1 no difference shown")
    expect(page.locator("table.summary tr", has_text=policy).locator(".is-worse")).to_have_text("choice: accuracy")
    expect(forest.locator("circle")).to_have_count(2)
    row = page.locator("table.evaluation tbody").last.locator("tr", has_text="Suite of choices").first
    expect(row).to_contain_text("24 / 0")
    expect(row.locator(".is-worse")).to_have_text("worse")
    flip = page.locator(".flip").last
    expect(flip).to_be_hidden()
    page.locator(".flips-of > summary").last.click()
    expect(flip.locator(".sides")).to_be_hidden()
    flip.locator("summary").click()
    expect(flip.locator(".sides")).to_contain_text("yes")
    expect(flip.locator(".sides")).to_contain_text("window.hacked")
    assert page.evaluate("window.hacked === undefined")
    page.locator("#evaluate-report").click()
    expect(page.locator("#evaluate-told")).to_contain_text("report.html")
    facts = json.loads((full_ws.exports / "evaluation/report.json").read_text())
    assert facts["kl"] == {"sft-1@60": 0.0}
    text = (full_ws.exports / "evaluation/report.html").read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_a_start_makes_a_run_and_bad_input_a_sentence(full_ws, monkeypatch):
    monkeypatch.setattr(launcher, "start", lambda ws, run: run)
    told, going, tabs, chosen = evaluate._start(full_ws, ["base"], ["grammar", "facts"])
    assert (told, "evaluate-1 has not ended; its results appear here then." in going) == ("", True)
    assert (tabs.selected, chosen) == ("runs", "evaluate-1")
    assert stored.read(full_ws, runs.get, "evaluate-1").config.suites == "grammar, facts"
    assert "There is no suite" in evaluate._start(full_ws, ["base"], ["nothing"])[0]
    assert "outside the folders" in evaluate._start(full_ws, ["base"], ["blimp:/etc/passwd"])[0]
    assert "no checkpoint named" in evaluate._start(full_ws, ["sft-99"], None)[0]
    assert len(stored.read(full_ws, runs.list_all, stage="evaluate")) == 1


def test_an_empty_page_says_what_belongs_there(ws):
    names, chosen, _, going, forests, table, flips = evaluate._refresh(ws, None, ["mine"], "gone")
    assert [value for _, value in names.choices] == ["base"]
    assert "value" not in chosen.constructor_args, "what was chosen stays, also what was chosen meanwhile"
    assert [value for _, value in chosen.choices][-1] == "mine"
    assert "Nothing is measured yet" in forests
    assert (going, table, flips) == ("", "", "")
    refused = evaluate._write(ws, "")
    assert "press Measure first" in refused
    assert "rlhf-studio" not in refused, "the next step is on this page, not in a terminal"


def test_an_odd_choice_of_what_to_compare_with_draws_nothing_and_breaks_nothing(full_ws):
    measure(full_ws, num=4)
    for against in ("ppo-99", HOSTILE, None, 7):
        assert all(isinstance(drawn, str) for drawn in evaluate._draw(full_ws, against))
    assert stored.read(full_ws, comparison.compare, "sft-1").against == "sft-1@60"


def answer(ws, num=20):
    """Scores and KLs of sampled answers: a policy that its own reward model likes better than another one does."""
    run = filling.add_run(ws, EvaluateConfig(suites="grammar"))
    items = [{"messages": [{"role": "user", "content": f"{HOSTILE} {n}"}]} for n in range(num)]
    facts = {"scorer": 1, "gold": "reward-2@1"}
    suite_id = stored.written(ws, results.keep_suite, "answers", f"Answers {HOSTILE}", "prompt", facts, items)
    fixed = {"tokens": 4, "truncated": 0.0, "distinct_4": 1.0, "listed_words": 0, "refusal": 0.0}
    names = [c.name for c in reversed(stored.read(ws, checkpoints.list_all, "sft", "ppo"))]
    for place, name in enumerate(names):
        found = [
            Result(n, k, fixed | {"reward": place + k, "gold": k - 0.5 * place + n / num, "kl": 4.0 * place}, "so")
            for n in range(num)
            for k in range(2)
        ]
        stored.written(ws, results.add, run.id, suite_id, Subject(name, "policy", "f", None), found)
    return names


@pytest.mark.browser
def test_what_ppo_earned_for_its_kl_is_drawn_and_a_measurement_can_be_asked_for(full_ws, serve, visit, monkeypatch):
    monkeypatch.setattr(launcher, "start", lambda ws, run: run)
    sft, policy = answer(full_ws)
    page = visit(serve(full_ws).url + "#evaluate")
    section = page.locator("#earned")
    expect(section).to_contain_text(f"scores none of them above {sft}, where they began")
    expect(section).to_contain_text("may share votes")
    expect(section.locator("svg")).to_have_count(3)
    rows = section.locator("tbody tr")
    expect(rows).to_have_count(4)
    expect(rows.nth(1)).to_contain_text(policy)
    expect(rows.nth(1)).to_contain_text("4.00")
    expect(rows.nth(2)).to_contain_text(f"best of 2 of {sft}")
    expect(rows.nth(3)).to_contain_text(f"best of 2 of {policy}")
    assert page.evaluate("window.hacked === undefined")
    page.locator("#earned-start").click()
    expect(page.locator("#earned-told")).to_contain_text("has no test prompts")


def vote(ws, name, num=1):
    """Votes for the answers that a checkpoint gave; each answer begins with its checkpoint's name."""
    for _ in range(num):
        showing = stored.written(ws, comparisons.next_showing)
        assert showing
        with ws.write() as db:
            ratings.record(db, showing.id, "left" if showing.left.startswith(name) else "right")


@pytest.mark.browser
def test_an_address_chooses_the_two_to_compare_and_the_number_of_votes(ws, serve, visit):
    filling.add_texts(ws, 4)
    for _ in range(3):
        filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    first, second, third = (c.name for c in stored.read(ws, checkpoints.list_all, "ppo", "sft"))

    def chosen(page) -> list[str]:
        return [page.locator(f"#versus-{name} input").input_value() for name in ("one", "other", "votes")]

    page = visit(serve(ws).url + f"#{html.versus_link(second, third, 10)}")
    expect(page.locator("#versus-votes input")).to_have_value("10")
    expect(page.locator("#versus-one input")).to_have_value(second)
    assert chosen(page) == [second, third, "10"]
    page.evaluate(f"location.hash = '{html.versus_link(first, second)}'")  # the page is open already
    expect(page.locator("#versus-votes input")).to_have_value("50")
    assert chosen(page) == [first, second, "50"]
    page.locator("#versus-votes input").fill("7")
    page.get_by_role("tab", name="Home").click()
    page.get_by_role("tab", name="Evaluate").click()
    expect(page.locator("#leaderboard")).to_contain_text("No votes")
    assert chosen(page) == [first, second, "7"], "what was chosen since stays"


@pytest.mark.parametrize("asked", ["", "sft-1", "sft-1/", "/sft-2", "//", "/"])
def test_an_address_that_names_no_two_chooses_what_is_offered(ws, asked):
    one, other, *_ = win_rates._refresh(ws, asked, "ppo-1@4", "sft-1@2", "person")
    assert "value" not in one.constructor_args or one.constructor_args["value"] == "ppo-1@4"
    assert "value" not in other.constructor_args or other.constructor_args["value"] == "sft-1@2"


@pytest.mark.browser
def test_a_comparison_is_started_votes_are_given_and_the_leaderboard_moves(ws, serve, visit, monkeypatch):
    monkeypatch.setattr(prefetch, "look_after", lambda *_: None)
    filling.add_texts(ws, 4)
    for _ in range(2):
        filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    one, other = (c.name for c in stored.read(ws, checkpoints.list_all, "ppo", "sft"))
    sampled = filling.add_run(ws, SampleConfig(checkpoint=one, opponent=other))
    filling.add_rivals(ws, 3, (one, other), run=sampled)
    page = visit(serve(ws).url + "#evaluate")
    expect(page.locator("#leaderboard")).to_contain_text("No votes between two checkpoints yet")
    page.locator("#versus-start").click()
    expect(page.locator("#page-rate")).to_be_visible()
    expect(page.locator("[data-part=tally]")).to_contain_text(
        f"0 of 50, block 1. {one} against {other}, sides hidden: 3 pairs wait, and more are sampled when fewer than 20 are left"
    )
    told, guideline = (page.locator(part).bounding_box() for part in (".tally", "[data-part=guideline]"))
    assert guideline["width"] >= 0.8 * told["width"], "a long line leaves the guideline its place"
    session = stored.read(ws, sessions.list_all)[0]
    assert {session.config.checkpoint, session.config.opponent} == {one, other}
    assert (session.config.target, session.config.split) == (50, "validation")
    stored.written(ws, sessions.end, session.id)
    filling.add_rivals(ws, 12, (one, other))
    vote(ws, one, 9)
    page.locator("#page-evaluate-button").click()
    expect(page.locator("#leaderboard tbody tr").first).to_contain_text(one)
    expect(page.locator("#leaderboard .versus")).to_contain_text("Won 9, tied 0, lost 0. Decided")
    vote(ws, other, 3)
    page.locator("#page-home-button").click()
    page.locator("#page-evaluate-button").click()
    expect(page.locator("#leaderboard .versus")).to_contain_text("Won 9, tied 0, lost 3. Not decided")


@pytest.mark.browser
def test_the_pretrained_model_can_be_one_of_the_two_and_no_name_is_seen_while_rating(ws, serve, visit, monkeypatch):
    monkeypatch.setattr(prefetch, "look_after", lambda *_: None)
    filling.add_texts(ws, 4)
    name = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    page = visit(serve(ws).url + f"#{html.versus_link('base', name, 5)}")
    expect(page.locator("#versus-one input")).to_have_value("base")
    page.locator("#versus-start").click()
    expect(page.get_by_role("tab", name="Rate")).to_have_attribute("aria-selected", "true")
    (session,) = stored.read(ws, sessions.list_all)
    assert (session.config.checkpoint, session.config.opponent, session.config.target) == (name, "base", 5)


@pytest.mark.browser
def test_who_asks_for_votes_on_home_is_led_to_the_form(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#home")
    page.locator(".by-round a", has_text="compare blind").first.click()
    expect(page.locator("#versus-start")).to_be_in_viewport(ratio=1)
    expect(page.locator("#versus-one input")).not_to_have_value("")


def test_verdicts_come_first_and_what_a_person_folds_or_opens_stays_so(full_ws, serve, visit):
    for _ in range(3):
        filling.add_checkpoint(full_ws, filling.add_run(full_ws, SFTConfig()))
    names = measure(full_ws)
    assert len(names) == 5, "more than stand open together"
    page = visit(serve(full_ws).url + "#evaluate")
    expect(page.locator("table.summary tbody th")).to_have_text(names)
    plots = page.locator("#evaluate-forests .fold")
    expect(plots).to_have_count(5)
    assert [plots.nth(n).evaluate("part => part.open") for n in range(5)] == [False] * 4 + [True], "the newest alone"
    figures = page.locator("#evaluate-table .fold")
    expect(figures.locator("table")).to_be_hidden()
    figures.locator("summary").click()
    plots.last.locator("summary").click()
    expect(figures.locator("table")).to_be_visible()
    expect(plots.last.locator("svg")).to_be_hidden()
    page.get_by_label("Compare with").click()
    page.get_by_role("option", name=names[0]).click()
    expect(page.locator("table.summary thead")).to_contain_text(f"Against {names[0]}")
    expect(figures.locator("table")).to_be_visible()
    expect(plots.last.locator("svg")).to_be_hidden()
    page.reload()
    expect(figures.locator("table")).to_be_visible()
    expect(plots.last.locator("svg")).to_be_hidden()


@pytest.mark.browser
def test_buttons_stand_in_line_with_the_fields_and_not_with_their_labels(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#evaluate")
    for button, field in (
        ("measure", "evaluate-against"),
        ("versus-start", "versus-rater"),
        ("earned-start", "earned-number"),
    ):
        label, held = page.locator(f"#{field} [data-testid=block-info]"), page.locator(f"#{field} input")
        pressed, named, typed = waiting.at_rest(page.locator(f"#{button}")), label.bounding_box(), held.bounding_box()
        assert pressed["y"] >= named["y"] + named["height"]
        assert abs(pressed["y"] + pressed["height"] / 2 - typed["y"] - typed["height"] / 2) <= 2, button
