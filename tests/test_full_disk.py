"""A disk that is really full, or really read-only: what the person is told, and that nothing is half written.

A disk is filled to the last byte (a small one, a tmpfs, where mounting is allowed), or stood for by a limit on the size of
files (RLIMIT_FSIZE), which the kernel refuses writes by as well. A rating and an export meet both, wherever both can be had.
"""

import json
import os
import resource
import shutil
import subprocess
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from modules.config import SFTConfig
from studio.datasets import exporting
from studio.models import checkpoints
from studio.preferences import prompts, ratings
from studio.runs import launcher, runs
from studio.workspace import Workspace
from tests.live_server import COMMAND, ROOT, LiveServer
from tests.support import stored, warm
from tests.support.waiting import until as wait
from tests.ui import filling

pytestmark = pytest.mark.timeout(900)
DISK_MIB = 16
NO_LIMIT = resource.RLIM_INFINITY
LONG = SFTConfig(
    lora_rank=2,
    batch_size=4,
    micro_batch_size=4,
    max_length=64,
    epochs=500,
    save_every=2,
    eval_every=10**6,
    eval_samples=0,
)
BLOCK = 4096


@pytest.fixture(autouse=True)
def quick_starts():
    with warm.starts():
        yield


def mounted(folder, options):
    """Whether a small disk could be mounted there."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0 if shutil.which("mount") else False


class Disk:
    """A small disk that can be filled and emptied."""

    def __init__(self, root: Path) -> None:
        self.root, self._ballast = root, root / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Take all room but so many bytes."""
        with self._ballast.open("wb", buffering=0) as file:
            with suppress(OSError):  # no space left on device
                while file.write(bytes(BLOCK)):
                    pass
            file.truncate(max(0, file.tell() - leave))

    def empty(self) -> None:
        self._ballast.unlink(missing_ok=True)


@pytest.fixture(params=["disk", "limit"])
def disk(request, tmp_path):
    """A disk, or None where a limit stands for it; the workspace goes to `disk.root` or next to it."""
    is_mounted = request.param != "limit" and mounted(tmp_path / "disk", f"size={DISK_MIB}m")
    if request.param == "limit" or (request.param == "either" and not is_mounted):
        yield None
        return
    if not is_mounted:
        pytest.skip("no disk can be mounted here; the same test with a limit runs everywhere")
    try:
        yield Disk(tmp_path / "disk")
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path / "disk")], check=True)


on_either = pytest.mark.parametrize("disk", ["either"], indirect=True)
"""Of those that meet the limit where the two that are made twice meet it: on a disk, and by a limit where none can be mounted."""


@pytest.fixture
def ws(disk, tmp_path):
    made = Workspace.open((disk.root if disk else tmp_path) / "workspace")
    filling.add_texts(made, 8)
    yield made
    if disk:
        disk.empty()
    for run in stored.read(made, runs.list_all):
        launcher.kill(made, run.name)


@contextmanager
def full(disk, pid):
    """No room for this process: on its disk, or by its limit."""
    if disk:
        disk.fill()
    else:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, NO_LIMIT))
    try:
        yield
    finally:
        if disk:
            disk.empty()
        else:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (NO_LIMIT, NO_LIMIT))


def has_nothing_to_do(pid):
    """Whether a process sleeps at each of many looks; one that computes, or waits for the disk, does not, also on a busy machine."""
    for _ in range(40):
        if psutil.Process(pid).status() != psutil.STATUS_SLEEPING:
            return False
        time.sleep(0.02)
    return True


def command(ws, *arguments, limit=NO_LIMIT, prefix=()):
    """What a command line answers: exit code, output, errors."""
    done = subprocess.run(
        [*prefix, *COMMAND, *arguments, "--workspace", str(ws.root)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, NO_LIMIT)),
    )
    return done.returncode, done.stdout, done.stderr


def cause(disk):
    return "the disk is full. Free some space" if disk else "a limit (ulimit -f)"


