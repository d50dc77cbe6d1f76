"""How much memory a device has, on which the sizes of passes and copies depend."""

import torch


def gpu_bytes(device: torch.device) -> int:
    """Return the whole memory of a GPU; 0 for a CPU, whose sizes do not depend on it."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0
