"""Supervised fine-tuning: teach the base model the demonstrations, on assistant tokens only.

backbone = Backbone.load(base_model)
backbone.add_role("policy", trainable=True)
data = SFTDataModule(rows, validation_rows, backbone.chat, ...)
module = SFTModule(backbone, num_steps=data.num_steps, ...)
Trainer(max_epochs=1).fit(module, datamodule=data)
"""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from modules.config import SFTConfig
from modules.data.sequences import Sequences, by_length
from modules.model.backbone import Backbone
from modules.model.generate import EndReason, generate
from modules.model.packing import Packed, check_packing, negative_logprobs, pack
from modules.optimisation import adam, clip_gradients, schedule, take_step
from modules.runtime.distributed import sum_over_ranks
from modules.runtime.phases import Phase, during
from modules.stage_module import StageModule

SAMPLE_TOKENS = 64
"""Longest answer sampled while measuring."""
SAMPLE_SEED = 2**31 - 1


class Sample(NamedTuple):
    """An answer for people to read."""

    prompt: str
    response: str
    end_reason: EndReason


class SFTModule(StageModule):
    """Trains the role ``policy``; one training step is one optimizer step.

    Args:
        backbone: With a trainable role ``policy``.
        num_steps: Steps of the whole run, for the learning rate's cosine.
        learning_rate, warmup_fraction, micro_batch_size, max_grad_norm: See `SFTConfig`.
        pack_length: Tokens of a row that holds several demonstrations; 0 gives each a row of its own.
        sample_prompts: Prompts as ids that are answered at each validation, always with the same random numbers.

    Raises:
        ConfigError: The model cannot keep packed demonstrations apart.
    """

    saved_roles = ("policy",)

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_steps: int,
        learning_rate: float = 2e-4,
        warmup_fraction: float = 0.05,
        micro_batch_size: int = 16,
        max_grad_norm: float = 1.0,
        pack_length: int = 0,
        sample_prompts: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__(backbone)
        self.num_steps = num_steps
        self.learning_rate, self.warmup_fraction = learning_rate, warmup_fraction
        self.micro_batch_size, self.max_grad_norm = micro_batch_size, max_grad_norm
        self.pack_length = pack_length
        if pack_length:
            check_packing(backbone, "policy")
        self.sample_prompts = [ids for ids in sample_prompts if len(ids) + SAMPLE_TOKENS <= backbone.context_length]
        self.latest_eval_samples: list[Sample] = []
        """Answers of the last validation."""
        self.parameters_trained = list(backbone.role_parameters("policy").values())
        self.optimizer = adam([{"params": self.parameters_trained, "lr": learning_rate}], eps=1e-8)
        self._held_out = torch.zeros(2)

    @classmethod
    def from_config(
        cls, config: SFTConfig, backbone: Backbone, *, num_steps: int, sample_prompts: Sequence[Sequence[int]] = ()
    ) -> "SFTModule":
        """Build the module that a config describes."""
        return cls(
            backbone,
            num_steps=num_steps,
            learning_rate=config.learning_rate,
            warmup_fraction=config.warmup_fraction,
            micro_batch_size=config.micro_batch_size,
            max_grad_norm=config.max_grad_norm,
            pack_length=config.max_length if config.packing else 0,
            sample_prompts=sample_prompts,
        )

    @during(Phase.STEPPING)
    def training_step(self, batch: Sequences, batch_idx: int) -> None:
        """Take one optimizer step on a batch of demonstrations."""
        start = time.monotonic()
        # 1. The loss is a mean over all taught tokens of the batch, however the batch is cut up.
        num_targets = sum_over_ranks(batch.mask[:, 1:].sum())
        # 2. Forward and backward, one micro-batch at a time.
        loss = torch.zeros((), device=batch.ids.device)
        with self.backbone.role("policy"):
            for rows in self._micro_batches(batch):
                part = negative_logprobs(self.backbone, rows).sum() / num_targets
                part.backward()
                loss += part.detach()
        # 3. Clip and step, at this step's learning rate.
        loss = sum_over_ranks(loss)
        grad_norm = clip_gradients(self.parameters_trained, self.max_grad_norm, loss, f"SFT step {self.step_index + 1}")
        rate = self.learning_rate * schedule(self.step_index, self.num_steps, self.warmup_fraction)
        self.optimizer.param_groups[0]["lr"] = rate
        take_step(self)
        self.count_step()
        # 4. Report.
        tokens = float(sum_over_ranks(batch.lengths.sum()))
        self.log_dict(
            {
                "train/loss": loss,
                "train/lr": rate,
                "train/grad_norm": grad_norm,
                "train/tokens_per_s": tokens / (time.monotonic() - start),
                "step": float(self.step_index),
            }
        )

    @during(Phase.EVALUATING)
    def on_validation_epoch_start(self) -> None:
        """Start the sums of a held-out measurement."""
        self._held_out = torch.zeros(2, device=self.device)

    @during(Phase.EVALUATING)
    def validation_step(self, batch: Sequences, batch_idx: int) -> None:
        """Add up the loss of held-out demonstrations."""
        with self.backbone.role("policy"):
            for rows in self._micro_batches(batch):
                losses = negative_logprobs(self.backbone, rows)
                self._held_out += torch.stack([losses.sum(), torch.tensor(len(losses), device=losses.device)])

    @during(Phase.EVALUATING)
    def on_validation_epoch_end(self) -> None:
        """Report the mean over all held-out tokens, and answer the sample prompts."""
        total, count = sum_over_ranks(self._held_out).tolist()
        loss = total / max(count, 1)
        self.evaluated_at = self.step_index
        self.log_dict({"eval/loss": loss, "eval/perplexity": math.exp(min(loss, 700)), "step": float(self.step_index)})
        if self.sample_prompts:
            rollout = generate(
                self.backbone, "policy", self.sample_prompts, max_new_tokens=SAMPLE_TOKENS, seed=SAMPLE_SEED
            )
            chat = self.backbone.chat
            answers = zip(rollout.prompts, rollout.responses, rollout.end_reasons, strict=True)
            self.latest_eval_samples = [
                Sample(chat.decode_prompt(p), chat.decode(r), reason) for p, r, reason in answers
            ]

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs besides weights and optimizer."""
        return {"step_index": self.step_index, "evaluated_at": self.evaluated_at}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self.step_index, self.evaluated_at = state["step_index"], state["evaluated_at"]

    def _micro_batches(self, batch: Sequences) -> Iterator[Sequences | Packed]:
        if self.pack_length:
            yield from pack(batch, self.pack_length, self.micro_batch_size)
        else:
            yield from (batch.rows(rows) for rows in by_length(batch.lengths, self.micro_batch_size))
