"""Settings named for a stage and its hardware, or for a first look. They are starting points: the memory a model takes is estimated.

Each names its largest model; `tests/modules/test_presets.py` checks that by `modules.memory`.
"""

from typing import Any, NamedTuple


class Hardware(NamedTuple):
    """Hardware of a preset."""

    title: str
    gib: int
    """GPU memory; on a CPU the RAM that a run may take."""
    billions: float
    """Parameters of the largest usual model."""


HARDWARE = {
    "cpu": Hardware("CPU", 8, 0.2),
    "8gb": Hardware("8 GB GPU", 8, 1.5),
    "12gb": Hardware("12 GB GPU", 12, 3),
    "16gb": Hardware("16 GB GPU", 16, 7),
    "24gb": Hardware("24 GB GPU", 24, 7),
    "48gb": Hardware("48 GB GPU", 48, 13),
    "80gb": Hardware("80 GB GPU", 80, 13),
}

FIRST_LOOK = "first-look"
SHORT: dict[str, dict[str, Any]] = {
    "sft": {"max_demonstrations": 64, "epochs": 1},
    "ppo": {"iterations": 10, "batch_size": 32, "value_warmup": 2, "eval_every": 5},
}
"""Stage to the settings of a first look: a short run that shows that everything works, and how long a step takes."""

_MACHINE: dict[str, dict[str, Any]] = {
    "cpu": {"device": "cpu", "precision": "fp32", "quantisation": "none", "gradient_checkpointing": False},
    "8gb": {"device": "cuda", "precision": "bf16", "quantisation": "nf4", "gradient_checkpointing": True},
    "12gb": {"device": "cuda", "precision": "bf16", "quantisation": "nf4", "gradient_checkpointing": True},
    "16gb": {"device": "cuda", "precision": "bf16", "quantisation": "nf4", "gradient_checkpointing": True},
    "24gb": {"device": "cuda", "precision": "bf16", "quantisation": "nf4", "gradient_checkpointing": True},
    "48gb": {"device": "cuda", "precision": "bf16", "quantisation": "none", "gradient_checkpointing": True},
    "80gb": {"device": "cuda", "precision": "bf16", "quantisation": "none", "gradient_checkpointing": True},
}
_MICRO = {"cpu": 4, "8gb": 2, "12gb": 2, "16gb": 4, "24gb": 8, "48gb": 8, "80gb": 16}
_ROLLOUT = {"cpu": 64, "8gb": 32, "12gb": 16, "16gb": 16, "24gb": 32, "48gb": 8, "80gb": 32}
_LENGTH = {"cpu": 512, "8gb": 512, "12gb": 1024, "16gb": 1024, "24gb": 1024, "48gb": 2048, "80gb": 2048}


def preset(stage: str, hardware: str) -> dict[str, Any]:
    """Return the settings of a stage that trains, by the name of the hardware or as a first look."""
    if hardware == FIRST_LOOK:
        return SHORT.get(stage, {})
    micro, length = _MICRO[hardware], _LENGTH[hardware]
    common = _MACHINE[hardware] | {"max_length": length}
    if stage == "sft":
        common |= {"method": "lora", "lora_rank": 16}
    else:
        del common["quantisation"]  # as with the rest of the model, it is the checkpoint's
    if stage == "ppo":
        return common | {
            "batch_size": 64,
            "minibatch_size": 32,
            "micro_batch_size": micro,
            "rollout_batch_size": _ROLLOUT[hardware],
            "max_prompt_length": length // 2,
            "max_new_tokens": length // 4,
        }
    # A pair has two sides, and both go through the model together.
    return common | {"batch_size": 16, "micro_batch_size": micro if stage == "sft" else max(1, micro // 2)}
