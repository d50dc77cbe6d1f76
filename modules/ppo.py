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

from collections.abc import Iterator
from typing import Any, Unpack

import torch
from torch import Tensor

from modules.config import PPOConfig, milestones
from modules.config.milestones import Milestones
from modules.data.datamodules import PPOBatch, PPOHeldOut
from modules.data.sequences import Sequences
from modules.errors import NonFiniteError
from modules.metrics import COMPONENTS
from modules.model.backbone import Backbone
from modules.model.ema import EMA
from modules.model.generate import Rollout
from modules.optimisation import Rates, adam, clip_gradients, take_step
from modules.rl.advantages import KLController, RunningMoments, explained_variance
from modules.rl.best_policy import Selection
from modules.rl.evaluation import Answers, Sample, demonstration_losses, kl_per_response
from modules.rl.experience import (
    Experience,
    Objective,
    ScoreFunction,
    as_rollout,
    check_finite,
    check_pessimism,
    gather_experience,
    reward_scores,
)
from modules.rl.habits import habits
from modules.rl.rewards import RewardMix, role_part
from modules.rl.sampler import Sampler
from modules.rl.settings import NAMES, PPOSettings, complete, explained, part
from modules.rl.step_metrics import Clock, StepSums, mean
from modules.rl.update import Surrogate
from modules.runtime.distributed import gather_rows, gather_shares, share, sum_over_ranks, world
from modules.runtime.phases import Phase, during
from modules.runtime.seeds import iteration_seed
from modules.stage_module import StageModule

ADAM_EPS = 1e-5
CENTERING_SAMPLES = 4
"""Responses per prompt from which the zero of the score is set."""
EVAL_SEED = 2**31 - 1


