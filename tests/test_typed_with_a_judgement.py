"""What is typed with a judgement, in the terminal and behind the page: kept until recorded, never cut, back after an undo."""

import io
import json
import os
import pty
import sys
import time

import pytest

from studio.annotation import guidelines, history
from studio.cli import keyboard, main, remarks
from studio.errors import RatingError, WorkspaceError
from studio.preferences import comparisons, edits, prompts, ratings
from studio.preferences.judgements import LONGEST_NOTE, Remarks
from studio.preferences.prompts import NewPrompt
from studio.workspace import Workspace
from tests.support import stored
from tests.test_cli import process, read_until
from ui.pages.rate import history as history_page
from ui.pages.rate import pairs as rate_page

FULL = Remarks("the date is right", {"unsafe": [1]}, {"helpful": [6, None]})


@pytest.fixture
def ws(tmp_path):
    """Three pairs; their answers have Windows line ends."""
    ws = Workspace.open(tmp_path / "workspace")
    with ws.write() as db:
        for number in range(3):
            prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"Question {number}"}]))
            pair = [
                prompts.add_response(db, prompt_id, f"{side}\r\nwith number {number}\r\n", "import")
                for side in ("one", "two")
            ]
            comparisons.add_comparison(db, prompt_id, pair)
    return ws


@pytest.fixture
def rate(ws, capsys, monkeypatch):
    """Press keys, or type, in the terminal's ``rate``; returns what it says."""

    def press(keys):
        monkeypatch.setattr(sys, "stdin", io.StringIO(keys))
        assert main(["rate", "--workspace", str(ws.root)]) == 0
        return capsys.readouterr().out

    return press


def shown(ws):
    showing = stored.written(ws, comparisons.next_showing)
    assert showing is not None
    return showing


def given(ws):
    """Of the newest event: outcome and remarks."""
    event = stored.read(ws, ratings.list_events)[-1]
    return event["outcome"], event["note"], event["flags"], event["attributes"]


# Undo.


def test_undo_brings_the_remarks_of_the_judgement_back_to_the_page_and_to_the_terminal(ws, rate):
    stored.written(ws, ratings.record, shown(ws).id, "left", remarks=FULL)
    page = rate_page._undo(ws, rate_page.Undo(uuid="0" * 36))
    assert page["items"][0]["remarks"] == {"note": FULL.note, "flags": FULL.flags, "attributes": FULL.attributes}
    assert page["items"][1]["remarks"]["note"] == ""
    assert "It has the note 'the date is right' and the flag unsafe on the right answer and scales" in rate("2q")
    assert given(ws) == ("left", FULL.note, json.dumps(FULL.flags), json.dumps(FULL.attributes))
    out = rate("zn another\nu21q")
    assert "Taken back" in out
    assert given(ws)[:3] == ("left", "another", None)


def test_undo_makes_the_text_of_an_ideal_answer_a_draft_again(ws):
    showing = shown(ws)
    stored.written(ws, edits.edit_to_ideal, showing.id, 1, "Ideal.", uuid="one")
    item = rate_page._undo(ws, rate_page.Undo(uuid="0" * 36, known=[showing.id]))["items"][0]
    assert item["drafts"] == [{"kind": "edit", "position": 1, "text": "Ideal."}]


# Nothing is lost between the typing and the recording.


def test_remarks_outlast_quitting_and_meet_on_the_page_and_in_the_terminal(ws, rate):
    rate("nhalf a thought\nu2q")
    showing = shown(ws)
    with ws.read() as db:
        (draft,) = rate_page._drafts(db, showing.id)
    assert json.loads(draft["text"])["note"] == "half a thought"
    assert "It has the note 'half a thought' and the flag unsafe on the right answer" in rate("1q")
    assert given(ws) == ("left", "half a thought", '{"unsafe": [1]}', None)
    with ws.read() as db:
        assert rate_page._drafts(db, showing.id) == []


