"""Conversations with one or two checkpoints: the owner of the table `conversations`.

A conversation is a tree of turns. An edit, another attempt at an answer and a fork begin a new branch, so what was said before
stays. Answers that are asked together are an attempt; the conversation goes on from one of them, which both checkpoints then
read, so that the next two answers can be compared as well. A turn is stored before a model is asked, and an answer with what
there is of it, so nothing that was said is lost when a process is killed.
"""

import json
import random
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlite_utils import Database

from studio.chat import turns
from studio.chat.protocol import Sampling
from studio.chat.turns import LONGEST_TEXT, Turn
from studio.errors import DataError
from studio.preferences import text_search
from studio.workspace import now

MOST_SIDES = 2
TITLE = 60
"""Characters of the first turn that name a conversation."""
LONGEST_TITLE = 200
SEEDS = 2**63


class Settings(BaseModel):
    """What the next answers of a conversation are asked with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoints: Annotated[tuple[str, ...], Field(max_length=MOST_SIDES)] = ()
    """Names of one or two checkpoints."""
    system: Annotated[str, Field(max_length=LONGEST_TEXT)] = ""
    """The system prompt."""
    sampling: Sampling = Sampling()
    is_blind: bool = False
    """Hide which checkpoint an answer is of until it is judged; their order is then drawn for each attempt."""


@dataclass(frozen=True)
class Conversation:
    """A conversation; its turns are read by `exchanges`."""

    id: int
    title: str
    settings: Settings
    leaf_id: int | None
    """The turn at whose branch it opens; None while nothing is said."""
    created_at: str
    changed_at: str


@dataclass(frozen=True)
class Exchange:
    """A turn of the person on a branch, and the attempt at an answer that was shown last."""

    asked: Turn
    versions: list[int]
    """Turns that are edits of each other, this one among them; oldest first."""
    answers: list[Turn]
    """Of one attempt, by place; empty where nothing was answered yet."""
    attempts: list[int]
    """Numbers of all attempts, in their order."""
    chosen: int | None
    """The answer from which the conversation goes on."""


def start(db: Database, settings: Settings) -> int:
    """Begin a conversation and return its id.

    Raises:
        DataError: no checkpoint, or twice the same.
    """
    _check(settings)
    at = now()
    made = db.execute(
        "INSERT INTO conversations (title, settings, created_at, changed_at) VALUES ('', ?, ?, ?)",
        [settings.model_dump_json(), at, at],
    )
    return turns.read_id(made)


def configure(db: Database, conversation_id: int, settings: Settings) -> None:
    """Ask the next answers with these settings; answers that are there keep theirs.

    Raises:
        DataError: there is no such conversation, or as `start`.
    """
    _check(settings)
    get(db, conversation_id)
    db.execute(
        "UPDATE conversations SET settings = ? WHERE id = ?",
        [settings.model_dump_json(), conversation_id],
    )


def get(db: Database, conversation_id: int) -> Conversation:
    """Return a conversation.

    Raises:
        DataError: there is none with this id.
    """
    row = next(db.query("SELECT * FROM conversations WHERE id = ?", [conversation_id]), None)
    if row is None:
        raise DataError(f"There is no conversation {conversation_id}. It may have been deleted; see: rlhf-studio chats")
    return _of_row(row)


def find(db: Database, search: str = "", *, limit: int = 50, offset: int = 0) -> list[Conversation]:
    """Return conversations, the one that was changed last first; with `search`, those that hold this text in any case."""
    text_search.add_functions(db)
    rows = db.query(
        "SELECT * FROM conversations c WHERE :search = '' OR holds(title, :search) OR EXISTS"
        " (SELECT 1 FROM turns t WHERE t.conversation_id = c.id AND holds(t.text, :search))"
        " ORDER BY changed_at DESC, leaf_id DESC, id DESC LIMIT :limit OFFSET :offset",
        {"search": text_search.fold(search.strip()), "limit": limit, "offset": offset},
    )
    return [_of_row(row) for row in rows]


def rename(db: Database, conversation_id: int, title: str) -> None:
    """Give a conversation another title.

    Raises:
        DataError: there is no such conversation, or the title is empty or too long.
    """
    get(db, conversation_id)
    title = " ".join(title.split())
    if not 0 < len(title) <= LONGEST_TITLE:
        raise DataError(f"A title has 1 to {LONGEST_TITLE} characters; this one has {len(title)}.")
    db.execute("UPDATE conversations SET title = ? WHERE id = ?", [title, conversation_id])


def delete(db: Database, conversation_id: int) -> None:
    """Remove a conversation with its turns. Ratings, demonstrations and prompts that were made from it stay.

    Raises:
        DataError: there is no such conversation.
    """
    get(db, conversation_id)
    turns.delete_all(db, conversation_id)
    db.execute("DELETE FROM conversations WHERE id = ?", [conversation_id])


def say(db: Database, conversation_id: int, text: str, parent_id: int | None = None) -> int:
    """Store what the person says, after this answer or as the first turn; returns the turn's id.

    Raises:
        DataError: the text is empty or too long, or it does not follow an answer of this conversation that has ended.
    """
    found = get(db, conversation_id)
    text = turns.checked(text)
    if parent_id is not None:
        _check_parent(turns.turn(db, parent_id), conversation_id)
    if not found.title:
        title = " ".join(text.split())
        title = title if len(title) <= TITLE else f"{title[:TITLE].rstrip()} …"
        db.execute("UPDATE conversations SET title = ? WHERE id = ?", [title, conversation_id])
    return _add(db, conversation_id, parent_id, "user", text)


def ask(db: Database, turn_id: int) -> list[Turn]:
    """Store a new attempt at an answer, empty yet, by each checkpoint of the conversation; they share a seed.

    The first attempt has the conversation's seed, each further one the next seed.

    Raises:
        DataError: it is not a turn of the person.
    """
    asked = turns.turn(db, turn_id)
    if asked.role != "user":
        raise DataError("Only a person's turn can be answered.")
    settings = get(db, asked.conversation_id).settings
    attempt = turns.last_attempt(db, turn_id) + 1
    seed = (settings.sampling.seed + attempt - 1) % SEEDS
    facts = {"system": settings.system, "sampling": settings.sampling.model_copy(update={"seed": seed}).model_dump()}
    names = list(settings.checkpoints)
    if settings.is_blind:
        random.shuffle(names)
    ids = [
        _add(
            db, asked.conversation_id, turn_id, "assistant", "",
            attempt=attempt, place=place, checkpoint=name, settings=json.dumps(facts),
        )
        for place, name in enumerate(names)
    ]  # fmt: skip
    open_at(db, ids[0])
    return [turns.turn(db, each) for each in ids]


def reopen(db: Database, turn_id: int) -> Turn:
    """Have an answer that was cut off or stopped go on; returns it, with the text from which it goes on.

    Raises:
        DataError: it is whole, empty, or judged already.
    """
    found = turns.turn(db, turn_id)
    if not found.can_go_on:
        raise DataError("This answer is not one that was cut off. Ask for another attempt instead.")
    if turns.judged_on(db, turn_id) is not None:
        raise DataError("This answer was judged as it is. Ask for another attempt instead.")
    turns.reopen(db, turn_id)
    return turns.turn(db, turn_id)


def edit(db: Database, turn_id: int, text: str) -> int:
    """Store another version of a turn next to it, and return its id; the branch after the turn stays with the turn.

    Raises:
        DataError: the text is empty, too long, or unchanged.
    """
    found, text = turns.turn(db, turn_id), turns.checked(text)
    if text == found.text.strip():
        raise DataError("Nothing was changed.")
    if found.role == "user":
        return _add(db, found.conversation_id, found.parent_id, "user", text)
    assert found.parent_id is not None
    attempt = turns.last_attempt(db, found.parent_id) + 1
    facts = {"attempt": attempt, "place": 0, "end_reason": "written", "settings": json.dumps({"system": found.system})}
    return _add(db, found.conversation_id, found.parent_id, "assistant", text, **facts)


def fork(db: Database, turn_id: int) -> int:
    """Make a conversation of the branch that ends with this turn, and return its id. The first one stays as it is."""
    origin, path = get(db, turns.turn(db, turn_id).conversation_id), turns.branch(db, turn_id)
    made = start(db, origin.settings)
    rename(db, made, f"{origin.title[: LONGEST_TITLE - 7]} (fork)")
    parent: int | None = None
    for each in path:
        facts = {
            "checkpoint": each.checkpoint,
            "settings": json.dumps(each.settings) if each.settings else None,
            "num_tokens": each.num_tokens,
            "seconds": each.seconds,
            "end_reason": each.end_reason,
            "message": each.message,
        }
        facts |= {"attempt": 1, "place": 0} if each.role == "assistant" else {}
        parent = _add(db, made, parent, each.role, each.text, **facts)
    return made


def open_at(db: Database, turn_id: int, attempt: int | None = None) -> None:
    """Show the conversation at a turn, on the branch that was gone on with last; of a turn of the person at this attempt."""
    found = turns.turn(db, turn_id)
    begin = [each.id for each in turns.attempt(db, turn_id, attempt)] if attempt is not None else [turn_id]
    last = turns.newest_below(db, begin or [turn_id])
    if last.place and last.parent_id is not None and last.attempt and last.id != turn_id:
        last = turns.attempt(db, last.parent_id, last.attempt)[0]  # nobody chose from this attempt
    db.execute("UPDATE conversations SET leaf_id = ? WHERE id = ?", [last.id, found.conversation_id])


def go_back(db: Database, answer_id: int) -> None:
    """Show the conversation up to this answer; what follows it stays, and `open_at` shows it again."""
    found = turns.turn(db, answer_id)
    db.execute("UPDATE conversations SET leaf_id = ? WHERE id = ?", [found.id, found.conversation_id])


def exchanges(db: Database, conversation: Conversation) -> list[Exchange]:
    """Return what is shown of a conversation: its branch, each turn of the person with the attempt at an answer."""
    if conversation.leaf_id is None:
        return []
    path = turns.branch(db, conversation.leaf_id)
    answered = {each.parent_id: each for each in path if each.role == "assistant"}
    return [_exchange(db, each, answered.get(each.id)) for each in path if each.role == "user"]


def _exchange(db: Database, asked: Turn, answer: Turn | None) -> Exchange:
    answers = turns.attempt(db, asked.id, answer.attempt) if answer and answer.attempt else []
    return Exchange(
        asked, turns.versions(db, asked), answers, turns.attempts(db, asked.id), answer.id if answer else None
    )


def _add(db: Database, conversation_id: int, parent_id: int | None, role: str, text: str, **facts: Any) -> int:
    """Store a turn, at which the conversation opens now."""
    made = turns.add(db, conversation_id, parent_id, role, text, **facts)
    db.execute("UPDATE conversations SET leaf_id = ?, changed_at = ? WHERE id = ?", [made, now(), conversation_id])
    return made


def _of_row(row: dict[str, Any]) -> Conversation:
    """Return the conversation of a row; settings of another version that are not understood are left out."""
    try:
        settings = Settings.model_validate_json(row["settings"])
    except ValidationError:
        settings = Settings()
    parsed: dict[str, Any] = {"settings": settings}
    return Conversation(**row | parsed)


def _check(settings: Settings) -> None:
    names = settings.checkpoints
    if not names:
        raise DataError("Choose a checkpoint to talk with.")
    if len(set(names)) < len(names):
        raise DataError(f"{names[0]} cannot be compared with itself: choose two different checkpoints, or one.")


def _check_parent(parent: Turn, conversation_id: int) -> None:
    if parent.conversation_id != conversation_id or parent.role != "assistant":
        raise DataError("What is said next must follow an answer of this conversation.")
    if not parent.text.strip():
        raise DataError("The answer before is empty. Ask for another attempt, or write what it should have been.")
