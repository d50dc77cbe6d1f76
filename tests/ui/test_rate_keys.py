"""Keys of any keyboard: each does what is meant by it, or nothing at all, and a half-understood one records nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

import ui
from studio.preferences import ratings, vocabulary
from tests.support import stored
from tests.ui.test_rate import rated, wait_for
from tests.ui.test_rating_room import open_room, put_up

pytestmark = pytest.mark.browser
SHIFT, ALT_GR = {"shiftKey": True}, {"isAltGr": True, "ctrlKey": True, "altKey": True}
UNKNOWN = "unknown"
KEYS: dict[str, tuple[tuple[Any, ...], ...]] = {
    # character, place, what is meant, and what is held with it
    "US": (("1", "Digit1", "1"), ("!", "Digit1", "", SHIFT), ("?", "Slash", "?", SHIFT), ("=", "Equal", "="), ("w", "KeyW", "")),
    "French, digits under Shift": (("1", "Digit1", "1", SHIFT), ("&", "Digit1", "1"), ("é", "Digit2", "2"), ("à", "Digit0", "0"),
                                   ("²", "Backquote", ""), ("?", "KeyM", "?", SHIFT), ("a", "KeyQ", "a"), ("z", "KeyW", "z"), ("q", "KeyA", "")),
    "Belgian": (("§", "Digit6", "6"), ("!", "Digit8", "8"), ("ç", "Digit9", "9")),
    "Czech": (("+", "Digit1", "1"), ("ř", "Digit5", "5"), ("é", "Digit0", "0"), ("5", "Digit5", "5", SHIFT)),
    "Lithuanian": (("ą", "Digit1", "1"), ("1", "Digit1", "1", ALT_GR)),
    "Hungarian, the nought left of the one": (("ö", "Digit0", UNKNOWN), ("0", "Backquote", "0")),
    "German, the equals sign under Shift": (("=", "Digit0", "=", SHIFT), ("z", "KeyY", "z"), ("€", "KeyE", "", ALT_GR)),
    "Dvorak, the character wins": (("e", "KeyD", "e"), (".", "KeyE", ""), ("o", "KeyS", ""), (";", "KeyZ", ""), ("'", "KeyQ", "")),
    "Programmer Dvorak, other digits": (("[", "Digit2", ""), ("*", "Digit7", ""), ("1", "Digit5", "1", SHIFT)),
    "Turkish": (("ğ", "KeyE", UNKNOWN), ("s", "KeyK", "s")),
    "Russian": (("я", "KeyZ", "z"), ("ы", "KeyS", "s"), ("и", "KeyB", "b"), ("ж", "Semicolon", UNKNOWN), ("Ы", "KeyS", "s")),
    "Serbian": (("з", "KeyY", "z"), ("ѕ", "KeyZ", "y")),
    "Greek": (("σ", "KeyS", "s"), ("ζ", "KeyZ", "z"), (";", "KeyQ", "")),
    "Hebrew": (("ד", "KeyS", "s"), ("נ", "KeyB", "b")),
    "Arabic": (("لا", "KeyB", "b"), ("س", "KeyS", "s"), ("١", "Digit1", "1"), ("؟", "Slash", "?", SHIFT)),
    "Persian": (("۵", "Digit5", "5"), ("س", "KeyS", "s")),
    "Hindi": (("ा", "KeyE", "e"), ("१", "Digit1", "1")),
    "Thai": (("ๅ", "Digit1", "1"), ("๑", "Digit2", "1", SHIFT)),
    "Japanese": (("ぬ", "Digit1", "1"), ("と", "KeyS", "s"), ("１", "Digit1", "1"), ("ｓ", "KeyS", "s"), ("　", "Space", " ")),
    "Korean": (("ㄴ", "KeyS", "s"), ("ㅠ", "KeyB", "b")),
    "numpad": (("1", "Numpad1", "1"), ("End", "Numpad1", ""), ("Clear", "Numpad5", ""), ("٩", "Numpad9", "9"), ("Enter", "NumpadEnter", "enter")),
    "Caps Lock": (("U", "KeyU", "u"), ("B", "KeyB", "b"), ("b", "KeyB", UNKNOWN, SHIFT)),
    "Shift makes a letter another key": (("S", "KeyS", UNKNOWN, SHIFT), ("Я", "KeyZ", UNKNOWN, SHIFT), (" ", "Space", "", SHIFT), ("Enter", "Enter", "", SHIFT)),
    "chords are the browser's": (("1", "Digit1", "", {"ctrlKey": True}), ("b", "KeyB", "", {"metaKey": True}), ("1", "Digit1", "", {"altKey": True})),
    "input methods": (("Process", "KeyS", "method"), ("s", "KeyS", "method", {"isComposing": True}), ("1", "Digit1", "method", {"keyCode": 229}), ("Dead", "KeyE", ""), ("Unidentified", "", UNKNOWN)),
    "no place is told": (("1", "", "1"), ("s", "", "s"), ("я", "", UNKNOWN)),
}  # fmt: skip
PAIR = {
    "item": True,
    "asking": None,
    "isRanking": False,
    "isDeaf": False,
    "isHeld": False,
    "isBack": False,
    "dialog": None,
}
ASKED = {"question": ["slip", "model", "gap", "later"]}
ORDERS: dict[str, tuple[tuple[str, dict[str, Any], list[Any] | None], ...]] = {
    "a pair": (("1", {}, ["press", "left:3"]), ("enter", {}, ["press", "ranking"]), ("arrowleft", {}, ["shift", -1]), ("escape", {}, None)),
    "a ranking": (("3", {"isRanking": True}, ["place", 2]), ("3", {"isRanking": True, "isDeaf": True}, ["press", "left:1"])),
    "a question is open": (("1", {"asking": "skip"}, ["skip", 0]), ("5", {"asking": "skip"}, ["unasked"]), ("b", {"asking": "unsafe"}, ["unasked"]),
                           ("2", {"asking": "unsafe"}, ["pick", 1]), ("enter", {"asking": "unsafe", "isRanking": True}, ["unasked"]), ("escape", {"asking": "edit"}, ["unask"])),
    "the key before was not understood": (("1", {"isHeld": True}, ["held"]), ("b", {"isHeld": True}, ["held"]), ("s", {"isHeld": True}, ["press", "skip"]), (UNKNOWN, {}, [UNKNOWN])),
    "a text was being written": (("1", {"isBack": True}, ["back"]), ("z", {"isBack": True}, ["back"]), (UNKNOWN, {"isBack": True}, ["back"]),
                                 ("e", {"isBack": True}, ["press", "edit"]), ("1", {"isBack": True, "asking": "edit"}, ["pick", 0]), ("escape", {"isBack": True}, ["judge"])),
    "an earlier vote is asked about": (
        ("s", ASKED, ["settle", "slip"]), ("m", ASKED, ["settle", "model"]), ("g", ASKED, ["settle", "gap"]), ("escape", ASKED, ["settle", "later"]),
        ("1", ASKED, ["unsettled"]), ("b", ASKED, ["unsettled"]), (" ", ASKED, ["unsettled"]), ("z", ASKED, ["press", "undo"]), ("?", ASKED, ["press", "help"]), ("e", ASKED, None),
        ("s", {**ASKED, "isDeaf": True}, None), ("s", {"question": ["model", "gap", "later"]}, ["unsettled"]),
        ("s", {**ASKED, "isBack": True}, ["back"]), ("g", {**ASKED, "isBack": True}, ["settle", "gap"]), ("escape", {**ASKED, "isBack": True}, ["judge"])),
    "a dialog is open": (("g", {"dialog": "guideline"}, ["press", "guideline"]), ("g", {"dialog": "help"}, None), ("1", {"dialog": "help"}, None), ("?", {"dialog": "help"}, ["press", "help"])),
    "nothing is on the screen": (("1", {"item": False}, None), ("z", {"item": False}, ["press", "undo"]), ("?", {"item": False}, ["press", "help"])),
}  # fmt: skip


def test_a_key_counts_by_its_character_else_by_its_place_and_never_as_another(chromium):
    page = chromium.new_page()
    page.add_script_tag(content=f"const VOCABULARY = {vocabulary.as_json()};")
    page.add_script_tag(path=Path(ui.__file__).parent / "static/rate/keys.js")
    rows = [(name, *row) for name, table in KEYS.items() for row in table]
    events = [{"key": key, "code": code, **(held[0] if held else {})} for _, key, code, _, *held in rows]
    found = page.evaluate("(events) => events.map(meant)", events)
    assert list(zip(rows, found, strict=True)) == [(row, row[3]) for row in rows]
    orders = [(name, *row) for name, table in ORDERS.items() for row in table]
    asked = [[key, {**PAIR, **at}] for _, key, at, _ in orders]
    done = page.evaluate("(asked) => asked.map(([key, at]) => order(key, at))", asked)
    assert list(zip(orders, done, strict=True)) == [(row, row[3]) for row in orders]
    page.close()


def test_the_table_decides_what_a_key_does(chromium):
    page = chromium.new_page()
    table = json.loads(vocabulary.as_json())
    table["keys"]["x"] = table["keys"].pop("b")
    page.add_script_tag(content=f"const VOCABULARY = {json.dumps(table)};")
    page.add_script_tag(path=Path(ui.__file__).parent / "static/rate/keys.js")
    found = page.evaluate("(at) => ['x', 'b', '1'].map((key) => order(key, at))", PAIR)
    assert found == [["press", "both_bad"], None, ["press", "left:3"]]
    page.close()


def test_real_keys_of_other_layouts_judge_and_a_half_understood_order_records_nothing(ws, serve, visit):
    put_up(ws, *[(f"A {n}", f"B {n}") for n in range(8)])
    page = open_room(visit, serve(ws))
    keyboard = page.context.new_cdp_session(page)
    said = page.locator("[data-part=said]")

    def key(name: str, code: str, shift: bool = False, ready: bool = True) -> None:
        if ready:
            page.locator(".rating[data-ready]").wait_for()
        event = {"key": name, "code": code, "modifiers": 8 if shift else 0}
        keyboard.send("Input.dispatchKeyEvent", {"type": "keyDown", "text": name if len(name) == 1 else "", **event})
        keyboard.send("Input.dispatchKeyEvent", {"type": "keyUp", **event})

    def recorded(num: int) -> list[tuple[str, int | None, str | None]]:
        wait_for(lambda: len(stored.read(ws, ratings.list_events)) == num, f"{num} events")
        return [(e["outcome"], e["strength"], e["reason"]) for e in stored.read(ws, ratings.list_events)]

    key("1", "Digit1", shift=True)
    assert recorded(1)[-1] == ("left", 3, None)
    key("ç", "Digit9")
    assert recorded(2)[-1] == ("right", 2, None)
    key("σ", "KeyS")
    expect(page.locator("[data-part=reasons]")).to_be_visible()
    key("&", "Digit1")
    assert recorded(3)[-1] == ("skip", None, vocabulary.SKIP_REASONS[0])
    key("я", "KeyZ")
    assert recorded(4)[-1][0] == "undo"
    expect(said).to_contain_text("Undone: skipped")
    key("U", "KeyU")  # Caps Lock
    key("B", "KeyB")
    key("Escape", "Escape")
    key("G", "KeyG")
    expect(page.locator("[data-part=guideline-dialog]")).to_be_visible()
    key("G", "KeyG")
    expect(page.locator("[data-part=guideline-dialog]")).to_be_hidden()
    key("ж", "Semicolon")
    expect(said).to_contain_text("ж is not a key here")
    key("1", "Digit1")
    expect(said).to_contain_text("was not taken as a judgement")
    assert len(stored.read(ws, ratings.list_events)) == 4
    key("1", "Digit1")
    assert recorded(5)[-1] == ("left", 3, None)
    assert rated(ws) == 3
