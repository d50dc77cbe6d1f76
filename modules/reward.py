"""The reward model: learn to score responses so that preferred ones score higher (Bradley-Terry).

    backbone.add_role("reward", source=sft_folder / "policy", trainable=True, head=True)
    data = RewardDataModule(rows, validation_rows, backbone.chat, ...)
    module = RewardModule(backbone, num_steps=data.num_steps, ...)
    trainer = Trainer(max_epochs=1)
    trainer.fit(module, datamodule=data)
    module.finish(data.reference_answers())

Ouyang et al. 2022: all pairs of a prompt are learnt together, K forward passes for its K responses, and in the end a bias
puts the mean score of demonstrations at 0. An ensemble is several heads on one trunk, each learning from its own draw of
the prompts; only their biases have to be set one by one, as comparisons say nothing about them.
"""

import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from modules.agreement import Judged, agreement, measure
from modules.config import RewardConfig
from modules.data.preferences import Comparisons, micro_batches
from modules.data.sequences import Sequences, by_length
from modules.losses import bradley_terry_loss, smooth_labels
from modules.model.backbone import Backbone
from modules.optimisation import adam, clip_gradients, schedule, take_step
from modules.runtime.distributed import gather_rows, sum_over_ranks
from modules.runtime.phases import Phase, during
from modules.stage_module import StageModule

BEST = "best"
"""The role that holds the weights of the lowest held-out loss."""
HEAD_BIAS = "head.bias"


