"""The rooms of the Rate page in a real browser: a session from its start to its card, the history, the snapshots."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from modules.config import RewardConfig, SampleConfig, SFTConfig
from studio.annotation import guidelines, history, predictions, sessions
from studio.annotation.session_config import SessionConfig
from studio.datasets import importing
from studio.insights import active_choice
from studio.models import checkpoints
from studio.preferences import comparisons, prompts, ratings, snapshot_changes
from studio.workspace import Workspace
from tests.support import curves, stored
from tests.ui import filling
from tests.ui.filling import HOSTILE
from ui.pages.rate import snapshots as snapshots_page

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reward models here have no weights to predict with."""
    monkeypatch.setattr(predictions, "start", lambda ws: False)


@pytest.fixture
def pairs_ws(ws: Workspace) -> Workspace:
    """A workspace with 60 pairs to rate."""
    ids = filling.add_texts(ws, 60)
    sft = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    filling.add_pairs(ws, ids, sft, run=filling.add_run(ws, SampleConfig()))
    return ws


def open_room(visit, served, title: str, **how) -> Page:
    page = visit(served.url + "#rate", **how)
    page.locator("#rate-tabs").get_by_role("tab", name=title).click()
    return page


def rate(page: Page, ws: Workspace, key: str) -> None:
    """Press a key and wait until it is in the database."""
    before = len(stored.read(ws, ratings.list_events, limit=-1))
    expect(page.locator(".rating[data-ready]")).to_be_attached()
    page.keyboard.press(key)
    for _ in range(200):
        if len(stored.read(ws, ratings.list_events, limit=-1)) > before:
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"the press {key} was not recorded")


def test_a_session_whose_choice_is_automatic_says_what_it_goes_by(pairs_ws, serve, visit):
    showing = stored.written(pairs_ws, comparisons.next_showing)
    stored.written(pairs_ws, ratings.record, showing.id, "left")
    curves.fill_arms(pairs_ws, (50, 100, 200, 400, 800), 0.5)
    said = stored.read(pairs_ws, active_choice.newest).sentence
    page = open_room(visit, serve(pairs_ws), "Session")
    page.locator("#session-start").click()
    now = page.locator("#session-now")
    expect(now).to_contain_text("Nine in ten pairs are drawn at random and one in ten is still chosen")
    expect(now).to_contain_text(said)
    expect(now).to_contain_text("90% at random")
    page.locator("#session-end").click()
    expect(page.locator("#session-card")).to_contain_text(said)


def test_a_session_runs_from_its_start_over_a_rest_to_its_card(pairs_ws, serve, visit):
    served = serve(pairs_ws)
    page = open_room(visit, served, "Session")
    expect(page.locator("#session-now")).to_contain_text("No session is running")
    page.locator("#session-target input").fill("0")
    page.locator("#session-start").click()
    expect(page.locator("#session-form")).to_contain_text("takes a whole number, at least 1")
    assert stored.read(pairs_ws, sessions.active) is None
    page.locator("#session-target input").fill("7")
    page.locator("#session-form").get_by_text(re.compile("More settings")).click()
    expect(page.locator("#session-block_size input")).to_have_value("30")
    page.wait_for_timeout(300)  # Gradio sets a field that comes into view once more
    page.locator("#session-block_size input").fill("5")
    page.locator("#session-repeat_share input").fill("0")
    page.locator("#session-start").click()
    expect(page.locator("#session-now")).to_contain_text("Session 1: 0 of 7, block 1.")
    page.locator("#rate-tabs").get_by_role("tab", name="Pairs").click()
    expect(page.locator("[data-part=tally]")).to_contain_text("Session 1: 0 of 7")
    for key in "12358":
        rate(page, pairs_ws, key)
    expect(page.locator("[data-part=none-title]")).to_have_text("Time for a rest")
    page.locator("[data-part=none-link]").click()
    expect(page.locator("#session-card .figures")).to_contain_text("5votes")
    page.locator("#session-resume").click()
    expect(page.locator("#session-now")).to_contain_text("Session 1: 5 of 7, block 2.")
    served.stop()
    served.start()
    page = open_room(visit, served, "Pairs")
    for key in "90":
        rate(page, pairs_ws, key)
    expect(page.locator("[data-part=none-title]")).to_have_text("The session is done")
    page.locator("[data-part=none-link]").click()
    card = page.locator("#session-card")
    expect(card).to_contain_text("3 left, 3 right, 1 both fine")
    expect(card.locator("tr", has_text="Left side chosen")).to_contain_text("50%")
    page.locator("#session-end").click()
    expect(page.locator("#session-now")).to_contain_text("No session is running")
    assert [session.state for session in stored.read(pairs_ws, sessions.list_all)] == ["ended"]


