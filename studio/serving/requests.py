"""The requests of OpenAI's API that are understood, and what is refused instead of being ignored."""

import secrets
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from studio.chat.protocol import Sampling
from studio.errors import DataError

LARGEST_SEED = 2**31
MOST_CHOICES = 16
MOST_ANSWERS = 256
USUAL_LENGTH = 256
"""Most tokens of an answer where the request names none."""
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "suffix": ("",),
    "best_of": (1,),
    "echo": (False,),
}
"""Settings that change the answer and that no model here follows, with the values that ask for nothing."""


class _Request(BaseModel):
    """What both kinds of request share; settings that change no answer (``user``, ``store``, ...) are passed over."""

    model_config = ConfigDict(extra="allow")

    model: str
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None
    stop: list[str] = []
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] = 1
    stream: bool = False
    stream_options: dict[str, Any] = {}

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [] if value is None else [value] if isinstance(value, str) else value

    @field_validator("n", "stream", "stream_options", mode="before")
    @classmethod
    def _null_is_unset(cls, value: Any, info: Any) -> Any:
        return cls.model_fields[info.field_name].get_default() if value is None else value

    @property
    def num_choices(self) -> int:
        """Answers that are asked for."""
        return self.n

    @property
    def wants_usage(self) -> bool:
        """True if a stream is to end with the numbers of tokens."""
        return bool(self.stream_options.get("include_usage"))

    def sampling(self) -> list[Sampling]:
        """Return how each choice is sampled: consecutive seeds, from a random one where none is given.

        Raises:
            DataError: a setting is asked for that no model here follows.
        """
        for name, value in (self.model_extra or {}).items():
            if name in _NEUTRAL and value is not None and value not in _NEUTRAL[name]:
                raise DataError(f"{name} is not supported here: leave it out.")
        if self.num_choices > MOST_ANSWERS:
            raise DataError(f"A request gives at most {MOST_ANSWERS} answers: send fewer prompts at a time.")
        seed = secrets.randbelow(LARGEST_SEED) if self.seed is None else self.seed % LARGEST_SEED
        common = {
            "max_new_tokens": min(self.limit or USUAL_LENGTH, 32768),
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "top_p": self.top_p or 1.0,
            "top_k": self.top_k or 0,
        }
        return [Sampling(seed=seed + place, **common) for place in range(self.n)]

    @property
    def limit(self) -> int | None:
        """Most tokens of an answer, if the request names a number."""
        return self.max_tokens


class _Part(BaseModel):
    """A piece of a turn."""

    type: Literal["text"]
    text: str


class _Turn(BaseModel):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Part]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(_Request):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[_Turn], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @property
    def limit(self) -> int | None:
        """Most tokens of an answer, by the newer or the older name."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def num_logprobs(self) -> int | None:
        """How many likely tokens to name at each place next to the drawn one; None for no probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def turns(self) -> list[dict[str, str]]:
        """Return the conversation in the studio's form."""
        return [{"role": turn.role.replace("developer", "system"), "content": turn.text} for turn in self.messages]


class TextRequest(_Request):
    """``POST /v1/completions``: texts that are gone on from."""

    prompt: Annotated[list[str], Field(min_length=1)]
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        if isinstance(value, list) and any(isinstance(each, int | list) for each in value):
            raise PydanticCustomError("token_ids", "Token ids are not supported here: send a text, or a list of texts")
        return [value] if isinstance(value, str) else value

    @property
    def num_choices(self) -> int:
        """Answers to all texts together."""
        return self.n * len(self.prompt)

    @property
    def num_logprobs(self) -> int | None:
        """As `ChatRequest.num_logprobs`."""
        return self.logprobs
