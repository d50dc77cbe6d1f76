"""What a loaded model is refused for before anything is trained on it, and what is made to work."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import BOS, END, PAD, VOCAB, comparison, conversation, prompt, tiny_tokenizer
from families import FAMILIES, write_family
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPT2Config,
    GPT2LMHeadModel,
    Lfm2Config,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from modules.data.chat import ChatFormat
from modules.data.datamodules import PPODataModule, RewardDataModule, SFTDataModule
from modules.errors import BaseModelError, ConfigError, DataError
from modules.model.backbone import Backbone
from modules.model.generate import generate
from modules.model.loading import check_forward, check_lengths, check_vocabulary, output_logits

SIZE = {"vocab_size": VOCAB, "pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": END}


Load = Callable[..., Backbone]


def load_from(folder: Path, **options: str) -> Backbone:
    return Backbone.load(str(folder), device="cpu", **options)


def written(folder: Path, config: PreTrainedConfig) -> Path:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """The tiny model in a folder that a test may change."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def change(folder: Path, by: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    file = folder / "model.safetensors"
    save_file(by(load_file(file)), file, metadata={"format": "pt"})


# Weights.


def test_weights_that_a_file_lacks_are_refused_and_not_drawn_at_random(copy: Path) -> None:
    content = json.loads((copy / "config.json").read_text()) | {"tie_word_embeddings": False}
    (copy / "config.json").write_text(json.dumps(content))
    with pytest.raises(BaseModelError, match=r"lacks the weights \(lm_head.weight\): they would be drawn at random"):
        load_from(copy)


def test_weights_under_other_names_are_weights_that_are_missing(copy: Path) -> None:
    change(copy, lambda weights: {f"other.{name}": value for name, value in weights.items()})
    sentence = r"lacks \d+ weights .* Its files name weights in another way, such as other.model"
    with pytest.raises(BaseModelError, match=sentence):
        load_from(copy)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"vocab_size": VOCAB + 8},
            rf"do not belong together: .*embed_tokens.weight has {VOCAB} x 64 .* have {VOCAB + 8} x 64",
        ),
        (
            {"num_key_value_heads": 4},
            r"do not belong together: model.layers.0.self_attn.k_proj.weight has 32 x 64 .* 64 x 64",
        ),
        ({"num_hidden_layers": 1}, r"does not mention \(model.layers.1.input_layernorm.weight, .*would be left out"),
        ({"num_hidden_layers": 3}, r"lacks 9 weights \(model.layers.2.*Fetch it again"),
    ],
    ids=["more rows", "wider heads", "fewer layers", "more layers"],
)
def test_a_config_of_another_model_than_the_weights_is_refused(
    copy: Path, settings: dict[str, int], sentence: str
) -> None:
    (copy / "config.json").write_text(json.dumps(json.loads((copy / "config.json").read_text()) | settings))
    with pytest.raises(BaseModelError, match=sentence):
        load_from(copy)


def test_an_adapter_or_a_bias_that_the_model_would_leave_out_is_refused(copy: Path) -> None:
    for name in ("self_attn.q_proj.lora_A.weight", "self_attn.q_proj.bias"):
        change(copy, lambda weights, name=name: {**weights, f"model.layers.0.{name}": torch.ones(64)})
        with pytest.raises(BaseModelError, match=rf"model.layers.0.{name}.*would be left out"):
            load_from(copy)


def test_buffers_that_older_files_hold_are_no_weights_that_are_left_out(copy: Path) -> None:
    change(copy, lambda weights: {**weights, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)})
    assert load_from(copy).context_length


@pytest.mark.parametrize("number", [-1, 9999])
def test_ids_of_the_config_that_mean_nothing_do_not_end_the_run_unsaid(copy: Path, number: int) -> None:
    (copy / "generation_config.json").unlink(missing_ok=True)
    known = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(known | {"pad_token_id": number}))
    assert load_from(copy).chat.pad_id == PAD
    (copy / "config.json").write_text(json.dumps(known | {"eos_token_id": number}))
    if number < 0:
        assert load_from(copy, chat_template="plain").chat.end_id == END
    else:
        with pytest.raises(BaseModelError, match=rf"as id {number}, but the model has {VOCAB} rows"):
            load_from(copy, chat_template="plain")


