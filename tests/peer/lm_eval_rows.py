"""Called as a process by `test_lm_eval.py`: measures tasks by the worker's own way into lm-evaluation-harness, writes rows and their sums.

python lm_eval_rows.py MODEL_FOLDER TASKS_FOLDER FOUND.json TASK...
"""

import json
import sys
from pathlib import Path
from typing import Any

import lm_eval

from modules.model.backbone import Backbone
from modules.model.roles import BASE
from studio.worker import lm_eval_tasks


def main(model: str, folder: str, found: str, *tasks: str) -> None:
    """Measure the tasks on the model as it is."""
    backbone, said = Backbone.load(model, device="cpu"), {}
    evaluate, results = lm_eval.simple_evaluate, {}

    def kept(*args: Any, **kwargs: Any) -> Any:
        whole = evaluate(*args, **kwargs)
        results.update(whole["results"])
        return whole

    lm_eval.simple_evaluate = kept
    for task in tasks:
        passes: list[int] = []
        rows = lm_eval_tasks.measure(
            backbone, BASE, task, Path(folder), limit=0, batch_size=4, on_pass=lambda passes=passes: passes.append(1)
        )
        said[task] = rows._asdict() | {"passes": len(passes), "theirs": results.get(task)}
    Path(found).write_text(json.dumps(said, default=str), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
