"""Folders of runs and checkpoints are made once: what is on the disk is never taken, emptied or deleted."""

import shutil

import pytest

from modules.config import SFTConfig
from studio.errors import RunError, WorkspaceError
from studio.files import folders
from studio.preferences import prompts
from studio.runs import runs
from studio.workspace import Workspace
from tests.support import stored


@pytest.fixture
def ws(tmp_path):
    made = Workspace.open(tmp_path / "workspace")
    stored.written(made, prompts.add_demonstration, [{"role": "user", "content": "Why?"}], "So.")
    return made


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def leave_behind(ws, name):
    """A run's folder as a run leaves it, of which the database knows nothing."""
    weights = ws.runs / name / "checkpoints" / "step-000013" / "policy" / "adapter.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"days of work")
    (ws.runs / name / "log.txt").write_text("step 13")


def test_a_run_takes_no_name_that_is_on_the_disk_when_the_database_was_lost_or_restored(ws):
    for name in ("sft-1", "sft-3"):
        leave_behind(ws, name)
    before = contents(ws.runs)
    assert [runs.create(ws, SFTConfig()).name for _ in range(2)] == ["sft-2", "sft-4"]
    assert {file: text for file, text in contents(ws.runs).items() if file in before} == before


@pytest.mark.parametrize("kind", ["file", "link to nowhere", "empty folder"])
def test_a_run_takes_no_name_that_anything_has(ws, kind):
    path = ws.runs / "sft-1"
    if kind == "file":
        path.write_text("notes")
    elif kind == "empty folder":
        path.mkdir()
    else:
        path.symlink_to(ws.root / "nowhere")
    assert runs.create(ws, SFTConfig()).name == "sft-2"
    assert path.is_symlink() or path.read_text() == "notes" if kind != "empty folder" else not list(path.iterdir())


def test_a_creation_that_fails_takes_away_only_what_it_made(ws, monkeypatch):
    leave_behind(ws, "sft-1")
    before = contents(ws.runs)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders, "_write_rows", full)
    with pytest.raises(RunError, match="No space left on device"):
        runs.create(ws, SFTConfig())
    monkeypatch.undo()
    monkeypatch.setattr(folders, "free_name", lambda *_: "sft-1")  # another program made it in this very moment
    with pytest.raises(RunError, match="could not be written: File exists"):
        runs.create(ws, SFTConfig())
    assert contents(ws.runs) == before
    assert stored.read(ws, runs.list_all) == []


def test_a_run_whose_row_cannot_be_committed_leaves_no_folder(ws, monkeypatch):
    real = Workspace.write

    def failing(self):
        from contextlib import contextmanager

        @contextmanager
        def block():
            with real(self) as db:
                yield db
                raise WorkspaceError("The disk is full.")

        return block()

    monkeypatch.setattr(Workspace, "write", failing)
    with pytest.raises(WorkspaceError, match="disk is full"):
        runs.create(ws, SFTConfig())
    assert list(ws.runs.iterdir()) == []


def test_a_checkpoint_of_the_same_step_that_the_database_forgot_stays_and_the_new_one_gets_a_place_of_its_own(tmp_path):
    first = folders.write(tmp_path / "checkpoints" / "step-000002", lambda path: (path / "weights").write_text("old"))
    again = folders.write(first, lambda path: (path / "weights").write_text("new"))
    assert (first.name, again.name) == ("step-000002", "step-000002-2")
    assert (first / "weights").read_text() == "old"
    assert (again / "weights").read_text() == "new"


def test_a_checkpoint_appears_whole_or_not_at_all_and_half_of_an_earlier_one_is_left_alone(tmp_path):
    half = tmp_path / ".step-000002.part"
    half.mkdir()
    (half / "weights").write_text("of a save that was killed")

    def broken(path):
        (path / "weights").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        folders.write(tmp_path / "step-000002", broken)
    assert [path.name for path in tmp_path.iterdir()] == [half.name]
    assert folders.write(tmp_path / "step-000002", lambda path: None).name == "step-000002"
    assert (half / "weights").exists()


def test_an_older_database_put_back_changes_no_folder_of_a_run_made_since(ws):
    shutil.copy(ws.database, ws.root / "backup.db")
    made = runs.create(ws, SFTConfig(seed=1)).name
    (runs.folder(ws, made) / "log.txt").write_text("worked for days")
    shutil.copy(ws.root / "backup.db", ws.database)
    for rest in ("-wal", "-shm"):
        (ws.root / f"studio.db{rest}").unlink(missing_ok=True)
    before = contents(runs.folder(ws, made))
    assert runs.create(ws, SFTConfig(seed=2)).name == "sft-2"
    assert contents(runs.folder(ws, made)) == before