@pytest.mark.parametrize("number", [float("nan"), float("inf")], ids=["nan", "inf"])
def test_a_weight_that_is_no_number_is_named(copy: Path, number: float) -> None:
    name = "model.layers.1.mlp.up_proj.weight"

    def damage(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        weights[name][0, 0] = number
        return weights

    change(copy, damage)
    with pytest.raises(BaseModelError, match=rf"is damaged: its weights {name} hold NaN or infinity"):
        load_from(copy)


def test_finite_weights_whose_outputs_are_not_finite_ask_for_another_precision(copy: Path) -> None:
    change(copy, lambda weights: {k: v * (3e38 if "up_proj" in k else 1) for k, v in weights.items()})
    with pytest.raises(
        BaseModelError, match="not finite in float32, though all its weights are: choose another precision"
    ):
        load_from(copy)


# Families.


@pytest.mark.parametrize(
    "config",
    [
        BloomConfig(hidden_size=32, n_layer=2, n_head=4, **SIZE),
        MambaConfig(hidden_size=32, num_hidden_layers=2, **SIZE),
        Lfm2Config(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            layer_types=["conv", "full_attention"],
            **SIZE,
        ),
    ],
    ids=["bloom", "mamba", "lfm2"],
)
def test_a_family_without_positions_or_a_plain_cache_is_refused_when_it_is_loaded(
    tmp_path: Path, config: PreTrainedConfig
) -> None:
    with pytest.raises(BaseModelError, match="choose a decoder-only model with position ids"):
        load_from(written(tmp_path, config))


def test_a_model_whose_tokens_see_what_follows_them_is_refused(tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny, attn_implementation="eager").eval()
    assert isinstance(model, PreTrainedModel)
    check_forward(model, tiny)
    for layer in model.base_model.layers:
        layer.self_attn.register_forward_pre_hook(see_everything, with_kwargs=True)
    with pytest.raises(BaseModelError, match="expects other tokens when it samples, .* so it cannot be trained here"):
        check_forward(model, tiny)


def see_everything(module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return args, kwargs | {"attention_mask": torch.zeros_like(kwargs["attention_mask"])}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_family_that_works_is_refused_in_either_precision(tmp_path: Path, family: str, precision: str) -> None:
    load_from(write_family(tmp_path, family), precision=precision)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_head_is_as_wide_as_the_hidden_states_that_the_model_gives(tmp_path: Path, method: str) -> None:
    config = OPTConfig(
        hidden_size=32,
        word_embed_proj_dim=16,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        do_layer_norm_before=False,
        **SIZE,
    )
    backbone = load_from(written(tmp_path, config), method=method)
    backbone.add_role("reward", trainable=True, head=True)
    with backbone.role("reward"):
        assert backbone.scores(torch.tensor([[5, 6, 7]]), torch.tensor([3])).shape == (1,)
    assert backbone.hidden_size == 16


# Ids.


def test_a_pad_beyond_the_embedding_is_replaced_since_it_is_always_masked(copy: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(copy)
    backbone = load_from(copy)
    assert tokenizer.pad_token_id == VOCAB
    assert backbone.chat.pad_id == END


def test_a_turn_marker_beyond_the_embedding_is_refused_by_name() -> None:
    chat = ChatFormat(tiny_tokenizer())
    with pytest.raises(
        BaseModelError, match=r"writes the token '<(user|assistant)>' as id \d, but the model has 3 rows"
    ):
        check_vocabulary(chat, 3, "here")


def test_a_token_of_a_text_beyond_the_embedding_is_named_before_it_is_looked_up(copy: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["w999"])
    tokenizer.save_pretrained(copy)
    backbone = load_from(copy)
    backbone.add_role("policy")
    ids = torch.tensor([backbone.chat.encode_prompt([{"role": "user", "content": "w1 w999"}]).ids])
    with (
        backbone.role("policy"),
        pytest.raises(BaseModelError, match=r"the token 'w999' as id 96, but the model has 96 rows"),
    ):
        backbone.hidden(ids)


# Positions.


def positioned(folder: Path, family: str) -> Path:
    if family == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=24, **SIZE))
    else:
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        model = LlamaForCausalLM(LlamaConfig(**sizes, max_position_embeddings=24, **SIZE))
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_answers_end_at_the_last_position_each_at_its_own(tmp_path: Path, family: str) -> None:
    torch.manual_seed(0)
    backbone = load_from(positioned(tmp_path, family))
    backbone.add_role("policy")
    backbone.chat.stop_ids = frozenset()
    prompts = [[7] * 10, [8] * 3, [9] * 20]
    rollout = generate(backbone, "policy", prompts, max_new_tokens=16)
    assert [len(response) for response in rollout.responses] == [14, 16, 4]
    assert rollout.end_reasons == ["length"] * 3
    alone = generate(backbone, "policy", prompts[:1], max_new_tokens=16)
    assert alone.responses[0] == rollout.responses[0], "a neighbour that ended at its limit changes nothing"
    with pytest.raises(
        ConfigError, match="A prompt of 24 tokens leaves no room for an answer: this model has 24 positions"
    ):
        generate(backbone, "policy", [[7] * 24], max_new_tokens=1)


def test_texts_beyond_the_positions_are_refused_before_a_step(load: Load) -> None:
    chat = load().chat
    rows = [conversation(i, response_words=20 + i) for i in range(4)]
    data = SFTDataModule(rows, rows, chat, batch_size=2)
    longest = max(len(row.ids) for row in data.rows)
    check_lengths(data, longest)
    with pytest.raises(
        DataError, match=rf"The longest text has {longest} tokens, but the model has {longest - 1} positions"
    ):
        check_lengths(data, longest - 1)
    pairs = RewardDataModule([comparison(i) for i in range(4)], [], chat, batch_size=2)
    with pytest.raises(DataError, match=r"The longest text has \d+ tokens, but the model has 5 positions"):
        check_lengths(pairs, 5)
    asked = PPODataModule([prompt(i) for i in range(4)], [], chat, batch_size=2, iterations=1)
    length = max(map(len, asked.prompts))
    check_lengths(asked, length + 9, 9)
    with pytest.raises(DataError, match=r"The longest prompt and response may have \d+ tokens together"):
        check_lengths(asked, length + 8, 9)


# The output layer.


def test_log_probabilities_of_16_bit_models_are_those_of_float32_products(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=4000)).to(torch.bfloat16)
    hidden = (torch.randn(40, 256) + 18 * torch.nn.functional.normalize(model.lm_head.weight.float()[:40])).bfloat16()
    exact = torch.log_softmax(hidden.double() @ model.lm_head.weight.double().T, -1)
    found = torch.log_softmax(output_logits(model, hidden), -1)
    rounded = torch.log_softmax(model.lm_head(hidden).float(), -1)
    assert (found - exact).abs().max() < 1e-4
    assert (rounded - exact).abs().max() > 1e-2


