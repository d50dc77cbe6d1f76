"""A run as one file, run again from it: equal to the last bit, or what differs; and bundles that nobody should trust."""

import hashlib
import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from modules.config import SampleConfig, SFTConfig
from studio.cli import main
from studio.errors import CheckpointError, ConfigError, ImportRefused, RewardError, RunError
from studio.models import checkpoints, deletion
from studio.preferences import prompts
from studio.reproduction import bundling, differences, opening, repeating
from studio.runs import launcher, metrics, runs
from studio.workspace import Workspace
from tests.support import stored, warm
from tests.support.waiting import for_run as wait
from tests.test_deletion import created, saved
from tests.test_deletion import template as template  # a fixture
from ui.pages.runs import bundle as bundle_of_page

pytestmark = pytest.mark.timeout(900)
TINY = {"lora_rank": 4, "batch_size": 8, "micro_batch_size": 8, "max_length": 128}


@pytest.fixture
def ws(template, tmp_path):
    """sft-1 with two checkpoints, ppo-1 from the first with a reward function; see the template."""
    return Workspace(Path(shutil.copytree(template.root, tmp_path / "workspace")))


def plan(ws, path):
    with opening.opened(path) as bundle:
        return stored.read(ws, repeating.plan, bundle)


def start(ws, path):
    with opening.opened(path) as bundle:
        return repeating.start(ws, bundle, stored.read(ws, repeating.plan, bundle))


def compare(ws, path, name):
    with opening.opened(path) as bundle:
        return differences.between(ws, bundle, stored.read(ws, runs.get, name))


def rewritten(path, change):
    """A copy of a bundle, its members changed by a function from name to bytes."""
    other = path.with_name("changed.zip")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            if (content := change(name, old.read(name))) is not None:
                new.writestr(name, content)
    return other


def with_head(path, **changes):
    def change(name, content):
        return json.dumps(json.loads(content) | changes) if name == "bundle.json" else content

    return rewritten(path, change)


def test_the_page_writes_the_same_bundle_and_says_how_to_run_it_again(ws):
    said = bundle_of_page._write(ws, "ppo-1")
    path = ws.exports / "ppo-1.bundle.zip"
    assert f"Written: {path}" in said
    assert f"reproduce {path} --workspace {ws.root}" in said
    before = path.read_bytes()
    assert bundling.write(ws, "ppo-1").read_bytes() == before
    assert "There is no run named" in bundle_of_page._write(ws, "no-such")
    assert "measured nothing itself" in bundle_of_page._write(ws, created(ws, SampleConfig()).name)


def test_a_run_is_run_again_in_another_workspace_and_equals_it_to_the_last_bit(tmp_path, capsys):
    first, other = Workspace.open(tmp_path / "first"), Workspace.open(tmp_path / "other")
    for i in range(12):
        messages = [{"role": "user", "content": f"What is {i} plus 1?"}]
        stored.written(first, prompts.add_demonstration, messages, f"It is {i + 1}.")
    with warm.starts():
        config = SFTConfig(**TINY, epochs=2, eval_every=2, save_every=2, lora_dropout=0.1, seed=5)
        run = wait(first, launcher.start(first, runs.create(first, config)).name, lambda run: run.is_ended)
        said = json.loads((runs.folder(first, run.name) / "surroundings.json").read_text())
        assert {"torch", "python", "processor", "threads", "device"} <= said.keys()
        assert main(["runs", "bundle", run.name, "--workspace", str(first.root)]) == 0
        path = first.exports / "sft-1.bundle.zip"
        assert main(["reproduce", str(path), "--show", "--workspace", str(other.root)]) == 0
        assert "Code, packages and machine are the same here." in capsys.readouterr().out
        assert main(["reproduce", str(path), "--workspace", str(other.root)]) == 0
    out = capsys.readouterr().out
    assert re.search(
        r"All \d+ logged values are equal to the last bit\.\nAll \d+ files with the weights and the state of its checkpoints are equal",
        out,
    )
    one, again = stored.read(first, checkpoints.get, "sft-1"), stored.read(other, checkpoints.get, "sft-1")
    for name in ("policy/adapter_model.safetensors", "state.safetensors"):
        assert (one.folder / name).read_bytes() == (again.folder / name).read_bytes()
    assert stored.read(other, prompts.counts)["demonstrations"] == 0, "its rows come from the bundle"
    weights = again.folder / "policy" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with other.write() as db:
        db.execute("UPDATE metrics SET value = value + 1e-9 WHERE name = 'train/loss' AND step = 2")
        db.execute("UPDATE metrics SET value = value * 2 WHERE name LIKE 'train/tokens%'")
    assert main(["reproduce", str(path), "--against", "sft-1", "--workspace", str(other.root)]) == 1
    out = capsys.readouterr().out
    assert re.search(r"1 of \d+ logged values differ; the first is train/loss at step 2: \S+ there, \S+ here\.", out)
    assert f"Of its checkpoints differ: policy/adapter_model.safetensors of step {again.step}." in out


