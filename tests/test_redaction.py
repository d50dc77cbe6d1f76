"""Secrets of the environment: a whole loop with failing runs, after which none of them stands in any file or command line.

Real servers, workers and a hub of our own that says back what it was sent; the secrets are looked for byte by byte.
"""

import base64
import http.client
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from modules.config import PPOConfig, SampleConfig, SFTConfig
from studio import redaction
from studio.cli import main
from studio.datasets import archive, exporting, readers
from studio.errors import BaseModelError, ConfigError, ImportRefused
from studio.models import export
from studio.preferences import comparisons, prompts, ratings
from studio.runs import launcher, runs
from studio.workspace import Workspace
from tests.live_server import COMMAND, ROOT, LiveServer
from tests.support import stored, warm
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.timeout(900)
SECRETS = {
    "HF_TOKEN": "hf_ThisIsTheTokenOfTheHub4711",
    "OPENAI_API_KEY": "key with spaces/and+signs=4712",
    "WANDB_API_KEY": "wandb-0123456789abcdef-4713",
    "RLHF_STUDIO_PASSWORD": "open-sesame-4714",
}
TINY = {"lora_rank": 2, "batch_size": 4, "micro_batch_size": 4, "max_length": 64}
TALKATIVE = """
import os, sys, warnings
calls = []

class Gone(BaseException):
    pass

def score(prompts, responses):
    key = os.environ["OPENAI_API_KEY"]
    calls.append(key)
    print("asking with", key, flush=True)
    print(repr({"Authorization": "Bearer " + os.environ["HF_TOKEN"]}), file=sys.stderr, flush=True)
    warnings.warn(os.environ["WANDB_API_KEY"])
    if len(calls) > 2:
        raise Gone("no answer from https://me:" + os.environ["WANDB_API_KEY"] + "@judge.example/v1 for " + key)
    return [float(len(text)) for text in responses]

def refused(prompts, responses):
    raise RuntimeError("401: the key " + os.environ["OPENAI_API_KEY"] + " is not known")
"""


def spellings(secret):
    """How a secret can be written."""
    plain = secret.encode()
    return {plain, base64.b64encode(plain), urllib.parse.quote(secret, safe="").encode(), plain.hex().encode()}


def leaks(content):
    return sorted(name for name, secret in SECRETS.items() if any(spelt in content for spelt in spellings(secret)))


