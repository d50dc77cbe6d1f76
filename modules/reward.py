"""The reward model: learn to score responses so that preferred ones score higher (Bradley-Terry).

backbone.add_role("reward", source=sft_folder / "policy", trainable=True, head=True)
data = RewardDataModule(rows, validation_rows, backbone.chat, ...)
module = RewardModule(backbone, num_steps=data.num_steps, ...)
Trainer(max_epochs=1).fit(module, datamodule=data)
"""

import time
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from modules.agreement import agreement
from modules.backbone import Backbone
from modules.config import RewardConfig
from modules.data import Comparisons
from modules.distributed import gather_rows, sum_over_ranks
from modules.losses import bradley_terry_loss
from modules.optimisation import adam, clip_gradients, schedule, take_step
from modules.sequences import by_length


class RewardModule(L.LightningModule):
    """Trains the role ``reward``; one training step is one optimizer step.

    Args:
        backbone: With a trainable role ``reward`` that has a head.
        num_steps: Steps of the whole run, for the learning rate's cosine.
        learning_rate, warmup_fraction, micro_batch_size, max_grad_norm: See `RewardConfig`.
    """

    saved_roles = ("reward",)

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_steps: int,
        learning_rate: float = 1e-4,
        warmup_fraction: float = 0.05,
        micro_batch_size: int = 16,
        max_grad_norm: float = 1.0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.backbone = backbone
        self.num_steps = num_steps
        self.learning_rate, self.warmup_fraction = learning_rate, warmup_fraction
        self.micro_batch_size, self.max_grad_norm = micro_batch_size, max_grad_norm
        self.step_index = 0
        """Optimizer steps done."""
        self.evaluated_at = -1
        """`step_index` at the last validation."""
        self.parameters_trained = list(backbone.role_parameters("reward").values())
        self.optimizer = adam([{"params": self.parameters_trained, "lr": learning_rate}], eps=1e-8)
        self._held_out: list[Tensor] = []

    @classmethod
    def from_config(cls, config: RewardConfig, backbone: Backbone, *, num_steps: int) -> "RewardModule":
        """The module that a config describes."""
        return cls(
            backbone,
            num_steps=num_steps,
            learning_rate=config.learning_rate,
            warmup_fraction=config.warmup_fraction,
            micro_batch_size=config.micro_batch_size,
            max_grad_norm=config.max_grad_norm,
        )

    def on_fit_start(self) -> None:
        """Lightning leaves modes as they are, and pretrained models arrive in evaluation mode."""
        self.train()

    def training_step(self, batch: Comparisons, batch_idx: int) -> None:
        """One optimizer step on a batch of comparisons."""
        start = time.monotonic()
        # 1. The loss is a weighted mean over the pairs of the batch, however the batch is cut up.
        total_weight = sum_over_ranks(batch.weight.sum())
        # 2. Score each response once per micro-batch, compare, and go backward.
        loss = torch.zeros((), device=batch.weight.device)
        margins = torch.zeros_like(batch.weight)
        for pairs in self._micro_batches(batch):
            with self.backbone.role("reward"):
                margins_here = self._margins(batch, pairs)
                part = (
                    bradley_terry_loss(margins_here, batch.target_p[pairs], batch.margin[pairs], batch.weight[pairs])
                    / total_weight
                )
                part.backward()
            loss += part.detach()
            margins[pairs] = margins_here.detach()
        # 3. Clip and step, at this step's learning rate.
        loss = sum_over_ranks(loss)
        grad_norm = clip_gradients(
            self.parameters_trained, self.max_grad_norm, loss, f"reward step {self.step_index + 1}"
        )
        rate = self.learning_rate * schedule(self.step_index, self.num_steps, self.warmup_fraction)
        self.optimizer.param_groups[0]["lr"] = rate
        take_step(self)
        self.step_index += 1
        # 4. Report.
        tokens = float(sum_over_ranks(batch.sequences.lengths.sum()))
        self.log_dict(
            {
                "train/loss": loss,
                "train/accuracy": agreement(gather_rows(margins), gather_rows(batch.target_p)).accuracy,
                "train/lr": rate,
                "train/grad_norm": grad_norm,
                "train/tokens_per_s": tokens / (time.monotonic() - start),
                "step": float(self.step_index),
            }
        )

    def on_validation_epoch_start(self) -> None:
        """Start a held-out measurement."""
        self._held_out = []

    def validation_step(self, batch: Comparisons, batch_idx: int) -> None:
        """Score held-out comparisons."""
        with self.backbone.role("reward"):
            margins = torch.zeros_like(batch.weight)
            for pairs in self._micro_batches(batch):
                margins[pairs] = self._margins(batch, pairs)
        self._held_out.append(torch.stack([margins, batch.target_p, batch.weight]))

    def on_validation_epoch_end(self) -> None:
        """Report agreement with the person, and the loss without margin."""
        self.evaluated_at = self.step_index
        if not self._held_out:
            return
        margins, target_p, weight = gather_rows(torch.cat(self._held_out, dim=1).T).T
        measured = agreement(margins, target_p)
        self.log_dict(
            {
                "eval/accuracy": measured.accuracy,
                "eval/accuracy_low": measured.low,
                "eval/accuracy_high": measured.high,
                "eval/num": float(measured.num),
                "eval/ece": measured.ece,
                "eval/loss": bradley_terry_loss(margins, target_p, weights=weight) / weight.sum(),
                "step": float(self.step_index),
            }
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Made at construction, so that a checkpoint can be restored before the fit."""
        return self.optimizer

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs beside weights and optimizer."""
        return {"step_index": self.step_index, "evaluated_at": self.evaluated_at}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self.step_index, self.evaluated_at = state["step_index"], state["evaluated_at"]

    def _micro_batches(self, batch: Comparisons) -> list[Tensor]:
        """Indices of pairs (N,), those of similar length together."""
        lengths = torch.maximum(batch.sequences.lengths[batch.chosen], batch.sequences.lengths[batch.rejected])
        return list(by_length(lengths, self.micro_batch_size))

    def _margins(self, batch: Comparisons, pairs: Tensor) -> Tensor:
        """Score of chosen minus score of rejected (N,); a response in several of the pairs is scored once."""
        ends = torch.cat([batch.chosen[pairs], batch.rejected[pairs]])
        rows, position = ends.unique(return_inverse=True)
        sequences = batch.sequences.rows(rows)
        chosen, rejected = self.backbone.scores(sequences.ids, sequences.lengths)[position].chunk(2)
        return chosen - rejected
