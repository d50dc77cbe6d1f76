"""Samples responses for people who read along: a few tokens at a time, and one can be left at any of them.

Those of one role grow in one batch: each joins it when it is asked for and leaves it when it ends, between two tokens of the others.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from modules.model.backbone import Backbone
from modules.model.decoding import pace_of
from modules.model.generate import Draws, EndReason, limits
from modules.model.loading.cache import FixedCache

UNFINISHED = "\ufffd"
"""Stands at the end of a decoded text whose last character lacks bytes."""


SPARE = 256
"""Columns of a cache beyond those that are filled; when they are, it is copied."""


class Drawn(NamedTuple):
    """A token that was drawn, and what the model thought of it and of others."""

    token: int
    log_prob: float
    """In nats, at temperature 1 and without filters."""
    top: list[tuple[int, float]]
    """The most likely tokens with theirs."""


class Stream:
    """One growing response: the tokens that `generate` gives with the same settings. A `Batch` lets it grow.

    Args:
        backbone: The model.
        prompt: Its ids, at least one.
        max_new_tokens: Length limit; the response ends earlier where the model has no more positions.
        temperature: Logits are divided by it; 0 always takes the most likely token.
        top_p, top_k: Filters; 1 and 0 switch them off.
        seed: Of the random numbers.
        num_top: Note each token's log-probability, and so many of the most likely ones; None notes nothing.

    Raises:
        ConfigError: The prompt leaves no room for a token.
    """

    def __init__(
        self,
        backbone: Backbone,
        prompt: Sequence[int],
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int = 0,
        num_top: int | None = None,
    ) -> None:
        self._chat, self.prompt = backbone.chat, list(prompt)
        self._draws = Draws(temperature or 1.0, top_p, top_k if temperature else 1)
        (self.limit,) = limits(backbone, [prompt], max_new_tokens)
        generator = torch.Generator().manual_seed(seed)
        self._noise = torch.rand(max_new_tokens, generator=generator, dtype=torch.float64).to(backbone.device)
        self._num_top = num_top
        self.ids: list[int] = []
        """The response so far; its last id is the end token if it ended by itself."""
        self.drawn: list[Drawn] = []
        """Its tokens' log-probabilities, where they are noted."""

    @property
    def end_reason(self) -> EndReason | None:
        """``eos`` or ``length``; None while the response goes on."""
        if self.ids and self.ids[-1] in self._chat.stop_ids:
            return "eos"
        return "length" if len(self.ids) >= self.limit else None

    @property
    def num_cached(self) -> int:
        """Tokens that the model has read once it is to read the newest."""
        return len(self.prompt) + len(self.ids) - 1

    def choose(self, logits: Tensor) -> Tensor:
        """Return the next token (1,) by the logits (1, V), as `Draws.choose`; noted where that is wanted."""
        token = self._draws.choose(logits, self._noise[len(self.ids), None])
        if self._num_top is not None:
            log_probs = torch.log_softmax(logits[0].float(), -1)
            top = log_probs.topk(min(self._num_top, len(log_probs)))
            pairs = list(zip(top.indices.tolist(), top.values.tolist(), strict=True))
            self.drawn.append(Drawn(int(token), float(log_probs[token]), pairs))
        return token

    @property
    def text(self) -> str:
        """The response so far as text, without a character that is not whole yet."""
        text = self._chat.decode(self.ids)
        return text if self.end_reason else text.rstrip(UNFINISHED)


class Batch:
    """Responses of one role that grow together, each as it would alone.

    Args:
        backbone: The model; in evaluation mode from now on.
        role: The role that answers.
    """

    def __init__(self, backbone: Backbone, role: str) -> None:
        backbone.eval()  # once: no dropout, and no walk over all modules at each token
        self._backbone, self._role = backbone, role
        self._rows: dict[Stream, tuple[FixedCache, int]] = {}
        """Where the past of each is: a cache, and its row there."""
        self._laid: list[Stream] = []
        self._cache: FixedCache | None = None
        """Holds the past of all that were laid together, a row each."""

    @torch.no_grad()
    def join(self, stream: Stream) -> None:
        """Read the prompt of a new response and draw its first token."""
        with self._backbone.role(self._role):
            cache = self._backbone.new_cache(len(stream.prompt))
            prompt = torch.tensor([stream.prompt], device=self._backbone.device)
            hidden = self._backbone.hidden(prompt, torch.ones_like(prompt, dtype=torch.bool), cache=cache)
            cache.num_filled = len(stream.prompt)
            stream.ids.append(int(stream.choose(self._backbone.logits(hidden[:, -1]))))
        self._rows[stream] = cache, 0

    def leave(self, stream: Stream) -> None:
        """Let a response not grow any more."""
        self._rows.pop(stream, None)

    @torch.no_grad()
    def advance(self, num_tokens: int = 1) -> None:
        """Draw up to so many tokens more for each; a response that has ended leaves."""
        with self._backbone.role(self._role):
            for _ in range(num_tokens):
                for stream in [each for each in self._rows if each.end_reason]:
                    self.leave(stream)
                if not self._rows:
                    return
                self._step()

    def _step(self) -> None:
        """Draw the next token of each."""
        cache, device = self._cache, self._backbone.device
        if cache is None or self._laid != list(self._rows) or cache.num_filled == cache.room:
            cache = self._lay()
        block = 1 if cache.is_windowed else pace_of(device).block
        cache.column = torch.full((1,), cache.num_filled, device=device)
        cache.num_read = min(cache.room, -(-(cache.num_filled + 1) // block) * block)
        self._mask[:, cache.num_filled] = True
        tokens = torch.tensor([[stream.ids[-1]] for stream in self._laid], device=device)
        positions = torch.tensor([[stream.num_cached] for stream in self._laid], device=device)
        hidden = self._backbone.next_hidden(tokens, self._mask[:, : cache.num_read], positions, cache)
        cache.num_filled += 1
        logits = self._backbone.logits(hidden[:, -1])
        chosen = torch.cat([stream.choose(logits[row, None]) for row, stream in enumerate(self._laid)])
        for stream, token in zip(self._laid, chosen.tolist(), strict=True):
            stream.ids.append(token)

    def _lay(self) -> FixedCache:
        """Copy the past of all into one cache and return it: their newest tokens lie in the same column."""
        streams = list(self._rows)
        filled = max(stream.num_cached for stream in streams)
        more = min(SPARE, max(stream.limit - len(stream.ids) for stream in streams))
        cache = self._backbone.new_cache(filled + more)
        cache.take([(*self._rows[stream], stream.num_cached) for stream in streams])
        columns = torch.arange(cache.room)
        starts = torch.tensor([[filled - stream.num_cached] for stream in streams])
        self._mask = ((columns >= starts) & (columns < filled)).to(self._backbone.device)
        self._rows = {stream: (cache, row) for row, stream in enumerate(streams)}
        self._cache, self._laid = cache, streams
        return cache
