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
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from modules.config import PPOConfig, RolloutWeights
from modules.data.datamodules import PPOBatch, PPOHeldOut
from modules.data.sequences import Sequences
from modules.distributed import gather_rows, gather_shares, place, share, sum_over_ranks, world
from modules.errors import NonFiniteError
from modules.metrics import COMPONENTS
from modules.model.backbone import Backbone
from modules.model.ema import EMA
from modules.model.generate import Rollout, generate
from modules.optimisation import adam, clip_gradients, take_step
from modules.phases import Phase, during
from modules.rl.advantages import KLController, RunningMoments, explained_variance
from modules.rl.best_policy import Selection
from modules.rl.evaluation import Answers, Sample, demonstration_losses, kl_per_response
from modules.rl.experience import (
    Experience,
    Objective,
    ScoreFunction,
    as_rollout,
    check_finite,
    gather_experience,
    reward_scores,
)
from modules.rl.rewards import RewardMix, role_part
from modules.rl.step_metrics import Clock, StepSums, mean
from modules.rl.update import Surrogate
from modules.seeds import iteration_seed
from modules.stage_module import StageModule

ADAM_EPS = 1e-5
CENTERING_SAMPLES = 4
"""Responses per prompt from which the zero of the score is set."""
EVAL_SEED = 2**31 - 1


