"""A workspace with two policies of one base model, as chat and serving need."""

from pathlib import Path

from modules.config import RewardConfig
from studio.models import checkpoints
from studio.workspace import Workspace
from tests.support import stored
from tests.test_exporting import make_checkpoint

QUESTION = [{"role": "user", "content": "Where is the fox?"}]


def workspace(root: Path) -> Workspace:
    """Make it: sft-1@1 and sft-2@1, the starter model with random adapters of their own."""
    ws = Workspace.open(root)
    for seed in range(2):
        make_checkpoint(ws, "policy", seed=seed)
    return ws


def as_reward(ws: Workspace, name: str) -> None:
    """Let a checkpoint count as one of a reward run."""
    with ws.write() as db:
        found = stored.read(ws, checkpoints.get, name)
        db.execute(
            "UPDATE runs SET stage = 'reward', config = ? WHERE id = ?",
            [RewardConfig().model_dump_json(), found.run_id],
        )


def add_reward(ws: Workspace) -> str:
    """Add a reward model of the same base model, with random weights; returns its name."""
    name, _ = make_checkpoint(ws, "reward")
    as_reward(ws, name)
    return name
