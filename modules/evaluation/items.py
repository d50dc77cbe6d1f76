"""Turns one item of a likelihood suite into requests, and their log-likelihoods into the item's scores.

Kinds: ``choice`` (prompt, choices, gold), ``pair`` (good, bad), ``truth`` (prompt, best, correct, incorrect), ``text`` (text, and
perhaps a prompt before it). An item is a dict, as it is stored.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from modules.data.chat import ChatFormat
from modules.data.templates.own import Message
from modules.errors import ConfigError
from modules.evaluation.likelihood import Request, chat_request, plain_request, windows

Item = Mapping[str, Any]
Scores = dict[str, Any]


def requests(kind: str, item: Item, chat: ChatFormat, uses_template: bool, length: int) -> list[list[Request]]:
    """Return the windows of each text that is scored for an item.

    Args:
        kind: As above.
        item: Its fields.
        chat: Of the model.
        uses_template: True if the prompt becomes a user's turn.
        length: The model's positions.

    Raises:
        ConfigError: The template is asked for around something without a prompt, such as a sentence pair.
        RowError: The template refuses the prompt.
    """
    turns = messages(item)
    if uses_template and not turns:
        raise ConfigError(
            "Texts without a prompt are never put into a chat template: they are not answers. Leave @chat out."
        )
    prompt = "\n".join(turn["content"] for turn in turns)
    gap = " " if prompt else ""
    whole = [
        chat_request(chat, turns, text) if uses_template else plain_request(chat, prompt, gap + text)
        for text in texts(kind, item)
    ]
    return [windows(request, length) for request in whole]


def messages(item: Item) -> list[Message]:
    """Return the turns before what is scored or sampled; none where an item has no prompt."""
    if "messages" in item:
        return list(item["messages"])
    return [{"role": "user", "content": item["prompt"]}] if item.get("prompt") else []


def texts(kind: str, item: Item) -> list[str]:
    """Return the texts whose likelihoods decide an item."""
    match kind:
        case "choice":
            return list(item["choices"])
        case "pair":
            return [item["good"], item["bad"]]
        case "truth":
            return [item["best"], *item["correct"], *item["incorrect"]]
        case "text":
            return [item["text"]]
    raise ValueError(f"{kind} has no likelihood")


def scores(kind: str, item: Item, logprobs: Sequence[float], num_tokens: Sequence[int]) -> Scores:
    """Return an item's scores.

    Args:
        kind, item: As for `requests`.
        logprobs: Of each of `texts`, in nats.
        num_tokens: Of each of `texts`.

    Returns:
        ``acc`` and ``acc_norm`` (0 or 1; the latter per character), ``mass`` (probability of the right ones among all given),
        ``mc1`` and ``mc2`` (TruthfulQA), or ``nats`` with ``tokens`` and ``bytes``; ``logprobs`` as given.
    """
    found: Scores = {"logprobs": [round(value, 5) for value in logprobs]}
    match kind:
        case "choice":
            per_character = [value / max(1, len(text)) for value, text in zip(logprobs, item["choices"], strict=True)]
            gold, best = item["gold"], _first_largest(logprobs)
            found |= {"acc": float(best == gold), "acc_norm": float(_first_largest(per_character) == gold)}
            return found | {"mass": _mass(logprobs, [gold]), "chosen": best}
        case "pair":
            return found | {"acc": float(logprobs[0] > logprobs[1]), "mass": _mass(logprobs, [0])}
        case "truth":
            return found | _truth(item, logprobs)
    return found | {"nats": -logprobs[0], "tokens": num_tokens[0], "bytes": len(item["text"].encode())}


def _truth(item: Item, logprobs: Sequence[float]) -> Scores:
    """Score TruthfulQA: the best answer above all incorrect ones, and the probability mass on the correct ones."""
    num = len(item["correct"])
    best, answers = logprobs[0], list(logprobs[1:])
    incorrect = answers[num:]
    chosen = _first_largest([best, *incorrect])
    return {"mc1": float(chosen == 0), "mc2": _mass(answers, range(num)), "chosen": chosen}


def _mass(logprobs: Sequence[float], right: Sequence[int]) -> float:
    """Return the share of probability on the right ones, among all given."""
    highest = max(logprobs)
    weights = [math.exp(value - highest) for value in logprobs]
    return sum(weights[index] for index in right) / sum(weights)


def _first_largest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
