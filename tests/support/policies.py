"""A workspace with two policies of one base model, as chat and serving need."""

from pathlib import Path

from studio.workspace import Workspace
from tests.test_exporting import make_checkpoint

QUESTION = [{"role": "user", "content": "Where is the fox?"}]


def workspace(root: Path) -> Workspace:
    """Make it: sft-1@1 and sft-2@1, the starter model with random adapters of their own."""
    ws = Workspace.open(root)
    for seed in range(2):
        make_checkpoint(ws, "policy", seed=seed)
    return ws
