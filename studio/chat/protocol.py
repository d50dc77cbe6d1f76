"""What the resident process is asked and what it answers: one JSON object a line, both ways. No torch."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from studio.preferences.prompts import Messages

Reason = Literal["eos", "length", "stop", "stopped"]
"""Why an answer ended: its end token, the length limit or the model's last position, a stop text, or a person."""


class Start(BaseModel):
    """The first line: whose process it is and what it runs on."""

    root: str
    device: str = "auto"
    idle_s: float
    """Seconds without a question after which the process ends."""


class Sampling(BaseModel):
    """How an answer is sampled."""

    model_config = ConfigDict(extra="forbid")

    max_new_tokens: Annotated[int, Field(ge=1, le=32768)] = 256
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.7
    """0 always takes the most likely token."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class OfPolicy(BaseModel):
    """Ask a checkpoint that gives answers for something."""

    id: int
    checkpoint: str
    folder: str
    base_folder: str
    """Folder or hub id of the base model."""
    precision: str


class Question(OfPolicy):
    """Ask a checkpoint for an answer."""

    messages: Messages = []
    """The conversation, the last turn a user's; empty where `text` is to be continued."""
    text: str = ""
    """What the answer begins with, or, without messages, any text to go on from."""
    sampling: Sampling = Sampling()
    stop: list[str] = []
    """Texts at which the answer ends; they are not part of it."""
    num_logprobs: int | None = None
    """Tell each token's log-probability, and so many of the most likely ones; None tells none."""


class Reading(OfPolicy):
    """Ask how likely a checkpoint finds a response that was sampled by another, token by token."""

    prompt_ids: list[int]
    response_ids: list[int]
    texts: list[str | None]
    """How each token of the response read when it was sampled; None where that is not known."""
    temperature: float
    """Logits are divided by it."""


class TextReading(OfPolicy):
    """Ask how likely a checkpoint finds an answer that is known as text, token by token, at temperature 1."""

    messages: Messages
    """The conversation before it."""
    response: str
    end_reason: str
    """``eos`` for one that ended by its end token, which is then read too; else ``length``."""


class Scoring(BaseModel):
    """Ask a reward model what it thinks of responses to the same messages."""

    id: int
    checkpoint: str
    folder: str
    messages: Messages
    responses: list[str]
    end_reasons: list[str | None]
    """How each ended: ``eos``, ``length``, or None for one that somebody wrote."""


class Predicting(BaseModel):
    """Ask a reward model to predict the comparisons that wait for it; the answer is a sentence that says how many it did."""

    id: int
    checkpoint: str
    folder: str
    checkpoint_id: int


class Stop(BaseModel):
    """End an answer where it is."""

    end: int
    """The id of the question."""


class Event(BaseModel):
    """What happened to a question: more text, then once its end or an error; or the scores that were asked for."""

    id: int
    text: str = ""
    """What was added."""
    reason: Reason | None = None
    """Set on the last event of an answer."""
    num_prompt_tokens: int = 0
    num_tokens: int = 0
    seconds: float = 0.0
    """From the moment in which the model was there until the end; set with the end."""
    tokens: list[dict[str, Any]] = []
    """Those added, where their probabilities are asked for, as OpenAI's API writes them: token, logprob, bytes, top_logprobs."""
    scores: list[list[float]] = []
    """Of each response, by each member of the reward model's ensemble; the whole answer to a scoring."""
    logprobs: list[float] = []
    """Of each token of a response; the whole answer to a reading."""
    texts: list[str] = []
    """How those tokens read, where the response was given as text."""
    error: str = ""
    """A sentence; set on the last event of a question that was not answered."""
    is_refusal: bool = False
    """True if the question cannot be answered as it is; else the process is to blame."""
