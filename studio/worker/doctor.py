"""The doctor's part that loads torch: ``python -m studio.worker.doctor [WORKSPACE]`` prints its facts as JSON.

It computes on a GPU only while it holds that GPU's lock; of the others it asks the driver, which opens none.
"""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from studio.errors import RunError
from studio.runs import gpus
from studio.worker.borrowed_gpu import borrowed
from studio.workspace import Workspace

SIDE = 256
LARGEST_DEVIATION = 0.2


def facts(root: str = "") -> dict[str, Any]:
    """Return torch's version, the GPUs with their memory in bytes, whether 4-bit weights work, and what is running.

    Args:
        root: The workspace whose runs may be using the GPUs; empty where there is none yet.
    """
    known = [{"name": each.title, "free": each.free, "total": each.total} for each in gpus.memories()]
    try:
        with borrowed(Workspace(Path(root))) if root else nullcontext():
            return _facts(known, can_open=True)
    except RunError as error:
        return _facts(known, can_open=False) | {"busy": str(error)}


def _facts(known: list[dict[str, Any]], can_open: bool) -> dict[str, Any]:
    has_gpu = torch.cuda.is_available()
    if has_gpu and not known and can_open:  # of another maker's driver
        free, total = torch.cuda.mem_get_info()
        known = [{"name": torch.cuda.get_device_name(), "free": free, "total": total}]
    device = "cuda" if has_gpu and can_open else "cpu"
    return {"torch": torch.__version__, "devices": known if has_gpu else [], "busy": ""} | nf4(device)


def nf4(device: str) -> dict[str, Any]:
    """Multiply by a matrix held in NF4 and compare with the exact product (relative error, about 10 %)."""
    answer: dict[str, Any] = {"nf4_device": device, "nf4_deviation": None, "nf4_error": ""}
    try:
        from bitsandbytes.nn.modules import Linear4bit

        torch.manual_seed(0)
        exact = torch.nn.Linear(SIDE, SIDE, bias=False)
        layer = Linear4bit(SIDE, SIDE, bias=False, compute_dtype=torch.float32, quant_type="nf4")
        layer.load_state_dict(exact.state_dict())
        layer, exact = layer.to(device), exact.to(device)
        x = torch.randn(8, SIDE, device=device)
        with torch.no_grad():
            deviation = float((layer(x) - exact(x)).norm() / exact(x).norm())
    except Exception as error:  # a probe: any error is its result
        return answer | {"nf4_error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}
    if deviation > LARGEST_DEVIATION:
        return answer | {"nf4_error": f"its products are off by {deviation:.0%}"}
    return answer | {"nf4_deviation": deviation}


if __name__ == "__main__":
    print(json.dumps(facts(*sys.argv[1:])))
