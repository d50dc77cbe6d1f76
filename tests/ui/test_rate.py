"""Rating in a real browser: what is pressed is what stands in SQLite, once."""

import time

import pytest
from playwright.sync_api import Page, expect

from modules.config import SFTConfig
from studio.preferences import comparisons, ratings, vocabulary
from studio.workspace import Workspace
from tests.support import stored
from tests.support.waiting import until as wait_for
from tests.ui import filling
from tests.ui.filling import HOSTILE

pytestmark = pytest.mark.browser


@pytest.fixture
def pairs_ws(ws: Workspace) -> Workspace:
    """A workspace with 25 pairs to rate."""
    prompt_ids = filling.add_texts(ws, 25)
    checkpoint = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    filling.add_pairs(ws, prompt_ids, checkpoint)
    return ws


def open_rating(visit, served) -> Page:
    page = visit(served.url + "#rate")
    expect(page.locator("[data-part=left]")).not_to_be_empty()
    return page


def press(page: Page, key: str) -> None:
    """Press a key as soon as presses are taken."""
    page.locator(".rating[data-ready]").wait_for()
    page.keyboard.press(key)


def rated(ws: Workspace) -> int:
    summary = stored.read(ws, ratings.summary)
    return summary["rated"] + summary["skip"]


def test_ten_keys_are_ten_rows_with_their_outcome_and_strength(pairs_ws, serve, visit):
    page = open_rating(visit, serve(pairs_ws))
    for done, key in enumerate(["1", "2", "3", "5", "8", "9", "0", " ", "b"], start=1):
        press(page, key)
        wait_for(lambda done=done: rated(pairs_ws) == done, f"{done} ratings")
    press(page, "s")
    page.keyboard.press("2")
    wait_for(lambda: rated(pairs_ws) == 10, "the skip")
    events = stored.read(pairs_ws, ratings.list_events)
    assert [(e["outcome"], e["strength"]) for e in events] == [
        ("left", 3), ("left", 2), ("left", 1), ("tie", None), ("right", 1), ("right", 2), ("right", 3), ("tie", None),
        ("both_bad", None), ("skip", None),
    ]  # fmt: skip
    assert events[-1]["reason"] == vocabulary.SKIP_REASONS[1]
    assert all(e["elapsed_ms"] >= 150 for e in events)
    assert len({e["comparison_id"] for e in events}) == 10
    expect(page.locator("[data-part=tally]")).to_contain_text("15 to rate")
    expect(page.locator("[data-part=tally]")).to_contain_text("9 rated; about 50 make a first reward model")


def test_the_pace_counts_from_vote_to_vote_and_not_the_time_that_one_is_away(pairs_ws, serve, visit):
    page = open_rating(visit, serve(pairs_ws))
    page.evaluate(
        "window.later = 0, now = performance.now.bind(performance), performance.now = () => now() + window.later"
    )
    for done in range(1, 4):
        page.evaluate("window.later += 20000")
        press(page, "1")
        wait_for(lambda done=done: rated(pairs_ws) == done, f"{done} ratings")
    tally = page.locator("[data-part=tally]")
    expect(tally).to_contain_text("3 since you opened the page · 3 a minute")
    page.evaluate("window.later += 3600000")
    press(page, "1")
    expect(tally).to_contain_text(
        "4 since you opened the page · 1 a minute"
    )  # 20 s, 20 s and a pause that counts as 2 minutes


def test_what_is_rated_left_is_the_text_that_stood_on_the_left(pairs_ws, serve, visit):
    page = open_rating(visit, serve(pairs_ws))
    shown = page.locator("[data-part=left]").inner_text()
    press(page, "1")
    wait_for(lambda: rated(pairs_ws) == 1, "the rating")
    showing = stored.read(
        pairs_ws, comparisons.get_showing, stored.read(pairs_ws, ratings.list_events)[0]["showing_id"]
    )
    assert showing is not None
    assert showing.left.split() == shown.split()


