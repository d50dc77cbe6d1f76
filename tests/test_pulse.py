"""How a run is doing, in figures."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from modules.config import PPOConfig, SFTConfig
from studio import metrics, pulse, runs
from studio.workspace import Workspace
from tests.ui import filling


@pytest.fixture
def ws(tmp_path) -> Workspace:
    ws = Workspace.open(tmp_path / "studio")
    filling.add_texts(ws)
    return ws


def started_ago(run: runs.Run, seconds: float) -> runs.Run:
    return dataclasses.replace(run, started_at=(datetime.now(UTC) - timedelta(seconds=seconds)).isoformat())


def test_the_time_left_goes_on_at_the_pace_so_far(ws):
    run = started_ago(filling.add_run(ws, SFTConfig(), "running"), 400)
    found = pulse.of_run(ws, run)
    assert run.progress == 0.4
    assert found is not None
    assert found.left_s == pytest.approx(600, abs=5)
    assert found.words()[:2] == ["7 min so far", "about 10 min left"]


def test_ppo_tells_its_speed_and_where_its_time_goes(ws):
    run = dataclasses.replace(filling.add_run(ws, SFTConfig(), "running"), config=PPOConfig(batch_size=10))
    values = {"time/rollout_s": 2.0, "time/score_s": 1.0, "time/update_s": 1.0, "rollout/response_tokens": 20.0}
    metrics.add(ws, run.id, 1, values)
    found = pulse.of_run(ws, run)
    assert found is not None
    assert found.shares == {"rollout": 0.5, "scoring": 0.25, "update": 0.25}
    assert found.tokens_per_s == 10 * 20 / 4


def test_a_run_that_waits_has_no_figures_and_an_ended_one_no_time_left(ws):
    assert pulse.of_run(ws, filling.add_run(ws, SFTConfig(), "queued")) is None
    found = pulse.of_run(ws, filling.add_run(ws, SFTConfig()))
    assert found is not None
    assert found.left_s is None
    assert found.words()[0].startswith("took ")
