"""``rlhf-studio insights``: the figures as text and as JSON, and what it says where there are none."""

import json

import pytest

from modules.config import RewardConfig, SFTConfig
from studio.cli import main
from studio.workspace import Workspace
from tests.support import rated
from tests.support.rated import World
from tests.ui import filling


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "workspace")


def told(capsys, ws, *words: str) -> str:
    assert main(["insights", *words, "--workspace", str(ws.root)]) == 0
    return capsys.readouterr().out


def row(text: str, name: str) -> list[str]:
    return next(line for line in text.splitlines() if line.strip().startswith(name)).split("  ")


def test_the_command_tells_every_figure_with_its_interval_and_its_number(ws, capsys):
    (model,) = rated.fill(ws, World(num=300, error=0.1, repeats=120, models=(1.0,), raters=("ann", "bob")))
    text = told(capsys, ws)
    assert text.startswith("841 judgements of all raters.")
    for name in (
        "all: same judgement",
        "noise ceiling, at most",
        "accuracy",
        "Krippendorff's alpha, all",
        "ann: left side",
    ):
        cells = [cell.strip() for cell in row(text, name) if cell.strip()]
        assert len(cells) == 5, name
        assert " to " in cells[2]
        assert int(cells[3]) > 0
    assert f"\n{model} " in text
    assert "Calibration error" in text
    one = told(capsys, ws, "--rater", "bob")
    assert one.startswith("420 judgements of bob.")
    assert "ann: left side" not in one


def test_the_json_says_the_same(ws, capsys):
    rated.fill(ws, World(num=100, models=(1.0,)))
    found = json.loads(told(capsys, ws, "--json", "--newest", "90"))
    assert (found["num_read"], found["num_all"]) == (90, 151)
    assert found["reward_models"][0]["accuracy"]["num"] > 20
    assert found["consistencies"][0]["ceiling"]["num_prompts"] > 20


def test_what_is_not_there_is_said_with_the_next_step(ws, capsys):
    assert "Nothing is rated yet. Rate some pairs: rlhf-studio rate --workspace" in told(capsys, ws)
    rated.fill(ws, World(num=20, repeats=0, models=()))
    text = told(capsys, ws)
    assert (
        "Nothing has been rated twice yet. Sessions show some pairs again: rlhf-studio session start --workspace"
        in text
    )
    assert "There is no reward model yet. Train one: rlhf-studio reward --workspace" in text
    assert "No pair of these was judged by two raters." in text
    assert main(["insights", "--rater", "zoe", "--workspace", str(ws.root)]) == 1
    assert "The rater zoe has judged nothing that counts. Those who have: person." in capsys.readouterr().err


def test_a_reward_model_that_predicted_nothing_is_named_with_what_makes_it_predict(ws, capsys):
    rated.fill(ws, World(num=20, repeats=0, models=()))
    filling.add_texts(ws, 4)
    sft = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    model = filling.add_checkpoint(ws, filling.add_run(ws, RewardConfig(sft_checkpoint=sft)))
    text = told(capsys, ws)
    assert f"{model} has predicted none of these votes." in text
    assert "rlhf-studio session predict --workspace" in text


def test_a_hostile_name_cannot_steer_the_terminal(ws, capsys):
    rated.fill(ws, World(num=20, models=(), raters=("\x1b[31mred", "ann")))
    assert "\x1b" not in told(capsys, ws)
