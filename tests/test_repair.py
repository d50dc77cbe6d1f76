"""Folders of runs that a database does not know are told and taken up again; none is emptied, and what is broken is left out."""

import json
import shutil

import pytest

from modules.config import PPOConfig, SFTConfig
from studio import doctor
from studio.models import checkpoints
from studio.recovery import backups, folders
from studio.runs import runs
from studio.workspace import Workspace
from tests.support import stored


def put(ws, name, config, steps, stage="sft"):
    """A run's folder as a worker leaves it."""
    folder = ws.runs / name
    (folder / "data").mkdir(parents=True)
    (folder / "config.json").write_text(config.model_dump_json(indent=2))
    (folder / "data" / "train.jsonl").write_text("{}\n")
    for step in steps:
        saved = folder / "checkpoints" / f"step-{step:06d}"
        (saved / "policy").mkdir(parents=True)
        (saved / "policy" / "adapter.safetensors").write_text("weights")
        meta = {"stage": stage, "step": step, "base_model": "starter", "base_fingerprint": "f", "method": "lora"}
        (saved / "meta.json").write_text(json.dumps(meta | {"checksums": {"policy/adapter.safetensors": 1}}))
    return folder


def contents(ws):
    return {path: path.read_bytes() for path in sorted(ws.runs.rglob("*")) if path.is_file()}


def findings(ws, **options):
    return {(check.level, check.name): check.line for check in doctor._workspace(ws.root, **options)}


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "workspace")


def test_runs_and_checkpoints_on_disk_that_the_database_lacks_are_told_and_taken_up(ws):
    put(ws, "sft-1", SFTConfig(), [5, 10])
    put(ws, "ppo-1", PPOConfig(sft_checkpoint="sft-1@5", policy_checkpoint="sft-1@10"), [2], stage="ppo")
    before = contents(ws)
    said = findings(ws)["warning", "folders"]
    assert "2 runs and 3 checkpoints on disk are not in studio.db" in said
    assert "rlhf-studio doctor --repair" in said
    assert "2 runs (ppo-1, sft-1), 3 checkpoints" in findings(ws, is_repairing=True)["ok", "repair"]
    assert contents(ws) == before
    assert stored.read(ws, checkpoints.get, "sft-1").name == "sft-1@10"
    assert stored.read(ws, checkpoints.parents, "ppo-1@2") == {"sft": "sft-1@5", "policy": "sft-1@10"}
    run = stored.read(ws, runs.get, "ppo-1")
    assert (run.state, run.is_ending, run.pid) == ("stopped", False, None)
    assert "doctor --repair" in run.message
    assert ("ok", "folders") in findings(ws)
    assert "already known" in findings(ws, is_repairing=True)["ok", "repair"]


@pytest.mark.parametrize("lose", ["gone", "empty"])
def test_a_new_database_is_made_beside_the_folders_only_by_repair_and_knows_their_checkpoints(ws, lose):
    put(ws, "sft-1", SFTConfig(), [5])
    before = contents(ws)
    ws.database.unlink()
    if lose == "empty":
        ws.database.write_bytes(b"")
    assert "Put studio.db back" in findings(ws)["problem", "workspace"]
    found = findings(ws, is_repairing=True)
    assert ("ok", "database") in found, found
    assert stored.read(ws, checkpoints.get, "sft-1@5").folder.is_dir()
    assert contents(ws) == before


def test_an_older_database_does_not_know_the_run_that_came_after_it(ws, tmp_path):
    put(ws, "sft-1", SFTConfig(), [5])
    folders.take_up(ws)
    backup = backups.make(ws, tmp_path / "backup.db").path
    put(ws, "sft-2", SFTConfig(), [7])
    folders.take_up(ws)
    backups.restore(ws.root, backup)
    assert (
        "1 runs and 1 checkpoints on disk are not in studio.db (sft-2, sft-2@7)" in findings(ws)["warning", "folders"]
    )
    findings(ws, is_repairing=True)
    assert stored.read(ws, checkpoints.get, "sft-2").step == 7


def test_checkpoints_that_lack_a_file_or_are_no_folders_of_runs_are_left_out(ws):
    folder = put(ws, "sft-1", SFTConfig(), [5, 10])
    (folder / "checkpoints" / "step-000010" / "policy" / "adapter.safetensors").unlink()
    put(ws, "sft-2", SFTConfig(), [3])
    (ws.runs / "sft-2" / "checkpoints" / "step-000003" / "meta.json").write_text("{broken")
    shutil.copytree(folder, ws.runs / "my notes")
    (ws.runs / "evil-1").mkdir()
    (ws.runs / "sft-1" / "checkpoints" / ".step-000011.part").mkdir()
    found = folders.take_up(ws)
    assert found.unknown_runs == ["sft-1", "sft-2"]
    assert found.unknown_checkpoints == ["sft-1@5"]
    assert len(found.incomplete) == 2
    assert "incomplete" in findings(ws)["warning", "folders"]


def test_a_known_checkpoint_whose_folder_is_gone_is_told(ws):
    folder = put(ws, "sft-1", SFTConfig(), [5])
    folders.take_up(ws)
    shutil.rmtree(folder / "checkpoints" / "step-000005")
    assert "the folders of 1 checkpoints are gone (sft-1@5)" in findings(ws)["warning", "folders"]


def test_a_lost_run_says_that_it_can_go_on_from_a_checkpoint_that_was_taken_up(ws):
    put(ws, "sft-1", SFTConfig(), [5])
    folders.take_up(ws)
    with ws.write() as db:
        db.execute("DELETE FROM checkpoints")
        db.execute("UPDATE runs SET state = 'lost', message = 'It had not saved anything yet: start it again.'")
    assert folders.take_up(ws).unknown_checkpoints == ["sft-1@5"]
    assert "Resume continues from sft-1@5." in stored.read(ws, runs.get, "sft-1").message
