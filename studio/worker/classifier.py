"""Turns a reward model into transformers' `AutoModelForSequenceClassification` with one label, the score.

That class reads the score after the last token that is not a pad, so the pad must be a token that ends no response,
and its head has no bias, so the head's constant is kept in the config. Only `studio.worker.merge` imports this.
"""

import copy

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from modules.data.chat import ChatFormat
from modules.data.templates.own import source_of
from studio.errors import CheckpointError

PAD = "<|pad|>"


def as_classifier(model: PreTrainedModel, head: dict[str, Tensor], pad_id: int) -> PreTrainedModel:
    """Return the same model with the head instead of the output layer, in the same number format.

    Raises:
        CheckpointError: transformers has no such class for this architecture.
    """
    config = copy.deepcopy(model.config)
    config.id2label, config.label2id = {0: "score"}, {"score": 0}
    config.score_bias = float(head["bias"])
    try:
        classifier = AutoModelForSequenceClassification.from_config(config, dtype=model.dtype)
    except ValueError as error:
        raise CheckpointError(
            f"transformers has no sequence classification for {config.model_type}. Export the adapter without merging; "
            "its card says how to score with it."
        ) from error
    classifier.base_model.load_state_dict(model.base_model.state_dict())
    with torch.no_grad():
        classifier.score.weight.copy_(head["weight"])
    if pad_id >= config.get_text_config().vocab_size:
        classifier.resize_token_embeddings(pad_id + 1, mean_resizing=False)
    classifier.config.get_text_config().pad_token_id = pad_id
    return classifier.to(model.device).eval()


def prepare_tokenizer(tokenizer: PreTrainedTokenizerBase, chat: ChatFormat) -> int:
    """Let a tokenizer pad on the right and end a conversation with the response's end token; returns the pad id."""
    if not isinstance(tokenizer.pad_token_id, int) or tokenizer.pad_token_id in chat.stop_ids:
        tokenizer.add_special_tokens({"pad_token": PAD})
    tokenizer.padding_side = "right"
    ending = "{{ text if add_generation_prompt else text.rstrip() }}"
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else source_of(tokenizer)
    tokenizer.chat_template = f"{{% set text %}}{template}{{% endset %}}{ending}"
    assert isinstance(tokenizer.pad_token_id, int)
    return tokenizer.pad_token_id


@torch.no_grad()
def scores(classifier: PreTrainedModel, ids: Tensor, lengths: Tensor) -> Tensor:
    """Return the scores (B,) of rows (B, T) with ``lengths`` (B,) real tokens, as a user of transformers gets them."""
    pad_id = classifier.config.get_text_config().pad_token_id
    is_real = torch.arange(ids.shape[1]) < lengths.unsqueeze(-1)
    padded = ids.masked_fill(~is_real, pad_id).to(classifier.device)
    logits = classifier(input_ids=padded, attention_mask=is_real.long().to(classifier.device), use_cache=False).logits
    return logits[:, 0].float().cpu() + classifier.config.score_bias