def test_twenty_quick_presses_are_twenty_ratings(pairs_ws, serve, visit):
    page = open_rating(visit, serve(pairs_ws))
    for done in range(1, 21):
        press(page, "19"[done % 2])
        wait_for(lambda done=done: rated(pairs_ws) >= done, f"{done} ratings")
    assert rated(pairs_ws) == 20
    assert len({e["showing_id"] for e in stored.read(pairs_ws, ratings.list_events)}) == 20


def test_a_burst_of_presses_rates_no_pair_that_was_not_looked_at(pairs_ws, serve, visit):
    page = open_rating(visit, serve(pairs_ws))
    page.locator(".rating[data-ready]").wait_for()
    for _ in range(10):
        page.keyboard.press("1")  # all within the moment after the next pair appears
    time.sleep(0.5)
    events = stored.read(pairs_ws, ratings.list_events)
    assert 1 <= len(events) <= 4
    assert len({e["showing_id"] for e in events}) == len(events)
    assert all(e["elapsed_ms"] >= 150 for e in events)


def test_undo_takes_back_the_last_and_shows_it_again(pairs_ws, serve, visit):
    page = open_rating(visit, serve(pairs_ws))
    first = page.locator("[data-part=left]").inner_text()
    for done in (1, 2):
        press(page, "1")
        wait_for(lambda done=done: rated(pairs_ws) == done, "ratings")
    press(page, "z")
    expect(page.locator("[data-part=said]")).to_contain_text("Undone: left much better")
    page.keyboard.press("z")
    expect(page.locator("[data-part=left]")).to_have_text(first, use_inner_text=True)
    wait_for(lambda: rated(pairs_ws) == 0, "both undone")
    press(page, "0")
    wait_for(lambda: rated(pairs_ws) == 1, "rated again")
    page.keyboard.press("z")
    wait_for(lambda: rated(pairs_ws) == 0, "undone")
    page.keyboard.press("z")
    expect(page.locator("[data-part=said]")).to_contain_text("nothing to undo")


