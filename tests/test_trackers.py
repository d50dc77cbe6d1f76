"""Curves for other programs: Parquet, and trackers that are refused before a run where they are not installed."""

import pyarrow.parquet as pq
import pytest

from modules.config import SFTConfig
from studio import settings
from studio.cli import main
from studio.errors import ConfigError
from studio.runs import metrics, runs, trackers
from studio.workspace import Workspace
from tests.support import stored
from tests.ui import filling


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "studio")


def test_names_are_read_each_once_and_others_refused():
    assert SFTConfig(trackers=" wandb, tensorboard,wandb,").trackers == "wandb,tensorboard"
    with pytest.raises(
        ConfigError, match="trackers = neptune is not possible: 'neptune' is not one of tensorboard, wandb, trackio"
    ):
        settings.read("sft", None, ["trackers=neptune"])


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_tracker_that_is_not_installed_is_refused_before_a_run_is_made(ws, monkeypatch, name):
    filling.add_texts(ws)
    monkeypatch.setattr(trackers, "find_spec", lambda asked: None)
    with pytest.raises(ConfigError, match=f"names {name}, which is not installed. Install it next to the studio"):
        runs.create(ws, SFTConfig(trackers=name))
    assert stored.read(ws, runs.list_all) == []
    monkeypatch.setattr(trackers, "find_spec", lambda asked: asked)
    run = runs.create(ws, SFTConfig(trackers=name))
    folder = runs.folder(ws, run.name)
    assert trackers.looks(folder, run.config) == []
    (folder / "trackers" / name).mkdir(parents=True)
    (line,) = trackers.looks(folder, run.config)
    assert name in line
    assert str(folder) in line


def test_a_run_s_curves_are_written_as_parquet_with_the_values_of_the_csv(ws, tmp_path, capsys, monkeypatch):
    filling.add_texts(ws)
    run = filling.add_run(ws, SFTConfig(), "finished")
    with ws.write() as db:
        for step in (1, 2, 3):
            metrics.add(db, run.id, step, {"train/loss": 1 / step} | ({"eval/loss": 0.1} if step == 2 else {}))
    path = tmp_path / "curves.parquet"
    assert main(["runs", "curves", run.name, "--parquet", str(path), "--workspace", str(ws.root)]) == 0
    found = pq.read_table(path).to_pydict()
    assert found["step"][-3:] == [1, 2, 3]
    assert found["train/loss"][-3:] == [1.0, 0.5, 1 / 3]
    assert found["eval/loss"][-3:] == [None, 0.1, None]
    before = path.read_bytes()
    (tmp_path / "folder").mkdir()
    for taken, said in (
        (path, "is there already"),
        (tmp_path / "folder", "is there already"),
        (tmp_path / "no" / "x", "There is no folder"),
    ):
        assert main(["runs", "curves", run.name, "--parquet", str(taken), "--workspace", str(ws.root)]) == 1
        assert said in capsys.readouterr().err
    assert path.read_bytes() == before
    monkeypatch.chdir(tmp_path)
    assert main(["runs", "curves", run.name, "--parquet", "bare.parquet", "--workspace", str(ws.root)]) == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bare.parquet", "curves.parquet", "folder", "studio"]
    capsys.readouterr()
    assert main(["runs", "curves", run.name, "--workspace", str(ws.root)]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split(",") == list(found)
    assert rows[-1].split(",")[head.split(",").index("train/loss")] == str(1 / 3)
