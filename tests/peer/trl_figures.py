"""Runs in the Python that has TRL: its real trainers take steps on a tiny model, and what they computed is written down.

    PYTHON tests/peer/trl_figures.py FOLDER

FOLDER holds two models with a tokenizer, ``policy`` and ``scorer`` (with its last layer in ``head.safetensors``); the tensors are
written to ``figures.safetensors`` there. TRL's PPO is one long function, so its own variables are read from its frame, at
the end of an update and at each call of its ``masked_mean``.
"""

import random
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
    set_seed,
)
from trl import RewardConfig, RewardTrainer, SFTConfig, SFTTrainer
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

SHARED = {
    "report_to": [],
    "bf16": False,
    "use_cpu": True,
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "disable_tqdm": True,
}
WORDS = [f"w{i}" for i in range(90)]


class Frames(TrainerCallback):
    """Reads PPO's variables."""

    at_end = ("query_responses", "responses", "logprobs", "ref_logprobs", "values", "scores", "padding_mask",
              "padding_mask_p1", "kl", "rewards", "advantages", "returns", "approxkl_stats", "pg_loss_stats")  # fmt: skip
    at_mean = (
        "micro_batch_inds",
        "new_logprobs",
        "vpred",
        "mb_advantage",
        "mb_logprobs",
        "mb_values",
        "mb_return",
        "pg_loss",
        "vf_loss",
    )

    def __init__(self):
        self.found = {}
        self.means = 0
        self._masked_mean = ppo_trainer.masked_mean

    def on_step_end(self, *args, **kwargs):
        frame = sys._getframe(1)
        while frame.f_code.co_name != "train":
            frame = frame.f_back
        self.found |= {f"ppo.{name}": frame.f_locals[name] for name in self.at_end}

    def masked_mean(self, values, mask, axis=None):
        """TRL's; the last of the four that it takes of a micro-batch also notes what that holds."""
        frame = sys._getframe(1)
        if frame.f_code.co_name == "train":
            self.means += 1
            if self.means % 4 == 0:
                for name in self.at_mean:
                    value = torch.as_tensor(frame.f_locals[name]).detach().clone()
                    self.found[f"micro.{self.means // 4 - 1}.{name}"] = value
        return self._masked_mean(values, mask, axis)


def ppo(folder, *, num_mini_batches):
    set_seed(4)
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy", padding_side="left")
    frames = Frames()
    ppo_trainer.masked_mean = frames.masked_mean
    ids = torch.randint(6, 96, (16, 5), generator=torch.Generator().manual_seed(0))
    data = Dataset.from_dict({"input_ids": ids.tolist()})
    args = PPOConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=2, gradient_accumulation_steps=4, total_episodes=8,
        response_length=40, stop_token="eos", num_ppo_epochs=2, num_mini_batches=num_mini_batches, num_sample_generations=0,
        local_rollout_forward_batch_size=8, temperature=0.7, learning_rate=3e-3, max_grad_norm=1e-3, missing_eos_penalty=1.0,
        lam=0.9, gamma=0.97, kl_coef=0.2, **SHARED,
    )  # fmt: skip
    reference = AutoModelForCausalLM.from_pretrained(folder / "policy")
    with torch.no_grad():
        reference.get_output_embeddings().weight.mul_(0.9)
    trainer = PPOTrainer(
        args=args, processing_class=tokenizer, model=AutoModelForCausalLM.from_pretrained(folder / "policy"),
        ref_model=reference, reward_model=scorer(folder), value_model=scorer(folder),
        train_dataset=data, eval_dataset=data.select(range(2)), callbacks=[frames],
    )  # fmt: skip
    norms, step = [], trainer.optimizer.step

    def spy():
        if trainer.accelerator.sync_gradients:
            grads = [p.grad.norm() for p in trainer.model.parameters() if p.grad is not None]
            norms.append(torch.stack(grads).norm())
        step()

    trainer.optimizer.step = spy
    trainer.train()
    ppo_trainer.masked_mean = frames._masked_mean
    return frames.found | {"ppo.grad_norms": torch.stack(norms)}


def scorer(folder):
    model = AutoModelForSequenceClassification.from_pretrained(folder / "scorer", num_labels=1)
    with torch.no_grad():
        model.score.weight.copy_(load_file(folder / "scorer" / "head.safetensors")["weight"])
    return model


def loss_of(trainer, prefix):
    """A trainer's loss on its first batch, and that batch."""
    batch = next(iter(trainer.get_train_dataloader()))
    tensors = {name: value.clone() for name, value in batch.items() if isinstance(value, torch.Tensor)}
    loss = trainer.compute_loss(trainer.model.eval(), batch)
    return {f"{prefix}.{name}": value for name, value in (tensors | {"loss": loss}).items()}


def text(rng, low, high):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(low, high)))


def sft(folder):
    rng = random.Random(0)
    rows = [{"prompt": text(rng, 2, 9), "completion": " " + text(rng, 1, 20)} for _ in range(8)]
    args = SFTConfig(output_dir=tempfile.mkdtemp(), per_device_train_batch_size=8, max_length=64, **SHARED)
    trainer = SFTTrainer(
        args=args, processing_class=AutoTokenizer.from_pretrained(folder / "policy"),
        model=AutoModelForCausalLM.from_pretrained(folder / "policy"), train_dataset=Dataset.from_list(rows),
    )  # fmt: skip
    return loss_of(trainer, "sft")


def reward(folder, *, has_margin):
    rng = random.Random(1)
    rows = [
        {"prompt": text(rng, 2, 9), "chosen": " " + text(rng, 1, 20), "rejected": " " + text(rng, 1, 20)}
        for _ in range(8)
    ]
    if has_margin:
        rows = [row | {"margin": 0.25 * i} for i, row in enumerate(rows)]
    args = RewardConfig(output_dir=tempfile.mkdtemp(), per_device_train_batch_size=8, max_length=64, **SHARED)
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy")
    trainer = RewardTrainer(
        args=args, processing_class=tokenizer, model=scorer(folder), train_dataset=Dataset.from_list(rows)
    )
    return loss_of(trainer, "margin" if has_margin else "reward")


def main():
    folder = Path(sys.argv[1])
    found = sft(folder) | reward(folder, has_margin=False) | reward(folder, has_margin=True)
    found |= ppo(folder, num_mini_batches=1)
    halves = ppo(folder, num_mini_batches=2)
    found |= {"halves.grad_norms": halves["ppo.grad_norms"]}
    tensors = {
        name: torch.as_tensor(np.asarray(value) if isinstance(value, list) else value) for name, value in found.items()
    }
    save_file(
        {name: value.detach().clone().contiguous() for name, value in tensors.items()}, folder / "figures.safetensors"
    )


if __name__ == "__main__":
    main()
