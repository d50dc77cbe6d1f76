"""Whether a run fits into the memory that is free now: the estimate, what to turn, and a probe that measures a real step.

The estimate is arithmetic (`modules.memory`) and may be asked for by the page; the probe is a child process.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from modules import memory
from modules.config import PPOConfig, TrainConfig
from modules.memory import Estimate
from studio import base_models, lanes, previewing, stages
from studio.errors import BaseModelError, RunError
from studio.workspace import Workspace

LIBRARIES = 700 * 2**20
"""RAM that the libraries of a worker take (on a GPU about as much goes to the CUDA context)."""
PROBE_TIMEOUT_S = 900.0


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
    """Tokens of the longest text it reckons with."""
    advice: list[str]

    @property
    def needed(self) -> int:
        """Bytes, libraries included."""
        return self.estimate.total + LIBRARIES

    @property
    def is_fitting(self) -> bool:
        """Whether it fits with a tenth to spare, since an estimate may be off."""
        return self.needed <= 0.9 * self.place.free


@dataclass(frozen=True)
class Measured:
    """What a probe found."""

    peak: int
    """Bytes, without the libraries."""
    libraries: int
    micro_batch_size: int
    """The one it was measured with."""
    seconds: float
    """That all steps of the run would take."""
    num_steps: int
    largest: int
    """The largest micro-batch that fits, of the sizes tried."""
    whole: int
    """The texts of an optimizer step: a larger micro-batch there is not."""


class Stopped(RunError):
    """A measurement was given up: by a person, or by a newer one."""


class _Turn:
    """A measurement at work, and how it is ended from elsewhere."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.is_stopped = False
        self._child: subprocess.Popen[str] | None = None

    def take(self, child: subprocess.Popen[str]) -> None:
        self._child = child
        if self.is_stopped:
            child.terminate()

    def stop(self) -> None:
        self.is_stopped = True
        if self._child:
            self._child.terminate()


_at_work: dict[Path, _Turn] = {}
"""Workspace to its measurement: two at a time would measure each other."""


def fit(ws: Workspace, config: TrainConfig, longest: int = 0) -> Fit:
    """Estimate a run's memory and compare it with what is free on its device.

    Args:
        ws: The workspace.
        config: As the form gives it.
        longest: Tokens of the longest text, where a look found out; 0 reckons with the longest that is allowed.

    Raises:
        StudioError: something the stage needs is missing, or the model's size cannot be known before it was fetched.
    """
    lanes.check_here(config)
    prepared = stages.look(ws, config).config
    assert isinstance(prepared, TrainConfig)
    config = prepared  # with what it takes over from its checkpoint
    name = base_models.resolve(previewing.base_of(ws, config)[0])
    if not Path(name).is_dir():
        raise BaseModelError(f"The size of {name} is known once it was fetched: start a run, or give a local folder.")
    sizes = memory.read_sizes(Path(name))
    place = place_of(config)
    load = memory.worst_load(config, sizes, longest)
    found = memory.estimate(config, sizes, load, is_cpu=place.is_cpu)
    return Fit(found, place, load.length, memory.advice(config, found))


def place_of(config: TrainConfig) -> Place:
    """Where a run would compute: the first GPU, or RAM."""
    gpus = [] if config.device == "cpu" else list_gpus()
    if gpus:
        return gpus[0]
    ram = psutil.virtual_memory()
    return Place("RAM", ram.total, ram.available, is_cpu=True)


def list_gpus() -> list[Place]:
    """The NVIDIA GPUs as nvidia-smi sees them; none where there is no such program."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = ["--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    answer = subprocess.run([program, *query], capture_output=True, text=True, timeout=10, check=False)
    found = []
    for line in answer.stdout.splitlines() if answer.returncode == 0 else []:
        name, *figures = (part.strip() for part in line.rsplit(",", 2))
        if len(figures) == 2 and all(figure.isdigit() for figure in figures):
            total, free = (int(figure) * 2**20 for figure in figures)
            found.append(Place(name, total, free, is_cpu=False))
    return found


def probe(ws: Workspace, config: TrainConfig) -> Measured:
    """Do real steps, then with larger micro-batches as long as the next is expected to fit; an older probe is stopped.

    Raises:
        Stopped: `stop_probe`, or a newer probe in this workspace.
        StudioError: not even the settings as they are fit or work.
    """
    stop_probe(ws)
    turn = _at_work[ws.root] = _Turn(stages.stage_of(config))
    try:
        return _probe(ws, config, turn)
    except RunError as error:
        if turn.is_stopped:
            raise Stopped("The measurement was stopped.") from error
        raise
    finally:
        if _at_work.get(ws.root) is turn:
            del _at_work[ws.root]


def measured_stage(ws: Workspace) -> str:
    """The stage whose real steps are measured in this workspace now; empty where none is."""
    turn = _at_work.get(ws.root)
    return turn.stage if turn and not turn.is_stopped else ""


def stop_probe(ws: Workspace) -> bool:
    """End the measurement that is at work in this workspace; False where there is none."""
    if turn := _at_work.get(ws.root):
        turn.stop()
    return turn is not None


def _probe(ws: Workspace, config: TrainConfig, turn: _Turn) -> Measured:
    free = 0.9 * place_of(config).free
    size = config.micro_batch_size
    found = first = _probe_once(ws, config, turn)
    largest, grown = size, found["peak"]
    whole = min(config.batch_size, config.minibatch_size) if isinstance(config, PPOConfig) else config.batch_size
    # Twice the texts take twice what the last doubling added; before the first one, at most what the run takes now.
    while size * 2 <= whole and found["peak"] + grown + found["libraries"] <= free:
        size *= 2
        try:
            larger = _probe_once(ws, config.model_copy(update={"micro_batch_size": size}), turn)
        except RunError:
            if turn.is_stopped:
                raise
            break  # out of memory, most likely; what was found so far stands
        if larger["peak"] + larger["libraries"] > free:
            break
        largest, grown, found = size, 2 * (larger["peak"] - found["peak"]), larger
    return Measured(
        int(first["peak"]),
        int(first["libraries"]),
        config.micro_batch_size,
        first["seconds_per_step"] * first["num_steps"],
        int(first["num_steps"]),
        largest,
        whole,
    )


def _probe_once(ws: Workspace, config: TrainConfig, turn: _Turn) -> dict[str, float]:
    request = {"root": str(ws.root), "stage": stages.stage_of(config), "config": config.model_dump()}
    return previewing.ask(ws, "studio.probe", request, PROBE_TIMEOUT_S, turn.take)
