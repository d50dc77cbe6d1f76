"""Command line of the starter kit's builder; see the package's docstring."""

import argparse
import json
import time
from pathlib import Path

from assets import STARTER
from assets.build_starter import SEED
from assets.build_starter.card import write_card
from assets.build_starter.corpus import Corpus
from assets.build_starter.data import build_data, write_jsonl

NUM_TOKENS = 7_000_000
"""Tokens the model is trained on."""


def main() -> None:
    """Build the data files and, unless told otherwise, the tokenizer, the model and its card."""
    parser = argparse.ArgumentParser(prog="python -m assets.build_starter", description="Rebuild the starter kit.")
    parser.add_argument("--data-only", action="store_true", help="only prompts.jsonl and demonstrations.jsonl")
    parser.add_argument("--out", type=Path, default=STARTER, help="folder to write to")
    parser.add_argument("--tokens", type=int, default=NUM_TOKENS, help="tokens to train on")
    options = parser.parse_args()
    start = time.monotonic()
    prompts, demonstrations, held_out = build_data(SEED)
    write_jsonl(options.out / "prompts.jsonl", prompts)
    write_jsonl(options.out / "demonstrations.jsonl", demonstrations)
    print(f"{len(prompts)} prompts and {len(demonstrations)} demonstrations written", flush=True)
    if options.data_only:
        return
    from assets.build_starter.build import build_model_files
    from assets.build_starter.measure import measure

    figures = build_model_files(options.out, Corpus(held_out, SEED), options.tokens)
    figures |= measure(options.out / "model", prompts, demonstrations)
    figures["wall_s"] = round(time.monotonic() - start)
    (options.out / "build.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    (options.out / "README.md").write_text(write_card(figures), encoding="utf-8")
    print(f"done in {figures['wall_s']} s", flush=True)


if __name__ == "__main__":
    main()
