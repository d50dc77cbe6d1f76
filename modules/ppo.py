"""PPO against a reward model: raise the score of responses while staying near the SFT policy.

    backbone.add_role("reference", source=sft_folder / "policy")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    backbone.add_role("reward", source=reward_folder / "reward", head=True)
    backbone.add_role("value", copy_of="reward", trainable=True, head=True)
    data = PPODataModule(prompts, validation_prompts, backbone.chat, iterations=..., ...)
    Trainer(max_epochs=1).fit(PPOModule(backbone, ...), datamodule=data)

Schulman et al. 2017 with the details of Ziegler et al. 2019 and Huang et al. 2024. Deviations: policy and value function
are clipped to their own gradient norms; whitening spans the iteration; the last token's reward holds the clipped score.
"""

import inspect
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import lightning.pytorch as L
import torch
from torch import Tensor

from modules.advantages import KLController, explained_variance
from modules.backbone import Backbone
from modules.config import PPOConfig
from modules.data import PPOBatch, PPOHeldOut
from modules.distributed import gather_rows, gather_shares, place, share, sum_over_ranks, world
from modules.errors import NonFiniteError
from modules.experience import (
    Experience,
    Objective,
    ScoreFunction,
    all_logprobs,
    check_finite,
    gather_experience,
    reward_scores,
    role_stats,
    role_values,
)
from modules.losses import policy_losses, value_losses
from modules.optimisation import adam, clip_gradients, take_step
from modules.rollout import EndReason, Rollout, generate
from modules.sequences import Sequences, by_length
from modules.sft import negative_logprobs
from modules.tally import Clock, StepSums, mean

ADAM_EPS = 1e-5
CENTERING_SAMPLES = 4
"""Responses per prompt from which the zero of the score is set."""
EVAL_SEED = 2**31 - 1


class Sample(NamedTuple):
    """A response for people to read."""

    prompt_text: str
    response_text: str
    score: float
    """Raw score."""
    kl: float
    """Divergence from the SFT policy on this response, in nats."""
    end_reason: EndReason


