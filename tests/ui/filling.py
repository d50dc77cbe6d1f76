"""Fills a workspace by hand through the stores: what the pages show when a loop has been round once."""

import math
import random
import re

from modules.config import PPOConfig, RewardConfig, SampleConfig, SFTConfig
from studio.models import checkpoints
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.runs import metrics, rollouts, runs
from studio.runs.rollouts import NewRollout, Tokens
from studio.workspace import Workspace
from tests.support import stored

HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>&amp;${alert(1)} {{7*7}} `x`"
QUESTIONS = (
    "Tell me the capital of Poland.",
    "Why is the sky blue?",
    "Write a polite request for a day off.",
    "Add 14 and 23.",
)


def add_texts(ws: Workspace, num: int = 12) -> list[int]:
    """Prompts with a demonstration each; returns the prompt ids."""
    ids = []
    with ws.write() as db:
        for n in range(num):
            messages = [{"role": "user", "content": f"{QUESTIONS[n % 4]} ({n})"}]
            ids.append(
                prompts.add_prompt(db, NewPrompt(messages, ("capital", "why", "letter", "sum")[n % 4], split="train"))
            )
            prompts.add_response(db, ids[-1], f"Certainly. Here is what you asked for, number {n}.", "demonstration")
    return ids


def add_run(ws: Workspace, config, state: str = "finished", text: str = "", message: str = "It finished.") -> runs.Run:
    """A run that has reached `state` without a worker."""
    run = runs.create(ws, config)
    if state != "queued":
        stored.written(ws, runs.move, run.id, "running")
        stored.written(ws, runs.beat, run.id, 0.4 if state == "running" else 1.0, text)
        if state != "running":
            stored.written(ws, runs.move, run.id, state, message)
    return stored.read(ws, runs.get, run.id)


def add_checkpoint(ws: Workspace, run: runs.Run, step: int = 40, **figures: float) -> str:
    """A checkpoint folder with its row; it holds no weights."""
    folder = runs.folder(ws, run.name) / "checkpoints" / f"step-{step}"
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text('{"base_model": "starter", "chat_template": "auto"}')
    return stored.written(
        ws, checkpoints.add, run.id, step, folder, base_model="starter", base_fingerprint="f", metrics=figures
    )


def add_pairs(ws: Workspace, prompt_ids: list[int], checkpoint: str, texts=None, run: runs.Run | None = None) -> None:
    """One pair of sampled answers for each prompt; `texts` makes the two answers from the prompt id."""
    found = stored.read(ws, checkpoints.get, checkpoint)
    texts = texts or (
        lambda n: (f"Certainly. The answer is number {n}.\n\nPlease ask if you need more.", f"It is {n}.")
    )
    with ws.write() as db:
        for prompt_id in prompt_ids:
            pair = [
                prompts.add_response(
                    db, prompt_id, text, "sample", checkpoint_id=found.id, sampling='{"temperature": 1}'
                )
                for text in texts(prompt_id)
            ]
            comparisons.add_comparison(db, prompt_id, (pair[0], pair[1]), run.id if run else None)


def add_rivals(
    ws: Workspace,
    num: int,
    names: tuple[str, ...] = ("sft-2@40", "sft-1@40"),
    size: int = 2,
    run: runs.Run | None = None,
) -> None:
    """Comparisons of `size` answers, the checkpoints in turn; an answer is its checkpoint's name and a number.

    A session between the two takes only those of a sampling `run`.
    """
    with ws.write() as db:
        ids = {row["name"]: row["id"] for row in db.query("SELECT name, id FROM checkpoints")}
        for number in range(num):
            prompt = NewPrompt([{"role": "user", "content": f"Question {number}"}], "", "validation")
            prompt_id = prompts.add_prompt(db, prompt)
            answers = [
                prompts.add_response(
                    db,
                    prompt_id,
                    f"{name} {number} {k}",
                    "sample",
                    checkpoint_id=ids[name],
                    sampling='{"temperature": 1}',
                )
                for k, name in enumerate((names * size)[:size])
            ]
            comparisons.add_comparison(db, prompt_id, answers, run and run.id)


def add_curves(ws: Workspace, run: runs.Run, names: dict[str, float], num: int = 60) -> None:
    """Falling or rising curves with noise; the value is where each ends."""
    rng = random.Random(run.id)
    for step in range(1, num + 1):
        progress = 1 - math.exp(-4 * step / num)
        stored.written(
            ws,
            metrics.add,
            run.id,
            step,
            {n: end * (2 - progress) + rng.gauss(0, abs(end) * 0.03) for n, end in names.items()},
        )


