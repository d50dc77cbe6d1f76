"""What a person makes of answers in a conversation: a rating, a demonstration, a prompt.

The turns before an answer, with the system prompt it was given under, are the prompt; both answers of a pair have the same one.
What is stored is what Rate stores (responses with their checkpoint and sampling, a comparison, the order on the screen, an event), so
the reward model trains on it.
"""

import json
import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any, Literal

from sqlite_utils import Database

from studio.chat import turns
from studio.chat.conversations import Conversation
from studio.chat.resident import Resident
from studio.chat.turns import Turn
from studio.errors import RatingError
from studio.models import checkpoints
from studio.preferences import comparisons, edits, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.preferences.ratings import Rating
from studio.preferences.vocabulary import PairOutcome

RATER = "person"
ALIKE = "Both answers are the same, so there is nothing to choose."
ENDS: dict[str | None, Literal["eos", "length"]] = {"eos": "eos", "stop": "eos"}
"""End reason of an answer to that of a response; any other answer has no end token, as one at the length limit."""


def vote(
    db: Database,
    turn_ids: Sequence[int],
    outcome: PairOutcome,
    *,
    strength: int | None = None,
    uuid: str | None = None,
    elapsed_ms: int | None = None,
) -> Rating:
    """Record which of two answers is better, or replace what was said before; returns the rating.

    Args:
        db: in a transaction.
        turn_ids: the answers of one attempt, in the order shown.
        outcome: by that order.
        strength: 1 slightly, 2, 3 much better; only with left or right.
        uuid: of the client's press; the same uuid again returns the rating recorded first.
        elapsed_ms: from the end of both answers to the press.

    Raises:
        RatingError: they are not two answers to the same, one has not ended, they are equal, or this was said already.
        CheckpointError: a checkpoint is gone.
    """
    left, right = _pair(db, turn_ids)
    showing_id = turns.judged_on(db, left.id)
    if showing_id is None:
        prompt_id = _prompt(db, left)
        shown = [_response(db, prompt_id, each) for each in (left, right)]
        comparison_id = comparisons.add_comparison(db, prompt_id, shown)
        comparison_id = comparison_id or comparisons.find_comparison(db, prompt_id, shown)
        assert comparison_id is not None
        showing_id = comparisons.add_showing(db, comparison_id, RATER, order=shown)
        turns.judge(db, left.id, right.id, showing_id)
    counting = ratings.of_showing(db, showing_id)
    if counting is None or (uuid and ratings.find_event(db, uuid)):
        return ratings.record(db, showing_id, outcome, strength=strength, uuid=uuid, elapsed_ms=elapsed_ms)
    return ratings.correct(db, counting.id, outcome, strength=strength)


def held_out(db: Database, rating: Rating) -> str:
    """Return in a sentence that a judgement is on a held-out prompt, which trains nothing; empty for one to train on."""
    split = comparisons.split_of(db, rating.comparison_id)
    return "" if split == "train" else f"Its prompt is held out ({split}): it measures models and trains none."


def verdict(db: Database, answers: Sequence[Turn]) -> Rating | None:
    """Return the rating of an attempt's two answers that counts, or None."""
    showing_id = turns.judged_on(db, answers[0].id) if len(answers) == 2 else None
    return ratings.of_showing(db, showing_id) if showing_id is not None else None


def is_hidden(db: Database, conversation: Conversation, answers: Sequence[Turn]) -> bool:
    """Return whether it must not be told which checkpoint gave which answer: two that nobody has judged yet."""
    return conversation.settings.is_blind and len(answers) == 2 and verdict(db, answers) is None


def score(db: Database, resident: Resident, turn_ids: Sequence[int]) -> str:
    """Return in words what the newest reward model says of two answers that were judged; empty where there is none.

    Raises:
        RatingError: they were not judged yet: a vote must not be told what the model thinks.
        StudioError: the model cannot be asked.
    """
    reward = checkpoints.newest(db, "reward")
    if reward is None:
        return ""
    answers = _pair(db, turn_ids)
    if verdict(db, answers) is None:
        raise RatingError("Judge the two answers first.")
    messages = turns.messages(db, answers[0].parent_id or 0, answers[0].system)
    texts, ends = [each.text.strip() for each in answers], [ENDS.get(each.end_reason, "length") for each in answers]
    first, second = (fmean(members) for members in resident.score(reward.name, messages, texts, ends))
    better, share = ("left", _sigmoid(first - second)) if first >= second else ("right", _sigmoid(second - first))
    return f"{reward.name} gives the {better} answer {share:.0%} (scores {first:.2f} and {second:.2f})."


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def is_pair(answers: Sequence[Turn]) -> bool:
    """Return whether these are two answers that can be judged: both have ended, and they differ."""
    return _are_two(answers) and answers[0].text.strip() != answers[1].text.strip()


