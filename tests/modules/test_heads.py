from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import scramble
from safetensors.torch import load_file

from modules.errors import CheckpointError
from modules.model.backbone import HEAD_WEIGHTS, Backbone
from modules.model.heads import EnsembleHead, new_head
from modules.rl.experience import score_texts, score_texts_by_member

Load = Callable[..., Backbone]
IDS, LENGTHS = torch.tensor([[6, 7, 8, 9], [10, 11, 12, 0]]), torch.tensor([4, 3])


def with_ensemble(load: Load, members: int = 5) -> Backbone:
    backbone = load()
    backbone.add_role("reward", trainable=True, head=True, members=members)
    scramble(backbone, "reward")
    return backbone


def scores(backbone: Backbone, role: str) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad(), backbone.role(role):
        return backbone.scores(IDS, LENGTHS), backbone.member_scores(IDS, LENGTHS)


def test_the_score_of_an_ensemble_is_the_mean_of_its_members_who_differ(load: Load) -> None:
    score, members = scores(with_ensemble(load), "reward")
    assert members.shape == (2, 5)
    assert torch.allclose(score, members.mean(1), atol=1e-6)
    assert (members.std(1) > 0.01).all()


def test_one_head_is_its_own_only_member(load: Load) -> None:
    score, members = scores(with_ensemble(load, members=1), "reward")
    assert torch.equal(score.unsqueeze(1), members)


def test_each_member_is_drawn_for_itself_with_variance_one_over_width_plus_one() -> None:
    torch.manual_seed(0)
    weight = new_head(64, 200).weight
    assert weight.var().item() == pytest.approx(1 / 65, rel=0.05)
    assert torch.corrcoef(weight)[0, 1:].abs().max() < 0.6
    assert new_head(64).weight.var().item() == pytest.approx(1 / 65, rel=0.5)
    assert not isinstance(new_head(64), EnsembleHead)


def test_the_file_of_an_ensemble_holds_the_mean_head_for_any_reader_and_the_members_beside_it(
    load: Load, tmp_path: Path
) -> None:
    backbone = with_ensemble(load)
    backbone.save_role("reward", tmp_path)
    tensors = load_file(tmp_path / HEAD_WEIGHTS)
    assert {name: tuple(value.shape) for name, value in tensors.items()} == {
        "weight": (1, 64),
        "bias": (1,),
        "members.weight": (5, 64),
        "members.bias": (5,),
    }
    with torch.no_grad(), backbone.role("reward"):
        hidden = backbone.hidden(IDS)[0, -1].float()
    by_hand = hidden @ tensors["weight"][0] + tensors["bias"][0]
    score, members = scores(backbone, "reward")
    assert by_hand.item() == pytest.approx(score[0].item(), abs=1e-5)
    again = load()
    again.add_role("reward", source=tmp_path, head=True)
    assert torch.allclose(scores(again, "reward")[1], members, atol=1e-6)


def test_the_value_function_starts_from_the_mean_head(load: Load) -> None:
    backbone = with_ensemble(load)
    backbone.add_role("value", copy_of="reward", trainable=True, head=True)
    assert type(backbone.heads["value"]) is torch.nn.Linear
    assert torch.allclose(scores(backbone, "value")[0], scores(backbone, "reward")[0], atol=1e-6)
    backbone.add_role("twin", copy_of="reward", head=True, members=5)
    assert torch.equal(scores(backbone, "twin")[1], scores(backbone, "reward")[1])


def test_an_ensemble_refuses_a_file_of_another_size(load: Load, tmp_path: Path) -> None:
    with_ensemble(load).save_role("reward", tmp_path)
    with pytest.raises(CheckpointError, match="has 5 members, but 3 are needed: set ensemble to 5"):
        with_ensemble(load, members=3).load_role("reward", tmp_path)


def test_each_member_can_be_shifted_on_its_own(load: Load) -> None:
    backbone = with_ensemble(load, members=3)
    before = scores(backbone, "reward")[1]
    backbone.shift_head("reward", torch.tensor([1.0, 0.0, -2.0]))
    assert torch.allclose(scores(backbone, "reward")[1] - before, torch.tensor([1.0, 0.0, -2.0]), atol=1e-6)
    backbone.shift_head("reward", 0.5)
    assert torch.allclose(scores(backbone, "reward")[1] - before, torch.tensor([1.5, 0.5, -1.5]), atol=1e-6)


def test_texts_are_scored_by_each_member_in_their_own_order(load: Load) -> None:
    backbone = with_ensemble(load, members=3)
    texts = [([{"role": "user", "content": "w1 w2"}], " ".join(["w3"] * (1 + i % 3))) for i in range(7)]
    members = score_texts_by_member(backbone, texts, micro_batch_size=2)
    assert members.shape == (7, 3)
    assert members.mean(1).tolist() == pytest.approx(score_texts(backbone, texts), abs=1e-5)
    alone = torch.cat([score_texts_by_member(backbone, [text]) for text in texts])
    assert torch.allclose(members, alone, atol=1e-5)