def test_a_rating_that_has_no_room_is_not_called_recorded_and_is_recorded_once_when_it_has(disk, ws, tmp_path):
    sft = filling.add_run(ws, SFTConfig())
    ids = [row["id"] for row in stored.read(ws, prompts.list_prompts)]
    filling.add_pairs(ws, ids, filling.add_checkpoint(ws, sft), run=sft)
    server = LiveServer(ws, tmp_path / "server.txt")
    try:
        shown = server.wait().ask("rate", "open_items", {})["items"]
        press = {"uuid": str(uuid.uuid4()), "showing": shown[0]["id"], "outcome": "left", "elapsed_ms": 400}
        with full(disk, server.process.pid):
            answer = server.ask("rate", "record", press)
            assert cause(disk) in answer["error"]
            assert "recorded" not in answer
            assert server.ask("rate", "open_items", {})["items"] == shown, "what is there is shown, also now"
            again = server.ask("rate", "record", press)
            assert "recorded" not in again
        assert stored.read(ws, ratings.list_events) == []
        for _ in range(2):  # the page sends it again until it is answered
            assert server.ask("rate", "record", press)["recorded"] == "left better"
        assert [event["uuid"] for event in stored.read(ws, ratings.list_events)] == [press["uuid"]]
    finally:
        server.stop()


@on_either
def test_a_run_whose_disk_becomes_full_says_so_once_it_can_and_its_checkpoint_is_whole(disk, ws):
    run = launcher.start(ws, runs.create(ws, LONG))
    wait(
        lambda: (
            any(c.run_id == run.id for c in stored.read(ws, checkpoints.list_all))
            or stored.read(ws, runs.get, run.name).is_ended
        )
    )
    with ws.kept_open(), full(disk, run.pid):
        wait(lambda: has_nothing_to_do(run.pid))  # it has given up, and waits to say so
        assert stored.read(ws, runs.get, run.name).state == "running", "its last word has no room yet"
    wait(lambda: stored.read(ws, runs.get, run.name).is_ended)
    ended, last = stored.read(ws, runs.get, run.name), stored.read(ws, checkpoints.last, run.name)
    assert ended.state == "failed"
    assert cause(disk) in ended.message or "The disk is full" in ended.message or "ulimit -f" in ended.message
    assert f"Resume continues from {last.name}" in ended.message
    left = sorted(path.name for path in (runs.folder(ws, run.name) / "checkpoints").iterdir())
    known = sorted(c.folder.name for c in stored.read(ws, checkpoints.list_all) if c.run_id == run.id)
    assert left == known, "no half of another one"
    again = launcher.start(ws, runs.resume(ws, run.name))
    wait(lambda: stored.read(ws, runs.get, again.name).progress > 0 or stored.read(ws, runs.get, again.name).is_ended)
    assert stored.read(ws, runs.get, again.name).state == "running", stored.read(ws, runs.get, again.name).message


def test_a_log_that_has_no_room_keeps_no_run_from_its_last_word(tmp_path):
    """/dev/full refuses every byte, as a full disk does; the run wants to log a traceback."""
    ws = Workspace.open(tmp_path / "workspace")
    filling.add_texts(ws, 8)
    run = runs.create(ws, LONG)
    (runs.folder(ws, run.name) / "data" / "train.jsonl").write_text('{"broken')
    (runs.folder(ws, run.name) / "log.txt").symlink_to("/dev/full")
    run = launcher.start(ws, run)
    wait(lambda: not launcher.is_alive(run))
    launcher.reap(ws)
    ended = stored.read(ws, runs.get, run.name)
    assert ended.state == "failed"
    assert ended.message.startswith("Unexpected JSONDecodeError: ")


