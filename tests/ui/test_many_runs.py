"""With thousands of runs every page stays a page: fifty rows, found by a word, and one drawing for all tabs."""

import sqlite3
from contextlib import closing

import pytest
from playwright.sync_api import expect

from modules.config import STAGES, SFTConfig
from studio import next_step, page_reads
from studio.models import checkpoint_pages as some_checkpoints
from studio.models import checkpoints
from studio.page_reads import PAGE
from studio.runs import run_pages as some_runs
from studio.runs import runs
from studio.workspace import Workspace
from tests.support import stored
from ui.components import form, notifications, pager
from ui.pages.home import page
from ui.pages.models import page as models
from ui.pages.runs import page as runs_page

NUM = 2000
AT = "2026-06-01T10:00:00.000+00:00"


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Workspace:
    ws = Workspace.open(tmp_path_factory.mktemp("many"))
    config = SFTConfig(seed=1).model_dump_json()
    with closing(sqlite3.connect(ws.database)) as db, db:
        db.executemany(
            "INSERT INTO runs(id, name, stage, state, config, revision, message, progress, created_at, started_at, ended_at, gone_at)"
            " VALUES(?, ?, 'sft', 'finished', ?, 'abc', 'Saved.', 1.0, ?, ?, ?, ?)",
            ((n, f"sft-{n}", config, AT, AT, AT, AT) for n in range(1, NUM + 1)),
        )
        db.executemany(
            "INSERT INTO checkpoints(id, name, run_id, step, folder, base_model, base_fingerprint, metrics, created_at)"
            " VALUES(?, ?, ?, 13, ?, 'starter', 'x', '{}', ?)",
            ((n, f"sft-{n}@13", n, f"runs/sft-{n}/checkpoints/step-000013", AT) for n in range(1, NUM + 1)),
        )
    return ws


def test_no_page_draws_or_offers_more_than_a_page_of_runs(many):
    drawn = runs_page._refresh(many, "", "")
    assert drawn[0].count('class="run-row"') == PAGE
    assert "sft-2000" in drawn[0]
    tree, table, *pickers = models._refresh(many, *[None] * 5)[:7]
    assert table.count("<tr>") == PAGE + 1
    assert tree.count('class="node"') == PAGE
    assert all(len(picker.choices) == PAGE for picker in pickers)
    assert len(stored.read(many, form.choices, STAGES["ppo"], "sft_checkpoint")) == PAGE + 1
    assert len(notifications._now(many)) == notifications.NUM_ENDED
    assert len(page._now(many)[0]) < 20_000


def test_every_run_and_checkpoint_is_found_by_a_word_and_by_turning_pages(many):
    assert runs_page._refresh(many, "", "", None, "", "sft-777")[0].count('class="run-row"') == 1
    assert [c.name for c in stored.read(many, some_checkpoints.page, search=" SFT-1234@ ")] == ["sft-1234@13"]
    assert [run.name for run in stored.read(many, some_runs.page, offset=NUM - 2)] == ["sft-2", "sft-1"]
    last = runs_page._refresh(many, "", "", None, "", "", NUM - 2)[0]
    assert last.count('class="run-row"') == 2
    assert "Nothing found" in runs_page._refresh(many, "", "", None, "", "%' OR 1=1 --")[0]
    assert pager.place("x") == pager.place(-5) == pager.place(float("nan")) == 0


@pytest.mark.browser
def test_a_search_that_finds_nothing_keeps_its_field(many, serve, visit):
    page = visit(serve(many).url + "#runs")
    search = page.locator("#page-runs").get_by_placeholder("Search the runs")
    search.fill("nowhere")
    search.press("Enter")
    expect(page.locator("#run-list")).to_contain_text("No run has “nowhere” in its name or state.")
    search.fill("sft-777")
    search.press("Enter")
    expect(page.locator("#run-list .run-row")).to_have_count(1)


def test_a_run_beyond_the_first_page_can_be_shown_and_its_checkpoint_stays_chosen(many):
    assert "sft-3" in runs_page._refresh(many, "sft-3", "")[1]
    picked = models._refresh(many, "sft-3@13", "sft-9999@1", None, None, None)
    assert "value" not in picked[2].constructor_args, "what was chosen stays, also what was chosen meanwhile"
    assert ("sft-3@13", "sft-3@13") in picked[2].choices
    assert picked[3].value == "sft-1999@13"
    kept, gone = form.refreshed(many, SFTConfig, {"checkpoint": "sft-3@13", "opponent": "sft-9999@1"})
    assert "value" not in kept.constructor_args
    assert ("sft-3@13", "sft-3@13") in kept.choices
    assert gone.constructor_args["value"] == ""


def test_some_of_the_runs_are_the_same_as_those_among_all(full_ws):
    everything = stored.read(full_ws, runs.list_all)
    assert stored.read(full_ws, some_runs.page) == everything
    assert stored.read(full_ws, some_runs.at_work) == [run for run in everything if not run.is_ended]
    assert stored.read(full_ws, some_checkpoints.page) == stored.read(full_ws, checkpoints.list_all)
    for stage in ("sft", "reward", "ppo"):
        found = stored.read(full_ws, checkpoints.list_all, stage)
        assert stored.read(full_ws, some_checkpoints.page, stage) == found
        assert stored.read(full_ws, checkpoints.newest, stage) == next(
            (c for c in stored.read(full_ws, checkpoints.list_all, stage, is_newest_of_run=True)), None
        )
    counted = {
        s.key: s.count for s in stored.read(full_ws, next_step.status).stations if s.key in ("sft", "reward", "ppo")
    }
    assert counted == {stage: sum(r.stage == stage and r.is_ended for r in everything) for stage in counted}


def test_tabs_share_one_answer_until_the_database_changes_or_a_while_has_passed(ws):
    now, made = [0.0], []
    answers = page_reads.Shared(3.0, lambda: now[0])

    def ask(key: str = "home") -> int:
        return answers.get(ws, key, lambda: made.append(key) or len(made))

    assert [ask() for _ in range(50)] == [1] * 50
    assert ask("runs") == 2
    with ws.write() as db:
        db.execute("CREATE TABLE of_a_test(a)")
    assert ask() == 3
    assert ask() == 3
    now[0] += 3.1
    assert ask() == 4
    for n in range(3 * page_reads.MAX_ANSWERS):
        ask(f"run-{n}")
    assert len(answers._answers) == page_reads.MAX_ANSWERS


def test_an_answer_is_not_kept_when_the_database_is_another_file_or_gone(ws, tmp_path):
    answers = page_reads.Shared(3600.0)
    made = []

    def ask() -> int:
        return answers.get(ws, "home", lambda: made.append(1) or len(made))

    assert (ask(), ask()) == (1, 1)
    other = Workspace.open(tmp_path / "other")
    other.database.replace(ws.database)
    assert ask() == 2
    ws.database.unlink()
    assert (ask(), ask()) == (3, 4)
