"""Which run goes where: every GPU is a lane of its own, the CPU is one more, and each lane works on one run at a time.

A run takes its lanes by kernel locks, which are released even on kill -9. A lane goes to the first run in the queue that
could use it, so a later run never overtakes an earlier one that waits for the same GPU, and never waits for another one.
"""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

from modules.config import StageConfig, TrainConfig
from studio.errors import ConfigError
from studio.runs import gpus
from studio.workspace import Workspace

CPU = "cpu"
FOLDER = "lanes"
"""Of the lock files, in the workspace."""


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
    """The names of what `held` holds; () when the lanes are not to be had now."""
    with held(ws, config, ahead) as mine:
        yield tuple(mine)


@contextmanager
def held(ws: Workspace, config: StageConfig, ahead: list[StageConfig]) -> Iterator[dict[str, IO[str]]]:
    """Hold as many lanes as the run needs for the length of the block; yields {} when they are not to be had now.

    A process that inherits the open files holds the lanes too, and goes on to when the block has ended.

    Args:
        ws: The workspace.
        config: The run's.
        ahead: Configs of the runs that come before it in the queue.

    Yields:
        Lane to the open file whose lock it is.
    """
    num_gpus = gpus.count()
    claimed = {lane for other in ahead for lane in usable(other, num_gpus)}
    lanes = [lane for lane in usable(config, num_gpus) if lane not in claimed]
    with ExitStack() as stack:
        free = {lane: file for lane in lanes if try_lock(file := stack.enter_context(lock_file(ws, lane)))}
        num = needed(config, num_gpus)
        busy = {f"gpu{holder.gpu}" for holder in gpus.holders()} if len(free) > num else set()
        chosen = sorted(free, key=lambda lane: lane in busy)[:num]  # a GPU that another program uses is the last choice
        for lane in free.keys() - set(chosen):
            free[lane].close()
        yield {lane: free[lane] for lane in sorted(chosen)} if len(chosen) == num else {}


def lock_file(ws: Workspace, name: str) -> IO[str]:
    """The open file whose kernel lock stands for a lane, or for something else that one process does at a time."""
    folder = ws.root / FOLDER
    folder.mkdir(exist_ok=True)
    return (folder / f"{name}.lock").open("a")


def try_lock(file: IO[str]) -> bool:
    """Whether the lock could be taken; it lasts until the file is closed by all that have it open."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
