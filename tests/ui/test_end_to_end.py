"""The loop in a real browser, with a real server and real workers: rate, train a reward model, kill the server, go on."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from modules.config import SFTConfig
from studio.models import checkpoints
from studio.preferences import ratings
from studio.runs import launcher, metrics, runs
from studio.workspace import Workspace
from tests.support import stored
from tests.support.waiting import until
from tests.ui import filling

pytestmark = pytest.mark.browser
PATIENCE_MS = 240_000
ROOT = Path(__file__).parents[2]


class Server:
    """`rlhf-studio ui` as a process of its own."""

    def __init__(self, ws: Workspace, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        command = [sys.executable, "-c", "from studio.cli import main; raise SystemExit(main())", "ui", "--no-browser"]
        self.process = subprocess.Popen(
            [*command, "--port", str(port), "--workspace", str(ws.root)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            cwd=ws.root,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert "RLHF Studio is at" in self.process.stdout.readline()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def has_torch(self) -> bool:
        """True if libtorch is mapped into the server's memory."""
        return "libtorch" in Path(f"/proc/{self.process.pid}/maps").read_text()


def is_set(page: Page, name: str, value: str) -> bool:
    """Type a setting of the reward model again where it was lost: Gradio sets fields a second time when they come into view."""
    field = page.locator(f"#reward-{name} input")
    if field.input_value() != value:
        field.fill(value)
        field.blur()
    return f"--set {name}={value}" in page.locator("#command-reward").inner_text()


@pytest.fixture
def sft_ws(ws: Workspace) -> Iterator[Workspace]:
    """A workspace with a small real SFT checkpoint and twelve pairs."""
    prompt_ids = filling.add_texts(ws, 12)
    run = launcher.start(ws, runs.create(ws, SFTConfig(epochs=1, lora_rank=4, batch_size=4, micro_batch_size=4)))
    wait_until_ended(ws, run.name)
    assert stored.read(ws, runs.get, run.name).state == "finished", runs.tail_log(ws, run.name)
    filling.add_pairs(ws, prompt_ids, run.name)
    yield ws
    for left in [run for run in stored.read(ws, runs.list_all) if not run.is_ended]:
        launcher.kill(ws, left.name)


def wait_until_ended(ws: Workspace, name: str) -> None:
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not stored.read(ws, runs.get, name).is_ended:
        assert time.monotonic() < deadline, f"{name} did not end"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.timeout(900)
def test_rate_train_restart_finish_and_try(sft_ws: Workspace, visit):
    ws, port = sft_ws, free_port()
    server = Server(ws, port)
    try:
        # 1. rate ten pairs by keys: ten rows
        page = visit(server.url + "#rate")
        page.set_default_timeout(PATIENCE_MS)
        for done in range(1, 11):
            page.locator(".rating[data-ready]").wait_for()
            page.keyboard.press("1" if done % 2 else "9")
            expect(page.locator("[data-part=tally]")).to_contain_text(f"{12 - done} to rate")
        events = stored.read(ws, ratings.list_events)
        assert [(e["outcome"], e["strength"]) for e in events] == [("left", 3), ("right", 2)] * 5

        # 2. start a reward model from the page, with enough steps to be interrupted
        page.goto(server.url + "#train/reward")
        page.locator("#reward-epochs input").fill("30")
        page.get_by_text("Steps and learning rates").locator("visible=true").click()
        for name in ("batch_size", "micro_batch_size"):
            until(lambda name=name: is_set(page, name, "2"), name)
        page.locator("#start-reward").click()
        expect(page.locator("#run-head h2")).to_have_text("reward-1")

        # 3. watch its curve; reload; kill the server while it trains, and start it again
        expect(page.locator("#run-curves polyline").first).to_be_visible(timeout=PATIENCE_MS)
        page.reload()
        expect(page.locator("#run-head h2")).to_have_text("reward-1")
        expect(page.locator("#run-curves polyline").first).to_be_visible(timeout=PATIENCE_MS)
        assert not server.has_torch
        before = stored.read(ws, metrics.cursor, stored.read(ws, runs.get, "reward-1").id)
        server.kill()
        assert stored.read(ws, runs.get, "reward-1").state == "running"
        server = Server(ws, port)
        wait_until_ended(ws, "reward-1")
        assert stored.read(ws, runs.get, "reward-1").state == "finished", runs.tail_log(ws, "reward-1")
        expect(page.locator("#run-head .badge")).to_have_text(
            "finished", timeout=PATIENCE_MS
        )  # the page found the new server by itself
        assert stored.read(ws, metrics.cursor, stored.read(ws, runs.get, "reward-1").id) > before
        assert len(stored.read(ws, ratings.list_events)) == 10

        # 4. the checkpoint is there; try the policy it judges
        assert stored.read(ws, checkpoints.newest, "reward") is not None
        page.goto(server.url + "#models")
        expect(page.locator("#checkpoints")).to_contain_text("reward-1@")
        page.locator("#try-prompt textarea").fill("Tell me the capital of Poland.")
        page.locator("#ask").click()
        expect(page.locator("#answer-first .words")).to_contain_text("Loading the model")
        expect(page.locator("#ask")).to_be_enabled(timeout=PATIENCE_MS)
        expect(page.locator("#answer-first h4")).to_contain_text("sft-1@")
        answer = page.locator("#answer-first .answer").inner_text().removeprefix("sft-1@").strip("0123456789 \n")
        assert answer, "what the model wrote, drawn or as it is, or that it wrote nothing"
        assert not server.has_torch
    finally:
        server.kill()
