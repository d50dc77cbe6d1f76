"""What leaves the house opens elsewhere: adapters with plain peft, merged models and reward models with plain transformers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import END, conversation, scramble, tiny_tokenizer
from families import FAMILIES, write_family
from peft import PeftModel
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)

from modules.data.sequences import pad_rows
from modules.model.backbone import Backbone
from modules.model.checkpoint import CheckpointMeta
from studio.worker import merge

# peft reads a property that transformers renamed, and sets for GPT-2's layers by itself what has to be set.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),
]
every_family = pytest.mark.parametrize("family", FAMILIES)
TALKS = [conversation(i, prompt_words=2 + i, response_words=9 - 2 * i)["messages"] for i in range(4)]


def make(root: Path, family: str, role: str, **options: Any) -> tuple[Backbone, Path]:
    """A backbone with a role that does something, and a checkpoint of it."""
    tokenizer = {name: options.pop(name) for name in ("chat_template", "pad_token") if name in options}
    base = write_family(root / "base", family, **tokenizer)
    torch.manual_seed(1)
    backbone = Backbone.load(str(base), device="cpu", lora_rank=4, **options)
    backbone.add_role(role, trainable=True, head=role == "reward")
    scramble(backbone, role, scale=0.02)
    folder = root / "checkpoint"
    backbone.save_role(role, folder / role)
    meta = CheckpointMeta(
        stage="reward" if role == "reward" else "sft",
        step=1,
        base_model=str(base),
        base_fingerprint=backbone.fingerprint,
        method=backbone.method,
        quantisation=backbone.quantisation,
        chat_template=backbone.chat.template,
        roles=(role,),
        config={},
    )
    (folder / "meta.json").write_text(meta.model_dump_json())
    return backbone, folder


def ids_of(backbone: Backbone) -> Tensor:
    return torch.tensor([backbone.chat.encode_conversation(TALKS[0]).ids])


def logits(backbone: Backbone, ids: Tensor) -> Tensor:
    with torch.no_grad(), backbone.role("policy"):
        return backbone.logits(backbone.hidden(ids))


def scores(backbone: Backbone) -> Tensor:
    rows = [backbone.chat.encode_conversation(talk).ids for talk in TALKS]
    batch = pad_rows(rows, [[True] * len(row) for row in rows], backbone.chat.pad_id)
    with torch.no_grad(), backbone.role("reward"):
        return backbone.scores(batch.ids, batch.lengths)


def plain_scores(folder: Path) -> Tensor:
    """As the model card says; the tokenizer's own class, since transformers gives Qwen2 models another tokenizer."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    batch = tokenizer.apply_chat_template(TALKS, padding=True, return_tensors="pt", return_dict=True)
    assert not bool(batch["attention_mask"].all()), "some rows are padded"
    with torch.no_grad():
        return model(**batch).logits[:, 0]


@every_family
def test_an_adapter_opens_with_plain_peft(tmp_path: Path, family: str) -> None:
    backbone, folder = make(tmp_path, family, "policy")
    ids = ids_of(backbone)
    expected = logits(backbone, ids)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    with torch.no_grad():
        assert not torch.allclose(base(input_ids=ids).logits, expected, atol=1e-3)
        plain = PeftModel.from_pretrained(base, str(folder / "policy")).eval()
        assert torch.allclose(plain(input_ids=ids).logits, expected, atol=1e-5)


@every_family
@pytest.mark.parametrize("options", [{}, {"quantisation": "nf4"}, {"method": "full"}], ids=["lora", "nf4", "full"])
def test_a_merged_model_opens_with_plain_transformers_and_its_difference_is_told(
    tmp_path: Path, family: str, options: dict[str, str]
) -> None:
    backbone, folder = make(tmp_path, family, "policy", **options)
    figures = merge.merge(folder, tmp_path / "merged")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    ids = ids_of(backbone)
    with torch.no_grad():
        difference = float((plain(input_ids=ids).logits - logits(backbone, ids)).abs().max())
    assert difference < 1e-4
    assert figures["max_logit_difference"] < 1e-4 < figures["max_logit"]
    assert plain.config.tie_word_embeddings == FAMILIES[family].tie_word_embeddings
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "config.json").read_text())


@every_family
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_reward_model_is_a_classifier_with_one_label_whose_logit_is_the_score(
    tmp_path: Path, family: str, method: str
) -> None:
    backbone, folder = make(tmp_path, family, "reward", method=method)
    figures = merge.merge(folder, tmp_path / "merged")
    expected = scores(backbone)
    assert expected.std() > 0.1
    assert torch.allclose(plain_scores(tmp_path / "merged") + figures["score_bias"], expected, atol=1e-5)
    assert figures["max_score_difference"] < 1e-5 < figures["max_score"]
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["id2label"] == {"0": "score"}
    assert config["score_bias"] == figures["score_bias"] != 0


@pytest.mark.parametrize("template", [None, "own"], ids=["plain", "own"])
@pytest.mark.parametrize("pad_token", ["</s>", None], ids=["pad is the end", "no pad"])
def test_a_pad_that_could_end_a_response_is_replaced_before_it_leaves(
    tmp_path: Path, template: str | None, pad_token: str | None
) -> None:
    options: dict[str, Any] = {"pad_token": pad_token} | ({} if template else {"chat_template": None})
    backbone, folder = make(tmp_path, "gpt2", "reward", **options)
    assert backbone.chat.pad_id == END
    figures = merge.merge(folder, tmp_path / "merged")
    assert torch.allclose(plain_scores(tmp_path / "merged") + figures["score_bias"], scores(backbone), atol=1e-5)
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["pad_token_id"] == len(tiny_tokenizer()) == config["vocab_size"] - 1
