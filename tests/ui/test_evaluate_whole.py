"""Evaluate in a real browser with real workers: measure, forest plot and flips, blind votes by keys, and the leaderboard that moves."""

import pytest
from playwright.sync_api import expect

from studio.annotation import prefetch, sessions
from studio.evaluation import leaderboard, results
from studio.preferences import prompts
from studio.preferences.prompts import NewPrompt
from studio.runs import launcher, runs
from tests.support import policies, stored, warm
from tests.support.waiting import for_run, until
from tests.ui.test_rate import rated

pytestmark = pytest.mark.browser
QUESTIONS = ("Where is the fox?", "Who has the ball?", "What is a tree?", "Why do birds sing?")


@pytest.fixture
def ws(tmp_path):
    """Two policies, and prompts that measure; runs that are left over are ended."""
    ws = policies.workspace(tmp_path / "studio")
    with ws.write() as db:
        for question in QUESTIONS:
            prompts.add_prompt(db, NewPrompt([{"role": "user", "content": question}], split="validation"))
    with warm.starts():
        yield ws
        for session in stored.read(ws, sessions.list_all):
            stored.written(ws, sessions.end, session.id)
        until(lambda: not prefetch._busy.locked(), "no more pairs are sampled for an ended session")
        for left in [run for run in stored.read(ws, runs.list_all) if not run.is_ended]:
            launcher.kill(ws, left.name)


@pytest.mark.timeout(900)
def test_two_models_are_measured_compared_and_voted_on_from_the_page_alone(ws, serve, visit):
    page = visit(serve(ws).url + "#evaluate")
    expect(page.locator("#evaluate-forests")).to_contain_text("Nothing is measured yet")
    page.locator("#measure").click()
    expect(page.locator("#run-head h2")).to_have_text("evaluate-1")
    run = for_run(ws, "evaluate-1", lambda r: r.is_ended)
    assert run.state == "finished", run.message
    measured = [suite.name for suite in stored.read(ws, results.measured)]
    assert {"grammar", "facts", "stories", "caution"} <= set(measured)

    page.locator("#page-evaluate-button").click()
    expect(page.locator("#evaluate-forests .fold h3")).to_have_text("sft-2@1 against base (starter)")
    judged = page.locator("table.evaluation").locator("tbody tr", has_text="no difference shown")
    expect(page.locator(".forest circle").first).to_be_visible()
    expect(judged.first).to_be_hidden()
    page.locator("#evaluate-table .fold > summary").click()
    expect(judged.first).to_be_visible()
    page.locator(".flips-of > summary").first.click()
    flip = page.locator(".flip").first
    flip.locator("summary").click()
    expect(flip.locator(".sides")).to_be_visible()

    expect(page.locator("#leaderboard")).to_contain_text("No votes between two checkpoints yet")
    page.locator("#versus-start").click()
    expect(page.locator("#page-rate")).to_be_visible()
    session = stored.read(ws, sessions.list_all)[0]
    assert {session.config.checkpoint, session.config.opponent} == {"sft-1@1", "sft-2@1"}
    for num in (1, 2):
        page.locator(".rating[data-ready]").wait_for()
        page.keyboard.press("1")
        until(lambda num=num: rated(ws) == num, f"vote {num}")
    page.locator("#page-evaluate-button").click()
    (pair,) = stored.read(ws, leaderboard.read, "person").as_dict()["pairs"]
    assert pair["wins"] + pair["losses"] == 2
    expect(page.locator("#leaderboard .versus")).to_contain_text(f"Won {pair['wins']}, tied 0, lost {pair['losses']}")
    expect(page.locator("#leaderboard tbody tr")).to_have_count(2)
