"""No page, full or empty, light or dark, has what axe-core calls serious or critical: contrast, names, keyboard, headings."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from modules.config import SFTConfig
from studio.workspace import Workspace
from tests.support import warm
from tests.ui import filling
from tests.ui.test_evaluate import measure

pytestmark = pytest.mark.browser
PLACES = {
    "home": "#home .loop",
    "data": "#data-counts *",
    "train/sft": "#start-sft",
    "train/ppo": "#start-ppo",
    "train/evaluate": "#start-evaluate",
    "runs": "#page-runs :is(.listing, .nothing)",
    "evaluate": "#evaluate-forests *",
    "insights": "#insights *",
    "chat": ".chat:not([data-state=loading])",
    "models": "#page-models :is(#checkpoints *, .nothing)",
}
"""Address to what is there once the page is drawn."""
ROOMS = {"Pairs": ".rating", "Session": "#session-start", "History": "#history-list *", "Snapshots": "#snapshot-list *"}


@pytest.fixture(autouse=True)
def quick_starts():
    with warm.starts():
        yield


@pytest.fixture
def pairs_ws(ws: Workspace) -> Workspace:
    ids = filling.add_texts(ws, 4)
    filling.add_pairs(ws, ids, filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig())))
    return ws


def faults(page: Page, where: str) -> list[str]:
    """What axe finds on the page as it is, a line for each kind."""
    found = Axe().run(page).response["violations"]
    return [
        f"{where}: {each['id']}: {each['nodes'][0]['html'][:120]} and {len(each['nodes']) - 1} more"
        for each in found
        if each["impact"] in ("serious", "critical") or each["id"] in ("empty-heading", "page-has-heading-one")
    ]


def states(page: Page, url: str) -> Iterator[str]:
    """Bring the page into one state after the other."""
    for place, drawn in PLACES.items():
        page.goto(f"{url}#{place}")
        expect(page.locator(f"{drawn} >> visible=true").first).to_be_visible()
        yield place
        if place == "data" and page.locator("#data-list [data-row]").count():
            page.locator("#data-list [data-row]").first.press("Enter")
            expect(page.locator("#data-drawer [data-shown]")).to_be_visible()
            yield "data, an opened text"
    page.goto(f"{url}#rate")
    for room, drawn in ROOMS.items():
        page.locator("#rate-tabs").get_by_role("tab", name=room, exact=True).click()
        expect(page.locator(f"{drawn} >> visible=true").first).to_be_visible()
        yield f"rate, {room}"
        if room == "History" and page.locator("#history-list [data-row]").count():
            page.locator("#history-list [data-row]").first.press("Enter")
            expect(page.locator("#history-drawer [data-shown]")).to_be_visible()
            yield "rate, an opened rating"
            page.keyboard.press("Escape")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_of_a_full_workspace_has_a_serious_fault(full_ws, serve, visit, scheme):
    measure(full_ws, num=6)
    url = serve(full_ws).url
    page = visit(url, scheme=scheme)
    assert [fault for state in states(page, url) for fault in faults(page, state)] == []


def test_no_page_of_an_empty_workspace_has_a_serious_fault(ws, serve, visit):
    url = serve(ws).url
    page = visit(url, width=640)  # a wide window at 200 %
    assert [fault for state in states(page, url) for fault in faults(page, state)] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_pair_and_the_dialogs_over_it_have_no_serious_fault(pairs_ws, serve, visit, scheme):
    page = visit(serve(pairs_ws).url + "#rate", scheme=scheme)
    expect(page.locator(".rating[data-state=pair]")).to_be_visible()
    found = faults(page, "a pair")
    for key, name in (("?", "Keys"), ("g", "Guideline"), ("n", "Write"), ("e", "which")):
        page.keyboard.press(key)
        if name == "which":
            expect(page.locator("[data-part=which]")).to_be_visible()
        else:
            expect(page.get_by_role("dialog", name=name)).to_be_visible()
        found += faults(page, name)
        page.keyboard.press("Escape")
    assert found == []