def test_a_session_asks_what_and_how_many_and_folds_the_rest(full_ws, serve, visit):
    page = open_room(visit, serve(full_ws), "Session")
    form = page.locator("#session-form")
    expect(form.locator("[data-testid=block-info]").locator("visible=true")).to_have_text(
        [re.compile("^\\s*Answers to compare"), re.compile("^\\s*Number of votes")]
    )
    form.get_by_text(re.compile("More settings")).click()
    expect(page.locator("#session-rank")).to_be_visible()
    expect(page.locator("#session-checkpoint input")).to_have_value("newest, if the source needs one")


def test_a_session_that_cannot_start_says_so_beside_its_button(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#rate")
    page.get_by_role("tab", name="Session").click()
    page.locator("#session-target input").fill("0")
    page.locator("#session-start").click()
    expect(page.locator("#session-told")).to_contain_text("target = 0 is not possible")
    assert stored.read(full_ws, sessions.list_all) == []


def test_undo_in_a_session_stays_in_it_and_says_where_a_pair_is_that_does_not_come_back(pairs_ws, serve, visit):
    ws = pairs_ws
    page = visit(serve(ws).url + "#rate")
    rate(page, ws, "1")
    stored.written(ws, sessions.start, SessionConfig(repeat_share=0.0))
    page.reload()
    rate(page, ws, "9")
    page.locator(".rating[data-ready]").wait_for()
    page.keyboard.press("z")
    said = page.locator("[data-part=said]")
    expect(said).to_contain_text("Undone: right better. Here it is again.")
    page.locator(".rating[data-ready]").wait_for()
    page.keyboard.press("z")
    expect(said).to_contain_text("Nothing of this session is left to undo")
    assert stored.read(ws, ratings.summary)["rated"] == 1


def test_the_open_session_room_follows_votes_given_elsewhere_and_leaves_the_form_alone(pairs_ws, serve, visit):
    stored.written(pairs_ws, sessions.start, SessionConfig(target=20))
    page = open_room(visit, serve(pairs_ws), "Session")
    expect(page.locator("#session-now")).to_contain_text("0 of 20")
    page.locator("#session-form").get_by_text("Start a session").click()
    expect(page.locator("#session-target input")).to_have_value("100")
    page.wait_for_timeout(300)  # Gradio sets a field that comes into view once more
    page.locator("#session-target input").fill("77")
    showing = stored.written(pairs_ws, sessions.next_showing)
    assert showing is not None
    stored.written(pairs_ws, ratings.record, showing.id, "tie")
    expect(page.locator("#session-now")).to_contain_text("1 of 20")
    expect(page.locator("#session-card")).to_contain_text("1 both fine")
    expect(page.locator("#session-target input")).to_have_value("77")


def test_what_the_reward_model_had_thought_is_shown_after_the_vote_and_never_before(pairs_ws, serve, visit):
    filling.add_rated(pairs_ws, 1)
    reward = stored.read(
        pairs_ws, checkpoints.get, filling.add_checkpoint(pairs_ws, filling.add_run(pairs_ws, RewardConfig()))
    )
    waiting = stored.read(pairs_ws, predictions.pending, reward.id)
    stored.written(pairs_ws, predictions.add, reward.id, [(row["id"], [[3.0], [0.0]]) for row in waiting])
    stored.written(pairs_ws, sessions.start, SessionConfig(show_predictions=True, repeat_share=0.0))
    page = open_room(visit, serve(pairs_ws), "Pairs")
    expect(page.locator("[data-part=tally]")).to_contain_text("Session 1")
    expect(page.locator("#rate")).not_to_contain_text(re.compile("reward-1"))
    showing = stored.written(pairs_ws, sessions.next_showing)
    assert showing is not None
    rate(page, pairs_ws, "1")
    side = "left" if showing.left.startswith("Certainly") else "right"
    expect(page.locator("[data-part=said]")).to_contain_text(f"reward-1@40 had given the {side} answer 95%.")


def test_the_guideline_is_put_in_force_and_stands_over_the_pairs(pairs_ws, serve, visit):
    page = open_room(visit, serve(pairs_ws), "Session")
    expect(page.locator("#guideline-text textarea")).not_to_have_value("")
    page.locator("#guideline-text textarea").fill(f"Kind answers first. {HOSTILE}")
    page.locator("#guideline-save").click()
    expect(page.locator("#guideline-told")).to_contain_text("Version 1 is in force")
    page.locator("#rate-tabs").get_by_role("tab", name="Pairs").click()
    expect(page.locator("[data-part=guideline]")).to_contain_text("Kind answers first. <script>")
    assert stored.read(pairs_ws, guidelines.current).version == 1


def test_the_history_is_searched_and_a_rating_corrected(pairs_ws, serve, visit):
    filling.add_pairs(pairs_ws, [1], "sft-1@40", texts=lambda n: (HOSTILE, "harmless needle"))
    filling.add_rated(pairs_ws, 61)
    page = open_room(visit, serve(pairs_ws), "History")
    expect(page.locator("[data-row]")).to_have_count(25)
    for extent in ("26 to 50 of 61", "51 to 61 of 61"):
        page.locator("#history-older").click()
        expect(page.locator("#history-extent")).to_have_text(extent)
    expect(page.locator("[data-row]")).to_have_count(11)
    expect(page.locator("#history-older")).to_be_disabled()
    page.locator("#history-search input, #history-search textarea").fill("NEEDLE")
    expect(page.locator("[data-row]")).to_have_count(1)
    page.locator("[data-row]").click()
    expect(page.locator("#history-detail")).to_contain_text("<script>window.hacked = 1</script>")
    before = stored.read(pairs_ws, history.find)[0]
    wanted = stored.read(pairs_ws, history.get, int(page.locator("[data-row]").get_attribute("data-row") or 0))
    page.locator("#history-correct").click()
    expect(page.locator("#history-told")).to_contain_text(f"Rating {wanted.id} already says so")
    page.locator("#history-to input").click()
    page.get_by_role("option", name="left better", exact=True).click()
    page.locator("#history-correct").click()
    expect(page.locator("#history-told")).to_contain_text(f"stays on record as {wanted.id}")
    after = stored.read(pairs_ws, history.find)[0]
    assert (after.id, after.outcome, after.strength) == (before.id + 1, "left", 2)
    assert page.evaluate("window.hacked") is None


def test_the_history_is_read_by_keys_and_its_drawer_goes_along(pairs_ws, serve, visit):
    filling.add_rated(pairs_ws, 60)
    ids = [entry.id for entry in stored.read(pairs_ws, history.find, limit=60)]
    served = serve(pairs_ws)
    page = open_room(visit, served, "History")
    expect(page.locator("#history-extent")).to_have_text("1 to 25 of 60")
    expect(page.locator("[data-row][tabindex='0']")).to_have_count(1)
    page.locator("[data-row][tabindex='0']").focus()

    def focused() -> str:
        return f'[data-row="{page.evaluate("document.activeElement.dataset.row")}"]'

    for key in ("ArrowDown", "j", "k"):
        page.keyboard.press(key)
    assert focused() == f'[data-row="{ids[1]}"]'
    page.keyboard.press("Enter")
    expect(page.locator(f'#history-drawer [data-shown="{ids[1]}"]')).to_be_visible()
    expect(page.locator("#history-drawer .answers section")).to_have_count(2)
    assert page.evaluate("document.activeElement.id") == "history-drawer"
    page.keyboard.press("ArrowDown")
    expect(page.locator(f'#history-drawer [data-shown="{ids[2]}"]')).to_be_visible()
    assert page.evaluate("window.studio.address()") == f"rate/history/{ids[2]}"
    page.locator("#history-note textarea").press("ArrowDown")  # of a text, where it is typed in
    expect(page.locator(f'#history-drawer [data-shown="{ids[2]}"]')).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#history-drawer")).to_be_hidden()
    assert focused() == f'[data-row="{ids[2]}"]'
    page.keyboard.press("End")
    page.keyboard.press("ArrowDown")  # over the end of the page
    expect(page.locator("#history-extent")).to_have_text("26 to 50 of 60")
    expect(page.locator(f'[data-row="{ids[25]}"]')).to_be_focused()
    page.keyboard.press("n")
    expect(page.locator(f'[data-row="{ids[50]}"]')).to_be_focused()
    for first in (25, 0):
        page.keyboard.press("PageUp")
        expect(page.locator(f'[data-row="{ids[first]}"]')).to_be_focused()
    other = visit(f"{served.url}#rate/history/{ids[40]}")
    expect(other.locator(f'#history-drawer [data-shown="{ids[40]}"]')).to_be_visible()
    other.get_by_role("button", name="Close").click()
    expect(other.locator("#history-drawer")).to_be_hidden()


def test_what_is_typed_in_a_drawer_is_dropped_only_at_the_second_try(pairs_ws, serve, visit):
    filling.add_rated(pairs_ws, 3)
    ids = [entry.id for entry in stored.read(pairs_ws, history.find, limit=3)]
    page = open_room(visit, serve(pairs_ws), "History")
    drawer, note, rows = (
        page.locator("#history-drawer"),
        page.locator("#history-note textarea"),
        page.locator("[data-row]"),
    )
    rows.nth(0).click()
    expect(drawer.locator(f'[data-shown="{ids[0]}"]')).to_be_visible()
    note.fill("half a thought")
    drawer.get_by_role("button", name="The one below").click()
    expect(drawer).to_contain_text("What you typed here is not saved")
    expect(note).to_have_value("half a thought")
    expect(drawer.locator(f'[data-shown="{ids[0]}"]')).to_be_visible()
    page.locator("#history-annotate").click()
    expect(drawer.get_by_text("What you typed here is not saved")).to_be_hidden()
    drawer.get_by_role("button", name="The one below").click()
    expect(drawer.locator(f'[data-shown="{ids[1]}"]')).to_be_visible()
    note.fill("another")
    for _ in range(2):
        page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    rows.nth(1).click()
    expect(note).to_have_value("")


def test_an_address_of_no_rating_says_so_and_offers_nothing_to_press(pairs_ws, serve, visit):
    page = visit(serve(pairs_ws).url + "#rate/history/9999")
    expect(page.locator("#history-drawer")).to_contain_text("9999")
    for button in ("#history-correct", "#history-annotate"):
        expect(page.locator(button)).to_be_disabled()


def test_a_note_and_flags_are_given_after_the_vote_and_a_ranking_is_corrected(pairs_ws, serve, visit):
    filling.add_rated(pairs_ws, 1)
    with pairs_ws.write() as db:
        ids = [prompts.add_response(db, 1, f"ranked {n}", "import") for n in range(3)]
        comparisons.add_comparison(db, 1, ids)
    ranked = next(
        s
        for _ in range(60)
        if len((s := stored.written(pairs_ws, comparisons.next_showing)).texts) == 3 or filling.add_rated(pairs_ws, 1)
    )
    stored.written(pairs_ws, ratings.record, ranked.id, "ranking", ranks=[1, 2, 3])
    page = open_room(visit, serve(pairs_ws), "History")
    page.locator("[data-row]").nth(1).click()
    expect(page.locator("#history-detail")).to_contain_text("All events")
    page.locator("#history-note textarea").fill("on reflection")
    page.locator("#history-flags").get_by_label("right answer unsafe").check()
    page.locator("#history-annotate").click()
    expect(page.locator("#history-told")).to_contain_text("stay on record")
    noted = stored.read(pairs_ws, history.find)[0]
    assert (noted.note, noted.remarks.flags) == ("on reflection", {"unsafe": [1]})
    expect(page.locator("[data-row]").first).to_contain_text("note")
    page.get_by_role("button", name="The one below").click()
    expect(page.locator("#history-detail")).to_contain_text("Answer 3")
    page.locator("#history-ranks input, #history-ranks textarea").fill("3 1=2")
    page.locator("#history-correct").click()
    expect(page.locator("#history-detail h3")).to_have_text("ranking 3 > 1 = 2")


def test_ratings_are_frozen_and_two_snapshots_compared(pairs_ws, serve, visit):
    filling.add_rated(pairs_ws, 6)
    stored.freeze(pairs_ws)
    page = open_room(visit, serve(pairs_ws), "Snapshots")
    expect(page.locator("#snapshot-list")).to_contain_text("snapshot-1")
    page.locator("#recipe-since input, #recipe-since textarea").fill("soon")
    page.locator("#snapshot-freeze").click()
    expect(page.locator("#rate-snapshots")).to_contain_text("'soon' is not a day")
    page.locator("#recipe-since input, #recipe-since textarea").fill("")
    stored.undone(pairs_ws)
    page.locator("#snapshot-freeze").click()
    expect(page.locator("#snapshot-list")).to_contain_text("snapshot-2")
    page.locator("#snapshot-compare").click()
    expect(page.locator("#snapshot-difference")).to_contain_text("5 preferences are the same, 0 changed, 1 are only in")


def test_a_long_difference_of_snapshots_unfolds_and_names_the_command_for_the_rest(monkeypatch):
    row = {"prompt": "<b>", "chosen": "A", "rejected": "B", "target_p": 1.0, "margin": 0.0, "weight": 1.0}
    monkeypatch.setattr(snapshots_page, "UNFOLDED", 15)
    drawn = [
        snapshots_page._pairs(snapshot_changes.Difference({}, 0, [row] * num, [], []), "snapshot-1", "snapshot-2")
        for num in (12, 14, 20)
    ]
    assert [text.count("<li>") for text in drawn] == [12, 14, 15]
    assert ["<summary>2 more" in text for text in drawn] == [False, True, False]
    assert "5 more: <code>rlhf-studio snapshots diff snapshot-1 snapshot-2 --limit 20</code>" in drawn[2]
    assert "<b>A" not in "".join(drawn)


@pytest.mark.parametrize("title", ["Session", "History", "Snapshots"])
def test_the_rooms_fit_a_narrow_window(pairs_ws, serve, visit, title):
    stored.written(pairs_ws, sessions.start, SessionConfig())
    filling.add_rated(pairs_ws, 5)
    stored.freeze(pairs_ws)
    page = open_room(visit, serve(pairs_ws), title, width=390)
    page.wait_for_timeout(800)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_imported_preferences_are_browsed_with_both_answers(ws, serve, visit, tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Question {n}?", "chosen": f"good {n} {HOSTILE}", "rejected": f"bad {n}"} for n in range(23)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    importing.import_source(ws, str(path))
    page = visit(serve(ws).url + "#data")
    expect(page.locator("#data-counts")).to_contain_text("23imported preferences")
    page.locator("#page-data").get_by_label("preferences", exact=True).check()
    rows = page.locator("#data-list [data-row]")
    expect(rows).to_have_count(20)
    page.locator("#data-older").click()
    expect(rows).to_have_count(3)
    page.locator("#search input, #search textarea").fill("BAD 7")
    expect(rows).to_have_count(1)
    rows.click()
    expect(page.locator("#data-detail")).to_contain_text("good 7 <script>window.hacked = 1</script>")
    expect(page.locator("#data-detail")).to_contain_text("bad 7")
    assert page.evaluate("window.hacked") is None
