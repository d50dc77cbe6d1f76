"""Borrows a GPU for work outside runs: the process that computes on it holds the same kernel lock as a run.

So it is free again even after kill -9, and an answer to a prompt never takes a run's memory. The CPU is shared.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlite_utils import Database

from modules.config import SampleConfig
from studio.errors import RunError
from studio.runs import devices, gpus, queue, runs
from studio.workspace import Workspace

POLL_S = 0.5
VISIBLE = "CUDA_VISIBLE_DEVICES"


@contextmanager
def borrowed(ws: Workspace, device: str = "auto", gpu: int = -1, *, is_patient: bool = False) -> Iterator[str]:
    """Hold a GPU for the length of the block, in which this process sees no other. CUDA must not be in use before.

    Args:
        ws: The workspace.
        device: ``cpu`` uses none, anything else takes one where there is one.
        gpu: Its number; -1 for any.
        is_patient: Wait until one is free that no waiting run could use; otherwise refuse at once.

    Yields:
        The device, such as gpu0; cpu where no GPU is used.

    Raises:
        RunError: All are in use; the message says by what.
    """
    before = os.environ.get(VISIBLE)
    try:
        if device == "cpu" or not gpus.can_be_used():
            os.environ[VISIBLE] = ""
            yield devices.CPU
            return
        config = SampleConfig(gpu=gpu)
        while True:
            with ws.read() as db:
                waiting = [run for run in queue.waiting(db) if not run.pause_requested] if is_patient else []
            with devices.taken(ws, config, queue.claimed(waiting)) as mine:
                if mine:
                    if mine != (devices.CPU,):
                        os.environ[VISIBLE] = gpus.visible(mine)
                    yield mine[0]
                    return
            if not is_patient:
                with ws.read() as db:
                    raise RunError(busy(db, config))
            time.sleep(POLL_S)
    finally:
        if before is None:
            os.environ.pop(VISIBLE, None)
        else:
            os.environ[VISIBLE] = before


def busy(db: Database, config: SampleConfig) -> str:
    """Say what is using the GPUs that could have been taken, and what to do."""
    holders = {device: run.name for run in runs.list_all(db, state="running") for device in run.lane.split("+")}
    said = []
    for device in devices.usable(config, gpus.count()):
        if device == devices.CPU:
            said.append(f"{holders.get(device, 'another task of the studio')} works on the GPU")
        else:
            other = devices.other_workspace(db, device)
            holder = holders.get(device) or (f"the workspace {other}" if other else "another task of the studio")
            said.append(f"{holder} works on {gpus.words(device)}")
    return (
        f"{' and '.join(said)}: try again when it has ended, or use the CPU (device=cpu; at the terminal --device cpu)."
    )
