"""Nine families through all three stages: what works for Llama must work for every way of building a decoder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import (
    VOCAB,
    Memory,
    comparison,
    conversation,
    prompt,
    same,
    scramble,
    tensors_of,
    tiny_tokenizer,
    trainer,
)
from families import FAMILIES, write_family
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GraniteConfig

from modules.data.datamodules import PPODataModule, RewardDataModule, SFTDataModule
from modules.data.sequences import pad_rows
from modules.errors import BaseModelError, ConfigError
from modules.model.backbone import Backbone
from modules.model.generate import generate
from modules.model.packing import negative_logprobs
from modules.model.streaming import Batch, Stream
from modules.ppo import PPOModule
from modules.reward import RewardModule
from modules.sft import SFTModule

ATTENTION = {
    "gpt2": {"attn.c_attn", "attn.c_proj"},
    "gpt_neox": {"attention.query_key_value", "attention.dense"},
    "phi3": {"self_attn.qkv_proj", "self_attn.o_proj"},
}
OTHER_ATTENTION = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"}
FEED_FORWARD = {
    "gpt2": {"mlp.c_fc", "mlp.c_proj"},
    "gpt_neox": {"mlp.dense_h_to_4h", "mlp.dense_4h_to_h"},
    "phi3": {"mlp.gate_up_proj", "mlp.down_proj"},
}
OTHER_FEED_FORWARD = {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}
IDS = torch.tensor([[1, 3, 20, 21, 22, 23, 24, 25, 26, 27, 4, 30, 31, 32, 33, 2]])

every_family = pytest.mark.parametrize("family", FAMILIES)
each_method = pytest.mark.parametrize("method", ["lora", "full"])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder for each family."""
    root = tmp_path_factory.mktemp("families")
    return {family: write_family(root / family, family) for family in FAMILIES}


def load(folder: Path, **options: Any) -> Backbone:
    torch.manual_seed(0)
    return Backbone.load(str(folder), device="cpu", **({"lora_rank": 4, "lora_alpha": 8.0} | options))


def four_roles(folder: Path, **options: Any) -> Backbone:
    backbone = load(folder, **options)
    backbone.add_role("reference")
    scramble(backbone, "reference", scale=0.02)
    backbone.add_role("policy", copy_of="reference", trainable=True)
    backbone.add_role("reward", head=True)
    scramble(backbone, "reward", seed=1, scale=0.02)
    backbone.add_role("value", copy_of="reward", trainable=True, head=True)
    return backbone


def logits(backbone: Backbone, role: str = "policy") -> Tensor:
    with torch.no_grad(), backbone.role(role):
        return backbone.logits(backbone.hidden(IDS))


def shared(backbone: Backbone) -> dict[str, Tensor]:
    """The tensors that belong to no role."""
    names = ("reference", "policy", "reward", "value")
    own = {id(p) for name in names if backbone.roles.has(name) for p in backbone.role_parameters(name).values()}
    return {name: p.detach().clone() for name, p in backbone.named_parameters() if id(p) not in own}


def fit(module: Any, data: Any) -> Memory:
    memory = Memory()
    trainer(memory, limit_val_batches=0).fit(module, datamodule=data)
    return memory


@every_family
@each_method
def test_three_stages_each_change_their_own_role_alone_and_survive_saving(
    folders: dict[str, Path], tmp_path: Path, family: str, method: str
) -> None:
    options = {"method": method}
    # 1. SFT: the loss of the same batch falls.
    sft = load(folders[family], **options)
    sft.add_role("policy", trainable=True)
    base = shared(sft)
    data = SFTDataModule([conversation(i) for i in range(4)], [], sft.chat, batch_size=4, epochs=8)
    memory = fit(SFTModule(sft, num_steps=data.num_steps, learning_rate=2e-2 if method == "lora" else 3e-3), data)
    losses = memory.of("train/loss")
    assert losses[8] < 0.9 * losses[1]
    assert same(shared(sft), base)
    sft.save_role("policy", tmp_path / "policy")
    # 2. Reward model on top of it: its accuracy on what it saw rises to 1.
    reward = load(folders[family], **options)
    reward.add_role("reward", source=tmp_path / "policy", trainable=True, head=True)
    pairs = RewardDataModule([comparison(i) for i in range(4)], [], reward.chat, batch_size=4, epochs=8)
    memory = fit(
        RewardModule(reward, num_steps=pairs.num_steps, learning_rate=2e-2 if method == "lora" else 3e-3), pairs
    )
    assert memory.of("train/loss")[8] < memory.of("train/loss")[1]
    assert same(shared(reward), base)
    reward.save_role("reward", tmp_path / "reward")
    # 3. One PPO iteration with both: the frozen roles stay, the trained ones move.
    backbone = load(folders[family], **options)
    backbone.add_role("reference", source=tmp_path / "policy")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    backbone.add_role("reward", source=tmp_path / "reward", head=True)
    backbone.add_role("value", copy_of="reward", trainable=True, head=True)
    assert torch.equal(logits(backbone, "reference"), logits(sft))
    before = {name: tensors_of(backbone, name) for name in ("reference", "policy", "reward", "value")}
    module = PPOModule(backbone, max_new_tokens=6, minibatch_size=4, epochs=1, value_warmup=0)
    fit(module, PPODataModule([prompt(i) for i in range(4)], [], backbone.chat, batch_size=4, iterations=1))
    moved = [name for name in before if not same(tensors_of(backbone, name), before[name])]
    assert moved == ["policy", "value"]
    assert same(shared(backbone), base)
    # 4. Saved and loaded, a role says the same.
    backbone.save_role("policy", tmp_path / "ppo")
    again = load(folders[family], **options)
    again.add_role("policy", source=tmp_path / "ppo")
    assert torch.equal(logits(again), logits(backbone))


