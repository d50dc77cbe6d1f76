"""PPO's experience: responses with their scores, log-probabilities, values, rewards and advantages.

Everything here is computed without gradients, once per iteration, by the same forward as in training: log-probabilities
taken while sampling can differ from them by more than a policy update does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from modules.data.chat import Message
from modules.data.sequences import Sequences, by_length, pad_rows
from modules.errors import ConfigError, NonFiniteError
from modules.losses import Entropy, TokenStats, select_shifted, token_stats
from modules.model.backbone import Backbone
from modules.model.generate import Rollout
from modules.rl.advantages import at_last, gae, kl_estimates, token_rewards, whiten
from modules.runtime.distributed import sum_over_ranks

ScoreFunction = Callable[[Rollout], Tensor]
"""Responses to scores (B,); used instead of a reward model."""


@dataclass(frozen=True)
class Objective:
    """The recipe from scores and KL to per-token rewards and advantages; see `PPOConfig`."""

    kl_estimator: Literal["k1", "k3"] = "k1"
    gamma: float = 1.0
    lam: float = 0.95
    whiten_advantages: bool = True
    score_clip: float = 10.0
    missing_eos: Literal["penalty", "score"] = "penalty"
    missing_eos_penalty: float = 1.0
    missing_eos_score: float = -1.0
    bootstrap_unfinished: bool = False

    def shape(self, scores: Tensor, center: float, finished: Tensor, scale: float = 1.0) -> Tensor:
        """Centre, scale and clip scores (B,) for the reward; without an end token they are penalised or replaced.

        Args:
            scores: (B,) raw.
            center: What counts as 0.
            finished: (B,) bool. A response whose end token is its last permitted token has finished.
            scale: What counts as 1.
        """
        centred = ((scores - center) / scale).clamp(-self.score_clip, self.score_clip)
        if self.missing_eos == "score":
            return centred.where(finished, self.missing_eos_score)
        return centred - self.missing_eos_penalty * (~finished).float()


def as_rollout(demonstrations: Sequences, stop_ids: frozenset[int]) -> Rollout:
    """Return demonstrations as if sampled: the last assistant turn is the response, all before it the prompt."""
    prompts, responses = [], []
    for ids, mask in zip(demonstrations.ids.tolist(), demonstrations.mask.tolist(), strict=True):
        end = len(mask) - mask[::-1].index(True)
        start = end - [*mask[:end][::-1], False].index(False)
        prompts.append(ids[:start])
        responses.append(ids[start:end])
    return Rollout(prompts, responses, [response[-1] in stop_ids for response in responses])


class Experience(NamedTuple):
    """One iteration's responses. (B, R) tensors are float32, column t belonging to the t-th response token."""

    sequences: Sequences
    """Prompt + response."""
    mask: Tensor
    """(B, R) bool, True on real response tokens."""
    finished: Tensor
    """(B,) bool, True where the response ended by itself."""
    scores: Tensor
    """(B,) raw scores."""
    shaped_scores: Tensor
    """(B,) centred, scaled, clipped and penalised scores."""
    logprobs: Tensor
    """(B, R) log-probabilities under the policy that sampled."""
    ref_logprobs: Tensor
    """(B, R) log-probabilities under the reference."""
    values: Tensor
    """(B, R) value of the state before each token."""
    rewards: Tensor
    """(B, R) per-token rewards."""
    advantages: Tensor
    """(B, R) advantages, whitened if that is on."""
    returns: Tensor
    """(B, R) raw advantage + value, which the value function learns. Whitening does not change it."""
    value_states: Tensor | None = None
    """(B, R, H) states that a value function which is only a head reads before each token; None for any other."""

    @property
    def kl_per_response(self) -> Tensor:
        """(B,) log-ratio of policy to reference summed over the response, in nats: an unbiased estimate of the KL."""
        return (self.logprobs - self.ref_logprobs).sum(-1)


