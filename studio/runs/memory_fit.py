"""Tells whether a run fits into the free memory: an estimate, and a probe that measures real steps.

The estimate is arithmetic (`modules.memory`), cheap enough for the page; the probe is a child process.
"""

import atexit
import itertools
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlite_utils import Database

from modules import memory
from modules.config import PPOConfig, TrainConfig
from modules.memory import Estimate
from studio.errors import BaseModelError, RunError, StudioError
from studio.models import base_models, parents
from studio.runs import devices, extent, gpus, prepare, preview
from studio.runs.prepare import Prepared
from studio.workspace import Workspace

LIBRARIES = 700 * 2**20
"""RAM that the libraries of a worker take. A GPU's context, with the kernels loaded and cuBLAS's workspace, is assumed to take
as much of the GPU's memory; it has not been measured."""
FIELDS = (
    "base_model", "method", "quantisation", "precision", "lora_rank", "lora_targets", "gradient_checkpointing", "batch_size",
    "minibatch_size", "micro_batch_size", "rollout_batch_size", "rollout_weights", "max_length", "max_prompt_length",
    "max_new_tokens", "packing", "keep_best", "device", "gpu", "devices",
)  # fmt: skip
"""The settings that an estimate depends on, besides the checkpoints."""
PROBE_TIMEOUT_S = 900.0
BEGIN_S = 30.0
"""A measurement not begun this many seconds after it was asked for never begins: its page was closed."""
END_S = 15.0
"""Seconds to wait for a process that was asked to end."""


@dataclass(frozen=True)
class Place:
    """Memory that a run can be put into."""

    title: str
    total: int
    free: int
    is_cpu: bool


@dataclass(frozen=True)
class Fit:
    """An estimate against what is free."""

    estimate: Estimate
    place: Place
    length: int
    """Tokens of the longest text that the estimate assumes."""
    advice: list[str]

    @property
    def needed(self) -> int:
        """Bytes, libraries included."""
        return self.estimate.total + LIBRARIES

    @property
    def is_fitting(self) -> bool:
        """True if it fits with a tenth to spare, since an estimate may be off."""
        return self.needed <= 0.9 * self.place.free

    @property
    def would_fit_alone(self) -> bool:
        """True if it fits once everything else has left the memory."""
        return self.needed <= 0.9 * self.place.total


@dataclass(frozen=True)
class Measured:
    """The result of a probe."""

    peak: int
    """Bytes, without the libraries."""
    libraries: int
    micro_batch_size: int
    """The micro-batch size of the measurement."""
    seconds: float
    """Seconds that all steps of the run would take, with texts of the mean length; of PPO the most, since responses end early."""
    num_steps: int
    largest: int
    """The largest micro-batch that fits, of the sizes tried."""
    whole: int
    """Texts of an optimizer step: no micro-batch is larger."""
    is_most: bool
    """The run may take less than `seconds`."""


class Stopped(RunError):
    """A measurement was stopped by a person, or by a newer one."""


class _Turn:
    """A measurement, from the request to its end, that others can stop."""

    def __init__(self, stage: str, page: str) -> None:
        self.stage, self.page = stage, page
        self.number = next(_numbers)
        self.is_stopped = False
        self.is_begun = False
        self.is_over = threading.Event()
        self._asked_at = time.monotonic()
        self._child: subprocess.Popen[str] | None = None

    @property
    def counts(self) -> bool:
        """Return False for one that was stopped, or whose page closed before it began."""
        is_late = not self.is_begun and time.monotonic() - self._asked_at > BEGIN_S
        return not (self.is_stopped or is_late or self.is_over.is_set())

    def take(self, child: subprocess.Popen[str]) -> None:
        self._child = child
        if self.is_stopped:
            child.terminate()

    def stop(self) -> None:
        """End it, and wait until its process is gone."""
        self.is_stopped = True
        if self._child:
            self._child.terminate()
        if self.is_begun:
            self.is_over.wait(END_S)


_numbers = itertools.count(1)
_changing = threading.Lock()
_at_work: dict[Path, _Turn] = {}
"""Workspace to its running measurement: two at a time would measure each other."""


def fit(db: Database, prepared: Prepared, longest: int = 0) -> Fit:
    """Estimate a run's memory and compare it with what is free on its device.

    Args:
        db: The workspace.
        prepared: The run, with what it takes over from its checkpoint.
        longest: Tokens of the longest text, where known; 0 assumes the longest that is allowed.

    Raises:
        StudioError: something the stage needs is missing, or the model's size is not known before its download.
    """
    config = prepared.config
    assert isinstance(config, TrainConfig)
    return _fit(config, preview.base_of(db, config)[0], longest)


def look(db: Database, config: TrainConfig) -> Fit:
    """Estimate as `fit` does for the longest texts that are allowed, in a millisecond or two: no row is read, no run is prepared.

    Raises:
        StudioError: as `fit`.
    """
    found = prepare.inherited(db, config)
    if found is None:
        return _fit(config, preview.base_of(db, config)[0], 0)
    return _fit(parents.fill(config, found), found.base_model, 0)


def _fit(config: TrainConfig, base_model: str, longest: int) -> Fit:
    devices.check_here(config)
    name = base_models.resolve(base_model)
    if not Path(name).is_dir():
        raise BaseModelError(
            f"The size of {name} is known once it has been fetched: start a run, or give a local folder."
        )
    sizes = memory.read_sizes(Path(name))
    place = place_of(config)
    load = memory.worst_load(config, sizes, longest)
    found = memory.estimate(config, sizes, load, is_cpu=place.is_cpu, gpu_bytes=0 if place.is_cpu else place.total)
    return Fit(found, place, load.length, memory.advice(config, found))