@explained
class PPOModule(StageModule):
    """Trains the roles ``policy`` and ``value``; one training step is one iteration of many optimizer steps.

    Args:
        backbone: With the roles policy and value (trainable), reference and reward. Adapter dropout is switched off.
        score_function: Scores responses instead of the role ``reward``, such as a `RewardMix`.
        settings: Such as ``kl_coef=0.1``; all are listed below.

    Raises:
        TypeError: There is no such setting.
    """

    def __init__(
        self, backbone: Backbone, *, score_function: ScoreFunction | None = None, **settings: Unpack[PPOSettings]
    ) -> None:
        super().__init__(backbone)
        backbone.disable_dropout()
        self.config = config = complete(settings)
        if config.value_start == "zero":
            backbone.scale_head("value", 0.0)
        check_pessimism(backbone, config.reward_pessimism)
        self.score_function = score_function
        self.rates = part(Rates, config)
        self.sampler = part(Sampler, config)
        self.objective = part(Objective, config)
        self.surrogate = part(Surrogate, config)
        self.kl_controller = KLController(config.kl_coef, config.kl_target)
        self.selection = Selection(config.kl_budget, config.tax_budget, config.tax_suite)
        self.milestones = Milestones(milestones.parse(config.save_at_kl))
        self.score_center: float | None = None
        """Mean score of the SFT policy's responses or of demonstrations, measured at the start."""
        self.score_moments = RunningMoments()
        """Of the raw scores of all iterations; evaluations leave it alone."""
        self.ema = EMA(backbone, config.ema_decay) if config.ema_decay > 0 else None
        self.policy_parameters = list(backbone.role_parameters("policy").values())
        self.value_parameters = list(backbone.role_parameters("value").values())
        self.optimizer = adam(
            [
                {"params": self.policy_parameters, "lr": config.learning_rate},
                {"params": self.value_parameters, "lr": config.value_learning_rate},
            ],
            eps=ADAM_EPS,
        )
        self.latest: tuple[Answers, Experience] | None = None
        """The last iteration's responses (in a data-parallel run, this process's) and what was learnt from them."""
        self.half_iteration = 0, 0
        """Optimizer steps of the next iteration that the weights have already, and of how many: not 0 where one failed."""
        self.latest_eval_samples: list[Sample] = []
        """The last validation's responses, in the order of the data module's ``validation_prompts``."""
        self.suite_cost: float | None = None
        """The judged role's score on `tax_suite`, turned so that less is better; a callback sets it in on_validation_epoch_end."""
        self._held_out: dict[str, float] = {}

    @classmethod
    def from_config(
        cls, config: PPOConfig, backbone: Backbone, score_function: ScoreFunction | None = None
    ) -> "PPOModule":
        """Build the module that a config describes; `modules.rl.rewards` builds what its `rewards` name before."""
        settings: Any = {name: getattr(config, name) for name in NAMES}
        return cls(backbone, score_function=score_function, **settings)

    def steer(self, **settings: float) -> None:
        """Go on with other values of ``kl_coef``, the learning rates or the temperature, from the next iteration on."""
        self.config = self.config.model_copy(update=settings)
        self.rates, self.sampler = part(Rates, self.config), part(Sampler, self.config)
        self.surrogate = part(Surrogate, self.config)
        self.kl_controller.coef = settings.get("kl_coef", self.kl_controller.coef)

    @during(Phase.STEPPING)
    def training_step(self, batch: PPOBatch, batch_idx: int) -> None:
        """Do one iteration: sample, judge, and several passes of updates."""
        if self.config.center_scores and self.score_center is None:
            self._set_score_center(batch)
        for group, rate in zip(self.optimizer.param_groups, self.rates.at(self.step_index), strict=True):
            group["lr"] = rate
        clock = Clock()
        # 1. The policy answers the prompts, at the temperature used everywhere.
        rollout = self.sampler.sample(self.backbone, "policy", batch.prompts, seed=self._seed_of(self.step_index))
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
            temperature=self.config.temperature,
            micro_batch_size=self.config.micro_batch_size,
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
        if self.config.score_scale == "running":
            metrics["objective/score_scale"] = scale
        if self.config.approx_kl_limit > 0:
            metrics["policy/steps_taken"] = taken
        if self.trains_policy:  # the KL of a policy that is not trained says nothing about its price
            self.kl_controller.update(metrics["objective/kl"], num_responses)
        self.milestones.note(metrics["objective/kl"])
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
            rollout = self.sampler.sample(self.backbone, self.judged_role, share(batch.prompts), seed=EVAL_SEED)
            kl = kl_per_response(
                self.backbone,
                self.judged_role,
                rollout,
                temperature=self.config.temperature,
                micro_batch_size=self.config.micro_batch_size,
            )
            answers = Answers(rollout, self._score(rollout), kl, self._components)
            self.latest_eval_samples = gather_shares(answers.samples(self.backbone.chat))
            self._held_out |= answers.metrics()
        if batch.demonstrations is not None:
            self._held_out |= demonstration_losses(
                self.backbone, self.judged_role, batch.demonstrations, batch.is_excluded, self.config.micro_batch_size
            )

    @during(Phase.EVALUATING)
    def on_validation_epoch_end(self) -> None:
        """Report, and compare with the best policy so far."""
        self.evaluated_at = self.step_index
        self.selection.consider(self.step_index, self._held_out, self.suite_cost)
        if self._held_out:
            self.log_dict(self._held_out | {"step": float(self.step_index)})

    @property
    def trains_policy(self) -> bool:
        """False while only the value function learns."""
        return self.step_index >= self.config.value_warmup

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
            "milestone_passed": self.milestones.passed,
            "half_iteration": self.half_iteration,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self.step_index, self.evaluated_at = state["step_index"], state["evaluated_at"]
        self.kl_controller.coef, self.score_center = state["kl_coef"], state["score_center"]
        self.score_moments = RunningMoments(**state["score_moments"])
        self.selection.load_state(state["selection"])
        self.milestones.passed = state.get("milestone_passed", 0.0)  # earlier versions had none

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
        plan = [rows for epoch in range(self.config.epochs) for rows in self._minibatches(num_responses, epoch)]
        taken = 0
        for rows in plan:
            self.half_iteration = taken, len(plan)
            if not self._update(experience, rows, demonstrations, sums):
                break
            taken += 1
        self.half_iteration = 0, 0
        return taken / len(plan)

    def _update(self, experience: Experience, rows: Tensor, demonstrations: Sequences | None, sums: StepSums) -> bool:
        """Take one optimizer step on responses ``rows`` (N,); False if the policy is too far from the rollout's."""
        # 1. Forward and backward, in micro-batches.
        trains_policy = self.trains_policy
        shares = self.surrogate.backward(
            self.backbone, experience, rows, demonstrations, trains_policy=trains_policy, sums=sums
        )
        # 2. Nothing is taken from responses that are no longer the policy's own; every process decides alike.
        if 0 < self.config.approx_kl_limit < float(sum_over_ranks(shares.approx_kl)):
            self.optimizer.zero_grad(set_to_none=True)
            return False
        # 3. Clip each network to its own norm; take the step only if everything is finite.
        where, loss = f"PPO iteration {self.step_index + 1}", sum_over_ranks(shares.loss)
        try:
            if trains_policy:
                sums.add_step(
                    "policy/grad_norm", clip_gradients(self.policy_parameters, self.config.max_grad_norm, loss, where)
                )
            sums.add_step(
                "value/grad_norm", clip_gradients(self.value_parameters, self.config.max_grad_norm, loss, where)
            )
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
        for rows in order.split(self.config.minibatch_size):
            yield rows[rows % size == rank] // size

    @during(Phase.SCORING)
    def _score(self, rollout: Rollout) -> Tensor:
        """Return raw scores (B,), float32."""
        if self.score_function is not None:
            return self.score_function(rollout).float().to(self.backbone.device)
        return reward_scores(self.backbone, rollout, self.config.micro_batch_size, self.config.reward_pessimism)

    def _set_score_center(self, batch: PPOBatch) -> None:
        """Measure the mean score of demonstrations, else of the SFT policy; a reward model's value head follows."""
        if batch.yardstick is not None:
            rollout = as_rollout(batch.yardstick, self.backbone.chat.stop_ids)
        else:
            rollout = self.sampler.sample(
                self.backbone, "reference", batch.prompts, seed=self._seed_of(-1), copies=CENTERING_SAMPLES
            )
        scores = self._score(rollout)
        check_finite({"score": scores})
        self.score_center = mean(scores)
        if self.config.value_start == "reward":
            self.backbone.shift_head("value", -mean(role_part(self.score_function, scores)))

    def _scale_of(self, scores: Tensor) -> float:
        """Return what scores (B,) are divided by, these taken in; the first time the value function follows."""
        if self.config.score_scale == "none":
            return 1.0
        check_finite({"score": scores})
        follows = self.score_moments.count == 0 and self.config.value_start == "reward"
        self.score_moments = self.score_moments.updated(scores)
        if follows and (self.score_function is None or isinstance(self.score_function, RewardMix)):
            self.backbone.scale_head("value", 1 / self.score_moments.std)
        return self.score_moments.std

    def _seed_of(self, step: int, epoch: int = -1) -> int:
        """Return a seed for the responses of each iteration, and for the order in each of its epochs."""
        return iteration_seed(self.config.seed, step, epoch)

    def _describe(self, experience: Experience, answers: Answers) -> dict[str, float]:
        """Return an iteration's metrics before any update: per-token numbers summed over a response, then averaged."""
        values, returns = (
            gather_rows(experience.values[experience.mask]),
            gather_rows(experience.returns[experience.mask]),
        )
        return {
            "objective/kl": mean(experience.kl_per_response),
            "objective/score": mean(experience.scores),
            "objective/reward": mean(experience.rewards.sum(-1)),
            "objective/kl_coef": self.kl_controller.coef,
            "policy/lr": self.rates.at(self.step_index)[0],
            "rollout/response_tokens": mean(experience.mask.sum(-1)),
            "rollout/eos_share": mean(experience.finished),
            "value/explained_variance": explained_variance(values, returns),
            "value/advantage_spread": float((returns - values).std(correction=0)),
            **habits(experience, answers.rollout),
            **{f"{COMPONENTS}{name}": mean(scores) for name, scores in answers.components.items()},
        }
