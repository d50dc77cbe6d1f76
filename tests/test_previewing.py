"""The look before the start: what is taught, what is left out, and when a run is refused."""

from collections import Counter

import pytest

from modules.config import PPOConfig, RewardConfig, SFTConfig
from modules.stage_data import refusal
from studio import previewing, stages
from studio.stages import Prepared
from studio.workspace import Workspace
from tests.ui import filling


@pytest.fixture
def ws(tmp_path) -> Workspace:
    ws = Workspace.open(tmp_path / "studio")
    filling.add_texts(ws, 12)
    return ws


def test_the_answer_is_taught_and_the_prompt_read(ws):
    found = previewing.lesson(ws, SFTConfig())
    first = found.examples[0]
    taught = "".join(text for text, part in first.tokens if part == "taught")
    read = "".join(text for text, part in first.tokens if part == "read")
    assert taught.startswith("Certainly. Here is what you asked for, number ")
    assert "Certainly" not in read
    assert "(" in read
    assert found.refusal == ""
    assert "No row is left out, and none is cut." in found.summary


def test_too_many_rows_left_out_are_refused_with_count_and_reason(ws):
    longest = previewing.lesson(ws, SFTConfig()).longest
    found = previewing.lesson(ws, SFTConfig(max_length=longest - 1, max_dropped=0.0))
    assert "rows (" in found.refusal
    assert "start anyway with max_dropped=1" in found.refusal
    assert found.may_start_anyway, "a field says so, not the words"
    assert f"longer than max_length = {longest - 1} tokens" in found.summary
    assert previewing.lesson(ws, SFTConfig(max_length=longest - 1, max_dropped=1.0)).refusal == ""


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
    ],
)
def test_rows_that_are_short_in_bytes_need_no_tokenizer(config, rows, expected):
    assert previewing._may_drop(Prepared(config, {}, rows)) is expected


def test_a_look_leaves_no_trace(ws):
    previewing.lesson(ws, SFTConfig())
    assert stages.prepare(ws, SFTConfig()).rows["train"]
    assert not list(ws.runs.iterdir())
