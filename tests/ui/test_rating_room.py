"""Ranking, ideal answers, remarks, hostile text and quick presses in a real browser."""

import json
import time

import pytest
from playwright.sync_api import expect

from studio.annotation import history
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.workspace import Workspace
from tests.support import stored, waiting
from tests.support.waiting import until as wait_for
from tests.ui.filling import HOSTILE
from tests.ui.test_rate import pairs_ws, press, rated  # noqa: F401  # pairs_ws is a fixture

pytestmark = pytest.mark.browser


def put_up(ws: Workspace, *texts: tuple[str, ...], messages=None) -> None:
    """One comparison of imported answers for each tuple."""
    with ws.write() as db:
        for n, answers in enumerate(texts):
            turns = messages or [{"role": "user", "content": f"Question {n}?"}]
            prompt_id = prompts.add_prompt(db, NewPrompt(turns, split="train"))
            comparisons.add_comparison(
                db, prompt_id, [prompts.add_response(db, prompt_id, text, "import") for text in answers]
            )


def open_room(visit, served):
    page = visit(served.url + "#rate")
    page.locator(".rating[data-ready]").wait_for()
    return page


def test_a_ranking_by_keys_with_a_tie_and_its_undo(ws, serve, visit):
    put_up(ws, ("A", "B", "C", "D"), ("E", "F", "G"))
    page = open_room(visit, serve(ws))
    texts = page.locator("[data-part=cards] .body").all_inner_texts()
    for key in ["3", "1", "=", "4"]:
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    wait_for(lambda: rated(ws) == 1, "the ranking")
    event = stored.read(ws, ratings.list_events)[0]
    assert json.loads(event["ranks"]) == [2, 3, 1, 2]
    showing = stored.read(ws, comparisons.get_showing, event["showing_id"])
    assert showing is not None
    assert list(showing.texts) == [text.strip() for text in texts]
    expect(page.locator("[data-part=said]")).to_contain_text("Recorded: ranking 3 > 1 = 4 > 2")
    expect(page.locator("[data-part=cards] [data-side]")).to_have_count(3)
    press(page, "2")
    page.keyboard.press("Enter")
    expect(page.locator("[data-part=said]")).to_contain_text("Place 1, 3 first")
    page.keyboard.press("Backspace")
    press(page, "z")
    expect(page.locator("[data-part=said]")).to_contain_text("Undone: ranking 3 > 1 = 4 > 2")
    expect(page.locator("[data-part=cards] [data-side]")).to_have_count(4)
    assert rated(ws) == 0
    expect(page.locator('[data-press="both_bad"] >> visible=true')).to_have_text("ball bad")
    press(page, "b")
    expect(page.locator("[data-part=said]")).to_contain_text("Recorded: all bad")
    assert stored.read(ws, history.find)[0].verdict == "all bad"


def test_a_ranking_by_dragging(ws, serve, visit):
    put_up(ws, ("A", "B", "C"))
    page = open_room(visit, serve(ws))

    def drag(chip: str, target: str) -> None:
        start, end = waiting.at_rest(page.locator(chip)), waiting.at_rest(page.locator(target))
        page.mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
        page.mouse.down()
        page.mouse.move(end["x"] + end["width"] / 2, end["y"] + end["height"] / 2 + 2, steps=4)
        page.mouse.up()

    tray = '.tray [data-chip="{}"]'
    drag(tray.format(1), '.gap[data-gap="0"]')  # the second answer is the best
    drag(tray.format(0), '.gap[data-gap="1"]')
    drag('[data-part="cards"] [data-chip="2"]', '.rung[data-rung="1"]')  # from its card: a tie with the first
    page.locator('[data-press="ranking"]').click()
    wait_for(lambda: rated(ws) == 1, "the ranking")
    assert json.loads(stored.read(ws, ratings.list_events)[0]["ranks"]) == [2, 1, 2]


