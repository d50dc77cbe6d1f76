"""The losses of the three stages, as pure functions of tensors in float32.

Log-probabilities are computed from hidden states in chunks: at batch 64, 1,024 tokens and a vocabulary of 128,000 the
logits alone would be 34 GB. Sources: Stiennon et al. 2020 and Ouyang et al. 2022 (reward model), Touvron et al. 2023
(margin), Schulman et al. 2017 (clipped objective), Huang et al. 2024 ("N implementation details", clipped value loss).
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from modules.memory import chunk_factor
from modules.runtime.devices import gpu_bytes

CHUNK_ELEMENTS = 2**24
"""Logits computed at a time on a CPU: 64 MiB in float32; on a GPU `modules.memory.chunk_factor` times as many."""

ToLogits = Callable[[Tensor], Tensor]
"""Hidden states (N, H) to logits (N, V)."""

Entropy = Literal["none", "measured", "trained"]


class TokenStats(NamedTuple):
    """Figures of a policy on N tokens."""

    logprobs: Tensor
    """(N,) log-probability of each token at the temperature."""
    entropy: Tensor | None
    """(N,) entropy of the distribution it was chosen from, in nats, if asked for."""


def select_shifted(hidden: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Pick the states that predict the masked tokens: position t - 1 predicts the token at t.

    Args:
        hidden: (B, T, H).
        ids: (B, T).
        mask: (B, T) bool, True on the tokens wanted; the first column cannot be predicted and is ignored.

    Returns:
        (N, H) states and (N,) tokens, row by row in reading order.
    """
    rows, columns = mask[:, 1:].nonzero(as_tuple=True)  # once: on a GPU the host waits for how many there are
    return hidden[rows, columns], ids[rows, columns + 1]


