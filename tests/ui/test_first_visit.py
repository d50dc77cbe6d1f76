"""The first visit: what an empty workspace offers, and the tour on real controls."""

import re

import pytest
from playwright.sync_api import expect

from studio.preferences import prompts
from tests.support import stored

pytestmark = pytest.mark.browser

PLACES = (
    "home", "data", "train/sft", "runs", "train/sample", "rate", "train/reward", "train/ppo", "evaluate", "chat",
)  # fmt: skip
AROUND = """() => {
  const ring = document.querySelector(".tour-ring").getBoundingClientRect();
  return !document.querySelector(".tour-ring").hidden && ring.width > 30 && ring.top < innerHeight && ring.bottom > 0;
}"""


def test_an_empty_workspace_offers_the_starter_ones_own_data_or_model_and_loads_the_starter_at_a_press(
    ws, serve, visit
):
    page = visit(serve(ws).url)
    begin = page.locator("#home .step.is-first")
    expect(begin.get_by_role("link")).to_have_text(["Bring your own data", "Choose your own model"])
    assert stored.read(ws, prompts.counts)["prompts"] == 0
    begin.get_by_role("button", name="Load the starter kit").click()
    expect(page.locator("#next-step")).to_have_text("Train SFT")
    assert stored.read(ws, prompts.counts)["demonstrations"] > 100
    expect(page.locator("#home [data-tour]")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390], ids=["wide", "narrow"])
def test_the_tour_stands_at_a_real_control_of_each_page_and_begins_where_nothing_was_trained(ws, serve, visit, width):
    page = visit(serve(ws).url, width=width)
    page.locator("#home [data-tour]").click()
    card = page.locator(".tour")
    for number, place in enumerate(PLACES, start=1):
        expect(card.locator(".num")).to_have_text(f"{number} of {len(PLACES)}")
        expect(page).to_have_url(re.compile(f"(#{place}|/)$" if place == "home" else f"#{place}$"))
        page.wait_for_function(AROUND)
        card.locator("[data-next]").click()
    expect(card).to_have_count(0)


def test_the_tour_goes_on_after_a_reload_presses_no_key_of_a_page_and_is_left_by_esc(full_ws, serve, visit):
    page = visit(serve(full_ws).url)
    expect(page.locator("#home .by-round")).to_be_visible()
    expect(page.locator("#home .step [data-tour]")).to_have_count(0)
    expect(page.locator("#home .tour-again [data-tour]")).to_be_visible()
    page.evaluate("sessionStorage.setItem('studio-tour', '4')")
    page.reload()
    card = page.locator(".tour")
    expect(card.locator(".num")).to_have_text("5 of 10")
    card.locator("[data-next]").click()
    expect(page.locator(".rating [data-part=left]")).not_to_be_empty()
    tally = page.locator(".rating [data-part=tally]").inner_text()
    card.locator("[data-back]").focus()
    page.keyboard.press("9")
    card.locator("[data-next]").focus()
    page.keyboard.press("Escape")
    expect(card).to_have_count(0)
    expect(page.locator(".rating [data-part=tally]")).to_have_text(tally)
    page.reload()
    expect(page.locator(".rating [data-part=left]")).not_to_be_empty()
    expect(card).to_have_count(0)