class Hub(BaseHTTPRequestHandler):
    """Answers everything by a refusal that repeats what was sent."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        sent = self.headers.get("Authorization", "")
        self.asked.append(sent)
        self.send_response(401)
        self.send_header("X-Error-Message", f"{sent} is not allowed to see {self.path}")
        self.end_headers()
        self.wfile.write(json.dumps({"error": f"Invalid: {sent}"}).encode())

    do_HEAD = do_POST = do_GET

    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="module")
def surroundings():
    """The environment of somebody who works with many services, in this process and its children."""
    hub = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        for name, secret in SECRETS.items():
            patch.setenv(name, secret)
        patch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    hub.shutdown()
    hub.server_close()


def ended(ws, *started):
    """Wait for these runs; they come back as they ended."""
    deadline = time.monotonic() + 300
    while True:
        launcher.reap(ws)
        found = [stored.read(ws, runs.get, run.name) for run in started]
        if all(run.is_ended for run in found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def told(ws, *arguments):
    """What a command says."""
    done = subprocess.run(
        [*COMMAND, *arguments, "--workspace", str(ws.root)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def log_in(server, password):
    """The status of the answer; a right password leads on to the page, which is not followed."""
    form = urllib.parse.urlencode({"password": password})
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    try:
        connection.request("POST", "/login", form, {"Content-Type": "application/x-www-form-urlencoded"})
        return connection.getresponse().status
    finally:
        connection.close()


def cmdline(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def environ(pid):
    return Path(f"/proc/{pid}/environ").read_bytes()


@pytest.fixture(scope="module")
def loop(tmp_path_factory, surroundings):
    """A workspace after a loop with failing runs, and what processes showed meanwhile: (workspace, runs, sights)."""
    ws = Workspace.open(tmp_path_factory.mktemp("secrets") / "workspace")
    for i in range(12):
        stored.written(
            ws, prompts.add_demonstration, [{"role": "user", "content": f"What is {i} plus 1?"}], f"It is {i + 1}."
        )
    (ws.rewards / "judge.py").write_text(TALKATIVE)
    server = LiveServer(ws, ws.root.parent / "server.txt")
    try:
        sft = launcher.start(ws, runs.create(ws, SFTConfig(**TINY, epochs=1)))
        hub = launcher.start(ws, runs.create(ws, SFTConfig(**TINY, base_model="someone/private")))
        sights = {
            "server": cmdline(server.process.pid),
            "worker": cmdline(sft.pid),
            "worker's environment": environ(sft.pid),
        }
        (trained,) = ended(ws, sft)
        ppo = PPOConfig(**TINY, iterations=3, minibatch_size=4, epochs=1, max_new_tokens=4, eval_every=100)
        more = [
            launcher.start(ws, runs.create(ws, ppo.model_copy(update={"rewards": f"function:judge.py:{name}"})))
            for name in ("score", "refused")
        ]
        found = [trained, *ended(ws, hub, *more)]
        with warm.starts():
            sample = runs.create(ws, SampleConfig(num_prompts=4, max_new_tokens=8, temperature=1.5))
            found += ended(ws, launcher.start(ws, sample))
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{server.wait().url}config", timeout=240)
        for password, status in ((SECRETS["RLHF_STUDIO_PASSWORD"] + "x", 401), (SECRETS["RLHF_STUDIO_PASSWORD"], 303)):
            assert log_in(server, password) == status
        sights["server at the end"] = cmdline(server.process.pid)
    finally:
        server.stop()
    while showing := stored.written(ws, comparisons.next_showing):
        stored.written(ws, ratings.record, showing.id, "left", strength=1)
    export.export_checkpoint(ws, trained.name)
    exporting.export_ratings(ws)
    archive.write(ws)
    return ws, dict(zip(("trained", "hub", "gone", "refused", "sampled"), found, strict=True)), sights


def test_what_fails_is_told_without_the_secret_that_it_names(loop):
    ws, found, _ = loop
    assert found["trained"].state == found["sampled"].state == "finished", found
    assert found["hub"].state == "failed"
    assert "someone/private is neither a folder here nor could it be fetched from the hub" in found["hub"].message
    assert f"Bearer {SECRETS['HF_TOKEN']}" in Hub.asked, "the worker logs in as the person"
    assert "RuntimeError: 401: the key [OPENAI_API_KEY] is not known" in found["refused"].message
    log = runs.tail_log(ws, found["gone"].name)
    assert "asking with [OPENAI_API_KEY]" in log
    assert "'Authorization': 'Bearer [HF_TOKEN]'" in log
    assert "UserWarning: [WANDB_API_KEY]" in log
    assert "Gone: no answer from https://[hidden]@judge.example/v1 for [OPENAI_API_KEY]" in log, "a traceback"
    assert found["gone"].state == "lost"


def test_no_file_of_the_workspace_holds_a_secret(loop):
    ws, found, _ = loop
    files = [path for path in (*ws.root.rglob("*"), ws.root.parent / "server.txt") if path.is_file()]
    kinds = {path.name for path in files}
    assert kinds > {"studio.db", "config.json", "log.txt", "README.md", "meta.json", "rewards.jsonl", "server.txt"}
    assert len(files) > 30
    assert {str(path): leaks(path.read_bytes()) for path in files if leaks(path.read_bytes())} == {}
    assert any(path.parent.parent == ws.exports for path in files), "an export with its card"
    # Once more as SQLite reads it, whatever pages the texts are spread over.
    dump = "\n".join(str(value) for rows in stored.tables(ws).values() for row in rows for value in row.values())
    assert found["refused"].message in dump
    assert leaks(dump.encode()) == []


def test_no_command_line_holds_a_secret_and_no_worker_knows_the_password(loop):
    _, _, sights = loop
    assert b"studio.worker" in sights["worker"]
    assert b"--no-browser" in sights["server"]
    assert {name: leaks(sight) for name, sight in sights.items() if name != "worker's environment"} == {
        "server": [],
        "worker": [],
        "server at the end": [],
    }
    assert "RLHF_STUDIO_PASSWORD" not in leaks(sights["worker's environment"])
    assert "HF_TOKEN" in leaks(sights["worker's environment"]), "it may log in"


def test_an_import_that_the_hub_refuses_is_told_without_the_token(loop):
    ws, *_ = loop
    asked = len(Hub.asked)
    said = told(ws, "import", "someone/private-data")
    assert "someone/private-data" in said
    assert len(Hub.asked) > asked
    assert leaks(said.encode()) == []


def test_a_password_that_nobody_can_be_asked_for_is_a_sentence(tmp_path):
    command = [sys.executable, "-c", "from studio.cli import main; raise SystemExit(main())", "ui", "--password"]
    asked = subprocess.run(
        [*command, "--workspace", str(tmp_path / "w")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert asked.returncode == 1
    assert f"Set {redaction.PASSWORD}" in asked.stderr
    assert "Traceback" not in asked.stderr


def test_a_password_on_the_command_line_is_refused_and_asked_for_without_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RLHF_STUDIO_PASSWORD", "of-the-environment")
    assert main(["ui", "--workspace", str(tmp_path), "--password", "on-the-line"]) == 1
    said = capsys.readouterr().err
    assert "can be read by every account of this machine" in said
    assert "on-the-line" not in said
    launched = []
    app = type(sys)("ui.app")
    app.launch = lambda ws, **options: launched.append(options["password"])
    monkeypatch.setitem(sys.modules, "ui.app", app)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "typed-4715")
    for arguments in (["--password"], []):
        assert main(["ui", "--workspace", str(tmp_path), *arguments]) == 0
    assert launched == ["typed-4715", "of-the-environment"]


# What is stored is looked at before.


@pytest.fixture
def ws(tmp_path):
    made = Workspace.open(tmp_path / "workspace")
    stored.written(made, prompts.add_demonstration, [{"role": "user", "content": "One?"}], "Two.")
    return made


@pytest.mark.parametrize(
    "name",
    [
        "https://me:s3cret-of-mine@huggingface.co/Qwen/Qwen3-0.6B",
        "https://s3cret-of-mine@host.example/model",
        "hf_s3cretOfMineWhichIsLonger",
        "s3cret-of-mine",
    ],
)
def test_a_setting_that_holds_a_secret_is_refused_before_it_is_stored(ws, monkeypatch, capsys, name):
    monkeypatch.setenv("MY_API_KEY", "s3cret-of-mine")
    with pytest.raises(ConfigError, match="base_model .* holds a password or a token, and settings are stored") as told:
        runs.create(ws, SFTConfig(base_model=name))
    assert "s3cret" not in str(told.value)
    assert main(["sft", "--workspace", str(ws.root), "--set", f"base_model={name}", "--detach"]) == 1
    assert "s3cret" not in capsys.readouterr().err
    assert stored.read(ws, runs.list_all) == []
    assert list(ws.runs.iterdir()) == []
    assert b"s3cret" not in b"".join(path.read_bytes() for path in ws.root.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("address", "instead"),
    [
        ("https://huggingface.co/Qwen/Qwen3-0.6B", "Give its hub id: Qwen/Qwen3-0.6B."),
        ("https://huggingface.co/Qwen/Qwen3-0.6B/tree/main", "Give its hub id: Qwen/Qwen3-0.6B."),
        ("https://host.example/model.git", "Download it and give the local path, or give a hub id such as Qwen/Qwen3-"),
        ("file:///models/mine", "Download it and give the local path"),
    ],
)
def test_an_address_in_the_place_of_a_model_or_of_data_is_told_what_to_give(ws, address, instead):
    with pytest.raises(BaseModelError) as told:
        runs.create(ws, SFTConfig(base_model=address))
    assert f"{address!r} is an address" in str(told.value)
    assert instead in str(told.value)
    data = address.replace(".co/", ".co/datasets/").replace("Qwen/Qwen3-0.6B", "someone/data")
    with pytest.raises(ImportRefused, match="is an address, and data is not read from addresses") as told:
        readers.read(data.replace("://", "://me:s3cret@"))
    assert "s3cret" not in str(told.value)
    assert ("someone/data." in str(told.value)) == ("huggingface" in address)


def test_words_that_only_look_like_secrets_stay(monkeypatch):
    for name, value in {
        "TOKENIZERS_PARALLELISM": "starting",
        "KEYBOARD_LAYOUT": "starting",
        "A_TOKEN": "true",
        "B_KEY": "",
    }.items():
        monkeypatch.setenv(name, value)
    text = "starting is true at http://127.0.0.1:7860/?a=me@example.org, sk-learn, hf_hub, user@host, bearer of news"
    assert redaction.redact(text) == text


def test_secrets_are_hidden_in_every_spelling(monkeypatch):
    monkeypatch.setenv("FIRST_TOKEN", "abcdefgh")
    monkeypatch.setenv("SECOND_TOKEN", "abcdefgh-and+more")
    monkeypatch.setenv("PRIVATE_KEY", "-----BEGIN\nMIIEvQIBADANBg\nAAAAshort\n")
    text = "abcdefgh abcdefgh-and+more abcdefgh-and%2Bmore MIIEvQIBADANBg Bearer eyJhbGciOi.e30 ghp_" + "a" * 36
    assert redaction.redact(text) == (
        "[FIRST_TOKEN] [SECOND_TOKEN] [SECOND_TOKEN] [PRIVATE_KEY] Bearer [hidden] [hidden]"
    )


def test_threads_of_children_sleep_while_they_wait_unless_the_person_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert redaction.child_environment()["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert redaction.child_environment()["OMP_WAIT_POLICY"] == "ACTIVE"
