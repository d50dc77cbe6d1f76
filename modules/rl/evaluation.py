"""Measures PPO on held-out prompts and demonstrations, and keeps responses for people to read."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from modules.data.chat import ChatFormat
from modules.data.sequences import Sequences, by_length
from modules.model.backbone import Backbone
from modules.model.generate import EndReason, Rollout
from modules.model.packing import negative_logprobs
from modules.rl.experience import all_logprobs
from modules.rl.step_metrics import mean
from modules.runtime.distributed import share, sum_over_ranks


class Sample(NamedTuple):
    """A response for people to read."""

    prompt_text: str
    response_text: str
    score: float
    """Raw score."""
    kl: float
    """Divergence from the SFT policy on this response, in nats."""
    end_reason: EndReason
    components: Mapping[str, float] = MappingProxyType({})
    """Raw score of each component of a mixed reward."""


class Answers(NamedTuple):
    """Responses with their measurements."""

    rollout: Rollout
    scores: Tensor
    """(B,) raw scores."""
    kl: Tensor
    """(B,) divergence from the reference, in nats."""
    components: Mapping[str, Tensor] = MappingProxyType({})
    """(B,) raw scores of each component of a mixed reward."""

    def metrics(self) -> dict[str, float]:
        """Return their means, as held-out metrics."""
        lengths = torch.tensor([len(response) for response in self.rollout.responses], device=self.scores.device)
        return {
            "eval/score": mean(self.scores),
            "eval/kl": mean(self.kl),
            "eval/response_tokens": mean(lengths),
            "eval/eos_share": mean(torch.tensor(self.rollout.finished, device=self.scores.device)),
        }

    def samples(self, chat: ChatFormat) -> list[Sample]:
        """Return them as texts."""
        return [
            Sample(chat.decode_prompt(prompt), chat.decode(response), score, divergence, reason, components)
            for prompt, response, score, divergence, reason, components in zip(
                self.rollout.prompts,
                self.rollout.responses,
                self.scores.tolist(),
                self.kl.tolist(),
                self.rollout.end_reasons,
                self.components_by_row(),
                strict=True,
            )
        ]

    def components_by_row(self) -> list[dict[str, float]]:
        """Return the components of each response's score."""
        columns = {name: scores.tolist() for name, scores in self.components.items()}
        return [{name: column[row] for name, column in columns.items()} for row in range(len(self.scores))]


@torch.no_grad()
def kl_per_response(
    backbone: Backbone, role: str, rollout: Rollout, *, temperature: float, micro_batch_size: int
) -> Tensor:
    """Return the log-ratio (B,) of a role to the reference, summed over each response it sampled, in nats."""
    sequences = rollout.sequences(backbone.chat.pad_id).to(backbone.device)
    arguments = (sequences, rollout.response_mask().to(backbone.device), temperature, micro_batch_size)
    return (all_logprobs(backbone, role, *arguments) - all_logprobs(backbone, "reference", *arguments)).sum(-1)


@torch.no_grad()
def demonstration_losses(
    backbone: Backbone, role: str, demonstrations: Sequences, is_excluded: Tensor, micro_batch_size: int
) -> dict[str, float]:
    """Return a role's mean loss per token on all demonstrations, and on those of excluded categories.

    Args:
        backbone: With the role.
        role: The role that is measured.
        demonstrations: B rows.
        is_excluded: (B,) bool, True on rows of categories that PPO leaves out.
        micro_batch_size: Rows per forward pass.
    """
    sums = torch.zeros(2, 2, device=backbone.device)
    is_excluded = is_excluded.to(backbone.device)
    with backbone.role(role):
        for rows in share(list(by_length(demonstrations.lengths, micro_batch_size))):
            part = demonstrations.rows(rows)
            losses = negative_logprobs(backbone, part)
            excluded = is_excluded[rows].unsqueeze(-1).expand_as(part.mask)[:, 1:][part.mask[:, 1:]]
            for row, kept in enumerate((torch.ones_like(excluded), excluded)):
                sums[row] += torch.stack([losses[kept].sum(), kept.sum()])
    (total, count), (tax, tax_count) = sum_over_ranks(sums).tolist()
    found = {"eval/demonstration_loss": total / max(count, 1)}
    return found | {"eval/tax_loss": tax / tax_count} if tax_count else found
