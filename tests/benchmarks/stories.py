"""PPO on a small real model: stories260K learns to tell happy stories, and what of its language that costs.

    python -m tests.benchmarks.stories [DATA_DIR] [--seeds 0 1 2] [--kl-coefs 0.02 0.06] [--svg FILE] [--set ptx_coef=0]

Story openings of 24 tokens are the prompts, 48 tokens the response; a classifier trained on film reviews scores the two
together. Prints JSON: for each seed the classifier's accuracy on 1,000 other sentences; for each KL coefficient the score,
the share of positive responses, the KL per response (nats) and the held-out loss before and after PPO, and its seconds.

Three ideas on top of plain PPO. The reward is the score up to `CAP`, which stops paying once a story is surely happy; an
uncapped one pays on for ever happier ones, and each costs language. The pretraining mix pulls towards what the reference
expects (`ptx_target`), not towards single tokens, whose noise moves a small model far. And the policy handed on is the moving
average of its weights, which has less of the noise that every step adds. The 128 judged openings are in no training text.
"""

import argparse
import json
import math
import random
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from modules.data.datamodules import PPODataModule, Row
from modules.data.sequences import by_length, pad_rows
from modules.model.backbone import Backbone
from modules.model.generate import Rollout, generate
from modules.model.packing import negative_logprobs
from modules.model.pretrained import load_tokenizer
from modules.ppo import PPOModule
from modules.rl.experience import ScoreFunction, all_logprobs
from tests.benchmarks.stories_chart import draw

END = 1
"""``<s>``, the token between two stories."""
BASE = "models/stories260K-hf"
PROMPT_TOKENS, RESPONSE_TOKENS, BLOCK = 24, 48, 256
OPENING_CHARACTERS, JUDGED = 400, 128
SETTINGS: dict[str, Any] = {
    "iterations": 60,
    "batch_size": 128,
    "minibatch_size": 32,
    "micro_batch_size": 64,
    "epochs": 1,
    "learning_rate": 4e-4,
    "value_learning_rate": 1e-3,
    "value_start": "reward",
    "value_warmup": 0,
    "center_scores": False,
    "missing_eos_penalty": 0.0,
    "lam": 0.9,
    "ptx_coef": 1.0,
    "ptx_target": "reference",
    "ptx_per_iteration": 4,
}
"""Of `PPOModule` and `PPODataModule`; see `PPOConfig`. The learning rate falls to 0 over the second half."""
CAP = 0.7
"""Score, in log-odds of a positive text, from which a happier one earns no more."""
DECAY = 0.9
"""Share of the average policy that stays at each iteration."""


class Task(NamedTuple):
    """Everything but the models, as ids."""

    judged: list[list[int]]
    """Openings that the figures are from."""
    pool: list[Row]
    """Openings that PPO trains on."""
    ptx: list[Row]
    """Blocks of the training text behind the judged openings."""
    held_out: list[list[int]]
    """Blocks of the validation text."""


def load_task(data: Path, tokenizer: PreTrainedTokenizerBase) -> Task:
    """Cut the texts up. The excerpt marks no borders of stories, so openings are cut at every 400th character."""
    train = (data / "corpus/tinystories_train_excerpt.txt").read_text(encoding="utf-8")
    valid = (data / "corpus/tinystories_valid_excerpt.txt").read_text(encoding="utf-8")
    starts = range(0, len(train) - OPENING_CHARACTERS, OPENING_CHARACTERS)
    openings = [ids(tokenizer, train[i : i + OPENING_CHARACTERS])[:PROMPT_TOKENS] for i in starts]
    return Task(
        judged=openings[:JUDGED],
        pool=raw(openings[JUDGED:]),
        ptx=raw(blocks(ids(tokenizer, train[JUDGED * OPENING_CHARACTERS :]))),
        held_out=blocks(ids(tokenizer, valid)),
    )


def ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """A text's ids, ``<s>`` in front."""
    return tokenizer(text, verbose=False)["input_ids"]


def blocks(tokens: list[int]) -> list[list[int]]:
    """Whole blocks; the rest is left out."""
    return [tokens[i : i + BLOCK] for i in range(0, len(tokens) - BLOCK + 1, BLOCK)]


def raw(rows: list[list[int]]) -> list[Row]:
    """Rows of the data module that no chat template touches."""
    return [{"prompt_id": str(i), "category": "story", "ids": row} for i, row in enumerate(rows)]