class PPOModule(L.LightningModule):
    """Trains the roles ``policy`` and ``value``; one training step is one iteration of many optimizer steps.

    Args:
        backbone: With the roles policy and value (trainable), reference and reward. Adapter dropout is switched off.
        score_function: Scores responses in place of the role ``reward``.
        seed, batch-independent settings: See `PPOConfig`, which names and explains them all.
    """

    saved_roles = ("policy", "value")

    def __init__(
        self,
        backbone: Backbone,
        *,
        score_function: ScoreFunction | None = None,
        seed: int = 0,
        max_new_tokens: int = 96,
        temperature: float = 1.0,
        minibatch_size: int = 32,
        micro_batch_size: int = 32,
        rollout_batch_size: int = 64,
        epochs: int = 4,
        learning_rate: float = 1e-4,
        value_learning_rate: float = 2e-4,
        value_warmup: int = 5,
        max_grad_norm: float = 1.0,
        kl_coef: float = 0.05,
        kl_estimator: Literal["k1", "k3"] = "k1",
        kl_target: float = 0.0,
        clip_range: float = 0.2,
        value_clip_range: float = 0.2,
        value_coef: float = 0.1,
        entropy_coef: float = 0.0,
        gamma: float = 1.0,
        lam: float = 0.95,
        whiten_advantages: bool = True,
        center_scores: bool = True,
        score_clip: float = 10.0,
        missing_eos_penalty: float = 1.0,
        ptx_coef: float = 0.0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.backbone = backbone
        backbone.disable_dropout()
        self.score_function = score_function
        self.seed = seed
        self.max_new_tokens, self.temperature = max_new_tokens, temperature
        self.minibatch_size, self.micro_batch_size = minibatch_size, micro_batch_size
        self.rollout_batch_size, self.epochs = rollout_batch_size, epochs
        self.value_warmup, self.max_grad_norm = value_warmup, max_grad_norm
        self.clip_range, self.value_clip_range = clip_range, value_clip_range
        self.value_coef, self.entropy_coef, self.ptx_coef = value_coef, entropy_coef, ptx_coef
        self.center_scores = center_scores
        self.objective = Objective(kl_estimator, gamma, lam, whiten_advantages, score_clip, missing_eos_penalty)
        self.kl_controller = KLController(kl_coef, kl_target)
        self.score_center: float | None = None
        """Mean score of the SFT policy's responses, measured at the start."""
        self.step_index = 0
        """Iterations done."""
        self.evaluated_at = -1
        """`step_index` at the last validation."""
        self.policy_parameters = list(backbone.role_parameters("policy").values())
        self.value_parameters = list(backbone.role_parameters("value").values())
        self.optimizer = adam(
            [
                {"params": self.policy_parameters, "lr": learning_rate},
                {"params": self.value_parameters, "lr": value_learning_rate},
            ],
            eps=ADAM_EPS,
        )
        self._latest: tuple[Rollout, Tensor, Tensor] | None = None
        self.latest_eval_samples: list[Sample] = []
        """The last validation's responses, in the order of the data module's ``validation_prompts``."""
        self._held_out: dict[str, float] = {}

    @classmethod
    def from_config(cls, config: PPOConfig, backbone: Backbone) -> "PPOModule":
        """The module that a config describes."""
        names = [name for name in inspect.signature(cls).parameters if name in PPOConfig.model_fields]
        return cls(backbone, **{name: getattr(config, name) for name in names})

    def on_fit_start(self) -> None:
        """Lightning leaves modes as they are, and pretrained models arrive in evaluation mode."""
        self.train()

    def training_step(self, batch: PPOBatch, batch_idx: int) -> None:
        """One iteration: sample, judge, and several passes of updates."""
        if self.center_scores and self.score_center is None:
            self._set_score_center(batch.prompts)
        clock = Clock()
        # 1. The policy answers the prompts, at the temperature used everywhere.
        rollout = self._sample("policy", batch.prompts, seed=self._seed_of(self.step_index))
        clock.lap("time/rollout_s")
        # 2. Score the responses; log-probabilities, values, per-token rewards, advantages.
        scores = self._score(rollout)
        experience = gather_experience(
            self.backbone,
            rollout,
            self.objective,
            scores=scores,
            center=self.score_center or 0.0,
            kl_coef=self.kl_controller.coef,
            temperature=self.temperature,
            micro_batch_size=self.micro_batch_size,
        )
        clock.lap("time/score_s")
        # 3. Several passes over the responses in minibatches, one optimizer step each.
        sums = StepSums(self.device)
        num_responses = int(sum_over_ranks(torch.tensor(len(scores), device=scores.device)))
        for epoch in range(self.epochs):
            for rows in self._minibatches(num_responses, epoch):
                self._update(experience, rows, batch.demonstrations, sums)
        clock.lap("time/update_s")
        # 4. Steer the price of the KL, count the iteration, report.
        metrics = self._describe(experience) | sums.means() | clock.laps
        self.kl_controller.update(metrics["objective/kl"], num_responses)
        self.step_index += 1
        self._latest = (rollout, scores, experience.kl_per_response)
        self.log_dict(metrics | {"step": float(self.step_index)})

    def on_validation_epoch_start(self) -> None:
        """Start a held-out measurement."""
        self._held_out = {}

    def validation_step(self, batch: PPOHeldOut, batch_idx: int) -> None:
        """Sample answers to held-out prompts, always with the same random numbers; losses on held-out demonstrations."""
        if batch.prompts:
            rollout = self._sample("policy", list(share(batch.prompts)), seed=EVAL_SEED)
            sequences = rollout.sequences(self.backbone.chat.pad_id).to(self.backbone.device)
            mask = rollout.response_mask().to(self.backbone.device)
            scores, arguments = self._score(rollout), (sequences, mask, self.temperature, self.micro_batch_size)
            kl = all_logprobs(self.backbone, "policy", *arguments) - all_logprobs(
                self.backbone, "reference", *arguments
            )
            self.latest_eval_samples = gather_shares(self._read((rollout, scores, kl.sum(-1))))
            self._held_out |= {
                "eval/score": mean(scores),
                "eval/kl": mean(kl.sum(-1)),
                "eval/response_tokens": mean(mask.sum(-1)),
                "eval/eos_share": mean(torch.tensor(rollout.finished, device=mask.device)),
            }
        if batch.demonstrations is not None:
            self._held_out |= self._demonstration_losses(batch.demonstrations, batch.is_excluded)

    def on_validation_epoch_end(self) -> None:
        """Report."""
        self.evaluated_at = self.step_index
        if self._held_out:
            self.log_dict(self._held_out | {"step": float(self.step_index)})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Made at construction, so that a checkpoint can be restored before the fit."""
        return self.optimizer

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs beside weights and optimizer."""
        return {
            "step_index": self.step_index,
            "evaluated_at": self.evaluated_at,
            "kl_coef": self.kl_controller.coef,
            "score_center": self.score_center,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self.step_index, self.evaluated_at = state["step_index"], state["evaluated_at"]
        self.kl_controller.coef, self.score_center = state["kl_coef"], state["score_center"]

    @property
    def latest_samples(self) -> list[Sample]:
        """The last iteration's responses; empty before the first."""
        return self._read(self._latest)

    def _update(self, experience: Experience, rows: Tensor, demonstrations: Sequences | None, sums: "StepSums") -> None:
        """One optimizer step on the responses at ``rows`` (N,)."""
        # 1. Losses are means over the response tokens of the whole minibatch, however it is cut up.
        num_tokens = sum_over_ranks(experience.mask[rows].sum())
        trains_policy = self.step_index >= self.value_warmup
        loss = torch.zeros((), device=self.backbone.device)
        for part in by_length(experience.sequences.lengths[rows], self.micro_batch_size):
            if trains_policy:
                loss += self._policy_backward(experience, rows[part], num_tokens, sums)
            loss += self._value_backward(experience, rows[part], num_tokens, sums)
        # 2. InstructGPT's remedy for forgetting: a language-model loss on demonstrations, normalised by its own tokens.
        if trains_policy and self.ptx_coef > 0 and demonstrations is not None:
            loss += self._ptx_backward(demonstrations, sums)
        # 3. Clip each network to its own norm; take the step only if everything is finite.
        where, loss = f"PPO iteration {self.step_index + 1}", sum_over_ranks(loss)
        try:
            if trains_policy:
                sums.add_step(
                    "policy/grad_norm", clip_gradients(self.policy_parameters, self.max_grad_norm, loss, where)
                )
            sums.add_step("value/grad_norm", clip_gradients(self.value_parameters, self.max_grad_norm, loss, where))
        except NonFiniteError:
            self.optimizer.zero_grad(set_to_none=True)
            raise
        take_step(self)

    def _policy_backward(self, experience: Experience, rows: Tensor, num_tokens: Tensor, sums: "StepSums") -> Tensor:
        """Forward and backward of the policy on some responses; returns their share of the loss."""
        mask = experience.mask[rows]
        old, advantages = experience.logprobs[rows][mask], experience.advantages[rows][mask]
        with self.backbone.role("policy"):
            logprobs, entropy = role_stats(
                self.backbone,
                experience.sequences.rows(rows),
                self.temperature,
                "trained" if self.entropy_coef > 0 else "measured",
            )
            assert entropy is not None
            losses = policy_losses(logprobs, old, advantages, self.clip_range)
            loss = (losses - self.entropy_coef * entropy).sum() / num_tokens
            loss.backward()
        with torch.no_grad():
            change = logprobs - old
            ratio = change.exp()
            sums.add_tokens(
                {
                    "policy/loss": losses,
                    "policy/approx_kl": 0.5 * change.square(),
                    "policy/clip_fraction": ((ratio - 1).abs() > self.clip_range).float(),
                    "policy/entropy": entropy,
                    "policy/ratio": ratio,
                }
            )
        return loss.detach()

    def _value_backward(self, experience: Experience, rows: Tensor, num_tokens: Tensor, sums: "StepSums") -> Tensor:
        """Forward and backward of the value function on some responses; returns their share of the loss."""
        mask = experience.mask[rows]
        old, returns = experience.values[rows][mask], experience.returns[rows][mask]
        with self.backbone.role("value"):
            values = role_values(self.backbone, experience.sequences.rows(rows))
            losses = value_losses(values, old, returns, self.value_clip_range)
            loss = self.value_coef * losses.sum() / num_tokens
            loss.backward()
        sums.add_tokens({"value/loss": losses.detach()})
        return loss.detach()

    def _ptx_backward(self, demonstrations: Sequences, sums: "StepSums") -> Tensor:
        """Forward and backward of the policy on demonstrations; returns the weighted loss."""
        num_tokens = sum_over_ranks(demonstrations.mask[:, 1:].sum())
        total = torch.zeros((), device=self.backbone.device)
        with self.backbone.role("policy"):
            for rows in by_length(demonstrations.lengths, self.micro_batch_size):
                losses = negative_logprobs(self.backbone, demonstrations.rows(rows))
                loss = self.ptx_coef * losses.sum() / num_tokens
                loss.backward()
                total += loss.detach()
                sums.add_tokens({"policy/ptx_loss": losses.detach()})
        return total

    def _minibatches(self, num_responses: int, epoch: int) -> Iterator[Tensor]:
        """Row indices of each optimizer step of an epoch: ceil(responses / minibatch) of them, every row once.

        The responses of all processes are shuffled together, so a step may have more rows here than elsewhere, or none.
        """
        rank, size = world()
        generator = torch.Generator().manual_seed(self._seed_of(self.step_index) + 1 + epoch)
        order = torch.randperm(num_responses, generator=generator).to(self.backbone.device)
        for rows in order.split(self.minibatch_size):
            yield rows[rows % size == rank] // size

    def _sample(self, role: str, prompts: list[list[int]], seed: int, copies: int = 1) -> Rollout:
        """Answer this process's share of the prompts, each ``copies`` times."""
        return generate(
            self.backbone,
            role,
            [prompt for prompt in prompts for _ in range(copies)],
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            seed=seed,
            places=[place(i) * copies + copy for i in range(len(prompts)) for copy in range(copies)],
            batch_size=self.rollout_batch_size,
        )

    def _score(self, rollout: Rollout) -> Tensor:
        """Raw scores (B,), float32."""
        if self.score_function is not None:
            return self.score_function(rollout).float().to(self.backbone.device)
        return reward_scores(self.backbone, rollout, self.micro_batch_size)

    def _set_score_center(self, prompts: list[list[int]]) -> None:
        """Measure the SFT policy's mean score, and let the value function start from the same zero."""
        scores = self._score(self._sample("reference", prompts, seed=self._seed_of(-1), copies=CENTERING_SAMPLES))
        check_finite({"score": scores})
        self.score_center = mean(scores)
        if self.score_function is None:
            self.backbone.shift_head("value", -self.score_center)

    def _seed_of(self, step: int) -> int:
        """A seed for each iteration, with room for those of its epochs."""
        return (self.seed * 1_000_003 + step + 1) * 1024 * 64

    @torch.no_grad()
    def _demonstration_losses(self, demonstrations: Sequences, is_excluded: Tensor) -> dict[str, float]:
        """The policy's mean loss per token on all demonstrations, and on those of excluded categories."""
        sums = torch.zeros(2, 2, device=self.backbone.device)
        is_excluded = is_excluded.to(self.backbone.device)
        with self.backbone.role("policy"):
            for rows in share(list(by_length(demonstrations.lengths, self.micro_batch_size))):
                part = demonstrations.rows(rows)
                losses = negative_logprobs(self.backbone, part)
                excluded = is_excluded[rows].unsqueeze(-1).expand_as(part.mask)[:, 1:][part.mask[:, 1:]]
                for row, kept in enumerate((torch.ones_like(excluded), excluded)):
                    sums[row] += torch.stack([losses[kept].sum(), kept.sum()])
        (total, count), (tax, tax_count) = sum_over_ranks(sums).tolist()
        found = {"eval/demonstration_loss": total / max(count, 1)}
        return found | {"eval/tax_loss": tax / tax_count} if tax_count else found

    def _describe(self, experience: Experience) -> dict[str, float]:
        """An iteration's metrics before any update; per-token numbers are summed over a response, then averaged."""
        return {
            "objective/kl": mean(experience.kl_per_response),
            "objective/score": mean(experience.scores),
            "objective/reward": mean(experience.rewards.sum(-1)),
            "objective/kl_coef": self.kl_controller.coef,
            "rollout/response_tokens": mean(experience.mask.sum(-1)),
            "rollout/eos_share": mean(experience.finished),
            "value/explained_variance": explained_variance(
                gather_rows(experience.values[experience.mask]), gather_rows(experience.returns[experience.mask])
            ),
        }

    def _read(self, latest: tuple[Rollout, Tensor, Tensor] | None) -> list[Sample]:
        if latest is None:
            return []
        (rollout, scores, kl), chat = latest, self.backbone.chat
        return [
            Sample(chat.decode_prompt(prompt), chat.decode(response), score, divergence, reason)
            for prompt, response, score, divergence, reason in zip(
                rollout.prompts, rollout.responses, scores.tolist(), kl.tolist(), rollout.end_reasons, strict=True
            )
        ]
