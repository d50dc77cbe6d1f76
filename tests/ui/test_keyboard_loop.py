"""The whole loop without a mouse: real runs started, pairs rated and the policy talked with by keys alone."""

import re

import pytest
from playwright.sync_api import Page, expect

from studio.models import checkpoints
from studio.preferences import ratings
from studio.runs import runs
from tests.support import stored, warm
from tests.support.waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.slow]
FARTHEST = 200
"""Presses of Tab after which a control counts as out of reach."""


@pytest.fixture(autouse=True)
def quick_starts():
    with warm.starts():
        yield


def reach(page: Page, selector: str) -> None:
    """Press Tab until the control has the focus."""
    page.locator(selector).first.wait_for()
    for _ in range(FARTHEST):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} is not reached by {FARTHEST} presses of Tab")


def open_page(page: Page, name: str) -> None:
    """Open a page by its tab, from the page's beginning."""
    page.locator("#masthead a").focus()
    reach(page, f"#page-{name}-button")
    page.keyboard.press("Enter")
    expect(page.locator(f"#page-{name}")).to_be_visible()


def follow(page: Page, text: str, address: str) -> None:
    """Take the next step that Home suggests; it is drawn again when something changes, and then loses the focus."""
    expect(page.locator("#next-step")).to_have_text(text)

    def is_there() -> bool:
        reach(page, "#next-step")
        page.keyboard.press("Enter")
        return page.evaluate("window.studio.address()") == address

    until(is_there, address)


def put(page: Page, field: str, value: str) -> None:
    """Type a value over the present one; the command line then has it."""
    stage, _, name = field.partition("-")
    reach(page, f"#{field} input")
    page.keyboard.press("Control+A")
    page.keyboard.type(value)
    page.keyboard.press("Tab")
    expect(page.locator(f"#command-{stage}")).to_contain_text(f"--set {name}={value}")


def start(page: Page, ws, stage: str, name: str, **values: str) -> None:
    """Set a stage's fields, start it and wait until its run has finished."""
    for field, value in values.items():
        put(page, f"{stage}-{field}", value)
    reach(page, f"#start-{stage}")
    page.keyboard.press("Enter")
    expect(page.locator("#run-head h2")).to_have_text(name)
    until(lambda: stored.read(ws, runs.get, name).is_ended, name)
    assert stored.read(ws, runs.get, name).state == "finished", runs.tail_log(ws, name)


def test_from_the_first_visit_to_a_chat_with_a_policy_of_ones_own_ratings(ws, serve, visit):
    page = visit(serve(ws).url)
    reach(page, "[data-load-starter]")
    page.keyboard.press("Enter")
    follow(page, "Train SFT", "train/sft")
    start(page, ws, "sft", "sft-1", epochs="1", max_demonstrations="24")
    open_page(page, "home")
    follow(page, "Sample pairs", "train/sample")
    start(page, ws, "sample", "sample-1", num_prompts="12")
    open_page(page, "rate")
    num = stored.read(ws, ratings.summary)["rated"]
    for key in "192838190":
        page.locator(".rating[data-ready]").wait_for()
        page.keyboard.press(key)
        num += 1
        until(lambda wanted=num: stored.read(ws, ratings.summary)["rated"] == wanted, f"rating {num}")
    open_page(page, "train")
    reach(page, "#stage input[value=reward]")
    page.keyboard.press("Space")
    expect(page).to_have_url(re.compile("#train/reward$"))
    start(page, ws, "reward", "reward-1")
    open_page(page, "train")
    reach(page, "#stage input[value=ppo]")
    page.keyboard.press("Space")
    expect(page).to_have_url(re.compile("#train/ppo$"))
    start(page, ws, "ppo", "ppo-1", iterations="2", batch_size="32", max_new_tokens="16")
    assert stored.read(ws, checkpoints.newest, "ppo") is not None
    open_page(page, "chat")
    reach(page, ".chat .composer textarea")
    page.keyboard.type("Tell me the capital of Poland.")
    page.keyboard.press("Enter")
    expect(page.locator(".chat [data-part=turns]")).to_contain_text("tokens/s")