@torch.no_grad()
def gather_experience(
    backbone: Backbone,
    rollout: Rollout,
    objective: Objective,
    *,
    scores: Tensor,
    center: float,
    scale: float = 1.0,
    kl_coef: float,
    temperature: float,
    micro_batch_size: int,
) -> Experience:
    """Turn responses of ``policy`` into experience.

    Args:
        backbone: With the roles policy, reference and value.
        rollout: B responses.
        objective: The recipe.
        scores: (B,) raw scores.
        center: Subtracted from them.
        scale: They are then divided by it.
        kl_coef: Price of one nat.
        temperature: The one the responses were sampled at.
        micro_batch_size: Responses per forward pass.

    Raises:
        NonFiniteError: A score, log-probability or value is not finite.
    """
    sequences = rollout.sequences(backbone.chat.pad_id).to(backbone.device)
    mask = rollout.response_mask().to(backbone.device)
    finished = torch.tensor(rollout.finished, device=backbone.device)
    # 1. Log-probabilities under policy and reference, and values, by the forward used in training.
    logprobs = all_logprobs(backbone, "policy", sequences, mask, temperature, micro_batch_size)
    ref_logprobs = all_logprobs(backbone, "reference", sequences, mask, temperature, micro_batch_size)
    states = all_states(backbone, sequences, mask, micro_batch_size) if backbone.is_head_alone("value") else None
    if states is None:
        values = all_values(backbone, sequences, mask, micro_batch_size)
    else:
        values = head_values(backbone, states).masked_fill(~mask, 0.0)
    check_finite({"score": scores, "log-probability": logprobs, "reference's": ref_logprobs, "value": values})
    # 2. Rewards: the price of the KL at every token, the score at the last.
    shaped = objective.shape(scores, center, finished, scale)
    kl = kl_estimates(logprobs, ref_logprobs, objective.kl_estimator)
    rewards = token_rewards(shaped, kl, mask, kl_coef)
    # 3. Advantages; returns come from the raw ones. A response cut off by the length limit may be worth what would follow.
    foreseen = rewards
    if objective.bootstrap_unfinished:
        following = final_values(backbone, sequences, micro_batch_size).masked_fill(finished, 0.0)
        foreseen = rewards + objective.gamma * at_last(following, mask)
    raw = gae(foreseen, values, mask, gamma=objective.gamma, lam=objective.lam)
    advantages = whiten(raw, mask) if objective.whiten_advantages else raw
    return Experience(
        sequences=sequences,
        mask=mask,
        finished=finished,
        scores=scores,
        shaped_scores=shaped,
        logprobs=logprobs,
        ref_logprobs=ref_logprobs,
        values=values,
        rewards=rewards,
        advantages=advantages,
        returns=raw + values,
        value_states=states,
    )


@torch.no_grad()
def reward_scores(
    backbone: Backbone, rollout: Rollout, micro_batch_size: int, pessimism: float = 0.0, role: str = "reward"
) -> Tensor:
    """Score (B,) by a role with a head, which sees exactly prompt + response as sampled.

    With ``pessimism`` k the score is the ensemble's mean less k standard deviations (division by M) of its M members: what the
    members of the role ``reward`` disagree about is where a policy finds errors of the reward model (Coste et al. 2024).
    """
    sequences = rollout.sequences(backbone.chat.pad_id)
    if not pessimism:
        return _scores(backbone, sequences, micro_batch_size, role)
    members = _member_scores(backbone, sequences, micro_batch_size)
    return members.mean(1) - pessimism * members.std(1, correction=0)


def check_pessimism(backbone: Backbone, pessimism: float) -> None:
    """Refuse pessimism about a reward model that has one head only.

    Raises:
        ConfigError: There is nothing that could disagree.
    """
    heads = backbone.heads
    if pessimism and ("reward" not in heads or heads["reward"].out_features == 1):
        raise ConfigError(
            "reward_pessimism needs a reward model with several heads, but this one has one or none: train the reward model with "
            "ensemble=5, or set reward_pessimism to 0."
        )


@torch.no_grad()
def score_texts(
    backbone: Backbone, texts: Sequence[tuple[Sequence[Message], str]], *, micro_batch_size: int = 32
) -> list[float]:
    """Score response texts to conversations that end with the user's turn, by the role ``reward``."""
    return _scores(backbone, _encode_texts(backbone, texts), micro_batch_size).tolist()


@torch.no_grad()
def score_texts_by_member(
    backbone: Backbone, texts: Sequence[tuple[Sequence[Message], str]], *, micro_batch_size: int = 32
) -> Tensor:
    """Score as `score_texts`, by ensemble member: (N, M). Mean is the score, standard deviation its uncertainty."""
    return _member_scores(backbone, _encode_texts(backbone, texts), micro_batch_size)


def _member_scores(backbone: Backbone, sequences: Sequences, micro_batch_size: int) -> Tensor:
    sequences = sequences.to(backbone.device)
    scores: list[Tensor] = [torch.empty(0)] * len(sequences.ids)
    with backbone.role("reward"):
        for rows in by_length(sequences.lengths, micro_batch_size):
            part = sequences.rows(rows)
            for row, found in zip(rows.tolist(), backbone.member_scores(part.ids, part.lengths), strict=True):
                scores[row] = found
    return torch.stack(scores)


