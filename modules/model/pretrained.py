"""Finding, identifying and loading a pretrained causal language model.

Nothing that a model's folder contains is executed: weights come from safetensors files only, and code that a repository
carries is never trusted. Dropout of the base model is always off; a log-probability has to be repeatable.
"""

import hashlib
import json
import logging
import struct
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from tokenizers import Tokenizer
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils.logging import disable_progress_bar

from modules.errors import BaseModelError
from modules.model import hub
from modules.model.files import check_folder
from modules.model.files.family import SUITABLE
from modules.model.loading import check_forward, check_report

# It warns at import that an optional inference kernel is missing, which `keep_exact_on_cpu` switches off anyway.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
disable_progress_bar()

_SMALL_FILES = ["*.json", "*.jinja", "*.model", "*.txt"]
_PATTERNS = [*_SMALL_FILES, "*.safetensors"]
_VOLATILE = {"transformers_version", "_name_or_path", "torch_dtype", "dtype", "use_cache"}
_SAMPLES, _SAMPLE_BYTES = 16, 4096
_TEXT = "Once, in 1984, it'd snowed:\n\n  w7 déjà vu ... 雪 ran(x_y)!"


def find_model(base_model: str, *, needs_weights: bool = True) -> Path:
    """Return the folder of a model, after downloading one from the hub; its weights only if they are needed.

    Raises:
        BaseModelError: There is no such model, or it has no safetensors weights.
    """
    folder = Path(base_model).expanduser()
    if not folder.is_dir():
        folder = _download(base_model, _PATTERNS if needs_weights else _SMALL_FILES)
    if not (folder / "config.json").is_file():
        raise BaseModelError(
            f"The folder {base_model} is not a model: it has no config.json. Give a folder in Hugging Face format, with "
            "config.json, tokenizer files and *.safetensors."
        )
    if needs_weights and not list(folder.glob("*.safetensors")):
        raise BaseModelError(
            f"The model {base_model} has no *.safetensors weights; other formats can run code when they are opened and "
            "are not read. Load it once with transformers and save it again with save_pretrained."
        )
    if needs_weights:
        check_folder(folder)
    return folder


def _download(base_model: str, patterns: list[str]) -> Path:
    looks_like_path = base_model.count("/") > 1 or base_model.startswith((".", "/", "~")) or not base_model
    if looks_like_path:
        raise BaseModelError(
            f"There is no model folder {base_model!r}: correct the path, or give a hub id such as Qwen/Qwen3-0.6B."
        )
    is_offline = not hub.is_reachable()
    try:
        return Path(snapshot_download(base_model, allow_patterns=patterns, local_files_only=is_offline))
    except (OSError, ValueError, RuntimeError) as error:
        cause = "which does not answer" if is_offline else type(error).__name__
        raise BaseModelError(
            f"The model {base_model} is neither a folder here nor could it be fetched from the hub "
            f"({cause}): check its name and the connection, or give the path of a local folder."
        ) from error


def fingerprint(folder: Path) -> str:
    """Return 16 hex digits that identify a base model: its configuration, its tokenizer and its weights.

    Weights are sampled, not read through, so this takes milliseconds for any size.
    """
    digest = hashlib.sha256()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    essentials = {key: value for key, value in config.items() if key not in _VOLATILE}
    digest.update(json.dumps(essentials, sort_keys=True).encode())
    for name in ("tokenizer.json", "tokenizer.model"):
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        _digest_weights(file, digest)
    return digest.hexdigest()[:16]


def _digest_weights(file: Path, digest: Any) -> None:
    """Feed a safetensors file's table of tensors and evenly spaced samples of its bytes into ``digest``."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        (header_length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(header_length))
        header.pop("__metadata__", None)
        digest.update(json.dumps(header, sort_keys=True).encode())
        start = 8 + header_length
        for index in range(_SAMPLES):
            stream.seek(start + (size - start) * index // _SAMPLES)
            digest.update(stream.read(_SAMPLE_BYTES))


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer that belongs to a model folder.

    For some families (Qwen2) transformers replaces parts of the tokenizer that lies in the folder by what the family's
    first models had, silently. What tokenizer.json says wins here.
    """
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        found = AutoTokenizer.from_pretrained(folder, **options)
        if not (folder / "tokenizer.json").is_file():
            return found
        written = Tokenizer.from_file(str(folder / "tokenizer.json"))
        if found.encode(_TEXT, add_special_tokens=False) == written.encode(_TEXT, add_special_tokens=False).ids:
            return found
        return PreTrainedTokenizerFast.from_pretrained(folder, **options)
    except Exception as error:  # transformers raises many kinds for a broken tokenizer
        raise BaseModelError(
            f"The tokenizer in {folder} cannot be loaded ({type(error).__name__}: {_first_line(error)}): the folder "
            "needs the tokenizer files that belong to the model, such as tokenizer.json."
        ) from error


