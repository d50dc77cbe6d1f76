"""What is typed while rating is kept under what it is for: through closing, reloads of any kind, outages and undo."""

import json

import pytest
from playwright.sync_api import expect

from studio.preferences import comparisons, prompts, ratings
from tests.support import stored
from tests.ui.test_rate import press, rated, wait_for
from tests.ui.test_rating_room import open_room, put_up

pytestmark = pytest.mark.browser
FIELD = "[data-part=writer-text]"


def write(page, *keys):
    """Open the text field by these keys."""
    for key in keys:
        press(page, key)
    expect(page.locator("[data-part=writer]")).to_be_visible()
    return page.locator(FIELD)


def leave(page):
    page.keyboard.press("Escape")
    expect(page.locator("[data-part=writer]")).to_be_hidden()


def reload(page):
    page.reload()
    page.locator(".rating[data-ready]").wait_for()


def drafts(ws):
    with ws.read() as db:
        return {row["name"]: row["text"] for row in db.query("SELECT * FROM drafts")}


def test_every_text_comes_back_where_it_was_typed_however_quickly_one_goes_on_and_after_a_reload(ws, serve, visit):
    put_up(ws, ("A", "B", "C"))
    page = open_room(visit, serve(ws))
    showing = stored.written(ws, comparisons.next_showing)
    assert showing is not None
    typed = {("e", "1"): "of the first", ("e", "2"): "of the second", ("d",): "a demonstration", ("n",): "a note"}
    for keys, text in typed.items():  # each opened before the one before has been saved
        write(page, *keys).fill(text)
        leave(page)
    for key in ("2", "=", "3"):
        press(page, key)  # a ranking half made
    press(page, "u")
    press(page, "1")
    wait_for(lambda: len(drafts(ws)) == 5, "all drafts are in the workspace")
    assert drafts(ws)[f"rate-edit-{showing.id}-0"] == "of the first"
    for _ in range(2):
        for keys, text in typed.items():
            expect(write(page, *keys)).to_have_value(text)
            leave(page)
        expect(page.locator('.rung [data-chip="2"]')).to_be_visible()
        expect(page.locator('.cards [data-side="0"] .marks')).to_have_text("unsafe")
        page.evaluate("sessionStorage.clear()")
        reload(page)
    write(page, "n").fill("a note that is kept")
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Enter")
    wait_for(lambda: rated(ws) == 1, "the ranking")
    (event,) = stored.read(ws, ratings.list_events)
    assert (json.loads(event["ranks"]), event["note"], json.loads(event["flags"])) == (
        [2, 1, 1], "a note that is kept", {"unsafe": [0]},
    )  # fmt: skip
    wait_for(lambda: sorted(drafts(ws).values()) == sorted(list(typed.values())[:3]), "no draft of what is recorded")


def test_a_reload_while_a_text_is_written_in_an_outage_loses_none_of_it_and_what_is_typed_on_judges_nothing(
    ws, serve, visit
):
    put_up(ws, ("A", "B"), ("C", "D"))
    served = serve(ws)
    page = open_room(visit, served)
    served.stop()
    press(page, "1")  # kept
    write(page, "e", "1").fill("Written while the studio is away")
    served.start()
    page.wait_for_event("load")  # the page loads itself again
    wait_for(lambda: rated(ws) == 1, "the kept press")
    page.locator(".rating[data-ready]").wait_for()
    expect(page.locator("[data-part=said]")).to_contain_text("You were writing the ideal answer from answer 1")
    page.keyboard.type("b1zs2 ")
    expect(page.locator("[data-part=said]")).to_contain_text("Press e then 1")
    expect(write(page, "e", "1")).to_have_value("Written while the studio is away")
    assert len(stored.read(ws, ratings.list_events)) == 1
    page.keyboard.press("Control+Enter")
    wait_for(lambda: rated(ws) == 2, "the ideal answer")
    assert [row.response for row in stored.read(ws, prompts.list_demonstrations)] == [
        "Written while the studio is away"
    ]


def test_a_text_that_is_too_long_is_told_before_it_is_kept_and_stays_whole_and_no_judgement_is_lost(ws, serve, visit):
    put_up(ws, ("A", "B"), ("C", "D"), ("E", "F"))
    page = open_room(visit, serve(ws))
    said = page.locator("[data-part=writer-said]")
    long = "x" * 4999 + "\U0001f600 and more"
    field = write(page, "n")
    field.fill(long)
    expect(said).to_contain_text("A note has at most 5,000 characters; this one has 5,009. Shorten it by 9.")
    page.keyboard.press("Control+Enter")
    expect(field).to_have_value(long)
    field.fill(long[:5000])  # with the emoji: 5,001 units of UTF-16
    page.keyboard.press("Control+Enter")
    press(page, "1")
    wait_for(lambda: rated(ws) == 1, "the judgement")
    assert stored.read(ws, ratings.list_events)[0]["note"] == long[:5000]
    field = write(page, "n")
    page.evaluate(
        "(f) => { f.value = 'half \\ud83d of it'; f.dispatchEvent(new Event('input', {bubbles: true})); }",
        field.element_handle(),
    )
    page.keyboard.press("Control+Enter")
    expect(said).to_contain_text("half a character")
    page.keyboard.press("Control+Enter")
    press(page, "2")
    wait_for(lambda: rated(ws) == 2, "the judgement")
    assert stored.read(ws, ratings.list_events)[1]["note"] == "half � of it"
    press(page, "z")
    field = write(page, "d")
    field.fill("y" * 400_001)
    page.keyboard.press("Control+Enter")
    expect(said).to_contain_text("An answer has at most 400,000 characters; this one has 400,001")
    assert len(field.input_value()) == 400_001


def test_undo_brings_note_flags_and_scales_back_and_an_ideal_answer_as_a_draft(ws, serve, visit):
    put_up(ws, ("A\r\nwith Windows ends", "B\r\nwith Windows ends"), ("C", "D"))
    page = open_room(visit, serve(ws))
    write(page, "n").fill("Left has the date")
    page.keyboard.press("Control+Enter")
    for key in ("u", "2", "a"):
        press(page, key)
    page.locator('[data-side="0"] [data-attribute="helpful"]').nth(5).click()
    for done, key in enumerate(("1", "2")):
        press(page, key)
        wait_for(lambda done=done: rated(ws) == 1, "the judgement")
        press(page, "a")  # scales are hidden for the pair that comes meanwhile
        press(page, "z")
        wait_for(lambda: rated(ws) == 0, "the undo")
        expect(page.locator("[data-part=noted]")).to_have_text("Note: Left has the date")
        expect(page.locator('[data-side="1"] .marks')).to_have_text("unsafe")
        expect(page.locator('[data-side="0"] [data-attribute="helpful"]').nth(5)).to_be_checked()
    field = write(page, "e", "1")
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-part=writer-said]")).to_have_text("Nothing has been changed yet.")
    field.fill("The ideal one")
    page.keyboard.press("Control+Enter")
    wait_for(lambda: rated(ws) == 1, "the ideal answer")
    press(page, "z")
    wait_for(lambda: rated(ws) == 0, "the undo")
    expect(write(page, "e", "1")).to_have_value("The ideal one")
    leave(page)
    press(page, "3")
    wait_for(lambda: rated(ws) == 1, "the judgement")
    event = stored.read(ws, ratings.list_events)[-1]
    assert (event["strength"], event["note"], json.loads(event["flags"])) == (1, "Left has the date", {"unsafe": [1]})
    assert json.loads(event["attributes"])["helpful"] == [6, None]
