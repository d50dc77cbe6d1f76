"""The model card: ``README.md`` of the starter kit, written from the figures that the build measured."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]
Figures = dict[str, Any]

TONES = ("courteous", "plain", "curt")
MANNERS = (*TONES, "complete", "partial", "terse", "lazy", "right", "with a mistake", "rambling")

CARD = """---
license: mit
language: en
library_name: transformers
---

# The starter kit of RLHF Studio

A very small language model with prompts and demonstrations, so that the whole loop (SFT, sampling pairs, rating, reward
model, PPO) runs on two CPU cores in minutes, without a GPU, a hub or a network. It is a practice object: it answers short
questions from a closed world in many manners, courteous and curt, complete and lazy, right and wrong, so that a
preference has something to choose from. It is of no use for anything else.

| file | holds |
|---|---|
| `model/` | weights (safetensors, float32), configuration, tokenizer with its chat template |
| `prompts.jsonl` | {num_prompts} prompts: id, messages, category, split, reference (what the scripted rater is told) |
| `demonstrations.jsonl` | {num_demonstrations} demonstrations: id, prompt_id, messages, category, split |
| `build.json` | the figures on this page |

## Where it comes from

Everything is written by the program in `assets/build_starter` from hand-made tables and one seed ({seed}); nothing was
copied or downloaded. To build it again:

    python -m assets.build_starter

The data files come out the same, byte for byte. The weights do so only on the same machine with the same libraries.
The build that made these files took {minutes} minutes in all on {threads} CPU thread(s) of a shared machine, with
torch {torch}.

## Data

Pretraining: {documents} documents, {tokens} tokens, each read once. Exchanges (a question and its answer) and stories
by family:

{families}

Manners of the exchanges, drawn independently but for mistakes, which curt answers make more often:

{manners}

Prompts and demonstrations by category and split; all prompts about one thing (a country, an animal, a chore) lie in the
same split, and no wording of a validation or test prompt occurs in the pretraining text, though its subject does:

{splits}

The demonstrations are uneven on purpose, as people's are: the scripted rater finds {right_demonstrations} % of the rated
training demonstrations right, and {ideal_demonstrations} % courteous, complete, right and to the point. The category
`story` is neutral: nobody rates it, PPO leaves it out, and the loss on its held-out demonstrations tells what preference
learning cost.

## Model

Llama architecture, {parameters} parameters: hidden size 128, 6 layers, 4 heads, intermediate size 384, tied embeddings,
context 512. Byte-level BPE with 2,048 tokens, of which `<|pad|> <|bos|> <|end|> <|system|> <|user|> <|assistant|>` are
special. A conversation is `<|bos|><|user|>...<|end|><|assistant|>...<|end|>`, repeated for more turns, with an optional
system turn in front; `<|end|>` ends every turn and every response.

Trained from scratch in one pass with AdamW, 2,048 tokens a step, blocks of 128 and at the end 512 tokens.

| loss, nats per token | |
|---|---|
| pretraining text, last 100 steps, all tokens | {train_loss:.3f} |
| held-out demonstrations of stories, response tokens | {story_loss:.3f} |
| other held-out demonstrations, response tokens | {other_loss:.3f} |

## What it says

One response at temperature 1 to each of the {num_samples} rated test prompts, as the scripted rater sees it, in %
(utility: at most 3.5):

{shares}

{end_share:.1f} % end with `<|end|>` within 96 tokens; the median response has {median_tokens} tokens, and 95 % have at
most {p95_tokens}.

Samples, the first of each category:

{samples}

## Limits

It invents answers, some of them on purpose, and is rude in places, also on purpose. It knows a few hundred things and
nothing beyond them; a question outside its families gets an answer from inside them. Only English; longer than two turns
was never trained. Never use it to inform anyone. MIT licence, like the rest of the repository.
"""


def write_card(figures: Figures) -> str:
    """The card's text."""
    percent = {name: f"{figures[name] * 100:.0f}" for name in ("right_demonstrations", "ideal_demonstrations")}
    manners = figures["manners"]
    exchanges = sum(manners[name] for name in TONES)
    return CARD.format(
        **{name: figures[name] for name in ("seed", "threads", "torch", "median_tokens", "p95_tokens", "num_samples")},
        **{name: f"{figures[name]:,}" for name in ("documents", "tokens", "parameters")},
        **{name: figures[name] for name in ("train_loss", "story_loss", "other_loss")},
        **percent,
        minutes=round(figures["wall_s"] / 60),
        num_prompts=sum(count for row in figures["prompts"].values() for count in row.values()),
        num_demonstrations=sum(count for row in figures["demonstrations"].values() for count in row.values()),
        families=_table(("family", "number"), [(name, f"{n:,}") for name, n in figures["families"].items()]),
        manners=_table(
            ("manner", "number", "share"),
            [(name, f"{manners[name]:,}", f"{manners[name] / exchanges:.0%}") for name in MANNERS],
        ),
        splits=_splits(figures["prompts"], figures["demonstrations"]),
        shares=_shares(figures["shares"]),
        end_share=figures["end_share"] * 100,
        samples="\n\n".join(f"> **{item['prompt']}**\n>\n> {item['response']}" for item in figures["samples"]),
    )


def count_splits(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Category to split to number of rows."""
    counts = Counter((row["category"], row["split"]) for row in rows)
    return {
        category: {split: counts[category, split] for split in ("train", "validation", "test")}
        for category in dict.fromkeys(row["category"] for row in rows)
    }


def _splits(prompts: Mapping[str, Mapping[str, int]], demonstrations: Mapping[str, Mapping[str, int]]) -> str:
    none = {"train": 0, "validation": 0, "test": 0}
    head = ("category", "prompts: train", "validation", "test", "demonstrations: train", "test")
    lines = []
    for category, row in prompts.items():
        shown = demonstrations.get(category, none)
        lines.append([category, row["train"], row["validation"], row["test"], shown["train"], shown["test"]])
    totals = [sum(int(line[column]) for line in lines) for column in range(1, len(head))]
    return _table(head, [*lines, ["all", *totals]])


def _shares(rows: Sequence[Row]) -> str:
    names = ("courteous", "complete", "right", "to_the_point", "ideal")
    lines = [
        [row["category"], row["num_samples"], *(f"{row[name] * 100:.0f}" for name in names), f"{row['utility']:.2f}"]
        for row in rows
    ]
    return _table(("category", "samples", *(name.replace("_", " ") for name in names), "mean utility"), lines)


def _table(head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in (head, rule, *lines))
