"""Preview of a run's data: the chat template, examples as tokens with the taught ones marked, what is dropped.

The examples come from the same data module that the run would build.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from modules.config import DPOConfig, PPOConfig, RewardConfig, SFTConfig, TrainConfig, VotesConfig
from modules.data.chat import ChatFormat, Encoded
from modules.data.datamodules import RewardDataModule, Row
from modules.data.dropped import Dropped
from modules.data.stages import Rows, dpo_data, num_given, ppo_data, refusal, reward_data, sft_data

NUM_EXAMPLES = 3
PARTS = ("train", "validation", "demonstrations", "ptx")

Part = Literal["read", "taught", "scored"]
"""Use of a token: it is context, the loss is taken on it, or the score is read at it."""


_READ: list[Part] = ["read"]
_TAUGHT: list[Part] = ["taught"]
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
    """Words on what follows the tokens."""


class Span(NamedTuple):
    """A stretch of an example's text."""

    text: str
    is_taught: bool


class Preview(NamedTuple):
    """Data of a run before it starts."""

    template: str
    """``own``, ``chatml`` or ``plain``."""
    examples: list[Example]
    """The first rows, special tokens included."""
    num_rows: int
    """Training rows that are kept."""
    num_tokens: int
    """Tokens of these rows."""
    num_taught: int
    """Tokens the loss is taken on; comparisons teach by their scores and prompts by what follows them."""
    longest: int
    """Tokens of the longest kept text; of PPO with the longest response."""
    dropped: dict[str, int]
    """Reason to rows left out, held-out ones too."""
    left_out: dict[str, str]
    """Reason to the beginning of such a row."""
    given: int
    """All rows."""
    refusal: str
    """Reason why a run would not start; empty where it would."""
    remarks: list[str]
    """Sentences for a person on how the template treats these rows."""


def preview(config: TrainConfig, rows: Rows, chat: ChatFormat) -> Preview:
    """Encode as the run would.

    Args:
        config: Of a stage that trains.
        rows: Part to its rows, as `studio.runs.prepare.resolve` gives them.
        chat: The base model's chat format.

    Raises:
        DataError: No row is left.
    """
    match config:
        case SFTConfig():
            found = _sft(config, rows, chat)
        case RewardConfig():
            found = _pairs(reward_data(config, rows, chat), chat, is_taught=False)
        case DPOConfig():
            found = _pairs(dpo_data(config, rows, chat), chat, is_taught=True)
        case PPOConfig():
            found = _ppo(config, rows, chat)
        case _:
            raise TypeError(f"nothing is trained with {type(config).__name__}")
    examples, texts, num_taught, dropped, num_unlearnt = found
    given = num_given(config, rows)
    longest = max(map(len, texts)) + (config.max_new_tokens if isinstance(config, PPOConfig) else 0)
    num_tokens = sum(map(len, texts))
    refused = refusal(config, dropped, given)
    remarks = [*chat.remarks(), *_remarks(rows, chat, num_unlearnt)]
    num_rows = len(texts) // 2 if isinstance(config, VotesConfig) else len(texts)
    return Preview(
        template=chat.template,
        examples=examples,
        num_rows=num_rows,
        num_tokens=num_tokens,
        num_taught=num_taught,
        longest=longest,
        dropped=dict(dropped),
        left_out=dropped.examples,
        given=given,
        refusal=refused,
        remarks=remarks,
    )


def spans(chat: ChatFormat, encoded: Encoded) -> list[Span]:
    """Cut the text of a conversation into stretches that are taught as a whole or not at all."""
    bounds = [i for i in range(1, len(encoded.ids)) if encoded.mask[i] != encoded.mask[i - 1]]
    found, before = [], ""
    for end in [*bounds, len(encoded.ids)]:
        text = chat.decode_prompt(encoded.ids[:end])  # from the start, since some tokenizers drop a leading space
        found.append(Span(text[len(before) :], encoded.mask[end - 1]))
        before = text
    return found


_Found = tuple[list[Example], Sequence[Sequence[int]], int, Dropped, int]


def _remarks(rows: Rows, chat: ChatFormat, num_unlearnt: int) -> list[str]:
    """Tell what is done to some of the rows, with their numbers."""
    found = []
    if num_unlearnt:
        found.append(
            f"{num_unlearnt:,} earlier answers are read but not taught, since the chat template does not write them as "
            "it asks for them."
        )
    every = [row for part in PARTS for row in rows(part) if "ids" not in row]
    typed = [token for row in every if (met := chat.controls.met("\n".join(_texts_of(row)))) for token in met[:1]]
    if typed:
        found.append(
            f"{len(typed):,} rows contain a control token typed as text, such as {typed[0]}; it is read as ordinary text and "
            "steers nothing."
        )
    num_thinking = sum(any(map(chat.brings_thought, _answers_of(row))) for row in every)
    if num_thinking:
        found.append(
            f"{num_thinking:,} rows have a thinking block of their own, which is used instead of the chat template's; "
            "sampling and PPO let the model answer without thinking."
        )
    return found


def _texts_of(row: Row) -> list[str]:
    return [*(turn["content"] for turn in row.get("messages", [])), *_answers_of(row)]


def _answers_of(row: Row) -> list[str]:
    """Return what would be taught or judged: a comparison's responses, or a demonstration's last turn."""
    given = [*(row[side] for side in ("chosen", "rejected") if side in row), *row.get("responses", [])]
    last = [turn["content"] for turn in row.get("messages", [])[-1:] if turn["role"] == "assistant"]
    return given or last


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
    num_unlearnt = sum(row.num_unlearnt for row in data.rows)
    return examples, [row.ids for row in data.rows], num_taught, data.dropped, num_unlearnt


def _pairs(data: RewardDataModule, chat: ChatFormat, *, is_taught: bool) -> _Found:
    """Show both sides of pairs, whose responses are scored at their last token, or compared token by token."""
    examples: list[Example] = []
    for number, pair in enumerate(data.rows[:NUM_EXAMPLES], start=1):
        tie = float(pair.row["target_p"]) == 0.5
        for side, ids in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            own = _TAUGHT * len(ids) if is_taught else _READ * (len(ids) - 1) + _SCORED
            parts = _READ * len(pair.prompt) + own
            title = f"Pair {number}, {'tied' if tie else side}"
            examples.append(Example(title, _tokens(chat, [*pair.prompt, *ids], parts)))
    texts = [[*pair.prompt, *ids] for pair in data.rows for ids in (pair.chosen, pair.rejected)]
    num_taught = sum(len(pair.chosen) + len(pair.rejected) for pair in data.rows) if is_taught else 0
    return examples, texts, num_taught, data.dropped, 0


def _ppo(config: PPOConfig, rows: Rows, chat: ChatFormat) -> _Found:
    data = ppo_data(config, rows, chat)
    examples = [
        Example(
            f"Prompt {number}",
            _tokens(chat, ids, _READ * len(ids)),
            f"the policy answers from here, with at most {config.max_new_tokens} tokens, all of which are taught",
        )
        for number, ids in enumerate(data.prompts[:NUM_EXAMPLES], start=1)
    ]
    return examples, list(data.prompts), 0, data.dropped, 0


def _tokens(chat: ChatFormat, ids: Sequence[int], parts: Sequence[Part]) -> list[Token]:
    return [Token(chat.token_text(token), part) for token, part in zip(ids, parts, strict=True)]
