"""What a run will train on, seen before it starts: the chat template, examples as tokens with the taught ones marked, what is dropped.

The examples come out of the very data module that the run would build.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from modules.chat import ChatFormat, Encoded
from modules.config import PPOConfig, RewardConfig, SFTConfig, TrainConfig
from modules.stage_data import Rows, num_given, ppo_data, refusal, reward_data, sft_data

NUM_EXAMPLES = 3

Part = Literal["read", "taught", "scored"]
"""What is done with a token: it is context, the loss is taken on it, or the score is read at it."""


_READ: list[Part] = ["read"]
_SCORED: list[Part] = ["scored"]


class Token(NamedTuple):
    """One token as it reads inside its text."""

    text: str
    part: Part


class Example(NamedTuple):
    """One row as the model gets it."""

    title: str
    tokens: list[Token]
    rest: str = ""
    """What follows the tokens, in words."""


class Span(NamedTuple):
    """A stretch of an example's text."""

    text: str
    is_taught: bool


class Preview(NamedTuple):
    """What a run would train on."""

    template: str
    """``own``, ``chatml`` or ``plain``."""
    examples: list[Example]
    """The first rows, special tokens included."""
    num_rows: int
    """Training rows that are kept."""
    num_tokens: int
    """Their tokens."""
    num_taught: int
    """Those of them the loss is taken on; comparisons teach by their scores and prompts by what follows them."""
    longest: int
    """Tokens of the longest kept text; of PPO with the longest response."""
    dropped: dict[str, int]
    """Reason to rows left out, held-out ones too."""
    given: int
    """All rows."""
    refusal: str
    """Why a run would not start; empty where it would."""


def preview(config: TrainConfig, rows: Rows, chat: ChatFormat) -> Preview:
    """Encode as the run would.

    Args:
        config: Of a stage that trains.
        rows: Part to its rows, as `studio.stages.prepare` gives them.
        chat: The base model's chat format.

    Raises:
        DataError: No row is left.
    """
    match config:
        case SFTConfig():
            examples, texts, num_taught, dropped = _sft(config, rows, chat)
        case RewardConfig():
            examples, texts, num_taught, dropped = _reward(config, rows, chat)
        case PPOConfig():
            examples, texts, num_taught, dropped = _ppo(config, rows, chat)
        case _:
            raise TypeError(f"nothing is trained with {type(config).__name__}")
    given = num_given(config, rows)
    longest = max(map(len, texts)) + (config.max_new_tokens if isinstance(config, PPOConfig) else 0)
    num_tokens = sum(map(len, texts))
    refused = refusal(config, sum(dropped.values()), given)
    num_rows = len(texts) // 2 if isinstance(config, RewardConfig) else len(texts)
    return Preview(chat.template, examples, num_rows, num_tokens, num_taught, longest, dropped, given, refused)


def spans(chat: ChatFormat, encoded: Encoded) -> list[Span]:
    """The text of a conversation in stretches that are taught as a whole or not at all."""
    bounds = [i for i in range(1, len(encoded.ids)) if encoded.mask[i] != encoded.mask[i - 1]]
    found, before = [], ""
    for end in [*bounds, len(encoded.ids)]:
        text = chat.decode_prompt(encoded.ids[:end])  # from the start, since some tokenizers drop a leading space
        found.append(Span(text[len(before) :], encoded.mask[end - 1]))
        before = text
    return found


_Found = tuple[list[Example], Sequence[Sequence[int]], int, dict[str, int]]


def _sft(config: SFTConfig, rows: Rows, chat: ChatFormat) -> _Found:
    data = sft_data(config, rows, chat)
    examples = [
        Example(
            f"Demonstration {number}",
            # Nothing predicts a text's first token, so it is never taught.
            _tokens(chat, row.ids, ["taught" if taught and i else "read" for i, taught in enumerate(row.mask)]),
        )
        for number, row in enumerate(data.rows[:NUM_EXAMPLES], start=1)
    ]
    num_taught = sum(sum(row.mask[1:]) for row in data.rows)
    return examples, [row.ids for row in data.rows], num_taught, dict(data.dropped)


def _reward(config: RewardConfig, rows: Rows, chat: ChatFormat) -> _Found:
    data = reward_data(config, rows, chat)
    examples: list[Example] = []
    for number, pair in enumerate(data.rows[:NUM_EXAMPLES], start=1):
        tie = float(pair.row["target_p"]) == 0.5
        for side, ids in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            parts = _READ * (len(pair.prompt) + len(ids) - 1) + _SCORED
            title = f"Pair {number}, {'tied' if tie else side}"
            examples.append(Example(title, _tokens(chat, [*pair.prompt, *ids], parts)))
    texts = [[*pair.prompt, *ids] for pair in data.rows for ids in (pair.chosen, pair.rejected)]
    return examples, texts, 0, dict(data.dropped)


def _ppo(config: PPOConfig, rows: Rows, chat: ChatFormat) -> _Found:
    data = ppo_data(config, rows, chat)
    examples = [
        Example(
            f"Prompt {number}",
            _tokens(chat, ids, _READ * len(ids)),
            f"the policy answers from here, with at most {config.max_new_tokens} tokens, which are all taught",
        )
        for number, ids in enumerate(data.prompts[:NUM_EXAMPLES], start=1)
    ]
    return examples, list(data.prompts), 0, dict(data.dropped)


def _tokens(chat: ChatFormat, ids: Sequence[int], parts: Sequence[Part]) -> list[Token]:
    return [Token(chat.token_text(token), part) for token, part in zip(ids, parts, strict=True)]
