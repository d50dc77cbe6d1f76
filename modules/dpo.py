"""DPO: learn from comparisons without a reward model and without sampling; a baseline for what those two add.

    backbone.add_role("reference", source=sft_folder / "policy")
    backbone.add_role("policy", source=sft_folder / "policy", trainable=True)
    data = RewardDataModule(rows, validation_rows, backbone.chat, ...)
    Trainer(max_epochs=1).fit(DPOModule(backbone, num_steps=data.num_steps, ...), datamodule=data)

Rafailov et al. 2023: the policy is its own reward model, whose score of a response is beta (log p - log p of the reference).
The loss is the reward model's, so ties, soft labels, weights, label smoothing (Mitchell 2023, "conservative DPO") and margins
(Amini et al. 2024, "DPO with an offset") mean the same here as there.
"""

import time
from typing import Any

import torch
from torch import Tensor

from modules.agreement import Judged, agreement, measure
from modules.config import DPOConfig
from modules.data.preferences import Comparisons, micro_batches
from modules.data.sequences import Sequences
from modules.losses import bradley_terry_loss, smooth_labels
from modules.model.backbone import Backbone
from modules.model.packing import negative_logprobs
from modules.optimisation import adam, clip_gradients, schedule, take_step
from modules.runtime.distributed import gather_rows, sum_over_ranks
from modules.runtime.phases import Phase, during
from modules.stage_module import StageModule


