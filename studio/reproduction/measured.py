"""What a run that saves no model is repeated for: the answers it sampled, the items it measured, where its reward models were right.

A run that repeats another one does everything again, whatever is stored, and notes it in its own folder: the database keeps what was
measured first, and no pair is put up for rating twice.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from modules.config import CurveConfig, EvaluateConfig, SampleConfig
from studio.evaluation import plan
from studio.models.base_names import BASE, is_base
from studio.runs import runs
from studio.runs.runs import Run
from studio.workspace import Workspace

AGAIN = "again"
"""Part of the frozen rows that a repeating run has, and no other."""
NAME = "measured.jsonl"
"""In the folder of a repeating run: a row [name, place, value] each, in the order in which they were measured."""
Value = tuple[str, int, Any]
"""What was measured, its place among those of this name, and the value as JSON holds it."""


def mark(folder: Path) -> None:
    """Let a run that takes its rows from this folder repeat everything.

    Raises:
        OSError: it cannot be written.
    """
    (folder / "data" / f"{AGAIN}.jsonl").write_text("{}\n", encoding="utf-8")


def is_again(ws: Workspace, run: Run) -> bool:
    """Return whether a run repeats another one, so that nothing counts as measured already."""
    return bool(runs.read_rows(ws, run.name, AGAIN))


def note(ws: Workspace, run: Run, values: Iterable[Value]) -> None:
    """Note what a repeating run measured.

    Raises:
        OSError: it cannot be written.
    """
    with (runs.folder(ws, run.name) / NAME).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(value, sort_keys=True) + "\n" for value in values)


def of_run(ws: Workspace, db: Database, run: Run) -> Iterator[Value]:
    """Yield what a run measured itself, by name and place; nothing for a run that trains a model to keep."""
    if is_again(ws, run):
        yield from sorted(_noted(runs.folder(ws, run.name) / NAME), key=lambda value: value[:2])
    elif isinstance(run.config, SampleConfig):
        yield from _answers(db, run, runs.read_rows(ws, run.name, "prompts"))
    elif isinstance(run.config, EvaluateConfig):
        yield from _results(db, run, run.config)
    elif isinstance(run.config, CurveConfig):
        yield from _hits(db, run)


def answer(number: int, place: int, text: str, tokens: list[int], ended: str) -> Value:
    """Return an answer: which of those to a prompt it is, and the place of the prompt among the run's."""
    return f"answer {number + 1}", place, {"text": text, "tokens": tokens, "end": ended}


def result(suite: str, config: EvaluateConfig, subject: str, sample: int, place: int, scores: Any, text: Any) -> Value:
    """Return what a subject did with an item; it is named by its place among the subjects, since names differ elsewhere."""
    name = BASE if is_base(subject) else subject
    names = plan.subjects(config.checkpoints)
    number = names.index(name) + 1 if name in names else name
    return f"{suite} on subject {number}, sample {sample + 1}", place, {"scores": scores, "text": text}


def hits(arm: str | None, size: int, seed: int, right: str) -> Value:
    """Return where a reward model of a learning curve was right, a 1 or 0 for each held-out vote."""
    return f"{f'{arm} ' if arm else ''}labels, seed {seed}", size, right


def _noted(path: Path) -> Iterator[Value]:
    if path.exists():  # else nothing was measured
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                name, place, value = json.loads(line)
                yield name, place, value


def _answers(db: Database, run: Run, prompts: list[dict[str, Any]]) -> Iterator[Value]:
    """Yield the answers by their number and the prompt's place; those to one prompt were stored in the order of their numbers."""
    places = {row["prompt_id"]: place for place, row in enumerate(prompts)}
    sql = (
        "SELECT prompt_id, text, token_ids, end_reason FROM responses WHERE kind = 'sample' AND run_id = ? ORDER BY id"
    )
    seen: dict[int, int] = {}
    found = []
    for prompt_id, text, tokens, ended in db.execute(sql, [run.id]):
        number = seen[prompt_id] = seen.get(prompt_id, -1) + 1
        found.append(answer(number, places.get(prompt_id, -1), text, json.loads(tokens or "[]"), ended))
    yield from sorted(found, key=lambda value: value[:2])


def _results(db: Database, run: Run, config: EvaluateConfig) -> Iterator[Value]:
    sql = (
        "SELECT s.name, r.subject, r.sample, i.place, r.scores, r.text FROM evaluation_results r"
        " JOIN evaluation_items i ON i.id = r.item_id JOIN evaluation_suites s ON s.id = i.suite_id WHERE r.run_id = ?"
    )
    found = [
        result(suite, config, subject, sample, place, json.loads(scores), text)
        for suite, subject, sample, place, scores, text in db.execute(sql, [run.id])
    ]
    yield from sorted(found, key=lambda value: value[:2])


def _hits(db: Database, run: Run) -> Iterator[Value]:
    sql = (
        "SELECT c.arm, r.size, r.seed, r.hits FROM learning_results r JOIN learning_curves c ON c.id = r.curve_id"
        " WHERE r.run_id = ?"
    )
    yield from sorted((hits(*row) for row in db.execute(sql, [run.id])), key=lambda value: value[:2])
