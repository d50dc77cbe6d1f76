"""An earlier vote that a reward model contradicted: it comes unmarked, is asked about after the vote, and is settled by one key."""

import re

import pytest
from playwright.sync_api import Page, expect

from studio.annotation import disagreements, guidelines, history, predictions, sessions
from studio.annotation.session_config import SessionConfig
from studio.preferences import ratings
from studio.workspace import Workspace
from tests.support import stored
from tests.support.waiting import until as wait_for
from tests.test_disagreements import judged
from tests.test_sessions import add_pairs
from tests.ui.test_accessibility import faults
from tests.ui.test_rate import press

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reward models here have no weights to predict with."""
    monkeypatch.setattr(predictions, "start", lambda ws: False)


@pytest.fixture
def looked_ws(ws: Workspace) -> Workspace:
    """A session whose first items are second looks."""
    judged(ws)
    add_pairs(ws, 6, start=200)
    stored.written(ws, sessions.start, SessionConfig(target=12, block_size=12, second_looks=1.0, repeat_share=0.0))
    return ws


def outcomes(ws: Workspace) -> list[str]:
    with ws.read() as db:
        return [row["outcome"] for row in db.query("SELECT outcome FROM settlements ORDER BY id")]


def for_the_good_one(page: Page) -> str:
    """The key that says the answer that begins with good is better."""
    expect(page.locator(".rating[data-state=pair][data-ready]")).to_be_attached()
    return "2" if page.locator("[data-part=left]").inner_text().startswith("good") else "9"


def asked(page: Page) -> None:
    expect(page.locator(".rating[data-state=question][data-ready]")).to_be_attached()


def test_three_disagreements_are_settled_by_a_key_each_with_a_reload_in_between(looked_ws, serve, visit):
    ws = looked_ws
    served = serve(ws)
    page = visit(served.url + "#rate")
    before = page.locator(".rating")
    expect(before).to_have_attribute("data-state", "pair")
    expect(page.locator("[data-part=second-look]")).to_be_hidden()
    assert not re.search("reward-1|before|again|second", page.locator(".rating .pair").inner_text())
    first = stored.read(ws, disagreements.find)[0].rating_id
    press(page, for_the_good_one(page))
    asked(page)
    said = page.locator("[data-part=said]")
    question = page.get_by_role("region", name="An earlier vote")
    expect(question).to_contain_text("You had judged this pair before")
    expect(question).to_contain_text("reward-1@40 expected")
    expect(question).to_contain_text("95%")
    page.keyboard.press("1")
    expect(said).to_contain_text(
        "This is about an earlier vote, so nothing was judged. Press s, m, g, or Esc to decide later."
    )
    assert stored.read(ws, ratings.list_events, limit=-1)[-1]["id"] == 9, (
        "seven votes, one of them imported, and the second look"
    )
    page.reload()
    asked(page)
    press(page, "s")
    expect(said).to_contain_text("Recorded: your first vote was a slip")
    assert stored.read(ws, history.get, first).id != first

    press(page, for_the_good_one(page))
    asked(page)
    served.stop()
    served.start()
    page.reload()
    asked(page)
    press(page, "m")
    expect(said).to_contain_text("Recorded: the reward model is wrong; your votes stay")

    press(page, for_the_good_one(page))
    asked(page)
    press(page, "g")
    writer = page.get_by_role("dialog", name="Write")
    field = writer.locator("textarea")
    expect(field).to_have_value(f"{guidelines.FIRST}\n{guidelines.OPEN_LINE}")
    page.keyboard.type("When both are short, the better answer is kind.")  # instead of the line that was open
    expect(field).to_have_value(f"{guidelines.FIRST}\nWhen both are short, the better answer is kind.")
    wait_for(
        lambda: stored.read(ws, lambda db: list(db.query("SELECT 1 FROM drafts WHERE name LIKE 'rate-gap-%'"))),
        "the draft",
    )
    page.reload()
    asked(page)
    page.keyboard.type("smart")
    expect(said).to_contain_text(
        "You were writing a line for the guideline; it is kept. Press g to go on with it, Esc to answer."
    )
    assert outcomes(ws) == ["slip", "model"], "what was typed on answers nothing"
    press(page, "g")
    expect(field).to_have_value(f"{guidelines.FIRST}\nWhen both are short, the better answer is kind.")
    page.keyboard.press("Control+Enter")
    expect(said).to_contain_text("version 1 of the guideline was written for it")
    assert outcomes(ws) == ["slip", "model", "gap"]
    assert stored.read(ws, guidelines.current).text.endswith("the better answer is kind.")
    expect(page.locator(".rating")).to_have_attribute("data-state", "pair")
    page.locator("#rate-tabs").get_by_role("tab", name="Session").click()
    expect(page.locator("#guideline-gaps")).to_contain_text("version 1 was written for it")
    page.goto(f"{served.url}#insights")
    expect(page.locator("#insight-disagreements")).to_contain_text("the first vote was a slip")
    expect(page.locator("#insight-disagreements")).to_contain_text("3 wait to be looked at again")


def test_undo_brings_the_question_back_then_the_pair_and_esc_leaves_it_open(looked_ws, serve, visit):
    ws = looked_ws
    page = visit(serve(ws).url + "#rate")
    said = page.locator("[data-part=said]")
    key = for_the_good_one(page)
    texts = page.locator(".rating .sides").inner_text()
    press(page, key)
    asked(page)
    assert page.locator(".rating .sides").inner_text() == texts
    press(page, "s")
    expect(said).to_contain_text("Recorded: your first vote was a slip")
    expect(page.locator(".rating")).to_have_attribute("data-state", "pair")
    press(page, "z")
    expect(said).to_contain_text(
        "Undone: your first vote was a slip, and now says what the second one does. Here it is again."
    )
    asked(page)
    press(page, "z")
    expect(page.locator(".rating")).to_have_attribute("data-state", "pair")
    expect(page.locator(".rating .sides")).to_contain_text(texts.split()[-1])
    press(page, "9" if for_the_good_one(page) == "2" else "2")
    asked(page)
    expect(page.get_by_role("button", name="my first vote was a slip")).to_be_hidden()
    expect(page.locator("[data-part=facts]")).to_contain_text("the same answer again")
    press(page, "Escape")
    expect(said).to_contain_text("Recorded: left open; the pair comes again in another session")
    assert outcomes(ws) == ["slip", "undo", "later"]
    assert stored.read(ws, disagreements.count) == 6


def test_the_mouse_can_settle_and_cancel_and_a_gap_without_a_line_is_noted(looked_ws, serve, visit):
    ws = looked_ws
    page = visit(serve(ws).url + "#rate")
    said = page.locator("[data-part=said]")
    press(page, for_the_good_one(page))
    asked(page)
    page.get_by_role("button", name="the guideline does not say").click()
    writer = page.get_by_role("dialog", name="Write")
    writer.get_by_role("button", name="Cancel").click()
    asked(page)
    assert outcomes(ws) == []
    page.get_by_role("button", name="the guideline does not say").click()
    writer.locator("textarea").fill("x" * 2001)
    writer.get_by_role("button", name="Save the guideline").click()
    expect(writer).to_contain_text("The guideline has at most 2,000 characters; this one has 2,001")
    writer.locator("textarea").fill(f"{guidelines.FIRST}\n{guidelines.OPEN_LINE}")
    writer.get_by_role("button", name="Save the guideline").click()
    expect(said).to_contain_text("Recorded: the guideline does not say.")
    assert stored.read(ws, guidelines.current).version == 0
    for name, words in (("the reward model is wrong", "the reward model is wrong"), ("decide later", "left open"), ("my first vote was a slip", "your first vote was a slip")):  # fmt: skip
        press(page, for_the_good_one(page))
        asked(page)
        page.get_by_role("button", name=name).click()
        expect(said).to_contain_text(f"Recorded: {words}")
    assert outcomes(ws) == ["gap", "model", "later", "slip"]


def test_a_text_being_written_comes_before_the_question(looked_ws, serve, visit):
    ws = looked_ws
    page = visit(serve(ws).url + "#rate")
    key = for_the_good_one(page)
    page.evaluate("() => { window.held = []; const real = window.fetch; window.fetch = (...given) => String(given[0]).includes('component_server') ? new Promise((done) => window.held.push(() => done(real(...given)))) : real(...given); }")  # fmt: skip
    press(page, key)
    press(page, "n")
    field = page.get_by_role("dialog", name="Write").locator("textarea")
    field.fill("A note on the next one.")
    expect(page.locator("[data-part=said]")).to_have_text("Saving …")
    page.evaluate("() => { window.fetch = ((real) => real)(window.fetch); const held = window.held; window.held = { push: (go) => go() }; held.forEach((go) => go()); }")  # fmt: skip
    expect(page.locator("[data-part=said]")).to_contain_text("Recorded:")
    expect(field).to_have_value("A note on the next one.")
    expect(page.locator("[data-part=second-look]")).to_be_hidden()
    page.get_by_role("button", name="Save note").click()
    asked(page)
    press(page, "m")
    expect(page.locator("[data-part=said]")).to_contain_text("Recorded: the reward model is wrong")
    expect(page.locator("[data-part=noted]")).to_have_text("Note: A note on the next one.")
    assert outcomes(ws) == ["model"]


def test_hostile_texts_of_a_question_are_text(ws, serve, visit):
    judged(ws)
    with ws.write() as db:
        guidelines.write(db, "<img src=x onerror=alert(1)> first")
    stored.written(ws, sessions.start, SessionConfig(target=12, block_size=12, second_looks=1.0, repeat_share=0.0))
    page = visit(serve(ws).url + "#rate")
    press(page, for_the_good_one(page))
    asked(page)
    press(page, "g")
    expect(page.get_by_role("dialog", name="Write").locator("textarea")).to_have_value(re.compile("<img src=x"))
    assert page.locator(".rating img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_question_has_no_serious_fault_and_fits(looked_ws, serve, visit, scheme):
    page = visit(serve(looked_ws).url + "#rate", scheme=scheme)
    press(page, for_the_good_one(page))
    asked(page)
    assert faults(page, "the question") == []
    for width, height in ((1280, 800), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for name in ("my first vote was a slip", "decide later"):
            expect(page.get_by_role("button", name=name)).to_be_in_viewport()
