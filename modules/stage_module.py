"""Base of the three trainers: LightningModules whose model stays on the device it was loaded to.

Lightning puts a module on the trainer's device before each fit or validate, and on the CPU after it. With a GPU model
that is a whole copy in RAM for every measurement, and work between two measurements would meet tensors of two
devices. Here the model never moves, and batches come to it.
"""

from typing import Any, Self

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities import rank_zero_warn

from modules.model.backbone import Backbone


class StageModule(L.LightningModule):
    """Optimised by hand, with one optimizer that is made at construction.

    Args:
        backbone: Its device is the module's, whatever the trainer's is.
    """

    optimizer: torch.optim.Optimizer

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.backbone = backbone
        self.step_index = 0
        """Training steps done: optimizer steps, in PPO iterations."""
        self.evaluated_at = -1
        """`step_index` at the last validation."""
        self.is_half_done = False
        """True once weights changed since the last whole step, so that an error now would leave half a step's state."""

    @property
    def device(self) -> torch.device:
        """The device that holds the model."""
        return self.backbone.device

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Change the number format, if one is given; never the device."""
        formats = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.dtype)]
        return super().to(dtype=formats[0]) if formats else self

    def cpu(self) -> Self:
        """Stay: Lightning asks for it after each fit and validate."""
        return self

    def cuda(self, device: torch.device | int | None = None) -> Self:
        """Stay."""
        return self

    def setup(self, stage: str) -> None:
        """Log the device where a trainer of another device will compute."""
        root = self.trainer.strategy.root_device
        if not _is_same(root, self.device):
            rank_zero_warn(
                f"The Trainer chose {root}, but the model was loaded to {self.device} and stays there: it is trained there. "
                "To use another device, load the model with it: Backbone.load(..., device=...)."
            )

    def _apply_batch_transfer_handler(
        self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0
    ) -> Any:
        """Move a batch to the model's device, not the trainer's."""
        return super()._apply_batch_transfer_handler(batch, self.device, dataloader_idx)

    def on_fit_start(self) -> None:
        """Train: Lightning leaves modes as they are, and pretrained models arrive in evaluation mode."""
        self.train()
        for parameter, moments in self.optimizer.state.items():  # the strategy took them to its own device
            for name, value in moments.items():
                if name != "step" and isinstance(value, torch.Tensor):
                    moments[name] = value.to(parameter.device)

    def count_step(self) -> None:
        """Note that a training step is whole."""
        self.step_index += 1
        self.is_half_done = False

    def on_train_end(self) -> None:
        """Take the optimizer from the strategy, which would move its moments to the CPU."""
        self.trainer.strategy.optimizers = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer, made at construction so that a checkpoint can be restored before the fit."""
        return self.optimizer


def _is_same(first: torch.device, second: torch.device) -> bool:
    """Return whether both name one device; ``cuda`` is the current one."""
    return first.type == second.type and (first.type == "cpu" or _index(first) == _index(second))


def _index(device: torch.device) -> int:
    if device.index is not None or device.type != "cuda":
        return device.index or 0
    return torch.cuda.current_device()
