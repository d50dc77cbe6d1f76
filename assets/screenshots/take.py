"""Takes the pictures of the rating room from a running studio: a pair, a ranking, the card of a session.

    rlhf-studio ui --workspace DIR --port 7860        # with pairs and rankings to rate, and a session that is running
    python assets/screenshots/take.py http://127.0.0.1:7860/ pair ranking card

What is on the screen is taken as it is, light and dark; nothing is rated. `pair` and `ranking` are the item that comes next.
"""

import sys
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parent
WIDTH, HEIGHTS = 1280, {"pair": 800, "ranking": 800, "card": 1010}


def take(browser: Browser, url: str, name: str, scheme: Literal["light", "dark"]) -> None:
    """One picture of what the room shows."""
    page = browser.new_page(
        viewport={"width": WIDTH, "height": HEIGHTS[name]}, color_scheme=scheme, reduced_motion="reduce"
    )
    page.goto(f"{url}#rate")
    _open(page, name)
    page.wait_for_timeout(1500)
    page.screenshot(path=HERE / f"rate-{name}-{scheme}.png")
    page.close()


def _open(page: Page, name: str) -> None:
    if name == "card":
        page.locator("#rate-tabs").get_by_role("tab", name="Session").click()
        page.locator(".session-card").first.wait_for()
        return
    page.locator(f'.rating[data-state="{name}"][data-ready]').wait_for()
    if name == "ranking":  # half placed: the best one, and two that tie
        for key in "2", "1", "=", "4":
            page.keyboard.press(key)


if __name__ == "__main__":
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        for each in sys.argv[2:]:
            for colours in ("light", "dark"):
                take(chromium, sys.argv[1], each, colours)
