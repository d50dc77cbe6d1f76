"""What stands where something is to be written was made by somebody, perhaps long ago: it is neither emptied nor lost."""

import fcntl
import os
from contextlib import suppress

import pytest

from studio import servers
from studio.annotation import prefetch
from studio.datasets import archive, exporting
from studio.files import whole
from studio.preferences import prompts
from studio.worker import predict
from studio.workspace import Workspace
from tests.support import stored


@pytest.fixture
def ws(tmp_path):
    made = Workspace.open(tmp_path / "workspace")
    stored.written(made, prompts.add_demonstration, [{"role": "user", "content": "Why?"}], "So.")
    return made


def texts(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["demonstrations", "archive"])
def test_an_export_of_before_that_differs_is_put_aside(ws, kind):
    def export(ws):
        return exporting.export_demonstrations(ws) if kind == "demonstrations" else archive.write(ws).path

    path = export(ws)
    path.write_text("all that is left of a workspace that was lost")
    export(ws)
    aside = path.with_name(f"{kind}-earlier-1.jsonl")
    assert aside.read_text() == "all that is left of a workspace that was lost"
    assert len(path.read_text()) > len(aside.read_text())
    before = texts(ws.exports)
    export(ws)
    assert texts(ws.exports) == before, "what is the same is not kept twice"


def test_of_exports_put_aside_the_last_seven_stay_and_those_that_somebody_changed(ws):
    for number in range(12):
        stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": f"Why {number}?"}], "So.")
        path = exporting.export_demonstrations(ws)
        if number == 2:
            path.write_text("with a word of mine")
        archive.write(ws)
    left = {each.name: each.read_text().count("\n") for each in ws.exports.glob("demonstrations-earlier-*")}
    kept = {f"demonstrations-earlier-{number}.jsonl": number + 1 for number in (5, 6, 7, 8, 9, 10, 11)}
    assert left == kept | {"demonstrations-earlier-3.jsonl": 0}
    assert len(list(ws.exports.glob("archive-earlier-*"))) == 7


def test_a_folder_of_before_that_differs_is_put_aside(tmp_path):
    target = tmp_path / "sft-1@13"
    for note in ("first", "second", "second", "third"):
        with whole.beside(target) as part:
            (part / "policy").mkdir(parents=True)
            (part / "policy" / "weights").write_text(note)
            assert whole.place(part, target) == target
    assert {path.name: (path / "policy" / "weights").read_text() for path in tmp_path.iterdir()} == {
        "sft-1@13": "third",
        "sft-1@13-earlier-1": "first",
        "sft-1@13-earlier-2": "second",
    }


def test_what_was_written_beside_is_taken_away_after_an_error_and_nothing_else(tmp_path):
    (tmp_path / ".a.part").write_text("of another process")

    def write():
        with whole.beside(tmp_path / "a") as part:
            part.mkdir()
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        write()
    assert texts(tmp_path) == {".a.part": b"of another process"}


@pytest.mark.parametrize("name", ["announcing.lock", "sampling-ahead.lock", "predictions.lock"])
def test_a_lock_is_taken_without_emptying_what_bears_its_name(ws, name, monkeypatch):
    precious = place_of(ws, name)
    precious.write_text("notes")
    LOCKING[name](ws, monkeypatch)
    assert precious.read_text() == "notes"


@pytest.mark.parametrize("name", ["announcing.lock", "sampling-ahead.lock", "predictions.lock"])
def test_a_link_that_bears_a_locks_name_is_not_followed(ws, name, monkeypatch):
    precious = ws.root / "notes.txt"
    precious.write_text("notes")
    place_of(ws, name).symlink_to(precious)
    with suppress(OSError):  # a server goes on without being known to others
        LOCKING[name](ws, monkeypatch)
    assert precious.read_text() == "notes"


def place_of(ws, name):
    folder = ws.root / "servers" if name == "announcing.lock" else ws.root
    folder.mkdir(exist_ok=True)
    return folder / name


def _sample(ws, monkeypatch):
    class Session:
        state, config, id = "open", type("C", (), {"source": "policy", "sample_below": 1, "target": 0}), 1
        num_given = 0

    monkeypatch.setattr(prefetch.sessions, "count_waiting", lambda *_: 0)
    monkeypatch.setattr(prefetch.sessions, "list_runs", lambda *_: [])
    assert prefetch.top_up(ws, Session()) is None


def _predict(ws, monkeypatch):
    monkeypatch.setattr(predict.checkpoints, "newest", lambda *_: type("R", (), {"id": 1, "name": "reward-1@1"}))
    monkeypatch.setattr(predict.predictions, "pending", lambda *_: [])
    assert predict.reply({"root": str(ws.root), "is_patient": True}).startswith("reward-1@1 predicted 0")


LOCKING = {
    "announcing.lock": lambda ws, _: servers.announce(ws, "http://127.0.0.1:1/"),
    "sampling-ahead.lock": _sample,
    "predictions.lock": _predict,
}


def test_a_server_leaves_files_that_no_server_made_and_empties_no_number_of_another_machine(ws):
    folder = ws.root / "servers"
    folder.mkdir()
    (folder / "mine.url").write_text("a note")
    (folder / f"{os.getpid()}.url").write_text("http://elsewhere/")
    with (folder / f"{os.getpid()}.url").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert servers.announce(ws, "http://127.0.0.1:1/") == ["http://elsewhere/"]
    assert (folder / "mine.url").read_text() == "a note"
    assert (folder / f"{os.getpid()}.url").read_text() == "http://elsewhere/"
