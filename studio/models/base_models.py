"""Resolves a base model: the starter kit, a local Hugging Face folder, or a hub id. Checked without torch."""

import re
from collections.abc import Iterable
from pathlib import Path

from assets import STARTER
from modules.model.files import (
    check_complete,
    check_family,
    check_folder,
    check_kind,
    check_texts,
    check_tokens,
    positions,
)
from studio.errors import BaseModelError
from studio.models import finite
from studio.redaction import redact

STARTER_NAME = "starter"
UNKNOWN = 2**31
LONGEST_ID = 193
"""Two names of at most 96 characters each and a slash, as on the hub."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")

_HUB_PAGE = re.compile(
    r"https?://(?:[^/@]*@)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?:datasets/)?([\w.-]+/[\w.-]+?)(?:\.git)?(?:[/?#].*)?$"
)


def resolve(name: str) -> str:
    """Return the folder or hub id behind a config's `base_model`.

    Raises:
        BaseModelError: not a model folder, or it lacks its config, tokenizer or safetensors weights.
    """
    if name == STARTER_NAME:
        return str(STARTER / "model")
    if not name.strip():
        raise BaseModelError(
            "base_model is empty. Give a local Hugging Face folder, an id such as Qwen/Qwen3-0.6B, or starter."
        )
    path = _path(name)
    if path is not None and path.is_dir():
        check_folder(path)
        return str(path.resolve())
    if HUB_ID.fullmatch(name) and len(name) <= LONGEST_ID and path is not None and not path.exists():
        return name
    if "://" in name:
        raise BaseModelError(f"{redact(name)!r} is an address, not a base model. {instead(name, 'Qwen/Qwen3-0.6B')}")
    raise BaseModelError(
        f"{short(name)!r} is neither a folder nor a hub id. Give a local Hugging Face folder, an id such as Qwen/Qwen3-0.6B, or starter."
    )


def absolute(name: str) -> str:
    """Return the name for a run: a folder becomes absolute, because the worker has another working directory.

    Raises:
        BaseModelError: as `resolve`.
    """
    return name if name == STARTER_NAME else resolve(name)


def check(name: str, method: str, quantisation: str, chat_template: str) -> None:
    """Refuse a folder whose model cannot be used as a run asks; a model of the hub is checked after its download.

    Raises:
        BaseModelError: as `modules.model.files.check_family`, `check_complete`, `check_kind` and `check_tokens`.
    """
    folder = Path(resolve(name))
    if folder.is_dir():
        check_family(folder)
        check_complete(folder)
        check_kind(folder, method, quantisation)
        check_tokens(folder, chat_template)


def check_finite(name: str) -> None:
    """Refuse a folder whose files hold weights that are no numbers, as far as a few seconds of reading find them.

    Raises:
        BaseModelError: as `studio.models.finite.check`.
    """
    folder = Path(resolve(name))
    if name != STARTER_NAME and folder.is_dir():
        finite.check(folder)


def check_words(name: str, texts: Iterable[str]) -> None:
    """Refuse texts with words that have no row in the embedding of the model in a folder.

    Raises:
        BaseModelError: as `modules.model.files.check_texts`.
    """
    folder = Path(resolve(name))
    if name != STARTER_NAME and folder.is_dir():
        check_texts(folder, texts)


def num_positions(name: str) -> int:
    """Return the number of positions of a model, as far as its folder says."""
    folder = Path(resolve(name))
    found = positions(folder) if folder.is_dir() else None
    return UNKNOWN if found is None else found


def check_room(name: str, settings: dict[str, int]) -> None:
    """Refuse lengths, by the names of their settings, whose sum exceeds a model's positions.

    Raises:
        BaseModelError: the sum exceeds them.
    """
    most = num_positions(name)
    if sum(settings.values()) <= most:
        return
    said = " and ".join(f"{setting} = {length}" for setting, length in settings.items())
    raise BaseModelError(
        f"With {said}, prompt and response do not fit into the model's {most} positions. Lower {' or '.join(settings)}."
    )


def instead(address: str, example: str) -> str:
    """Say what to give instead of an address: the id of a page of the hub, or the folder of a download."""
    found = _HUB_PAGE.match(address)
    return (
        f"Give its hub id: {found[1]}."
        if found
        else f"Download it and give the local path, or give a hub id such as {example}."
    )


def is_there(name: str) -> bool:
    """Return whether a name is the path of an existing file or folder."""
    path = _path(name)
    return path is not None and path.exists()


def _path(name: str) -> Path | None:
    """Return a name as a path, or None where the system refuses it: too long, or the home of no user."""
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError):
        return None
    return path


def short(name: str) -> str:
    """Return a name as shown in a sentence."""
    return name if len(name) <= 200 else f"{name[:200]} ... ({len(name):,} characters)"
