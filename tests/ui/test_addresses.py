"""The address: back goes through the pages, and no text in it keeps the page's own scripts from working."""

import threading

import pytest
from playwright.sync_api import Route, expect

from modules.config import SFTConfig
from studio.runs import launcher, runs
from tests.support import stored
from tests.ui import filling
from tests.ui.test_pages import open_page
from ui import app

pytestmark = pytest.mark.browser
HOSTILE = (
    "rate%",
    "runs/50%",
    "%E0%A4%A",
    "runs/%ED%A0%80",
    "%00",
    "runs/..%2F..%2Fetc%2Fpasswd",
    "runs/<img src=x onerror=window.hacked=1>",
    "train/%22%3E%3Cscript%3Ewindow.hacked=1%3C/script%3E",
    "__proto__/constructor",
    "runs/${alert(1)}{{7*7}}",
    "rate/" + "x" * 20_000,
    "#",
    "HOME",
    "\u202e\U0001f600",
)


def tab_in_address(page):
    return page.evaluate("window.studio.address()").split("/")[0]


def chosen(page):
    return page.locator("#pages > .tab-wrapper [role=tab][aria-selected=true]")


def test_back_and_forward_go_through_the_tabs_however_they_were_opened(full_ws, serve, visit):
    page = visit(serve(full_ws).url)
    expect(page.locator("#next-step")).to_be_visible()  # the first address has been followed
    for name in ("data", "rate", "train"):
        open_page(page, name)
        page.wait_for_function("(name) => window.studio.address() === name", arg=name)
    page.evaluate("location.hash = 'runs/sft-1'")  # as a link does
    expect(chosen(page)).to_have_text("Runs")
    for name in ("Train", "Rate", "Data", "Home"):
        page.go_back()
        expect(chosen(page)).to_have_text(name)
        assert tab_in_address(page) == name.lower()
    for name in ("Data", "Rate"):
        page.go_forward()
        expect(chosen(page)).to_have_text(name)
    page.evaluate("history.go(-1); setTimeout(() => history.go(-1), 30)")  # quickly, before the first is followed
    expect(chosen(page)).to_have_text("Home")
    page.go_forward()
    expect(chosen(page)).to_have_text("Data")
    page.wait_for_function("window.studio.isSettled()")
    page.evaluate(
        "document.getElementById('page-models-button').click(); history.back()"
    )  # before Gradio tells of the tab
    page.wait_for_function("window.studio.address() === 'data' && window.studio.isSettled()")
    expect(chosen(page)).to_have_text("Data")
    assert tab_in_address(page) == "data"


def test_another_page_begins_at_its_head(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#runs/ppo-2", width=390)
    expect(page.locator("#run-curves figure.chart").first).to_be_visible()
    page.wait_for_function("scrollTo(0, document.body.scrollHeight), scrollY > 500")  # it is still being laid out
    page.get_by_role("tab", name="Models").click()
    expect(page.locator("#page-models")).to_be_visible()
    page.wait_for_function("scrollY === 0")


def test_any_text_in_the_address_is_taken_as_it_is_and_everything_else_works(ws, serve, visit):
    url = serve(ws).url
    page = visit(f"{url}#rate%")
    assert page.evaluate("window.studio.address()") == "rate%"
    dark = page.locator("body.dark")
    for number, hostile in enumerate(HOSTILE):
        page.evaluate("(hash) => { location.hash = hash; }", hostile)
        page.get_by_role("button", name="Light or dark").click()
        expect(dark).to_have_count(1 - number % 2)
    for hostile in ("runs/50%", "%E0%A4%A"):
        page.goto("about:blank")
        page.goto(f"{url}#{hostile}")
        open_page(page, "data")
        page.wait_for_function("window.studio.address() === 'data'")
    assert page.evaluate("window.hacked === undefined")


@pytest.mark.parametrize("address", ["", "#runs/sft-1", "#train/reward"], ids=["home", "run", "stage"])
def test_a_page_that_is_opened_while_an_address_is_still_on_its_way_stays_open(
    full_ws, serve, visit, monkeypatch, address
):
    gate, follow = threading.Event(), app._follow
    monkeypatch.setattr(app, "_follow", lambda given: follow(given) if gate.wait(60) else pytest.fail("never let go"))
    page = visit(serve(full_ws).url + address)
    page.locator("#page-data-button").click()
    page.locator("#page-rate-button").click()
    expect(chosen(page)).to_have_text("Rate")
    gate.set()
    page.wait_for_function("window.studio.isSettled()")
    expect(chosen(page)).to_have_text("Rate")
    assert tab_in_address(page) == "rate"


def test_the_open_page_stays_live_when_an_answer_for_the_page_before_comes_late(full_ws, serve, visit, monkeypatch):
    monkeypatch.setattr(launcher, "is_alive", lambda run: True)
    run = filling.add_run(full_ws, SFTConfig(), "running", "at 0.4")
    page = visit(serve(full_ws).url + f"#runs/{run.name}")
    held: list[Route] = []
    page.route(
        "**/queue/join**",
        lambda route: held.append(route) if '"value":"Home"' in route.request.post_data else route.continue_(),
    )
    page.reload()
    expect(page.locator("#run-head")).to_contain_text("at 0.4")
    assert held, "Home asks when it is opened, before the address leads on"
    with page.expect_response("**/queue/join**"):
        for route in held:
            route.continue_()
    page.unroute("**/queue/join**")
    page.route("**/component_server/**", lambda route: None)  # the bell, which tells of changes too
    for text in ("at 0.5", "at 0.6", "at 0.7"):
        stored.written(full_ws, runs.beat, run.id, 0.5, text)
        expect(page.locator("#run-head")).to_contain_text(text)


@pytest.mark.parametrize("kind", ["refused", "full of something else"])
def test_a_browser_without_storage_or_with_foreign_text_in_it_still_rates(ws, serve, chromium, kind):
    from studio.preferences import ratings
    from tests.ui.test_rate import press, wait_for
    from tests.ui.test_rating_room import put_up

    put_up(ws, ("A", "B"), ("C", "D"))
    context = chromium.new_context()
    faults: list[str] = []
    context.add_init_script(
        "for (const kind of ['localStorage', 'sessionStorage']) "
        + (
            "Object.defineProperty(window, kind, {get() { throw new DOMException('refused', 'SecurityError'); }});"
            if kind == "refused"
            else "for (const name of ['theme', 'scroll', 'attributes', 'drafts', 'writing', 'pending-presses'])"
            " try { window[kind].setItem(`studio-${name}`, '{\"a\": [1'); } catch { /* a page of no origin */ }"
        )
    )
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(serve(ws).url + "#rate")
    press(page, "n")
    page.locator("[data-part=writer-text]").fill("a note")
    page.keyboard.press("Control+Enter")
    press(page, "1")
    wait_for(lambda: len(stored.read(ws, ratings.list_events)) == 1, "the rating")
    assert stored.read(ws, ratings.list_events)[0]["note"] == "a note"
    context.close()
    assert [fault for fault in faults if "refused" not in fault] == []