def test_edit_to_ideal_gives_a_demonstration_and_a_preference_and_keeps_the_pair(ws, serve, visit):
    put_up(ws, ("A weak answer", "Another weak answer"))
    served = serve(ws)
    page = open_room(visit, served)
    left = page.locator("[data-part=left]").inner_text().strip()
    page.keyboard.press("e")
    page.keyboard.press("1")
    expect(page.locator("[data-part=writer-text]")).to_have_value(left)
    page.locator("[data-part=writer-text]").fill("A draft")
    name = f"rate-edit-{stored.written(ws, comparisons.next_showing).id}-0"
    wait_for(lambda: stored.read(ws, prompts.load_draft, name) == "A draft", "the draft is kept")
    page.reload()
    page.locator(".rating[data-ready]").wait_for()
    page.keyboard.press("e")
    page.keyboard.press("1")
    expect(page.locator("[data-part=writer-text]")).to_have_value("A draft")
    page.locator("[data-part=writer-text]").fill("1 ideal answer b z")
    page.keyboard.press("Control+Enter")
    wait_for(lambda: rated(ws) == 1, "the preference")
    assert [(row["left"], row["right"]) for row in stored.preferences(ws)] == [("1 ideal answer b z", left)]
    assert [row.response for row in stored.read(ws, prompts.list_demonstrations)] == ["1 ideal answer b z"]
    wait_for(lambda: stored.read(ws, prompts.load_draft, name) == "", "the draft is gone")
    expect(page.locator("[data-part=said]")).to_contain_text("Recorded: your ideal answer")
    press(page, "9")
    wait_for(lambda: rated(ws) == 2, "the pair is still judged")


def test_flags_a_note_and_scales_go_with_the_judgement(ws, serve, visit):
    put_up(ws, ("A", "B"))
    page = open_room(visit, serve(ws))
    for key in ["u", "2", "h", "1", "h", "1", "a"]:
        page.keyboard.press(key)
    page.keyboard.press("n")
    page.locator("[data-part=writer-text]").fill("Odd.")
    page.locator("[data-part=writer-keep]").click()
    expect(page.locator("[data-part=noted]")).to_have_text("Note: Odd.")
    page.locator('[data-side="0"] [data-attribute="helpful"]').first.focus()
    page.keyboard.press("6")
    page.keyboard.press("2")  # the focus has gone on to truthful
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    wait_for(lambda: rated(ws) == 1, "the rating")
    event = stored.read(ws, ratings.list_events)[0]
    assert (event["outcome"], event["note"], json.loads(event["flags"])) == ("left", "Odd.", {"unsafe": [1]})
    assert json.loads(event["attributes"]) == {"helpful": [6, None], "truthful": [2, None]}
    expect(page.locator("[data-part=none]")).to_be_visible()
    page.keyboard.press("z")  # all is rated: undo still works
    expect(page.locator("[data-part=left]")).not_to_be_empty()


def test_after_a_click_on_a_scale_keys_judge_and_by_keys_the_scale_says_that_it_has_them(ws, serve, visit):
    put_up(ws, ("A", "B"), ("C", "D"))
    page = open_room(visit, serve(ws))
    press(page, "a")
    chosen = page.locator('[data-side="0"] [data-attribute="helpful"]').nth(2)
    chosen.click()
    expect(chosen).to_be_checked()
    drawn = "(node, other) => getComputedStyle(node).background !== getComputedStyle(other).background"
    assert chosen.evaluate(drawn, page.locator('[data-side="0"] [data-attribute="helpful"]').nth(3).element_handle())
    page.mouse.move(2, 2)
    page.locator('[data-side="1"] [data-attribute="helpful"]').first.focus()
    page.keyboard.press("5")
    page.keyboard.press("9")
    expect(page.locator("[data-part=said]")).to_contain_text("Digits set the scale now")
    assert rated(ws) == 0
    page.keyboard.press("Escape")
    page.locator('[data-side="1"] [data-attribute="truthful"]').nth(6).click()
    page.keyboard.press("9")
    wait_for(lambda: rated(ws) == 1, "the rating")
    event = stored.read(ws, ratings.list_events)[0]
    assert event["outcome"] == "right"
    assert json.loads(event["attributes"]) == {"helpful": [3, 5], "truthful": [None, 7]}


def test_enter_and_space_judge_where_the_focus_is_on_the_tab_that_was_clicked(ws, serve, visit):
    put_up(ws, ("A", "B", "C"), ("D", "E"))
    page = open_room(visit, serve(ws))
    tabs = page.locator("#rate-tabs")
    tabs.get_by_role("tab", name="History").click()
    tabs.get_by_role("tab", name="Pairs").click()
    page.locator(".rating[data-ready]").wait_for()
    if page.locator('.rating[data-state="ranking"]').count() == 0:
        page.keyboard.press(" ")
        wait_for(lambda: rated(ws) == 1, "the tie")
        page.locator('.rating[data-ready][data-state="ranking"]').wait_for()
        press(page, "2")
        page.keyboard.press("1")
        page.keyboard.press("Enter")
    else:
        press(page, "2")
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        wait_for(lambda: rated(ws) == 1, "the ranking")
        page.locator('.rating[data-ready][data-state="pair"]').wait_for()
        press(page, " ")
    wait_for(lambda: rated(ws) == 2, "both")
    assert {event["outcome"] for event in stored.read(ws, ratings.list_events)} == {"ranking", "tie"}


