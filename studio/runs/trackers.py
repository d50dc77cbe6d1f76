"""Other programs' folders into which a run also logs, through their own libraries where they are installed. Nothing is sent anywhere."""

import shlex
from importlib.util import find_spec
from pathlib import Path

from modules.config import StageConfig, TrainConfig
from modules.config.base import tracker_names
from studio.errors import ConfigError

FOLDER = "trackers"
"""In a run's folder, with a folder for each."""
LOOK = {
    "tensorboard": "tensorboard --logdir {}",
    "wandb": "wandb sync {}/wandb/offline-run-*",
    "trackio": "TRACKIO_DIR={} trackio show",
}
"""Tracker to the command that shows its folder; W&B's uploads it."""


def looks(folder: Path, config: StageConfig) -> list[str]:
    """Return the command for each tracker of a run that has written below the run's folder."""
    places = [(name, folder / FOLDER / name) for name in LOOK]
    written = [(name, place) for name, place in places if place.is_dir()] if isinstance(config, TrainConfig) else []
    return [LOOK[name].format(shlex.quote(str(place))) for name, place in written]


def check(config: StageConfig) -> None:
    """Refuse trackers whose library is not there.

    Raises:
        ConfigError: one is not installed.
    """
    for name in tracker_names(config.trackers) if isinstance(config, TrainConfig) else ():
        if find_spec(name) is None:
            raise ConfigError(
                f"trackers names {name}, which is not installed. Install it next to the studio (pip install {name}), or leave it out: "
                "Runs shows and saves all curves without it."
            )
