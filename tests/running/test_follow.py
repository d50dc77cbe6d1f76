"""What is printed of a run that is followed into a file."""

from types import SimpleNamespace

from modules.config import SFTConfig
from studio.cli import follow
from studio.runs import launcher, runs
from studio.workspace import Workspace
from tests.support import stored
from tests.ui import filling


def test_a_file_gets_a_line_for_each_twentieth_and_for_other_words(tmp_path, capsys, monkeypatch):
    ws = Workspace.open(tmp_path / "studio")
    filling.add_texts(ws, 4)
    run = runs.create(ws, SFTConfig())
    stored.written(ws, runs.move, run.id, "running")
    beats = [(step / 100, f"step {step} of 100, about {100 - step} s left") for step in range(1, 101)]
    beats.append((1.0, "saving"))
    moments = iter(beats)

    def wait(_: float) -> None:
        if (beat := next(moments, None)) is None:
            stored.written(ws, runs.move, run.id, "finished", "Saved.")
        else:
            stored.written(ws, runs.beat, run.id, *beat)

    monkeypatch.setattr(follow, "time", SimpleNamespace(sleep=wait))  # other threads sleep too
    monkeypatch.setattr(launcher, "reap", lambda ws: [])
    assert follow.follow(ws, run, None) == 0
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if "step" in line]
    assert told[0] == "sft-1: step 1 of 100, about 99 s left"
    assert len(told) == 21
    assert "sft-1: saving" in lines
