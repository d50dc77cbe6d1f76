"""Runs that differ in nothing but their seed stand together, with their spread."""

import pytest

from modules.config import SFTConfig
from studio.cli import main
from studio.runs import metrics, runs, seeds
from studio.workspace import Workspace
from tests.support import stored
from tests.ui import filling
from ui.pages.runs import curves


@pytest.fixture
def ws(tmp_path):
    """sft-1 to sft-5: seeds 0, 1 and again 1, another rate, and one that goes on."""
    ws = Workspace.open(tmp_path / "studio")
    filling.add_texts(ws)
    losses = (0.5, 0.9, 0.7, 0.1, 0.2)
    configs = [SFTConfig(), SFTConfig(seed=1), SFTConfig(seed=1), SFTConfig(learning_rate=1e-3), SFTConfig(seed=2)]
    for number, (config, loss) in enumerate(zip(configs, losses, strict=True), start=1):
        run = filling.add_run(ws, config, "finished" if number < 5 else "running", "at 0.4")
        with ws.write() as db:
            db.execute("DELETE FROM metrics WHERE run_id = ?", [run.id])
            metrics.add(db, run.id, 1, {"eval/loss": 3.0})
            metrics.add(db, run.id, 9, {"eval/loss": loss})
    return ws


def test_seeds_of_the_same_settings_stand_together_the_newest_of_each(ws):
    (group,) = stored.read(ws, lambda db: seeds.groups(db, runs.list_all(db)))
    assert (group.runs, group.seeds) == (("sft-1", "sft-3"), (0, 1))
    (spread,) = group.spreads
    assert (spread.words, spread.low, spread.high) == ("held-out loss", 0.5, 0.7)
    assert (spread.mean, spread.deviation) == pytest.approx((0.6, 0.2 / 2**0.5))
    assert group.sentence == (
        "2 seeds: sft-1 (seed 0), sft-3 (seed 1). Mean ± standard deviation, lowest to highest: held-out loss 0.6 ± 0.14 (0.5 to 0.7)."
    )


def test_a_run_without_another_seed_is_in_no_group(ws, capsys):
    for name, said in (
        ("sft-1", "2 seeds: sft-1"),
        ("sft-4", "No run has the settings of sft-4 with another seed"),
        ("sft-5", "No run"),
    ):
        assert main(["runs", "seeds", name, "--workspace", str(ws.root)]) == 0
        assert said in capsys.readouterr().out


def test_the_page_says_the_spread_of_the_runs_that_are_compared(ws):
    with ws.read() as db:
        one, two, other = (runs.get(db, name) for name in ("sft-1", "sft-3", "sft-4"))
        assert "0.6 ± 0.14 (0.5 to 0.7)" in curves.spread(db, [one, two, other])
        assert curves.spread(db, [one, other]) == ""
