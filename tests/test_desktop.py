"""The menu entry: a file that desktops take, which opens the studio, and nobody else's file is touched."""

import configparser
import os
import re
import shutil
import subprocess
import sys

import pytest

from studio import desktop, servers
from studio.cli import main
from studio.errors import ConfigError
from studio.workspace import Workspace
from ui import app


@pytest.fixture(params=["linux", "darwin"])
def home(request, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", request.param)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return tmp_path


def written(home):
    return sorted(path for path in home.rglob("*") if path.is_file())


def test_an_entry_is_written_replaced_and_removed_again(home, capsys):
    assert main(["desktop"]) == 0
    first = {path: path.read_text() for path in written(home)}
    assert len(first) == (2 if sys.platform == "linux" else 1)
    assert main(["desktop", "--workspace", str(home / "my work")]) == 0
    assert written(home) == sorted(first)
    assert any("my work" in path.read_text() for path in first)
    assert main(["desktop", "--remove"]) == 0
    assert written(home) == []
    capsys.readouterr()
    assert main(["desktop", "--remove"]) == 0
    assert capsys.readouterr().out == "There was no menu entry of the studio.\n"


def test_a_file_that_somebody_else_wrote_stays(home):
    (path, *_) = desktop.install(None)
    path.write_text("mine\n")
    with pytest.raises(ConfigError, match="was not written by the studio"):
        desktop.install(None)
    assert path not in desktop.remove()
    assert path.read_text() == "mine\n"


def test_a_folder_that_cannot_be_written_is_said(home):
    place = home / (".local" if sys.platform == "linux" else "Desktop")
    place.write_text("a file")
    with pytest.raises(ConfigError, match=r"could not be written: \w+"):
        desktop.install(None)


@pytest.mark.parametrize(
    "name", ["plain", "two words", 'a "quoted" one', "100%f", "a\\b", "$HOME", "`id`", "é"], ids=str
)
def test_a_desktop_reads_the_command_as_it_was_meant(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    entry, icon = desktop.install(tmp_path / name)
    parsed = configparser.RawConfigParser()
    parsed.optionxform = str
    parsed.read(entry, encoding="utf-8")
    line = (
        parsed["Desktop Entry"]["Exec"].replace("\\\\", "\\").replace("%%", "%")
    )  # the escapes of the file, then of the line
    program, *words = [re.sub(r"\\(.)", r"\1", word) for word in re.findall(r'"((?:[^"\\]|\\.)*)"', line)]
    assert os.access(program, os.X_OK)
    assert words == ["ui", "--app", "--workspace", str(tmp_path / name)]
    assert parsed["Desktop Entry"]["Icon"] == str(icon)
    if validator := shutil.which("desktop-file-validate"):
        done = subprocess.run([validator, str(entry)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")


def test_a_second_click_opens_the_page_that_is_open_already(tmp_path, monkeypatch, capsys):
    opened = []
    ws = Workspace.open(tmp_path / "studio")
    monkeypatch.setattr(servers, "others", lambda ws: ["http://127.0.0.1:7899/"])
    monkeypatch.setattr(app, "open_page", lambda url, is_window: opened.append((url, is_window)))
    monkeypatch.setattr(app, "launch", lambda *given, **more: pytest.fail("a second server"))
    assert main(["ui", "--app", "--empty", "--workspace", str(ws.root)]) == 0
    assert opened == [("http://127.0.0.1:7899/", True)]
    assert "has this workspace open at http://127.0.0.1:7899/" in capsys.readouterr().out
