"""What SFT will teach, seen before it starts: the chat template, an example with the taught part marked, and what is dropped."""

from collections.abc import Sequence
from typing import NamedTuple

from modules.chat import ChatFormat, Encoded
from modules.data import Row, SFTDataModule


class Span(NamedTuple):
    """A stretch of an example's text."""

    text: str
    is_taught: bool


class Preview(NamedTuple):
    """What a run would train on."""

    template: str
    """``own``, ``chatml`` or ``plain``."""
    example: list[Span]
    """The first demonstration as the model reads it, special tokens included."""
    num_rows: int
    """Training demonstrations that are kept."""
    num_tokens: int
    """Their tokens."""
    num_taught: int
    """Those of them the loss is taken on."""
    dropped: dict[str, int]
    """Reason to demonstrations left out, held-out ones too."""


def preview(rows: Sequence[Row], validation_rows: Sequence[Row], chat: ChatFormat, *, max_length: int) -> Preview:
    """Encode as the run would; arguments as of `SFTDataModule`.

    Raises:
        DataError: No demonstration is left.
    """
    data = SFTDataModule(rows, validation_rows, chat, max_length=max_length)
    return Preview(
        chat.template,
        spans(chat, data.rows[0]),
        len(data.rows),
        sum(len(row.ids) for row in data.rows),
        sum(sum(row.mask[1:]) for row in data.rows),
        dict(data.dropped),
    )


def spans(chat: ChatFormat, encoded: Encoded) -> list[Span]:
    """The text of a conversation in stretches that are taught as a whole or not at all."""
    bounds = [i for i in range(1, len(encoded.ids)) if encoded.mask[i] != encoded.mask[i - 1]]
    found, before = [], ""
    for end in [*bounds, len(encoded.ids)]:
        text = chat.decode_prompt(encoded.ids[:end])  # from the start, since some tokenizers drop a leading space
        found.append(Span(text[len(before) :], encoded.mask[end - 1]))
        before = text
    return found
