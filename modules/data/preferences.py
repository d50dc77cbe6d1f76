"""Preferences on their way into batches: rankings as pairs, weights per prompt, bootstrap weights, padding."""

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations, takewhile
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from modules.data.chat import ChatFormat, Message
from modules.data.dropped import TOO_LONG, WEIGHT_0, drop, reason_of
from modules.data.sequences import CPU_PASS_TOKENS, Sequences, pad_rows
from modules.errors import DataError

Row = Mapping[str, Any]
_Turns = tuple[tuple[str, str], ...]
AHEAD = 256
"""Rows whose answers are encoded together."""


class Comparisons(NamedTuple):
    """Pairs to be judged. Responses that occur in several pairs are held once."""

    sequences: Sequences
    """(U, T) prompt + response of each different response; the mask is True on the response."""
    chosen: Tensor
    """(B,) row of the preferred response."""
    rejected: Tensor
    """(B,) row of the other one."""
    target_p: Tensor
    """(B,) probability that chosen is the better one: 1, 1/2 for a tie, or in between."""
    margin: Tensor
    """(B,) smallest distance wanted between their scores."""
    weight: Tensor
    """(B,) weight of the pair."""
    prompt: Tensor
    """(B,) number of the prompt: equal for pairs of one prompt."""
    bootstrap: Tensor
    """(B, M) how often each member of an ensemble learns from the pair."""
    strength: Tensor
    """(B,) how much better the person found the chosen one: 1, 2 or 3; 0 if unknown."""
    category: Tensor
    """(B,) index of the prompt's category among the names."""
    category_names: tuple[str, ...]
    """Names of all categories."""


class Answer(NamedTuple):
    """A response to a prompt, as ids."""

    prompt: list[int]
    response: list[int]
    """With the thinking block that the chat template puts before it, if any."""


class Pair(NamedTuple):
    """An encoded comparison."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    weight: float
    row: Row

    @property
    def prompt_id(self) -> str:
        """The prompt's id as text."""
        return str(self.row["prompt_id"])


