"""Called as a process by `test_lm_eval.py` and `benchmarks/likelihood.py`: scores suites by lm-evaluation-harness, writes what it found.

python lm_eval_decisions.py MODEL_FOLDER SUITES.json ANSWERS.json [BATCH_SIZE]
"""

import json
import os
import sys
import time

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TQDM_DISABLE": "1", "CUDA_VISIBLE_DEVICES": ""}

import lm_eval
from datasets import Dataset
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

KINDS = {
    "choice": {"doc_to_text": "{{prompt}}", "doc_to_choice": "choices", "doc_to_target": "gold"},
    "pair": {
        "doc_to_text": "",
        "doc_to_choice": "{{[good, bad]}}",
        "doc_to_target": 0,
        "target_delimiter": "",
    },
}


def task(name: str, kind: str, rows: list[dict]) -> dict:
    """Return the task's configuration."""
    measures = [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm")]
    return {
        "task": name,
        "custom_dataset": lambda **_: {"validation": Dataset.from_list(rows)},
        "validation_split": "validation",
        "output_type": "multiple_choice",
        "num_fewshot": 0,
        "metric_list": measures,
        **KINDS[kind],
    }


def main(folder: str, suites: str, answers: str, batch_size: str = "32") -> None:
    """Score all suites of a file; writes log-likelihoods, decisions, and the seconds without the loading of the model."""
    with open(suites, encoding="utf-8") as file:
        given = json.load(file)
    model = HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=int(batch_size))
    started, clock = time.process_time(), time.perf_counter()
    found = lm_eval.simple_evaluate(
        model=model,
        tasks=[task(name, kind, rows) for name, (kind, rows) in given.items()],
        task_manager=TaskManager(include_defaults=False),
        log_samples=True,
        bootstrap_iters=1,
    )
    said = {"cpu_s": time.process_time() - started, "wall_s": time.perf_counter() - clock}
    for name in given:
        samples = sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
        said[name] = [
            {
                "logprobs": [float(answer[0]) for answer in s["filtered_resps"]],
                "acc": s["acc"],
                "acc_norm": s.get("acc_norm"),
            }
            for s in samples
        ]
    with open(answers, "w", encoding="utf-8") as file:
        json.dump(said, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
