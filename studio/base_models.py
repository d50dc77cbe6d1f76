"""Where a base model comes from: the starter kit, a local Hugging Face folder, or a hub id. Checked without torch."""

import json
import re
from pathlib import Path

from assets import STARTER
from studio.confidential import hide
from studio.errors import BaseModelError

STARTER_NAME = "starter"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")

_HUB_PAGE = re.compile(
    r"https?://(?:[^/@]*@)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?:datasets/)?([\w.-]+/[\w.-]+?)(?:\.git)?(?:[/?#].*)?$"
)


def resolve(name: str) -> str:
    """The folder or hub id behind a config's `base_model`.

    Raises:
        BaseModelError: a folder that is none, or lacks its config, tokenizer or safetensors weights.
    """
    if name == STARTER_NAME:
        return str(STARTER / "model")
    if not name.strip():
        raise BaseModelError(
            "base_model is empty. Give a local Hugging Face folder, an id such as Qwen/Qwen3-0.6B, or starter."
        )
    path = Path(name).expanduser()
    if path.is_dir():
        _check_folder(path)
        return str(path.resolve())
    if HUB_ID.fullmatch(name) and not path.exists():
        return name
    if "://" in name:
        raise BaseModelError(
            f"{hide(name)!r} is an address, and a base model is none. {instead(name, 'Qwen/Qwen3-0.6B')}"
        )
    raise BaseModelError(
        f"{name!r} is no folder and no hub id. Give a local Hugging Face folder, an id such as Qwen/Qwen3-0.6B, or starter."
    )


def absolute(name: str) -> str:
    """The name a run keeps: a folder becomes absolute, because its worker has another working directory.

    Raises:
        BaseModelError: as `resolve`.
    """
    return name if name == STARTER_NAME else resolve(name)


def instead(address: str, example: str) -> str:
    """What to give in the place of an address: the id of a page of the hub, or the folder of a download."""
    found = _HUB_PAGE.match(address)
    return (
        f"Give its hub id: {found[1]}."
        if found
        else f"Download it and give the local path, or give a hub id such as {example}."
    )


def _check_folder(path: Path) -> None:
    if not (path / "config.json").is_file():
        raise BaseModelError(f"The folder {path} is not a Hugging Face model: it has no config.json. Choose another.")
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        raise BaseModelError(
            f"The model in {path} has no safetensors weights. Other formats can run code when they are opened and are "
            "refused; convert it with transformers' save_pretrained."
        )
    for file in weights:
        if not _is_whole(file):
            raise BaseModelError(f"The file {file} is cut off or no safetensors file. Fetch the model again.")
    if not any(path.glob("tokenizer*")):
        raise BaseModelError(
            f"The folder {path} has no tokenizer (tokenizer.json). Copy the model's tokenizer files into it."
        )


def _is_whole(file: Path) -> bool:
    """True where the file is as long as its header says; what the weights are is seen when they are loaded."""
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if size > file.stat().st_size:
            return False
        try:
            tensors = json.loads(stream.read(size))
            end = max((t["data_offsets"][1] for name, t in tensors.items() if name != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return False
    return file.stat().st_size == 8 + size + end