def load_config(folder: Path) -> PreTrainedConfig:
    """Load a model folder's configuration, with dropout off."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds for a broken or unknown configuration
        raise BaseModelError(
            f"The config.json in {folder} cannot be read ({type(error).__name__}: {_first_line(error)}): choose a model of an "
            "architecture that transformers knows."
        ) from error
    for name, value in config.to_dict().items():
        if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
            setattr(config, name, 0.0)
    text = config.get_text_config()
    pad, rows = getattr(text, "pad_token_id", None), getattr(text, "vocab_size", 0)
    if isinstance(pad, int) and not 0 <= pad < rows:
        text.pad_token_id = None  # the embedding would refuse it; rows are filled up with `ChatFormat.pad_id`
    return config


def positions_of(config: PreTrainedConfig, folder: Path) -> int:
    """Return how many positions a model has.

    Raises:
        BaseModelError: It has no positions, like models with ALiBi or without attention.
    """
    found = getattr(config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(found, int) or found < 1:
        raise BaseModelError(
            f"The model in {folder} ({config.model_type}) has no position ids, which sampling and packing here need: {SUITABLE}"
        )
    return found


def blueprint(config: PreTrainedConfig) -> PreTrainedModel:
    """Build a model of this configuration without any weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def output_width(model: PreTrainedModel) -> int:
    """Return the width of hidden states that a model's output layer reads; OPT-350M's is less than its hidden_size."""
    return int(model.get_output_embeddings().in_features)  # type: ignore[union-attr, arg-type]  # a causal model has one


def load_model(
    folder: Path, *, dtype: torch.dtype, device: torch.device, quantisation: str = "none"
) -> PreTrainedModel:
    """Load a causal language model in evaluation mode, frozen, with dropout off.

    Args:
        folder: From `find_model`, or a full checkpoint's role folder.
        dtype: Of the weights, or of the computation with 4-bit weights.
        device: Where it is put.
        quantisation: ``none`` or ``nf4``.
    """
    quantised = _nf4(dtype) if quantisation == "nf4" else None
    config = load_config(folder)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(  # type: ignore[misc]  # a pair, when asked for the report
            folder,
            config=config,
            dtype=dtype,
            device_map={"": device} if quantised or device.type == "cuda" else None,  # no copy of it in RAM
            quantization_config=quantised,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are in the report, which is looked at
        )
    except torch.OutOfMemoryError as error:
        raise BaseModelError(
            f"The model in {folder} does not fit into the memory of {device}: choose quantisation nf4 or a smaller model."
        ) from error
    except Exception as error:  # transformers raises many kinds for a folder that is not a causal language model
        raise BaseModelError(
            f"The folder {folder} cannot be loaded as a causal language model ({type(error).__name__}: "
            f"{_first_line(error)}): choose a decoder-only model of an architecture that transformers knows."
        ) from error
    check_report(report, dict(model.named_parameters()), folder)
    if quantised:
        keep_exact_on_cpu(model)
    else:
        nn.Module.to(model, device)
    model.requires_grad_(False)
    model.eval()
    check_forward(model, folder)
    return model


def load_classifier(folder: Path, *, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """Load a sequence-classification model in evaluation mode, frozen.

    Raises:
        BaseModelError: The folder holds no classifier; a head that would be drawn at random is refused.
    """
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=load_config(folder),
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # transformers raises many kinds for a folder that is not a classifier
        raise BaseModelError(
            f"The folder {folder} cannot be loaded as a sequence-classification model ({type(error).__name__}: "
            f"{_first_line(error)}): choose one that was saved as such."
        ) from error
    if report["missing_keys"]:
        raise BaseModelError(
            f"The model in {folder} lacks weights of a sequence-classification model ({', '.join(sorted(report['missing_keys'])[:3])}): "
            "it was saved for another task, and its scores would be random. Choose one that was saved as a classifier."
        )
    nn.Module.to(model, device)
    return model.requires_grad_(False).eval()


def keep_exact_on_cpu(model: nn.Module) -> None:
    """Switch off the repacking that bitsandbytes does to 4-bit weights on some CPUs.

    On a CPU with AVX512-BF16 the first evaluation-mode forward rewrites the stored weights for an inference kernel that
    rounds to bfloat16, has no gradient and takes only some sizes. Training and sampling must see the same weights.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def end_ids(model_config: PreTrainedConfig, folder: Path) -> list[int]:
    """Return end tokens that a model's own files name, the preferred one first; some name -1 for none."""
    named: list[int] = _as_list(model_config.eos_token_id)
    generation = folder / "generation_config.json"
    if generation.is_file():
        named += _as_list(json.loads(generation.read_text(encoding="utf-8")).get("eos_token_id"))
    return [token for token in dict.fromkeys(named) if token >= 0]


def _as_list(value: int | list[int] | None) -> list[int]:
    return [] if value is None else [value] if isinstance(value, int) else list(value)


def _nf4(compute_dtype: torch.dtype) -> BitsAndBytesConfig:
    try:
        import bitsandbytes  # noqa: F401  # transformers imports it later, with a less clear error
    except ImportError as error:
        raise BaseModelError(
            "Quantisation nf4 needs bitsandbytes, which cannot be imported here: install it with pip install bitsandbytes, or choose "
            "quantisation none."
        ) from error
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