def test_the_same_run_gives_the_same_file_and_one_that_cannot_be_bundled_says_why(ws):
    path = bundling.write(ws, "ppo-1")
    before = path.read_bytes()
    assert bundling.write(ws, "ppo-1").read_bytes() == before
    with opening.opened(path) as bundle:
        found = bundle.contents
    assert (found.run, found.stage, found.state, found.has_own_surroundings) == ("ppo-1", "ppo", "finished", False)
    assert found.parents["sft"].name == "sft-1@10"
    assert str(ws.root) not in found.command
    assert "its packages were written down when it was bundled" in "".join(plan(ws, path).surroundings)
    going = runs.create(ws, SFTConfig())
    with pytest.raises(RunError, match=f"{going.name} is queued: bundle it when it has ended"):
        bundling.write(ws, going.name)
    gone = created(ws, SFTConfig())
    deletion.delete(ws, [gone.name], is_runs=True)
    with pytest.raises(RunError, match="was deleted"):
        bundling.write(ws, gone.name)


def test_parents_are_found_by_their_content_under_another_name_or_named_as_missing(ws):
    path = bundling.write(ws, "ppo-1")
    with ws.write() as db:
        db.execute("UPDATE runs SET name = 'sft-7' WHERE name = 'sft-1'")
        db.execute(
            "UPDATE checkpoints SET name = replace(name, 'sft-1@', 'sft-7@'), folder = replace(folder, 'sft-1/', 'sft-7/')"
        )
    (ws.runs / "sft-1").rename(ws.runs / "sft-7")
    run = start(ws, path)
    assert (run.state, run.config.sft_checkpoint, run.config.policy_checkpoint) == ("queued", "sft-7@10", "sft-7@10")
    assert runs.read_rows(ws, run.name, "train") == runs.read_rows(ws, "ppo-1", "train") != []
    file = stored.read(ws, checkpoints.get, "sft-7@10").folder / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(CheckpointError, match=r"no checkpoint that equals sft-1@10 \(policy\)"):
        plan(ws, path)


def test_code_of_a_bundle_is_never_executed_unless_the_person_has_it_in_the_workspace(ws):
    path = bundling.write(ws, "ppo-1")
    before = sorted(ws.runs.iterdir())
    file = ws.rewards / "length.py"
    text = file.read_text()
    file.write_text(text + "\n# another\n")
    with pytest.raises(RewardError, match="Code out of a bundle is never executed"):
        start(ws, path)
    file.unlink()
    with pytest.raises(RewardError, match="There is no reward file length.py"):
        start(ws, path)
    assert sorted(ws.runs.iterdir()) == before
    assert not list(ws.root.glob(".bundle-*"))
    file.write_text(text)
    assert start(ws, path).state == "queued"


def test_prompts_that_are_others_here_are_refused(ws):
    path = bundling.write(ws, "ppo-1")
    rows = runs.read_rows(ws, "ppo-1", "train")
    rows[0]["messages"] = [{"role": "user", "content": "Another prompt?"}]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()

    def change(name, content):
        if name == "bundle.json":
            found = json.loads(content)
            found["data"]["train"] = hashlib.sha256(text).hexdigest()
            return json.dumps(found)
        return text if name == "data/train.jsonl" else content

    with pytest.raises(ImportRefused, match=f"the first that differs has the number {rows[0]['prompt_id']}"):
        start(ws, rewritten(path, change))


