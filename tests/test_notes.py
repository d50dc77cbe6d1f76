"""What a person says of a checkpoint: notes, tags and pins, in the terminal, over archives, and against deletion."""

import json
import shutil
from pathlib import Path

import pytest

from modules.config import SFTConfig
from studio import doctor
from studio.cli import main
from studio.datasets import archive
from studio.errors import CheckpointError, ImportRefused, RunError
from studio.models import checkpoint_pages, checkpoints, deletion, notes, retention
from studio.models.notes import Note
from studio.workspace import Workspace
from tests.support import stored
from tests.test_deletion import created, on_disk, saved
from tests.test_deletion import template as template  # a fixture
from tests.ui.filling import HOSTILE


@pytest.fixture
def ws(template, tmp_path):
    return Workspace(Path(shutil.copytree(template.root, tmp_path / "workspace")))


@pytest.fixture
def say(ws, capsys):
    def said(*words, code=0):
        capsys.readouterr()
        assert main([*words, "--workspace", str(ws.root)]) == code
        out, err = capsys.readouterr()
        return out + err

    return said


def note_of(ws, name):
    found = stored.read(ws, checkpoints.recorded, name)
    return stored.read(ws, notes.of, [found.id]).get(found.id, Note())


def pin(ws, name, is_pinned=True):
    stored.written(ws, notes.keep, stored.read(ws, checkpoints.get, name).id, is_pinned=is_pinned)


