"""The look before the start: what is taught, what is left out, and when a run is refused."""

import json
import shutil
from collections import Counter

import pytest

from assets import STARTER
from modules.config import PPOConfig, RewardConfig, SFTConfig
from modules.data.stages import refusal
from studio.cli import main
from studio.errors import RunError
from studio.runs import launcher, prepare, preview, runs
from studio.runs.prepare import Prepared
from studio.workspace import Workspace
from tests.support import stored, warm
from tests.ui import filling
from ui.pages.train import page as train_page
from ui.pages.train import preview as page_preview


@pytest.fixture
def quick_starts():
    with warm.starts():
        yield


@pytest.fixture
def ws(tmp_path) -> Workspace:
    ws = Workspace.open(tmp_path / "studio")
    filling.add_texts(ws, 12)
    return ws


def lesson(ws: Workspace, config: SFTConfig) -> preview.Lesson:
    return preview.lesson(ws, prepare.resolve(ws, config))


def test_the_answer_is_taught_and_the_prompt_read(ws):
    found = lesson(ws, SFTConfig())
    first = found.examples[0]
    taught = "".join(text for text, part in first.tokens if part == "taught")
    read = "".join(text for text, part in first.tokens if part == "read")
    assert taught.startswith("Certainly. Here is what you asked for, number ")
    assert "Certainly" not in read
    assert "(" in read
    assert found.refusal == ""
    assert "None of these is left out, and none is cut." in found.summary


@pytest.mark.usefixtures("quick_starts")
def test_too_many_rows_left_out_are_refused_with_count_and_reason(ws):
    longest = lesson(ws, SFTConfig()).longest
    found = lesson(ws, SFTConfig(max_length=longest - 1, max_dropped=0.0))
    assert "rows (" in found.refusal
    assert "start anyway with max_dropped=1" in found.refusal
    assert found.may_start_anyway, "a field says so, not the words"
    assert f"longer than max_length = {longest - 1} tokens" in found.summary
    assert lesson(ws, SFTConfig(max_length=longest - 1, max_dropped=1.0)).refusal == ""


@pytest.mark.parametrize(("dropped", "is_refused"), [(0, False), (10, False), (11, True)])
def test_a_run_is_refused_above_the_stated_share_only(dropped, is_refused):
    assert bool(refusal(SFTConfig(max_dropped=0.1), Counter({"too long": dropped}), 100)) is is_refused


def row(content: str, **more):
    return {"prompt_id": 1, "category": "", "messages": [{"role": "user", "content": content}], **more}


@pytest.mark.parametrize(
    ("config", "rows", "expected"),
    [
        (SFTConfig(max_length=512), {"train": [row("a" * 300)]}, False),
        (SFTConfig(max_length=512), {"train": [row("a" * 500)]}, True),
        (SFTConfig(max_length=512), {"train": [row("雪" * 160)]}, True),
        (RewardConfig(), {"train": [row("a", chosen="b" * 500, rejected="c")]}, True),
        (PPOConfig(), {"train": [row("a" * 200)]}, True),
        (PPOConfig(), {"train": [row("a" * 100)]}, False),
        (PPOConfig(max_new_tokens=300), {"train": [row("a" * 100)]}, True),
    ],
)
def test_rows_that_are_short_in_bytes_need_no_tokenizer(ws, monkeypatch, config, rows, expected):
    monkeypatch.setattr(preview, "base_of", lambda ws, config: ("starter", "own"))
    assert preview._may_drop(ws, Prepared(config, {}, rows)) is expected


@pytest.mark.usefixtures("quick_starts")
def test_a_look_leaves_no_trace(ws):
    before = stored.tables(ws)
    lesson(ws, SFTConfig())
    assert prepare.resolve(ws, SFTConfig()).rows["train"]
    assert stored.tables(ws) == before
    assert not list(ws.runs.iterdir())


def test_a_start_gathers_what_it_needs_once_from_the_page_as_from_the_terminal(ws, monkeypatch, capsys):
    resolve, gathered = prepare.resolve, []
    monkeypatch.setattr(prepare, "resolve", lambda *given: gathered.append(given) or resolve(*given))
    monkeypatch.setattr(launcher, "start", lambda ws, run: run)
    values = [getattr(SFTConfig(), name) for name in SFTConfig.model_fields]
    assert "sft-1 was started." in train_page._start(ws, "sft", False, *values)[0]
    assert len(gathered) == 1
    assert main(["sft", "--workspace", str(ws.root), "--detach"]) == 0
    assert len(gathered) == 2
    assert [run.name for run in stored.read(ws, runs.list_all)] == ["sft-2", "sft-1"]


@pytest.mark.usefixtures("quick_starts")
@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{{ 'x' * 2000000 }}", "writes more than 1,000,000 characters: choose the chat template chatml or plain"),
        ("{{ raise_exception('no turns today') }}", "no turns today"),
    ],
    ids=["endless", "refuses everything"],
)
def test_a_template_that_cannot_be_used_is_refused_before_a_run_also_where_rows_may_be_left_out(
    ws, tmp_path, capsys, template, sentence
):
    base = tmp_path / "base"
    shutil.copytree(STARTER / "model", base)
    (base / "chat_template.jinja").write_text(template)
    assert main(["sft", "--workspace", str(ws.root), "--set", f"base_model={base}", "--anyway"]) == 1
    assert sentence in capsys.readouterr().err
    with pytest.raises(RunError, match=sentence):
        page_preview.refusal(ws, prepare.resolve(ws, SFTConfig(base_model=str(base), max_dropped=1.0)))
    assert stored.read(ws, runs.list_all) == []
    assert not list(ws.runs.iterdir())


@pytest.mark.usefixtures("quick_starts")
def test_texts_beyond_the_models_positions_are_refused_also_where_rows_may_be_left_out(ws, tmp_path, capsys):
    base = tmp_path / "base"
    shutil.copytree(STARTER / "model", base)
    file = base / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_position_embeddings": 8}))
    assert main(["sft", "--workspace", str(ws.root), "--set", f"base_model={base}", "--anyway"]) == 1
    assert "but the model has 8 positions: lower max_length" in capsys.readouterr().err
    assert stored.read(ws, runs.list_all) == []