def test_mouse_can_do_what_keys_can(pairs_ws, serve, visit):
    page = open_rating(visit, serve(pairs_ws))
    for done, name in enumerate(["left:2", "tie", "right:3", "both_bad"], start=1):
        page.locator(".rating[data-ready]").wait_for()
        page.locator(f'[data-press="{name}"] >> visible=true').click()
        wait_for(lambda done=done: rated(pairs_ws) == done, name)
    page.locator(".rating[data-ready]").wait_for()
    page.locator('[data-part="others"] [data-press="skip"]').click()
    page.locator('[data-reason="0"]').click()
    wait_for(lambda: rated(pairs_ws) == 5, "the skip")
    page.locator('[data-press="undo"]').click()
    wait_for(lambda: rated(pairs_ws) == 4, "the undo")
    page.locator('[data-press="help"]').click()
    page.locator('[data-press="raw"]').click()
    expect(page.locator("[data-part=left].is-raw")).to_be_visible()
    expect(page.locator("dialog.keys")).to_be_hidden()
    page.locator('[data-press="help"]').click()
    expect(page.locator("dialog.keys")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(page.locator("dialog.keys")).to_be_hidden()


def test_keys_are_deaf_while_typing_while_help_is_open_held_down_or_in_chords(pairs_ws, serve, visit):
    page = open_rating(visit, serve(pairs_ws))
    page.locator(".rating[data-ready]").wait_for()
    page.keyboard.press("Control+1")
    page.keyboard.press("Alt+b")
    page.keyboard.press("Shift+B")
    page.evaluate("document.dispatchEvent(new KeyboardEvent('keydown', {key: '1', repeat: true, bubbles: true}))")
    page.keyboard.press("?")
    page.keyboard.press("1")
    page.keyboard.press("?")
    expect(page.locator("dialog.keys")).to_be_hidden()
    page.locator("#page-data-button").click()
    page.locator("#search textarea, #search input").first.fill("")
    page.keyboard.type("159b")
    time.sleep(0.3)
    assert rated(pairs_ws) == 0


def test_hostile_text_is_text(ws, serve, visit):
    prompt_ids = filling.add_texts(ws, 2)
    checkpoint = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    filling.add_pairs(
        ws, prompt_ids, checkpoint, texts=lambda n: (HOSTILE, f"{HOSTILE} **{n}**\n\n```\n{HOSTILE}\n```")
    )
    page = open_rating(visit, serve(ws))
    for _ in range(2):
        assert "<script>window.hacked" in page.locator("[data-part=left]").inner_text()
        assert "${alert(1)} {{7*7}}" in page.locator("[data-part=right]").inner_text()
        page.keyboard.press("m")
    assert page.evaluate("window.hacked === undefined")
    assert page.locator("#rate img, #rate script").count() == 0


def test_a_restart_in_mid_session_keeps_the_pair_on_the_screen(pairs_ws, serve, visit):
    served = serve(pairs_ws)
    page = open_rating(visit, served)
    press(page, "1")
    wait_for(lambda: rated(pairs_ws) == 1, "the first rating")
    expect(page.locator("[data-part=said]")).to_contain_text("Recorded")
    before = [page.locator(f"[data-part={side}]").inner_text() for side in ("left", "right")]
    served.stop()
    press(page, "9")  # nobody answers: the press is kept
    expect(page.locator("[data-part=said]")).to_contain_text("does not answer")
    assert rated(pairs_ws) == 1
    served.start()
    wait_for(lambda: rated(pairs_ws) == 2, "the kept press is recorded after the restart")
    event = stored.read(pairs_ws, ratings.list_events)[-1]
    showing = stored.read(pairs_ws, comparisons.get_showing, event["showing_id"])
    assert showing is not None
    assert [showing.left.split(), showing.right.split()] == [text.split() for text in before]
    time.sleep(1.5)
    assert rated(pairs_ws) == 2  # sent again and again, recorded once


def test_a_reload_shows_the_same_pair_in_the_same_order(pairs_ws, serve, visit):
    page = open_rating(visit, serve(pairs_ws))
    before = [page.locator(f"[data-part={side}]").inner_text() for side in ("left", "right")]
    page.reload()
    expect(page.locator("[data-part=left]")).not_to_be_empty()
    assert [page.locator(f"[data-part={side}]").inner_text() for side in ("left", "right")] == before


def test_an_empty_room_teaches_and_a_finished_one_leads_on(ws, serve, visit):
    page = visit(serve(ws).url + "#rate")
    expect(page.locator("[data-part=none]")).to_contain_text("No pairs yet")
    checkpoint = filling.add_checkpoint(ws, filling.add_run(ws, filling.add_texts(ws, 2) and SFTConfig()))
    filling.add_pairs(ws, [1], checkpoint)
    page.reload()
    expect(page.locator("[data-part=left]")).not_to_be_empty()
    press(page, "5")
    expect(page.locator("[data-part=none]")).to_contain_text("Every pair is rated")
    page.locator("[data-part=none-link]").click()
    expect(page.locator("#page-home-button")).to_have_attribute("aria-selected", "true")


def test_the_next_pair_is_painted_before_the_studio_has_answered(pairs_ws, serve, visit):
    page = open_rating(visit, serve(pairs_ws))
    before = page.locator("[data-part=left]").inner_text()
    page.evaluate(
        "() => { const fetched = window.fetch; window.fetch = (...sent) => String(sent[0]).includes('component_server')"
        " ? new Promise((done) => { window.release = () => done(fetched(...sent)); }) : fetched(...sent); }"
    )
    press(page, "2")
    expect(page.locator("[data-part=left]")).not_to_have_text(before)
    expect(page.locator("[data-part=said]")).to_have_text("Saving …")
    assert rated(pairs_ws) == 0
    page.evaluate("window.release()")
    wait_for(lambda: rated(pairs_ws) == 1, "the rating")
