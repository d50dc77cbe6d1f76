"""The loss of one PPO optimizer step, and its backward passes in micro-batches.

Losses are means over the response tokens of the whole minibatch of all processes, however it is cut up.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from modules.data.sequences import Sequences, by_length
from modules.losses import kl_from_reference, policy_losses, select_shifted, value_losses
from modules.model.backbone import Backbone
from modules.model.packing import negative_logprobs
from modules.rl.experience import Experience, role_stats, role_values
from modules.rl.step_metrics import StepSums
from modules.runtime.distributed import sum_over_ranks

VALUE_WEIGHT = 0.1
"""Of the value loss. The value function has weights, an Adam and a clipped norm of its own, so a factor cancels but for this norm."""


class Shares(NamedTuple):
    """A process's part of a minibatch's figures, which are sums over processes."""

    loss: Tensor
    """Scalar."""
    approx_kl: Tensor
    """Scalar: half the mean squared change of log-probabilities since the rollout; 0 where the policy is not trained."""


@dataclass(frozen=True)
class Surrogate:
    """The clipped losses and their weights; see `PPOConfig`."""

    temperature: float = 1.0
    clip_range: float = 0.2
    value_clip_range: float = 0.2
    entropy_coef: float = 0.0
    ptx_coef: float = 0.0
    ptx_target: str = "tokens"
    micro_batch_size: int = 32

    def backward(
        self,
        backbone: Backbone,
        experience: Experience,
        rows: Tensor,
        demonstrations: Sequences | None,
        *,
        trains_policy: bool,
        sums: StepSums,
    ) -> Shares:
        """Add up the gradients of a minibatch.

        Args:
            backbone: With the roles policy and value.
            experience: Of an iteration.
            rows: (N,) the minibatch.
            demonstrations: For the language-model loss, if any.
            trains_policy: False while only the value function learns.
            sums: Where metrics are added.
        """
        num_tokens = sum_over_ranks(experience.mask[rows].sum())
        loss, approx_kl = torch.zeros(2, device=backbone.device).unbind()
        for part in by_length(experience.sequences.lengths[rows], self.micro_batch_size):
            if trains_policy:
                share = self._policy_backward(backbone, experience, rows[part], num_tokens, sums)
                loss, approx_kl = loss + share.loss, approx_kl + share.approx_kl
            loss += self._value_backward(backbone, experience, rows[part], num_tokens, sums, is_clipped=trains_policy)
        # InstructGPT's remedy for forgetting: a language-model loss on demonstrations, normalised by its own tokens.
        if trains_policy and self.ptx_coef > 0 and demonstrations is not None:
            loss += self._ptx_backward(backbone, demonstrations, sums)
        return Shares(loss, approx_kl)

    def _policy_backward(
        self, backbone: Backbone, experience: Experience, rows: Tensor, num_tokens: Tensor, sums: StepSums
    ) -> Shares:
        """Forward and backward of the policy on some responses; returns what they contribute."""
        mask = experience.mask[rows]
        old, advantages = experience.logprobs[rows][mask], experience.advantages[rows][mask]
        with backbone.role("policy"):
            logprobs, entropy = role_stats(
                backbone,
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
            ratio, approx_kl = change.exp(), 0.5 * change.square()
            sums.add_tokens(
                {
                    "policy/loss": losses,
                    "policy/approx_kl": approx_kl,
                    "policy/clip_fraction": ((ratio - 1).abs() > self.clip_range).float(),
                    "policy/entropy": entropy,
                    "policy/ratio": ratio,
                }
            )
        return Shares(loss.detach(), approx_kl.sum() / num_tokens)

    def _value_backward(
        self,
        backbone: Backbone,
        experience: Experience,
        rows: Tensor,
        num_tokens: Tensor,
        sums: StepSums,
        *,
        is_clipped: bool,
    ) -> Tensor:
        """Forward and backward of the value function on some responses; returns their share of the loss.

        It is held near its old values while a policy relies on them; in the warm-up it must first reach the returns.
        """
        clip_range = self.value_clip_range if is_clipped else math.inf
        mask = experience.mask[rows]
        old, returns = experience.values[rows][mask], experience.returns[rows][mask]
        with backbone.role("value"):
            if experience.value_states is None:
                values = role_values(backbone, experience.sequences.rows(rows))
            else:
                values = backbone.values(experience.value_states[rows][mask])
            losses = value_losses(values, old, returns, clip_range)
            loss = VALUE_WEIGHT * losses.sum() / num_tokens
            loss.backward()
        sums.add_tokens({"value/loss": losses.detach()})
        return loss.detach()

    def _ptx_backward(self, backbone: Backbone, demonstrations: Sequences, sums: StepSums) -> Tensor:
        """Forward and backward of the policy on demonstrations; returns the weighted loss."""
        num_tokens = sum_over_ranks(demonstrations.mask[:, 1:].sum())
        total = torch.zeros((), device=backbone.device)
        with backbone.role("policy"):
            for rows in by_length(demonstrations.lengths, self.micro_batch_size):
                part = demonstrations.rows(rows)
                is_distilled = self.ptx_target == "reference"
                losses = _reference_kl(backbone, part) if is_distilled else negative_logprobs(backbone, part)
                loss = self.ptx_coef * losses.sum() / num_tokens
                loss.backward()
                total += loss.detach()
                sums.add_tokens({"policy/ptx_loss": losses.detach()})
        return total


def _reference_kl(backbone: Backbone, sequences: Sequences) -> Tensor:
    """Return KL (N,) of the role ``reference`` from the active role at each masked token, in reading order."""
    with torch.no_grad(), backbone.role("reference"):
        theirs, _ = select_shifted(backbone.hidden(sequences.ids), sequences.ids, sequences.mask)
    own, _ = select_shifted(backbone.hidden(sequences.ids), sequences.ids, sequences.mask)
    reference_logits = partial(backbone.logits_of, "reference")
    return kl_from_reference(backbone.logits, own, reference_logits, theirs, vocab_size=backbone.vocab_size)
