"""Samples one response for somebody who reads along: a few tokens at a time, and it can be left at any of them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from modules.model.backbone import Backbone
from modules.model.decoding import Decoder
from modules.model.generate import Draws, EndReason, limits

UNFINISHED = "\ufffd"
"""Stands at the end of a decoded text whose last character lacks bytes."""


class Drawn(NamedTuple):
    """A token that was drawn, and what the model thought of it and of others."""

    token: int
    log_prob: float
    """In nats, at temperature 1 and without filters."""
    top: list[tuple[int, float]]
    """The most likely tokens with theirs."""


class Stream:
    """One growing response: the tokens that `generate` gives with the same settings.

    Args:
        backbone: The model.
        role: The role that answers.
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
        role: str,
        prompt: Sequence[int],
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int = 0,
        num_top: int | None = None,
    ) -> None:
        backbone.eval()  # once: no dropout, and no walk over all modules at each token
        self._backbone, self._role, self._prompt = backbone, role, list(prompt)
        self._draws = Draws(temperature or 1.0, top_p, top_k if temperature else 1)
        self._limits = limits(backbone, [prompt], max_new_tokens)
        generator = torch.Generator().manual_seed(seed)
        self._noise = torch.rand(1, max_new_tokens, generator=generator, dtype=torch.float64).to(backbone.device)
        self._decoder: Decoder | None = None
        self._num_top = num_top
        self._step = 0
        self.ids: list[int] = []
        """The response so far; its last id is the end token if it ended by itself."""
        self.drawn: list[Drawn] = []
        """Its tokens' log-probabilities, where they are noted."""

    @property
    def end_reason(self) -> EndReason | None:
        """``eos`` or ``length``; None while the response goes on."""
        if self.ids and self.ids[-1] in self._backbone.chat.stop_ids:
            return "eos"
        return "length" if len(self.ids) >= self._limits[0] else None

    @torch.no_grad()
    def advance(self, num_tokens: int = 1) -> None:
        """Draw up to so many tokens more."""
        with self._backbone.role(self._role):
            for _ in range(num_tokens):
                if self.end_reason is not None:
                    return
                if self._decoder is None:
                    self._decoder = Decoder(
                        self._backbone, [self._prompt], self._noise, list(self._limits), self._choose
                    )
                else:
                    self._decoder.read_up_to(self._step)
                    self._decoder.step()
                self._step += 1
                (response,) = self._decoder.responses()
                self.ids = response[: self._step]

    def _choose(self, logits: Tensor, noise: Tensor) -> Tensor:
        """As `Draws.choose`, for one row."""
        tokens = self._draws.choose(logits, noise)
        if self._num_top is not None:
            log_probs = torch.log_softmax(logits[0].float(), -1)
            top = log_probs.topk(min(self._num_top, len(log_probs)))
            pairs = list(zip(top.indices.tolist(), top.values.tolist(), strict=True))
            self.drawn.append(Drawn(int(tokens[0]), float(log_probs[tokens[0]]), pairs))
        return tokens

    @property
    def text(self) -> str:
        """The response so far as text, without a character that is not whole yet."""
        text = self._backbone.chat.decode(self.ids)
        return text if self.end_reason else text.rstrip(UNFINISHED)
