"""Packed texts keep to themselves, in every family, and give the losses and gradients of texts that have a row each."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import conversation, scramble
from families import FAMILIES, write_family
from torch import Tensor

from modules.data.datamodules import SFTDataModule
from modules.data.sequences import Sequences
from modules.errors import ConfigError
from modules.model.backbone import Backbone
from modules.model.packing import check_packing, negative_logprobs, pack
from modules.sft import SFTModule

ROWS = [conversation(i, prompt_words=1 + i % 5, response_words=1 + (i * 7) % 13) for i in range(12)]

every_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder for each family."""
    root = tmp_path_factory.mktemp("families")
    return {family: write_family(root / family, family) for family in FAMILIES}


def build(folder: Path, **options: Any) -> tuple[SFTModule, Sequences]:
    torch.manual_seed(0)
    kinds = {name: options.pop(name) for name in ("gradient_checkpointing",) if name in options}
    backbone = Backbone.load(str(folder), device="cpu", lora_rank=4, **kinds)
    backbone.add_role("policy", trainable=True)
    scramble(backbone, "policy", scale=0.02)
    data = SFTDataModule(ROWS, [], backbone.chat, batch_size=12)
    return SFTModule(backbone, num_steps=1, **options), next(iter(data.train_dataloader()))


def losses(module: SFTModule, batch: Sequences) -> Tensor:
    """Sorted, since packing changes the order."""
    with torch.no_grad(), module.backbone.role("policy"):
        found = [negative_logprobs(module.backbone, part) for part in module._micro_batches(batch)]
    return torch.cat(found).sort().values


def test_every_text_is_kept_whole_and_once_and_rows_are_filled(folders: dict[str, Path]) -> None:
    _, batch = build(folders["llama"])
    parts = list(pack(batch, 40, 2))
    assert all(len(part.ids) <= 2 and part.ids.shape[1] <= 40 for part in parts)
    texts = []
    for part in parts:
        for ids, positions in zip(part.ids.tolist(), part.positions.tolist(), strict=True):
            starts = [i for i, position in enumerate(positions) if position == 0]
            texts += [ids[a:b] for a, b in zip(starts, [*starts[1:], len(ids)], strict=True)]
    expected = [ids[:length] for ids, length in zip(batch.ids.tolist(), batch.lengths.tolist(), strict=True)]
    stripped = [text[: max(i for i, token in enumerate(text) if token) + 1] for text in texts]
    assert sorted(stripped) == sorted(expected)
    assert sum(len(part.ids) for part in parts) == -(-int(batch.lengths.sum()) // 40)


@every_family
@pytest.mark.parametrize("checkpointed", [False, True])
def test_packed_losses_and_gradients_are_those_of_rows_of_their_own(
    folders: dict[str, Path], gradients: Any, family: str, checkpointed: bool
) -> None:
    plain, batch = build(folders[family], micro_batch_size=4)
    packed, _ = build(folders[family], micro_batch_size=2, pack_length=40, gradient_checkpointing=checkpointed)
    assert torch.allclose(losses(plain, batch), losses(packed, batch), atol=1e-5)
    expected, found = gradients(plain, batch), gradients(packed, batch)
    assert max(float(g.abs().max()) for g in expected) > 1e-3
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(expected, found, strict=True))


@every_family
def test_changing_one_text_changes_nothing_in_its_neighbour(folders: dict[str, Path], family: str) -> None:
    module, batch = build(folders[family], pack_length=1000)
    (row,) = pack(batch, 1000, 1)
    second = int((row.positions[0] == 0).nonzero()[1])
    changed = row._replace(ids=row.ids.clone())
    changed.ids[0, 1 : second - 1] = 77
    with torch.no_grad(), module.backbone.role("policy"):
        before, after = (module.backbone.hidden(part.ids, positions=part.positions) for part in (row, changed))
    assert torch.equal(before[:, second:], after[:, second:])
    assert not torch.equal(before[:, :second], after[:, :second])


def test_a_model_that_does_not_keep_texts_apart_is_refused(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _ = build(folders["llama"])
    hidden = Backbone.hidden
    monkeypatch.setattr(Backbone, "hidden", lambda self, ids, **_: hidden(self, ids))  # deaf to positions
    with pytest.raises(ConfigError, match="would see the text before it"):
        check_packing(module.backbone, "policy")