def test_a_draft_that_comes_after_its_judgement_is_not_kept(ws):
    showing = shown(ws)
    stored.written(ws, ratings.record, showing.id, "left")
    for kind in ("note", "remarks", "demonstrate"):
        stored.written(ws, rate_page._draft, rate_page.Draft(kind=kind, showing=showing.id, text="late"))
    with ws.read() as db:
        assert [each["kind"] for each in rate_page._drafts(db, showing.id)] == ["demonstrate"]


def test_a_judgement_that_cannot_be_stored_now_stays_to_be_given_again_in_the_terminal(ws, rate, monkeypatch):
    record, faults = (
        ratings.record,
        [WorkspaceError("The disk is full."), RatingError("This pair is rated already.")],
    )

    def fail_at_first(*given, **facts):
        if faults:
            raise faults.pop(0)
        return record(*given, **facts)

    monkeypatch.setattr(ratings, "record", fail_at_first)
    out = rate("nnoted\n1" + "1" + "2q")
    assert "The disk is full.\nNothing was recorded. Press the key again" in out
    assert "rated already" in out
    assert given(ws)[:2] == ("left", "noted")


def test_an_ideal_answer_that_cannot_be_stored_now_is_offered_again_in_the_terminal(ws, rate, monkeypatch):
    def fail(*_, **__):
        raise WorkspaceError("The disk is full.")

    monkeypatch.setattr(edits, "edit_to_ideal", fail)
    assert "The disk is full. Your text is kept as a draft." in rate("e1The ideal\nanswer\n.\nq")
    monkeypatch.undo()
    assert "Your draft is back:\nThe ideal\nanswer" in rate("e1The ideal\nanswer\n.\nq")
    assert [each.response for each in stored.read(ws, prompts.list_demonstrations)] == ["The ideal\nanswer"]
    assert "draft is back" not in rate("e2.\nq")


# Nobody changed anything.


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\r\n", "\n"),
        lambda text: text.replace("\r\n", "\r"),
        lambda text: text.replace("\r\n", "\u2028").strip(),
        lambda text: f"\ufeff\u200b\n {text}\u00a0\n\n",
        lambda text: " \u200b\n",
    ],
    ids=["line ends of a text field", "old Macintosh ends", "line separators", "surrounding nothing", "nothing at all"],
)
def test_a_text_that_differs_in_line_ends_or_surrounding_nothing_alone_is_no_ideal_answer(ws, change):
    showing = shown(ws)
    with pytest.raises(RatingError, match="Nothing was changed"):
        stored.written(ws, edits.edit_to_ideal, showing.id, 0, change(showing.texts[0]), uuid="u")
    assert not stored.read(ws, ratings.list_events)
    assert stored.read(ws, prompts.counts)["demonstrations"] == 0
    stored.written(ws, edits.edit_to_ideal, showing.id, 0, change("x") + "another", uuid="u")


def test_an_editor_that_changes_line_ends_alone_gives_no_ideal_answer(ws, monkeypatch):
    class Keys(keyboard.Pipe):
        def press(self, *, takes_enter=False):
            return "1"

        def text(self, asked, before=""):
            return before.replace("\r\n", "\n") + "\n"

    remarks.Aside(ws, shown(ws), Keys()).press("e")
    assert not stored.read(ws, ratings.list_events)


def test_the_same_guideline_and_the_same_remarks_are_no_new_version(ws):
    first = stored.written(ws, guidelines.write, "Right first.\nThen short.")
    assert stored.written(ws, guidelines.write, "Right first.\r\nThen short.\r\n") == first
    event = stored.written(ws, ratings.record, shown(ws).id, "left", remarks=FULL)
    with pytest.raises(RatingError, match="already; nothing was changed"):
        stored.written(
            ws, ratings.annotate, event.id, Remarks(f" {FULL.note}\n", {"refused": [], "unsafe": [1]}, FULL.attributes)
        )
    assert len(stored.read(ws, ratings.list_events)) == 1


# Limits are told, and never cut at.


