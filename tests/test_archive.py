"""Archives that are cut, changed, packed, newer or beheaded: each is restored whole or refused in a sentence, never taken for prompts."""

import gzip
import json
import re

import pytest

from studio.cli import main
from studio.datasets import archive, importing
from studio.errors import ImportRefused
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.workspace import Workspace
from tests.support import stored


@pytest.fixture
def ws(tmp_path):
    """Six pairs, all of them rated."""
    ws = Workspace.open(tmp_path / "workspace")
    with ws.write() as db:
        for number in range(6):
            prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"Question {number}"}]))
            pair = [prompts.add_response(db, prompt_id, f"{side} {number}", "import") for side in ("one", "two")]
            comparisons.add_comparison(db, prompt_id, (pair[0], pair[1]))
    while showing := stored.written(ws, comparisons.next_showing):
        stored.written(ws, ratings.record, showing.id, "left", strength=2)
    return ws


@pytest.fixture
def path(ws):
    return archive.write(ws).path


@pytest.fixture
def empty(tmp_path):
    return Workspace.open(tmp_path / "empty")


@pytest.fixture
def cli(empty, capsys):
    """Run a command in the empty workspace; returns exit code, stdout and stderr."""

    def call(*words):
        code = main([*words, "--workspace", str(empty.root)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def changed(path, change):
    """The archive with its lines changed, next to it."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    other = path.with_name("changed.jsonl")
    other.write_text("".join(change(lines)), encoding="utf-8")
    return other


def with_head(**facts):
    def change(lines):
        head = json.loads(lines[0]) | facts
        return [json.dumps({name: value for name, value in head.items() if value is not None}) + "\n", *lines[1:]]

    return change


def test_a_gzipped_archive_is_looked_at_and_restored_whatever_its_name(path, cli, empty):
    for name in ("archive.jsonl.gz", "packed.json"):
        packed = path.with_name(name)
        packed.write_bytes(gzip.compress(path.read_bytes()))
        code, out, _ = cli("import", "--preview", str(packed))
        assert code == 0
        assert f"{name}, an archive: 6 prompts, 12 responses, 6 comparisons, 6 showings, 6 rating events" in out
    assert not stored.read(empty, prompts.counts)["prompts"]
    code, out, _ = cli("import", str(packed))
    assert (code, "6 rating events" in out) == (0, True)
    assert stored.read(empty, ratings.summary)["rated"] == 6
    assert archive.write(empty).path.read_bytes() == path.read_bytes()


def test_an_archive_of_before_without_numbers_and_sha256_is_read(path, empty):
    old = changed(path, with_head(rows=None, sha256=None, migrations=["m001_first_schema"]))
    assert archive.look(old).rows == archive.read(empty, old).rows
    assert archive.write(empty).path.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda lines: lines[:-1], "has 47 rows where 48 were written: it was cut off"),
        (lambda lines: [*lines[:-1], lines[-1][:-20]], "cannot be read at line 49 "),
        (lambda lines: [line.replace('"left", "strength": 2', '"left", "strength": 3') for line in lines], "its sha256"),
        (lambda lines: lines[1:], "looks like an archive without its first line"),
        (lambda lines: [lines[0][:40] + "\n", *lines[1:]], "looks like an archive without its first line"),
        (lambda lines: ["\n", *lines[1:]], "looks like an archive without its first line"),
        (with_head(rows=3), "with a broken one"),
        (with_head(format="rlhf-studio-archive/2"), "was written by a newer version of RLHF Studio. Nothing"),
        (
            lambda lines: ['{"format": "rlhf-studio-archive/2", "tables": 3}\n', *lines[1:]],
            "was written by a newer version of RLHF Studio. Nothing",
        ),
        (with_head(migrations=["m001_first_schema", "m999_telepathy"]), r"newer version of RLHF Studio \(it has m999_tele"),
    ],
)  # fmt: skip
def test_what_is_no_whole_archive_of_this_version_is_refused_by_preview_and_import(path, cli, empty, change, sentence):
    broken = changed(path, change)
    for words in ((), ("--preview",)):
        code, out, err = cli("import", str(broken), *words)
        assert (code, out) == (1, "")
        assert re.search(sentence, err), err
        assert "Nothing was imported" in err
    assert not stored.read(empty, prompts.counts)["prompts"]


def test_a_damaged_gzip_file_is_refused(path, cli):
    packed = path.with_name("archive.jsonl.gz")
    packed.write_bytes(gzip.compress(path.read_bytes())[:-40])
    code, _, err = cli("import", str(packed))
    assert code == 1
    assert "Traceback" not in err
    assert "Nothing was imported" in err or "not a whole gzip file" in err


def test_an_archive_is_never_read_as_rows(path, empty, cli):
    with pytest.raises(ImportRefused, match="is an archive of a workspace, not a list of rows"):
        importing.preview(str(path))
    with pytest.raises(ImportRefused, match=r"archive.jsonl is an archive"):
        importing.import_source(empty, str(path.parent))
    code, _, err = cli("import", str(path), "--kind", "prompts")
    assert (code, "brings its own kinds" in err) == (1, True)
    rows = path.with_name("rows.jsonl")
    rows.write_text('{"table": "runs", "prompt": "How many \\"rlhf-studio-archive/2\\" are there?"}\n')
    assert importing.preview(str(rows)).num_kept == 1, "a table in somebody's own data is no archive"


def test_a_workspace_with_something_in_it_is_left_alone(ws, path, capsys):
    assert main(["import", str(path), "--workspace", str(ws.root)]) == 1
    err = capsys.readouterr().err
    assert "goes into an empty workspace, and workspace is not empty" in err
    assert "rlhf-studio import archive.jsonl --workspace NEW_FOLDER" in err
