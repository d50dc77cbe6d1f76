"""What the configs of all stages share, and those of the stages that train."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]


TRACKERS = ("tensorboard", "wandb", "trackio")


def tracker_names(text: str) -> list[str]:
    """Return the names that `trackers` holds, each once."""
    return list(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


class StageConfig(BaseModel):
    """Fields that all stages share. Frozen: a run's config never changes once created."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of data order, sampling and fresh weights; the same seed on the same machine repeats the run."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute: auto takes the GPU when there is one."""
    gpu: Annotated[int, Field(ge=-1, le=63)] = -1
    """Number of the GPU; -1 takes the first free one. Runs on different GPUs do not wait for each other."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the base weights: auto takes that of the checkpoint's run, else bf16 on GPUs that support it and fp32 elsewhere."""
    quantisation: Literal["auto", "none", "nf4"] = "auto"
    """nf4 keeps the frozen base in 4 bits, none does not. It belongs to the model: auto takes what the checkpoint was trained with, and another value is refused."""


class TrainConfig(StageConfig):
    """Fields that the three trainers share."""

    method: Literal["auto", "lora", "full"] = "auto"
    """lora trains small adapters on a frozen base, full every weight. It belongs to the model: auto takes what the checkpoint was trained with."""
    lora_rank: Annotated[int, Field(ge=0, le=512)] = 0
    """Rank of the LoRA adapters. The run continues training the checkpoint's adapters, so 0 takes their rank and any other is refused."""
    lora_alpha: NonNegativeFloat = 0.0
    """LoRA scale, alpha / rank; 0 takes that of the checkpoint's adapters, any other is refused."""
    lora_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout inside the adapters; PPO and DPO accept only 0, since they need log-probabilities that repeat."""
    lora_targets: str = ""
    """Layers that have an adapter; leave empty for those of the checkpoint, any others are refused."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third slower, far less memory for long texts."""
    max_length: Annotated[int, Field(ge=8)] = 512
    """Longest training text in tokens; longer ones are dropped and counted."""
    max_dropped: Fraction = 0.1
    """Refuse to start when more than this share of the rows would be left out; 1 starts anyway."""
    batch_size: PositiveInt = 16
    """Examples per optimizer step."""
    micro_batch_size: PositiveInt = 16
    """Examples per forward pass; smaller needs less memory and does not change the result."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradients are scaled down to this global norm before each step."""
    save_every: PositiveInt = 100
    """Write a resumable checkpoint after every this many steps (PPO: iterations)."""
    keep_checkpoints: Annotated[int, Field(ge=0)] = 0
    """Delete the files of older checkpoints when a new one is written, and keep this many of the newest; 0 keeps all. The one that is handed on, those of save_at_kl, and those that another run began with always stay."""
    devices: PositiveInt = 1
    """GPUs (on a CPU: processes) per machine that share every batch; the result is the same as with one."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How devices work together: auto is ddp where there are several; fsdp is refused, with the reason."""
    num_nodes: PositiveInt = 1
    """Machines; with more than one, torchrun or SLURM starts the run's worker on each."""
    trackers: str = ""
    """Also write the curves into folders of tensorboard, wandb (offline) or trackio, separated by commas; they must be installed. Nothing is sent anywhere."""

    @field_validator("trackers")
    @classmethod
    def _are_known(cls, text: str) -> str:
        if unknown := [name for name in tracker_names(text) if name not in TRACKERS]:
            raise ValueError(f"{unknown[0]!r} is not one of {', '.join(TRACKERS)}")
        return ",".join(tracker_names(text))
