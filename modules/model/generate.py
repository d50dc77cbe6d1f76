"""Sampling responses: token ids in, token ids out.

Its own sampling loop instead of ``generate``: rows that have ended leave the batch, so a long response does not
make the others wait, and log-probabilities, filters and random numbers are exactly known. Text is never decoded and
encoded again. `modules.model.decoding` has the step of the loop.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from modules.config import RolloutWeights
from modules.data.sequences import Sequences, pad_rows
from modules.errors import ConfigError
from modules.model.backbone import Backbone
from modules.model.decoding import Decoder, Repeater, recorder_of
from modules.runtime.phases import Phase, during

EndReason = Literal["eos", "length"]


class Rollout(NamedTuple):
    """Sampled responses, in the order of their prompts."""

    prompts: list[list[int]]
    """B prompts as ids."""
    responses: list[list[int]]
    """B responses as ids; each ends with its first end token, or at the length limit."""
    finished: list[bool]
    """True where the response ended by itself."""

    @property
    def end_reasons(self) -> list[EndReason]:
        """``eos`` or ``length`` for each response."""
        return ["eos" if done else "length" for done in self.finished]

    def sequences(self, pad_id: int) -> Sequences:
        """Return prompt + response rows, (B, T); the mask is True on response tokens."""
        ids = [prompt + response for prompt, response in zip(self.prompts, self.responses, strict=True)]
        masks = [[False] * len(p) + [True] * len(r) for p, r in zip(self.prompts, self.responses, strict=True)]
        return pad_rows(ids, masks, pad_id)

    def response_mask(self) -> Tensor:
        """Return (B, R) bool, True on real response tokens."""
        lengths = torch.tensor([len(response) for response in self.responses])
        return torch.arange(int(lengths.max()) if len(lengths) else 0) < lengths.unsqueeze(-1)


@during(Phase.SAMPLING)
@torch.no_grad()
def generate(
    backbone: Backbone,
    role: str,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
    places: Sequence[int] | None = None,
    batch_size: int = 64,
    weights: RolloutWeights = "auto",
    on_progress: Callable[[int], None] | None = None,
) -> Rollout:
    """Sample one response to each prompt.

    Prompts are taken in order of length, so that a batch holds little padding. The random numbers of a response depend
    on ``seed``, its place and nothing else: not on the batch size, nor on the other prompts.

    Args:
        backbone: The model.
        role: The role that answers.
        prompts: B lists of ids, none empty.
        max_new_tokens: Length limit of a response; it ends earlier where the model has no more positions.
        temperature: Logits are divided by it.
        top_p, top_k: Filters; 1 and 0 switch them off. PPO never uses them: the sampled tokens would not come from the
            policy whose log-probabilities are compared.
        seed: Of the random numbers.
        places: B different numbers, if ``prompts`` are a share of a longer list; None counts from 0.
        batch_size: Prompts answered at a time.
        weights: See ``rollout_weights`` in `PPOConfig`.
        on_progress: Called with the number of finished responses after each batch.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    places = range(len(prompts)) if places is None else places
    noise = torch.rand(
        max(places, default=-1) + 1, max_new_tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )[torch.tensor(places, dtype=torch.long)].to(backbone.device)
    responses: list[list[int]] = [[] for _ in prompts]
    draws = Draws(temperature, top_p, top_k)
    with backbone.sampling(role, weights):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            answers = _answer(backbone, [prompts[i] for i in rows], draws, noise[rows])
            for row, response in zip(rows, answers, strict=True):
                responses[row] = response
            if on_progress is not None:
                on_progress(min(start + batch_size, len(order)))
    finished = [bool(response) and response[-1] in backbone.chat.stop_ids for response in responses]
    return Rollout([list(prompt) for prompt in prompts], responses, finished)


class Draws:
    """Chooses tokens from logits with uniform random numbers that belong to rows."""

    def __init__(self, temperature: float, top_p: float, top_k: int) -> None:
        self.temperature, self.top_p, self.top_k = temperature, top_p, top_k

    def choose(self, logits: Tensor, noise: Tensor) -> Tensor:
        """Choose token ids (N,) from logits (N, V) by numbers (N,) in [0, 1), inverting the distribution function."""
        probs = torch.softmax(filter_logits(logits / self.temperature, top_p=self.top_p, top_k=self.top_k), -1)
        cumulative = probs.cumsum(-1, dtype=torch.float64)
        heights = noise.unsqueeze(-1) * cumulative[:, -1:]
        return torch.searchsorted(cumulative, heights, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)


def filter_logits(logits: Tensor, *, top_p: float, top_k: int) -> Tensor:
    """Set logits (N, V) outside the top-k and the nucleus to minus infinity; the most likely token always stays."""
    if 0 < top_k < logits.shape[-1]:
        smallest = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, float("-inf"))
    if top_p < 1:
        ordered, index = logits.sort(dim=-1, descending=True)
        probs = torch.softmax(ordered, -1)
        is_outside = probs.cumsum(-1) - probs >= top_p
        logits = logits.masked_fill(torch.zeros_like(is_outside).scatter(-1, index, is_outside), float("-inf"))
    return logits


def limits(backbone: Backbone, prompts: list[Sequence[int]], max_new_tokens: int) -> list[int]:
    """Return the most tokens of each response: the model has no positions behind its last one.

    Raises:
        ConfigError: There is no room for a single token behind a prompt.
    """
    room = [min(max_new_tokens, backbone.context_length - len(prompt)) for prompt in prompts]
    if min(room) < 1:
        raise ConfigError(
            f"A prompt of {max(map(len, prompts))} tokens leaves no room for an answer: this model has {backbone.context_length} "
            "positions. Shorten the prompt."
        )
    return room


def _answer(backbone: Backbone, prompts: list[Sequence[int]], draws: Draws, noise: Tensor) -> list[list[int]]:
    """Sample a batch to its end; the role is active. Returns responses as ids, cut after their first end token."""
    decoder = Decoder(backbone, prompts, noise, limits(backbone, prompts, noise.shape[1]), draws.choose)
    repeater = Repeater(decoder, recorder_of(backbone.device))
    rows, found = list(range(len(prompts))), [[] for _ in prompts]
    for step in range(1, noise.shape[1]):
        # 1. Rows that have ended leave, a few at a time, since leaving copies the cache.
        if step % decoder.pace.look_every == 0:
            alive = decoder.alive(step)
            if not any(alive):
                break
            if sum(alive) <= decoder.pace.leave_at * len(rows):
                _note(found, rows, decoder)
                kept = [index for index, goes_on in enumerate(alive) if goes_on]
                rows = [rows[index] for index in kept]
                decoder.keep(kept)
                repeater.forget()
        # 2. One more token for each row.
        repeater.run(step)
    _note(found, rows, decoder)
    return found


def _note(found: list[list[int]], rows: list[int], decoder: Decoder) -> None:
    for row, response in zip(rows, decoder.responses(), strict=True):
        found[row] = response