@every_family
def test_sampling_with_the_cache_gives_the_tokens_of_whole_forwards(folders: dict[str, Path], family: str) -> None:
    """Left padding, rows that leave the batch, sliding windows and learned positions change no token."""
    backbone = load(folders[family])
    backbone.add_role("policy")
    scramble(backbone, "policy", scale=0.02)
    backbone.chat.stop_ids = frozenset(range(0, backbone.vocab_size, 8))  # so that rows end at different times
    prompts = [backbone.chat.encode_prompt(prompt(i, prompt_words=1 + 3 * i)["messages"]).ids for i in range(6)]
    rollout = generate(backbone, "policy", prompts, max_new_tokens=14, seed=3, batch_size=6)
    assert len({len(response) for response in rollout.responses}) > 2
    noise = torch.rand(6, 14, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for row, (start, response) in enumerate(zip(prompts, rollout.responses, strict=True)):
        ids: list[int] = list(start)
        for step in range(len(response)):
            with torch.no_grad(), backbone.role("policy"):
                last = backbone.logits(backbone.hidden(torch.tensor([ids]))[:, -1])
            cumulative = last.softmax(-1).double().cumsum(-1)[0]
            ids.append(int((cumulative <= noise[row, step] * cumulative[-1]).sum()))
        assert ids[len(start) :] == response


@every_family
def test_answers_that_join_and_leave_a_batch_are_those_given_alone(folders: dict[str, Path], family: str) -> None:
    backbone = load(folders[family])
    backbone.add_role("policy")
    scramble(backbone, "policy", scale=0.02)
    prompts = [backbone.chat.encode_prompt(prompt(i, prompt_words=9 - 4 * i)["messages"]).ids for i in range(3)]
    alone = [
        generate(backbone, "policy", [each], max_new_tokens=10 + 3 * number, seed=number).responses[0]
        for number, each in enumerate(prompts)
    ]
    batch, streams = Batch(backbone, "policy"), []
    for number, each in enumerate(prompts):
        streams.append(Stream(backbone, each, max_new_tokens=10 + 3 * number, seed=number))
        batch.join(streams[-1])
        batch.advance(4)
    batch.advance(20)
    assert [stream.ids for stream in streams] == alone


@every_family
@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradients_land_in_the_active_role_and_checkpointing_changes_none(
    folders: dict[str, Path], family: str, checkpointed: bool
) -> None:
    backbone = four_roles(folders[family], gradient_checkpointing=checkpointed)
    plain = four_roles(folders[family])
    for model in (backbone, plain):
        model.train()
        with model.role("policy"):
            model.logits(model.hidden(IDS)).square().mean().backward()
    touched = {id(p) for p in backbone.parameters() if p.grad is not None and bool(p.grad.ne(0).any())}
    assert touched == {id(p) for p in backbone.role_parameters("policy").values()}
    for name, parameter in plain.role_parameters("policy").items():
        other = backbone.role_parameters("policy")[name].grad
        assert parameter.grad is not None
        assert other is not None
        assert torch.allclose(parameter.grad, other, atol=1e-5 * float(parameter.grad.abs().max()))


@every_family
def test_padding_and_neighbours_change_no_loss_and_no_score(folders: dict[str, Path], family: str) -> None:
    backbone = four_roles(folders[family])
    rows = [IDS[0].tolist(), [1, 3, 40, 4, 2]]
    batch = pad_rows(rows, [[False] * 2 + [True] * (len(row) - 2) for row in rows], backbone.chat.pad_id)
    with torch.no_grad(), backbone.role("reference"):
        together = negative_logprobs(backbone, batch)
        alone = torch.cat([negative_logprobs(backbone, batch.rows(torch.tensor([row]))) for row in (0, 1)])
    assert torch.allclose(together, alone, atol=1e-5)
    with torch.no_grad(), backbone.role("reward"):
        scores = backbone.scores(batch.ids, batch.lengths)
        alone = torch.cat([backbone.scores(torch.tensor([row]), torch.tensor([len(row)])) for row in rows])
    assert torch.allclose(scores, alone, atol=1e-5)


@every_family
def test_a_fresh_adapter_is_transformers_own_model_bit_for_bit(folders: dict[str, Path], family: str) -> None:
    backbone = load(folders[family])
    backbone.add_role("policy")
    plain = AutoModelForCausalLM.from_pretrained(folders[family])
    with torch.no_grad():
        assert torch.equal(plain(input_ids=IDS).logits, logits(backbone))
    model = backbone.roles.activate("policy")
    assert model.config._attn_implementation == ("eager" if family == "gemma2" else "sdpa"), "SDPA cannot cap"


@every_family
@pytest.mark.parametrize("targets", ["all-linear", "attention"])
def test_adapters_sit_on_every_linear_layer_but_the_output(folders: dict[str, Path], family: str, targets: str) -> None:
    backbone = load(folders[family], lora_targets=targets)
    backbone.add_role("policy", trainable=True)
    expected = ATTENTION.get(family, OTHER_ATTENTION)
    if targets == "all-linear":
        expected = expected | FEED_FORWARD.get(family, OTHER_FEED_FORWARD)
    paths = {name.split(".lora_")[0] for name in backbone.role_parameters("policy")}
    assert {".".join(path.split(".")[-2:]) for path in paths} == expected
    assert len(paths) == 2 * len(expected), "in both layers"


def test_an_output_layer_is_adapted_only_if_it_is_named(folders: dict[str, Path]) -> None:
    backbone = load(folders["llama"], lora_targets="q_proj,lm_head")
    backbone.add_role("policy", trainable=True)
    scramble(backbone, "policy")
    assert any("lm_head" in name for name in backbone.role_parameters("policy"))
    assert not torch.allclose(logits(backbone), logits(backbone, "base"), atol=1e-3)


@every_family
def test_four_bits_train_in_every_family(folders: dict[str, Path], family: str) -> None:
    backbone = load(folders[family], quantisation="nf4")
    backbone.add_role("policy", trainable=True)
    data = SFTDataModule([conversation(i) for i in range(4)], [], backbone.chat, batch_size=4, epochs=6)
    stored = {name: p.detach().clone() for name, p in backbone.named_parameters() if p.dtype == torch.uint8}
    memory = fit(SFTModule(backbone, num_steps=data.num_steps, learning_rate=2e-2), data)
    assert memory.of("train/loss")[6] < memory.of("train/loss")[1]
    assert same({name: p for name, p in backbone.named_parameters() if name in stored}, stored)
    outputs = [m for m in backbone.modules() if isinstance(m, nn.Linear) and m.weight.shape[0] == backbone.vocab_size]
    assert all(output.weight.dtype == torch.float32 for output in outputs), "the output layer stays whole"


def test_a_tokenizer_that_transformers_would_replace_is_read_as_it_lies_in_the_folder(folders: dict[str, Path]) -> None:
    """transformers gives every Qwen2 model the pre-tokenizer of the first one, which turns these words into nothing."""
    encoded = [load(folders[family]).chat.encode_response("w1 w2") for family in ("llama", "qwen2")]
    assert encoded[0] == encoded[1]
    assert len(encoded[1]) == 3


@every_family
def test_a_text_longer_than_the_context_is_refused_with_the_setting_to_lower(
    folders: dict[str, Path], family: str
) -> None:
    backbone = load(folders[family])
    backbone.add_role("policy")
    with (
        pytest.raises(ConfigError, match="129 tokens does not fit .* has 128 positions: lower max_length"),
        backbone.role("policy"),
    ):
        backbone.hidden(torch.ones(1, 129, dtype=torch.long))


def test_a_model_that_scales_its_logits_is_refused(tmp_path: Path) -> None:
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = GraniteConfig(vocab_size=VOCAB, num_key_value_heads=4, logits_scaling=4.0, initializer_range=0.5, **small)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(BaseModelError, match="scales its logits"):
        load(tmp_path)
