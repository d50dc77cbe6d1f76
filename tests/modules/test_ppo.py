import inspect
import math
import pydoc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from conftest import END, Memory, conversation, prompt, same, scramble, tensors_of, trainer
from torch import Tensor

from modules import ppo
from modules.config import PPOConfig
from modules.data.datamodules import PPOBatch, PPODataModule, PPOHeldOut
from modules.errors import ConfigError, DataError, NonFiniteError
from modules.losses import select_shifted
from modules.metrics import METRICS
from modules.model.backbone import Backbone
from modules.model.generate import Rollout
from modules.ppo import ADAM_EPS, PPOModule
from modules.rl import sampler, update
from modules.rl.evaluation import demonstration_losses
from modules.rl.experience import Experience, Objective, as_rollout, gather_experience, score_texts
from modules.rl.settings import PPOSettings
from modules.rl.step_metrics import StepSums
from studio.worker import training

Load = Callable[..., Backbone]
SMALL: dict[str, Any] = {
    "max_new_tokens": 8,
    "minibatch_size": 8,
    "micro_batch_size": 4,
    "value_warmup": 0,
    "epochs": 2,
}


def stop_often(backbone: Backbone) -> None:
    backbone.chat.stop_ids = frozenset({END, *range(12, 96, 12)})


@pytest.fixture
def build(four_roles: Load, alone: Any) -> Callable[..., Any]:
    def apply(*, options: dict[str, Any] | None = None, **settings: Any) -> tuple[PPOModule, dict[str, Any]]:
        backbone = four_roles(**(options or {}))
        stop_often(backbone)
        module = PPOModule(backbone, **(SMALL | settings))
        return module, alone(module)

    return apply


def batch_of(backbone: Backbone, count: int = 8, demonstrations: Any = None) -> PPOBatch:
    rows = [prompt(i, prompt_words=1 + i % 6)["messages"] for i in range(count)]
    return PPOBatch([backbone.chat.encode_prompt(messages).ids for messages in rows], demonstrations)


def experience_of(module: PPOModule, count: int = 8) -> Experience:
    rollout = module.sampler.sample(module.backbone, "policy", batch_of(module.backbone, count).prompts, seed=5)
    return gather_experience(
        module.backbone,
        rollout,
        module.objective,
        scores=module._score(rollout),
        center=0.0,
        kl_coef=0.05,
        temperature=module.config.temperature,
        micro_batch_size=module.config.micro_batch_size,
    )


