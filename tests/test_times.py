"""Every time at the terminal says its zone, whatever the zone of the machine is."""

import os
import re
import subprocess

import pytest

from modules.config import SFTConfig
from studio.annotation import sessions
from studio.annotation.session_config import SessionConfig
from studio.workspace import Workspace
from tests.live_server import COMMAND, ROOT
from tests.support import stored
from tests.support.many import fill
from tests.ui import filling

TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(.{0,7})")


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    ws = Workspace.open(tmp_path_factory.mktemp("times") / "workspace")
    fill(ws, 12)
    stored.freeze(ws)
    stored.written(ws, sessions.start, SessionConfig())
    filling.add_run(ws, SFTConfig())
    return ws


@pytest.mark.parametrize("words", ["history", "history show 1", "snapshots", "session", "runs", "runs show sft-1"])
def test_a_time_at_the_terminal_has_a_zone(ws, words):
    done = subprocess.run(
        [*COMMAND, *words.split(), "--workspace", str(ws.root)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TZ": "Pacific/Auckland"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = list(TIME.finditer(done.stdout))
    if words != "session":
        assert found
    for match in found:
        is_said = match[1].startswith((" UTC", "+00:00"))
        assert is_said or "(UTC)" in done.stdout.splitlines()[0], match[0]
