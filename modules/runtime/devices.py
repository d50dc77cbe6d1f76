"""Which device computes, in which number format, and how much memory it has."""

import torch

from modules.errors import ConfigError


def pick_device(device: str) -> torch.device:
    """Return the device to use; ``auto`` is the GPU where there is one."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("There is no usable CUDA device on this machine: choose device auto or cpu.")
    is_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    return torch.device("cuda", torch.cuda.current_device()) if is_cuda else torch.device("cpu")


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the number format; ``auto`` is bfloat16 on GPUs that do not emulate it, slowly, else float32."""
    if precision == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16" if has_bf16 else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def gpu_bytes(device: torch.device) -> int:
    """Return the whole memory of a GPU; 0 for a CPU, whose sizes do not depend on it."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0
