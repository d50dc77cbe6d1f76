import json
import math
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from conftest import BOS, END, prompt, same, scramble, tensors_of, tiny_tokenizer, words, write_model
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from modules.data.sequences import pad_rows
from modules.errors import BaseModelError, CheckpointError, ConfigError
from modules.losses import select_shifted, token_stats
from modules.model.backbone import Backbone
from modules.model.pretrained import fingerprint
from modules.runtime.devices import pick_dtype

Load = Callable[..., Backbone]
IDS = torch.tensor([[1, 3, 20, 21, 22, 4, 30, 31, 2]])


def logits(backbone: Backbone, role: str, ids: Tensor = IDS) -> Tensor:
    with torch.no_grad(), backbone.role(role):
        return backbone.logits(backbone.hidden(ids))


def base_tensors(backbone: Backbone) -> dict[str, Tensor]:
    """Every tensor that belongs to no role."""
    own = {id(p) for role in backbone.roles._parameters_of for p in backbone.role_parameters(role).values()}
    return {name: p.detach().clone() for name, p in backbone.named_parameters() if id(p) not in own}


def logprobs_of(backbone: Backbone, ids: Tensor, mask: Tensor, wanted: Tensor) -> Tensor:
    with torch.no_grad(), backbone.role("policy"):
        states, targets = select_shifted(backbone.hidden(ids, mask), ids, wanted)
        return token_stats(backbone.logits, states, targets, vocab_size=backbone.vocab_size).logprobs


