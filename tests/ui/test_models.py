"""The Models page: what a deletion would take is listed before it is pressed, and a box of the lineage opens its run."""

import re

import pytest
from playwright.sync_api import expect

from studio.models import checkpoints, deletion, disk
from studio.workspace import Workspace
from tests.support import stored
from tests.test_deletion import template as template  # a fixture
from tests.test_deletion import ws as ws  # another, which copies it
from ui.pages.models import delete_card

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
    expect(page.locator("#checkpoints")).to_contain_text(disk.words(disk.taken(checkpoints.get(ws, "sft-1@20").folder)))
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
        checkpoints.get(ws, "sft-1@20")


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
