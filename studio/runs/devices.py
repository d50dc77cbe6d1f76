"""Assigns runs to devices: every GPU is one, the CPU is one more, and each has one run at a time.

A run takes its devices by kernel locks, which are released even on kill -9. A device goes to the first run in the queue that
can use it: a later run never overtakes an earlier one that waits for the same GPU, nor waits for another GPU's run.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

from modules.config import StageConfig, TrainConfig
from studio.errors import ConfigError
from studio.files import locks
from studio.runs import gpus
from studio.workspace import Workspace

CPU = "cpu"
FOLDER = "lanes"
"""Folder of the lock files, in the workspace."""


def usable(config: StageConfig, num_gpus: int) -> tuple[str, ...]:
    """Return the devices that a run could go to, on a machine with so many GPUs."""
    if config.device == "cpu" or not num_gpus:
        return (CPU,)
    return (f"gpu{config.gpu}",) if config.gpu >= 0 else tuple(f"gpu{number}" for number in range(num_gpus))


def needed(config: StageConfig, num_gpus: int) -> int:
    """Return the number of devices that a run takes."""
    devices = config.devices if isinstance(config, TrainConfig) else 1
    return min(devices, len(usable(config, num_gpus)))


def check(config: StageConfig) -> None:
    """Refuse a GPU that does not exist.

    Raises:
        ConfigError: `gpu` names no GPU of this machine, or one GPU where several are asked for.
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
    """Refuse a run that needs a GPU where this machine has none, as far as that is known without torch.

    Raises:
        ConfigError: it asks for a GPU and none is known. A run left to torchrun or SLURM may go to another machine.
    """
    if config.device == "cuda" and not gpus.may_be_there():
        raise ConfigError("There is no GPU on this machine: set device to auto or cpu.")


@contextmanager
def taken(ws: Workspace, config: StageConfig, ahead: list[StageConfig]) -> Iterator[tuple[str, ...]]:
    """Hold devices as `held` does and yield their names; () when the devices are taken now."""
    with held(ws, config, ahead) as mine:
        yield tuple(mine)


@contextmanager
def held(ws: Workspace, config: StageConfig, ahead: list[StageConfig]) -> Iterator[dict[str, IO[str]]]:
    """Hold as many devices as the run needs for the length of the block; yields {} when they are taken now.

    A process that inherits the open files holds the devices too, also after the block has ended.

    Args:
        ws: The workspace.
        config: The run's config.
        ahead: Configs of the runs before it in the queue.

    Yields:
        Device to its open lock file.
    """
    num_gpus = gpus.count()
    claimed = {device for other in ahead for device in usable(other, num_gpus)}
    devices = [device for device in usable(config, num_gpus) if device not in claimed]
    with ExitStack() as stack:
        free = {each: file for each in devices if locks.try_lock(file := stack.enter_context(lock_file(ws, each)))}
        num = needed(config, num_gpus)
        busy = {f"gpu{holder.gpu}" for holder in gpus.holders()} if len(free) > num else set()
        chosen = sorted(free, key=lambda device: device in busy)[
            :num
        ]  # one that another program uses is the last choice
        for device in free.keys() - set(chosen):
            free[device].close()
        yield {device: free[device] for device in sorted(chosen)} if len(chosen) == num else {}


def lock_file(ws: Workspace, name: str) -> IO[str]:
    """Open the file whose kernel lock stands for a device, or for another task that one process does at a time."""
    folder = ws.root / FOLDER
    folder.mkdir(exist_ok=True)
    return (folder / f"{name}.lock").open("a")
