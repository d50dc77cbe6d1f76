"""Refuses families that cannot be trained here, as far as their config.json shows."""

from pathlib import Path

from modules.errors import BaseModelError
from modules.model.files.folder import read_json

ATTENTION = {"full_attention", "sliding_attention", "chunked_attention", "attention"}
WITHOUT_POSITIONS = {"bloom", "mpt"}
WITHOUT_ATTENTION = {"mamba", "mamba2", "falcon_mamba", "rwkv", "xlstm"}
ENCODERS = {"bert", "roberta", "distilbert", "electra", "albert", "deberta-v2", "modernbert", "xlm-roberta"}
SUITABLE = "choose a decoder-only model with position ids, such as Llama, Qwen, Mistral, Phi or GPT-2."


def check_family(path: Path) -> None:
    """Refuse a language model that is not made of causal attention layers with position ids.

    What this misses is found when the model is loaded, see `modules.model.loading.check_forward`.

    Raises:
        BaseModelError: it is of such a family.
    """
    config = read_json(path / "config.json")
    inner = config.get("text_config")
    kind = str(config.get("model_type", ""))
    layers = (inner if isinstance(inner, dict) else config).get("layer_types")
    others = {str(layer) for layer in layers} - ATTENTION if isinstance(layers, list) else set()
    why = ""
    if kind in WITHOUT_POSITIONS:
        why = "has no position ids"
    elif kind in WITHOUT_ATTENTION:
        why = "has no attention layers"
    elif kind in ENCODERS and not config.get("is_decoder"):
        why = "is an encoder, whose tokens see what follows them"
    elif config.get("is_encoder_decoder"):
        why = "has an encoder and a decoder"
    elif others:
        why = f"has layers that are not attention ({', '.join(sorted(others))})"
    if why:
        raise BaseModelError(f"The model in {path} ({kind}) {why}: {SUITABLE}")