@pytest.mark.parametrize("pad", [0, 3, 17])
def test_item_2_left_padding_and_neighbours_change_no_logprob(load: Load, pad: int) -> None:
    backbone = load()
    backbone.add_role("policy")
    scramble(backbone, "policy")
    alone = logprobs_of(backbone, IDS, torch.ones_like(IDS, dtype=torch.bool), torch.ones_like(IDS, dtype=torch.bool))
    width = IDS.shape[1] + pad
    ids = torch.randint(5, 90, (3, width), generator=torch.Generator().manual_seed(pad))
    mask = torch.ones(3, width, dtype=torch.bool)
    ids[1, pad:], mask[1, :pad] = IDS[0], False
    wanted = mask.clone()
    wanted[0], wanted[2], wanted[1, : pad + 1] = False, False, False
    assert torch.allclose(logprobs_of(backbone, ids, mask, wanted), alone, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True` and a tied layer:UserWarning")
@pytest.mark.parametrize("options", [{}, {"method": "full"}, {"lora_targets": "q_proj,lm_head"}])
def test_a_roles_output_layer_serves_while_another_role_is_active_and_that_one_stays(
    load: Load, options: dict[str, Any]
) -> None:
    """Also where adapters are on the output layer, which alone needs a switch."""
    backbone = load(**options)
    for seed, role in enumerate(("reference", "policy")):
        backbone.add_role(role, trainable=role == "policy")
        scramble(backbone, role, seed)
    with torch.no_grad(), backbone.role("reference"):
        states = backbone.hidden(IDS)
        expected = backbone.logits(states)
    with torch.no_grad(), backbone.role("policy"):
        own = backbone.logits(states)
        assert torch.equal(backbone.logits_of("reference", states), expected)
        assert torch.equal(backbone.logits(states), own)
    assert torch.equal(own, expected) == (not options)


def test_right_padding_needs_no_mask(load: Load) -> None:
    backbone = load()
    backbone.add_role("policy")
    batch = pad_rows([IDS[0].tolist(), [1, 3, 40]], [[True] * 9, [True] * 3], END)
    together = logits(backbone, "policy", batch.ids)
    assert torch.allclose(together[0], logits(backbone, "policy")[0], atol=1e-5)
    assert torch.allclose(together[1, :3], logits(backbone, "policy", torch.tensor([[1, 3, 40]]))[0], atol=1e-5)


def test_item_34_a_score_is_read_at_the_last_real_token_whatever_follows_it(load: Load) -> None:
    backbone = load()
    backbone.add_role("reward", head=True)
    rows = [IDS[0].tolist(), [1, 3, 40]]
    with torch.no_grad(), backbone.role("reward"):
        alone = torch.cat([backbone.scores(torch.tensor([row]), torch.tensor([len(row)])) for row in rows])
        for filler in (0, END, 77):
            batch = pad_rows(rows, [[True] * len(row) for row in rows], filler)
            assert torch.allclose(backbone.scores(batch.ids, batch.lengths), alone, atol=1e-5)
        changed = torch.tensor([[*rows[1][:-1], 41]])
        assert (backbone.scores(changed, torch.tensor([3])) - alone[1]).abs().item() > 1e-3


def test_item_26_two_forwards_agree_because_dropout_is_off(tmp_path: Path) -> None:
    """GPT-2 drops activations itself, and so may an adapter; PPO can have neither."""
    size = {"vocab_size": 96, "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64}
    config = GPT2Config(**size, resid_pdrop=0.5, bos_token_id=BOS, eos_token_id=END)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    backbone = Backbone.load(str(tmp_path), device="cpu", lora_dropout=0.5, lora_targets="c_attn")
    backbone.add_role("policy", trainable=True)
    scramble(backbone, "policy")
    backbone.train()
    assert not torch.equal(logits(backbone, "policy"), logits(backbone, "policy")), "the adapter's dropout is on"
    backbone.disable_dropout()
    assert torch.equal(logits(backbone, "policy"), logits(backbone, "policy"))


def test_item_28_without_an_adapter_the_logits_are_the_pretrained_models_bit_for_bit(load: Load, tiny: Path) -> None:
    backbone = load()
    plain = AutoModelForCausalLM.from_pretrained(tiny)
    with torch.no_grad():
        expected = plain(input_ids=IDS).logits
    backbone.add_role("policy", trainable=True)
    assert torch.equal(logits(backbone, "policy"), expected), "a fresh adapter is 0: the KL starts at 0"
    scramble(backbone, "policy")
    assert not torch.allclose(logits(backbone, "policy"), expected, atol=1e-3)
    assert torch.equal(logits(backbone, "base"), expected)
    assert not torch.equal(logits(backbone, "policy"), expected), "the adapter is on again"


def test_item_28_the_reference_is_the_sft_policy_not_the_pretrained_model(
    load: Load, tiny: Path, tmp_path: Path
) -> None:
    sft = load()
    sft.add_role("policy", trainable=True)
    scramble(sft, "policy")
    sft.save_role("policy", tmp_path / "policy")

    backbone = load(seed=5)
    backbone.add_role("reference", source=tmp_path / "policy")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    assert torch.equal(logits(backbone, "reference"), logits(sft, "policy"))
    assert torch.equal(logits(backbone, "policy"), logits(sft, "policy"))
    assert not torch.allclose(logits(backbone, "reference"), logits(backbone, "base"), atol=1e-3)
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")  # peft's own
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny), tmp_path / "policy").eval()
    with torch.no_grad():
        assert torch.allclose(plain(input_ids=IDS).logits, logits(sft, "policy"), atol=1e-5), "plain peft reads it"


def backward(backbone: Backbone, role: str) -> None:
    with backbone.role(role):
        states = backbone.hidden(IDS)
        total = backbone.values(states).sum() if role in backbone.heads else backbone.logits(states).square().sum()
        total.backward()


def with_gradient(backbone: Backbone) -> set[int]:
    return {id(p) for p in backbone.parameters() if p.grad is not None and bool(p.grad.ne(0).any())}


@pytest.mark.parametrize("options", [{}, {"gradient_checkpointing": True}, {"quantisation": "nf4"}, {"method": "full"}])
@pytest.mark.parametrize("role", ["policy", "value"])
def test_item_29_gradients_land_in_the_role_that_was_played_only(four_roles: Load, options: dict, role: str) -> None:
    backbone = four_roles(**options)
    backbone.train()
    backward(backbone, role)
    own = {id(p) for p in backbone.role_parameters(role).values()}
    assert with_gradient(backbone)
    assert with_gradient(backbone) <= own


def test_item_29_a_switch_of_roles_before_the_backward_loses_no_gradient(four_roles: Load) -> None:
    """Peft's own switch turns requires_grad off: the policy's gradients would silently be missing."""
    together, apart = four_roles(), four_roles()
    backward(apart, "policy")
    with together.role("policy"):
        total = together.logits(together.hidden(IDS)).square().sum()
        with together.role("value"):
            together.values(together.hidden(IDS))
        total.backward()
    for name, parameter in together.role_parameters("policy").items():
        expected = apart.role_parameters("policy")[name].grad
        assert (parameter.grad is None and expected is None) or torch.equal(parameter.grad, expected)


def test_item_29_checkpointing_recomputes_with_the_same_adapter(four_roles: Load) -> None:
    plain, checkpointed = four_roles(), four_roles(gradient_checkpointing=True)
    for backbone in (plain, checkpointed):
        backbone.train()
        with torch.no_grad(), backbone.role("value"):
            backbone.hidden(IDS)  # another role in between
        backward(backbone, "policy")
    for name, parameter in plain.role_parameters("policy").items():
        other = checkpointed.role_parameters("policy")[name].grad
        assert parameter.grad is not None
        assert other is not None
        assert torch.allclose(parameter.grad, other, atol=1e-6)


@pytest.mark.parametrize("role", ["policy", "value"])
def test_item_29_a_step_on_one_role_moves_no_other_tensor(four_roles: Load, role: str) -> None:
    backbone = four_roles()
    others = [name for name in ("policy", "value", "reference", "reward") if name != role]
    before = {name: tensors_of(backbone, name) for name in [*others, role]}
    base = base_tensors(backbone)
    optimizer = torch.optim.Adam([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    backward(backbone, role)
    optimizer.step()
    assert not same(tensors_of(backbone, role), before[role])
    assert all(same(tensors_of(backbone, name), before[name]) for name in others)
    assert same(base_tensors(backbone), base)


def flags(backbone: Backbone) -> dict[str, bool]:
    return {name: p.requires_grad for name, p in backbone.named_parameters()}


def test_item_29_requires_grad_is_the_same_in_every_role_and_after_exceptions(four_roles: Load) -> None:
    backbone = four_roles()
    trainable = {id(p) for role in ("policy", "value") for p in backbone.role_parameters(role).values()}
    expected = {name: id(p) in trainable for name, p in backbone.named_parameters()}
    assert flags(backbone) == expected
    for role in ("reference", "reward", "value", "base", "policy"):
        with backbone.role(role):
            assert flags(backbone) == expected
    with pytest.raises(ZeroDivisionError), backbone.role("policy"), backbone.role("reward"):
        _ = 1 / 0
    assert flags(backbone) == expected
    with pytest.raises(ZeroDivisionError), backbone.sampling("policy"):
        _ = 1 / 0
    assert flags(backbone) == expected


def test_the_outer_role_comes_back_when_an_inner_one_ends(four_roles: Load) -> None:
    backbone = four_roles()
    with torch.no_grad(), backbone.role("policy"):
        outer = backbone.hidden(IDS)
        with backbone.role("reward"):
            assert not torch.equal(backbone.hidden(IDS), outer)
        assert torch.equal(backbone.hidden(IDS), outer)


def test_sampling_folds_the_adapter_in_and_leaves_every_tensor_as_it_was(four_roles: Load) -> None:
    backbone = four_roles()
    expected, before = logits(backbone, "policy"), base_tensors(backbone)
    backbone.train()
    with torch.no_grad(), backbone.sampling("policy"):
        folded = backbone.logits(backbone.hidden(IDS))
    assert backbone.training
    assert torch.allclose(folded, expected, atol=1e-4)
    assert same(base_tensors(backbone), before)
    assert torch.equal(logits(backbone, "policy"), expected)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_item_30_scores_survive_saving_and_loading_and_heads_are_float32(
    load: Load, tmp_path: Path, method: str
) -> None:
    backbone = load(method=method)
    backbone.add_role("reward", trainable=True, head=True)
    scramble(backbone, "reward")
    backbone.save_role("reward", tmp_path / "reward")
    again = load(seed=9, method=method)
    again.add_role("reward", source=tmp_path / "reward", head=True)
    again.add_role("value", copy_of="reward", trainable=True, head=True)
    scores = []
    for model, role in ((backbone, "reward"), (again, "reward"), (again, "value")):
        with torch.no_grad(), model.role(role):
            scores.append(model.scores(IDS, torch.tensor([9])).item())
    assert scores[1] == pytest.approx(scores[0], abs=1e-6)
    assert scores[2] == pytest.approx(scores[0], abs=1e-6)
    names = {path.name for path in (tmp_path / "reward").iterdir()}
    assert "head.safetensors" in names
    assert method == "full" or names - {"README.md"} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "head.safetensors",
    }


def test_item_30_a_fresh_head_is_drawn_with_variance_one_over_width_plus_one(load: Load) -> None:
    backbone = load(precision="bf16", lora_targets="q_proj")
    weights = []
    for i in range(16):
        backbone.add_role(f"reward{i}", head=True)
        head = backbone.heads[f"reward{i}"]
        assert isinstance(head, torch.nn.Linear)
        assert head.weight.dtype == torch.float32
        assert head.bias.item() == 0
        weights.append(head.weight.detach())
    assert torch.cat(weights).std().item() == pytest.approx(1 / math.sqrt(65), rel=0.08)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_role_that_begins_again_has_the_folders_weights_and_a_head_that_the_seed_draws(
    load: Load, tmp_path: Path, method: str
) -> None:
    backbone = load(method=method)
    backbone.add_role("policy", trainable=True)
    scramble(backbone, "policy")
    backbone.save_role("policy", tmp_path / "policy")
    backbone.add_role("reward", source=tmp_path / "policy", trainable=True, head=True, members=2)
    found = []
    for seed in (1, 1, 2):
        scramble(backbone, "reward")
        torch.manual_seed(seed)
        backbone.begin_again("reward", tmp_path / "policy")
        found.append({name: value.detach().clone() for name, value in backbone.role_parameters("reward").items()})
    policy = backbone.role_parameters("policy")
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name])
        assert name.startswith("head.") or torch.equal(value, policy[name])
    assert not torch.equal(found[0]["head.weight"], found[2]["head.weight"])
    assert not found[0]["head.bias"].any()


def test_scores_and_logits_are_float32_whatever_the_weights_are(load: Load) -> None:
    backbone = load(precision="bf16")
    backbone.add_role("reward", head=True)
    with torch.no_grad(), backbone.role("reward"):
        hidden = backbone.hidden(IDS)
        assert hidden.dtype == torch.bfloat16
        assert backbone.logits(hidden).dtype == torch.float32
        assert backbone.scores(IDS, torch.tensor([9])).dtype == torch.float32


def test_in_four_bits_gradients_flow_after_evaluation_and_no_weight_is_rewritten(load: Load) -> None:
    """On some CPUs bitsandbytes repacks 4-bit weights in evaluation mode, after which nothing can be trained."""
    backbone = load(quantisation="nf4")
    backbone.add_role("policy", trainable=True)
    stored = {name: p.detach().clone() for name, p in backbone.named_parameters() if p.dtype == torch.uint8}
    assert stored
    backbone.eval()
    first = logits(backbone, "policy")
    backbone.train()
    assert torch.equal(logits(backbone, "policy"), first)
    backward(backbone, "policy")
    touched = [
        n for n, p in backbone.role_parameters("policy").items() if p.grad is not None and p.grad.abs().sum() > 0
    ]
    assert any("layers.0" in name for name in touched), "the gradient went through the 4-bit layers above"
    assert same({name: p for name, p in backbone.named_parameters() if name in stored}, stored)


def test_four_bits_work_for_sizes_that_the_fast_cpu_kernel_refuses(tmp_path: Path) -> None:
    write_model(tmp_path, intermediate_size=80)
    backbone = Backbone.load(str(tmp_path), device="cpu", quantisation="nf4")
    backbone.add_role("policy", trainable=True)
    backbone.eval()
    assert torch.isfinite(logits(backbone, "policy")).all()


def test_the_fingerprint_names_the_weights_and_not_the_folder(tiny: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny, tmp_path / "copy"))
    assert fingerprint(copy) == fingerprint(tiny)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"transformers_version": "0"}))
    assert fingerprint(copy) == fingerprint(tiny)
    (copy / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    assert fingerprint(copy) != fingerprint(tiny)
    assert fingerprint(write_model(tmp_path / "other", seed=1)) != fingerprint(tiny)


def test_a_folder_that_is_no_model_is_refused_with_a_next_step(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=r"no config\.json"):
        Backbone.load(str(tmp_path))
    with pytest.raises(BaseModelError, match="There is no model folder"):
        Backbone.load(str(tmp_path / "nowhere" / "at-all"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(BaseModelError, match=r"no \*.safetensors weights"):
        Backbone.load(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes((tiny / "model.safetensors").read_bytes())
    with pytest.raises(BaseModelError, match="tokenizer"):
        Backbone.load(str(tmp_path))
    encoder = Path(shutil.copytree(tiny, tmp_path / "encoder"))
    (encoder / "config.json").write_text(json.dumps({"model_type": "no-such-architecture"}))
    with pytest.raises(BaseModelError, match="cannot be read"):
        Backbone.load(str(encoder))


def test_settings_that_do_not_go_together_are_refused(tiny: Path, load: Load) -> None:
    with pytest.raises(ConfigError, match="4-bit weights cannot be trained in full"):
        Backbone.load(str(tiny), method="full", quantisation="nf4")
    backbone = load(lora_targets="no_such_layer")
    with pytest.raises(ConfigError, match="no_such_layer"):
        backbone.add_role("policy", trainable=True)


def test_a_role_of_another_kind_or_shape_is_refused(load: Load, tmp_path: Path) -> None:
    full = load(method="full")
    full.add_role("policy")
    full.save_role("policy", tmp_path / "full")
    with pytest.raises(CheckpointError, match="no lora weights"):
        load().add_role("policy", source=tmp_path / "full")
    narrow = load(lora_targets="q_proj")
    narrow.add_role("policy", trainable=True)
    narrow.save_role("policy", tmp_path / "narrow")
    with pytest.raises(CheckpointError, match="no full weights"):
        load(method="full").add_role("policy", source=tmp_path / "narrow")
    other = load()
    other.add_role("policy")
    with pytest.raises(CheckpointError, match="tensors are missing"):
        other.load_role("policy", tmp_path / "narrow")


def test_adapters_keep_their_own_rank_from_a_checkpoint(load: Load, tmp_path: Path) -> None:
    wide = load(lora_rank=8)
    wide.add_role("policy", trainable=True)
    scramble(wide, "policy")
    wide.save_role("policy", tmp_path)
    backbone = load(lora_rank=None)
    backbone.add_role("policy", source=tmp_path)
    assert torch.equal(logits(backbone, "policy"), logits(wide, "policy"))


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"lora_rank": 64}, "lora_rank is 64, .* was trained with 4"),
        ({"lora_alpha": 64.0}, "lora_alpha is 64.0, .* was trained with 8"),
        ({"lora_targets": "attention"}, "lora_targets is attention, .* was trained with down_proj,gate_proj"),
    ],
    ids=["rank", "alpha", "targets"],
)
def test_a_shape_asked_for_that_a_checkpoints_adapter_does_not_have_is_refused_with_both_values(
    load: Load, tmp_path: Path, asked: dict[str, Any], sentence: str
) -> None:
    saved = load()
    saved.add_role("policy", trainable=True)
    saved.save_role("policy", tmp_path)
    load(lora_targets="all-linear").add_role("policy", source=tmp_path)
    with pytest.raises(ConfigError, match=sentence):
        load(**asked).add_role("reward", source=tmp_path, head=True)


@pytest.mark.parametrize(
    "asked", [{"quantisation": "auto"}, {"quantisation": "nf8"}, {"method": "auto"}], ids=["open", "unknown", "method"]
)
def test_a_kind_that_is_none_is_refused_and_not_taken_for_the_plain_one(load: Load, asked: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="give "):
        load(**asked)


def test_chat_prompts_have_the_models_end_token(load: Load) -> None:
    backbone = load()
    assert backbone.chat.end_id == END
    assert backbone.chat.encode_prompt(prompt(1)["messages"]).ids[0] == 1
    assert len(words(3, 0).split()) == 3


def test_four_bits_are_nf4_with_double_quantisation_and_compute_in_the_asked_format(load: Load) -> None:
    for precision, dtype in (("auto", torch.float32), ("bf16", torch.bfloat16)):
        backbone = load(quantisation="nf4", precision=precision)
        layers = [module for module in backbone.modules() if isinstance(module, Linear4bit)]
        assert layers
        for layer in layers:
            state = layer.weight.quant_state
            assert (state.quant_type, state.nested, layer.compute_dtype) == ("nf4", True, dtype)


def test_the_number_format_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_dtype("auto", torch.device("cpu")) == torch.float32
    for has_bf16, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation, has=has_bf16: has or including_emulation
        )
        assert pick_dtype("auto", torch.device("cuda")) == expected
    assert pick_dtype("fp32", torch.device("cuda")) == torch.float32
