"""Measures tasks of lm-evaluation-harness (the extra ``eval``) on a role, offline, with a result for each item. Loads torch.

Tasks are YAML files in ``WORKSPACE/evaluations/lm_eval/``, put there by hand (they may name Python functions, which then run); a task
that is not there is the harness's own, whose data must be in the cache of `datasets`. The harness measures a task whole, so a
stopped run measures it again.
"""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modules.model.backbone import Backbone
from studio.errors import DataError

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TQDM_DISABLE": "1"}
LONGEST = 2000
"""Characters of an answer that are kept for reading."""

Row = tuple[dict[str, Any], dict[str, Any]]
"""An item and its scores."""


def measure(backbone: Backbone, role: str, task: str, folder: Path, *, limit: int, batch_size: int) -> list[Row]:
    """Return the items of a task with their scores by a role, in their order.

    Args:
        backbone: With the role.
        role: It is entered before the harness gets the model.
        task: Its name.
        folder: Of the user's own tasks; may be missing.
        limit: The first so many items; 0 takes all.
        batch_size: Requests of a forward pass.

    Raises:
        DataError: The harness cannot measure it.
    """
    os.environ.update(OFFLINE)
    names = ("lm_eval", "lm_eval.models.huggingface", "lm_eval.tasks")
    lm_eval, models, tasks = (importlib.import_module(name) for name in names)  # an extra, loaded when it is wanted
    is_own = any(f"task: {task}" in path.read_text(encoding="utf-8") for path in folder.rglob("*.yaml"))
    try:
        backbone.eval()
        with backbone.role(role):
            found: Any = lm_eval.simple_evaluate(
                model=models.HFLM(
                    pretrained=backbone.roles.activate(role), tokenizer=backbone.tokenizer, batch_size=batch_size
                ),
                tasks=[task],
                task_manager=tasks.TaskManager(
                    include_path=str(folder) if is_own else None, include_defaults=not is_own
                ),
                log_samples=True,
                limit=limit or None,
                bootstrap_iters=1,
            )
    except Exception as error:  # a task's own code and data may raise anything
        raise DataError(
            f"lm_eval cannot measure {task} ({type(error).__name__}: {str(error).strip()[:200]}). Its own tasks need their data in the cache; "
            f"yours lie in {folder}."
        ) from error
    samples = sorted(found["samples"][task], key=lambda sample: sample["doc_id"])
    return [(_item(sample), _scores(sample)) for sample in samples]


def _item(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was asked; the harness's hashes tell whether two items are the same."""
    first = _arguments(sample)[0]
    return {
        "prompt": str(first[0]),
        "doc_hash": str(sample.get("doc_hash")),
        "prompt_hash": str(sample.get("prompt_hash")),
    }


def _scores(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics that are numbers, and the answer."""
    metrics = {name: sample[name] for name in sample.get("metrics", ()) if isinstance(sample.get(name), int | float)}
    return {name: float(value) for name, value in metrics.items()} | {"answer": _answer(sample)[:LONGEST]}


def _answer(sample: Mapping[str, Any]) -> str:
    """Return the likeliest continuation, or the text that was sampled."""
    answers, arguments = sample["filtered_resps"], _arguments(sample)
    if answers and isinstance(answers[0], list | tuple) and len(arguments) == len(answers):
        best = max(range(len(answers)), key=lambda place: float(answers[place][0]))
        return str(arguments[best][1]).strip()
    return str(answers[0]) if answers else ""


def _arguments(sample: Mapping[str, Any]) -> list[Any]:
    given = sample["arguments"]
    rows = list(given.values()) if isinstance(given, dict) else list(given)
    return [list(row.values()) if isinstance(row, dict) else row for row in rows]