def test_an_export_that_has_no_room_is_said_and_leaves_nothing(disk, ws):
    with ws.write() as db:
        for n in range(300):
            prompt = prompts.add_prompt(db, prompts.NewPrompt([{"role": "user", "content": f"{n}" + "long " * 300}]))
            prompts.add_response(db, prompt, "An answer. " * 100, "demonstration")
    whole = exporting.export_demonstrations(ws)
    size, before = whole.stat().st_size, whole.read_bytes()
    assert size > 500_000
    if disk:
        disk.fill(leave=size // 2)
    code, _, said = command(ws, "export", "demonstrations", limit=NO_LIMIT if disk else size // 2)
    assert code == 1
    assert f"The export {whole.name} could not be written: " in said
    assert "Free some space and try again." in said
    assert [path.name for path in ws.exports.iterdir()] == [whole.name]
    assert whole.read_bytes() == before, "the export of before is whole"


@on_either
def test_an_import_that_has_no_room_is_said_and_brings_nothing_in(disk, ws, tmp_path):
    rows = [{"prompt": f"Question {n} " + "and so on " * 100, "response": "Certainly. " * 100} for n in range(1200)]
    file = tmp_path / "many.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert file.stat().st_size > 2_000_000
    before = stored.read(ws, prompts.counts)
    if disk:
        disk.fill(leave=1_000_000)
    code, _, said = command(ws, "import", str(file), limit=NO_LIMIT if disk else 1_000_000)
    assert code == 1
    assert cause(disk) in said
    assert said.count("\n") == 1, "a sentence and no traceback"
    assert stored.read(ws, prompts.counts) == before
    if disk:
        disk.empty()
    assert command(ws, "import", str(file))[0] == 0
    assert stored.read(ws, prompts.counts)["demonstrations"] == before["demonstrations"] + len(rows)


@on_either
def test_a_workspace_on_a_full_disk_is_told_as_full_at_start(disk, ws):
    if disk:
        disk.fill()
    limit = NO_LIMIT if disk else 1
    for arguments in (["runs"], ["ui", "--no-browser"], ["history"]):
        code, said, error = command(ws, *arguments, limit=limit)
        assert (code, said) == (1, "")
        assert cause(disk) in error
        assert error.count("\n") == 1, "a sentence and no traceback"


# Read-only.


@pytest.fixture(params=["mount", "permissions"])
def read_only(request, tmp_path):
    """A workspace that cannot be written, and what stands before a command to lack root's right to do so all the same."""
    folder = tmp_path / "disk"
    if request.param == "mount":
        if not mounted(folder, f"size={DISK_MIB}m"):
            pytest.skip("no disk can be mounted here; the same test with permissions runs everywhere")
        try:
            made = Workspace.open(folder / "workspace")
            filling.add_texts(made, 4)
            subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
            yield made, ()
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        return
    made = Workspace.open(folder / "workspace")
    filling.add_texts(made, 4)
    paths = [made.root, *made.root.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield made, ("setpriv", "--inh-caps=-all", "--bounding-set=-all") if os.geteuid() == 0 else ()
    for path in paths:
        path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.parametrize(
    "arguments", [["ui", "--no-browser"], ["runs"], ["sft"], ["rate"], ["export", "ratings"], ["import", "FILE"]]
)
def test_a_workspace_that_cannot_be_written_is_told_in_a_sentence(read_only, tmp_path, arguments):
    ws, prefix = read_only
    (tmp_path / "one.jsonl").write_text('{"prompt": "One?", "response": "Two."}\n')
    named = [str(tmp_path / "one.jsonl") if word == "FILE" else word for word in arguments]
    before = {path: path.stat().st_mtime_ns for path in ws.root.rglob("*")}
    code, said, error = command(ws, *named, prefix=prefix)
    assert (code, said) == (1, ""), error
    assert "studio.db cannot be written: its disk or its folder is read-only" in error or (
        "studio.db cannot be opened. Check that its folder is there and that you may write to it." in error
    )
    assert error.count("\n") == 1, "a sentence and no traceback"
    assert {path: path.stat().st_mtime_ns for path in ws.root.rglob("*")} == before


def test_a_folder_in_which_no_workspace_can_be_made_is_told_in_a_sentence(read_only):
    ws, prefix = read_only
    code, _, error = command(Workspace(ws.root / "new"), "ui", "--no-browser", prefix=prefix)
    assert code == 1
    assert error.startswith(f"The workspace folder {ws.root / 'new'} cannot be created: ")
    assert error.count("\n") == 1