def test_note_tags_and_pin_are_kept_each_without_the_others_and_taken_away_again(ws):
    id_ = stored.read(ws, checkpoints.get, "ppo-1@2").id
    stored.written(ws, notes.keep, id_, text="  Good with letters.\n")
    stored.written(ws, notes.keep, id_, tags=["candidate", " two  words ", "candidate,third", ""])
    stored.written(ws, notes.keep, id_, is_pinned=True)
    assert note_of(ws, "ppo-1@2") == Note("Good with letters.", ("candidate", "two words", "third"), True)
    assert note_of(ws, "ppo-1@2").marks == ["pinned", "candidate", "two words", "third"]
    stored.written(ws, notes.keep, id_, tags=[])
    assert note_of(ws, "ppo-1@2") == Note("Good with letters.", (), True)
    stored.written(ws, notes.keep, id_, text="", is_pinned=False)
    assert stored.tables(ws)["checkpoint_notes"] == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"text": "x" * 4001}, "at most 4,000 characters; this one has 4,001"),
        ({"tags": ["y" * 41]}, "A tag has at most 40 characters"),
        ({"tags": [str(n) for n in range(21)]}, "at most 20 tags; these are 21"),
    ],
)
def test_what_is_too_long_is_refused_and_nothing_is_stored(ws, given, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        stored.written(ws, notes.keep, stored.read(ws, checkpoints.get, "sft-1").id, **given)
    assert stored.tables(ws)["checkpoint_notes"] == []


def test_a_search_finds_checkpoints_by_note_and_tag(ws):
    stored.written(ws, notes.keep, stored.read(ws, checkpoints.get, "sft-1@10").id, text="Too short answers")
    stored.written(ws, notes.keep, stored.read(ws, checkpoints.get, "ppo-1@3").id, tags=["Überarbeitet"])
    assert [c.name for c in stored.read(ws, checkpoint_pages.page, search="SHORT")] == ["sft-1@10"]
    assert [c.name for c in stored.read(ws, checkpoint_pages.page, search="berarbeitet")] == ["ppo-1@3"]
    assert stored.read(ws, checkpoint_pages.page, search="nothing of this") == []


def test_a_pinned_checkpoint_is_not_deleted_alone_or_with_its_run_until_it_is_unpinned(ws):
    before = on_disk(ws)
    pin(ws, "ppo-1@3")
    for names, is_runs in ((["ppo-1@3"], False), (["ppo-1"], True)):
        with pytest.raises((CheckpointError, RunError), match=r"ppo-1@3 is pinned: unpin it first\."):
            deletion.delete(ws, names, is_runs=is_runs)
    with pytest.raises(RunError, match="ppo-1@3 is pinned"):
        deletion.delete(ws, ["sft-1"], is_runs=True, others="delete")
    assert on_disk(ws) == before
    pin(ws, "ppo-1@3", is_pinned=False)
    assert deletion.delete(ws, ["ppo-1"], is_runs=True).size > 0


def test_a_run_that_keeps_few_checkpoints_keeps_the_pinned_ones_besides(ws):
    run = created(ws, SFTConfig())
    for step in (1, 2, 3, 4):
        saved(ws, run, step)
    pin(ws, f"{run.name}@2")
    assert retention.apply(ws, run.id, 1) == [f"{run.name}@3", f"{run.name}@1"]
    assert [c.step for c in stored.read(ws, checkpoint_pages.of_run, run.id)] == [4, 2]


def test_a_person_hands_on_another_checkpoint_and_takes_that_back(ws, say):
    run = created(ws, SFTConfig())
    for step in (1, 2, 3):
        saved(ws, run, step, is_chosen=step == 2)

    def stands_for():
        (listed,) = [
            c.name for c in stored.read(ws, checkpoints.list_all, "sft", is_newest_of_run=True) if c.run_id == run.id
        ]
        (shown,) = stored.read(ws, checkpoint_pages.handed_on, [run.id])
        newest = stored.read(ws, checkpoints.newest, "sft")
        assert {listed, shown.name, newest.name, stored.read(ws, checkpoints.recorded, run.name).name} == {listed}
        return stored.read(ws, checkpoints.get, run.name)

    one, two, three = (f"{run.name}@{step}" for step in (1, 2, 3))
    assert stands_for().remarks == " (handed on)"
    assert f"{run.name} stands for {one} (handed on by your choice)" in say("models", "hand-on", one)
    assert (stands_for().name, stored.read(ws, checkpoints.last, run.name).name) == (one, three)
    assert [c.is_chosen for c in stored.read(ws, checkpoint_pages.of_run, run.id)] == [False, False, True]
    saved(ws, run, 4, is_chosen=True)  # the run goes on and chooses, which is no person's choice
    assert stands_for().name == one
    assert retention.apply(ws, run.id, 1) == [three, two], "neither choice is cleared away"
    say("models", "hand-on", f"{run.name}@4", "--back")  # not what was chosen
    assert stands_for().name == one
    assert f"stands for {run.name}@4 (handed on)" in say("models", "hand-on", one, "--back")
    say("models", "hand-on", run.name)  # what it hands on as it is
    assert stored.tables(ws)["handed_on"] == []


def test_a_chosen_checkpoint_that_is_deleted_gives_place_to_the_runs_own(ws, say):
    run = created(ws, SFTConfig())
    for step in (1, 2, 3):
        saved(ws, run, step, is_chosen=step == 2)
    say("models", "hand-on", f"{run.name}@1")
    plan = deletion.plan(ws, [f"{run.name}@1"])
    assert f"{run.name} then stands for {run.name}@2, no longer for {run.name}@1, which it hands on." in plan.changes
    deletion.delete(ws, [f"{run.name}@1"])
    assert stored.read(ws, checkpoints.get, run.name).name == f"{run.name}@2"
    assert "was deleted" in say("models", "hand-on", f"{run.name}@1", code=1)


def test_an_archive_brings_what_is_handed_on_and_only_a_runs_own_checkpoint(ws, tmp_path):
    run = created(ws, SFTConfig())
    mine, _, stranger = saved(ws, run, 1), saved(ws, run, 2), saved(ws, created(ws, SFTConfig()), 1)
    stored.written(ws, checkpoints.hand_on, stored.read(ws, checkpoints.get, mine))
    path = archive.write(ws).path
    other = Workspace.open(tmp_path / "other")
    archive.read(other, str(path))
    assert stored.read(other, checkpoints.recorded, run.name).name == mine
    lines = path.read_text(encoding="utf-8").splitlines()
    (at,) = [n for n, line in enumerate(lines) if json.loads(line).get("table") == "handed_on"]
    row = json.loads(lines[at]) | {"checkpoint_id": stored.read(ws, checkpoints.recorded, stranger).id}
    broken = tmp_path / "broken.jsonl"
    broken.write_text("\n".join([*lines[:at], json.dumps(row), *lines[at + 1 :]]), encoding="utf-8")
    with pytest.raises(ImportRefused, match="checkpoint of another run"):
        archive.read(Workspace.open(tmp_path / "third"), str(broken))


def test_an_archive_brings_notes_and_none_that_could_not_have_been_written(ws, tmp_path):
    stored.written(
        ws, notes.keep, stored.read(ws, checkpoints.get, "ppo-1@2").id, text=HOSTILE, tags=["a", "ü"], is_pinned=True
    )
    path = archive.write(ws).path
    other = Workspace.open(tmp_path / "other")
    archive.read(other, str(path))
    assert note_of(other, "ppo-1@2") == Note(HOSTILE, ("a", "ü"), True)
    assert archive.write(other).path.read_bytes() == path.read_bytes()
    lines = path.read_text(encoding="utf-8").splitlines()
    (at,) = [
        n
        for n, line in enumerate(lines)
        if '"table": "checkpoint_notes"' in line or '"table":"checkpoint_notes"' in line
    ]
    for tags in ('{"a": 1}', '[""]', f'["{"x" * 41}"]', "[1]", "["):
        row = json.loads(lines[at]) | {"tags": tags}
        broken = tmp_path / "broken.jsonl"
        broken.write_text("\n".join([*lines[:at], json.dumps(row), *lines[at + 1 :]]), encoding="utf-8")
        with pytest.raises(ImportRefused, match="tags is .* which cannot be read"):
            archive.read(Workspace.open(tmp_path / "third"), str(broken))


def test_the_doctor_lists_deletions_that_were_not_finished_until_they_are(ws, monkeypatch):
    monkeypatch.setattr(doctor, "_torch", lambda root: [])

    def found():
        return [check for check in doctor.examine(ws.root) if check.name == "deletions"]

    assert found() == []
    with monkeypatch.context() as patched:
        patched.setattr(deletion, "finish", lambda ws: deletion.Removed(0, []))
        deletion.delete(ws, ["sft-1@20"])
    (check,) = found()
    assert check.level == "warning"
    assert check.text == ("1 deletion was not finished: up to 4 files are left (runs/sft-1/checkpoints/step-000020)")
    assert "rlhf-studio models" in check.next_step
    assert deletion.finish(ws).size > 0
    assert found() == []


# At a terminal.


def test_notes_tags_and_pins_are_given_and_shown_at_a_terminal(ws, say):
    assert say("models", "note", "sft-1@10") == "sft-1@10 has no note.\n"
    assert say("models", "note", "sft-1@10", "Red \x1b[31m text") == "The note of sft-1@10 is kept.\n"
    assert say("models", "note", "sft-1@10") == "Red \ufffd[31m text\n"
    assert say("models", "note", "sft-1@10", "") == "sft-1@10 has no note any more.\n"
    assert say("models", "tag", "sft-1@10", "first", "old, slow") == "sft-1@10: first, old, slow\n"
    assert say("models", "tag", "sft-1@10", "new", "--remove", "old") == "sft-1@10: first, slow, new\n"
    assert "sft-1@10 has no tag 'old'. Its tags: first, slow, new." in say("models", "tag", "sft-1@10", "--remove", "old", code=1)  # fmt: skip
    assert say("models", "pin", "sft-1@10", "ppo-1") == "sft-1@10, ppo-1@2 are pinned: listed first, and not deleted.\n"
    names = [line.split()[0] for line in say("models").splitlines()[1:-1]]
    assert names == ["ppo-1@2", "sft-1@10", "ppo-1@3", "ppo-1@1", "sft-1@20"]
    assert say("models", "unpin", "sft-1@10") == "sft-1@10 is no longer pinned.\n"
    assert [line.split()[0] for line in say("models", "--tag", "slow").splitlines()[1:-1]] == ["sft-1@10"]
    assert "No checkpoint has the tag none" in say("models", "--tag", "none")
    (facts,) = json.loads(say("models", "--tag", "slow", "--json"))
    assert (facts["name"], facts["tags"], facts["is_pinned"]) == ("sft-1@10", ["first", "slow", "new"], False)
    for verb in ("note", "tag", "pin", "unpin"):
        assert "There is no checkpoint named 'zz-1'" in say("models", verb, "zz-1", code=1)


def test_a_deleted_checkpoint_is_not_pinned_and_its_note_can_still_be_read(ws, say):
    say("models", "note", "sft-1@20", "A note that stays.")
    deletion.delete(ws, ["sft-1@20"])
    assert "was deleted on" in say("models", "pin", "sft-1@20", code=1)
    assert say("models", "note", "sft-1@20") == "A note that stays.\n"