def place_of(config: TrainConfig) -> Place:
    """Return where a run would compute: the chosen GPU, else the first unused one, else the first; or RAM.

    Of several GPUs the one with the least free memory counts, since all take an equal share.
    """
    found = {} if config.device == "cpu" else {each.gpu: each for each in gpus.memories()}
    wanted = [config.gpu] if config.gpu >= 0 else _in_order_of_choice(list(found))[: config.devices]
    if usable := [found[gpu] for gpu in wanted if gpu in found]:
        least = min(usable, key=lambda each: each.free)
        title = f"GPU {least.gpu}, {least.title}" if len(found) > 1 else least.title
        return Place(title, least.total, least.free, is_cpu=False)
    ram = psutil.virtual_memory()
    return Place("RAM", ram.total, ram.available, is_cpu=True)


def _in_order_of_choice(found: list[int]) -> list[int]:
    """Sort GPUs as a run takes them (`studio.runs.devices`): unused ones first."""
    busy = {holder.gpu for holder in gpus.holders()} if len(found) > 1 else set()
    return sorted(found, key=lambda gpu: (gpu in busy, gpu))


def ask(ws: Workspace, stage: str, page: str = "") -> int:
    """Announce a measurement for a page, so that it can be stopped from now on; an older one is stopped.

    Returns:
        Its number, for `probe` or `give_up`.
    """
    turn = _Turn(stage, page)
    with _changing:
        older = _at_work.get(ws.root)
        _at_work[ws.root] = turn
    if older:
        older.stop()
    return turn.number


def probe(ws: Workspace, config: TrainConfig, number: int = 0) -> Measured:
    """Take real steps, then with larger micro-batches while the next one should fit; an older probe is stopped.

    Args:
        ws: The workspace.
        config: As the form gives it.
        number: The number from `ask`; 0 asks now.

    Raises:
        Stopped: `stop_probe`, or a newer probe in this workspace.
        StudioError: A run uses the GPU, or even the settings as given do not fit or work.
    """
    number = number or ask(ws, prepare.stage_of(config))
    with _changing:
        turn = _at_work.get(ws.root)
        if turn is None or turn.number != number or turn.is_stopped:
            raise Stopped("The measurement was stopped.")
        turn.is_begun = True
    try:
        devices.check(config)
        return _probe(ws, config, turn)
    except RunError as error:
        if turn.is_stopped:
            raise Stopped("The measurement was stopped.") from error
        raise
    finally:
        _end(ws, turn)


def give_up(ws: Workspace, number: int) -> None:
    """Cancel a measurement that `ask` announced and that never began."""
    turn = _at_work.get(ws.root)
    if turn and turn.number == number and not turn.is_begun:
        _end(ws, turn)


def measured_stage(ws: Workspace, not_for: str | None = None) -> str:
    """Return the stage that is measured in this workspace now; empty where none is, or it is `not_for` this page."""
    turn = _at_work.get(ws.root)
    return turn.stage if turn and turn.counts and turn.page != not_for else ""


def stop_probe(ws: Workspace) -> bool:
    """End the running measurement of this workspace and its process; False where there is none."""
    turn = _at_work.get(ws.root)
    if turn is None or not turn.counts:
        return False
    turn.stop()
    return True


def _end(ws: Workspace, turn: _Turn) -> None:
    turn.is_over.set()
    with _changing:
        if _at_work.get(ws.root) is turn:
            del _at_work[ws.root]


@atexit.register
def _stop_all() -> None:
    """Stop every measurement: none may outlive the studio that asked for it."""
    for turn in list(_at_work.values()):
        turn.stop()


def _probe(ws: Workspace, config: TrainConfig, turn: _Turn) -> Measured:
    free = 0.9 * place_of(config).free
    size = config.micro_batch_size
    found = first = _probe_once(ws, config, turn)
    largest, grown = size, found["peak"]
    whole = min(config.batch_size, config.minibatch_size) if isinstance(config, PPOConfig) else config.batch_size
    # Doubling the texts adds twice what the last doubling added; the first one at most what the run takes now.
    while size * 2 <= whole and found["peak"] + grown + found["libraries"] <= free:
        size *= 2
        try:
            larger = _probe_once(ws, config.model_copy(update={"micro_batch_size": size}), turn)
        except RunError:
            if turn.is_stopped:
                raise
            break  # most likely out of memory; the result so far stands
        if larger["peak"] + larger["libraries"] > free:
            break
        largest, grown, found = size, 2 * (larger["peak"] - found["peak"]), larger
    with ws.read() as db, suppress(StudioError):  # its checkpoint may be gone by now
        extent.remember(db, config, first["seconds_per_step"])
    return Measured(
        int(first["peak"]),
        int(first["libraries"]),
        config.micro_batch_size,
        first["seconds_per_step"] * first["num_steps"],
        int(first["num_steps"]),
        largest,
        whole,
        isinstance(config, PPOConfig),
    )


def _probe_once(ws: Workspace, config: TrainConfig, turn: _Turn) -> dict[str, float]:
    if turn.is_stopped:
        raise Stopped("The measurement was stopped.")
    request = {"root": str(ws.root), "stage": prepare.stage_of(config), "config": config.model_dump()}
    return preview.ask(ws, "studio.worker.probe", request, PROBE_TIMEOUT_S, turn.take)