def _chunk_rows(device: torch.device, vocab_size: int) -> int:
    """Return how many tokens' logits are computed at a time."""
    return max(1, CHUNK_ELEMENTS * chunk_factor(gpu_bytes(device)) // vocab_size)


def token_stats(
    to_logits: ToLogits,
    hidden: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    vocab_size: int,
    entropy: Entropy = "none",
) -> TokenStats:
    """Compute log-probabilities (and entropies) of tokens without holding all their logits.

    Args:
        to_logits: The output layer.
        hidden: (N, H) states, from `select_shifted`.
        targets: (N,) token ids.
        temperature: Logits are divided by it.
        vocab_size: V, which sets the size of a chunk.
        entropy: ``measured`` also returns entropies, ``trained`` with their gradient.
    """
    rows = _chunk_rows(hidden.device, vocab_size)
    if len(hidden) <= rows:
        return TokenStats(*_stats_of_chunk(to_logits, hidden, targets, temperature, entropy))
    parts = []
    for states, tokens in zip(hidden.split(rows), targets.split(rows), strict=True):
        # Recomputed in the backward pass, so that only one chunk's logits exist at a time.
        parts.append(checkpoint(_stats_of_chunk, to_logits, states, tokens, temperature, entropy, use_reentrant=False))
    entropies = None if entropy == "none" else torch.cat([part[1] for part in parts])
    return TokenStats(torch.cat([part[0] for part in parts]), entropies)


def _stats_of_chunk(
    to_logits: ToLogits, hidden: Tensor, targets: Tensor, temperature: float, entropy: Entropy
) -> tuple[Tensor, Tensor | None]:
    everything = torch.log_softmax(to_logits(hidden).float() / temperature, -1)
    logprobs = everything.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    if entropy == "none":
        return logprobs, None
    terms = everything if entropy == "trained" else everything.detach()
    return logprobs, -(terms.exp() * terms).sum(-1)


def kl_from_reference(
    to_logits: ToLogits, hidden: Tensor, reference_logits: ToLogits, reference_hidden: Tensor, *, vocab_size: int
) -> Tensor:
    """Return KL(reference || policy) (N,) of next-token distributions in nats, summed over the whole vocabulary.

    Its gradient is that of the language-model loss on tokens that the reference would have drawn, in the mean over all of
    them: the same pull without the noise of the single token in the data (Hinton et al. 2015, with a temperature of 1).

    Args:
        to_logits: The policy's output layer.
        hidden: (N, H) the policy's states.
        reference_logits: The reference's output layer; it gets no gradient.
        reference_hidden: (N, H) the reference's states at the same places.
        vocab_size: V, which sets the size of a chunk.
    """
    rows = _chunk_rows(hidden.device, vocab_size)
    parts = [
        checkpoint(_kl_of_chunk, to_logits, own, reference_logits, theirs, use_reentrant=False)
        for own, theirs in zip(hidden.split(rows), reference_hidden.split(rows), strict=True)
    ]
    return torch.cat(parts)


def _kl_of_chunk(to_logits: ToLogits, hidden: Tensor, reference_logits: ToLogits, reference_hidden: Tensor) -> Tensor:
    with torch.no_grad():
        reference = torch.log_softmax(reference_logits(reference_hidden).float(), -1)
    return (reference.exp() * (reference - torch.log_softmax(to_logits(hidden).float(), -1))).sum(-1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over kept entries; 0 where there are none.

    Args:
        values: Any shape.
        mask: The same shape, bool, True keeps.
    """
    return values.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)


def bradley_terry_loss(
    margins: Tensor, target_p: Tensor | float = 1.0, offsets: Tensor | float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Return the weighted *sum* of `comparison_losses`; divide by the sum of weights for the mean.

    Args:
        margins, target_p, offsets: See there.
        weights: Of the same shape; None counts each pair once.
    """
    losses = comparison_losses(margins, target_p, offsets)
    return losses.sum() if weights is None else (losses * weights).sum()


def comparison_losses(margins: Tensor, target_p: Tensor | float = 1.0, offsets: Tensor | float = 0.0) -> Tensor:
    """Return for each pair -[p log s(d - m) + (1 - p) log s(m - d)].

    A tie has p = 1/2 and its minimum ln 2 at d = 0. The offset m (Llama 2) asks for a distance between clearly
    different responses; it means nothing for a tie, so it is faded out with |2p - 1| and points to the preferred side.

    Args:
        margins: (B,) score of chosen minus score of rejected, d; or (B, M), one column for each member of an ensemble.
        target_p: (B,) or (B, 1) probability that chosen is the better one.
        offsets: (B,) or (B, 1) m >= 0.
    """
    target = torch.as_tensor(target_p, dtype=torch.float32, device=margins.device)
    distance = margins.float() - torch.as_tensor(offsets, dtype=torch.float32, device=margins.device) * (2 * target - 1)
    return -(target * F.logsigmoid(distance) + (1 - target) * F.logsigmoid(-distance))


def smooth_labels(target_p: Tensor, error_rate: float) -> Tensor:
    """Return labels (B,) as a rater who errs at this rate gives them: p (1 - e) + (1 - p) e. A tie stays a tie."""
    return target_p * (1 - error_rate) + (1 - target_p) * error_rate


def policy_losses(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """Return PPO's clipped objective per token, to minimise: max(-A r, -A clip(r, 1 - e, 1 + e)), r = exp(new - old).

    Args:
        logprobs, old_logprobs, advantages: One shape.
        clip_range: e.

    Returns:
        Losses of that shape.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return torch.maximum(-advantages * ratio, -advantages * clipped)


def value_losses(values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float) -> Tensor:
    """Return the clipped value loss per token: half the larger of (V - R)^2 and (V held within e of the old V - R)^2.

    Args:
        values, old_values, returns: One shape.
        clip_range: e.

    Returns:
        Losses of that shape.
    """
    held = torch.clamp(values, old_values - clip_range, old_values + clip_range)
    return 0.5 * torch.maximum((values - returns).square(), (held - returns).square())