def add_rollouts(ws: Workspace, run: runs.Run, iteration: int, texts: list[str]) -> None:
    """Responses of an iteration with made-up numbers; each word is a token."""
    rng, ids, new = random.Random(iteration), {}, []
    for n, text in enumerate(texts):
        pieces = [*re.findall(r"\s*\S+", text), "</s>"]
        response = [ids.setdefault(piece, len(ids)) for piece in pieces]
        logprobs, ref_logprobs, values, advantages = (
            [rng.gauss(mean, 0.6) for _ in response] for mean in (-1.2, -1.4, 0.3, 0.0)
        )
        returns = [value + advantage for value, advantage in zip(values, advantages, strict=True)]
        tokens = Tokens([1, 2], response, logprobs, ref_logprobs, values, advantages, returns)
        kl = sum(logprobs) - sum(ref_logprobs)
        score = 2.0 - n + iteration / 10
        components = {"reward": score + 0.5, "short": -len(text) / 10}
        new.append(NewRollout(1 + n, text, score, score, components, kl, ("eos", "length")[n % 3 == 2], tokens))
    stored.written(
        ws, rollouts.add, run.id, iteration, new, keep=20, token_texts={number: piece for piece, number in ids.items()}
    )


def add_rated(ws: Workspace, num: int) -> None:
    """Rate the next pairs."""
    for n in range(num):
        showing = stored.written(ws, comparisons.next_showing)
        assert showing is not None
        stored.written(ws, ratings.record, showing.id, "left" if n % 3 else "tie", strength=2 if n % 3 else None)


def fill(ws: Workspace) -> None:
    """Once round the loop: texts, SFT, pairs, ratings, reward model, PPO running."""
    ids = add_texts(ws, 24)
    sft = add_run(ws, SFTConfig())
    add_curves(ws, sft, {"train/loss": 1.1, "train/lr": 1e-4, "train/grad_norm": 0.8})
    add_curves(ws, sft, {"eval/loss": 1.2, "eval/perplexity": 3.3}, num=8)
    first = add_checkpoint(ws, sft, 60, **{"eval/loss": 1.204})
    sampled = add_run(ws, SampleConfig(), message="48 answers, 24 pairs.")
    add_pairs(ws, ids, first, run=sampled)
    add_rated(ws, 9)
    reward = add_run(ws, RewardConfig())
    add_curves(
        ws,
        reward,
        {
            "train/loss": 0.4,
            "train/accuracy": 0.71,
            "eval/accuracy": 0.68,
            "eval/accuracy_low": 0.6,
            "eval/accuracy_high": 0.75,
        },
    )
    add_checkpoint(ws, reward, 30, **{"eval/accuracy": 0.682})
    failed = add_run(
        ws, PPOConfig(), "failed", message="The loss of iteration 3 is not a finite number. Lower the learning rate."
    )
    assert failed.is_ended
    ppo = add_run(ws, PPOConfig(kl_coef=0.1))
    add_curves(
        ws,
        ppo,
        {
            "objective/score": 1.3,
            "objective/kl": 6.1,
            "objective/reward": 0.8,
            "policy/loss": 0.01,
            "value/loss": 0.2,
            "rollout/response_tokens": 31,
        },
    )
    add_curves(ws, ppo, {"eval/score": 1.2, "eval/kl": 5.4}, num=6)
    add_checkpoint(ws, ppo, 40, **{"eval/score": 1.21})
    stored.written(
        ws,
        metrics.add_samples,
        ppo.id,
        40,
        [{"prompt": QUESTIONS[0], "response": HOSTILE, "score": 1.2345, "kl": 4.2, "end_reason": "length"}],
    )
    long = "Certainly.\n\nThe capital of Poland is Warsaw. It lies on the Vistula, and has been the capital since 1596."
    for iteration in (38, 39, 40):
        add_rollouts(ws, ppo, iteration, [long, f"It is {iteration}.", HOSTILE, "I do not know. " * 9])
    (runs.folder(ws, ppo.name) / "log.txt").write_text(f"loading\niteration 1 of 40\n{HOSTILE}\n")
    add_rated(ws, 3)
    lost = add_run(
        ws,
        SFTConfig(epochs=3),
        "lost",
        message="Its process ended without a message (killed, out of memory, or power loss).",
    )
    assert lost.is_ended
