"""Merging: the same model in the number format of its base, or no model at all."""

from pathlib import Path

import pytest
import torch
from conftest import scramble, write_model
from transformers import AutoModelForCausalLM

from modules.model.backbone import Backbone
from modules.model.checkpoint import CheckpointMeta
from studio.worker import merge

pytestmark = [
    # peft reads a property that transformers renamed, and warns of what is tested here.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings=True.:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*tied.*:UserWarning"),
]
IDS = torch.tensor([[1, 5, 9, 20, 33, 47, 60, 81]])


def checkpoint(base: Path, root: Path, *, scale: float = 0.05, **options: str) -> tuple[Path, torch.Tensor]:
    """A checkpoint whose adapter does something, and the logits of its policy."""
    torch.manual_seed(0)
    backbone = Backbone.load(str(base), device="cpu", **options)
    backbone.add_role("policy", trainable=True)
    scramble(backbone, "policy", scale=scale)
    backbone.save_role("policy", root / "checkpoint" / "policy")
    meta = CheckpointMeta(
        stage="sft",
        step=1,
        base_model=str(base),
        base_fingerprint=backbone.fingerprint,
        method=backbone.method,
        quantisation="none",
        chat_template=backbone.chat.template,
        roles=("policy",),
        config={},
    )
    (root / "checkpoint" / "meta.json").write_text(meta.model_dump_json())
    with torch.no_grad(), backbone.role("policy"):
        return root / "checkpoint", backbone.logits(backbone.hidden(IDS))


@pytest.mark.parametrize("targets", ["q_proj,lm_head", "q_proj,embed_tokens"], ids=["output layer", "embedding"])
def test_an_adapter_on_tied_weights_is_merged_into_one_of_them_and_both_are_saved(tmp_path: Path, targets: str) -> None:
    base = write_model(tmp_path / "base")
    source, expected = checkpoint(base, tmp_path, lora_targets=targets)
    figures = merge.merge(source, tmp_path / "merged")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert plain.config.tie_word_embeddings is False
    with torch.no_grad():
        assert (plain(input_ids=IDS).logits - expected).abs().max() < 1e-4
    assert figures["max_logit_difference"] < 1e-4


@pytest.mark.parametrize("options", [{}, {"method": "full"}], ids=["lora", "full"])
def test_a_merged_model_is_stored_as_its_base_is(tmp_path: Path, options: dict[str, str]) -> None:
    base = write_model(tmp_path / "base")
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(base)
    size = (base / "model.safetensors").stat().st_size
    source, expected = checkpoint(base, tmp_path, scale=0.01, **options)
    figures = merge.merge(source, tmp_path / "merged")
    assert figures["dtype"] == "bfloat16"
    assert (tmp_path / "merged" / "model.safetensors").stat().st_size == pytest.approx(size, rel=0.02)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert plain.dtype is torch.bfloat16
    with torch.no_grad():
        assert (plain(input_ids=IDS).logits.float() - expected).abs().max() < 0.1 * expected.abs().max()


def test_a_merged_model_that_answers_otherwise_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_model(tmp_path / "base")
    source, _ = checkpoint(base, tmp_path, lora_targets="q_proj,lm_head")
    monkeypatch.setattr(merge, "_untie", lambda model, adapted: None)
    assert merge.main(str(source), str(tmp_path / "merged")) == 1
    assert "answers differently from the one that was trained: a logit differs by" in capsys.readouterr().err
    assert not (tmp_path / "merged").exists()
