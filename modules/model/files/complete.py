"""Checks by the tables of the weight files that no weight is missing, as far as names tell; loading checks the rest."""

import re
from collections import Counter
from pathlib import Path

from modules.errors import BaseModelError
from modules.model.files.folder import INDEX, read_json
from modules.model.files.header import read_header

ALIKE = {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "gpt2", "gpt_neox", "opt"}
"""Families whose layers have weights of the same names."""
_NUM_LAYERS = ("num_hidden_layers", "n_layer")
_OUTPUT = ("lm_head.weight", "embed_out.weight")
_LAYER = re.compile(
    r"(?P<before>.*?)(?P<place>(?:model\.|transformer\.|gpt_neox\.)?(?:decoder\.)?(?:layers|h)\.)(?P<number>\d+)\.(?P<name>.+)"
)


def check_complete(path: Path) -> None:
    """Refuse a model that lacks weights, or whose weights have other names than its family's.

    Raises:
        BaseModelError: weights are missing that the index names, that other layers have, or that the config asks for.
    """
    tables = {file.name: set((read_header(file) or ({}, 0))[0]) for file in sorted(path.glob("*.safetensors"))}
    spread = read_json(path / INDEX).get("weight_map")
    if isinstance(spread, dict) and not (path / "model.safetensors").is_file():
        _refuse(path, [str(name) for name, file in spread.items() if name not in tables.get(str(file), set())])
    config = read_json(path / "config.json")
    if config.get("model_type") not in ALIKE:
        return
    names = set().union(*tables.values())
    found = [match for name in sorted(names) if (match := _LAYER.fullmatch(name))]
    if not found:
        return
    if any(each["before"] for each in found):
        odd = next(each for each in found if each["before"])
        raise BaseModelError(
            f"The files of the model in {path} name weights in another way than its family, such as {odd[0]}, so those would be "
            "drawn at random: save it again, from the program that wrote it, with save_pretrained."
        )
    _refuse(path, _of_layers(found, next((config[key] for key in _NUM_LAYERS if isinstance(config.get(key), int)), 0)))
    if config.get("tie_word_embeddings") is False and not any(name.endswith(_OUTPUT) for name in names):
        _refuse(path, ["embed_out.weight" if config["model_type"] == "gpt_neox" else "lm_head.weight"])


def _of_layers(found: list[re.Match[str]], num_layers: int) -> list[str]:
    """Return the names that most layers have and some lack; of a layer that is not there at all, all of them."""
    shared = Counter(each["name"] for each in found)
    layers = {int(each["number"]) for each in found} | set(range(num_layers))
    has = {(int(each["number"]), each["name"]) for each in found}
    common = [name for name, count in shared.items() if 2 * count > len(layers)]
    place = found[0]["place"]
    return [f"{place}{number}.{name}" for number in sorted(layers) for name in common if (number, name) not in has]


def _refuse(path: Path, lacking: list[str]) -> None:
    if lacking:
        what = "the weights" if len(lacking) == 1 else f"{len(lacking)} weights"
        some = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
        raise BaseModelError(
            f"The model in {path} lacks {what} ({some}): they would be drawn at random, and so would its answers be. Fetch it again, "
            "or choose a folder that was saved with save_pretrained."
        )
