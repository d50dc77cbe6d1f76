"""Reads a GGUF file back: ``python -m studio.worker.read_gguf FOLDER FILE`` compares its logits with those of the model in FOLDER.

The figures are printed as JSON; where transformers cannot read the file, the reason. Loads torch; never imported.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils.import_utils import is_gguf_available

from modules.errors import CheckpointError
from modules.model.files import stored_dtype
from studio.worker import child
from studio.worker.merge import PROBE_ROWS, PROBE_TOKENS, ROUNDING


def compare(folder: Path, file: Path) -> dict[str, Any]:
    """Return how far the file's logits are from the model's, or `why_not`.

    Raises:
        CheckpointError: they are too far for the same model, or the file is damaged.
    """
    if not is_gguf_available():
        return {"why_not": "that needs the package gguf (pip install gguf)."}
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    ids = torch.randint(
        plain.config.get_text_config().vocab_size,
        (PROBE_ROWS, PROBE_TOKENS),
        generator=torch.Generator().manual_seed(0),
    )
    expected = _logits(plain, ids)
    try:
        read = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, local_files_only=True
        )
    except (ValueError, KeyError, NotImplementedError) as error:
        return {"why_not": f"transformers cannot open it ({error})."}
    found = _logits(read, ids)
    if found.shape != expected.shape:
        raise CheckpointError(f"its vocabulary has {found.shape[-1]:,} tokens, the model's {expected.shape[-1]:,}.")
    difference, largest = float((found - expected).abs().max()), float(expected.abs().max())
    if not difference <= ROUNDING[stored_dtype(folder)] * largest:
        raise CheckpointError(f"a logit differs by {difference:.2g}, where the largest is {largest:.3g}.")
    return {"max_logit_difference": difference, "max_logit": largest}


@torch.no_grad()
def _logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Return float32 logits (rows, tokens, V)."""
    return model.eval()(input_ids=ids, use_cache=False).logits.float()


if __name__ == "__main__":
    sys.exit(child.answer(lambda _: compare(Path(sys.argv[1]), Path(sys.argv[2]))))
