"""The data files: prompts with what the rater needs to know, and uneven demonstrations as people write them.

A group of prompts (one country, one animal, one chore) lies whole in train, validation or test, so no near-duplicate
leaks. The wordings of held-out prompts never reach the text the model is pretrained on.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from assets.build_starter import families_facts, families_texts
from assets.build_starter.stories import write_story
from assets.build_starter.styles import StyleMix, answer
from assets.build_starter.tasks import Task

Row = dict[str, Any]

GREETINGS = (
    "Hello! {}",
    "Excuse me. {}",
    "Quick question: {}",
    "I have a question. {}",
    "Hi there. {}",
    "Good day. {}",
)
QUESTIONS_PER_TASK = {"animal": 1, "opposite": 1, "sum": 1, "letter": 1, "howto": 3, "advice": 3}
"""Prompts made of one task; two where nothing is said."""
NUM_STORIES = {"train": 72, "validation": 16, "test": 72}
NUM_DEMONSTRATIONS = {"train": 290, "test": 72}
"""Demonstrations outside the stories; every story prompt of these splits has one as well."""
DEMONSTRATION_MIX = StyleMix(
    courteous=0.65,
    plain=0.3,
    extents=(0.68, 0.24, 0.08, 0.0),
    right={"courteous": 0.96, "plain": 0.96, "curt": 0.9},
    ramble=0.1,
)


def all_tasks() -> list[Task]:
    """Every task, in a fixed order."""
    return [task for make in (*families_facts.FAMILIES, *families_texts.FAMILIES) for task in make()]


def split_groups(groups: Sequence[str], rng: Random) -> dict[str, str]:
    """Group to split: 70 % train, 10 % validation, 20 % test, in each category."""
    splits: dict[str, str] = {}
    for category in dict.fromkeys(group.split(":")[0] for group in groups):
        members = [group for group in dict.fromkeys(groups) if group.split(":")[0] == category]
        rng.shuffle(members)
        for place, group in enumerate(members):
            share = (place + 0.5) / len(members)
            splits[group] = "test" if share < 0.2 else "validation" if share < 0.3 else "train"
    return splits


def greeted(question: str, rng: Random) -> str:
    """The question, one time in five behind a greeting."""
    return rng.choice(GREETINGS).format(question) if rng.random() < 0.2 else question


def build_data(seed: int) -> tuple[list[Row], list[Row], set[str]]:
    """Prompts, demonstrations, and the held-out wordings that pretraining must not see."""
    rng = Random(seed)
    prompts, held_out, tasks = _task_prompts(rng)
    demonstrations = []
    for split, number in NUM_DEMONSTRATIONS.items():
        for index in sorted(rng.sample([i for i, row in enumerate(prompts) if row["split"] == split], number)):
            text = answer(tasks[index], DEMONSTRATION_MIX.draw(rng), rng)
            demonstrations.append(_demonstration(prompts[index], text))
    for split, number in NUM_STORIES.items():
        for _ in range(number):
            row, text = _story(split, held_out, len(prompts), rng)
            prompts.append(row)
            if split in NUM_DEMONSTRATIONS:
                demonstrations.append(_demonstration(row, text))
    return prompts, demonstrations, held_out


def _task_prompts(rng: Random) -> tuple[list[Row], set[str], list[Task]]:
    """The rated prompts, the held-out wordings, and the task of each prompt."""
    tasks = all_tasks()
    splits = split_groups([task.group for task in tasks], rng)
    prompts, held_out, chosen = [], set(), []
    for task in tasks:
        for question in rng.sample(task.questions, QUESTIONS_PER_TASK.get(task.category, 2)):
            split = splits[task.group]
            if split != "train":
                held_out.add(question)
            prompts.append(_prompt(len(prompts), task.category, greeted(question, rng), split, task.reference))
            chosen.append(task)
    return prompts, held_out, chosen


def _story(split: str, held_out: set[str], number: int, rng: Random) -> tuple[Row, str]:
    """A story prompt nobody has asked yet, and its story. All of them count as held out: pretraining has enough others."""
    story = write_story(rng)
    while story.question in held_out:
        story = write_story(rng)
    held_out.add(story.question)
    return _prompt(number, "story", story.question, split, {}), story.text


def _prompt(number: int, category: str, text: str, split: str, reference: Row) -> Row:
    return {
        "id": f"{category}-{number:04d}",
        "messages": [{"role": "user", "content": text}],
        "category": category,
        "split": split,
        "reference": reference,
    }


def _demonstration(prompt: Row, text: str) -> Row:
    return {
        "id": f"demo-{prompt['id']}",
        "prompt_id": prompt["id"],
        "messages": [*prompt["messages"], {"role": "assistant", "content": text}],
        "category": prompt["category"],
        "split": prompt["split"],
    }


def write_jsonl(path: Path, rows: Sequence[Row]) -> None:
    """One JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
