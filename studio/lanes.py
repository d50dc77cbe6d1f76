"""Which run goes where: every GPU is a lane of its own, the CPU is one more, and each lane works on one run at a time.

A run takes its lanes by kernel locks, which are released even on kill -9. A lane goes to the first run in the queue that
could use it, so a later run never overtakes an earlier one that waits for the same GPU, and never waits for another one.
"""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

from modules.config import StageConfig, TrainConfig
from studio import gpus
from studio.errors import ConfigError
from studio.workspace import Workspace

CPU = "cpu"


def usable(config: StageConfig, num_gpus: int) -> tuple[str, ...]:
    """The lanes that a run could go to, on a machine with so many GPUs."""
    if config.device == "cpu" or not num_gpus:
        return (CPU,)
    return (f"gpu{config.gpu}",) if config.gpu >= 0 else tuple(f"gpu{number}" for number in range(num_gpus))


def needed(config: StageConfig, num_gpus: int) -> int:
    """How many of them it takes."""
    devices = config.devices if isinstance(config, TrainConfig) else 1
    return min(devices, len(usable(config, num_gpus)))


def check(config: StageConfig) -> None:
    """Refuse a GPU that is not there.

    Raises:
        ConfigError: `gpu` names none, or one where several are asked for.
    """
    if config.gpu < 0:
        return
    if isinstance(config, TrainConfig) and config.devices > 1:
        raise ConfigError(
            f"gpu chooses one GPU, but devices is {config.devices}: leave gpu at -1, or set devices to 1."
        )
    num = gpus.count()
    if config.device == "cpu" or not num:
        raise ConfigError(f"gpu is {config.gpu}, but the run is to use the CPU: set gpu to -1.")
    if config.gpu >= num:
        raise ConfigError(
            f"gpu is {config.gpu}, but this machine has {num} (0 to {num - 1}). Choose one of them, or -1."
        )


def check_here(config: StageConfig) -> None:
    """Refuse to compute on this machine what needs a GPU, as far as that can be told without torch.

    Raises:
        ConfigError: it asks for one, and none is known of. A run that is left to torchrun or SLURM may go to another machine.
    """
    if config.device == "cuda" and not gpus.may_be_there():
        raise ConfigError("There is no GPU on this machine: set device to auto or cpu.")


@contextmanager
def taken(ws: Workspace, config: StageConfig, ahead: list[StageConfig]) -> Iterator[tuple[str, ...]]:
    """Hold as many lanes as the run needs for the length of the block; yields () when they are not to be had now.

    Args:
        ws: The workspace.
        config: The run's.
        ahead: Configs of the runs that come before it in the queue.
    """
    num_gpus = gpus.count()
    claimed = {lane for other in ahead for lane in usable(other, num_gpus)}
    lanes = [lane for lane in usable(config, num_gpus) if lane not in claimed]
    busy = {f"gpu{holder.gpu}" for holder in gpus.holders()} if len(lanes) > 1 else set()
    lanes.sort(key=lambda lane: lane in busy)  # a GPU that another program uses is the last choice
    with ExitStack() as held:
        mine: list[str] = []
        for lane in lanes:
            if len(mine) < needed(config, num_gpus) and _try_lock(held.enter_context(_file(ws, lane))):
                mine.append(lane)
        yield tuple(sorted(mine)) if len(mine) == needed(config, num_gpus) else ()


def _file(ws: Workspace, lane: str) -> IO[str]:
    folder = ws.root / "lanes"
    folder.mkdir(exist_ok=True)
    return (folder / f"{lane}.lock").open("w")


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