class PPOModule(StageModule):
    """Trains the roles ``policy`` and ``value``; one training step is one iteration of many optimizer steps.

    Args:
        backbone: With the roles policy and value (trainable), reference and reward. Adapter dropout is switched off.
        score_function: Scores responses instead of the role ``reward``, such as a `RewardMix`.
        seed, batch-independent settings: See `PPOConfig`, which names and explains them all.
    """

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
        rollout_weights: RolloutWeights = "auto",
        epochs: int = 4,
        learning_rate: float = 1e-4,
        value_learning_rate: float = 2e-4,
        value_start: Literal["reward", "zero"] = "reward",
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
        score_scale: Literal["none", "running"] = "none",
        score_clip: float = 10.0,
        missing_eos: Literal["penalty", "score"] = "penalty",
        missing_eos_penalty: float = 1.0,
        missing_eos_score: float = -1.0,
        bootstrap_unfinished: bool = False,
        ptx_coef: float = 0.0,
        ptx_target: Literal["tokens", "reference"] = "tokens",
        approx_kl_limit: float = 0.0,
        kl_budget: float = 0.0,
        tax_budget: float = 0.0,
        ema_decay: float = 0.0,
    ) -> None:
        super().__init__(backbone)
        backbone.disable_dropout()
        self.value_start = value_start
        if value_start == "zero":
            backbone.scale_head("value", 0.0)
        self.score_function = score_function
        self.seed = seed
        self.max_new_tokens, self.temperature = max_new_tokens, temperature
        self.minibatch_size, self.micro_batch_size = minibatch_size, micro_batch_size
        self.rollout_batch_size, self.rollout_weights, self.epochs = rollout_batch_size, rollout_weights, epochs
        self.value_warmup, self.max_grad_norm = value_warmup, max_grad_norm
        self.approx_kl_limit = approx_kl_limit
        self.center_scores, self.score_scale = center_scores, score_scale
        self.objective = Objective(
            kl_estimator,
            gamma,
            lam,
            whiten_advantages,
            score_clip,
            missing_eos,
            missing_eos_penalty,
            missing_eos_score,
            bootstrap_unfinished,
        )
        self.surrogate = Surrogate(
            temperature, clip_range, value_clip_range, value_coef, entropy_coef, ptx_coef, ptx_target, micro_batch_size
        )
        self.kl_controller = KLController(kl_coef, kl_target)
        self.selection = Selection(kl_budget, tax_budget)
        self.score_center: float | None = None
        """Mean score of the SFT policy's responses or of demonstrations, measured at the start."""
        self.score_moments = RunningMoments()
        """Of the raw scores of all iterations; evaluations leave it alone."""
        self.ema = EMA(backbone, ema_decay) if ema_decay > 0 else None
        self.policy_parameters = list(backbone.role_parameters("policy").values())
        self.value_parameters = list(backbone.role_parameters("value").values())
        self.optimizer = adam(
            [
                {"params": self.policy_parameters, "lr": learning_rate},
                {"params": self.value_parameters, "lr": value_learning_rate},
            ],
            eps=ADAM_EPS,
        )
        self.latest: tuple[Answers, Experience] | None = None
        """The last iteration's responses (in a data-parallel run, this process's) and what was learnt from them."""
        self.latest_eval_samples: list[Sample] = []
        """The last validation's responses, in the order of the data module's ``validation_prompts``."""
        self._held_out: dict[str, float] = {}

    @classmethod
    def from_config(
        cls, config: PPOConfig, backbone: Backbone, score_function: ScoreFunction | None = None
    ) -> "PPOModule":
        """Build the module that a config describes; `modules.rl.rewards` builds what its `rewards` name before."""
        names = [name for name in inspect.signature(cls).parameters if name in PPOConfig.model_fields]
        return cls(backbone, score_function=score_function, **{name: getattr(config, name) for name in names})

    @during(Phase.STEPPING)
    def training_step(self, batch: PPOBatch, batch_idx: int) -> None:
        """Do one iteration: sample, judge, and several passes of updates."""
        if self.center_scores and self.score_center is None:
            self._set_score_center(batch)
        clock = Clock()
        # 1. The policy answers the prompts, at the temperature used everywhere.
        rollout = self._sample("policy", batch.prompts, seed=self._seed_of(self.step_index))
        clock.lap("time/rollout_s")
        # 2. Score the responses; log-probabilities, values, per-token rewards, advantages.
        scores, components = self._score(rollout), self._components
        scale = self._scale_of(scores)
        experience = gather_experience(
            self.backbone,
            rollout,
            self.objective,
            scores=scores,
            center=self.score_center or 0.0,
            scale=scale,
            kl_coef=self.kl_controller.coef,
            temperature=self.temperature,
            micro_batch_size=self.micro_batch_size,
        )
        clock.lap("time/score_s")
        # 3. Several passes over the responses in minibatches, one optimizer step each.
        sums = StepSums(self.device)
        num_responses = int(sum_over_ranks(torch.tensor(len(scores), device=scores.device)))
        taken = self._update_in_epochs(experience, num_responses, batch.demonstrations, sums)
        clock.lap("time/update_s")
        # 4. Steer the price of the KL, count the iteration, report.
        answers = Answers(rollout, scores, experience.kl_per_response, components)
        metrics = self._describe(experience, answers) | sums.means() | clock.laps
        if self.score_scale == "running":
            metrics["objective/score_scale"] = scale
        if self.approx_kl_limit > 0:
            metrics["policy/steps_taken"] = taken
        if self.trains_policy:  # the KL of a policy that is not trained says nothing about its price
            self.kl_controller.update(metrics["objective/kl"], num_responses)
        self.count_step()
        self.latest = (answers, experience)
        self.log_dict(metrics | {"step": float(self.step_index)})

    @during(Phase.EVALUATING)
    def on_validation_epoch_start(self) -> None:
        """Start a held-out measurement."""
        self._held_out = {}

    @during(Phase.EVALUATING)
    def validation_step(self, batch: PPOHeldOut, batch_idx: int) -> None:
        """Sample answers to held-out prompts, always with the same random numbers; losses on held-out demonstrations."""
        if batch.prompts:
            rollout = self._sample(self.judged_role, share(batch.prompts), seed=EVAL_SEED)
            kl = kl_per_response(
                self.backbone,
                self.judged_role,
                rollout,
                temperature=self.temperature,
                micro_batch_size=self.micro_batch_size,
            )
            answers = Answers(rollout, self._score(rollout), kl, self._components)
            self.latest_eval_samples = gather_shares(answers.samples(self.backbone.chat))
            self._held_out |= answers.metrics()
        if batch.demonstrations is not None:
            self._held_out |= demonstration_losses(
                self.backbone, self.judged_role, batch.demonstrations, batch.is_excluded, self.micro_batch_size
            )

    @during(Phase.EVALUATING)
    def on_validation_epoch_end(self) -> None:
        """Report, and compare with the best policy so far."""
        self.evaluated_at = self.step_index
        self.selection.consider(self.step_index, self._held_out)
        if self._held_out:
            self.log_dict(self._held_out | {"step": float(self.step_index)})

    @property
    def trains_policy(self) -> bool:
        """False while only the value function learns."""
        return self.step_index >= self.value_warmup

    @property
    def judged_role(self) -> str:
        """The role that is measured and handed on: the average of the policy where there is one, else the policy."""
        return "policy" if self.ema is None else self.ema.role

    @property
    def saved_roles(self) -> dict[str, str]:
        """Folder of a checkpoint to role."""
        raw = {} if self.ema is None else {"raw_policy": "policy"}
        return {"policy": self.judged_role, "value": "value"} | raw

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs besides weights and optimizer."""
        return {
            "step_index": self.step_index,
            "evaluated_at": self.evaluated_at,
            "kl_coef": self.kl_controller.coef,
            "score_center": self.score_center,
            "score_moments": self.score_moments.state(),
            "selection": self.selection.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self.step_index, self.evaluated_at = state["step_index"], state["evaluated_at"]
        self.kl_controller.coef, self.score_center = state["kl_coef"], state["score_center"]
        self.score_moments = RunningMoments(**state["score_moments"])
        self.selection.load_state(state["selection"])

    @property
    def _components(self) -> dict[str, Tensor]:
        """Raw scores (B,) of the responses scored last by component of a mixed reward; empty without a mix."""
        return self.score_function.latest if isinstance(self.score_function, RewardMix) else {}

    @property
    def latest_samples(self) -> list[Sample]:
        """The last iteration's responses; empty before the first."""
        return self.latest[0].samples(self.backbone.chat) if self.latest else []

    @during(Phase.UPDATING)
    def _update_in_epochs(
        self, experience: Experience, num_responses: int, demonstrations: Sequences | None, sums: StepSums
    ) -> float:
        """Take several passes of optimizer steps, ended early at the KL limit; return the share of steps taken."""
        plan = [rows for epoch in range(self.epochs) for rows in self._minibatches(num_responses, epoch)]
        for taken, rows in enumerate(plan):
            if not self._update(experience, rows, demonstrations, sums):
                return taken / len(plan)
        return 1.0

    def _update(self, experience: Experience, rows: Tensor, demonstrations: Sequences | None, sums: StepSums) -> bool:
        """Take one optimizer step on responses ``rows`` (N,); False if the policy is too far from the rollout's."""
        # 1. Forward and backward, in micro-batches.
        trains_policy = self.trains_policy
        shares = self.surrogate.backward(
            self.backbone, experience, rows, demonstrations, trains_policy=trains_policy, sums=sums
        )
        # 2. Nothing is taken from responses that are no longer the policy's own; every process decides alike.
        if 0 < self.approx_kl_limit < float(sum_over_ranks(shares.approx_kl)):
            self.optimizer.zero_grad(set_to_none=True)
            return False
        # 3. Clip each network to its own norm; take the step only if everything is finite.
        where, loss = f"PPO iteration {self.step_index + 1}", sum_over_ranks(shares.loss)
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
        if self.ema is not None and trains_policy:
            self.ema.update()
        return True

    def _minibatches(self, num_responses: int, epoch: int) -> Iterator[Tensor]:
        """Yield row indices of each optimizer step of an epoch: ceil(responses / minibatch) of them, every row once.

        The responses of all processes are shuffled together, so a step may have more rows here than elsewhere, or none.
        """
        rank, size = world()
        generator = torch.Generator().manual_seed(self._seed_of(self.step_index, epoch))
        order = torch.randperm(num_responses, generator=generator).to(self.backbone.device)
        for rows in order.split(self.minibatch_size):
            yield rows[rows % size == rank] // size

    @during(Phase.SAMPLING)
    def _sample(self, role: str, prompts: Sequence[list[int]], seed: int, copies: int = 1) -> Rollout:
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
            weights=self.rollout_weights,
        )

    @during(Phase.SCORING)
    def _score(self, rollout: Rollout) -> Tensor:
        """Return raw scores (B,), float32."""
        if self.score_function is not None:
            return self.score_function(rollout).float().to(self.backbone.device)
        return reward_scores(self.backbone, rollout, self.micro_batch_size)

    def _set_score_center(self, batch: PPOBatch) -> None:
        """Measure the mean score of demonstrations, else of the SFT policy; a reward model's value head follows."""
        if batch.yardstick is not None:
            rollout = as_rollout(batch.yardstick, self.backbone.chat.stop_ids)
        else:
            rollout = self._sample("reference", batch.prompts, seed=self._seed_of(-1), copies=CENTERING_SAMPLES)
        scores = self._score(rollout)
        check_finite({"score": scores})
        self.score_center = mean(scores)
        if self.value_start == "reward":
            self.backbone.shift_head("value", -mean(role_part(self.score_function, scores)))

    def _scale_of(self, scores: Tensor) -> float:
        """Return what scores (B,) are divided by, these taken in; the first time the value function follows."""
        if self.score_scale == "none":
            return 1.0
        check_finite({"score": scores})
        follows = self.score_moments.count == 0 and self.value_start == "reward"
        self.score_moments = self.score_moments.updated(scores)
        if follows and (self.score_function is None or isinstance(self.score_function, RewardMix)):
            self.backbone.scale_head("value", 1 / self.score_moments.std)
        return self.score_moments.std

    def _seed_of(self, step: int, epoch: int = -1) -> int:
        """Return a seed for the responses of each iteration, and for the order in each of its epochs."""
        return iteration_seed(self.seed, step, epoch)

    def _describe(self, experience: Experience, answers: Answers) -> dict[str, float]:
        """Return an iteration's metrics before any update: per-token numbers summed over a response, then averaged."""
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
            **{f"{COMPONENTS}{name}": mean(scores) for name, scores in answers.components.items()},
        }
