"""The weights that one PPO iteration holds, against one LoRA fine-tuning step of the same base, and against four copies."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from torch import Tensor, nn

from modules.model.backbone import Backbone


def held_bytes(module: nn.Module) -> int:
    """Bytes of a module's weights and of what quantisation keeps with them; a tensor that occurs twice counts once."""
    tensors: list[Tensor] = [*module.parameters(), *module.buffers()]
    for parameter in module.parameters():
        tensors += _quantisation_constants(parameter)
    return _bytes(tensors)


def table(folder: Path, quantisations: Iterable[str], precision: str) -> Iterator[str]:
    """The lines of a Markdown table, with the base in a precision or quantised; adapters and heads are float32."""
    yield "| base | weights of a LoRA step, MiB | of a PPO iteration, MiB | ratio | of four copies, MiB | ratio |"
    yield "|---|---|---|---|---|---|"
    for quantisation in quantisations:
        one = held_bytes(fine_tuning(folder, quantisation, precision)) / 2**20
        four = held_bytes(four_roles(folder, quantisation, precision)) / 2**20
        copies = 4 * held_bytes(_load(folder, quantisation, precision)) / 2**20
        cells = [
            precision if quantisation == "none" else quantisation,
            f"{one:,.1f}",
            f"{four:,.1f}",
            f"**{four / one:.2f}**",
            f"{copies:,.1f}",
            f"{four / copies:.2f}",
        ]
        yield f"| {' | '.join(cells)} |"


def fine_tuning(folder: Path, quantisation: str, precision: str) -> Backbone:
    """A base with one adapter, as SFT trains it."""
    backbone = _load(folder, quantisation, precision)
    backbone.add_role("policy", trainable=True)
    return backbone


def four_roles(folder: Path, quantisation: str, precision: str) -> Backbone:
    """A base with the roles of PPO."""
    backbone = _load(folder, quantisation, precision)
    backbone.add_role("reference")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    backbone.add_role("reward", head=True)
    backbone.add_role("value", copy_of="reward", trainable=True, head=True)
    return backbone


def _load(folder: Path, quantisation: str, precision: str) -> Backbone:
    return Backbone.load(str(folder), quantisation=quantisation, precision=precision)


def _quantisation_constants(parameter: Tensor) -> list[Tensor]:
    """Scales of a 4-bit weight, with those of the scales."""
    state = getattr(parameter, "quant_state", None)
    found: list[Tensor] = []
    while state is not None:
        found += [value for value in (state.absmax, state.code, state.offset) if isinstance(value, Tensor)]
        state = state.state2
    return found


def _bytes(tensors: Iterable[Tensor]) -> int:
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())
