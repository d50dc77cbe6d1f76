"""Command line of the starter kit's builder; see the package's docstring."""

import argparse
import itertools
import json
import time
from pathlib import Path

from assets import STARTER
from assets.build_starter import SEED
from assets.build_starter.corpus import Corpus, Document
from assets.build_starter.data import build_data, write_jsonl

NUM_TOKENS = 8_000_000
"""Tokens the model is trained on."""
NUM_TOKENIZER_DOCUMENTS = 40_000


def main() -> None:
    """Build the data files and, unless told otherwise, the tokenizer, the model and its card."""
    parser = argparse.ArgumentParser(prog="python -m assets.build_starter", description="Rebuild the starter kit.")
    parser.add_argument("--data-only", action="store_true", help="only prompts.jsonl and demonstrations.jsonl")
    parser.add_argument("--out", type=Path, default=STARTER, help="folder to write to")
    parser.add_argument("--tokens", type=int, default=NUM_TOKENS, help="tokens to train on")
    options = parser.parse_args()
    prompts, demonstrations, held_out = build_data(SEED)
    write_jsonl(options.out / "prompts.jsonl", prompts)
    write_jsonl(options.out / "demonstrations.jsonl", demonstrations)
    print(f"{len(prompts)} prompts and {len(demonstrations)} demonstrations written", flush=True)
    if not options.data_only:
        _build_model(options.out, Corpus(held_out, SEED), options.tokens)


def _build_model(out: Path, corpus: Corpus, num_tokens: int) -> None:
    from assets.build_starter.pretrain import BLOCK, build_model, pack, pretrain
    from assets.build_starter.tokenizer import train_tokenizer

    start = time.monotonic()
    documents = iter(corpus)
    first = list(itertools.islice(documents, NUM_TOKENIZER_DOCUMENTS))
    tokenizer = train_tokenizer(_texts(first))
    print(f"tokenizer with {len(tokenizer)} tokens trained on {len(first)} documents", flush=True)
    encoded: list[list[int]] = []
    total = 0
    for document in itertools.chain(first, documents):
        encoded.append(_encode(tokenizer, document))
        total += len(encoded[-1])
        if total >= num_tokens:
            break
    blocks = pack(encoded)
    print(f"{len(encoded)} documents, {total:,} tokens, {time.monotonic() - start:.0f} s", flush=True)
    model = build_model(tokenizer, SEED)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    train_loss = pretrain(model, blocks)
    wall_s = time.monotonic() - start
    model.save_pretrained(out / "model")
    tokenizer.save_pretrained(out / "model")
    figures = {
        "seed": SEED,
        "documents": len(encoded),
        "tokens": blocks.numel(),
        "block": BLOCK,
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_loss": train_loss,
        "wall_s": wall_s,
    }
    (out / "build.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _texts(documents: list[Document]) -> list[str]:
    """The turns of the documents, as plain texts."""
    return [
        text
        for document in documents
        for text in ([document] if isinstance(document, str) else [turn["content"] for turn in document])
    ]


def _encode(tokenizer, document: Document) -> list[int]:
    if isinstance(document, str):
        return [tokenizer.bos_token_id, *tokenizer.encode(document), tokenizer.eos_token_id]
    return tokenizer.apply_chat_template(document, tokenize=True, return_dict=False)


if __name__ == "__main__":
    main()