def is_alike(answers: Sequence[Turn]) -> bool:
    """Return whether these are two answers that have ended and are the same, so that there is nothing to choose."""
    return _are_two(answers) and answers[0].text.strip() == answers[1].text.strip()


def _are_two(answers: Sequence[Turn]) -> bool:
    ended = [each for each in answers if each.checkpoint and each.end_reason not in (None, "failed", "written")]
    return len(ended) == len(answers) == 2


def demonstrate(db: Database, turn_id: int, text: str, *, uuid: str) -> Rating | None:
    """Store what an answer should have been: a demonstration, and a preference over the answer, whose rating is returned.

    A text that is the answer itself, or that a person wrote, is a demonstration only; None is returned then.

    Raises:
        RatingError: it is not an answer.
        DataError: the text is empty.
        CheckpointError: the answer's checkpoint is gone.
    """
    answer = turns.turn(db, turn_id)
    if answer.role != "assistant" or answer.parent_id is None:
        raise RatingError("Only an answer can be turned into a demonstration.")
    text = turns.checked(text)
    if answer.checkpoint is None or edits.bare(text) == edits.bare(answer.text):
        prompts.add_demonstration(db, turns.messages(db, answer.parent_id, answer.system), text)
        return None
    prompt_id = _prompt(db, answer)
    return edits.prefer_ideal(db, prompt_id, _response(db, prompt_id, answer), text, uuid=uuid)


def add_prompt(db: Database, turn_id: int) -> tuple[int, bool]:
    """Add what was asked here, with all before it, to the prompts; returns the prompt's id and whether it is new."""
    asked = turns.turn(db, turn_id)
    answers = turns.attempt(db, asked.id, turns.last_attempt(db, asked.id))
    messages = turns.messages(db, asked.id, answers[0].system if answers else "")
    before = prompts.last(db)
    prompt_id = prompts.add_prompt(db, NewPrompt(messages))
    return prompt_id, prompt_id > before


def _pair(db: Database, turn_ids: Sequence[int]) -> tuple[Turn, Turn]:
    found = [turns.turn(db, each) for each in turn_ids]
    if len(found) != 2 or len({(each.parent_id, each.attempt) for each in found}) > 1 or found[0].id == found[1].id:
        raise RatingError("A vote is between the two answers of one attempt.")
    if not all(each.checkpoint for each in found):
        raise RatingError("An answer that a person wrote is not compared; it can be made a demonstration.")
    if any(each.end_reason is None or each.end_reason == "failed" for each in found):
        raise RatingError("An answer has not come to its end. Stop it, continue it, or ask for another attempt.")
    if found[0].text.strip() == found[1].text.strip():
        raise RatingError(ALIKE)
    left, right = sorted(found, key=lambda each: each.place or 0)
    return left, right


def _prompt(db: Database, answer: Turn) -> int:
    assert answer.parent_id is not None
    return prompts.add_prompt(db, NewPrompt(turns.messages(db, answer.parent_id, answer.system)))


def _response(db: Database, prompt_id: int, answer: Turn) -> int:
    """Return the response that an answer is, storing it at its first judgement."""
    if answer.response_id is not None:
        return answer.response_id
    facts: dict[str, Any] = {
        "checkpoint_id": checkpoints.id_of(db, str(answer.checkpoint)),
        "sampling": json.dumps(answer.sampling.model_dump() | {"conversation": answer.conversation_id, "end": answer.end_reason}),
        "end_reason": ENDS.get(answer.end_reason, "length"),
    }  # fmt: skip
    response_id = prompts.add_response(db, prompt_id, answer.text.strip(), "sample", **facts)
    turns.became(db, answer.id, response_id)
    return response_id
