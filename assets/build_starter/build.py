"""From the corpus to the files of the model: draw documents, train the tokenizer on the first, then the model on all."""

import itertools
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from assets.build_starter import SEED
from assets.build_starter.corpus import Corpus, Document
from assets.build_starter.pretrain import fresh_model, pack, pretrain
from assets.build_starter.tokenizer import train_tokenizer

NUM_TOKENIZER_DOCUMENTS = 40_000


def build_model_files(out: Path, corpus: Corpus, num_tokens: int) -> dict[str, Any]:
    """Train on about ``num_tokens`` of the corpus and write ``out/model``; returns the figures of the training."""
    first = list(itertools.islice(corpus, NUM_TOKENIZER_DOCUMENTS))
    tokenizer = train_tokenizer(text for document in first for text in _texts(document))
    print(f"tokenizer with {len(tokenizer)} tokens trained on {len(first)} documents", flush=True)

    corpus.restart()
    encoded: list[list[int]] = []
    total = 0
    for document in corpus:
        encoded.append(_encode(tokenizer, document))
        total += len(encoded[-1])
        if total >= num_tokens:
            break
    batches = pack(encoded)
    model = fresh_model(tokenizer, SEED)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{len(encoded):,} documents, {total:,} tokens, {num_parameters:,} parameters", flush=True)

    train_loss = pretrain(model, batches)
    model.save_pretrained(out / "model")
    tokenizer.save_pretrained(out / "model")
    (out / "model" / "model.safetensors").chmod(0o644)
    return {
        "seed": SEED,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "documents": len(encoded),
        "tokens": sum(batch.numel() for batch in batches),
        "parameters": num_parameters,
        "families": dict(sorted(corpus.families.items())),
        "manners": dict(corpus.manners),
        "train_loss": train_loss,
    }


def _texts(document: Document) -> list[str]:
    """The turns of a document, as plain texts."""
    return [document] if isinstance(document, str) else [turn["content"] for turn in document]


def _encode(tokenizer: PreTrainedTokenizerFast, document: Document) -> list[int]:
    """Token ids of a document, with its special tokens."""
    if isinstance(document, str):
        document = f"{tokenizer.bos_token}{document}{tokenizer.eos_token}"
    else:
        document = str(tokenizer.apply_chat_template(document, tokenize=False))
    return tokenizer(document, add_special_tokens=False)["input_ids"]
