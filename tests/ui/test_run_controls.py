"""The queue, both stops, a restart in mid-run and a resume, from the page, with real workers."""

import os
import re
import signal
from contextlib import suppress

import pytest
from playwright.sync_api import Error, expect

from modules.config import PPOConfig, SFTConfig
from studio.models import checkpoints
from studio.runs import launcher, metrics, processes, runs, steering
from tests.support import stored
from tests.support.waiting import until as wait_for
from tests.ui import filling
from tests.ui.test_end_to_end import Server, free_port

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
LONG = SFTConfig(lora_rank=2, batch_size=4, micro_batch_size=4, max_length=64, eval_samples=0, epochs=500, save_every=2, eval_every=10**6)  # fmt: skip
PATIENCE_MS = 90_000


@pytest.fixture
def long_ws(ws):
    """Texts to learn from; at the end no worker is left."""
    filling.add_texts(ws, 8)
    yield ws
    for run in stored.read(ws, runs.list_all):
        launcher.kill(ws, run.name)


def left_of(ws, name):
    run = stored.read(ws, runs.get, name)
    return processes.family(runs.claim(ws, run))


def says(page, name):
    """What the list says of a run."""
    return page.locator(f'#run-list a[href="#runs/{name}"]')


def show(page, name):
    says(page, name).click()
    expect(page.locator("#run-head h2")).to_have_text(name)


def test_the_queue_is_moved_held_and_cancelled_and_both_stops_leave_nothing_behind(long_ws, serve, visit):
    ws = long_ws
    for _ in range(3):
        launcher.start(ws, runs.create(ws, LONG))
    page = visit(serve(ws).url + "#runs/sft-3")
    page.set_default_timeout(PATIENCE_MS)
    expect(page.locator("#run-head h2")).to_have_text("sft-3")
    expect(says(page, "sft-1").locator(".badge")).to_have_text("running", timeout=PATIENCE_MS)

    # 1. order, hold, cancel
    expect(says(page, "sft-3")).to_contain_text("2 of 2 in the queue", timeout=PATIENCE_MS)
    page.locator("#run-earlier").click()
    expect(says(page, "sft-3")).to_contain_text("1 of 2 in the queue")
    page.locator("#run-pause").click()
    expect(says(page, "sft-3")).to_contain_text("held")
    expect(page.locator("#run-pause")).to_have_text("Continue")
    page.locator("#run-pause").click()
    expect(says(page, "sft-3")).not_to_contain_text("held")
    show(page, "sft-2")
    expect(page.locator("#run-stop")).to_have_text("Cancel")
    page.locator("#run-stop").click()
    expect(page.locator("#run-head .badge")).to_have_text("stopped", timeout=PATIENCE_MS)
    assert left_of(ws, "sft-2") == set()

    # 2. pause a running one, let it go on, let it finish its step and save
    show(page, "sft-1")
    expect(page.locator("#run-head")).to_contain_text(" of 1000", timeout=PATIENCE_MS)
    page.locator("#run-pause").click()
    expect(page.locator("#run-head")).to_contain_text("paused after step", timeout=PATIENCE_MS)
    paused_at = stored.read(ws, checkpoints.last, "sft-1").step
    page.locator("#run-pause").click()
    expect(page.locator("#run-head")).not_to_contain_text("paused", timeout=PATIENCE_MS)
    gone_on = re.compile(rf"step (?!{paused_at} )\d+ of 1000")
    wait_for(lambda: gone_on.match(stored.read(ws, runs.get, "sft-1").progress_text), "a step after the pause")
    page.locator("#run-stop").click()
    expect(page.locator("#run-head .badge")).to_have_text("stopped", timeout=PATIENCE_MS)
    assert left_of(ws, "sft-1") == set(), "the page says so only now"
    last = stored.read(ws, checkpoints.last, "sft-1")
    assert last.step > paused_at
    expect(page.locator("#run-head")).to_contain_text(f"Stopped and saved as {last.name}")

    # 3. the next one took its turn; kill it
    show(page, "sft-3")
    expect(page.locator("#run-head .badge")).to_have_text("running", timeout=PATIENCE_MS)
    page.locator("#run-kill").click()
    expect(page.locator("#run-head .badge")).to_have_text("stopped", timeout=PATIENCE_MS)
    assert left_of(ws, "sft-3") == set()
    expect(page.locator("#run-head")).to_contain_text("Killed: its process is gone.")


def reload(page):
    """Reload the page after its server was started again; it may be doing so itself just then (`static/rate/send.js`)."""
    try:
        page.reload()
    except Error as error:
        if "ERR_ABORTED" not in str(error):
            raise
        page.wait_for_load_state()


