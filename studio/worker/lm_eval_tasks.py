"""Measures tasks of lm-evaluation-harness (the extra ``eval``) on a role, offline, with a result for each item. Loads torch.

Tasks are YAML files in ``WORKSPACE/evaluations/lm_eval/``, put there by hand (they may name Python functions, which then run); a task
or group that no file there names is the harness's own, whose data must be in the cache of `datasets`. The harness measures a task
whole, so a stopped run measures it again.
"""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modules.model.backbone import Backbone
from studio.errors import DataError
from studio.evaluation import harness
from studio.worker import heed

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TQDM_DISABLE": "1"}


def measure(
    backbone: Backbone, role: str, task: str, folder: Path, *, limit: int, batch_size: int, on_pass: Callable[[], None]
) -> harness.Rows:
    """Return the items of a task, or of all tasks of a group, with their scores by a role.

    Args:
        backbone: With the role.
        role: It is entered before the harness gets the model.
        task: Its name.
        folder: Of the user's own tasks; may be missing.
        limit: The first so many items of each task; 0 takes all.
        batch_size: Requests of a forward pass.
        on_pass: Called before each forward pass or sampled batch.

    Raises:
        DataError: The harness cannot measure it.
        heed.Stopped: By ``on_pass``.
    """
    os.environ.update(OFFLINE)
    names = ("lm_eval", "lm_eval.models.huggingface", "lm_eval.tasks")
    lm_eval, models, tasks = (importlib.import_module(name) for name in names)  # an extra, loaded when it is wanted
    is_own = task in own_names(folder)
    try:
        backbone.eval()
        with backbone.role(role):
            found: Any = lm_eval.simple_evaluate(
                model=_watched(models.HFLM, on_pass)(
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
    except heed.Stopped:
        raise
    except Exception as error:  # a task's own code and data may raise anything
        raise DataError(
            f"lm_eval cannot measure {task} ({type(error).__name__}: {str(error).strip()[:200]}). Its own tasks need their data in the cache; "
            f"yours lie in {folder}."
        ) from error
    return harness.rows(found["samples"], found.get("higher_is_better", {}))


def own_names(folder: Path) -> set[str]:
    """Return the names of the tasks, groups and tags that the YAML files of a folder define; a file that cannot be read defines none."""
    yaml: Any = importlib.import_module("yaml")

    class Loader(yaml.SafeLoader):
        """Takes a tag such as !function for nothing."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    names: set[str] = set()
    for path in folder.rglob("*.yaml"):
        try:
            found = yaml.load(path.read_bytes(), Loader)
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if isinstance(found, dict):
            given = [found.get(key) for key in ("task", "group", "tag")]
            given += found["tag"] if isinstance(found.get("tag"), list) else []
            names |= {name for name in given if isinstance(name, str)}
    return names


def _watched(model: Any, on_pass: Callable[[], None]) -> Any:
    """Return a class of the harness's models that reports each pass."""

    class Watched(model):
        def _model_call(self, *args: Any, **kwargs: Any) -> Any:
            on_pass()
            return super()._model_call(*args, **kwargs)

        def _model_generate(self, *args: Any, **kwargs: Any) -> Any:
            on_pass()
            return super()._model_generate(*args, **kwargs)

    return Watched
