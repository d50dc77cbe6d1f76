"""Refuses requests for files outside the workspace and the listed folders that were not uploaded.

Whoever reaches the page's port, another account of this machine too, can send what the page never would. The command line
is not limited: who can type there can read the files anyway.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from gradio.utils import get_upload_folder

from assets import STARTER
from modules.config import StageConfig
from studio.errors import ConfigError
from studio.evaluation import suites
from studio.models.base_models import STARTER_NAME
from studio.workspace import Workspace

VARIABLE = "RLHF_STUDIO_ROOTS"
PUT = "Put it"
_listed: list[Path] = []


def allow(folders: Iterable[str]) -> None:
    """List folders whose files the page may read, besides those in the environment's RLHF_STUDIO_ROOTS.

    Raises:
        ConfigError: one is not a folder.
    """
    for folder in folders:
        path = Path(folder).expanduser().resolve()
        if not path.is_dir():
            raise ConfigError(f"--root {folder} is not a folder. Give one whose files the page may read.")
        _listed.append(path)


def roots(ws: Workspace) -> list[Path]:
    """Return the folders that a request may name files in."""
    given = [part for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    return [
        ws.root,
        *_listed,
        *(Path(part).expanduser().resolve() for part in given),
        Path(get_upload_folder()),
        STARTER,
    ]


def check(ws: Workspace, name: str, way: str = "Choose the file with the upload button, put it") -> str:
    """Return the file, folder or hub id that a request names, unless it is a file the page may not read.

    Args:
        ws: the workspace.
        name: what was given.
        way: how the refusal begins to say what to do; it goes on with the workspace's folder.

    Raises:
        ConfigError: it lies elsewhere, or is not a path.
    """
    if not name.strip():
        raise ConfigError("A path is empty. Give a file, a folder, or an id such as Qwen/Qwen3-0.6B.")
    try:
        path = Path(name).expanduser().resolve()
        is_plain = not name.startswith(("/", "~")) and ".." not in Path(name).parts
        is_hub_id = is_plain and not path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            "This is neither a path nor a hub id. Give a file, a folder, or an id such as Qwen/Qwen3-0.6B."
        ) from error
    if is_hub_id or any(path.is_relative_to(root.resolve()) for root in roots(ws)):
        return name
    raise ConfigError(
        f"{name[:200]} is outside the folders that the page may read. {way} into {ws.root}, "
        "start the studio with --root FOLDER, or use the command line, which has no such limit."
    )


def check_config(ws: Workspace, config: StageConfig) -> None:
    """Refuse a config from the page that names a model or a suite elsewhere.

    Raises:
        ConfigError: as `check`.
    """
    base_model = getattr(config, "base_model", STARTER_NAME)
    if base_model != STARTER_NAME and base_model.strip():  # the stage itself says that it is empty
        check(ws, base_model, PUT)
    named = [getattr(config, field, "") for field in ("suites", "eval_suites")]
    for path in [path for text in named for path in suites.files(text)]:
        check(ws, path, PUT)
    for term in getattr(config, "reward_terms", ()):
        if term.kind == "classifier":
            check(ws, term.source.partition("#")[0], PUT)
