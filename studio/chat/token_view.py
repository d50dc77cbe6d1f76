"""Shows answers that were judged token by token: how likely the checkpoint that gave one finds each, and the other one of the pair.

The resident process reads the text again, in the tokens into which the checkpoint's tokenizer cuts it. Nothing is stored.
"""

from typing import NamedTuple

from sqlite_utils import Database

from studio.chat import judging, turns
from studio.chat.resident import Resident
from studio.errors import RatingError, StudioError
from studio.preferences.prompts import Messages


class TokenView(NamedTuple):
    """An answer token by token; log-probabilities are in nats, at temperature 1."""

    checkpoint: str
    """That gave the answer."""
    texts: list[str]
    logprobs: list[float]
    other: str
    """The checkpoint that gave the other answer."""
    other_logprobs: list[float]
    """Of the same tokens under it; empty where there are none."""
    why_none: str
    """The reason for that."""
    note: str
    """What a reader must know of the tokens; empty where they are those that were sampled."""

    @property
    def differences(self) -> list[float]:
        """Log-probability under the other checkpoint minus that under its own, of each token that has both."""
        return [there - here for here, there in zip(self.logprobs, self.other_logprobs, strict=False)]


class Judged(NamedTuple):
    """An answer that was judged, as a checkpoint reads it."""

    checkpoint: str
    other: str
    """The checkpoint that gave the other answer."""
    messages: Messages
    text: str
    end_reason: str
    num_tokens: int | None
    """That were sampled."""


def judged(db: Database, turn_id: int) -> Judged:
    """Return an answer of a pair that was judged.

    Raises:
        RatingError: it is not one of two answers, or they were not judged yet: a vote must not be told what a model thinks.
    """
    answer = turns.turn(db, turn_id)
    pair = turns.attempt(db, answer.parent_id or 0, answer.attempt or 0)
    if len(pair) != 2 or not answer.checkpoint:
        raise RatingError("Tokens are shown of two answers that were compared. Ask two checkpoints the same.")
    if judging.verdict(db, pair) is None:
        raise RatingError("Judge the two answers first.")
    other = next(str(each.checkpoint) for each in pair if each.id != turn_id)
    messages = turns.messages(db, answer.parent_id or 0, answer.system)
    end_reason = "eos" if answer.end_reason == "eos" else "length"
    return Judged(answer.checkpoint, other, messages, answer.text, end_reason, answer.num_tokens)


def read(resident: Resident, answer: Judged) -> TokenView:
    """Return a judged answer token by token.

    Raises:
        StudioError: its checkpoint cannot be asked.
    """
    found = resident.read_text(answer.checkpoint, answer.messages, answer.text, answer.end_reason)
    texts, logprobs = [text for text, _ in found], [logprob for _, logprob in found]
    there, why_none = _under_other(resident, answer, texts)
    note = ""
    if answer.num_tokens not in (None, len(texts)):
        note = f"{answer.num_tokens:,} tokens were sampled; the text is cut into {len(texts):,} here, so numbers can differ a little."
    return TokenView(answer.checkpoint, texts, logprobs, answer.other, there, why_none, note)


def lines(view: TokenView) -> list[str]:
    """Return the table of an answer's tokens for the terminal."""
    head = f"{view.checkpoint:>12}" + (f"{view.other:>14}{'difference':>12}" if view.differences else "")
    rows = [f"{logprob:>12.3f}" for logprob in view.logprobs]
    for at, (there, difference) in enumerate(zip(view.other_logprobs, view.differences, strict=True)):
        rows[at] += f"{there:>14.3f}{difference:>+12.3f}"
    total = f"{sum(view.logprobs):.4g} in all under {view.checkpoint}"
    if view.differences:
        total += f", {sum(view.other_logprobs):.4g} under {view.other}"
    found = [head, *(f"{row}  {text!r}" for row, text in zip(rows, view.texts, strict=True))]
    return [*found, f"Log-probabilities at temperature 1: {total}.", *filter(None, (view.why_none, view.note))]


def _under_other(resident: Resident, answer: Judged, texts: list[str]) -> tuple[list[float], str]:
    """Return the tokens' log-probabilities under the other checkpoint, or the reason for there being none."""
    try:
        found = resident.read_text(answer.other, answer.messages, answer.text, answer.end_reason)
    except StudioError as error:
        return [], str(error)
    if [text for text, _ in found] != texts:
        return [], f"{answer.other} cuts texts into other tokens, so its numbers cannot be compared with these."
    return [logprob for _, logprob in found], ""
