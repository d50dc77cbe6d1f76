"""Gathers what others are to label: pairs, rankings, or prompts to answer; blind, in the order they will be shown.

A task holds texts and the metadata that joins its answer to our comparison. It holds no name of a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlite_utils import Database

from studio.errors import DataError
from studio.preferences import comparisons, elsewhere, prompts
from studio.preferences.prompts import Messages

What = Literal["pairs", "rankings", "prompts"]
WHAT: tuple[What, ...] = ("pairs", "rankings", "prompts")
NAMES = {"system": "System", "user": "Human", "assistant": "Assistant"}
NOTHING = {
    "pairs": "There are no pairs without a judgement. Sample some, or include what is judged already (in the terminal: --all).",
    "rankings": "There are no rankings without a judgement. Sample three or more answers a prompt, or include what is judged already (in the terminal: --all).",
    "prompts": "There are no training prompts without a demonstration. Import prompts, or include what is answered already (in the terminal: --all).",
}


@dataclass(frozen=True)
class Task:
    """One item for a rater.

    Attributes:
        what: pairs, rankings or prompts.
        id: of the comparison; of the prompt where there are no responses.
        messages: the conversation that the responses answer.
        texts: the responses in the order they will be shown.
        metadata: the keys of `elsewhere`.
    """

    what: What
    id: int
    messages: Messages
    texts: tuple[str, ...]
    metadata: dict[str, str]

    @property
    def prompt(self) -> str:
        """The conversation as one text; the user's turn alone where there is no other."""
        return plain(self.messages)

    @property
    def key(self) -> str:
        """The name of the task, the same in every export."""
        return self.metadata.get(elsewhere.COMPARISON) or f"p-{self.metadata[elsewhere.PROMPT]}"


def gather(
    db: Database, what: What, *, is_all: bool = False, run: str | None = None, limit: int | None = None
) -> list[Task]:
    """Return the tasks, oldest first; the order of responses is stored before this returns.

    Args:
        db: an open transaction.
        what: pairs, rankings, or prompts.
        is_all: also what is judged or answered already.
        run: only comparisons of this sampling run.
        limit: at most this many.

    Raises:
        DataError: there are none.
    """
    if what == "prompts":
        found = prompts.list_unanswered(db, is_all=is_all, limit=limit)
        tasks = [Task(what, key, messages, (), elsewhere.send_prompt(db, key)) for key, messages in found]
    else:
        is_ranking = what == "rankings"
        ids = comparisons.list_to_label(db, is_ranking=is_ranking, is_all=is_all, run=run, limit=limit)
        sent = [elsewhere.send(db, comparison_id) for comparison_id in ids]
        tasks = [Task(what, s.comparison_id, s.messages, s.texts, metadata) for s, metadata in sent]
    if not tasks:
        raise DataError(NOTHING[what])
    return tasks


def plain(messages: Sequence[dict[str, str]]) -> str:
    """Return a conversation as one text, each turn after its role; a single turn of the user as it is."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{NAMES[turn['role']]}: {turn['content']}" for turn in messages)
