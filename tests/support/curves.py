"""A learning curve that no model was trained for: whether reward models were right is drawn, along a known power law."""

import random
from collections.abc import Sequence
from typing import Any

from modules.config import CurveConfig
from studio.insights import learning_curves
from studio.insights.learning import PowerLaw
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
    snapshot = stored.freeze(ws)
    config = CurveConfig(reward_checkpoint="reward-1@40", snapshot=snapshot.name, num_sizes=len(sizes))
    with ws.write() as db:
        row = {
            "name": name,
            "stage": "curve",
            "state": "finished",
            "config": config.model_dump_json(),
            "revision": "x",
        }
        at = {
            "created_at": "2026-06-01T10:00:00.000+00:00",
            "started_at": "2026-06-01T10:00:00.000+00:00",
            "ended_at": "2026-06-01T11:00:00.000+00:00",
        }
        run_id: Any = db.table("runs").insert(row | at | {"snapshot_id": snapshot.id, "message": "Measured."}).last_pk
        curve = learning_curves.keep(db, {"name": name}, [], [], sizes[-1], [*range(1, num_held_out + 1)])
        for seed in range(num_seeds):
            for size in sizes:
                hits = [rng.random() < LAW.at(size) for _ in range(num_held_out)]
                learning_curves.add(db, run_id, curve, size, seed, hits)
    return stored.read(ws, runs.get, name)
