"""Two processes on the CPU are one process: the same data, gradients, weights and metrics, in all stages that train.

One pair of processes does everything, while this process does the same alone. The shares are uneven on purpose: in tokens,
in rows (17 by batches of 8: the last batch leaves the second process nothing), and in the rows of PPO's minibatches.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from conftest import END, Memory, comparison, conversation, prompt, scramble, trainer
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file, save_file

from modules.data.datamodules import PPODataModule, RewardDataModule, SFTDataModule
from modules.dpo import DPOModule
from modules.model.backbone import Backbone
from modules.ppo import PPOModule
from modules.reward import RewardModule
from modules.runtime.distributed import SummedByHand, gather_shares, share, world
from modules.sft import SFTModule

STAGES = ("sft", "reward", "ppo", "dpo")
BATCH, ROWS, PROMPTS, ITERATIONS = 8, 17, 7, 3
EXACT: dict[str, float] = {"rtol": 1e-5, "atol": 1e-5}


class Result(NamedTuple):
    """What one process of a run has to show of a stage."""

    gradients: list[dict[str, torch.Tensor]]
    """Of each optimizer step, summed over processes, before clipping."""
    weights: dict[str, torch.Tensor]
    metrics: list[list[Any]]
    """``[step, name to value]``; the first process's only."""
    answers: list[list[list[str]]]
    """PPO: prompt and response, of each iteration and at last of the held-out prompts."""
    state: dict[str, Any]


def sft(backbone: Backbone) -> tuple[Any, Any, list[str]]:
    backbone.add_role("policy", trainable=True)
    scramble(backbone, "policy")
    rows = [conversation(i, response_words=1 + (i * 5) % 11) for i in range(26)]
    data = SFTDataModule(rows[:ROWS], rows[ROWS:], backbone.chat, batch_size=BATCH)
    return SFTModule(backbone, num_steps=3, learning_rate=1e-3, micro_batch_size=3), data, ["policy"]


def reward(backbone: Backbone) -> tuple[Any, Any, list[str]]:
    backbone.add_role("reward", trainable=True, head=True)
    scramble(backbone, "reward")
    rows = [comparison(i, weight=1.0 + i % 3) for i in range(26)]
    data = RewardDataModule(rows[:ROWS], rows[ROWS:], backbone.chat, batch_size=BATCH)
    return RewardModule(backbone, num_steps=3, learning_rate=1e-3, micro_batch_size=3), data, ["reward"]


def ppo(backbone: Backbone) -> tuple[Any, Any, list[str]]:
    backbone.chat.stop_ids = frozenset({END, *range(12, 96, 12)})
    backbone.add_role("reference")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    scramble(backbone, "policy")
    backbone.add_role("reward", head=True)
    scramble(backbone, "reward", 1)
    backbone.add_role("value", copy_of="reward", trainable=True, head=True)
    rows = [conversation(100 + i, response_words=1 + i) for i in range(5)]
    data = PPODataModule(
        [prompt(i) for i in range(PROMPTS * ITERATIONS)],
        [prompt(i) for i in range(50, 55)],
        backbone.chat,
        demonstrations=rows,
        validation_demonstrations=[*rows[:2], rows[2] | {"category": "left out"}],
        excluded=frozenset({"left out"}),
        ptx_per_iteration=3,
        batch_size=PROMPTS,
        iterations=ITERATIONS,
    )
    options: dict[str, Any] = {"value_warmup": 1, "epochs": 2, "ptx_coef": 0.5, "kl_target": 1.0, "entropy_coef": 0.01}
    module = PPOModule(backbone, minibatch_size=3, micro_batch_size=2, max_new_tokens=6, **options)
    return module, data, ["policy", "value"]


def dpo(backbone: Backbone) -> tuple[Any, Any, list[str]]:
    backbone.add_role("reference")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    scramble(backbone, "policy")
    rows = [comparison(i, weight=1.0 + i % 3) for i in range(26)]
    data = RewardDataModule(rows[:ROWS], rows[ROWS:], backbone.chat, batch_size=BATCH)
    return DPOModule(backbone, num_steps=3, learning_rate=1e-3, beta=1.0, micro_batch_size=3), data, ["policy"]


def run(tiny: str, out: Path, strategies: tuple[Any, ...], devices: int) -> None:
    """Train a little in each stage; each process writes what it has to show."""
    torch.set_num_threads(1)
    for stage, strategy in zip(STAGES, strategies, strict=True):
        torch.manual_seed(0)
        backbone = Backbone.load(tiny, device="cpu", lora_rank=4)
        module, data, roles = {"sft": sft, "reward": reward, "ppo": ppo, "dpo": dpo}[stage](backbone)
        gradients, answers, memory = [], [], Memory()
        restore = watch_gradients(gradients)
        fitted = trainer(memory, strategy=strategy, devices=devices, val_check_interval=1, callbacks=[Keep(answers)])
        fitted.fit(module, datamodule=data)
        restore()
        if stage == "ppo":
            answers.append([[s.prompt_text, s.response_text] for s in module.latest_eval_samples])
        weights = {f"{role}.{k}": v.detach() for role in roles for k, v in backbone.role_parameters(role).items()}
        rank = world()[0]
        for step, grads in enumerate(gradients):
            save_file(grads, out / f"{stage}-{rank}-step{step}.safetensors")
        save_file(weights, out / f"{stage}-{rank}.safetensors")
        rows = [[step, {k: v for k, v in metrics.items() if "/" in k}] for step, metrics in memory.rows]
        kept = {"metrics": rows, "answers": answers, "state": module.state()}
        (out / f"{stage}-{rank}.json").write_text(json.dumps(kept))


