"""What an SFT run would teach, shown before it starts. The tokenizer runs in a child process, since it loads torch."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

from modules.config import SFTConfig
from studio import base_models, stages
from studio.errors import RunError
from studio.runs import CODE
from studio.workspace import Workspace

TIMEOUT_S = 300.0
TEMPLATES = {
    "own": "the tokenizer's own",
    "chatml": "ChatML",
    "plain": "plain: each turn on a line of its own",
}


@dataclass(frozen=True)
class Lesson:
    """What a run would train on."""

    template: str
    """The chat template in words."""
    example: list[tuple[str, bool]]
    """The first demonstration in stretches of text, and whether each is taught."""
    summary: str
    """How much there is, and what is left out, why."""


def lesson(ws: Workspace, config: SFTConfig) -> Lesson:
    """Look at what a run with this config would teach; takes as long as loading a tokenizer does.

    Raises:
        DataError: there are no demonstrations.
        BaseModelError: there is no such model.
        RunError: the template or the demonstrations cannot be used; the message says why.
    """
    prepared = stages.prepare(ws, config)
    request = {
        "base_model": base_models.resolve(config.base_model),
        "chat_template": config.chat_template,
        "max_length": config.max_length,
        "train": prepared.rows["train"],
        "validation": prepared.rows["validation"],
    }
    child = subprocess.run(
        [sys.executable, "-m", "studio.lesson"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=ws.root,
        env=os.environ | {"PYTHONPATH": str(CODE), "TOKENIZERS_PARALLELISM": "false"},
        check=False,
    )
    if child.returncode != 0:
        last_words = child.stderr.strip().splitlines()[-1:] or ["no message"]
        raise RunError(f"This run could not start: {last_words[0]}")
    found = json.loads(child.stdout.splitlines()[-1])
    template = TEMPLATES[found["template"]]
    example = [(span["text"], span["is_taught"]) for span in found["example"]]
    return Lesson(template, example, _summary(found, config.max_length))


def _summary(found: dict[str, int | dict[str, int]], max_length: int) -> str:
    text = f"{found['num_rows']:,} demonstrations with {found['num_tokens']:,} tokens, of which {found['num_taught']:,} are taught."
    dropped = found["dropped"]
    assert isinstance(dropped, dict)
    for reason, count in sorted(dropped.items()):
        detail = f"longer than {max_length} tokens" if reason == "too long" else reason
        text += f" {count:,} left out: {detail}."
    return text
