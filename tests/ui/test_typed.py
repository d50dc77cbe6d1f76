"""What is typed into a page's fields while the studio is away, or just before a reload, is there again."""

import threading

import pytest
from playwright.sync_api import expect

from studio.annotation import guidelines
from studio.preferences import prompts
from tests.support import stored
from tests.ui.test_rate import wait_for
from ui.pages.data import page as data
from ui.pages.rate import session

pytestmark = pytest.mark.browser


def demonstration(page):
    return page.locator("#demonstration-response textarea")


def guideline(page):
    page.get_by_role("tab", name="Session").click()
    field = page.locator("#guideline-text textarea")
    expect(field).not_to_have_value("")  # the one in force, once the page is open
    return field


def is_kept(ws, field, name, text):
    """Whether the workspace has the text; else type on, as a person does: Gradio hears no key before its page is whole."""
    if field.input_value() == text and stored.read(ws, prompts.load_draft, name) == text:
        return True
    if field.input_value() != text:
        field.fill(text)
    field.press("End")
    field.press("x")
    field.press("Backspace")
    return False


@pytest.mark.parametrize(
    ("address", "name", "field"),
    [
        pytest.param("data", "demonstration-response", demonstration, id="demonstration"),
        pytest.param("rate", "guideline", guideline, id="guideline"),
    ],
)
def test_a_text_typed_while_the_studio_is_away_comes_back_after_a_reload_and_is_kept_in_the_workspace(
    ws, serve, visit, address, name, field
):
    stored.written(ws, prompts.save_draft, name, "Written before")
    whole = "Written before and while it was away."
    page = visit(f"{serve(ws).url}#{address}")
    expect(field(page)).to_have_value("Written before")
    page.context.set_offline(True)
    field(page).press("End")
    field(page).press_sequentially(" and while it was away.")
    page.context.set_offline(False)
    page.reload()
    expect(field(page)).to_have_value(whole)
    wait_for(lambda: stored.read(ws, prompts.load_draft, name).endswith("away."), "the workspace has it, too")
    wait_for(
        lambda: page.evaluate("Object.values(sessionStorage).every((kept) => !kept.includes('away'))"), "the tab forgot"
    )


def test_a_text_that_is_typed_while_its_page_is_still_being_opened_stays(ws, serve, visit, monkeypatch):
    is_asked, gate, opened = threading.Event(), threading.Event(), data._open
    stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "Shown when the page is open"}], "Yes.")

    def late(*given):
        answer = opened(*given)
        is_asked.set()
        assert gate.wait(60)
        return answer

    monkeypatch.setattr(data, "_open", late)
    page = visit(f"{serve(ws).url}#data")
    assert is_asked.wait(60)
    typing = demonstration(page)
    wait_for(lambda: is_kept(ws, typing, "demonstration-response", "Typed early"), "the draft is in the workspace")
    gate.set()
    expect(page.get_by_text("Shown when the page is open")).to_be_visible()
    expect(demonstration(page)).to_have_value("Typed early")
    demonstration(page).press_sequentially(" and on")
    wait_for(
        lambda: stored.read(ws, prompts.load_draft, "demonstration-response") == "Typed early and on",
        "the draft is whole",
    )
    demonstration(page).fill("")
    wait_for(
        lambda: stored.read(ws, prompts.load_draft, "demonstration-response") == "", "what was taken out is taken out"
    )
    page.locator("#page-rate-button").click()
    page.locator("#page-data-button").click()
    page.wait_for_function("window.studio.isSettled()")
    expect(demonstration(page)).to_have_value("")


def test_the_guideline_in_force_is_no_draft_that_hides_the_next_one(ws):
    first = stored.written(ws, guidelines.write, "Short answers.").text
    session._keep(ws, session.DRAFT, first)
    stored.written(ws, guidelines.write, "Long answers.")
    assert stored.read(ws, prompts.load_draft, session.DRAFT) == ""
