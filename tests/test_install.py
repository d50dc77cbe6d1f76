"""What `make run` installs: a half-made environment is made again, a driver chooses the build of torch, uv is used if there.

The program runs as a process of its own in a copy of the repository's head. pip, uv and nvidia-smi are stand-ins that
write down how they were called; `venv` is Python's own, without pip.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from assets.install import torch_build
from tests.support import waiting

ROOT = Path(__file__).parent.parent
VENV = """
import os, sys, time
os.makedirs(sys.argv[1] + "/lib", exist_ok=True)
if os.environ.get("HANG_IN") == "venv":
    open(sys.argv[1] + "/lib/half", "w").close()
    time.sleep(600)
sys.path = [place for place in sys.path if "stand_ins" not in place]
del sys.modules["venv"]
import venv
venv.main(["--without-pip", *sys.argv[1:]])
"""
PIP = """
import json, os, sys, time
if sys.argv[1] == "config":
    sys.exit(print(os.environ.get("PIP_SETTINGS", "")))
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps(["pip", *sys.argv[2:], "index: " + os.environ.get("PIP_INDEX_URL", "")]) + "\\n")
if os.environ.get("HANG_IN") == "pip":
    open(".venv/lib/half", "w").close()
    time.sleep(600)
refused = os.environ.get("REFUSED")
sys.exit(bool(refused) and any(refused in argument for argument in sys.argv))
"""
UV = """#!{python}
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps(["uv", *sys.argv[1:], "index: " + os.environ.get("UV_DEFAULT_INDEX", "")]) + "\\n")
sys.exit(bool(os.environ.get("UV_FAILS")))
"""
SMI = """#!/bin/sh
[ "$1" ] && printf '{cards}' || echo '| NVIDIA-SMI 1 Driver Version: 1 CUDA {kind}Version: {cuda} |'
"""


class Copy(SimpleNamespace):
    """A copy of what an install needs, and how the program is started there."""

    root: Path
    variables: dict[str, str]

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "assets.install", *arguments],
            cwd=self.root, env=self.variables | variables, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def kill(self, part: str, is_there: Callable[[], bool]) -> None:
        """Start it so that it hangs in a part, and kill all of it there."""
        command = [sys.executable, "-m", "assets.install"]
        hanging = subprocess.Popen(
            command, cwd=self.root, env=self.variables | {"HANG_IN": part}, start_new_session=True, stdout=subprocess.DEVNULL
        )  # fmt: skip
        waiting.until(is_there, f"the install hangs in {part}")
        os.killpg(hanging.pid, signal.SIGKILL)
        hanging.wait()

    def calls(self) -> list[str]:
        place = Path(self.variables["CALLS"])
        calls = [" ".join(json.loads(line)) for line in place.read_text().splitlines()] if place.exists() else []
        place.unlink(missing_ok=True)
        return calls

    def has(self, name: str, text: str) -> None:
        place = self.root.parent / "bin" / name
        place.write_text(text)
        place.chmod(0o755)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    root = tmp_path / "studio"
    shutil.copytree(ROOT / "assets" / "install", root / "assets" / "install")
    for name in ("assets/__init__.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root / name)
    for name, text in (("venv", VENV), ("pip", PIP)):
        (tmp_path / "stand_ins" / name).mkdir(parents=True)
        (tmp_path / "stand_ins" / name / "__init__.py").touch()
        (tmp_path / "stand_ins" / name / "__main__.py").write_text(text)
    (tmp_path / "bin").mkdir()
    variables = {
        "PATH": str(tmp_path / "bin"),
        "PYTHONPATH": str(tmp_path / "stand_ins"),
        "CALLS": str(tmp_path / "calls"),
    }
    return Copy(root=root, variables=variables)


def test_the_first_start_installs_and_the_second_does_nothing(copy):
    first = copy.run()
    assert first.returncode == 0, first.stderr
    assert "About 2 GB are downloaded" in first.stdout
    assert "Installed in" in first.stdout
    assert copy.calls() == ["pip --disable-pip-version-check --constraint constraints.txt --editable . index: "]
    second = copy.run()
    assert (second.returncode, second.stdout, second.stderr, copy.calls()) == (0, "", "", [])


@pytest.mark.parametrize("part", ["venv", "pip"])
def test_an_install_that_was_killed_is_made_again_by_the_same_command(copy, part):
    half = copy.root / ".venv" / "lib" / "half"
    copy.kill(part, half.exists)
    copy.calls()
    again = copy.run()
    assert again.stdout.startswith("The last install was interrupted.")
    assert not half.exists()
    assert len(copy.calls()) == 1
    assert copy.run().stdout == ""


def test_a_python_that_was_moved_away_is_noticed_and_the_environment_made_again(copy):
    copy.run()
    python = copy.root / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert "does not start any more" in copy.run().stdout
    assert subprocess.run([python, "-c", ""], check=False).returncode == 0
    assert copy.run().stdout == ""


def test_a_folder_that_was_moved_is_noticed(copy):
    copy.run()
    moved = copy.root.rename(copy.root.parent / "elsewhere")
    assert (
        f".venv was made in {copy.root} and does not work here"
        in Copy(root=moved, variables=copy.variables).run().stdout
    )


def test_another_python_behind_the_same_link_is_noticed(copy):
    copy.run()
    place = copy.root / ".venv" / "installed"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"python": "3.10"}))
    assert ".venv was made for Python 3.10" in copy.run().stdout


def test_changed_packages_are_brought_up_to_date_with_the_extras_that_were_there(copy):
    copy.run("dev")
    mine = copy.root / ".venv" / "mine"
    mine.touch()
    copy.calls()
    pins = copy.root / "constraints.txt"
    pins.write_text(pins.read_text().replace("tqdm==", "tqdm>="))
    assert "has changed since the last install" in copy.run().stdout
    assert copy.calls() == ["pip --disable-pip-version-check --constraint constraints.txt --editable .[dev] index: "]
    assert mine.exists()
    project = copy.root / "pyproject.toml"
    project.write_text(project.read_text().replace("line-length = 120", "line-length = 100"))
    assert copy.run("dev").stdout == ""


def test_a_failed_install_says_so_and_is_completed_not_made_again(copy):
    failed = copy.run(REFUSED="--editable")
    assert failed.returncode == 1
    assert "The install did not succeed" in failed.stderr
    (copy.root / ".venv" / "mine").touch()
    assert copy.run().returncode == 0
    assert (copy.root / ".venv" / "mine").exists()


def test_a_link_is_never_changed(copy, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (copy.root / ".venv").symlink_to(other)
    refused = copy.run()
    assert refused.returncode == 1
    assert "no Python starts there. Remove it: rm .venv" in refused.stderr
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", other], check=True)
    assert (copy.run().returncode, copy.calls()) == (0, [])
    assert "installed" not in os.listdir(other)


def test_a_second_install_waits_for_the_first(copy):
    folder = os.open(copy.root, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    command = [sys.executable, "-m", "assets.install", "--plan"]
    second = subprocess.Popen(command, cwd=copy.root, env=copy.variables, stdout=subprocess.PIPE, text=True)
    assert second.stdout is not None
    with second:
        assert "Waiting for its end" in second.stdout.readline()
        os.close(folder)
        assert "not installed here yet" in second.stdout.read()
    assert second.returncode == 0


@pytest.mark.parametrize(
    ("cuda", "cards", "build", "reason"),
    [
        ("13.0", "9.0", "", "has the one for 13.0"),
        ("13.2", "7.5\\n12.0", "", "has the one for 13.0"),
        ("13.0", "", "", "has the one for 13.0"),
        ("13.1", "6.1", "cu126", "leave out a card of compute capability 6.1"),
        ("12.4", "8.9", "cu126", "knows CUDA 12.4"),
        ("12.8", "12.0", "cu129", "a card of compute capability 12.0 needs 12.8"),
        ("12.2", "[N/A]", "cu126", "knows CUDA 12.2"),
        ("11.8", "7.5", "", "update the driver"),
        ("N/A", "", "", "names no driver"),
    ],
)
def test_the_driver_and_the_cards_choose_the_build_of_torch(copy, monkeypatch, cuda, cards, build, reason):
    monkeypatch.setenv("PATH", copy.variables["PATH"])
    monkeypatch.delenv("TORCH_INDEX", raising=False)
    for kind in ("", "UMD "):
        copy.has("nvidia-smi", SMI.format(cuda=cuda, cards=cards, kind=kind))
        chosen = torch_build.choose()
        assert chosen.name == build
        assert reason in chosen.sentence


def test_the_plan_says_which_build_and_why_and_does_nothing(copy):
    copy.has("nvidia-smi", SMI.format(cuda="12.4", cards="8.9", kind=""))
    plan = copy.run("--plan").stdout
    assert f"torch {torch_build.version()}: cu126, since the driver knows CUDA 12.4." in plan
    assert not (copy.root / ".venv").exists()
    assert copy.calls() == []


def test_a_build_comes_from_where_uv_knows_it_to_be(copy):
    copy.has("nvidia-smi", SMI.format(cuda="12.4", cards="8.9", kind=""))
    copy.has("uv", UV.format(python=sys.executable))
    copy.run()
    torch, project = copy.calls()
    assert f"--torch-backend cu126 torch=={torch_build.version()}+cu126" in torch
    assert project.startswith("uv pip install")


def test_without_uv_it_is_installed_for_that_one_call(copy):
    copy.has("nvidia-smi", SMI.format(cuda="12.4", cards="8.9", kind=""))
    copy.run(REFUSED="uv")
    assert copy.calls()[0] == "pip --disable-pip-version-check uv index: "


def test_a_build_is_asked_of_the_index_that_pip_is_set_to_and_its_lack_is_said(copy):
    copy.has("nvidia-smi", SMI.format(cuda="12.4", cards="8.9", kind=""))
    done = copy.run(PIP_SETTINGS="global.index-url='https://ours.example/simple'", REFUSED="+cu126")
    torch, project = copy.calls()
    assert torch.endswith(f"torch=={torch_build.version()}+cu126 index: https://ours.example/simple")
    assert "--editable ." in project
    assert done.returncode == 0
    assert "Name an index that holds cu126: make run TORCH_INDEX=ADDRESS" in done.stdout
    assert "the card stays idle" in done.stdout


def test_an_address_given_for_torch_goes_first_and_its_password_is_written_nowhere(copy):
    copy.has("nvidia-smi", SMI.format(cuda="13.0", cards="8.9", kind=""))
    copy.run()
    copy.calls()
    address = "https://me:secret@ours.example/cu129"
    done = copy.run(TORCH_INDEX=address)
    assert "torch is installed from it" in done.stdout
    torch, project = copy.calls()
    assert torch.endswith(f"--force-reinstall torch=={torch_build.version()}+cu129 index: {address}")
    assert project.endswith("index: ")
    assert "secret" not in done.stdout + done.stderr + (copy.root / ".venv" / "installed").read_text()
    assert copy.run(TORCH_INDEX=address).stdout == copy.run().stdout == ""


def test_uv_takes_the_settings_of_pip_and_pip_goes_on_where_it_fails(copy):
    copy.has("uv", UV.format(python=sys.executable))
    done = copy.run(PIP_SETTINGS="global.index-url='https://ours.example/simple'", UV_FAILS="1")
    first, second = copy.calls()
    assert first.startswith("uv pip install")
    assert first.endswith("--editable . index: https://ours.example/simple")
    assert second.startswith("pip")
    assert "pip tries now" in done.stdout
    copy.run(
        "dev", UV_DEFAULT_INDEX="https://mine.example", PIP_SETTINGS="global.index-url='https://ours.example/simple'"
    )
    assert copy.calls()[0].endswith("index: https://mine.example")
