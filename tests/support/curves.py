"""A learning curve that no model was trained for: whether reward models were right is drawn, along a known power law."""

import random
from collections.abc import Sequence
from typing import Any

from sqlite_utils import Database

from modules.config import CurveConfig
from studio.insights import learning_curves
from studio.insights.learning import PowerLaw
from studio.preferences import snapshots
from studio.preferences.snapshots import Recipe
from studio.runs import runs
from studio.runs.runs import Run
from studio.workspace import Workspace
from tests.support import stored

LAW = PowerLaw(0.8, 1.2, 0.5)


def fill(
    ws: Workspace,
    sizes: Sequence[int],
    *,
    num_held_out: int = 200,
    num_seeds: int = 5,
    name: str = "curve-1",
) -> Run:
    """Let a finished run have measured reward models of these sizes; each size is half of the next."""
    rng = random.Random(0)
    with ws.write() as db:
        run_id = _run(ws, db, CurveConfig(num_sizes=len(sizes)), name)
        curve = learning_curves.keep(db, {"name": name}, [], [], sizes[-1], [*range(1, num_held_out + 1)])
        _measure(db, run_id, curve, sizes, LAW, num_seeds, num_held_out, rng)
    return stored.read(ws, runs.get, name)


def fill_arms(
    ws: Workspace,
    sizes: Sequence[int],
    worth: float,
    *,
    num_held_out: int = 4000,
    num_seeds: int = 5,
    name: str = "curve-1",
    num_active: int = 10**6,
) -> Run:
    """Let a finished run have measured reward models on chosen labels, worth so many random ones each, and on random labels."""
    rng = random.Random(0)
    prompts = [*range(1, num_held_out + 1)]
    config = CurveConfig(num_sizes=len(sizes), num_seeds=max(num_seeds, 2), arms=True)
    with ws.write() as db:
        run_id = _run(ws, db, config, name)
        drawn = learning_curves.keep(db, {"name": name}, [], [], sizes[-1], prompts, {"arm": "random"})
        beside = {"arm": "active", "random_id": drawn}
        chosen = learning_curves.keep(db, {"name": name}, [], [], num_active, prompts, beside)
        for curve, law in ((chosen, LAW._replace(drop=LAW.drop * worth**-LAW.rate)), (drawn, LAW)):
            _measure(db, run_id, curve, sizes, law, num_seeds, num_held_out, rng, differing=0.1)
    return stored.read(ws, runs.get, name)


def _run(ws: Workspace, db: Database, config: CurveConfig, name: str) -> int:
    snapshot = snapshots.freeze(db, Recipe())
    named = config.model_copy(update={"reward_checkpoint": "reward-1@40", "snapshot": snapshot.name})
    row = {"name": name, "stage": "curve", "state": "finished", "config": named.model_dump_json(), "revision": "x"}
    at = {
        "created_at": "2026-06-01T10:00:00.000+00:00",
        "started_at": "2026-06-01T10:00:00.000+00:00",
        "ended_at": "2026-06-01T11:00:00.000+00:00",
    }
    run_id: Any = db.table("runs").insert(row | at | {"snapshot_id": snapshot.id, "message": "Measured."}).last_pk
    return run_id


def _measure(
    db: Database,
    run_id: int,
    curve: int,
    sizes: Sequence[int],
    law: PowerLaw,
    num_seeds: int,
    num_held_out: int,
    rng: random.Random,
    differing: float = 1.0,
) -> None:
    """Store where each reward model was right; seeds differ on this share of the held-out votes only."""
    common = [rng.random() for _ in range(num_held_out)]
    for seed in range(num_seeds):
        for size in sizes:
            hits = [(rng.random() if rng.random() < differing else hard) < law.at(size) for hard in common]
            learning_curves.add(db, run_id, curve, size, seed, hits)