def test_gradients_through_the_wide_output_layer_are_those_of_the_plain_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=100)).to(torch.bfloat16)
    hidden = torch.randn(3, 5, 64).bfloat16().requires_grad_()
    query = torch.randn(3, 5, 100)

    def gradients(logits: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad((logits * query).sum(), [hidden, model.lm_head.weight]))

    for found, expected in zip(
        gradients(output_logits(model, hidden)), gradients(model.lm_head(hidden).float()), strict=True
    ):
        assert found.dtype is expected.dtype
        assert torch.allclose(found.float(), expected.float(), atol=0.05, rtol=0.02)


def test_a_trained_full_model_under_autocast_has_float32_logits_too(tiny: Path) -> None:
    backbone = load_from(tiny, method="full", precision="bf16")
    backbone.add_role("policy", trainable=True)
    with backbone.role("policy"):
        hidden = backbone.hidden(torch.tensor([[5, 6, 7]]))
        logits = backbone.logits(hidden)
        logits.sum().backward()
    assert logits.dtype is torch.float32
    assert (logits != logits.bfloat16().float()).any(), "they were not rounded on the way"
    gradient = backbone.role_parameters("policy")["model.embed_tokens.weight"].grad
    assert gradient is not None
    assert gradient.dtype is torch.float32
