"""Preflight, launch and the log in a browser, as a person goes through them."""

import pytest
from playwright.sync_api import expect

from studio import fitting, launcher, runs
from tests.ui import filling

pytestmark = pytest.mark.browser
GIB = 2**30


def test_preflight_estimate_probe_and_launch(ws, serve, visit, monkeypatch):
    filling.add_texts(ws)
    monkeypatch.setattr(launcher, "start", lambda ws, run: run)
    page = visit(serve(ws).url + "#train/sft")
    page.locator("#fit-sft").click()
    expect(page.locator("#fitted-sft .notice")).to_contain_text("It fits: about")
    names = page.locator("#fitted-sft .stack-names li").all_inner_texts()
    assert [name.split()[0] for name in names][:4] == ["weights", "adapters", "gradients", "optimizer"]
    figures = {"peak": GIB / 4, "libraries": GIB / 2, "seconds_per_step": 2.0, "num_steps": 90.0}
    monkeypatch.setattr(fitting, "_probe_once", lambda ws, config: figures | {"micro": config.micro_batch_size})
    page.locator("#probe-sft").click()
    expect(page.locator("#fitted-sft .stack-names li")).to_have_text(["this run 256 MiB", "libraries 512 MiB"])
    expect(page.locator("#fitted-sft")).to_contain_text(
        "the whole batch fits at once. The whole run takes about 3 min."
    )
    page.locator("#start-sft").click()
    expect(page.locator("#run-head h2")).to_have_text("sft-1")
    assert [run.name for run in runs.list_all(ws)] == ["sft-1"]
    page.reload()
    expect(page.locator("#run-head h2")).to_have_text("sft-1")


def test_the_log_is_searched_in_the_page(full_ws, serve, visit):
    page = visit(serve(full_ws).url + "#runs/ppo-2")
    page.get_by_role("tab", name="Log").click()
    page.locator("#log-search :is(input,textarea)").fill("ITERATION")
    expect(page.locator("#log-found mark")).to_have_text(["iteration"])
    expect(page.locator("#log-found")).to_contain_text("1 of the last 3 lines hold it.")