def test_a_question_for_a_side_can_be_left_without_a_keyboard_and_a_note_survives_escape(ws, serve, visit):
    put_up(ws, ("A", "B"))
    page = open_room(visit, serve(ws))
    page.locator('[data-press="help"]').click()
    page.locator('[data-part="help"] [data-press="unsafe"]').click()
    expect(page.locator('[data-part="help"]')).to_be_hidden()
    page.locator('[data-part="which"] [data-press="asked"]').click()
    expect(page.locator('[data-part="others"]')).to_be_visible()
    press(page, "n")
    page.locator("[data-part=writer-text]").fill("Half a thought")
    page.keyboard.press("Escape")
    expect(page.locator("[data-part=writer]")).to_be_hidden()
    page.keyboard.press("n")
    expect(page.locator("[data-part=writer]")).to_be_visible()
    expect(page.locator("[data-part=writer-text]")).to_have_value("Half a thought")
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-part=noted]")).to_have_text("Note: Half a thought")
    page.evaluate("""() => {
        const key = (name) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles: true}));
        key("n");
        document.querySelector("[data-part=writer]").close();
        key("n");
    }""")  # the event that tells of the closing comes when the next one is open
    page.locator("[data-part=writer-text]").fill("A whole thought")
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-part=noted]")).to_have_text("Note: A whole thought")


def test_a_demonstration_can_be_written_for_the_prompt_on_the_screen(ws, serve, visit):
    put_up(ws, ("A", "B"))
    page = open_room(visit, serve(ws))
    page.keyboard.press("d")
    page.locator("[data-part=writer-text]").fill("What should have been said.")
    page.locator("[data-part=writer-keep]").click()
    wait_for(lambda: stored.read(ws, prompts.counts)["demonstrations"] == 1, "the demonstration")
    assert rated(ws) == 0


def test_twenty_quick_presses_at_five_a_second_lose_none_and_double_none(pairs_ws, serve, visit):  # noqa: F811  # the fixture
    page = open_room(visit, serve(pairs_ws))
    keys = [*"1235890b", " ", *"12358901235"]
    assert len(keys) == 20
    page.evaluate(  # pressed in the page, so that the pace is the page's own; waited for is only that there is an item to judge
        """async (keys) => { for (const key of keys) {
            do await new Promise((done) => setTimeout(done, 200)); while (!document.querySelector(".rating[data-ready]"));
            document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
        } }""",
        keys,
    )
    wait_for(lambda: len(stored.read(pairs_ws, ratings.list_events)) == 20, "all twenty")
    time.sleep(0.3)
    events = stored.read(pairs_ws, ratings.list_events)
    wanted = {"1": "left", "2": "left", "3": "left", "5": "tie", " ": "tie", "b": "both_bad"}
    assert [event["outcome"] for event in events] == [wanted.get(key, "right") for key in keys]
    assert len({event["showing_id"] for event in events}) == 20


NASTY = (
    HOSTILE,
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png) <iframe src='http://evil.example'></iframe>",
    "[](((((**_`~~[![](" * 200,
    "\u05d0\u05d1\u05d2 \u0645\u0631\u062d\u0628\u0627 \u202e reversed \U0001f469\u200d\U0001f469\u200d\U0001f466 \U0001f1f5\U0001f1f1",
    "$\\frac{1}{" * 60 + "$ \\begin{matrix} a & b",
    "- " * 3000 + "\n" + "> " * 3000 + "\n" + "|-" * 3000,
    "```\nunclosed <b>code</b>",
    "word " * 40_000,
    "x" * 200_000,
    "\\[\n" * 60_000,
    "*a " * 66_000,
)


