"""Logs a run into the folders of other programs: TensorBoard, W&B offline, trackio. Nothing is sent anywhere."""

import importlib
import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from modules.config import TrainConfig
from modules.config.base import tracker_names
from studio.runs import trackers
from studio.runs.runs import Run

PROJECT = "rlhf-studio"


def loggers(run: Run, folder: Path) -> list[Logger]:
    """Return a logger for each tracker that the run's config names; they write below `folder`, the run's own."""
    assert isinstance(run.config, TrainConfig)
    made: list[Logger] = []
    folder = folder.resolve()  # their processes do not share this one's handle on the workspace
    for name in tracker_names(run.config.trackers):
        place = folder / trackers.FOLDER / name
        place.mkdir(parents=True, exist_ok=True)
        match name:
            case "tensorboard":
                made.append(TensorBoardLogger(place, name="", version="", default_hp_metric=False))
            case "wandb":
                made.append(_wandb(run, place))
            case "trackio":
                made.append(TrackioLogger(run, place))
    return made


def _wandb(run: Run, place: Path) -> Logger:
    """Log offline, without an account, telemetry of the machine or a look at the code."""
    settings = importlib.import_module("wandb").Settings(
        disable_git=True, disable_code=True, x_disable_stats=True, console="off", silent=True
    )
    return WandbLogger(name=run.name, save_dir=place, project=PROJECT, offline=True, settings=settings)


class TrackioLogger(Logger):
    """Writes into trackio's own database below a folder."""

    def __init__(self, run: Run, place: Path) -> None:
        super().__init__()
        self._run = run
        for name in [name for name in os.environ if name.startswith("TRACKIO_")]:
            del os.environ[name]  # they could name a server
        os.environ["TRACKIO_DIR"] = str(place)
        self._trackio = importlib.import_module("trackio").init(
            PROJECT,
            run.name,
            config=run.config.model_dump(mode="json"),
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    @property
    def name(self) -> str:
        """The project."""
        return PROJECT

    @property
    def version(self) -> str:
        """The run's name."""
        return self._run.name

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: they were given at the start."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write the values of one step."""
        self._trackio.log(dict(metrics), step=step)

    def finalize(self, status: str) -> None:
        """Do nothing: Lightning ends each measurement with it, trackio its run with the process."""