class DPOModule(StageModule):
    """Trains the role ``policy``; one training step is one optimizer step.

    Args:
        backbone: With a trainable role ``policy`` and a role ``reference``, both the SFT policy at the start. Adapter dropout is
            switched off, since it would change the log-ratio by itself.
        num_steps: Steps of the whole run, for the learning rate's cosine.
        beta, learning_rate, warmup_fraction, micro_batch_size, max_grad_norm, label_smoothing: See `DPOConfig`.
    """

    saved_roles = ("policy",)

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_steps: int,
        beta: float = 0.1,
        learning_rate: float = 5e-5,
        warmup_fraction: float = 0.1,
        micro_batch_size: int = 16,
        max_grad_norm: float = 1.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(backbone)
        backbone.disable_dropout()
        self.num_steps, self.beta = num_steps, beta
        self.learning_rate, self.warmup_fraction = learning_rate, warmup_fraction
        self.micro_batch_size, self.max_grad_norm = micro_batch_size, max_grad_norm
        self.label_smoothing = label_smoothing
        self.parameters_trained = list(backbone.role_parameters("policy").values())
        self.optimizer = adam([{"params": self.parameters_trained, "lr": learning_rate}], eps=1e-8)
        self._held_out: list[Tensor] = []
        self._category_names: tuple[str, ...] = ()

    @classmethod
    def from_config(cls, config: DPOConfig, backbone: Backbone, *, num_steps: int) -> "DPOModule":
        """Build the module that a config describes."""
        return cls(
            backbone,
            num_steps=num_steps,
            beta=config.beta,
            learning_rate=config.learning_rate,
            warmup_fraction=config.warmup_fraction,
            micro_batch_size=config.micro_batch_size,
            max_grad_norm=config.max_grad_norm,
            label_smoothing=config.label_smoothing,
        )

    @during(Phase.STEPPING)
    def training_step(self, batch: Comparisons, batch_idx: int) -> None:
        """Take one optimizer step on a batch of comparisons."""
        start = time.monotonic()
        # 1. The loss is a weighted mean over the pairs of the batch, however the batch is cut up.
        total_weight = sum_over_ranks(batch.weight.sum())
        targets = smooth_labels(batch.target_p, self.label_smoothing)
        # 2. The policy's own scores of both sides; each response takes one forward pass of either role.
        loss = torch.zeros((), device=batch.weight.device)
        scores = torch.zeros(len(batch.weight), 2, device=batch.weight.device)
        for pairs in micro_batches(batch, self.micro_batch_size):
            ends, place = torch.stack([batch.chosen[pairs], batch.rejected[pairs]], dim=1).unique(return_inverse=True)
            sequences = batch.sequences.rows(ends)
            reference = self._reference_logprobs(sequences)
            with self.backbone.role("policy"):
                here = self.beta * (response_logprobs(self.backbone, sequences) - reference)[place]
                margins = here[:, 0] - here[:, 1]
                part = bradley_terry_loss(margins, targets[pairs], batch.margin[pairs], batch.weight[pairs])
                part = part / total_weight
                part.backward()
            loss += part.detach()
            scores[pairs] = here.detach()
        # 3. Clip and step, at this step's learning rate.
        loss = sum_over_ranks(loss)
        grad_norm = clip_gradients(self.parameters_trained, self.max_grad_norm, loss, f"DPO step {self.step_index + 1}")
        rate = self.learning_rate * schedule(self.step_index, self.num_steps, self.warmup_fraction)
        self.optimizer.param_groups[0]["lr"] = rate
        take_step(self)
        self.count_step()
        # 4. Report.
        scores, lengths = gather_rows(scores), gather_rows(_lengths(batch))
        tokens = float(sum_over_ranks(batch.sequences.lengths.sum()))
        self.log_dict(
            {
                "train/loss": loss,
                "train/accuracy": agreement(scores[:, 0] - scores[:, 1], gather_rows(batch.target_p)).accuracy,
                **_rewards("train", scores, lengths),
                "train/lr": rate,
                "train/grad_norm": grad_norm,
                "train/tokens_per_s": tokens / (time.monotonic() - start),
                "step": float(self.step_index),
            }
        )

    @during(Phase.EVALUATING)
    def on_validation_epoch_start(self) -> None:
        """Start a held-out measurement."""
        self._held_out = []

    @during(Phase.EVALUATING)
    def validation_step(self, batch: Comparisons, batch_idx: int) -> None:
        """Score held-out comparisons by the policy's own reward."""
        found = torch.zeros(len(batch.weight), len(Judged._fields), device=batch.weight.device)
        lengths = _lengths(batch)
        for pairs in micro_batches(batch, self.micro_batch_size):
            ends, place = torch.stack([batch.chosen[pairs], batch.rejected[pairs]], dim=1).unique(return_inverse=True)
            sequences = batch.sequences.rows(ends)
            with self.backbone.role("policy"):
                logprobs = response_logprobs(self.backbone, sequences)
            scores = self.beta * (logprobs - self._reference_logprobs(sequences))[place]
            judged = Judged(
                chosen=scores[:, 0],
                rejected=scores[:, 1],
                target_p=batch.target_p[pairs],
                weight=batch.weight[pairs],
                chosen_length=lengths[pairs, 0],
                rejected_length=lengths[pairs, 1],
                strength=batch.strength[pairs].float(),
                category=batch.category[pairs].float(),
                uncertainty=torch.zeros(len(pairs), device=scores.device),
            )
            found[pairs] = torch.stack(judged, dim=1)
        self._held_out.append(found)
        self._category_names = batch.category_names

    @during(Phase.EVALUATING)
    def on_validation_epoch_end(self) -> None:
        """Report agreement with the person."""
        self.evaluated_at = self.step_index
        if not self._held_out:
            return
        judged = Judged(*gather_rows(torch.cat(self._held_out)).T)
        scores = torch.stack([judged.chosen, judged.rejected], dim=1)
        lengths = torch.stack([judged.chosen_length, judged.rejected_length], dim=1)
        metrics = measure(judged._replace(category=judged.category.long()), self._category_names)
        self.log_dict(metrics | _rewards("eval", scores, lengths) | {"step": float(self.step_index)})

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs besides weights and optimizer."""
        return {"step_index": self.step_index, "evaluated_at": self.evaluated_at}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self.step_index, self.evaluated_at = state["step_index"], state["evaluated_at"]

    @torch.no_grad()
    def _reference_logprobs(self, sequences: Sequences) -> Tensor:
        """Return log-probabilities of responses (U,) by the reference."""
        with self.backbone.role("reference"):
            return response_logprobs(self.backbone, sequences)


def response_logprobs(backbone: Backbone, sequences: Sequences) -> Tensor:
    """Return the log-probability (U,) of each row's masked tokens, summed, by the active role."""
    rows, _ = sequences.mask[:, 1:].nonzero(as_tuple=True)
    sums = torch.zeros(len(sequences.ids), device=sequences.ids.device)
    return sums.index_add(0, rows, -negative_logprobs(backbone, sequences))


def _lengths(batch: Comparisons) -> Tensor:
    """Return the tokens (B, 2) of the chosen and the rejected response of each pair."""
    lengths = batch.sequences.mask.sum(-1)
    return torch.stack([lengths[batch.chosen], lengths[batch.rejected]], dim=1).float()


def _rewards(group: str, scores: Tensor, lengths: Tensor) -> dict[str, float]:
    """Return mean scores of both sides, the mean margin, and that of scores per token.

    Args:
        group: Of the metrics.
        scores: (B, 2) of chosen and rejected.
        lengths: (B, 2) their tokens.
    """
    per_token = scores / lengths.clamp(min=1)
    return {
        f"{group}/chosen_reward": float(scores[:, 0].mean()),
        f"{group}/rejected_reward": float(scores[:, 1].mean()),
        f"{group}/margin": float((scores[:, 0] - scores[:, 1]).mean()),
        f"{group}/margin_per_token": float((per_token[:, 0] - per_token[:, 1]).mean()),
    }
