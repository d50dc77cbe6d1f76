"""The rollouts of a PPO run in a real browser: found, sorted, shown token by token, and never taken for markup."""

from contextlib import suppress

import pytest
from playwright.sync_api import expect

from studio.runs import rollouts, runs
from studio.runs.rollouts import Filter
from tests.support import stored
from tests.ui import filling
from tests.ui.filling import HOSTILE
from ui.pages.runs import page as runs_page

pytestmark = pytest.mark.browser


def open_rollouts(page):
    expect(page.locator("#run-head h2")).to_have_text("ppo-2")
    page.get_by_role("tab", name="Rollouts").click()
    expect(page.locator("#run-rollouts tbody tr")).to_have_count(12)


def test_rollouts_are_searched_sorted_and_filtered(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#runs/ppo-2")
    open_rollouts(page)
    rows = page.locator("#run-rollouts tbody tr")

    def field(name):
        return page.locator(f"#rollout-{name} textarea, #rollout-{name} input").first

    def narrow(name, text, num):
        """Type it again where it is gone: Gradio sets a field that comes into view once more."""
        for _ in range(30):
            field(name).fill(text)
            with suppress(AssertionError):
                return expect(rows).to_have_count(num, timeout=3000)
        pytest.fail(f"{name} = {field(name).input_value()!r}, but {rows.count()} rows")

    expect(rows.first).to_contain_text("40")
    narrow("search", "it is 39", 1)
    expect(page.locator("#run-rollouts")).to_contain_text("1 match; 12 are stored.")
    field("search").fill("")
    expect(rows).to_have_count(12)
    page.locator("#rollout-sort input").click()
    page.get_by_role("option", name="lowest score", exact=True).click()
    expect(rows.first.locator("td").nth(1)).to_have_text("2.80")
    page.locator("#rollout-end input").click()
    page.get_by_role("option", name="cut at the length limit").click()
    expect(rows).to_have_count(3)
    page.get_by_text("More filters").click()
    narrow("iteration", "38", 1)
    narrow("iteration", "39-40", 2)
    narrow("iteration", "38", 1)
    field("lowest-score").fill("99")
    expect(page.locator("#run-rollouts")).to_contain_text("None of the 12 stored responses match.")
    field("highest-KL").fill("much")
    expect(page.locator("#run-rollouts")).to_contain_text("A filter is not a number.")


def test_a_response_is_shown_token_by_token_and_hostile_text_stays_text(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#runs/ppo-2")
    open_rollouts(page)
    expect(page.locator("#run-rollouts")).to_contain_text("<script>window.hacked")
    page.locator("#run-rollouts tr", has_text="window.hacked").first.click()
    expect(page.locator("#rollout header")).to_contain_text("short -")
    words = page.locator("#rollout .words").last
    expect(words).to_contain_text(HOSTILE)
    run = stored.read(full_ws, runs.get, "ppo-2")
    hostile = stored.read(full_ws, rollouts.find, run.id, Filter(search="hacked", min_iteration=40))[0]
    table = stored.read(full_ws, rollouts.token_table, hostile)
    expect(words.locator(".token")).to_have_count(len(table))

    def strengths() -> list[float]:
        return [
            float(words.locator(".token").nth(i).evaluate("e => e.style.getPropertyValue('--strength')"))
            for i in range(len(table))
        ]

    def expected(name: str) -> list[float]:
        sizes = [abs(getattr(token, name)) for token in table]
        return [pytest.approx(size / max(sizes), abs=0.006) for size in sizes]

    assert strengths() == expected("advantage")
    page.get_by_role("radio", name="KL").check()
    expect(page.locator("#rollout .legend")).to_contain_text("KL of a token")
    assert strengths() == expected("kl")
    for radio in ("value", "ratio", "log-probability", "reward"):
        page.get_by_role("radio", name=radio, exact=True).check()
        expect(page.locator("#rollout .legend")).to_contain_text(radio)
    page.locator("#rollout summary").click()
    expect(page.locator("#rollout details tbody tr")).to_have_count(len(table))
    expect(page.locator("#rollout details tbody tr").first).to_contain_text(f"{table[0].logprob:.3f}")
    assert page.evaluate("window.hacked === undefined")
    page.locator('#run-list a[href="#runs/sft-1"]').click()
    expect(page.locator("#run-rollouts")).to_contain_text("Only PPO has rollouts.")
    expect(page.locator("#rollout")).to_contain_text("Choose a response")


def test_all_runs_are_searched_a_page_at_a_time_and_a_response_of_another_run_is_shown(full_ws, serve, visit):
    with full_ws.read() as db:
        old = runs.get(db, "ppo-1")
    for iteration in range(1, 21):
        filling.add_rollouts(full_ws, old, iteration, [f"Zebra {iteration} {n}." for n in range(4)])
    page = visit(serve(full_ws).url + "#runs/ppo-2")
    open_rollouts(page)
    rows = page.locator("#run-rollouts tbody tr")
    page.get_by_label("in all runs").check()
    expect(rows).to_have_count(50)
    expect(page.locator("#run-rollouts")).to_contain_text("1 to 50 of 92 that match; 92 are stored.")
    expect(rows.first).to_contain_text("ppo-2")
    expect(page.locator("#rollout-before")).to_be_disabled()
    page.locator("#rollout-after").click()
    expect(rows).to_have_count(42)
    expect(page.locator("#run-rollouts")).to_contain_text("51 to 92 of 92 that match")
    expect(page.locator("#rollout-after")).to_be_disabled()
    rows.last.locator("button").click()
    expect(page.locator("#rollout")).to_contain_text("ppo-1, iteration 1,")
    expect(rows).to_have_count(42)
    expect(page.locator("#run-rollouts tr.is-picked")).to_contain_text("Zebra 1 3.")
    search = page.locator("#rollout-search textarea, #rollout-search input").first
    search.fill("zebra 7")
    expect(rows).to_have_count(4)
    expect(page.locator("#run-rollouts")).to_contain_text("4 match; 92 are stored.")
    expect(page.locator("#rollout-after")).to_be_hidden()
    rows.first.get_by_role("link", name="ppo-1").click()
    expect(page.locator("#run-head h2")).to_have_text("ppo-1")
    page.get_by_label("in all runs").uncheck()
    expect(page.locator("#run-rollouts")).to_contain_text("4 match; 80 are stored.")
    search.fill("")
    expect(rows).to_have_count(50)


def test_new_iterations_appear_while_the_page_is_open(full_ws, serve, visit, monkeypatch):
    monkeypatch.setattr(runs_page, "QUIET_S", 1.0)  # no run is going on here
    page = visit(serve(full_ws).url + "#runs/ppo-2")
    open_rollouts(page)
    run = stored.read(full_ws, runs.get, "ppo-2")
    filling.add_rollouts(full_ws, run, 41, ["A new one."])
    filling.add_curves(full_ws, run, {"objective/score": 1.0}, num=1)
    expect(page.locator("#run-rollouts tbody tr").first).to_contain_text("A new one.")
    expect(page.locator("#run-rollouts tbody tr")).to_have_count(13)


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_the_section_fits_every_width(full_ws, serve, visit, width, scheme):
    page = visit(serve(full_ws).url + "#runs/ppo-2", width=width, scheme=scheme)
    open_rollouts(page)
    page.locator("#run-rollouts tr", has_text="Vistula").first.click()
    expect(page.locator("#rollout .token").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
