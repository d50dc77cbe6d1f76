"""What the page Chat sends, checked as if a stranger had sent it."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from studio.chat import conversations
from studio.chat.conversations import Settings
from studio.chat.protocol import Sampling
from studio.chat.transcripts import FORMATS
from studio.chat.turns import LONGEST_TEXT
from studio.errors import DataError
from studio.preferences.vocabulary import PairOutcome

Id = Annotated[int, Field(ge=1, lt=2**63)]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Uuid = Annotated[str, Field(pattern=r"^[0-9a-f-]{36}$")]
Kind = TypeVar("Kind", bound="Sent")


class Sent(BaseModel):
    """A message from the browser."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Look(Sent):
    """List conversations."""

    search: Annotated[str, Field(max_length=1000)] = ""


class One(Sent):
    """A conversation, a turn or an answer."""

    id: Id


class Wish(Sent):
    """The settings as the page has them."""

    checkpoints: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=conversations.MOST_SIDES)]
    system: Text
    is_blind: bool
    sampling: dict[str, int | float]

    def settings(self) -> Settings:
        """Return them as they are stored.

        Raises:
            DataError: a number is out of bounds.
        """
        try:
            sampling = Sampling.model_validate(self.sampling)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            name = str(fault["loc"][-1]).replace("_", " ") if fault["loc"] else "The sampling"
            raise DataError(f"{name.capitalize()}: {fault['msg']}.") from error
        return Settings(
            checkpoints=tuple(self.checkpoints), system=self.system, sampling=sampling, is_blind=self.is_blind
        )


class Said(Sent):
    """Say something, in a new conversation where there is none yet."""

    conversation: Id | None = None
    parent: Id | None = None
    text: Text
    wish: Wish


class Again(Sent):
    """Ask for another attempt at an answer to this turn."""

    id: Id
    wish: Wish


class Edited(Sent):
    """Another version of a turn; one of the person's is asked at once."""

    id: Id
    text: Text
    wish: Wish


class Opened(Sent):
    """Show another branch: a version of a turn, an answer to go on from, or an attempt at an answer to a turn."""

    id: Id
    attempt: Annotated[int, Field(ge=1, lt=2**31)] | None = None


class Heard(Sent):
    """An answer of which so many characters are known."""

    id: Id
    known: Annotated[int, Field(ge=0, lt=2**31)]


class Hear(Sent):
    """Wait for more of these answers."""

    answers: Annotated[list[Heard], Field(min_length=1, max_length=8)]


class Stopped(Sent):
    """Stop these answers."""

    ids: Annotated[list[Id], Field(max_length=8)]


class Named(Sent):
    """Rename a conversation."""

    id: Id
    title: Annotated[str, Field(max_length=10_000)]


class Exported(Sent):
    """Give a conversation as a file."""

    id: Id
    form: Annotated[str, Field(pattern=f"^({'|'.join(FORMATS)})$")]


class Pair(Sent):
    """The two answers of an attempt, in the order shown."""

    ids: Annotated[list[Id], Field(min_length=2, max_length=2)]


class Vote(Pair):
    """Judge them."""

    outcome: PairOutcome
    strength: Annotated[int, Field(ge=1, le=3)] | None = None
    uuid: Uuid
    elapsed_ms: Annotated[int, Field(ge=0, le=86_400_000)]


class Ideal(Sent):
    """What an answer should have been."""

    id: Id
    text: Text
    uuid: Uuid


def checked(kind: type[Kind], sent: Any) -> Kind:
    """Return a message.

    Raises:
        DataError: it is not one that the page sends; nothing was done.
    """
    try:
        return kind.model_validate(sent)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        if fault["type"] == "string_too_long":
            most = fault.get("ctx", {}).get("max_length", 0)
            raise DataError(f"A text has at most {most:,} characters; this one has more. Shorten it.") from error
        raise DataError("This was not understood, so nothing was done. Reload the page.") from error
