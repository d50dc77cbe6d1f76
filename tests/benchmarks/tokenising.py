"""The time to turn rankings into token ids before a reward run's first step, in CPU seconds.

    python -m tests.benchmarks.tokenising [--prompts 300] [--model FOLDER]

Each prompt has about 140 tokens and nine ranked answers of about 60. InstructGPT's 33,000 prompts are said from what a
smaller number took.
"""

import argparse
import random
import time
from pathlib import Path
from typing import Any

from assets import STARTER
from modules.data.chat import ChatFormat
from modules.data.datamodules import RewardDataModule
from modules.model.pretrained import load_tokenizer

NUM_PROMPTS = 33_000
NUM_ANSWERS = 9
TEXT = (
    "Tell me what a person should know of the weather in the mountains before walking there with two small children . "
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--model", type=Path, default=STARTER / "model", help="whose tokenizer and chat template")
    arguments = parser.parse_args()
    chat = ChatFormat(load_tokenizer(arguments.model))
    made = rows(arguments.prompts)
    begun = time.process_time()
    data = RewardDataModule(made, [], chat, weighting="prompt", max_length=4096)
    seconds = time.process_time() - begun
    tokens = sum(len(pair.prompt) for pair in data.rows) / len(data.rows)
    print(
        f"{arguments.prompts} prompts of {tokens:.0f} tokens, {len(data.rows):,} pairs: {seconds:.2f} s; "
        f"{NUM_PROMPTS:,} prompts: {seconds / arguments.prompts * NUM_PROMPTS:.0f} s"
    )


def rows(num_prompts: int) -> list[dict[str, Any]]:
    """Return rankings of random words."""
    draw = random.Random(0)
    words = TEXT.split()

    def text(count: int) -> str:
        return " ".join(draw.choice(words) for _ in range(count))

    return [
        {
            "comparison_id": number,
            "prompt_id": number,
            "category": "",
            "messages": [{"role": "user", "content": text(100)}],
            "responses": [text(45) for _ in range(NUM_ANSWERS)],
            "ranks": draw.sample(range(1, NUM_ANSWERS + 1), NUM_ANSWERS),
        }
        for number in range(num_prompts)
    ]


if __name__ == "__main__":
    main()
