"""Checks that a folder's weights match its config.json: none missing, of another size, or left over."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from modules.errors import BaseModelError

_IN_LAYERS = re.compile(r"^(?:[^.\d]+\.)*?(?=\d+\.)")
_BUFFERS = re.compile(r"(inv_freq|masked_bias|\battn\.bias|\battention\.bias|position_ids)$")
"""Names that older files hold next to the weights and nothing reads."""


def check_report(report: Mapping[str, Any], names: Iterable[str], folder: Path) -> None:
    """Refuse a model that would not run with the weights in its files.

    Args:
        report: What transformers tells of loading.
        names: Of the loaded model's parameters.
        folder: For the sentence.

    Raises:
        BaseModelError: weights are missing, of another size, or left over in the layers.
    """
    left_over = sorted(report["unexpected_keys"])
    if report["mismatched_keys"]:
        name, stored, wanted = min(report["mismatched_keys"])
        raise BaseModelError(
            f"The model in {folder} is made of files that do not belong together: {name} has {_size(stored)} numbers, but by its "
            f"config.json it would have {_size(wanted)}. Fetch the model again, all of its files."
        )
    if report["missing_keys"]:
        raise _lacks(sorted(report["missing_keys"]), left_over, folder)
    layers = {found[0] for name in names if (found := _IN_LAYERS.match(name))}
    lost = [name for name in left_over if name.startswith(tuple(layers)) and not _BUFFERS.search(name)]
    if lost:
        raise BaseModelError(
            f"The files of the model in {folder} hold weights of its layers that its config.json does not mention "
            f"({_some(lost)}): they would be left out, and its answers would be those of another model. Fetch the model again, all of "
            "its files; an adapter has to be merged into its model first."
        )


def _lacks(lacking: list[str], left_over: list[str], folder: Path) -> BaseModelError:
    others = (
        f" Its files name weights in another way, such as {left_over[0]}: save it again, from the program that wrote it, with "
        "save_pretrained."
        if left_over
        else " Fetch it again, or choose a folder that was saved with save_pretrained."
    )
    return BaseModelError(
        f"The model in {folder} lacks {'the weights' if len(lacking) == 1 else f'{len(lacking)} weights'} ({_some(lacking)}): they would "
        f"be drawn at random, and so would its answers be.{others}"
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _size(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))
