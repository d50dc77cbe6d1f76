"""The Models page: figures by stage, notes and pins, deletions that are listed before they are pressed, the lineage."""

import re

import pytest
from playwright.sync_api import expect

from studio.models import checkpoints, deletion, disk, notes
from studio.models.notes import Note
from studio.preferences import prompts
from studio.workspace import Workspace
from tests.support import stored
from tests.test_deletion import template as template  # a fixture
from tests.test_deletion import ws as ws  # another, which copies it
from tests.ui.filling import HOSTILE
from ui.pages.models import delete_card, noting, table

pytestmark = pytest.mark.browser


def on_disk(ws: Workspace) -> set[str]:
    return {path.relative_to(ws.root).as_posix() for path in disk.files(ws.runs)}


def choose(page, name):
    """Type a name into the card's picker."""
    field = page.locator("#delete-name input")
    field.fill(name)
    field.press("Enter")


def test_a_run_is_deleted_with_what_depends_on_it_after_both_were_listed(ws, serve, visit):
    before, ratings = on_disk(ws), stored.tables(ws)["rating_events"]
    page = visit(serve(ws).url + "#models")
    expect(page.locator("#checkpoints")).to_contain_text("sft-1@20")
    expect(page.locator("#checkpoints")).to_contain_text(
        disk.words(disk.taken(stored.read(ws, checkpoints.get, "sft-1@20").folder))
    )
    page.get_by_text("Delete a checkpoint or a run").click()
    choose(page, "sft-1")
    listed, button = page.locator("#delete-listed"), page.locator("#delete-now")
    expect(listed).to_contain_text("ppo-1 began with sft-1@10 (policy, sft).")
    expect(listed).to_contain_text("Stays, with its name: 8 responses, 3 ratings, 1 conversation.")
    expect(button).to_be_hidden()
    assert on_disk(ws) == before
    page.get_by_label("Delete that too").check()
    expect(button).to_have_text("Delete these 2")
    expect(listed).to_contain_text("runs/ppo-1")
    button.click()
    expect(page.locator("#delete-told")).to_contain_text("Deleted sft-1, ppo-1.")
    expect(page.locator("#delete-told")).to_contain_text("are free again")
    expect(page.locator("#lineage")).to_contain_text("No checkpoints yet")
    assert on_disk(ws) == set()
    assert stored.tables(ws)["rating_events"] == ratings


def test_a_checkpoint_alone_leaves_and_is_no_longer_in_the_table(ws, serve, visit):
    page = visit(serve(ws).url + "#models")
    page.get_by_text("Delete a checkpoint or a run").click()
    choose(page, "sft-1@20")
    button = page.locator("#delete-now")
    expect(button).to_have_text("Delete sft-1@20")
    expect(page.locator("#delete-others")).to_be_hidden()
    button.click()
    expect(page.locator("#checkpoints")).not_to_contain_text("sft-1@20")
    expect(page.locator("#checkpoints")).to_contain_text("sft-1@10")
    with pytest.raises(checkpoints.CheckpointError, match="was deleted on"):
        stored.read(ws, checkpoints.get, "sft-1@20")


def test_the_lineage_says_what_each_run_takes_and_what_the_workspace_does(full_ws, serve, visit):
    size = disk.words(disk.taken(full_ws.runs / "reward-1"))
    page = visit(serve(full_ws).url + "#models")
    expect(page.locator("#lineage .node:has(a[href='#runs/reward-1'])")).to_contain_text(size)
    expect(page.locator("#lineage")).to_contain_text("This workspace takes ")
    expect(page.locator("#lineage")).to_contain_text("of it in runs")


def test_a_box_of_the_lineage_opens_its_run(ws, serve, visit):
    page = visit(serve(ws).url + "#models")
    page.locator("#lineage a", has_text="ppo-1").click()
    expect(page).to_have_url(re.compile("#runs/ppo-1$"))
    expect(page.locator("#run").get_by_role("heading", name="ppo-1")).to_be_visible()


def test_more_than_was_listed_is_not_deleted(ws):
    """What another tab has changed meanwhile is looked at again first."""
    *_, listed, _ = delete_card._show(ws, "sft-1", "keep")
    assert listed == ["sft-1"]
    said = delete_card._delete(ws, "sft-1", "delete", listed)[0]
    assert "has changed meanwhile" in said
    assert "Nothing was deleted" in delete_card._delete(ws, "sft-1", "keep", [])[0]
    deletion.delete(ws, ["sft-1@20"])
    assert (ws.runs / "sft-1" / "config.json").is_file()


def note_of(ws, name):
    found = stored.read(ws, checkpoints.get, name)
    return stored.read(ws, notes.of, [found.id]).get(found.id, Note())


def rows_of(page):
    return page.locator("#checkpoints tbody tr td:first-child a").all_inner_texts()


