"""The oddities of a real pretrained model: stories260K ends its texts with ``<s>``, pads with ``<unk>``, knows no chat."""

import json
import shutil
from pathlib import Path

import pytest
import sentencepiece
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from modules.data.preview import spans
from modules.data.sequences import pad_rows
from modules.model.backbone import Backbone
from modules.model.checkpoint import CheckpointMeta
from studio.worker import merge

STORIES = Path(__file__).parents[3] / "shared" / "data" / "models" / "stories260K-hf"
pytestmark = [
    pytest.mark.skipif(not STORIES.is_dir(), reason="the model ../shared/data/models/stories260K-hf is not here"),
    # peft reads a property that transformers renamed.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]
BOS = 1
TALKS = [
    [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    for text, answer in (("Tell me a story.", "Once there was a cat. It sat."), ("Go on!", "The end."))
]


@pytest.fixture
def backbone() -> Backbone:
    return Backbone.load(str(STORIES), device="cpu", lora_rank=4)


def test_its_begin_token_ends_a_response_and_stays_taught(backbone: Backbone) -> None:
    chat = backbone.chat
    assert (chat.template, chat.end_id, chat.stop_ids) == ("plain", BOS, {1, 2})
    encoded = chat.encode_conversation(TALKS[0])
    assert encoded.ids[0] == BOS
    assert not encoded.mask[0], "the same token begins the text, which is not taught"
    assert encoded.ids[-1] == BOS
    assert encoded.mask[-1]
    assert chat.decode(encoded.ids[encoded.mask.index(True) :]) == TALKS[0][1]["content"]
    assert [span.is_taught for span in spans(chat, encoded)] == [False, True]
    assert chat.pad_id == 0


def test_its_tied_output_layer_is_no_adapters_and_stays_tied_when_merged(backbone: Backbone, tmp_path: Path) -> None:
    backbone.add_role("policy", trainable=True)
    assert not any("lm_head" in name or "embed" in name for name in backbone.role_parameters("policy"))
    figures = merge.merge(checkpoint(backbone, "policy", tmp_path), tmp_path / "merged")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert plain.get_output_embeddings().weight is plain.get_input_embeddings().weight
    assert figures["max_logit_difference"] < 1e-4
    assert set(plain.generation_config.eos_token_id) == {1, 2}


def test_its_reward_model_scores_the_same_in_plain_transformers(backbone: Backbone, tmp_path: Path) -> None:
    backbone.add_role("reward", trainable=True, head=True)
    figures = merge.merge(checkpoint(backbone, "reward", tmp_path), tmp_path / "merged")
    rows = [backbone.chat.encode_conversation(talk).ids for talk in TALKS]
    batch = pad_rows(rows, [[True] * len(row) for row in rows], backbone.chat.pad_id)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    with torch.no_grad(), backbone.role("reward"):
        expected = backbone.scores(batch.ids, batch.lengths)
        found = model(input_ids=batch.ids, attention_mask=(batch.ids != 0).long()).logits[:, 0]
    assert torch.allclose(found, expected, atol=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    ids = [tokenizer.apply_chat_template(talk, tokenize=True, return_dict=False) for talk in TALKS]
    assert figures["is_template_exact"] == (ids == rows), "where its spaces differ, the card says so"


def checkpoint(backbone: Backbone, role: str, root: Path) -> Path:
    folder = root / "checkpoint"
    backbone.save_role(role, folder / role)
    facts = {"stage": "sft", "step": 1, "base_fingerprint": backbone.fingerprint, "method": "lora", "config": {}}
    meta = CheckpointMeta(
        **facts, base_model=str(STORIES), quantisation="none", chat_template=backbone.chat.template, roles=(role,)
    )
    (folder / "meta.json").write_text(meta.model_dump_json())
    return folder


def test_a_tokenizer_that_is_a_sentencepiece_file_only_is_read_as_it_writes(tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(STORIES, base, copy_function=shutil.copyfile)
    (base / "tokenizer.json").unlink()
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(turn["content"] for talk in TALKS for turn in talk))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(base / "tokenizer"),
        model_type="bpe",
        vocab_size=300,
        byte_fallback=True,
        minloglevel=2,
    )
    settings = json.loads((base / "tokenizer_config.json").read_text()) | {"tokenizer_class": "LlamaTokenizer"}
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    chat = Backbone.load(str(base), device="cpu", lora_rank=4).chat
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(base / "tokenizer.model"))
    answer = TALKS[0][1]["content"]
    assert chat.tokenizer.encode(answer, add_special_tokens=False) == pieces.encode(answer)
    encoded = chat.encode_conversation(TALKS[0])
    assert chat.decode(encoded.ids[encoded.mask.index(True) :]) == answer
