"""Reads how a model's weights are stored: their number format, and whether they were quantised before."""

from collections import Counter
from pathlib import Path
from typing import Any

from modules.errors import BaseModelError
from modules.model.files.folder import read_json
from modules.model.files.header import read_header

NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}


def check_kind(path: Path, method: str, quantisation: str) -> None:
    """Refuse to use weights that are stored quantised in another way than a run asks for.

    Args:
        path: The model's folder.
        method, quantisation: Of the run.

    Raises:
        BaseModelError: they cannot be used so; the sentence says how they are stored.
    """
    stored = _quantised(path)
    if not stored:
        return
    how = str(stored.get("quant_method", "an unknown method")) if isinstance(stored, dict) else "an unknown method"
    is_nf4 = how == "bitsandbytes" and stored.get("load_in_4bit") and stored.get("bnb_4bit_quant_type") == "nf4"
    if not is_nf4:
        bits = f" in {stored['bits']} bits" if isinstance(stored, dict) and "bits" in stored else ""
        raise BaseModelError(
            f"The model in {path} is stored quantised{bits} by {how} (as its files say), and cannot be trained that way. Choose the "
            "unquantised model; quantisation nf4 then makes 4 bits of it while loading."
        )
    if method == "full":
        raise BaseModelError(
            f"The model in {path} is stored in 4 bits (bitsandbytes), which cannot be trained in full: choose method lora with "
            "quantisation nf4, or the unquantised model."
        )
    if quantisation != "nf4":
        raise BaseModelError(
            f"The model in {path} is stored in 4 bits (bitsandbytes nf4), but quantisation is {quantisation}: choose quantisation nf4, "
            "or the unquantised model."
        )


def _quantised(path: Path) -> Any:
    """Return what a folder says of how its weights are quantised; nothing where they are plain numbers.

    Older programs say it in a separate file, and some only by the kinds of numbers that the weights are.
    """
    config = read_json(path / "config.json")
    for settings in (config, _inner(config)):
        for name in ("quantization_config", "compression_config"):
            if settings.get(name):
                return settings[name]
    for name, how in (("quantize_config.json", "gptq"), ("quant_config.json", "awq")):
        if (path / name).is_file():
            return {"quant_method": how} | read_json(path / name)
    whole = path / "model.safetensors"
    for file in [whole] if whole.is_file() else sorted(path.glob("*.safetensors")):
        table, _ = read_header(file) or ({}, 0)
        for tensor, facts in table.items():
            if tensor.endswith("weight") and facts.get("dtype") not in NAMES:
                return {"quant_method": f"an unknown method (its {tensor} are {facts.get('dtype')} numbers)"}
    return None


def stored_dtype(path: Path) -> str:
    """Return the number format, in torch's words, of most weights in a model's files; float32 if none is known."""
    counts: Counter[str] = Counter()
    for file in sorted(path.glob("*.safetensors")):
        table, _ = read_header(file) or ({}, 0)
        for tensor in table.values():
            first, last = tensor["data_offsets"]
            counts[NAMES.get(tensor["dtype"], "")] += last - first
    counts.pop("", None)
    return counts.most_common(1)[0][0] if counts else "float32"


def positions(path: Path) -> int | None:
    """Return how many positions a model has, where its config says so."""
    config = read_json(path / "config.json")
    inner = _inner(config) or config
    found = next((inner[name] for name in ("max_position_embeddings", "n_positions") if name in inner), None)
    return found if isinstance(found, int) else None


def _inner(config: dict[str, Any]) -> dict[str, Any]:
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else {}