def test_a_run_outlives_its_server_and_one_that_does_not_is_resumed_from_a_chosen_checkpoint(long_ws, visit):
    ws, port = long_ws, free_port()
    run = launcher.start(ws, runs.create(ws, LONG))
    server = Server(ws, port)
    try:
        page = visit(server.url + "#runs")
        page.set_default_timeout(PATIENCE_MS)
        expect(page.locator("#run-head")).to_contain_text(" of 1000", timeout=PATIENCE_MS)
        server.kill()
        assert launcher.is_alive(stored.read(ws, runs.get, run.name))
        server = Server(ws, port)
        reload(page)
        expect(page.locator("#run-head .badge")).to_have_text("running")
        server.kill()
        os.killpg(stored.read(ws, runs.get, run.name).pid, signal.SIGKILL)
        wait_for(lambda: not launcher.is_alive(stored.read(ws, runs.get, run.name)), "its death")
        server = Server(ws, port)
        reload(page)
        expect(page.locator("#run-head .badge")).to_have_text("lost", timeout=PATIENCE_MS)
        last = stored.read(
            ws, checkpoints.last, run.name
        )  # it may have been killed before its newest one was in the database
        expect(page.locator("#run-head")).to_contain_text(f"Resume continues from {last.name}")
        said = says(page, run.name).locator(".said")
        assert said.evaluate("e => e.scrollWidth <= e.clientWidth && e.scrollHeight <= e.clientHeight + 1"), "clipped"
        option = page.get_by_role("option", name=f"from {run.name}@2", exact=True)

        def is_chosen() -> bool:
            """Opened again where a look at the run, which has just been found lost, has closed the list."""
            if not option.is_visible():
                page.locator("#run-origin input").click()
            with suppress(Error):
                option.click(timeout=5000)
            return page.locator("#run-origin input").input_value() == f"from {run.name}@2"

        wait_for(is_chosen, "the chosen checkpoint")
        page.locator("#run-resume").click()
        expect(page.locator("#run-head h2")).to_have_text("sft-2", timeout=PATIENCE_MS)
        expect(page.locator("#run-head")).to_contain_text(f"continues {run.name}@2")
        assert stored.read(ws, checkpoints.name_of, stored.read(ws, runs.get, "sft-2").resumed_from) == f"{run.name}@2"
        expect(page.locator("#run-head .badge")).to_have_text("running", timeout=PATIENCE_MS)
    finally:
        server.kill()


def test_a_run_is_given_more_iterations_and_another_price_and_the_page_says_so_before_it_starts(
    full_ws, serve, visit, monkeypatch
):
    ws = full_ws
    monkeypatch.setattr(launcher, "start", lambda ws, run: run)
    filling.add_checkpoint(ws, stored.read(ws, runs.get, "ppo-1"), 100)
    page = visit(serve(ws).url + "#runs/ppo-1")
    expect(page.locator("#run-head h2")).to_have_text("ppo-1")
    typed, said = page.locator("#run-other :is(input, textarea)"), page.locator("#run-differs")
    iterations = stored.read(ws, runs.get, "ppo-1").config.model_dump()["iterations"]
    typed.fill("iterations=300, lora_rank=64")
    expect(said).to_contain_text("lora_rank cannot change on a resume")
    typed.fill("iterations=300, kl_coef=0.25")
    expect(said).to_contain_text(f"iterations {iterations} -> 300; kl_coef")
    page.locator("#run-resume").click()
    expect(page.locator("#run-head h2")).to_have_text("ppo-3")
    expect(page.locator("#run-head")).to_contain_text(f"with iterations {iterations} -> 300, kl_coef 0.05 -> 0.25")
    expect(typed).to_be_hidden()  # the new run waits, and has nothing yet to be resumed from
    show(page, "ppo-1")
    expect(typed).to_have_value("")
    expect(said).to_have_text("")
    assert stored.read(ws, runs.get, "ppo-3").config.model_dump()["kl_coef"] == 0.25


def test_a_link_to_the_run_before_opens_it_also_where_the_address_does_not_name_the_new_one_yet(
    full_ws, serve, visit, monkeypatch
):
    monkeypatch.setattr(launcher, "start", lambda ws, run: run)
    filling.add_checkpoint(full_ws, stored.read(full_ws, runs.get, "ppo-1"), 100)
    page = visit(serve(full_ws).url + "#runs/ppo-1")
    expect(page.locator("#run-head h2")).to_have_text("ppo-1")
    page.evaluate("window.studio.chosen = () => {}")  # as if it were still on its way
    page.locator("#run-resume").click()
    expect(page.locator("#run-head h2")).to_have_text("ppo-3")
    assert page.evaluate("window.studio.address()") == "runs/ppo-1"
    show(page, "ppo-1")


def test_a_running_ppo_run_is_given_another_price_which_its_curves_then_show(full_ws, serve, visit, monkeypatch):
    monkeypatch.setattr(launcher, "is_alive", lambda run: True)
    run = filling.add_run(full_ws, PPOConfig(), "running", "at 0.4")
    with full_ws.write() as db:
        for step in range(1, 9):
            metrics.add(db, run.id, step, {"objective/kl": step / 3})
    page = visit(serve(full_ws).url + f"#runs/{run.name}")
    field, told = page.locator("#run-other :is(input, textarea)"), page.locator("#run-differs")
    expect(field).to_have_attribute("placeholder", "change while it goes on: kl_coef=0.1")
    for typed, said in (
        ("kl_coef=-1", "is not possible"),
        ("iterations=9", "cannot change while a run goes on"),
        ("kl_coef=0.1", "It would change: kl_coef 0.05 -> 0.1."),
    ):
        field.fill(typed)
        expect(told).to_contain_text(said)
    page.get_by_role("button", name="Change it now").click()
    expect(told).to_contain_text(f"{run.name} goes on with kl_coef 0.05 -> 0.1, from its next iteration on.")
    expect(field).to_have_value("")
    assert [str(each) for each in stored.read(full_ws, steering.of_run, run.id)] == [
        "kl_coef 0.1 from the next iteration on"
    ]
    assert stored.written(full_ws, steering.take, run.id, 5) == {"kl_coef": 0.1}
    page.reload()
    expect(page.locator("#run-curves .chart[data-title=kl] .mark title")).to_have_text(
        "kl_coef 0.1 from iteration 6 on"
    )
    stored.written(full_ws, runs.move, run.id, "stopped")
    page.reload()
    expect(page.locator("#run-steer")).to_be_hidden()