class RewardModule(StageModule):
    """Trains the role ``reward``; one training step is one optimizer step.

    Args:
        backbone: With a trainable role ``reward`` that has a head.
        num_steps: Steps of the whole run, for the learning rate's cosine.
        learning_rate, warmup_fraction, micro_batch_size, max_grad_norm: See `RewardConfig`.
        label_smoothing, weight_decay, keep_best: See there too.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_steps: int,
        learning_rate: float = 1e-4,
        warmup_fraction: float = 0.05,
        micro_batch_size: int = 16,
        max_grad_norm: float = 1.0,
        label_smoothing: float = 0.0,
        weight_decay: float = 0.0,
        keep_best: bool = False,
    ) -> None:
        super().__init__(backbone)
        self.num_steps = num_steps
        self.learning_rate, self.warmup_fraction = learning_rate, warmup_fraction
        self.micro_batch_size, self.max_grad_norm = micro_batch_size, max_grad_norm
        self.label_smoothing, self.keep_best = label_smoothing, keep_best
        self.saved_roles: tuple[str, ...] = ("reward",)
        self.best: dict[str, float] = {}
        """Held-out metrics of the best weights so far."""
        named = backbone.role_parameters("reward")
        self._bias = named.pop(HEAD_BIAS).requires_grad_(False)  # it cancels in every difference of scores
        self._bias_in_training = self._bias.tolist()
        self.parameters_trained = list(named.values())
        self.optimizer = adam(
            [{"params": self.parameters_trained, "lr": learning_rate}], eps=1e-8, weight_decay=weight_decay
        )
        self.judged: Judged | None = None
        """The held-out comparisons of the last measurement, in their order."""
        self._held_out: list[Tensor] = []
        self._category_names: tuple[str, ...] = ()
        if keep_best:
            backbone.add_role(BEST, copy_of="reward", head=True, members=len(self._bias))
            self.saved_roles = ("reward", BEST)

    @classmethod
    def from_config(cls, config: RewardConfig, backbone: Backbone, *, num_steps: int) -> "RewardModule":
        """Build the module that a config describes."""
        return cls(
            backbone,
            num_steps=num_steps,
            learning_rate=config.learning_rate,
            warmup_fraction=config.warmup_fraction,
            micro_batch_size=config.micro_batch_size,
            max_grad_norm=config.max_grad_norm,
            label_smoothing=config.label_smoothing,
            weight_decay=config.weight_decay,
            keep_best=config.keep_best,
        )

    @during(Phase.STEPPING)
    def training_step(self, batch: Comparisons, batch_idx: int) -> None:
        """Take one optimizer step on a batch of comparisons."""
        start = time.monotonic()
        # 1. The loss is a weighted mean over the pairs of the batch, however the batch is cut up.
        total_weight = sum_over_ranks(batch.weight.sum())
        targets = smooth_labels(batch.target_p, self.label_smoothing)
        # 2. Score each response once per micro-batch, compare, and go backward; members of an ensemble count alike.
        loss = torch.zeros((), device=batch.weight.device)
        margins = torch.zeros_like(batch.weight)
        weights = batch.weight.unsqueeze(1) * batch.bootstrap / batch.bootstrap.shape[1]
        for pairs in micro_batches(batch, self.micro_batch_size):
            with self.backbone.role("reward"):
                chosen, rejected = self._scores(batch, pairs)
                margins_here = chosen - rejected
                part = (
                    bradley_terry_loss(
                        margins_here, targets[pairs].unsqueeze(1), batch.margin[pairs].unsqueeze(1), weights[pairs]
                    )
                    / total_weight
                )
                part.backward()
            loss += part.detach()
            margins[pairs] = margins_here.detach().mean(1)
        # 3. Clip and step, at this step's learning rate.
        loss = sum_over_ranks(loss)
        grad_norm = clip_gradients(
            self.parameters_trained, self.max_grad_norm, loss, f"reward step {self.step_index + 1}"
        )
        rate = self.learning_rate * schedule(self.step_index, self.num_steps, self.warmup_fraction)
        self.optimizer.param_groups[0]["lr"] = rate
        take_step(self)
        self.count_step()
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

    @during(Phase.EVALUATING)
    def on_validation_epoch_start(self) -> None:
        """Start a held-out measurement."""
        self._held_out = []

    @during(Phase.EVALUATING)
    def validation_step(self, batch: Comparisons, batch_idx: int) -> None:
        """Score held-out comparisons."""
        lengths = batch.sequences.mask.sum(-1)
        found = torch.zeros(len(batch.weight), len(Judged._fields), device=batch.weight.device)
        with self.backbone.role("reward"):
            for pairs in micro_batches(batch, self.micro_batch_size):
                chosen, rejected = self._scores(batch, pairs)
                judged = Judged(
                    chosen=chosen.mean(1),
                    rejected=rejected.mean(1),
                    target_p=batch.target_p[pairs],
                    weight=batch.weight[pairs],
                    chosen_length=lengths[batch.chosen[pairs]].float(),
                    rejected_length=lengths[batch.rejected[pairs]].float(),
                    strength=batch.strength[pairs].float(),
                    category=batch.category[pairs].float(),
                    uncertainty=(chosen - rejected).std(1, correction=0),
                )
                found[pairs] = torch.stack(judged, dim=1)
        self._held_out.append(found)
        self._category_names = batch.category_names

    @during(Phase.EVALUATING)
    def on_validation_epoch_end(self) -> None:
        """Report agreement with the person, and remember the best weights."""
        self.evaluated_at = self.step_index
        if not self._held_out:
            return
        self.judged = Judged(*gather_rows(torch.cat(self._held_out)).T)
        metrics = measure(self.judged._replace(category=self.judged.category.long()), self._category_names)
        if self.keep_best and metrics["eval/loss"] < self.best.get("eval/loss", float("inf")):
            self.best = metrics | {"eval/kept_step": float(self.step_index)}
            self._copy("reward", BEST)
        self.log_dict(metrics | {"step": float(self.step_index)})

    @torch.no_grad()
    def finish(self, answers: Iterable[Sequences]) -> dict[str, float]:
        """Finish after the last step: take the best weights, if wanted, and set the zero of the score.

        Args:
            answers: What must score 0 on average: demonstrations or other reference answers. Each member of an
                ensemble gets its own bias, since comparisons leave it open.

        Returns:
            Metrics: those of the best weights, and the scores of the answers before they were centred.
        """
        is_kept = self.keep_best and bool(self.best) and self.step_index >= self.num_steps
        if is_kept:
            self._copy(BEST, "reward")
        self.eval()
        scores = []
        with self.backbone.role("reward"):
            for batch in answers:
                batch = batch.to(self.backbone.device)
                for rows in by_length(batch.lengths, self.micro_batch_size):
                    part = batch.rows(rows)
                    scores.append(self.backbone.member_scores(part.ids, part.lengths))
        members = torch.cat(scores)
        self.backbone.shift_head("reward", -members.mean(0))
        centred = members.mean(1)
        return (self.best if is_kept else {}) | {
            "eval/center": float(centred.mean()),
            "eval/center_spread": float(centred.std(correction=0)),
            "eval/center_num": float(len(centred)),
        }

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs besides weights and optimizer."""
        return {
            "step_index": self.step_index,
            "evaluated_at": self.evaluated_at,
            "best": self.best,
            "bias_in_training": self._bias_in_training,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned. A head centred when its run was stopped goes on uncentred."""
        self.step_index, self.evaluated_at = state["step_index"], state["evaluated_at"]
        self.best = state.get("best", {})
        if "bias_in_training" in state:
            self._bias_in_training = state["bias_in_training"]
            self._bias.copy_(torch.tensor(self._bias_in_training))

    @torch.no_grad()
    def _copy(self, source: str, target: str) -> None:
        """Overwrite a role's weights with those of another."""
        wanted = self.backbone.role_parameters(source)
        for name, parameter in self.backbone.role_parameters(target).items():
            parameter.copy_(wanted[name])

    def _scores(self, batch: Comparisons, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Return members' scores of chosen and rejected, (N, M) each; a response in several pairs is scored once."""
        ends = torch.cat([batch.chosen[pairs], batch.rejected[pairs]])
        rows, position = ends.unique(return_inverse=True)
        sequences = batch.sequences.rows(rows)
        chosen, rejected = self.backbone.member_scores(sequences.ids, sequences.lengths)[position].chunk(2)
        return chosen, rejected
