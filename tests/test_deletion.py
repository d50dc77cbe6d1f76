"""Deleting runs and checkpoints: only files that were named leave, whatever people said stays, and nothing is half done."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modules.config import PPOConfig, SampleConfig, SFTConfig
from studio import doctor, next_step
from studio.annotation import sessions
from studio.annotation.session_config import SessionConfig
from studio.chat import conversations, turns
from studio.chat.conversations import Settings
from studio.chat.resident import Resident
from studio.cli import main
from studio.datasets import archive
from studio.errors import CheckpointError, RunError, StudioError
from studio.models import checkpoint_pages, checkpoints, deletion, disk, export
from studio.recovery import folders
from studio.runs import prepare, runs
from studio.workspace import Workspace
from tests.support import earlier, stored
from tests.ui import filling

ROOT = Path(__file__).parent.parent
FACTS = (
    "prompts", "responses", "comparisons", "comparison_responses", "showings", "rating_events", "turns", "conversations", "metrics",
    "run_parents",
)  # fmt: skip
OF_SFT_10 = "runs/sft-1/checkpoints/step-000010"


def saved(ws, run, step, *, best=None, is_chosen=False):
    """A checkpoint as a run writes it, with the list of its files; returns its name."""
    folder = runs.folder(ws, run.name) / "checkpoints" / f"step-{step:06d}"
    (folder / "policy").mkdir(parents=True)
    (folder / "policy" / "adapter_model.safetensors").write_bytes(os.urandom(20_000))
    (folder / "state.safetensors").write_bytes(os.urandom(40_000))
    selection = {"selection": {"start_loss": None, "best": best and {"step": best}}}
    (folder / "state.json").write_text(json.dumps({"module": selection}))
    names = [path.relative_to(folder).as_posix() for path in disk.files(folder)]
    meta = {"stage": run.stage, "step": step, "base_model": "starter", "base_fingerprint": "f", "method": "lora"}
    (folder / "meta.json").write_text(json.dumps(meta | {"checksums": dict.fromkeys(names, 1)}))
    figures = {"base_model": "starter", "base_fingerprint": "f", "metrics": {}}
    return stored.written(ws, checkpoints.add, run.id, step, folder, is_chosen=is_chosen, **figures)


def created(ws, config):
    """A run that has ended."""
    run = runs.create(ws, config)
    stored.written(ws, runs.move, run.id, "running")
    stored.written(ws, runs.move, run.id, "finished", "Saved.")
    (runs.folder(ws, run.name) / "log.txt").write_text("It trained.\n")
    return run


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """sft-1 with two checkpoints; ppo-1 from the first, with three, the second handed on; answers of both, ratings, a chat."""
    ws = Workspace.open(tmp_path_factory.mktemp("template"))
    (ws.rewards / "length.py").write_text("def short(prompts, responses):\n    return [0.0 for _ in responses]\n")
    ids = filling.add_texts(ws)
    sft = created(ws, SFTConfig())
    for step in (10, 20):
        saved(ws, sft, step)
    filling.add_pairs(ws, ids[:4], "sft-1@10")
    filling.add_rated(ws, 3)
    config = PPOConfig(sft_checkpoint="sft-1@10", rewards="function:length.py:short")
    ppo = created(ws, config)
    saved(ws, ppo, 1)
    saved(ws, ppo, 2, best=2, is_chosen=True)
    saved(ws, ppo, 3, best=2)
    with ws.write() as db:
        talk = conversations.start(db, Settings(checkpoints=("sft-1@10",)))
        (answer,) = conversations.ask(db, conversations.say(db, talk, "Hello?"))
        turns.end(db, answer.id, "Good day.", "eos", num_tokens=3, seconds=0.1)
    return ws


@pytest.fixture
def ws(template, tmp_path):
    return Workspace(Path(shutil.copytree(template.root, tmp_path / "workspace")))


def on_disk(ws):
    return {path.relative_to(ws.root).as_posix() for path in disk.files(ws.runs)}


def facts(ws):
    return {name: rows for name, rows in stored.tables(ws).items() if name in FACTS}


def unfinished(ws):
    return stored.tables(ws)["unfinished_deletions"]


# What leaves, and what stays.


def test_a_checkpoint_leaves_the_disk_and_no_other_file_and_no_row_does(ws):
    before, said = on_disk(ws), facts(ws)
    size = disk.taken(ws.root / "runs/sft-1/checkpoints/step-000020")
    found = deletion.plan(ws, ["sft-1@20"])
    assert (found.names, found.size, found.forbidden, found.dependants) == (["sft-1@20"], size, [], [])
    assert on_disk(ws) == before, "a look changes nothing"
    free = disk.taken(ws.runs)
    assert deletion.delete(ws, ["sft-1@20"]) == deletion.Removed(size, [])
    gone = before - on_disk(ws)
    assert gone == {name for name in before if name.startswith("runs/sft-1/checkpoints/step-000020/")} != set()
    assert free - disk.taken(ws.runs) == size > 60_000
    assert not (ws.runs / "sft-1/checkpoints/step-000020").exists()
    assert (facts(ws), unfinished(ws)) == (said, [])
    assert [row["name"] for row in stored.tables(ws)["checkpoints"] if row["deleted_at"]] == ["sft-1@20"]


def test_a_run_leaves_with_all_that_it_wrote_and_its_row_answers_and_ratings_stay(ws):
    said, others = facts(ws), {name for name in on_disk(ws) if not name.startswith("runs/ppo-1/")}
    rows = len(stored.tables(ws)["runs"]), len(stored.tables(ws)["checkpoints"])
    (ws.runs / "ppo-1" / "checkpoints" / ".step-000004.0123abcd.part").mkdir()
    (ws.runs / "ppo-1" / "checkpoints" / ".step-000004.0123abcd.part" / "state.json").write_text("{")
    deletion.delete(ws, ["ppo-1"], is_runs=True)
    assert on_disk(ws) == others
    assert not (ws.runs / "ppo-1").exists()
    assert facts(ws) == said
    assert (len(stored.tables(ws)["runs"]), len(stored.tables(ws)["checkpoints"])) == rows
    run = stored.read(ws, runs.get, "ppo-1")
    assert (run.state, run.shown_state) == ("finished", "deleted")
    assert stored.read(ws, checkpoints.lineage) == [("sft-1", "policy", "ppo-1"), ("sft-1", "sft", "ppo-1")]


def test_what_the_run_did_not_write_stays_where_it_is(ws):
    mine = [
        ws.runs / "ppo-1" / "notes.txt",
        ws.root / "runs/ppo-1/checkpoints/step-000001/policy/mine.md",
        ws.runs / "ppo-1/plots/a.png",
    ]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    found = deletion.plan(ws, ["ppo-1"], is_runs=True)
    assert set(found.left) == {str(path.relative_to(ws.root)) for path in mine}
    deletion.delete(ws, ["ppo-1@1"])
    assert {name for name in on_disk(ws) if "step-000001" in name and "ppo-1" in name} == {
        str(mine[1].relative_to(ws.root))
    }
    deletion.delete(ws, ["ppo-1"], is_runs=True)
    assert {name for name in on_disk(ws) if name.startswith("runs/ppo-1/")} == set(found.left)
    assert {check.level for check in doctor._folders(ws)} == {"ok"}


def test_a_link_is_never_followed_and_what_lies_behind_it_stays(ws, tmp_path):
    outside = tmp_path / "outside"
    shutil.move(ws.root / OF_SFT_10, outside)
    (ws.root / OF_SFT_10).symlink_to(outside)
    before = on_disk(ws) | {str(path) for path in disk.files(outside)}
    for names, is_runs in ((["sft-1@10"], False), (["sft-1"], True)):
        with pytest.raises(StudioError, match="is a link, or lies behind one"):
            deletion.delete(ws, names, is_runs=is_runs, others="keep")
    shutil.move(ws.runs / "ppo-1", tmp_path / "ppo-elsewhere")
    (ws.runs / "ppo-1").symlink_to(tmp_path / "ppo-elsewhere")
    with pytest.raises(RunError, match="links are not followed"):
        deletion.delete(ws, ["ppo-1"], is_runs=True)
    with ws.write() as db:
        db.execute("DELETE FROM checkpoints WHERE run_id = 2")  # a run that saved none
    with pytest.raises(RunError, match="links are not followed"):
        deletion.delete(ws, ["ppo-1"], is_runs=True)
    assert before - on_disk(ws) - {str(path) for path in disk.files(outside)} == {
        name for name in before if name.startswith("runs/ppo-1/")
    }
    assert (tmp_path / "ppo-elsewhere" / "config.json").is_file()
    assert unfinished(ws) == []


def test_a_link_that_is_put_there_after_the_mark_is_not_followed_either(ws, tmp_path):
    with ws.write() as db:
        deletion.mark(db, ws, deletion.plan(ws, ["sft-1@20"]))
    shutil.move(ws.root / "runs/sft-1/checkpoints/step-000020", tmp_path / "elsewhere")
    (ws.root / "runs/sft-1/checkpoints/step-000020").symlink_to(tmp_path / "elsewhere")
    deletion.finish(ws)
    assert (tmp_path / "elsewhere" / "policy" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("folder", ["/etc", "../outside", "runs/sft-1/../../../outside", "exports"])
def test_a_row_that_names_another_place_deletes_nothing_there(ws, tmp_path, folder):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "meta.json").write_text("{}")
    (ws.exports / "meta.json").write_text("{}")
    with ws.write() as db:
        db.execute("UPDATE checkpoints SET folder = ? WHERE name = 'sft-1@20'", [folder])
    with pytest.raises(CheckpointError, match="nothing is deleted"):
        deletion.delete(ws, ["sft-1@20"])
    with ws.write() as db:
        files = json.dumps(["meta.json", "/etc/hostname", "../outside/meta.json"])
        db.table("unfinished_deletions").insert({"folder": folder, "files": files, "created_at": "x"})
    if folder != "exports":
        deletion.finish(ws)
        assert (tmp_path / "outside" / "meta.json").is_file()


def test_a_file_with_another_name_elsewhere_gives_nothing_back_and_is_counted_once(ws, tmp_path):
    folder = ws.root / "runs/sft-1/checkpoints/step-000020"
    weights = folder / "state.safetensors"
    alone = weights.lstat().st_blocks * 512
    whole = disk.taken(folder)
    os.link(weights, folder / "policy" / "same.safetensors")
    assert disk.taken(folder) == whole
    os.link(weights, tmp_path / "kept.safetensors")
    assert deletion.plan(ws, ["sft-1@20"]).size == whole - alone
    assert deletion.delete(ws, ["sft-1@20"]).size == whole - alone
    assert (tmp_path / "kept.safetensors").stat().st_size == 40_000


def test_a_checkpoint_whose_folder_somebody_removed_is_marked_and_gives_back_nothing(ws):
    shutil.rmtree(ws.root / "runs/sft-1/checkpoints/step-000020")
    assert deletion.delete(ws, ["sft-1@20"]) == deletion.Removed(0, [])
    assert {check.level for check in doctor._folders(ws)} == {"ok"}


def test_an_earlier_checkpoint_without_a_list_of_files_leaves_whole(ws):
    folder = ws.root / "runs/sft-1/checkpoints/step-000020"
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({name: meta[name] for name in meta if name != "checksums"}))
    deletion.delete(ws, ["sft-1@20"])
    assert not folder.exists()


# What depends on it.


def test_what_began_with_it_refuses_until_a_person_says_what_becomes_of_it(ws):
    before = on_disk(ws)
    with pytest.raises(CheckpointError, match=r"more depends on it. ppo-1 began with sft-1@10 \(policy, sft\)"):
        deletion.delete(ws, ["sft-1@10"])
    assert on_disk(ws) == before
    assert deletion.plan(ws, ["sft-1@10"], others="delete").names == ["ppo-1", "sft-1@10"]
    deletion.delete(ws, ["sft-1@10"], others="keep")
    assert {name.split("/")[1] for name in before - on_disk(ws)} == {"sft-1"}
    assert stored.read(ws, checkpoints.get, "ppo-1").name == "ppo-1@2"
    with pytest.raises(CheckpointError, match="sft-1@10 was deleted on"):
        runs.continuation(ws, "ppo-1@3")
    deletion.delete(ws, ["sft-1"], is_runs=True)
    assert {name.split("/")[1] for name in on_disk(ws)} == {"ppo-1"}, "what it lost is lost already"


def test_what_would_change_is_said_and_a_later_one_that_needs_it_counts_as_dependent(ws):
    found = deletion.plan(ws, ["ppo-1@2"])
    assert found.changes == ["ppo-1 then stands for ppo-1@3, no longer for ppo-1@2, which it hands on."]
    assert found.dependants == ["Resumed together with ppo-1@2, the best policy until then: ppo-1@3."]
    assert deletion.plan(ws, ["ppo-1@2"], others="delete").names == ["ppo-1@2", "ppo-1@3"]
    assert deletion.plan(ws, ["ppo-1@1"]).dependants == []


def test_what_was_made_with_it_is_counted(ws):
    assert deletion.plan(ws, ["sft-1@10"]).facts == ["8 responses", "3 ratings", "1 conversation"]
    assert deletion.plan(ws, ["sft-1@20"]).facts == []


def test_a_run_that_waits_for_it_or_runs_and_an_open_session_forbid_it_whatever_is_said(ws):
    waiting = runs.create(ws, SampleConfig(checkpoint="sft-1@20", num_prompts=2))
    for others in ("refuse", "delete", "keep"):
        with pytest.raises(CheckpointError, match=f"{waiting.name}, which has not ended, uses sft-1@20"):
            deletion.delete(ws, ["sft-1@20"], others=others)
    with pytest.raises(RunError, match="sample-1 is queued: stop it first"):
        deletion.delete(ws, ["sample-1"], is_runs=True)
    stored.written(ws, runs.request_stop, waiting.name)
    session = stored.written(
        ws, sessions.start, SessionConfig(source="policy", checkpoint="sft-1@20", target=1, sample_below=0)
    )
    with pytest.raises(CheckpointError, match=f"Session {session.id}, which has not ended, rates answers of sft-1@20"):
        deletion.delete(ws, ["sft-1@20"])
    stored.written(ws, sessions.end, session.id)
    assert deletion.delete(ws, ["sft-1@20"]).size > 0


def test_a_resume_forbids_to_delete_where_it_goes_on_and_the_best_before_that(ws):
    resumed = runs.create(ws, SFTConfig())
    with ws.write() as db:
        db.table("runs").update(resumed.id, {"resumed_from": checkpoints.id_of(db, "ppo-1@3")})
    for name in ("ppo-1@3", "ppo-1@2"):
        assert any(resumed.name in said for said in deletion.plan(ws, [name]).forbidden), name


def test_a_run_that_is_made_in_the_moment_of_the_deletion_is_refused(ws):
    ready = prepare.resolve(ws, SampleConfig(checkpoint="sft-1@20", num_prompts=2))
    deletion.delete(ws, ["sft-1@20"])
    with pytest.raises(CheckpointError, match="sft-1@20 was deleted on"):
        runs.create_prepared(ws, ready)
    assert not (ws.runs / "sample-1").exists()


def test_nothing_is_deleted_when_more_would_leave_than_was_seen(ws):
    with pytest.raises(CheckpointError, match="has changed meanwhile"):
        deletion.delete(ws, ["sft-1@10"], others="delete", expected=["sft-1@10"])
    assert (ws.root / OF_SFT_10).is_dir()


# Afterwards.


def test_a_deleted_checkpoint_is_not_offered_and_whoever_opens_it_is_told(ws):
    deletion.delete(ws, ["sft-1@20"])
    assert "sft-1@20" not in [c.name for c in stored.read(ws, checkpoints.list_all)]
    assert "sft-1@20" not in [c.name for c in stored.read(ws, checkpoint_pages.page)]
    assert not stored.read(ws, checkpoint_pages.is_known, "sft-1@20", "sft")
    for newest in (
        stored.read(ws, checkpoints.newest, "sft"),
        stored.read(ws, checkpoints.get, "sft-1"),
        stored.read(ws, checkpoint_pages.handed_on, [1])[0],
    ):
        assert newest is not None
        assert newest.name == "sft-1@10"
    told = r"Checkpoint sft-1@20 was deleted on 20\d\d-\d\d-\d\d at \d\d:\d\d UTC: .* Choose another checkpoint, such as sft-1@10"
    resident = Resident(ws, "cpu")
    for open_it in (
        lambda: stored.read(ws, checkpoints.get, "sft-1@20"),
        lambda: export.export_checkpoint(ws, "sft-1@20"),
        lambda: prepare.resolve(ws, SampleConfig(checkpoint="sft-1@20")),
        lambda: resident.question("sft-1@20", [{"role": "user", "content": "Hello?"}]),
        lambda: runs.continuation(ws, "sft-1@20"),
        lambda: stored.written(ws, sessions.start, SessionConfig(source="policy", checkpoint="sft-1@20")),
    ):
        with pytest.raises(CheckpointError, match=told):
            open_it()
    with pytest.raises(CheckpointError, match="was deleted on"):
        deletion.delete(ws, ["sft-1@20"])


def test_the_last_checkpoint_of_a_stage_can_go_and_home_still_opens(ws):
    deletion.delete(ws, ["ppo-1"], is_runs=True)
    assert stored.read(ws, checkpoints.newest, "sft", "ppo") == stored.read(ws, checkpoints.get, "sft-1")
    deletion.delete(ws, ["sft-1"], is_runs=True)
    with pytest.raises(CheckpointError, match="Train sft again"):
        stored.read(ws, checkpoints.get, "sft-1")
    assert stored.read(ws, next_step.status).stations
    with pytest.raises(RunError, match="Run sft-1 was deleted on"):
        runs.resume(ws, "sft-1")
    again = runs.create(ws, SFTConfig())
    assert again.name == "sft-2", "a name is never used again"


def test_doctor_and_archive_know_what_was_deleted(ws, tmp_path):
    deletion.delete(ws, ["sft-1@20"])
    deletion.delete(ws, ["ppo-1"], is_runs=True)
    found = folders.compare(ws)
    assert (found.gone_runs, found.gone_checkpoints, found.unknown_checkpoints, found.incomplete) == ([], [], [], [])
    path = archive.write(ws).path
    other = Workspace.open(tmp_path / "other")
    archive.read(other, path)
    with pytest.raises(CheckpointError, match="sft-1@20 was deleted on"):
        stored.read(other, checkpoints.get, "sft-1@20")
    assert archive.write(other).path.read_bytes() == path.read_bytes()


# Cut off.

KILLED = """
import os, signal, sys
from pathlib import Path
from studio.models import deletion
from studio.workspace import Workspace