class Keep(Callback):
    """Keeps the responses of each iteration of PPO, of all processes in the order of their prompts."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers = answers

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        if isinstance(pl_module, PPOModule):
            self.answers.append(gather_shares([[s.prompt_text, s.response_text] for s in pl_module.latest_samples]))


def watch_gradients(found: list[dict[str, torch.Tensor]]) -> Callable[[], None]:
    """Note what is about to be clipped; returns the way back."""
    original = torch.nn.utils.clip_grad_norm_

    def clip(parameters: Any, max_norm: float) -> Any:
        found.append({str(i): p.grad.clone() for i, p in enumerate(parameters)})
        return original(parameters, max_norm)

    torch.nn.utils.clip_grad_norm_ = clip
    return lambda: setattr(torch.nn.utils, "clip_grad_norm_", original)


def read(out: Path, stage: str, rank: int) -> Result:
    kept = json.loads((out / f"{stage}-{rank}.json").read_text())
    files = sorted(out.glob(f"{stage}-{rank}-step*.safetensors"), key=lambda f: int(f.stem.partition("step")[2]))
    return Result([load_file(f) for f in files], load_file(out / f"{stage}-{rank}.safetensors"), **kept)


@pytest.fixture(scope="module")
def found(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Result, Result, Result]]:
    """Of each stage: the results of one process alone, and of the two of a pair."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, __file__, str(tiny), str(two)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as pair:
        run(str(tiny), one, ("auto",) * 4, devices=1)
        output, _ = pair.communicate(timeout=400)
    assert pair.returncode == 0, output.decode()[-3000:]
    return {stage: (read(one, stage, 0), read(two, stage, 0), read(two, stage, 1)) for stage in STAGES}


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_have_the_gradients_of_one_on_the_joint_batch(found: Any, stage: str) -> None:
    one, first, second = found[stage]
    assert len(one.gradients) == len(first.gradients) == len(second.gradients) > 2
    for step, expected in enumerate(one.gradients):
        for name, gradient in expected.items():
            assert torch.allclose(first.gradients[step][name], gradient, **EXACT), (step, name)
            assert torch.equal(first.gradients[step][name], second.gradients[step][name]), "the processes disagree"
    assert max(float(g.abs().max()) for g in one.gradients[0].values()) > 1e-3, "there must be something to compare"


def flat(state: Any, name: str = "state") -> dict[str, float]:
    """The numbers of a nested state by their paths, as `pytest.approx` wants them."""
    if isinstance(state, dict | list):
        parts = state.items() if isinstance(state, dict) else enumerate(state)
        return {path: number for key, value in parts for path, number in flat(value, f"{name}.{key}").items()}
    return {} if state is None else {name: state}


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_end_with_the_weights_and_state_of_one(found: Any, stage: str) -> None:
    one, first, second = found[stage]
    for name, tensor in one.weights.items():
        assert torch.equal(first.weights[name], second.weights[name]), "the processes have drifted apart"
        if name != "reward.head.bias":  # its gradient is 0 but for rounding, and Adam takes full steps in any noise
            assert torch.allclose(first.weights[name], tensor, atol=2e-5), name
    assert first.state == second.state
    assert flat(first.state) == pytest.approx(flat(one.state), rel=1e-5)


@pytest.mark.parametrize("stage", STAGES)
def test_every_metric_is_that_of_one_process_on_all_rows(found: Any, stage: str) -> None:
    one, first, _ = found[stage]
    assert [step for step, _ in one.metrics] == [step for step, _ in first.metrics]
    for (_, expected), (_, metrics) in zip(one.metrics, first.metrics, strict=True):
        assert expected.keys() == metrics.keys()
        kept = {name: value for name, value in expected.items() if "per_s" not in name and "time/" not in name}
        assert {name: metrics[name] for name in kept} == pytest.approx(kept, rel=1e-4, abs=1e-5)
    names = {name for _, metrics in one.metrics for name in metrics}
    expected = {"sft": {"eval/loss"}, "reward": {"eval/accuracy"}, "ppo": {"eval/tax_loss", "eval/kl"}}
    assert (expected | {"dpo": {"eval/margin_per_token", "train/margin"}})[stage] < names


def test_the_price_of_the_kl_moves_as_in_one_process(found: Any) -> None:
    one, first, _ = found["ppo"]
    prices = [metrics["objective/kl_coef"] for _, metrics in first.metrics if "objective/kl_coef" in metrics]
    assert prices[0] == pytest.approx(0.05)
    assert prices[1] == prices[0], "held while the value function warms up, for one iteration"
    assert len({*prices, first.state["kl_coef"]}) == ITERATIONS
    assert first.state["kl_coef"] == pytest.approx(one.state["kl_coef"], rel=1e-6)


def test_the_responses_do_not_depend_on_the_number_of_processes_and_each_prompt_comes_once(found: Any) -> None:
    one, first, second = found["ppo"]
    assert first.answers == one.answers == second.answers
    *iterations, held_out = first.answers
    assert [len(answers) for answers in iterations] == [PROMPTS] * ITERATIONS
    assert set(Counter(text for answers in iterations for text, _ in answers).values()) == {1}
    assert len(held_out) == 5
    assert len({response for answers in iterations for _, response in answers}) > PROMPTS


def test_alone_a_process_has_all_rows() -> None:
    assert share([1, 2, 3]) == gather_shares([1, 2, 3]) == [1, 2, 3]


if __name__ == "__main__":
    # Lightning's plain strategy gives the same, so that a notebook may use it.
    run(sys.argv[1], Path(sys.argv[2]), ("ddp", SummedByHand(), SummedByHand(), SummedByHand()), devices=2)
