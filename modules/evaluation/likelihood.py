"""Log-likelihoods of continuations given contexts, by the active role, with hardly any padding.

Requests are taken in order of length, in passes of a fixed number of tokens, so memory is bounded and no short text waits for
a long one. Equal requests are computed once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch

from modules.data.chat import ChatFormat
from modules.data.sequences import pad_rows
from modules.data.templates.own import Message
from modules.losses import select_shifted, token_stats
from modules.model.backbone import Backbone
from modules.runtime.phases import Phase, during

TOKENS_PER_PASS = {"cpu": 2048, "cuda": 16384}
"""Tokens of one forward pass, padding included."""


class Request(NamedTuple):
    """A continuation to be scored given its context."""

    context: tuple[int, ...]
    """Token ids that are only read; at least one, since nothing predicts the first token of a text."""
    continuation: tuple[int, ...]
    """Token ids that are scored."""


def plain_request(chat: ChatFormat, context: str, continuation: str) -> Request:
    """Encode a context and its continuation as one text, without any template.

    Spaces at the end of the context belong to the first word of the continuation, as tokenizers join them.
    """
    stem = context.rstrip(" ")
    encode = chat.tokenizer.encode
    head = [*chat.bos_ids, *encode(stem, add_special_tokens=False)] if stem else list(chat.bos_ids)
    whole = [*chat.bos_ids, *encode(context + continuation, add_special_tokens=False)]
    return Request(tuple(whole[: len(head)]) or (_first_id(chat),), tuple(whole[len(head) :]))


def chat_request(chat: ChatFormat, messages: Sequence[Message], answer: str) -> Request:
    """Encode turns by the chat template, and the assistant's answer to them without its end token."""
    context = chat.encode_prompt(messages).ids
    return Request(tuple(context), tuple(chat.encode_response(answer, end_reason="length")))


def windows(request: Request, length: int) -> list[Request]:
    """Cut a request that is longer than ``length`` tokens: each later window reads the token before it."""
    if len(request.context) + len(request.continuation) <= length:
        return [request]
    whole = request.context + request.continuation
    first = len(request.context)
    parts = []
    while first < len(whole):
        start = first - 1 if parts else max(0, min(first - 1, len(whole) - length))
        end = min(len(whole), start + length)
        parts.append(Request(whole[start:first], whole[first:end]))
        first = end
    return parts


@contextmanager
def measuring(backbone: Backbone, role: str) -> Iterator[None]:
    """Activate a role for measuring: its adapter is folded into the base in float32 only, where that changes nothing but 1e-6.

    In 16 or 4 bits the folded weights would be rounded once more, and those of the base, to which it is compared, would not.
    """
    is_exact = backbone.dtype == torch.float32 and backbone.quantisation == "none"
    with backbone.sampling(role, "auto" if is_exact else "adapter"):
        yield


@during(Phase.EVALUATING)
@torch.no_grad()
def log_likelihoods(backbone: Backbone, requests: Sequence[Request], tokens_per_pass: int | None = None) -> list[float]:
    """Return the log-probability of each continuation in nats, by the active role.

    Args:
        backbone: Inside ``with measuring(backbone, role):``.
        requests: None longer than the model's context; see `windows`.
        tokens_per_pass: Tokens of a forward pass, padding included; None is `TOKENS_PER_PASS`.
    """
    different = list(dict.fromkeys(requests))
    found: dict[Request, float] = {}
    for batch in _passes(different, tokens_per_pass or TOKENS_PER_PASS[backbone.device.type]):
        found |= zip(batch, _score(backbone, batch), strict=True)
    return [found[request] for request in requests]


def _score(backbone: Backbone, batch: Sequence[Request]) -> list[float]:
    ids = [request.context + request.continuation for request in batch]
    masks = [[False] * len(r.context) + [True] * len(r.continuation) for r in batch]
    rows = pad_rows(ids, masks, backbone.chat.pad_id).to(backbone.device)
    hidden, targets = select_shifted(backbone.hidden(rows.ids), rows.ids, rows.mask)
    logprobs = token_stats(backbone.logits, hidden, targets, vocab_size=backbone.vocab_size).logprobs.double()
    lengths = [len(request.continuation) for request in batch]
    return [float(part.sum()) for part in logprobs.cpu().split(lengths)]


def _passes(requests: Sequence[Request], num_tokens: int) -> Iterator[list[Request]]:
    """Yield requests of similar length, the longest first, so that memory runs out at once or never."""
    batch: list[Request] = []
    for request in sorted(requests, key=lambda r: len(r.context) + len(r.continuation), reverse=True):
        longest = len(batch[0].context) + len(batch[0].continuation) if batch else 0
        if batch and (len(batch) + 1) * longest > num_tokens:
            yield batch
            batch = []
        batch.append(request)
    if batch:
        yield batch


def _first_id(chat: ChatFormat) -> int:
    """Return the token that stands before a text without context, where the tokenizer puts none there."""
    bos = chat.tokenizer.bos_token_id
    return bos if isinstance(bos, int) else chat.end_id
