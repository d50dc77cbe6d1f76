"""GGUF files: a converter is found, run and judged by what it wrote. The converter here is a stand-in, except where one is installed."""

import importlib
import os
import shlex
import stat
import subprocess
import sys

import pytest

from studio.cli import main, parser
from studio.errors import CheckpointError
from studio.models import export, gguf
from tests.support import policies, warm

# peft reads a property that transformers renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
STAND_IN = """#!{python}
import sys, time
folder, _, file, _, form = sys.argv[1:]
for share in (0, 50, 100):
    print(f"\\rWriting: {{share}}%|##| 1/1", end="", file=sys.stderr, flush=True)
print("", file=sys.stderr)
if {refuses}:
    print("NotImplementedError: this tokenizer is not known", file=sys.stderr)
    sys.exit(1)
open(file, "w").write(f"{{form}} of {{folder}}")
"""


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    with warm.starts():
        found = policies.workspace(tmp_path_factory.mktemp("gguf") / "studio")
        policies.add_reward(found)
        yield found


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv(gguf.VARIABLE, raising=False)


@pytest.fixture
def converter(tmp_path):
    """Make a stand-in."""

    def make(name=gguf.CONVERTER, refuses=False):
        path = tmp_path / name
        path.write_text(STAND_IN.format(python=sys.executable, refuses=refuses))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


def test_a_converter_is_found_where_it_is_given_named_or_on_the_path(converter, monkeypatch, tmp_path):
    assert gguf.find_converter() is None
    found = converter()
    monkeypatch.setenv("PATH", f"/nowhere{os.pathsep}{tmp_path}")
    assert gguf.find_converter() == found
    monkeypatch.setenv(gguf.VARIABLE, str(converter("other.py")))
    assert gguf.find_converter() == tmp_path / "other.py"
    assert gguf.find_converter(str(converter("third.py"))) == tmp_path / "third.py"
    with pytest.raises(
        CheckpointError, match=r"The converter /nowhere/x.py is not a file. Give the path of llama.cpp's"
    ):
        gguf.find_converter("/nowhere/x.py")


def test_without_a_converter_the_merged_folder_is_there_and_the_exact_line_is_said(ws, capsys):
    assert main(["export", "model", "sft-1", "--gguf", "--device", "cpu", "--workspace", str(ws.root)]) == 0
    out = capsys.readouterr().out
    folder, file = ws.exports / "sft-1@1-merged", ws.exports / "sft-1@1.gguf"
    assert f"python {gguf.CONVERTER} {folder} --outfile {file} --outtype f32" in out.replace("'", "")
    assert (folder / "model.safetensors").is_file()
    assert not file.exists()


def test_a_converter_is_run_with_progress_and_what_it_wrote_is_read_back(ws, converter, monkeypatch):
    read = []
    monkeypatch.setattr(
        gguf.children, "ask", lambda *given: read.append(given) or {"max_logit_difference": 0.0001, "max_logit": 12.0}
    )
    monkeypatch.setattr(gguf.export, "export_checkpoint", lambda ws, name, **how: ws.exports / f"{name}-merged")
    said = list(gguf.export_gguf(ws, "sft-1", converter=str(converter())))
    assert [each for each in said if each.startswith("Converting") and "%" in each] == [
        f"Converting with {gguf.CONVERTER}: {share} %." for share in (0, 50, 100)
    ]
    file = ws.exports / "sft-1@1.gguf"
    assert file.read_text() == f"f32 of {ws.exports / 'sft-1@1-merged'}"
    assert said[-1] == (
        f"Written to {file}. Read back by transformers, its logits differ by 0.0001 at most, where the largest is 12.\n"
        f"{export.serving(file, 'sft-1@1')}"
    )
    assert read[0][0] == "studio.worker.read_gguf"


def test_what_a_converter_refuses_or_what_is_not_the_model_is_a_sentence_and_nothing_is_written(
    ws, converter, monkeypatch
):
    monkeypatch.setattr(gguf.export, "export_checkpoint", lambda ws, name, **how: ws.exports / f"{name}-merged")
    with pytest.raises(
        CheckpointError, match="did not convert the model: NotImplementedError: this tokenizer is not known. "
    ):
        list(gguf.export_gguf(ws, "sft-2", converter=str(converter(refuses=True))))

    def differs(*given):
        raise gguf.ChildError("a logit differs by 3, where the largest is 12.")

    monkeypatch.setattr(gguf.children, "ask", differs)
    with pytest.raises(CheckpointError, match=r"is not the model: a logit differs by 3, .* Nothing was written"):
        list(gguf.export_gguf(ws, "sft-2", converter=str(converter("again"))))
    assert not list(ws.exports.glob("sft-2@1.gguf*"))
    unfinished = gguf.export_gguf(ws, "sft-2", converter=str(converter()))
    assert [next(unfinished) for _ in range(3)][-1].endswith("0 %.")
    unfinished.close()
    assert not list(ws.exports.glob("*sft-2@1.gguf*")), "who leaves in the middle leaves nothing"


def test_a_reward_model_is_refused(ws):
    with pytest.raises(CheckpointError, match="sft-3@1 is a reward model, and GGUF holds models that give answers"):
        list(gguf.export_gguf(ws, "sft-3"))


def test_without_the_package_that_reads_gguf_files_it_says_that_nothing_was_read_back(ws, converter, monkeypatch):
    reader = importlib.import_module("studio.worker.read_gguf")
    monkeypatch.setattr(reader, "is_gguf_available", lambda: False)
    monkeypatch.setattr(gguf.children, "ask", lambda *given: reader.compare(*given[2:]))
    monkeypatch.setattr(gguf.export, "export_checkpoint", lambda ws, name, **how: ws.exports / f"{name}-merged")
    said = list(gguf.export_gguf(ws, "sft-1", converter=str(converter())))
    assert "It was not read back: that needs the package gguf (pip install gguf).\n" in said[-1]


def test_the_lines_that_serve_an_export_can_be_pasted_whatever_the_folder_is_called(tmp_path):
    folder = tmp_path / "my exports" / "ppo-1@40"
    head, vllm, transformers, further = export.serving(folder, "ppo-1@40").splitlines()
    assert head.endswith(":")
    assert shlex.split(vllm) == ["vllm", "serve", str(folder), "--served-model-name", "ppo-1-40"]
    assert shlex.split(transformers) == ["transformers", "serve", str(folder)]
    assert parser().parse_args(shlex.split(further, comments=True)[1:]).gguf
    (_, line) = export.serving(folder.with_name("it's.gguf"), "ppo-1@40").splitlines()
    first = line.partition("&&")[0]
    subprocess.run(["/bin/sh", "-c", first], cwd=tmp_path, check=True)
    assert (tmp_path / "Modelfile").read_text() == "FROM " + str(folder.with_name("it's.gguf")) + "\n"
    assert "ollama create ppo-1-40 -f Modelfile" in line