def test_a_note_of_5000_characters_is_kept_whole_and_a_longer_one_is_refused_with_both_numbers(ws, rate):
    longest, longer = "\U0001f600" * LONGEST_NOTE, "x" * 6004
    sentence = "A note has at most 5,000 characters; this one has 6,004."
    event = stored.written(ws, ratings.record, shown(ws).id, "left", remarks=Remarks(longest))
    assert stored.read(ws, history.get, event.id).note == longest
    for refuse in (
        lambda: stored.written(ws, ratings.record, shown(ws).id, "left", remarks=Remarks(longer)),
        lambda: stored.written(ws, ratings.annotate, event.id, Remarks(longer)),
    ):
        with pytest.raises(RatingError, match=sentence):
            refuse()
    assert sentence in history_page._annotate(ws, str(event.id), longer, [])[0]
    press = {"uuid": "0" * 36, "showing": shown(ws).id, "outcome": "left", "elapsed_ms": 1}
    with pytest.raises(RatingError, match=r"A note has at most 5,000 characters; .*nothing was recorded\. Shorten it"):
        rate_page._checked(rate_page.Press, press | {"note": longer})
    assert len(stored.read(ws, ratings.list_events)) == 1
    out = rate(f"n{longer}\n1q")
    assert sentence in out
    assert given(ws) == ("left", None, None, None)


def test_a_line_that_a_terminal_would_cut_arrives_whole(ws, monkeypatch):
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.delenv("EDITOR", raising=False)
    ours, theirs = pty.openpty()
    child = process(ws, "rate", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        read_until(ours, "3 to rate")
        for typed, answer in (
            ("n", "Note: "),
            ("x" * 4900 + "\n", "recorded with"),
            ("n", "Note: "),
            ("y" * 6004 + "\n", "this one has 6,004"),
            ("d", "dot alone"),
            ("z" * 4900 + "\n.\n", "a demonstration for"),
        ):
            time.sleep(2 * keyboard.SETTLE_S)
            os.write(ours, typed.encode())
            read_until(ours, answer)
        os.write(ours, b"1")
        read_until(ours, "2 to rate")
        time.sleep(2 * keyboard.SETTLE_S)
        os.write(ours, b"q")
        read_until(ours, "1 rated now")
    finally:
        child.wait(timeout=20)
        os.close(ours)
    assert given(ws)[1] == "x" * 4900
    assert [each.response for each in stored.read(ws, prompts.list_demonstrations)] == ["z" * 4900]


# Keys.


def test_in_the_terminal_a_letter_of_another_layout_is_one_key_that_is_none_and_holds_the_judgement_after_it(ws, rate):
    out = rate("σ1" + "q")
    assert "σ is not a key here" in out
    assert "Press it again to judge" in out
    assert not stored.read(ws, ratings.list_events)
    rate("σ11q")
    assert given(ws)[0] == "left"
    rate("٣q")  # a 3
    assert stored.read(ws, ratings.list_events)[-1]["strength"] == 1


def test_in_the_terminal_a_wrong_answer_to_a_question_asks_again_and_judges_nothing(ws, rate):
    out = rate("s7&1q")
    assert out.count("Press 1 to 4, or a letter") == 2
    assert given(ws)[0] == "skip"
    out = rate("u9 b2q")
    assert "Flagged unsafe: the right answer" in out
    out = rate("sq")
    assert "Back." in out
    assert len(stored.read(ws, ratings.list_events)) == 1


def test_a_terminal_gives_each_character_as_one_key_whatever_its_bytes(monkeypatch):
    ours, theirs = pty.openpty()
    try:
        monkeypatch.setattr(sys, "stdin", os.fdopen(os.dup(theirs)))
        with sys.stdin, keyboard.keyboard() as keys:
            os.write(ours, "σЯ€\U0001f6001".encode())
            assert [keys.press() for _ in range(5)] == [*"σЯ€\U0001f6001"]
    finally:
        os.close(ours)
        os.close(theirs)
    assert [keyboard.meant(key) for key in "BЯ٣３ｓ²"] == ["b", "я", "3", "3", "s", "²"]
