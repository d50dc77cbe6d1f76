"""Assigns runs to devices: every GPU is one, the CPU is one more, and each has one run at a time.

A run takes its devices by kernel locks, which are released even on kill -9: the CPU's lies in the workspace, a GPU's in XDG's
state folder, named by the card, since all workspaces share it whatever number a shell gives it. A device goes to the first
run in the queue that can use it: a later run never overtakes an earlier one that waits for the same GPU, nor waits for
another GPU's run.
"""

import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from sqlite_utils import Database

from modules.config import StageConfig, TrainConfig
from studio.errors import ConfigError
from studio.files import folders, locks
from studio.runs import gpus
from studio.workspace import Workspace

CPU = "cpu"
FOLDER = "lanes"
"""Folder of the lock files, in the workspace."""
ASKED_S = 10.0
"""Seconds for which a run that waits has asked for a GPU; it asks again each time its turn is looked at."""
_WANTED = ".wanted"


def usable(config: StageConfig, num_gpus: int) -> tuple[str, ...]:
    """Return the devices that a run could go to, on a machine with so many GPUs."""
    if config.device == "cpu" or not num_gpus:
        return (CPU,)
    return (f"gpu{config.gpu}",) if config.gpu >= 0 else tuple(f"gpu{number}" for number in range(num_gpus))


def is_there(device: str) -> bool:
    """Return whether a device exists: a GPU that a waiting run names may have been lost, or taken out, meanwhile."""
    return device == CPU or int(device.removeprefix("gpu")) < gpus.count()


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


def cards(config: StageConfig) -> set[str]:
    """Return what names the devices that a run could go to, whatever numbers a shell gives them."""
    return {_card(device) for device in usable(config, gpus.count())}


@contextmanager
def taken(ws: Workspace, config: StageConfig, claimed: Collection[str] = ()) -> Iterator[tuple[str, ...]]:
    """Hold devices as `held` does and yield their names; () when the devices are taken now."""
    with held(ws, config, claimed) as mine:
        yield tuple(mine)


@contextmanager
def held(ws: Workspace, config: StageConfig, claimed: Collection[str] = ()) -> Iterator[dict[str, IO[str]]]:
    """Hold as many devices as the run needs for the length of the block; yields {} when they are taken now.

    A process that inherits the open files holds the devices too, also after the block has ended.

    Args:
        ws: The workspace.
        config: The run's config.
        claimed: The `cards` of the runs before it in the queue.

    Yields:
        Device to its open lock file.
    """
    num_gpus = gpus.count()
    devices = [each for each in usable(config, num_gpus) if is_there(each) and _card(each) not in claimed]
    with ExitStack() as stack:
        free = {each: file for each in devices if (file := _locked(ws, each, stack))}
        num = needed(config, num_gpus)
        busy = {f"gpu{holder.gpu}" for holder in gpus.holders()} if len(free) > num else set()
        chosen = sorted(free, key=lambda device: device in busy)[
            :num
        ]  # one that another program uses is the last choice
        for device in free.keys() - set(chosen):
            free[device].close()
        yield {device: free[device] for device in sorted(chosen)} if len(chosen) == num else {}


def lock_file(ws: Workspace, name: str) -> IO[str]:
    """Open the file whose kernel lock stands for the CPU, or for a task that one process of a workspace does at a time."""
    return _opened(ws.root / FOLDER, name)


def ask_for(ws: Workspace, config: StageConfig) -> None:
    """Let the chats of other workspaces know that a run waits for a GPU that they may hold."""
    for card in cards(config) - {CPU}:
        with suppress(OSError, RuntimeError):
            file = folders.state() / FOLDER / f"{card}{_WANTED}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{ws.root.resolve()}\n", encoding="utf-8")


def asked_for_by(ws: Workspace, card: str) -> str:
    """Return the name of another workspace whose run asked for a GPU in the last seconds; empty where none did."""
    with suppress(OSError, RuntimeError):
        file = folders.state() / FOLDER / f"{card}{_WANTED}"
        asking = Path(file.read_text(encoding="utf-8").strip())
        is_new = time.time() - file.stat().st_mtime < ASKED_S
        return asking.name if is_new and asking != ws.root.resolve() else ""
    return ""


def other_workspace(db: Database, device: str) -> str:
    """Return the name of another workspace than this database's whose work holds a GPU; empty where none does."""
    here = Path(next(db.query("SELECT workspace() AS here"))["here"]).resolve()
    with suppress(OSError, RuntimeError), _shared(device).open(encoding="utf-8") as file:
        holder = Path(file.read().strip())
        return holder.name if holder != here and locks.is_locked(file) else ""
    return ""


def _locked(ws: Workspace, device: str, stack: ExitStack) -> IO[str] | None:
    """Return a device's file with its lock held, until the stack ends; None where another process holds it."""
    if device == CPU:
        return _kept(lock_file(ws, CPU), stack)
    with suppress(OSError, RuntimeError):  # no home, or one that cannot be written or knows no locks
        path = _shared(device)
        if file := _kept(_opened(path.parent, path.stem), stack):
            file.truncate(0)
            file.write(f"{ws.root.resolve()}\n")
            file.flush()
        return file
    return _kept(lock_file(ws, _card(device)), stack)


def _kept(file: IO[str], stack: ExitStack) -> IO[str] | None:
    stack.enter_context(file)
    return file if locks.try_lock(file) else None


def _shared(device: str) -> Path:
    """Return the file that stands for a GPU in all workspaces; it says which one holds it."""
    return folders.state() / FOLDER / f"{_card(device)}.lock"


def _card(device: str) -> str:
    # The names of some GPUs that are shared in parts hold a slash.
    return CPU if device == CPU else gpus.identity(device).replace("/", "_")


def _opened(folder: Path, name: str) -> IO[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / f"{name}.lock").open("a", encoding="utf-8")