class Pairs:
    """Turns rows into pairs, and pairs into batches.

    Args:
        chat: The backbone's chat format.
        max_length, weighting: See `RewardConfig`.
        dropped: Counts what cannot be used, by reason.
    """

    def __init__(
        self, chat: ChatFormat, max_length: int, weighting: Literal["pair", "prompt"], dropped: Counter[str]
    ) -> None:
        self.chat, self.max_length, self.weighting, self.dropped = chat, max_length, weighting, dropped
        # The responses of a ranking come in many pairs, one after the other.
        self._answer = lru_cache(maxsize=64)(self._make_answer)
        self._prompts: dict[str, int] = {}
        self._categories: dict[str, int] = {}

    def encode(self, rows: Sequence[Row]) -> list[Pair]:
        """Return the pairs that fit and weigh something; rankings become all their pairs."""
        pairs: list[Pair] = []
        for start in range(0, len(rows), AHEAD):
            parts = [part for row in rows[start : start + AHEAD] for part in pairs_of(row)]
            self.chat.read_ahead({part[side] for part in parts for side in ("chosen", "rejected")})
            pairs += [pair for part in parts if (pair := self._encode(part))]
        self.chat.read_ahead(())
        for pair in pairs:
            self._prompts.setdefault(pair.prompt_id, len(self._prompts))
            self._categories.setdefault(pair.row["category"], len(self._categories))
        if self.weighting == "pair":
            return pairs
        weights = weigh_by_prompt([pair.prompt_id for pair in pairs], [pair.weight for pair in pairs])
        return [pair._replace(weight=weight) for pair, weight in zip(pairs, weights, strict=True)]

    def encode_demonstrations(self, rows: Sequence[Row]) -> list[Answer]:
        """Return prompt and last response of each conversation that fits."""
        found = [self._answer(_turns(row["messages"][:-1]), row["messages"][-1]["content"], None) for row in rows]
        return [answer for answer in found if isinstance(answer, Answer)]

    def batch(self, pairs: Sequence[Pair], bootstrap: Tensor) -> Comparisons:
        """Pad a batch; each different response becomes one row."""
        rows: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        index = []
        for pair in pairs:
            for response in (pair.chosen, pair.rejected):
                index.append(rows.setdefault((tuple(pair.prompt), tuple(response)), len(rows)))
        return Comparisons(
            self.pad([Answer(list(prompt), list(response)) for prompt, response in rows]),
            torch.tensor(index[::2], dtype=torch.long),
            torch.tensor(index[1::2], dtype=torch.long),
            target_p=torch.tensor([float(pair.row["target_p"]) for pair in pairs]),
            margin=torch.tensor([float(pair.row["margin"]) for pair in pairs]),
            weight=torch.tensor([pair.weight for pair in pairs]),
            prompt=torch.tensor([self._prompts[pair.prompt_id] for pair in pairs], dtype=torch.long),
            bootstrap=bootstrap,
            strength=torch.tensor([pair.row.get("strength") or 0 for pair in pairs], dtype=torch.long),
            category=torch.tensor([self._categories[pair.row["category"]] for pair in pairs], dtype=torch.long),
            category_names=tuple(self._categories),
        )

    def pad(self, answers: Sequence[Answer]) -> Sequences:
        """Return rows of prompt + response; the mask is True on the response."""
        return pad_rows(
            [[*prompt, *response] for prompt, response in answers],
            [[False] * len(prompt) + [True] * len(response) for prompt, response in answers],
            self.chat.pad_id,
        )

    def _encode(self, row: Row) -> Pair | None:
        turns = _turns(row["messages"])
        chosen, rejected = (self._answer(turns, row[side], end_reason(row, side)) for side in ("chosen", "rejected"))
        if isinstance(chosen, str) or isinstance(rejected, str):
            drop(self.dropped, chosen if isinstance(chosen, str) else str(rejected), row)
        elif row["weight"] <= 0:
            drop(self.dropped, WEIGHT_0, row)
        else:
            return _pair(chosen, rejected, row)
        return None

    def _make_answer(self, turns: _Turns, response: str, end_reason: str | None) -> Answer | str:
        """Return the ids, or why they cannot be used."""
        try:
            messages = [{"role": role, "content": content} for role, content in turns]
            prompt, opening, ids = self.chat.encode_answer(messages, response, end_reason)
        except DataError as error:
            return reason_of(error)
        answer = Answer(prompt.ids, opening + ids)
        return answer if len(answer.prompt) + len(answer.response) <= self.max_length else TOO_LONG


def micro_batches(batch: Comparisons, size: int) -> list[Tensor]:
    """Return indices of pairs (N,): whole prompts of similar length, so that each response takes one forward pass.

    A micro-batch holds as many responses as its number of pairs has sides, and on a CPU no more tokens than are quick.
    A prompt that alone has more is cut up.

    Args:
        batch: B pairs.
        size: Most pairs of a micro-batch.
    """
    quick = CPU_PASS_TOKENS if batch.weight.device.type == "cpu" else math.inf
    groups: dict[int, list[int]] = {}
    for index, prompt in enumerate(batch.prompt.tolist()):
        groups.setdefault(prompt, []).append(index)
    sides = torch.stack([batch.chosen, batch.rejected], dim=1)
    lengths = batch.sequences.lengths[sides].amax(1).tolist()
    pieces: list[list[int]] = []
    room = 0
    for group in sorted(groups.values(), key=lambda group: -max(lengths[i] for i in group)):
        needed = len(sides[group].unique())
        if needed > room:
            pairs = int(max(1, min(size, quick / (2 * max(lengths[i] for i in group)))))
            pieces += (
                [group[i : i + pairs] for i in range(0, len(group), pairs)] if needed > 2 * pairs else [list(group)]
            )
            room = max(0, 2 * pairs - needed)
        else:
            pieces[-1] += group
            room -= needed
    return [torch.tensor(piece, device=batch.weight.device) for piece in pieces]


def _pair(chosen: Answer, rejected: Answer, row: Row) -> Pair:
    """Pair two answers behind their shared prompt: templates may write another prompt for an answer with thoughts."""
    if chosen.prompt == rejected.prompt:
        return Pair(chosen.prompt, chosen.response, rejected.response, float(row["weight"]), row)
    both = zip(chosen.prompt, rejected.prompt, strict=False)
    shared = sum(1 for _ in takewhile(lambda tokens: tokens[0] == tokens[1], both))
    sides = [answer.prompt[shared:] + answer.response for answer in (chosen, rejected)]
    return Pair(chosen.prompt[:shared], sides[0], sides[1], float(row["weight"]), row)


