"""The doctor's part that loads torch: ``python -m studio.worker.doctor`` prints its facts as JSON. Never imported."""

import json
from typing import Any

import torch

SIDE = 256
LARGEST_DEVIATION = 0.2


def facts() -> dict[str, Any]:
    """Return torch's version, the GPUs it can use with their memory in bytes, and whether 4-bit weights work."""
    devices = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        devices.append({"name": torch.cuda.get_device_name(index), "free": free, "total": total})
    return {"torch": torch.__version__, "devices": devices} | nf4()


def nf4() -> dict[str, Any]:
    """Multiply by a matrix held in NF4 and compare with the exact product (relative error, about 10 %)."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
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
    print(json.dumps(facts()))