def test_hostile_and_broken_texts_are_drawn_harmlessly_and_quickly(ws, serve, visit):
    put_up(ws, *[(text, f"{n} is fine") for n, text in enumerate(NASTY)])
    page = open_room(visit, serve(ws))
    for done in range(1, len(NASTY) + 1):
        page.locator("[data-part=left][data-drawn]").wait_for()
        page.locator("[data-part=right][data-drawn]").wait_for()
        shown = stored.written(ws, comparisons.next_showing)
        assert shown is not None
        for key in ("m", "m"):
            page.keyboard.press(key)
            page.locator("[data-part=left][data-drawn]").wait_for()
            page.locator("[data-part=right][data-drawn]").wait_for()
        assert page.locator("#rate :is(img, script, iframe, a[href^='http'], a[href^='java'])").count() == 0
        press(page, "5")
        wait_for(lambda done=done: rated(ws) == done, f"{done} ratings")
    assert page.evaluate("window.hacked === undefined")


def test_markdown_code_and_math_are_formatted_and_raw_shows_every_character(ws, serve, visit):
    text = (
        "# Title\n\nSome **bold**, *slanted* and `code`.\n\n1. one\n2. two\n   - inner\n\n> quoted\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nprint('<b>')\n```\n\nThen $x^2 + \\frac{1}{2}$ costs $5 and $6.\n\n$$\\sum_{i=1}^n i$$"
    )
    put_up(ws, (text, text + " "))
    page = open_room(visit, serve(ws))
    body = page.locator("[data-part=left]")
    for selector in (
        "strong",
        "em",
        "ol > li",
        "ul > li",
        "blockquote",
        "td",
        "pre",
        "math msup",
        "math mfrac",
        "math munderover",
    ):
        assert body.locator(selector).count() >= 1, selector
    assert body.locator("math").count() == 2, "$5 and $6 are money"
    assert body.locator("pre").inner_text() == "print('<b>')"
    page.keyboard.press("m")
    assert body.inner_text().strip() == text


def test_long_answers_scroll_together_and_earlier_turns_can_be_opened(ws, serve, visit):
    turns = [
        {"role": "user", "content": "First question"}, {"role": "assistant", "content": "First answer"},
        {"role": "user", "content": "Second question"},
    ]  # fmt: skip
    put_up(ws, ("line\n\n" * 200, "line\n\n" * 400), messages=turns)
    page = open_room(visit, serve(ws))
    page.locator("[data-part=left][data-drawn]").wait_for()
    page.get_by_text("Earlier turns").click()
    expect(page.get_by_text("First answer")).to_be_visible()
    share = "(name) => { const b = document.querySelector(`[data-part=${name}]`); return b.scrollTop / (b.scrollHeight - b.clientHeight); }"
    page.locator("[data-part=left]").hover()

    # Again and again, as a person does: Gradio loads the page again after a lost connection.
    def turn_the_wheel() -> bool:
        page.mouse.wheel(0, 400)
        return page.evaluate(share, "right") > 0.1

    wait_for(turn_the_wheel, "the other side follows")
    wait_for(lambda: abs(page.evaluate(share, "left") - page.evaluate(share, "right")) < 0.02, "at the same share")
    page.keyboard.press("y")
    page.evaluate("document.querySelector('[data-part=left]').scrollTop = 0")
    # Its event has come by then.
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.evaluate(share, "right") > 0.1


@pytest.mark.parametrize("width", [390, 1280])
def test_everything_has_a_name_a_visible_focus_and_fits(ws, serve, visit, width):
    put_up(ws, ("A", "B", "C"))
    served = serve(ws)
    page = visit(served.url + "#rate", width=width)
    page.locator(".rating[data-ready]").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    nameless = "[...document.querySelectorAll('#rate :is(button, textarea, [tabindex])')].filter((e) => e.checkVisibility() && !(e.ariaLabel || e.textContent.trim())).length"
    assert page.evaluate(nameless) == 0
    page.locator('.tray [data-chip="0"]').focus()
    page.keyboard.press("ArrowLeft")  # placed from the keyboard alone; the focus stays on it
    assert page.evaluate("document.activeElement.dataset.chip") == "0"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_keys_of_a_ranking_fill_their_row_in_a_narrow_window(ws, serve, visit):
    put_up(ws, ("A", "B", "C"))
    page = visit(serve(ws).url + "#rate", width=390)
    page.locator(".rating[data-ready]").wait_for()
    row = page.locator(".ranking-presses").bounding_box()
    last = page.locator('[data-press="ranking"]').bounding_box()
    assert row is not None
    assert last is not None
    assert abs(row["x"] + row["width"] - last["x"] - last["width"]) < 2
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