@pytest.fixture
def gradient_spy(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Gradients of each optimizer step before clipping; no step is taken."""
    found: list[Tensor] = []

    def keep(parameters: Any, *args: Any) -> float:
        found.extend(p.grad.clone() for p in parameters if p.grad is not None)
        return 0.0

    monkeypatch.setattr(ppo, "clip_gradients", keep)
    return found


def drop(module: Any) -> None:
    module.optimizer.zero_grad(set_to_none=True)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_experience_is_what_its_definition_says_response_by_response(build: Any, estimator: str) -> None:
    """Items 1, 9, 14 and 16 on real responses, by loops over single responses without any padding."""
    module, _ = build(temperature=0.7, kl_estimator=estimator)
    backbone = module.backbone
    generator = torch.Generator().manual_seed(0)
    for parameter in backbone.role_parameters("policy").values():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    e = experience_of(module)
    raw_advantages = []
    for row in range(8):
        length = int(e.sequences.lengths[row])
        ids = e.sequences.ids[row : row + 1, :length]
        response = e.sequences.mask[row, :length].nonzero().flatten().tolist()
        found: dict[str, list[float]] = {}
        for role in ("policy", "reference"):
            with torch.no_grad(), backbone.role(role):
                logprobs = torch.log_softmax(backbone.logits(backbone.hidden(ids))[0] / 0.7, -1)
            found[role] = [float(logprobs[t - 1, ids[0, t]]) for t in response]
        with torch.no_grad(), backbone.role("value"):
            values = [float(v) for v in backbone.values(backbone.hidden(ids))[0][[t - 1 for t in response]]]
        difference = [a - b for a, b in zip(found["policy"], found["reference"], strict=True)]
        kl = difference if estimator == "k1" else [math.exp(-d) - 1 + d for d in difference]
        rewards = [-0.05 * k for k in kl]
        finished = int(ids[0, -1]) in backbone.chat.stop_ids
        rewards[-1] += min(max(float(e.scores[row]), -10), 10) - (0.0 if finished else 1.0)
        advantage, advantages = 0.0, []
        for t in reversed(range(len(response))):
            following = values[t + 1] if t + 1 < len(response) else 0.0
            advantage = rewards[t] + following - values[t] + 0.95 * advantage
            advantages.insert(0, advantage)
        n = len(response)
        assert e.logprobs[row, :n].tolist() == pytest.approx(found["policy"], abs=1e-5)
        assert e.ref_logprobs[row, :n].tolist() == pytest.approx(found["reference"], abs=1e-5)
        assert e.rewards[row, :n].tolist() == pytest.approx(rewards, abs=1e-4)
        assert e.returns[row, :n].tolist() == pytest.approx(
            [a + v for a, v in zip(advantages, values, strict=True)], abs=1e-4
        )
        raw_advantages += advantages
    mean = sum(raw_advantages) / len(raw_advantages)
    spread = math.sqrt(sum((a - mean) ** 2 for a in raw_advantages) / len(raw_advantages))
    assert e.advantages[e.mask].tolist() == pytest.approx([(a - mean) / spread for a in raw_advantages], abs=1e-3)


def test_item_28_at_the_start_policy_and_reference_are_equal_so_the_kl_is_0(build: Any) -> None:
    module, log = build(temperature=0.7)
    assert torch.equal(experience_of(module).logprobs, experience_of(module).ref_logprobs)
    module.training_step(batch_of(module.backbone), 0)
    assert log["objective/kl"] == 0.0


def test_item_16_returns_do_not_depend_on_whitening(build: Any) -> None:
    plain, white = build(whiten_advantages=False)[0], build(whiten_advantages=True)[0]
    first, second = experience_of(plain), experience_of(white)
    assert torch.equal(first.returns, second.returns)
    assert torch.allclose(first.advantages + first.values, first.returns, atol=1e-6)
    assert not torch.allclose(first.advantages, second.advantages, atol=0.01)


def test_item_6_only_a_response_without_end_token_is_penalised() -> None:
    """Even one whose end token is the last permitted token is not."""
    objective = Objective(missing_eos_penalty=2.0, score_clip=5.0)
    shaped = objective.shape(torch.tensor([1.0, 1.0, 9.0, -9.0]), 0.5, torch.tensor([True, False, True, False]))
    assert shaped.tolist() == [0.5, -1.5, 5.0, -7.0]
    fixed = replace(objective, missing_eos="score", missing_eos_score=-3.0)
    shaped = fixed.shape(torch.tensor([1.0, 1.0, 9.0, -9.0]), 0.5, torch.tensor([True, False, True, False]), 2.0)
    assert shaped.tolist() == [0.25, -3.0, 4.25, -3.0], "or its score is replaced by a fixed one"
    rollout = Rollout([[1], [1]], [[7, 8, END], [7, 8, 9]], [True, False])
    assert rollout.end_reasons == ["eos", "length"], "both have three tokens, the limit"


def test_item_15_bootstrapping_adds_the_value_of_what_would_follow_to_unfinished_responses_only(build: Any) -> None:
    """With lambda 0 an advantage is its own delta, so nothing but the last token's can differ."""
    plain, bootstrapped = (
        experience_of(
            build(bootstrap_unfinished=on, lam=0.0, gamma=0.9, whiten_advantages=False, value_start="reward")[0]
        )
        for on in (False, True)
    )
    module, _ = build(value_start="reward")
    assert 0 < int(plain.finished.sum()) < 8, "responses of both kinds"
    expected = torch.zeros_like(plain.advantages)
    for row in range(8):
        length, num_tokens = int(plain.sequences.lengths[row]), int(plain.mask[row].sum())
        with torch.no_grad(), module.backbone.role("value"):
            values = module.backbone.values(module.backbone.hidden(plain.sequences.ids[row : row + 1, :length]))
        expected[row, num_tokens - 1] = 0.0 if plain.finished[row] else 0.9 * float(values[0, -1])
    assert expected.abs().max() > 0.01
    assert torch.allclose(bootstrapped.advantages - plain.advantages, expected, atol=1e-5)
    assert torch.equal(bootstrapped.rewards, plain.rewards), "what is logged as reward holds no value"


def test_item_7_ppo_samples_without_filters_and_the_config_refuses_them(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With top-p or top-k the tokens would not come from the policy whose log-probabilities are compared."""
    for name, value in (("top_p", 0.9), ("top_k", 5), ("repetition_penalty", 1.1)):
        with pytest.raises(ValueError, match=f"{name}\n.*[Ee]xtra inputs are not permitted"):
            PPOConfig.model_validate({name: value})
        with pytest.raises(TypeError, match=f"PPOModule has no setting {name}"):
            build(**{name: value})
    module, _ = build(epochs=1)
    asked = []
    real = sampler.generate
    monkeypatch.setattr(
        sampler, "generate", lambda *args, **options: (asked.append(options), real(*args, **options))[1]
    )
    module.training_step(batch_of(module.backbone), 0)
    module.validation_step(PPOHeldOut(batch_of(module.backbone).prompts, None, torch.zeros(0)), 0)
    assert len(asked) == 3
    assert all(options.get("top_p", 1.0) == 1.0 and options.get("top_k", 0) == 0 for options in asked)


def test_item_18_ratios_are_1_before_the_first_update(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ratios = []
    real = update.policy_losses

    def spy(logprobs: Tensor, old: Tensor, *rest: Any) -> Tensor:
        ratios.append((logprobs - old).detach().exp())
        return real(logprobs, old, *rest)

    monkeypatch.setattr(update, "policy_losses", spy)
    module, _ = build(micro_batch_size=3)
    module.training_step(batch_of(module.backbone), 0)
    first_minibatch = torch.cat(ratios[:3])
    assert (first_minibatch - 1).abs().max() < 1e-5
    assert (torch.cat(ratios[3:]) - 1).abs().max() > 1e-4


@pytest.mark.parametrize("options", [{}, {"method": "full"}])
def test_item_21_the_gradient_is_the_same_for_every_micro_batch_size(
    build: Any, gradient_spy: list[Tensor], monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    found = []
    for size in (1, 2, 4, 8):
        module, _ = build(options=options, micro_batch_size=size, entropy_coef=0.01)
        monkeypatch.setattr(ppo, "take_step", drop)
        e = experience_of(module)
        assert len(set(e.mask.sum(-1).tolist())) > 2, "responses of uneven length"
        gradient_spy.clear()
        module._update(e, torch.tensor([5, 0, 3, 1, 7, 2, 4, 6]), None, StepSums(torch.device("cpu")))
        found.append(list(gradient_spy))
    assert max(float(g.abs().max()) for g in found[0]) > 1e-3
    for other in found[1:]:
        assert all(torch.allclose(a, b, atol=2e-6) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize(("epochs", "minibatch", "expected"), [(1, 8, 1), (3, 4, 6), (2, 3, 6), (4, 1, 32)])
def test_item_22_there_are_epochs_times_ceil_n_over_minibatch_steps(
    build: Any, monkeypatch: pytest.MonkeyPatch, epochs: int, minibatch: int, expected: int
) -> None:
    module, _ = build(epochs=epochs, minibatch_size=minibatch)
    count = 0

    def step(*args: Any, **kwargs: Any) -> None:
        nonlocal count
        count += 1

    monkeypatch.setattr(module.optimizer, "step", step)
    seen = []
    monkeypatch.setattr(update, "by_length", lambda lengths, size: iter([torch.arange(len(lengths))]))
    real = module._update
    monkeypatch.setattr(module, "_update", lambda e, rows, *rest: (seen.extend(rows.tolist()), real(e, rows, *rest)))
    module.training_step(batch_of(module.backbone), 0)
    assert count == expected
    assert sorted(seen) == sorted(list(range(8)) * epochs), "every response once an epoch"


def test_an_iteration_ends_early_once_a_minibatch_is_too_far_from_the_rollout(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The minibatch that shows it is not stepped on, nor is any after it, in this epoch or the next."""

    def changes(limit: float) -> tuple[list[float], int, dict[str, Any], PPOModule]:
        module, log = build(approx_kl_limit=limit, epochs=3, minibatch_size=4, learning_rate=1e-2)
        seen, steps = [], []
        real, real_step = update.Surrogate.backward, module.optimizer.step

        def spy(*args: Any, **options: Any) -> Any:
            shares = real(*args, **options)
            seen.append(float(shares.approx_kl))
            return shares

        monkeypatch.setattr(update.Surrogate, "backward", spy)
        monkeypatch.setattr(module.optimizer, "step", lambda: (steps.append(1), real_step()))
        module.training_step(batch_of(module.backbone), 0)
        monkeypatch.setattr(update.Surrogate, "backward", real)
        return seen, len(steps), log, module

    free, num_steps, log, _ = changes(0.0)
    assert (len(free), num_steps) == (6, 6)
    assert "policy/steps_taken" not in log
    limit = (free[1] + free[2]) / 2
    assert free[0] < 1e-9 < free[1] < limit
    held, num_steps, log, module = changes(limit)
    assert held == free[:3], "the third minibatch shows the excess"
    assert (num_steps, log["policy/steps_taken"]) == (2, pytest.approx(2 / 6))
    assert all(p.grad is None for p in module.parameters()), "its gradients do not leak into the next iteration"
    assert module.step_index == 1


def test_item_23_both_networks_are_clipped_to_their_own_norm(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module, log = build(max_grad_norm=1e-3)
    norms = []

    def spy(module: PPOModule) -> None:
        for parameters in (module.policy_parameters, module.value_parameters):
            norms.append(float(torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()))
        module.optimizer.zero_grad(set_to_none=True)

    monkeypatch.setattr(ppo, "take_step", spy)
    module.training_step(batch_of(module.backbone), 0)
    assert max(norms) <= 1e-3 * 1.0001
    assert log["policy/grad_norm"] > 1e-2, "what is logged is the norm before clipping"
    assert log["value/grad_norm"] > 1e-2


def demonstrations_of(backbone: Backbone) -> Any:
    data = PPODataModule(
        [prompt(0)],
        [],
        backbone.chat,
        demonstrations=[conversation(i) for i in range(4)],
        iterations=1,
        ptx_per_iteration=4,
    )
    (batch,) = data.train_dataloader()
    return batch.demonstrations


def test_item_24_a_ptx_coefficient_of_0_is_bitwise_no_ptx(build: Any) -> None:
    results = []
    for coefficient, has_demonstrations in ((0.0, False), (0.0, True), (1.0, True)):
        module, log = build(ptx_coef=coefficient)
        demonstrations = demonstrations_of(module.backbone) if has_demonstrations else None
        module.training_step(batch_of(module.backbone, demonstrations=demonstrations), 0)
        results.append(tensors_of(module.backbone, "policy"))
        assert ("policy/ptx_loss" in log) == (coefficient > 0)
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_item_24_ptx_adds_the_mean_gradient_over_the_demonstrations_own_tokens(
    build: Any, gradient_spy: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _ = build()
    monkeypatch.setattr(ppo, "take_step", drop)
    demonstrations = demonstrations_of(module.backbone)
    e, rows = experience_of(module), torch.arange(8)
    found = []
    for coefficient in (0.0, 0.5):
        gradient_spy.clear()
        module.surrogate = replace(module.surrogate, ptx_coef=coefficient)
        module._update(e, rows, demonstrations, StepSums(torch.device("cpu")))
        found.append(list(gradient_spy))
    with module.backbone.role("policy"):
        logits = module.backbone.logits(module.backbone.hidden(demonstrations.ids))
        labels = demonstrations.ids.masked_fill(~demonstrations.mask, -100)[:, 1:]
        torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), labels).backward()
    expected = [p.grad for p in module.policy_parameters if p.grad is not None]
    assert len(expected) > 4
    for without, added, lm in zip(found[0], found[1], expected, strict=False):
        assert torch.allclose(added - without, 0.5 * lm, atol=1e-5)


def test_item_24_ptx_towards_the_reference_adds_the_gradient_of_its_kl_and_none_where_the_policy_is_the_reference(
    build: Any, gradient_spy: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _ = build()
    monkeypatch.setattr(ppo, "take_step", drop)
    demonstrations = demonstrations_of(module.backbone)
    e, rows = experience_of(module), torch.arange(8)

    def added() -> list[Tensor]:
        found = []
        for coefficient in (0.0, 0.5):
            gradient_spy.clear()
            module.surrogate = replace(module.surrogate, ptx_coef=coefficient, ptx_target="reference")
            module._update(e, rows, demonstrations, StepSums(torch.device("cpu")))
            found.append(list(gradient_spy))
        return [after - before for before, after in zip(*found, strict=True)]

    generator = torch.Generator().manual_seed(0)
    before = [p.detach().clone() for p in module.policy_parameters]
    with torch.no_grad():
        for own, reference in zip(
            module.policy_parameters, module.backbone.role_parameters("reference").values(), strict=True
        ):
            own.copy_(reference)
    assert max(float(g.abs().max()) for g in added()) < 1e-6
    with torch.no_grad():
        for parameter, value in zip(module.policy_parameters, before, strict=True):
            parameter.copy_(value + 0.05 * torch.randn(value.shape, generator=generator))
    gradients = added()
    with torch.no_grad(), module.backbone.role("reference"):
        theirs = module.backbone.logits(module.backbone.hidden(demonstrations.ids))[:, :-1]
    with module.backbone.role("policy"):
        own = module.backbone.logits(module.backbone.hidden(demonstrations.ids))[:, :-1]
        terms = torch.nn.functional.kl_div(
            own.log_softmax(-1), theirs.log_softmax(-1), reduction="none", log_target=True
        )
        terms.sum(-1)[demonstrations.mask[:, 1:]].mean().backward()
    expected = [p.grad for p in module.policy_parameters if p.grad is not None]
    assert max(float(g.abs().max()) for g in expected) > 1e-3
    for found, kl in zip(gradients, expected, strict=False):
        assert torch.allclose(found, 0.5 * kl, atol=1e-5)


def test_item_25_the_entropy_bonus_pulls_towards_more_entropy_by_its_mean_gradient(
    build: Any, gradient_spy: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _ = build()
    monkeypatch.setattr(ppo, "take_step", drop)
    e, rows = experience_of(module), torch.arange(8)
    found = []
    for coefficient in (0.0, 0.5):
        gradient_spy.clear()
        module.surrogate = replace(module.surrogate, entropy_coef=coefficient)
        module._update(e, rows, None, StepSums(torch.device("cpu")))
        found.append(list(gradient_spy))
    with module.backbone.role("policy"):
        sequences = e.sequences.rows(rows)
        logits = module.backbone.logits(module.backbone.hidden(sequences.ids))[:, :-1]
        chances = torch.softmax(logits / module.surrogate.temperature, -1)
        entropy = -(chances * chances.log()).sum(-1)[sequences.mask[:, 1:]].mean()
        entropy.backward()
    expected = [p.grad for p in module.policy_parameters if p.grad is not None]
    assert len(expected) > 4
    assert max(float(g.abs().max()) for g in expected) > 1e-4
    for without, added, more in zip(found[0], found[1], expected, strict=False):
        assert torch.allclose(added - without, -0.5 * more, atol=1e-5)


def test_item_27_adam_has_its_eps_and_each_network_its_rate(build: Any) -> None:
    module, _ = build(learning_rate=3e-4, value_learning_rate=7e-4)
    policy, value = module.optimizer.param_groups
    assert ADAM_EPS == policy["eps"] == value["eps"] == 1e-5
    assert (policy["lr"], value["lr"]) == (3e-4, 7e-4)
    assert policy["weight_decay"] == 0
    ids = {id(p) for p in module.backbone.role_parameters("policy").values()}
    assert {id(p) for p in policy["params"]} == ids


def test_item_27_value_warmup_leaves_the_policy_as_it_was_bit_for_bit(build: Any) -> None:
    module, log = build(value_warmup=2, ptx_coef=1.0)
    batch = batch_of(module.backbone, demonstrations=demonstrations_of(module.backbone))
    policy, value = tensors_of(module.backbone, "policy"), tensors_of(module.backbone, "value")
    for _ in range(2):
        module.training_step(batch, 0)
    assert same(tensors_of(module.backbone, "policy"), policy)
    assert not same(tensors_of(module.backbone, "value"), value)
    assert "policy/loss" not in log
    module.training_step(batch, 0)
    assert not same(tensors_of(module.backbone, "policy"), policy)
    assert "policy/loss" in log


def test_a_steered_module_trains_as_one_that_was_built_with_these_settings(build: Any) -> None:
    settings = {"kl_coef": 0.4, "learning_rate": 3e-3, "value_learning_rate": 7e-3, "temperature": 0.5}
    (steered, _), (built, _) = build(), build(**settings)
    steered.steer(**settings)
    for module in (steered, built):
        module.training_step(batch_of(module.backbone), 0)
    for role in ("policy", "value"):
        pairs = zip(*(module.backbone.role_parameters(role).values() for module in (steered, built)), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
    assert steered.latest_samples == built.latest_samples
    assert steered.kl_controller.coef == 0.4
    other, _ = build()
    other.training_step(batch_of(other.backbone), 0)
    assert other.latest_samples != built.latest_samples, "the temperature counts"


def test_item_29_an_iteration_changes_policy_and_value_and_nothing_else(build: Any) -> None:
    module, _ = build(center_scores=False)
    backbone = module.backbone
    own = {id(p) for role in ("policy", "value") for p in backbone.role_parameters(role).values()}
    before = {name: p.detach().clone() for name, p in backbone.named_parameters()}
    module.training_step(batch_of(backbone), 0)
    for name, parameter in backbone.named_parameters():
        assert torch.equal(parameter, before[name]) == (id(parameter) not in own), name


def test_item_26_adapter_dropout_is_off_in_ppo(four_roles: Load) -> None:
    backbone = four_roles(lora_dropout=0.5)
    module = PPOModule(backbone, **SMALL)
    module.train()
    first, second = experience_of(module), experience_of(module)
    assert torch.equal(first.logprobs, second.logprobs)
    assert torch.equal(first.values, second.values)


def test_item_38_metrics_are_means_over_real_tokens(build: Any) -> None:
    """One optimizer step away from the sampling policy, every metric equals a loop over unpadded responses."""
    module, log = build(minibatch_size=8, epochs=2, learning_rate=3e-3)
    records: list[dict[str, list[float]]] = []

    class Recorder(StepSums):
        def add_tokens(self, values: dict[str, Tensor]) -> None:
            records.append({name: tensor.detach().tolist() for name, tensor in values.items()})
            super().add_tokens(values)

    e = experience_of(module)
    sums = Recorder(torch.device("cpu"))
    module._update(e, torch.arange(8), None, StepSums(torch.device("cpu")))
    module._update(e, torch.arange(8), None, sums)
    found = sums.means()
    ratios = [r for record in records for r in record.get("policy/ratio", [])]
    assert len(ratios) == int(e.mask.sum())
    assert found["policy/ratio"] == pytest.approx(sum(ratios) / len(ratios), abs=1e-5)
    assert found["policy/approx_kl"] == pytest.approx(
        sum(0.5 * math.log(r) ** 2 for r in ratios) / len(ratios), rel=1e-3
    )
    assert found["policy/clip_fraction"] == sum(abs(r - 1) > 0.2 for r in ratios) / len(ratios)
    assert 0 < found["policy/entropy"] < math.log(96)
    del log


def test_item_38_more_padding_changes_no_metric_and_no_gradient(
    build: Any, gradient_spy: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _ = build()
    monkeypatch.setattr(ppo, "take_step", drop)
    e = experience_of(module)

    def pad(tensor: Tensor, value: Any) -> Tensor:
        return torch.cat([tensor, torch.full((8, 5), value, dtype=tensor.dtype)], dim=1)

    wide = e._replace(
        sequences=e.sequences._replace(ids=pad(e.sequences.ids, END), mask=pad(e.sequences.mask, False)),
        mask=pad(e.mask, False),
        **{
            name: pad(getattr(e, name), 99.0)
            for name in ("logprobs", "ref_logprobs", "values", "advantages", "returns")
        },
        rewards=pad(e.rewards, 0.0),
    )
    results = []
    for each in (e, wide):
        gradient_spy.clear()
        sums = StepSums(torch.device("cpu"))
        module._update(each, torch.arange(8), None, sums)
        results.append((sums.means(), list(gradient_spy)))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(results[0][1], results[1][1], strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_item_40_a_score_that_is_not_finite_stops_the_run_and_changes_nothing(build: Any, bad: float) -> None:
    module, _ = build(score_function=lambda r: torch.tensor([1.0] * 7 + [bad]), center_scores=False)
    before = {role: tensors_of(module.backbone, role) for role in ("policy", "value")}
    with pytest.raises(NonFiniteError, match="weights are as they were"):
        module.training_step(batch_of(module.backbone), 0)
    assert all(same(tensors_of(module.backbone, role), before[role]) for role in before)
    assert module.step_index == 0
    assert not module.optimizer.state_dict()["state"]


def test_item_40_a_gradient_that_is_not_finite_takes_no_step(build: Any) -> None:
    module, _ = build()
    e = experience_of(module)
    broken = e._replace(returns=e.returns * float("nan"))
    before = {role: tensors_of(module.backbone, role) for role in ("policy", "value")}
    with pytest.raises(NonFiniteError):
        module._update(broken, torch.arange(8), None, StepSums(torch.device("cpu")))
    assert all(same(tensors_of(module.backbone, role), before[role]) for role in before)
    assert all(p.grad is None for p in module.parameters())


def test_item_40_a_state_that_is_left_in_the_middle_of_an_iteration_says_how_much_of_it_it_holds(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _ = build(minibatch_size=4)
    real, calls = update.Surrogate.backward, []

    def backward(*given: Any, **named: Any) -> Any:
        calls.append(1)
        shares = real(*given, **named)
        return shares._replace(loss=shares.loss * float("nan")) if len(calls) == 7 else shares

    monkeypatch.setattr(update.Surrogate, "backward", backward)
    module.training_step(batch_of(module.backbone), 0)
    assert module.state()["half_iteration"] == (0, 0)
    with pytest.raises(NonFiniteError):
        module.training_step(batch_of(module.backbone), 1)
    assert module.state()["half_iteration"] == (2, 4), "two epochs of two minibatches, of which the third failed"
    assert training._half(module).startswith(
        " It is not a whole iteration: 2 of the 4 optimizer steps of iteration 2 are"
    )


def test_scores_are_centred_on_the_sft_policys_and_the_value_function_with_them(build: Any) -> None:
    module, log = build(epochs=1, value_start="reward")
    module.score_function = None
    head = module.backbone.heads["reward"]
    head.bias.data += 30.0  # far beyond the clip, were it not centred
    bias = module.backbone.heads["value"].bias.item()
    module.value_parameters.clear()
    module.training_step(batch_of(module.backbone), 0)
    assert module.score_center == pytest.approx(30.0, abs=3.0)
    assert abs(log["objective/score"] - 30.0) < 3.0, "the raw score is what is logged"
    assert abs(log["objective/reward"]) < 3.0
    assert module.backbone.heads["value"].bias.item() == pytest.approx(bias - module.score_center, abs=0.1)


def test_item_27_a_value_function_starts_at_0_or_as_the_reward_model(build: Any) -> None:
    """At 0 it stays there while scores are centred and scaled, until it has learnt."""
    module, _ = build(score_scale="running", value_start="zero", value_learning_rate=0.0)
    head = module.backbone.heads["value"]
    module.training_step(batch_of(module.backbone), 0)
    assert not any(parameter.any() for parameter in head.parameters())
    assert module.latest[1].values.abs().max() == 0
    kept, _ = build()
    assert torch.equal(kept.backbone.heads["value"].weight, kept.backbone.heads["reward"].weight)


def test_item_12_a_value_function_on_the_reward_models_trunk_learns_by_its_head_alone(load: Load, alone: Any) -> None:
    backbone = load()
    backbone.add_role("reference")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    backbone.add_role("reward", head=True)
    scramble(backbone, "reward", 1)
    backbone.add_role("value", trunk_of="reward", trainable=True, head=True)
    stop_often(backbone)
    module = PPOModule(backbone, **SMALL, value_start="reward")
    alone(module)
    assert list(backbone.role_parameters("value")) == ["head.weight", "head.bias"]
    experience = experience_of(module)
    with torch.no_grad(), backbone.role("value"):
        hidden = backbone.hidden(experience.sequences.ids)
        states, _ = select_shifted(hidden, experience.sequences.ids, experience.sequences.mask)
        assert torch.allclose(experience.values[experience.mask], backbone.values(states), atol=1e-5)
    before = {name: p.detach().clone() for name, p in backbone.named_parameters()}
    module.training_step(batch_of(backbone), 0)
    own = {id(p) for role in ("policy", "value") for p in backbone.role_parameters(role).values()}
    for name, parameter in backbone.named_parameters():
        assert torch.equal(parameter, before[name]) == (id(parameter) not in own), name


def test_a_value_function_without_weights_below_is_saved_and_loaded_as_its_head(load: Load, tmp_path: Path) -> None:
    backbone = load()
    backbone.add_role("reward", head=True)
    backbone.add_role("value", trunk_of="reward", trainable=True, head=True)
    backbone.shift_head("value", 2.0)
    backbone.save_role("value", tmp_path / "value")
    assert [file.name for file in (tmp_path / "value").iterdir()] == ["head.safetensors"]
    backbone.shift_head("value", 3.0)
    backbone.load_role("value", tmp_path / "value")
    assert backbone.heads["value"].bias.item() == pytest.approx(backbone.heads["reward"].bias.item() + 2.0)


def test_item_13_scores_can_be_centred_on_demonstrations_whose_mean_is_then_0(build: Any) -> None:
    """Each is scored as prompt and last answer; those of categories left out do not count."""
    module, log = build(epochs=1)
    backbone = module.backbone
    rows: list[Any] = [conversation(i) | {"category": "story" if i == 3 else "talk"} for i in range(4)]
    rows[1]["messages"] = [*rows[0]["messages"], *rows[1]["messages"]]
    data = PPODataModule(
        [prompt(i) for i in range(8)],
        [],
        backbone.chat,
        validation_demonstrations=rows,
        excluded=frozenset({"story"}),
        is_centred=True,
        batch_size=4,
        iterations=2,
    )
    first, second = data.train_dataloader()
    assert second.yardstick is None
    assert first.yardstick is not None
    texts: Any = [(row["messages"][:-1], row["messages"][-1]["content"]) for row in rows[:3]]
    expected = score_texts(backbone, texts)
    module.training_step(first, 0)
    assert module.score_center == pytest.approx(sum(expected) / 3, abs=1e-5)
    rollout = as_rollout(first.yardstick, backbone.chat.stop_ids)
    assert len(set(map(len, rollout.prompts))) > 1
    assert module._score(rollout).tolist() == pytest.approx(expected, abs=1e-5)
    assert rollout.finished == [True] * 3
    with pytest.raises(DataError, match="held-out demonstrations for center_on"):
        PPODataModule([prompt(0)], [], backbone.chat, is_centred=True)
    del log


def test_item_13_scores_are_scaled_after_centring_and_before_clipping() -> None:
    shaped = Objective(score_clip=3.0).shape(torch.tensor([7.0, 9.0, -20.0]), 5.0, torch.ones(3, dtype=torch.bool), 2.0)
    assert shaped.tolist() == [1.0, 2.0, -3.0]


def test_item_13_scores_are_divided_by_the_running_deviation_and_the_raw_score_is_logged(build: Any) -> None:
    """The first iteration's own scores count; an evaluation's do not."""
    module, log = build(score_scale="running", kl_coef=0.0, missing_eos_penalty=0.0, epochs=1)
    head, value_head = module.backbone.heads["reward"], module.backbone.heads["value"]
    head.weight.data *= 7.0
    before = value_head.weight.clone()
    module.value_parameters.clear()
    module.training_step(batch_of(module.backbone), 0)
    assert module.latest is not None
    scores = module.latest[0].scores
    spread = float(scores.std(correction=0))
    assert log["objective/score"] == pytest.approx(float(scores.mean()), abs=1e-5)
    assert log["objective/score_scale"] == pytest.approx(spread, rel=1e-5)
    assert spread > 2.0
    centred = float(scores.mean()) - module.score_center
    assert log["objective/reward"] == pytest.approx(centred / spread, abs=1e-4)
    assert torch.allclose(value_head.weight, before / spread, atol=2e-3), "values start on the scale of the rewards"
    moments = module.score_moments
    module.validation_step(PPOHeldOut(batch_of(module.backbone).prompts, None, torch.zeros(0)), 0)
    assert module.score_moments == moments
    module.training_step(batch_of(module.backbone), 0)
    assert module.score_moments == moments.updated(module.latest[0].scores)


def test_the_adaptive_controller_sees_the_kl_summed_over_a_response(build: Any) -> None:
    module, log = build(kl_target=1e-6, kl_coef=0.1)
    for parameter in module.backbone.role_parameters("policy").values():
        parameter.data += 0.02
    module.training_step(batch_of(module.backbone), 0)
    error = 0.2 if log["objective/kl"] > 0 else -0.2
    assert module.kl_controller.coef == pytest.approx(0.1 * (1 + error * 8 / 10_000))
    assert log["objective/kl_coef"] == 0.1


def test_the_controller_does_not_steer_while_the_policy_is_held_still(build: Any) -> None:
    module, log = build(kl_target=6.0, kl_coef=0.1, value_warmup=2, epochs=1)
    batch = batch_of(module.backbone)
    for _ in range(2):
        module.training_step(batch, 0)
    assert log["objective/kl"] == pytest.approx(0.0, abs=1e-6)
    assert module.kl_controller.coef == 0.1, "a KL of 0 in the warm-up is no reason to make it cheaper"
    module.training_step(batch, 0)
    assert module.kl_controller.coef < 0.1


def test_a_price_of_0_that_is_to_adapt_is_refused(build: Any) -> None:
    with pytest.raises(ConfigError, match=r"kl_target is 6, .* starts at 0 .*: set kl_coef to a start such as 0\.05"):
        build(kl_target=6.0, kl_coef=0.0)


def test_item_20_values_go_where_they_must_in_the_warm_up_and_are_held_near_the_old_ones_after_it(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    real = update.value_losses
    monkeypatch.setattr(update, "value_losses", lambda *given: seen.append(given[3]) or real(*given))
    module, _ = build(value_warmup=1, value_clip_range=0.3, epochs=1, minibatch_size=8, micro_batch_size=8)
    batch = batch_of(module.backbone)
    module.training_step(batch, 0)
    assert set(seen) == {math.inf}
    seen.clear()
    module.training_step(batch, 0)
    assert set(seen) == {0.3}


def test_in_the_warm_up_a_value_function_reaches_returns_that_lie_many_clip_ranges_away(build: Any) -> None:
    module, _ = build(
        score_function=lambda rollout: torch.full((len(rollout.responses),), 5.0), center_scores=False, value_start="zero", value_warmup=3, value_clip_range=0.1,
        missing_eos_penalty=0.0, value_learning_rate=2e-2, kl_coef=0.0, epochs=4,
    )  # fmt: skip
    batch = batch_of(module.backbone)
    for _ in range(3):
        module.training_step(batch, 0)
    assert module.latest is not None
    experience = module.latest[1]
    reached = experience.values[experience.mask].mean()
    assert reached > 2.0, "three iterations of 0.1 each would end at 0.3"


@pytest.mark.parametrize("options", [{}, {"method": "full"}, {"quantisation": "nf4"}])
def test_a_plain_trainer_fits_it_and_measures_before_between_and_after(
    four_roles: Load, options: dict[str, str]
) -> None:
    backbone = four_roles(**options)
    stop_often(backbone)
    held_out = [conversation(i) | {"category": "story" if i < 4 else "talk"} for i in range(8)]
    data = PPODataModule(
        [prompt(i) for i in range(10)],
        [prompt(i) for i in range(20, 26)],
        backbone.chat,
        validation_demonstrations=held_out,
        excluded=frozenset({"story"}),
        batch_size=8,
        iterations=3,
    )
    module = PPOModule(backbone, **SMALL)
    memory = Memory()
    lightning = trainer(memory, val_check_interval=2)
    lightning.validate(module, datamodule=data, verbose=False)
    lightning.fit(module, datamodule=data)
    lightning.validate(module, datamodule=data, verbose=False)
    assert module.step_index == 3
    assert lightning.global_step == 3 * 2, "global_step counts optimizer steps"
    assert list(memory.of("objective/score")) == [1, 2, 3]
    for name in ("eval/score", "eval/kl", "eval/response_tokens", "eval/demonstration_loss", "eval/tax_loss"):
        assert list(memory.of(name)) == [0, 2, 3]
    assert memory.of("eval/kl")[0] == pytest.approx(0.0, abs=1e-6)
    assert memory.of("eval/kl")[3] != 0.0
    assert len(module.latest_samples) == 8
    assert len(module.latest_eval_samples) == 6
    sample = module.latest_eval_samples[0]
    assert backbone.chat.decode_prompt(data.validation_prompts[0]) == sample.prompt_text
    assert sample.end_reason in ("eos", "length")
    logged = {name for _, metrics in memory.rows for name in metrics if name != "epoch"}
    assert logged <= METRICS.keys()


def test_the_tax_is_the_loss_on_excluded_demonstrations_only(build: Any) -> None:
    module, _ = build()
    data = demonstrations_of(module.backbone)
    losses = demonstration_losses(module.backbone, "policy", data, torch.tensor([True, False, True, False]), 4)

    def mean_loss(rows: list[int]) -> float:
        with torch.no_grad(), module.backbone.role("policy"):
            logits = module.backbone.logits(module.backbone.hidden(data.ids[rows]))
        labels = data.ids[rows].masked_fill(~data.mask[rows], -100)[:, 1:]
        return float(torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), labels))

    assert losses["eval/demonstration_loss"] == pytest.approx(mean_loss([0, 1, 2, 3]), abs=1e-5)
    assert losses["eval/tax_loss"] == pytest.approx(mean_loss([0, 2]), abs=1e-5)
    assert "eval/tax_loss" not in demonstration_losses(
        module.backbone, "policy", data, torch.zeros(4, dtype=torch.bool), 4
    )


def test_every_setting_of_the_trainer_is_one_of_the_config_with_the_same_type_and_default(build: Any) -> None:
    named, configured = get_type_hints(PPOSettings), get_type_hints(PPOConfig)
    assert {name: configured[name] for name in named} == named
    module, _ = build()
    assert module.config == PPOConfig(**SMALL)


def test_help_shows_every_setting_with_its_default_and_what_it_means() -> None:
    parameters = inspect.signature(PPOModule).parameters
    assert list(parameters) == ["backbone", "score_function", *PPOSettings.__annotations__]
    text = " ".join(pydoc.render_doc(PPOModule, renderer=pydoc.plaintext).replace("|", " ").split())
    for name in PPOSettings.__annotations__:
        field = PPOConfig.model_fields[name]
        assert parameters[name].default == field.default
        assert f"{name} ({field.default!r}): {' '.join((field.description or '-').split())}" in text


def test_every_setting_of_the_config_that_has_the_modules_name_reaches_it(four_roles: Load) -> None:
    config = PPOConfig(
        kl_coef=0.3, clip_range=0.11, max_new_tokens=7, minibatch_size=5, seed=9, lam=0.5, score_clip=2.0
    )
    module = PPOModule.from_config(config, four_roles())
    assert (module.kl_controller.coef, module.surrogate.clip_range, module.sampler.max_new_tokens) == (0.3, 0.11, 7)
    assert (module.config.minibatch_size, module.config.seed, module.objective.lam, module.objective.score_clip) == (
        5,
        9,
        0.5,
        2.0,
    )


def test_each_iteration_samples_and_shuffles_with_numbers_of_its_own(build: Any) -> None:
    module, _ = build()

    def orders() -> Iterator[list[int]]:
        for module.step_index in range(3):
            for epoch in range(2):
                yield torch.cat(list(module._minibatches(30, epoch))).tolist()

    assert len({tuple(order) for order in orders()}) == 6
    assert len({module._seed_of(step) for step in range(-1, 50)}) == 51
