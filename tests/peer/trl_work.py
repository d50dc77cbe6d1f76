"""The work of `tests.benchmarks.workload`, done by TRL 1.12's trainers in the Python that has them, to measure next to ours.

    PYTHON tests/peer/trl_work.py ppo|reward|sft [--lora]

It prints one line of JSON; ``python -m tests.benchmarks.run --peer-python PYTHON`` calls it. PYTHON is that of an environment with
torch 2.13.0, trl 1.12.0 (the last release with a PPO trainer) and peft. The shape ``small`` in float32, on the CPU; TRL is
imported by each stage, so that without it the script can still be imported.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from datasets import Dataset
from peft import LoraConfig
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    TrainerCallback,
    set_seed,
)

from tests.benchmarks import workload

PAIRS, DOCS, ITERATIONS = workload.WORK.pairs, workload.WORK.documents, workload.WORK.iterations
"""What ``run --quick`` makes smaller."""
SCRATCH = tempfile.mkdtemp()
SHARED: dict[str, Any] = {
    "output_dir": SCRATCH,
    "report_to": [],
    "bf16": False,
    "use_cpu": True,
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "disable_tqdm": True,
}


class Clock(TrainerCallback):
    """The median time from the end of a step to the end of the next."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.at.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        return median(after - before for before, after in zip(self.at, self.at[1:], strict=False))


def model(has_head: bool = False) -> PreTrainedModel:
    """Return the model of random weights, as it is or with a score head."""
    if has_head:
        return AutoModelForSequenceClassification.from_pretrained(_folder(), num_labels=1)
    return AutoModelForCausalLM.from_pretrained(_folder())


def _folder() -> Path:
    folder = Path(SCRATCH) / "model"
    return folder if folder.exists() else workload.write_model(folder, workload.SHAPES["small"])


def adapters(lora: bool, task: str) -> LoraConfig | None:
    """Return the studio's default adapters, or none."""
    return LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type=task) if lora else None


def work() -> workload.Work:
    """Return the work in the sizes that hold now."""
    return replace(workload.WORK, pairs=PAIRS, documents=DOCS, iterations=ITERATIONS)


def ppo(lora: bool) -> dict[str, float]:
    """Sample, score and update; an iteration is one batch."""
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    size, clock = work(), Clock()
    policy, reference = model(), None if lora else model()
    data = Dataset.from_dict({"input_ids": [ids for batch in workload.prompts(size) for ids in batch]})
    settings = PPOConfig(
        **SHARED,
        per_device_train_batch_size=size.micro_batch,
        gradient_accumulation_steps=size.batch // size.micro_batch,
        total_episodes=size.batch * size.iterations,
        response_length=size.response,
        stop_token="eos",
        num_ppo_epochs=size.epochs,
        num_sample_generations=0,
        local_rollout_forward_batch_size=size.batch,
        temperature=1.0,
    )
    PPOTrainer(
        args=settings,
        processing_class=AutoTokenizer.from_pretrained(_folder(), padding_side="left"),
        model=policy,
        ref_model=reference,
        reward_model=model(has_head=True),
        value_model=model(has_head=True),
        train_dataset=data,
        eval_dataset=data.select(range(8)),
        callbacks=[clock],
        peft_config=adapters(lora, "CAUSAL_LM"),
    ).train()
    return {"response_tokens_per_s": size.batch * size.response / clock.seconds}


def reward(lora: bool) -> dict[str, float]:
    """Train on the pairs once."""
    from trl import RewardConfig, RewardTrainer

    size, clock = work(), Clock()
    rows = [
        {"prompt": row["messages"][0]["content"], "chosen": f" {row['chosen']}", "rejected": f" {row['rejected']}"}
        for row in workload.comparisons(size)
    ]
    RewardTrainer(
        args=RewardConfig(
            **SHARED, per_device_train_batch_size=size.rows_per_step, num_train_epochs=1, max_length=size.max_length
        ),
        processing_class=AutoTokenizer.from_pretrained(_folder()),
        model=model(has_head=True),
        train_dataset=Dataset.from_list(rows),
        callbacks=[clock],
        peft_config=adapters(lora, "SEQ_CLS"),
    ).train()
    return {"pairs_per_s": size.rows_per_step / clock.seconds}


def sft(lora: bool) -> dict[str, float]:
    """Train on the demonstrations once; padding is not counted."""
    from trl import SFTConfig, SFTTrainer

    size, clock = work(), Clock()
    rows = [
        {"prompt": asked["content"], "completion": f" {said['content']}"}
        for asked, said in (row["messages"] for row in workload.demonstrations(size))
    ]
    num_tokens = sum(len(row["prompt"].split()) + len(row["completion"].split()) + 1 for row in rows)
    SFTTrainer(
        args=SFTConfig(
            **SHARED, per_device_train_batch_size=size.rows_per_step, num_train_epochs=1, max_length=size.max_length
        ),
        processing_class=AutoTokenizer.from_pretrained(_folder()),
        model=model(),
        train_dataset=Dataset.from_list(rows),
        callbacks=[clock],
        peft_config=adapters(lora, "CAUSAL_LM"),
    ).train()
    return {"real_tokens_per_s": num_tokens / len(rows) * size.rows_per_step / clock.seconds}


STAGES = {"ppo": ppo, "reward": reward, "sft": sft}


def main() -> None:
    """Measure one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--lora", action="store_true")
    args = parser.parse_args()
    set_seed(0)
    figures = STAGES[args.stage](args.lora)
    figures["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