def train_reward_model(base: Path, rows: list[tuple[list[int], float]], order: random.Random) -> PreTrainedModel:
    """A sentiment classifier: all weights, 3 passes, binary cross-entropy."""
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(3):
        order.shuffle(rows)
        for start in range(0, len(rows), 64):
            texts, labels = zip(*rows[start : start + 64], strict=True)
            targets, lengths = torch.tensor(labels), torch.tensor([len(text) for text in texts])
            for part in by_length(lengths, 16):
                scores = classify(model, [texts[i] for i in part.tolist()])
                (binary_cross_entropy_with_logits(scores, targets[part], reduction="sum") / len(texts)).backward()
            optimizer.step()
            optimizer.zero_grad()
    return model.eval()


def reward_model(args: argparse.Namespace, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """The seed's reward model, from the folder of kept ones if it is there; prints its accuracy on 1,000 sentences."""
    L.seed_everything(seed, verbose=False)
    lines = (args.data / "eval/sentiment_rt_polarity.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [(ids(tokenizer, row["text"])[:128], float(row["label"])) for row in map(json.loads, lines)]
    order, began = random.Random(0), time.monotonic()
    order.shuffle(rows)
    test, train = rows[:1000], rows[1000:]
    kept = args.rewards / f"seed-{seed}" if args.rewards else None
    if kept and kept.is_dir():
        model = AutoModelForSequenceClassification.from_pretrained(kept).eval()
    else:
        model = train_reward_model(args.data / BASE, train, order)
        if kept:
            model.save_pretrained(kept)
    model.requires_grad_(False)
    parts = [test[start : start + 100] for start in range(0, len(test), 100)]
    scores = torch.cat([classify(model, [row for row, _ in part]) for part in parts])
    right = ((scores > 0).float() == torch.tensor([label for _, label in test])).float().mean()
    say({"seed": seed, "reward_accuracy": round(float(right), 3), "seconds": time.monotonic() - began})
    return model


def classify(model: PreTrainedModel, rows: Any) -> Tensor:
    """Scores (B,) of rows of ids, each read at its last token; padded on the right, they need no attention mask."""
    padded = pad_rows(rows, [[True] * len(row) for row in rows], model.config.pad_token_id)
    return model(input_ids=padded.ids).logits[:, 0]


def scorer(model: PreTrainedModel) -> ScoreFunction:
    """Raw scores of prompt + response: positive above 0."""

    def score(rollout: Rollout) -> Tensor:
        with torch.no_grad():
            return classify(model, [p + r for p, r in zip(rollout.prompts, rollout.responses, strict=True)])

    return score


def load_backbone(base: Path, reward: PreTrainedModel) -> Backbone:
    """Policy, reference and a value function whose weights start as the reward model's."""
    backbone = Backbone.load(str(base), method="full", device="cpu", precision="fp32")
    backbone.chat.stop_ids = frozenset({END})
    backbone.add_role("reference")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    backbone.add_role("value", trainable=True, head=True)
    own, learnt = backbone.role_parameters("value"), reward.state_dict()
    with torch.no_grad():
        for name, parameter in own.items():
            source = name.replace("head.weight", "score.weight")
            parameter.copy_(learnt[source] if source in learnt else torch.zeros_like(parameter))
    return backbone


class Averaged(L.Callback):
    """Lets the learning rate fall to 0, and keeps the moving average of the policy's weights."""

    def __init__(self, backbone: Backbone, learning_rate: float, iterations: int) -> None:
        self.policy = list(backbone.role_parameters("policy").values())
        self.average = [weight.detach().clone() for weight in self.policy]
        self.learning_rate, self.iterations = learning_rate, iterations

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set this iteration's learning rate."""
        assert isinstance(pl_module, PPOModule)
        rate = self.learning_rate * min(1.0, 2 - 2 * batch_idx / self.iterations)
        pl_module.rates = replace(pl_module.rates, learning_rate=rate)

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the new policy into the average, where the first ones count alike; tell the iteration's figures."""
        for average, weight in zip(self.average, self.policy, strict=True):
            average.lerp_(weight, max(1 - DECAY, 1 / (batch_idx + 2)))
        if (batch_idx + 1) % 10 == 0:
            metrics = {name: round(float(trainer.callback_metrics[f"objective/{name}"]), 2) for name in ("score", "kl")}
            say({"iteration": batch_idx + 1, **metrics})

    @torch.no_grad()
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Hand on the average."""
        for average, weight in zip(self.average, self.policy, strict=True):
            weight.copy_(average)


def learn(
    backbone: Backbone, score: ScoreFunction, task: Task, seed: int, settings: dict[str, Any]
) -> dict[str, float]:
    """PPO in a plain Trainer; returns its seconds."""
    of_data = {"iterations", "batch_size", "ptx_per_iteration"}
    data = PPODataModule(
        task.pool,
        [],
        backbone.chat,
        demonstrations=task.ptx if settings["ptx_coef"] > 0 else (),
        seed=seed,
        **{key: settings[key] for key in of_data if settings["ptx_coef"] > 0 or key != "ptx_per_iteration"},
    )
    module = PPOModule(
        backbone,
        score_function=lambda rollout: score(rollout).clamp(max=CAP),
        seed=seed,
        max_new_tokens=RESPONSE_TOKENS,
        **{key: value for key, value in settings.items() if key not in of_data},
    )
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        callbacks=[Averaged(backbone, settings["learning_rate"], settings["iterations"])],
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    began, worked = time.monotonic(), time.process_time()
    trainer.fit(module, datamodule=data)
    return {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - worked}


@torch.no_grad()
def judge(backbone: Backbone, score: ScoreFunction, task: Task) -> dict[str, Any]:
    """Answers to the judged openings with random numbers of seed 1, and the loss on the held-out text."""
    rollout = generate(backbone, "policy", task.judged, max_new_tokens=RESPONSE_TOKENS, seed=1, batch_size=JUDGED)
    scores = score(rollout)
    where = rollout.sequences(backbone.chat.pad_id), rollout.response_mask(), 1.0, JUDGED
    kl = all_logprobs(backbone, "policy", *where) - all_logprobs(backbone, "reference", *where)
    with backbone.role("policy"):
        held_out = pad_rows(task.held_out, [[True] * BLOCK] * len(task.held_out), backbone.chat.pad_id)
        loss = negative_logprobs(backbone, held_out).mean()
    return {
        "score": round(float(scores.mean()), 3),
        "positive": round(float((scores > 0).float().mean()), 3),
        "kl": round(float(kl.sum(-1).mean()), 2),
        "held_out_loss": round(float(loss), 4),
        "sample": backbone.chat.decode(rollout.responses[0]),
    }


def best_of(backbone: Backbone, score: ScoreFunction, task: Task, nums: list[int]) -> dict[str, list[float]]:
    """What choosing among samples would give: for each n the share of positive best ones, and the KL that n is worth.

    The best of n samples is log(n) - (n - 1) / n nats from the reference, or less (Beirami et al. 2024).
    """
    draws = range(max(nums))
    rollouts = (
        generate(backbone, "reference", task.judged, max_new_tokens=RESPONSE_TOKENS, seed=seed, batch_size=JUDGED)
        for seed in draws
    )
    scores = torch.stack([score(rollout) for rollout in rollouts])
    found = {}
    for n in nums:
        whole = scores[: len(draws) // n * n].view(-1, n, JUDGED)
        found[str(n)] = [round(float((whole.amax(1) > 0).float().mean()), 3), round(math.log(n) - (n - 1) / n, 2)]
    return found


def main() -> None:
    """Run every seed with every coefficient."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kl-coefs", type=float, nargs="*", default=[0.02])
    parser.add_argument("--rewards", type=Path, help="where reward models are kept for the next time")
    parser.add_argument(
        "--best-of", type=int, nargs="+", default=[], help="tell too what the best of N samples would be"
    )
    parser.add_argument("--svg", type=Path, help="where the drawing goes")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="change a setting, values in JSON")
    args = parser.parse_args()
    base = args.data / BASE
    if not base.is_dir():
        sys.exit(f"There is no {base}, so nothing was run: name the folder of the data sets.")
    settings = SETTINGS | {key: json.loads(value) for key, value in (pair.split("=", 1) for pair in args.set)}
    tokenizer = load_tokenizer(base)
    task, found = load_task(args.data, tokenizer), []
    for seed in args.seeds:
        reward = reward_model(args, tokenizer, seed)
        if args.best_of:
            backbone = load_backbone(base, reward)
            say({"seed": seed, "best_of": best_of(backbone, scorer(reward), task, args.best_of)})
        for kl_coef in args.kl_coefs:
            L.seed_everything(seed, verbose=False)
            backbone, score = load_backbone(base, reward), scorer(reward)
            before = judge(backbone, score, task)
            seconds = learn(backbone, score, task, seed, settings | {"kl_coef": kl_coef})
            run = {"seed": seed, "kl_coef": kl_coef, **seconds, "before": before, "after": judge(backbone, score, task)}
            say(run)
            found.append(run)
    if args.svg:
        args.svg.write_text(draw(found), encoding="utf-8")


def say(row: dict[str, Any]) -> None:
    """One line of JSON, seconds to a tenth."""
    print(
        json.dumps({key: round(value, 1) if key.endswith("seconds") else value for key, value in row.items()}),
        flush=True,
    )


if __name__ == "__main__":
    main()