def test_a_bundle_that_is_damaged_hostile_or_newer_is_refused_and_leaves_nothing(ws, tmp_path, monkeypatch):
    path = bundling.write(ws, "ppo-1")
    before = sorted(str(each) for each in ws.root.rglob("*") if "studio.db" not in each.name)
    for change, said in (
        ({"format": "rlhf-studio-run/3"}, "newer version"),
        ({"format": 3}, "is not one of a bundle"),
        ({"surprise": 1}, "surprise in its bundle.json"),
        ({"data": {"../../etc": "0" * 64}}, "data"),
        ({"data": {"train": "x"}}, "data"),
        ({"data": {"other": "0" * 64}}, "it has no data/other.jsonl"),
        ({"data": {"train": "0" * 64}}, "rows train have another hash"),
        ({"config": {"no_such_setting": 1}}, "does not know"),
        ({"stage": "sample"}, "does not hold what a run of sample makes"),
        ({"stage": "../x"}, "which this studio does not have"),
    ):
        with pytest.raises((ImportRefused, ConfigError), match=said):
            start(ws, with_head(path, **change))
    for broken in (b"", b"[]", b"{", b"[" * 10**5, b'"x"', b"\xff"):
        with pytest.raises(ImportRefused, match="damaged"):
            plan(ws, rewritten(path, lambda name, content, broken=broken: broken if name == "bundle.json" else content))
    with pytest.raises(ImportRefused, match=r"it has no bundle\.json"):
        plan(ws, rewritten(path, lambda name, content: None if name == "bundle.json" else content))
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 5):
        (tmp_path / "cut.zip").write_bytes(whole[:cut])
        with pytest.raises(ImportRefused, match="cannot be opened as a bundle"):
            plan(ws, tmp_path / "cut.zip")
    with pytest.raises(ImportRefused, match="There is no file"):
        plan(ws, tmp_path / "none.zip")
    monkeypatch.setattr(opening, "LARGEST", 10)
    monkeypatch.setattr(opening.Bundle._pieces, "__defaults__", (10,))
    with pytest.raises(ImportRefused, match=r"unpacks to more than"):
        start(ws, path)
    (ws.exports / "changed.zip").unlink()
    assert sorted(str(each) for each in ws.root.rglob("*") if "studio.db" not in each.name) == before


def test_metrics_that_cannot_be_read_and_those_that_only_one_side_has(ws):
    with ws.write() as db:
        run = runs.get(db, "ppo-1")
        for step in (1, 2):
            metrics.add(db, run.id, step, {"objective/kl": step / 3, "time/update_s": step, "value/loss": float("inf")})
    path = bundling.write(ws, "ppo-1")
    same = compare(ws, path, "ppo-1")
    assert same.are_none
    assert same.num_values == 4, "seconds are left out"
    with ws.write() as db:
        metrics.add(db, run.id, 3, {"objective/kl": 1.0})
        db.execute("DELETE FROM metrics WHERE name = 'value/loss' AND step = 1")
    found = compare(ws, path, "ppo-1")
    assert found.values == "2 of 5 logged values differ; the first is value/loss at step 1: inf there, nothing here."
    for broken in (b"[1]\n", b'["a", 1, "x"]\n', b"{\n", b"\xff\n"):
        other = rewritten(path, lambda name, content, broken=broken: broken if name == "metrics.jsonl" else content)
        with pytest.raises(ImportRefused, match="its metrics cannot be read"):
            compare(ws, other, "ppo-1")


def test_damaged_rows_are_found_before_anything_is_said_and_a_folder_is_none(ws, tmp_path, capsys):
    path = bundling.write(ws, "ppo-1")
    with zipfile.ZipFile(path) as file:
        at = file.getinfo("data/train.jsonl").header_offset + 60
    content = bytearray(path.read_bytes())
    content[at : at + 20] = bytes(20)
    (tmp_path / "broken.zip").write_bytes(content)
    for given, said in ((tmp_path / "broken.zip", "data/train.jsonl"), (tmp_path, "is a folder, not a bundle")):
        assert main(["reproduce", "--show", str(given), "--workspace", str(ws.root)]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert said in err


def test_another_stage_is_refused_and_settings_that_differ_are_named(ws):
    path = bundling.write(ws, "sft-1")
    with pytest.raises(RunError, match="ppo-1 is a run of ppo, and the bundle one of sft"):
        compare(ws, path, "ppo-1")
    other = created(ws, SFTConfig(learning_rate=0.01, epochs=9))
    found = compare(ws, path, other.name)
    assert found.settings == "Settings differ: learning_rate 0.0002 there, 0.01 here, epochs 2 there, 9 here."
    assert not found.are_none


def test_a_checkpoint_that_only_one_side_saved_and_another_ending_are_said(ws):
    path = bundling.write(ws, "sft-1")
    other = created(ws, SFTConfig())
    saved(ws, other, 30)
    with ws.write() as db:
        db.execute("UPDATE runs SET state = 'failed', message = 'Out of memory.' WHERE id = ?", [other.id])
    found = compare(ws, path, other.name)
    assert found.ending == f"sft-1 finished there; {other.name} failed here. Out of memory."
    assert "there is none of step 10 here" in found.files
    assert "step 30 was not saved there" in found.files
