"""A GPU for work that is no run: held by the kernel lock that a run holds, by the very process that computes on it.

So it is free again even after kill -9, and a run never finds its memory taken by an answer to a prompt. The CPU is shared.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from modules.config import SampleConfig
from studio.errors import RunError
from studio.runs import devices, gpus, runs
from studio.workspace import Workspace

POLL_S = 0.5
VISIBLE = "CUDA_VISIBLE_DEVICES"


@contextmanager
def borrowed(ws: Workspace, device: str = "auto", gpu: int = -1, *, is_patient: bool = False) -> Iterator[str]:
    """Hold a GPU for the length of the block, in which this process sees no other. CUDA must not have been used before.

    Args:
        ws: The workspace.
        device: ``cpu`` uses none, anything else takes one where there is one.
        gpu: Its number; -1 for any.
        is_patient: Wait until one is free that no waiting run could use; else be refused at once.

    Yields:
        The lane, such as gpu0; cpu where no GPU is used.

    Raises:
        RunError: All are at work; the message says on what.
    """
    before = os.environ.get(VISIBLE)
    try:
        if device == "cpu" or not gpus.can_be_used():
            os.environ[VISIBLE] = ""
            yield devices.CPU
            return
        config = SampleConfig(gpu=gpu)
        while True:
            ahead = [run.config for run in runs.queue(ws) if not run.pause_requested] if is_patient else []
            with devices.taken(ws, config, ahead) as mine:
                if mine:
                    if mine != (devices.CPU,):
                        os.environ[VISIBLE] = gpus.visible(mine)
                    yield mine[0]
                    return
            if not is_patient:
                raise RunError(busy(ws, config))
            time.sleep(POLL_S)
    finally:
        if before is None:
            os.environ.pop(VISIBLE, None)
        else:
            os.environ[VISIBLE] = before


def busy(ws: Workspace, config: SampleConfig) -> str:
    """Who works on the GPUs that could have been taken, and what to do."""
    holders = {lane: run.name for run in runs.list_all(ws, state="running") for lane in run.lane.split("+")}
    said = []
    for lane in devices.usable(config, gpus.count()):
        place = "the GPU" if lane == devices.CPU else f"GPU {lane.removeprefix('gpu')}"
        said.append(f"{holders.get(lane, 'other work of the studio')} works on {place}")
    return (
        f"{' and '.join(said)}: try again when it has ended, or use the CPU (device=cpu; at the terminal --device cpu)."
    )
