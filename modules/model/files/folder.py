"""Checks that a folder holds a whole model: its config, all of its weights, and a readable tokenizer."""

import fnmatch
import importlib.util
import json
from pathlib import Path
from typing import Any

from modules.errors import BaseModelError
from modules.model.files.header import is_whole

SMALL = ("*.json", "*.jinja", "*.model", "*.txt")
READ = (*SMALL, "*.safetensors")
"""The files that loading reads."""
LARGEST_CONFIG = 2**26
INDEX = "model.safetensors.index.json"


def check_folder(path: Path) -> None:
    """Refuse a folder from which no model can be loaded.

    Raises:
        BaseModelError: a file is missing, damaged or not a regular file, or only other programs could read it.
    """
    try:
        _check_kinds(path)
        _check_config(path)
        _check_weights(path)
        _check_tokenizer(path)
    except OSError as error:
        raise BaseModelError(
            f"The folder {path} cannot be read ({error.strerror or error}): correct its permissions, or choose another model."
        ) from error


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a small JSON file of a model; empty where there is no such file.

    Raises:
        BaseModelError: it is far too large, not JSON, or not an object.
    """
    if not file.is_file():
        return {}
    if file.stat().st_size > LARGEST_CONFIG:
        raise BaseModelError(f"The file {file} has more than 64 MiB, too large for such a file. Fetch the model again.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BaseModelError(f"The file {file} is not valid JSON ({error}). Fetch the model again.") from error
    if not isinstance(content, dict):
        raise BaseModelError(f"The file {file} does not hold an object. Fetch the model again.")
    return content


def _check_kinds(path: Path) -> None:
    """Refuse pipes and devices, which would be waited for, or skipped silently, instead of a file."""
    for file in path.iterdir():
        is_read = any(fnmatch.fnmatch(file.name, pattern) for pattern in READ)
        if not is_read or file.is_file() or file.is_dir():
            continue
        if not file.exists():
            raise BaseModelError(f"The file {file} is a link to nothing. Fetch the model again.")
        raise BaseModelError(
            f"{file} is a pipe or a device, not a regular file, so it cannot be read. Fetch the model again."
        )


def _check_config(path: Path) -> None:
    if not (path / "config.json").is_file():
        if (path / "adapter_config.json").is_file():
            raise BaseModelError(
                f"The folder {path} holds an adapter, not a model (it has no config.json). Choose the model that it belongs to, "
                "or merge the adapter into it and choose the result."
            )
        raise BaseModelError(f"The folder {path} is not a Hugging Face model: it has no config.json. Choose another.")
    read_json(path / "config.json")
    if (path / "adapter_config.json").exists():
        raise BaseModelError(
            f"The folder {path} holds an adapter (adapter_config.json) next to a model, and both would be loaded. Move the "
            "adapter away, or merge it and choose the result."
        )


def _check_weights(path: Path) -> None:
    weights = sorted(path.glob("*.safetensors"))
    index = path / INDEX
    if not weights and not index.is_file():
        raise BaseModelError(
            f"The model in {path} has no safetensors weights. Other formats can run code when they are opened and are "
            "refused; convert it with transformers' save_pretrained."
        )
    if not (path / "model.safetensors").is_file():
        _check_index(path, index)
    for file in weights:
        if not is_whole(file):
            raise BaseModelError(f"The file {file} is cut off or not a safetensors file. Fetch the model again.")


def _check_index(path: Path, index: Path) -> None:
    """Refuse an index that names weight files which are not there."""
    if not index.is_file():
        raise BaseModelError(
            f"The model in {path} has neither model.safetensors nor {INDEX}, which says where its weights are. Fetch the model "
            "again, all of its files."
        )
    spread = read_json(index).get("weight_map")
    if not isinstance(spread, dict) or not spread:
        raise BaseModelError(f"The file {index} does not say where the weights are. Fetch the model again.")
    named = sorted({str(name) for name in spread.values()})
    missing = [name for name in named if Path(name).name != name or not (path / name).is_file()]
    if missing:
        others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise BaseModelError(
            f"The model in {path} is incomplete: its index names {missing[0]}{others} of {len(named)} files, which "
            f"{'are' if others else 'is'} not there. Fetch the model again."
        )


def _check_tokenizer(path: Path) -> None:
    if not any(path.glob("tokenizer*")):
        raise BaseModelError(
            f"The folder {path} has no tokenizer (tokenizer.json). Copy the model's tokenizer files into it."
        )
    has_pieces = any(path.glob("*.model"))
    if (path / "tokenizer.json").is_file() or not has_pieces:
        return
    lacking = [
        name
        for name, module in (("sentencepiece", "sentencepiece"), ("protobuf", "google.protobuf"))
        if not _has(module)
    ]
    if lacking:
        raise BaseModelError(
            f"The tokenizer in {path} is a SentencePiece file, and to read it {' and '.join(lacking)} must be installed: pip install "
            f"{' '.join(lacking)}, or save the tokenizer once as tokenizer.json where it can be read."
        )


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False