def end_reason(row: Row, side: str) -> str | None:
    """Return how a response of a pair ended, see `RewardDataModule`."""
    return row.get(f"{side}_end_reason", row.get("end_reason"))


def _turns(messages: Sequence[Message]) -> _Turns:
    return tuple((message["role"], message["content"]) for message in messages)


def pairs_of(row: Row) -> list[Row]:
    """Return a comparison as it is; a ranking, ``{"responses": [...], "ranks": [...]}``, as its K (K - 1) / 2 pairs.

    Rank 1 is the best, equal ranks are ties. ``"end_reasons"`` may say of each response how it ended. A ranking's weight, 1 unless given, is that of each of its pairs.

    Raises:
        DataError: There are fewer than two responses, or not one rank each.
    """
    if "ranks" not in row:
        return [row]
    responses, ranks = row["responses"], row["ranks"]
    if len(responses) != len(ranks) or len(ranks) < 2:
        raise DataError(
            f"The ranking of prompt {row['prompt_id']} has {len(responses)} responses and {len(ranks)} ranks: give each "
            "of two or more responses one rank."
        )
    pairs = []
    for first, second in combinations(range(len(ranks)), 2):
        better, worse = (first, second) if ranks[first] <= ranks[second] else (second, first)
        found = {"chosen": responses[better], "rejected": responses[worse], "margin": 0.0}
        if "end_reasons" in row:
            sides = (("chosen", better), ("rejected", worse))
            found |= {f"{side}_end_reason": row["end_reasons"][index] for side, index in sides}
        found["target_p"] = 0.5 if ranks[first] == ranks[second] else 1.0
        pairs.append({"weight": 1.0} | dict(row) | found)
    return pairs


def offtopic_pairs(pairs: Sequence[Pair], share: float, max_length: int, seed: int) -> list[Pair]:
    """Make one more pair for a share of the prompts: a preferred response over the preferred one to another prompt.

    Comparisons within prompts leave open how a score depends on the prompt, so a policy may answer everything with what
    scores high somewhere. Such pairs close that gap and cost no label (Liu et al. 2024, "RRM").

    Args:
        pairs: Those of the training prompts.
        share: Of the prompts, drawn by the seed.
        max_length: Longest prompt + response; what would be longer is left out.
    """
    draw = random.Random(seed)
    by_prompt = {pair.prompt_id: pair for pair in draw.sample(pairs, len(pairs))}
    if len(by_prompt) < 2:
        return []
    found = []
    for prompt_id in draw.sample(sorted(by_prompt), round(share * len(by_prompt))):
        pair, other = by_prompt[prompt_id], draw.choice(pairs)
        while other.prompt_id == prompt_id:
            other = draw.choice(pairs)
        if other.chosen != pair.chosen and len(pair.prompt) + len(other.chosen) <= max_length:
            row = dict(pair.row) | {"target_p": 1.0, "margin": 0.0, "strength": None}
            found.append(pair._replace(rejected=other.chosen, row=row))
    return found


def weigh_by_prompt(prompts: Sequence[str], weights: Sequence[float]) -> list[float]:
    """Scale weights so that each prompt's sum to 1: with K ranked responses, 1 / C(K, 2) a pair (InstructGPT)."""
    totals: dict[str, float] = {}
    for prompt, weight in zip(prompts, weights, strict=True):
        totals[prompt] = totals.get(prompt, 0.0) + weight
    return [weight / totals[prompt] for prompt, weight in zip(prompts, weights, strict=True)]


def bootstrap_weights(prompts: Sequence[str], members: int, seed: int) -> Tensor:
    """Draw how often each ensemble member learns from each pair, (N, M): all pairs of a prompt alike, Poisson, mean 1.

    Pairs of one prompt say much the same, so it is prompts that are drawn. One member alone sees everything once.
    """
    if members == 1:
        return torch.ones(len(prompts), 1)
    numbers = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts))}
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.poisson(torch.ones(len(numbers), members), generator=generator)
    return drawn[[numbers[prompt] for prompt in prompts]]