ws, at = Workspace(Path(sys.argv[1])), int(sys.argv[2])
real, count = Path.unlink, 0

def unlink(self, *given, **named):
    global count
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1
    return real(self, *given, **named)

def mark(*given):
    marked(*given)
    os.kill(os.getpid(), signal.SIGKILL)

Path.unlink, marked = unlink, deletion.mark
if at < 0:
    deletion.mark = mark
if at == 99:
    deletion.sync = lambda path: os.kill(os.getpid(), signal.SIGKILL)
deletion.delete(ws, ["ppo-1"], is_runs=True)
"""


@pytest.mark.parametrize("at", [-1, 0, 1, 5, 13, 99])
def test_a_kill_leaves_all_of_it_or_a_deletion_that_the_next_start_ends(ws, at):
    """Before the commit, before the first file, after some, and after the last one."""
    before, others = on_disk(ws), {name for name in on_disk(ws) if not name.startswith("runs/ppo-1/")}
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(ws.root), str(at)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    left = on_disk(ws)
    if at < 0:
        assert (left, unfinished(ws)) == (before, [])
        assert stored.read(ws, checkpoints.get, "ppo-1").name == "ppo-1@2"
        return
    assert len(before - left) == min(at, len(before - others))
    assert [row["folder"] for row in unfinished(ws)] == ["runs/ppo-1"]
    with pytest.raises(CheckpointError, match="was deleted on"):
        stored.read(ws, checkpoints.get, "ppo-1@1")
    assert {check.level for check in doctor._folders(ws)} == {"ok"}, "what is half gone is not taken up again"
    assert main(["models", "--workspace", str(ws.root)]) == 0
    assert (on_disk(ws), unfinished(ws)) == (others, [])
    assert not (ws.runs / "ppo-1").exists()


def test_a_file_that_cannot_be_deleted_yet_is_said_and_tried_again(ws, monkeypatch):
    def refuse(self, **named):
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        done = deletion.delete(ws, ["sft-1@20"])
    assert done.size == 0
    assert (
        "runs/sft-1/checkpoints/step-000020/meta.json (Operation not permitted) and 3 more could not be"
        in done.sentence
    )
    assert len(unfinished(ws)) == 1
    assert deletion.finish(ws).size > 0
    assert unfinished(ws) == []


def test_a_workspace_of_before_opens_and_deletes(tmp_path):
    root = tmp_path / "earlier"
    at = "2026-01-01T00:00:00.000+00:00"
    with earlier.written(root, "m071_deletions") as db:
        db.execute(
            "INSERT INTO runs (name, stage, state, config, revision, created_at, ended_at, gone_at)"
            " VALUES ('sft-1', 'sft', 'finished', '{}', 'x', ?, ?, ?)",
            [at, at, at],
        )
        db.execute(
            "INSERT INTO checkpoints (name, run_id, step, folder, base_model, base_fingerprint, metrics, created_at)"
            " VALUES ('sft-1@1', 1, 1, 'runs/sft-1/checkpoints/step-1', 'starter', 'f', '{}', ?)",
            [at],
        )
    (root / "runs/sft-1/checkpoints/step-1/policy").mkdir(parents=True)
    (root / "runs/sft-1/checkpoints/step-1/policy/adapter_model.safetensors").write_bytes(b"w" * 5000)
    ws = Workspace.open(root)
    assert stored.read(ws, checkpoints.get, "sft-1").deleted_at is None
    assert deletion.delete(ws, ["sft-1"], is_runs=True).size > 0
    assert on_disk(ws) == set()


# At a terminal.


def test_at_a_terminal_it_is_shown_first_and_done_with_yes(ws, capsys):
    def say(*words):
        code = main([*words, "--workspace", str(ws.root)])
        told = capsys.readouterr()
        return code, told.out + told.err

    before = on_disk(ws)
    code, told = say("models", "delete", "sft-1@20")
    assert code == 0
    assert on_disk(ws) == before
    assert "runs/sft-1/checkpoints/step-000020" in told
    assert "would be free again" in told
    assert f"rlhf-studio models delete sft-1@20 --workspace {ws.root} --yes" in told
    code, told = say("models", "delete", "sft-1@10", "--yes")
    assert code == 1
    assert on_disk(ws) == before
    assert "Stays, with its name: 8 responses, 3 ratings, 1 conversation." in told
    assert "--with-dependants" in told
    code, told = say("models", "delete", "sft-1")
    assert code == 1
    assert "sft-1 is a run. Name the checkpoint (sft-1@20, sft-1@10), or delete the run" in told
    code, told = say("runs", "delete", "sft-1", "--with-dependants", "--yes")
    assert code == 0
    assert on_disk(ws) == set()
    assert "Deleted sft-1, ppo-1." in told
    assert "are free again" in told
    assert "deleted" in say("runs")[1]
    assert "was deleted on" in say("runs", "show", "ppo-1")[1]
    assert say("models")[1].startswith("There are no checkpoints yet")
    assert say("runs", "delete", "sft-9")[0] == 1
