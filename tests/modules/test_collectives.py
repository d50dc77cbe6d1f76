"""Every process of a run joins in the same collectives in the same order, whatever rows it got; else all would hang.

One process plays each rank in turn; its collectives are noted and not carried out.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import comparison, conversation, prompt

from modules.data.datamodules import PPODataModule, RewardDataModule, SFTDataModule
from modules.model.backbone import Backbone
from modules.ppo import PPOModule
from modules.reward import RewardModule
from modules.rl.step_metrics import StepSums
from modules.runtime import distributed
from modules.sft import SFTModule

SIZE = 3


@pytest.fixture
def playing(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """Be this rank of `SIZE` processes from now on; gives the list of collectives that it joins in."""

    def apply(rank: int) -> list[str]:
        joined: list[str] = []

        class Done:
            def wait(self) -> None:
                pass

        def reduce(tensor: torch.Tensor, async_op: bool = False) -> Done:
            joined.append(f"sum of {tensor.ndim} dimensions")
            if tensor.ndim == 0 and tensor.is_floating_point():
                tensor += 1  # what the others have, so that all decide alike
            return Done()

        def gather(parts: list[torch.Tensor], own: torch.Tensor) -> None:
            joined.append(f"gather {own.ndim} dimensions")
            for part in parts:
                part.copy_(own)

        def gather_objects(parts: list[Any], own: Any) -> None:
            joined.append("gather objects")
            parts[:] = [own if i == rank else [] for i in range(SIZE)]

        def names_of_all(own: Any) -> list[str]:
            return distributed.union([*own, "value/loss"])  # some process has a row

        monkeypatch.setattr("modules.rl.step_metrics.union", names_of_all)
        monkeypatch.setattr(distributed, "world", lambda: (rank, SIZE))
        monkeypatch.setattr("modules.ppo.world", lambda: (rank, SIZE))
        monkeypatch.setattr(distributed.dist, "all_reduce", reduce)
        monkeypatch.setattr(distributed.dist, "all_gather", gather)
        monkeypatch.setattr(distributed.dist, "all_gather_object", gather_objects)
        return joined

    return apply


def sft(backbone: Backbone, **_: Any) -> tuple[Any, Any]:
    rows = [conversation(i) for i in range(4)]
    data = SFTDataModule(rows, rows[:1], backbone.chat, batch_size=3)
    return SFTModule(backbone, num_steps=data.num_steps, sample_prompts=data.sample_prompts(1)), data


def reward(backbone: Backbone, **_: Any) -> tuple[Any, Any]:
    rows = [comparison(i) for i in range(4)]
    data = RewardDataModule(rows, [comparison(i) for i in range(20, 22)], backbone.chat, batch_size=3)
    return RewardModule(backbone, num_steps=data.num_steps), data


def ppo(backbone: Backbone, **options: Any) -> tuple[Any, Any]:
    rows = [conversation(i) for i in range(40, 42)]
    data = PPODataModule(
        [prompt(i) for i in range(4)],
        [prompt(20)],  # fewer than processes
        backbone.chat,
        demonstrations=rows,
        validation_demonstrations=[rows[0], rows[1] | {"category": "left out"}],
        excluded=frozenset({"left out"}),
        ptx_per_iteration=1,
        is_centred=True,
        batch_size=3,
        iterations=2,
    )
    module = PPOModule(
        backbone,
        max_new_tokens=3,
        epochs=2,
        minibatch_size=2,  # fewer than processes: each step leaves one without a row
        ptx_coef=0.5,
        score_scale="running",
        bootstrap_unfinished=True,
        ema_decay=0.5,
        **options,
    )
    return module, data


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "sft": (sft, {}),
    "reward": (reward, {}),
    "ppo": (ppo, {"value_warmup": 0}),
    "ppo in its warm-up": (ppo, {"value_warmup": 5}),
    "ppo ended at once by its limit": (ppo, {"value_warmup": 0, "approx_kl_limit": 0.5}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_collectives_are_the_same_on_every_process_whatever_rows_it_got(
    four_roles: Any, load: Any, alone: Any, playing: Any, case: str
) -> None:
    make, options = CASES[case]
    joined = []
    for rank in range(SIZE):
        playing(rank)
        if make is ppo:
            backbone = four_roles()
        else:
            backbone = load()
            backbone.add_role("policy" if make is sft else "reward", trainable=True, head=make is reward)
        module, data = make(backbone, **options)
        alone(module)
        joined.append(playing(rank))
        for index, batch in enumerate(data.train_dataloader()):
            module.training_step(batch, index)
        module.on_validation_epoch_start()
        with torch.no_grad():
            for index, batch in enumerate(data.val_dataloader()):
                module.validation_step(batch, index)
            module.on_validation_epoch_end()
    assert joined[0]
    assert joined[1] == joined[0]
    assert joined[2] == joined[0]


def test_a_process_that_had_no_row_sums_the_metrics_of_the_others_too(playing: Any) -> None:
    joined = []
    for rank in range(2):
        joined.append(playing(rank))
        sums = StepSums(torch.device("cpu"))
        if rank == 0:
            sums.add_tokens({"policy/loss": torch.ones(3), "value/loss": torch.ones(3)})
        sums.add_step("value/grad_norm", 0.5)
        sums.means()
    assert joined[0] == joined[1] == ["gather objects", "sum of 2 dimensions"]