def _encode_texts(backbone: Backbone, texts: Sequence[tuple[Sequence[Message], str]]) -> Sequences:
    found = [backbone.chat.encode_answer(messages, text) for messages, text in texts]
    rows = [prompt.ids + opening + response for prompt, opening, response in found]
    return pad_rows(rows, [[True] * len(row) for row in rows], backbone.chat.pad_id)


@torch.no_grad()
def final_values(backbone: Backbone, sequences: Sequences, micro_batch_size: int) -> Tensor:
    """Return values (B,) of the states after the last tokens by the role ``value``."""
    return _scores(backbone, sequences, micro_batch_size, role="value")


def _scores(backbone: Backbone, sequences: Sequences, micro_batch_size: int, role: str = "reward") -> Tensor:
    sequences = sequences.to(backbone.device)
    scores = torch.zeros(len(sequences.ids), device=backbone.device)
    with backbone.role(role):
        for rows in by_length(sequences.lengths, micro_batch_size):
            part = sequences.rows(rows)
            scores[rows] = backbone.scores(part.ids, part.lengths)
    return scores


def role_stats(backbone: Backbone, sequences: Sequences, temperature: float, entropy: Entropy = "none") -> TokenStats:
    """Return log-probabilities (N,) of the masked tokens by the active role, row by row in reading order."""
    hidden, targets = select_shifted(backbone.hidden(sequences.ids), sequences.ids, sequences.mask)
    return token_stats(
        backbone.logits,
        hidden,
        targets,
        temperature=temperature,
        vocab_size=backbone.vocab_size,
        entropy=entropy,
    )


def role_values(backbone: Backbone, sequences: Sequences) -> Tensor:
    """Return values (N,) by the active role of the states before the masked tokens."""
    hidden, _ = select_shifted(backbone.hidden(sequences.ids), sequences.ids, sequences.mask)
    return backbone.values(hidden)


@torch.no_grad()
def all_logprobs(
    backbone: Backbone, role: str, sequences: Sequences, mask: Tensor, temperature: float, micro_batch_size: int
) -> Tensor:
    """Return log-probabilities (B, R) of response tokens by a role; 0 outside the mask (B, R)."""
    found = torch.zeros(mask.shape, device=mask.device)
    with backbone.role(role):
        for rows in by_length(sequences.lengths, micro_batch_size):
            part = role_stats(backbone, sequences.rows(rows), temperature).logprobs
            found[rows] = found[rows].masked_scatter(mask[rows], part)
    return found


@torch.no_grad()
def all_values(backbone: Backbone, sequences: Sequences, mask: Tensor, micro_batch_size: int) -> Tensor:
    """Return values (B, R) of the states before response tokens by the role ``value``; 0 outside the mask (B, R)."""
    found = torch.zeros(mask.shape, device=mask.device)
    with backbone.role("value"):
        for rows in by_length(sequences.lengths, micro_batch_size):
            part = role_values(backbone, sequences.rows(rows))
            found[rows] = found[rows].masked_scatter(mask[rows], part)
    return found


@torch.no_grad()
def all_states(backbone: Backbone, sequences: Sequences, mask: Tensor, micro_batch_size: int) -> Tensor:
    """Return states (B, R, H) that the role ``value`` reads before response tokens; 0 outside the mask (B, R)."""
    found: Tensor | None = None
    with backbone.role("value"):
        for rows in by_length(sequences.lengths, micro_batch_size):
            part = sequences.rows(rows)
            states, _ = select_shifted(backbone.hidden(part.ids), part.ids, part.mask)
            if found is None:
                found = states.new_zeros(*mask.shape, states.shape[-1])
            found[rows] = found[rows].masked_scatter(mask[rows, :, None], states)
    assert found is not None, "there are no responses"
    return found


def head_values(backbone: Backbone, states: Tensor) -> Tensor:
    """Return values (...) of hidden states (..., H) by the role ``value``."""
    with backbone.role("value"):
        return backbone.values(states)


def check_finite(named: dict[str, Tensor]) -> None:
    """Refuse tensors with infinities or NaN; nothing has been changed at that point."""
    for name, values in named.items():
        bad = int(sum_over_ranks((~torch.isfinite(values)).sum()))
        if bad:
            raise NonFiniteError(
                f"{bad} of {values.numel()} numbers ({name} values of sampled responses) are not finite. The iteration was not "
                "trained on and the weights are as they were: look at the reward model, or choose precision fp32."
            )
