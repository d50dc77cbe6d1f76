"""Reads a response that was sampled before: the log-probability of each of its tokens. Loads torch."""

from modules.data.sequences import pad_rows
from modules.model.backbone import Backbone
from modules.rl.experience import all_logprobs
from studio.chat.protocol import Event, Reading, TextReading
from studio.errors import DataError
from studio.worker.sampling import role_of


def of_text(backbone: Backbone, asked: TextReading) -> Event:
    """Return how each token of an answer reads, and its log-probability at temperature 1.

    Raises:
        DataError: It does not fit into the model.
    """
    prompt, opening, response = backbone.chat.encode_answer(asked.messages, asked.response, asked.end_reason)
    texts = [backbone.chat.token_text(token) for token in response]
    by_ids = Reading(
        **asked.model_dump(include=set(Reading.model_fields)),
        prompt_ids=[*prompt.ids, *opening],
        response_ids=response,
        texts=list(texts),
        temperature=1.0,
    )
    return Event(id=asked.id, texts=texts, logprobs=logprobs(backbone, by_ids))


def logprobs(backbone: Backbone, asked: Reading) -> list[float]:
    """Return what the checkpoint gives each token of the response, in nats.

    Raises:
        DataError: It has another vocabulary, or the text does not fit into the model.
    """
    ids = [*asked.prompt_ids, *asked.response_ids]
    is_known = max(ids, default=0) < backbone.vocab_size
    if not is_known or any(
        text is not None and backbone.chat.token_text(token) != text
        for token, text in zip(asked.response_ids, asked.texts, strict=True)
    ):
        raise DataError(
            f"{asked.checkpoint} cuts texts into other tokens: its vocabulary is not the one that this response was sampled with, so no "
            "numbers could be compared. Choose a checkpoint with the same base model."
        )
    if len(ids) > backbone.context_length:
        raise DataError(
            f"{asked.checkpoint} reads {backbone.context_length:,} tokens at most; prompt and response have {len(ids):,}."
        )
    backbone.eval()
    num_prompt = len(asked.prompt_ids)
    sequences = pad_rows([ids], [[at >= num_prompt for at in range(len(ids))]], backbone.chat.pad_id).to(
        backbone.device
    )
    mask = sequences.mask[:, num_prompt:]
    return all_logprobs(backbone, role_of(asked.checkpoint), sequences, mask, asked.temperature, 1)[0].tolist()