def test_a_note_tags_and_a_pin_are_written_in_the_dialog_and_survive_a_reload(ws, serve, visit):
    page = visit(serve(ws).url + "#models")
    open_dialog = page.get_by_label("Note, tags and pin of ppo-1@1", exact=True)
    open_dialog.click()
    dialog = page.locator("dialog.noting")
    expect(dialog.get_by_role("heading")).to_have_text("ppo-1@1")
    dialog.get_by_label("Note").fill(HOSTILE)
    dialog.get_by_label("Tags").fill("candidate, <b>bold</b>")
    dialog.get_by_label("Pinned").check()
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#checkpoints tr", has_text="ppo-1@1")).to_contain_text(HOSTILE)
    assert note_of(ws, "ppo-1@1") == Note(HOSTILE, ("candidate", "<b>bold</b>"), True)
    assert rows_of(page)[0] == "ppo-1@1", "pinned ones stand first"
    page.reload()
    expect(page.locator("#checkpoints tr", has_text="ppo-1@1")).to_contain_text("<b>bold</b>")
    assert page.evaluate("window.hacked") is None
    open_dialog.click()
    expect(dialog.get_by_label("Note")).to_have_value(HOSTILE)
    expect(dialog.get_by_label("Pinned")).to_be_checked()
    dialog.get_by_label("Tags").fill("x" * 41)
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("status")).to_contain_text("A tag has at most 40 characters")
    assert note_of(ws, "ppo-1@1").tags == ("candidate", "<b>bold</b>")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()


def test_another_checkpoint_is_handed_on_in_the_dialog_and_taken_back(ws, serve, visit):
    page = visit(serve(ws).url + "#models")
    dialog, box = page.locator("dialog.noting"), page.locator("dialog.noting").get_by_label("Handed on")

    def row(name):
        return page.locator("#checkpoints tr", has=page.get_by_role("link", name=name, exact=True))

    def look(name):
        page.get_by_label(f"Note, tags and pin of {name}", exact=True).click()
        expect(dialog.get_by_role("heading")).to_have_text(name)

    by_run = stored.read(ws, checkpoints.recorded, "ppo-1").name
    look(by_run)
    expect(box).to_be_checked()
    expect(box).to_be_disabled()
    dialog.get_by_role("button", name="Cancel").click()
    look("ppo-1@1")
    expect(box).not_to_be_checked()
    box.check()
    dialog.get_by_role("button", name="Save").click()
    expect(row("ppo-1@1")).to_contain_text("handed on by your choice")
    expect(row(by_run)).not_to_contain_text("handed on")
    assert stored.read(ws, checkpoints.recorded, "ppo-1").name == "ppo-1@1"
    page.reload()
    look("ppo-1@1")
    box.uncheck()
    dialog.get_by_role("button", name="Save").click()
    expect(row(by_run)).to_contain_text("handed on")
    assert stored.read(ws, checkpoints.recorded, "ppo-1").name == by_run


def test_a_request_that_is_no_note_is_refused(ws):
    for asked in (None, [], {"name": "ppo-1@1"}, {"name": "ppo-1@1", "note": 1, "tags": "", "is_pinned": False}):
        with pytest.raises(checkpoints.CheckpointError, match="Nothing was kept"):
            noting._keep(ws, asked)
    with pytest.raises(checkpoints.CheckpointError, match="There is no checkpoint named 'x'"):
        noting._keep(ws, {"name": "x", "note": "", "tags": "", "is_pinned": True, "is_handed_on": False})


def test_figures_that_belong_together_stand_below_each_other_in_a_table_of_their_stage(full_ws):
    found = stored.read(full_ws, checkpoints.list_all)
    drawn = table.draw(found, {c.id for c in found}, {found[0].id: Note(HOSTILE, (HOSTILE,))}, {})
    titles = re.findall(r"<h2>(.*?)</h2>", drawn)
    assert titles == ["PPO", "Reward models", "SFT"]
    heads = [re.findall(r"<th[^>]*>(.*?)</th>", each) for each in re.findall(r"<thead>(.*?)</thead>", drawn)]
    assert heads[0] == ["checkpoint", "held-out score", "size", "base model", "saved"]
    assert heads[1][1] == "held-out accuracy"
    assert heads[2][1] == "held-out loss", "perplexity, which none has, has no column"
    assert "1.21" in drawn.partition("Reward models")[0]
    assert "<script" not in drawn
    assert "<img" not in drawn


def test_two_checkpoints_are_compared_with_hostile_answers_shown_as_text(full_ws, serve, visit):
    with full_ws.write() as db:
        other = checkpoints.id_of(db, "ppo-2@40")
        one = checkpoints.id_of(db, "sft-1@60")
        for id_, text in ((one, "A plain answer."), (other, HOSTILE)):
            prompts.add_response(
                db, 1, text, "sample", is_first=False, checkpoint_id=id_, sampling='{"temperature": 1}'
            )
    page = visit(serve(full_ws).url + "#models")
    expect(page.locator("#checkpoints table")).to_have_count(3)
    page.get_by_text("Compare two checkpoints").click()
    for name, value in (("one", "sft-1@60"), ("other", "ppo-2")):
        field = page.locator(f"#compare-{name} input")
        field.fill(value)
        field.press("Enter")
    page.locator("#compare-start").click()
    compared = page.locator("#compared")
    expect(compared.get_by_role("heading", name="sft-1@60 → ppo-2@40")).to_be_visible()
    expect(compared.locator("tr", has_text="kl_coef")).to_contain_text("0.1")
    expect(compared.locator("tr", has_text="eval/score")).to_contain_text("1.21")
    expect(compared).to_contain_text("No suite has measured both.")
    expect(compared.locator(".sample", has_text="window.hacked = 1")).to_have_count(1)
    assert page.evaluate("window.hacked") is None
    page.locator("#compare-other input").fill("sft-1")
    page.locator("#compare-other input").press("Enter")
    page.locator("#compare-start").click()
    expect(compared).to_contain_text("sft-1@60 cannot be compared with itself")
