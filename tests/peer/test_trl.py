"""The same tensors give the same numbers as TRL 1.12, except where TRL is wrong: there the test's name says so.

TRL lives in an environment of its own and is called as a process:

    RLHF_STUDIO_PEER_PYTHON=/path/to/trl/bin/python pytest -m peer tests/peer
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from modules.data.sequences import Sequences, pad_rows
from modules.losses import bradley_terry_loss, masked_mean, policy_losses, value_losses
from modules.model.backbone import Backbone
from modules.model.generate import Rollout
from modules.model.packing import negative_logprobs
from modules.optimisation import clip_gradients
from modules.rl.advantages import gae, kl_estimates, token_rewards, whiten
from modules.rl.experience import all_logprobs, all_values, reward_scores
from tests.modules.conftest import END, write_model

pytestmark = [pytest.mark.peer, pytest.mark.timeout(900)]

PAD, PROMPT, TEMPERATURE, GAMMA, LAM, KL_COEF = 0, 5, 0.7, 0.97, 0.9, 0.2
MAX_NORM = 1e-3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    python = os.environ.get("RLHF_STUDIO_PEER_PYTHON", sys.executable if importlib.util.find_spec("trl") else "")
    if not python:
        pytest.skip("TRL is not at hand: name a Python that has it in RLHF_STUDIO_PEER_PYTHON.")
    folder = tmp_path_factory.mktemp("peer")
    write_model(folder / "policy")
    write_model(folder / "scorer", seed=1)
    weight = torch.randn(1, 64, generator=torch.Generator().manual_seed(2)) / 8
    save_file({"weight": weight, "bias": torch.zeros(1)}, folder / "scorer" / "head.safetensors")
    script = Path(__file__).parent / "trl_figures.py"
    environment = os.environ | {"TRL_EXPERIMENTAL_SILENCE": "1"}
    done = subprocess.run([python, script, folder], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def trl(folder: Path) -> dict[str, torch.Tensor]:
    """What TRL computed."""
    return load_file(folder / "figures.safetensors")


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Backbone:
    backbone = Backbone.load(str(folder / "policy"), method="full", device="cpu")
    backbone.add_role("policy")
    backbone.add_role("reference")
    with torch.no_grad():
        backbone.role_parameters("reference")["model.embed_tokens.weight"].mul_(0.9)  # as the peer's script does
    for role in ("reward", "value"):
        backbone.add_role(role, source=folder / "scorer", head=True)
    return backbone


@pytest.fixture(scope="module")
def mask(trl) -> torch.Tensor:
    """(B, R), True on the tokens that TRL takes for a response."""
    return ~trl["ppo.padding_mask"]


@pytest.fixture(scope="module")
def rollout(trl, mask) -> Rollout:
    rows = [row.tolist() for row in trl["ppo.query_responses"]]
    lengths = mask.sum(-1).tolist()
    responses = [row[PROMPT : PROMPT + length] for row, length in zip(rows, lengths, strict=True)]
    return Rollout([row[:PROMPT] for row in rows], responses, [response[-1] == END for response in responses])


@pytest.fixture(scope="module")
def is_whole(trl, mask) -> torch.Tensor:
    """(B,) whether a response fills all its room; there are both kinds."""
    whole = mask.all(-1)
    assert whole.any()
    assert not whole.all()
    return whole


@pytest.fixture(scope="module")
def micro_batches(trl) -> list[dict[str, torch.Tensor]]:
    """Two epochs of four micro-batches, as TRL saw them."""
    count = len({name.split(".")[1] for name in trl if name.startswith("micro.")})
    assert count == 8
    prefixes = [f"micro.{i}." for i in range(count)]
    return [{name.removeprefix(p): value for name, value in trl.items() if name.startswith(p)} for p in prefixes]


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def unpadded(ids: torch.Tensor, attention: torch.Tensor, targets: torch.Tensor | None = None) -> Sequences:
    """Padded rows of TRL's as ours; each has all its real tokens together."""
    kept = attention.bool()
    targets = kept if targets is None else targets
    rows = [row[keep].tolist() for row, keep in zip(ids, kept, strict=True)]
    return pad_rows(rows, [row[keep].tolist() for row, keep in zip(targets, kept, strict=True)], PAD)


def test_the_sft_loss_is_trls(trl, backbone):
    batch = unpadded(trl["sft.input_ids"], trl["sft.attention_mask"], trl["sft.labels"] != -100)
    with torch.no_grad(), backbone.role("policy"):
        close(negative_logprobs(backbone, batch).mean(), trl["sft.loss"])


@pytest.mark.parametrize("kind", ["reward", "margin"])
def test_the_reward_loss_is_trls_with_and_without_margins(trl, backbone, kind):
    batch = unpadded(trl[f"{kind}.input_ids"], trl[f"{kind}.attention_mask"])
    with torch.no_grad(), backbone.role("reward"):
        chosen, rejected = backbone.scores(batch.ids, batch.lengths).chunk(2)
    offsets = trl.get(f"{kind}.margin", torch.tensor(0.0))
    close(bradley_terry_loss(chosen - rejected, offsets=offsets) / len(chosen), trl[f"{kind}.loss"])


@pytest.mark.parametrize(("role", "name"), [("policy", "logprobs"), ("reference", "ref_logprobs")])
def test_log_probabilities_at_a_temperature_are_trls(trl, backbone, rollout, mask, role, name):
    found = all_logprobs(backbone, role, rollout.sequences(PAD), mask, TEMPERATURE, 3)
    close(found[mask], trl[f"ppo.{name}"][mask])


def test_values_are_trls(trl, backbone, rollout, mask):
    close(all_values(backbone, rollout.sequences(PAD), mask, 3)[mask], trl["ppo.values"][mask])


def test_scores_are_trls_with_the_penalty_for_a_missing_end(trl, backbone, rollout):
    penalty = torch.tensor([0.0 if done else 1.0 for done in rollout.finished])
    close(reward_scores(backbone, rollout, 3) - penalty, trl["ppo.scores"])


def test_trl_takes_a_sampled_pad_for_the_end_of_a_response(rollout, is_whole):
    """Its mask comes from ``token == pad``; ours knows how many tokens were sampled."""
    cut = [not whole and not done for whole, done in zip(is_whole.tolist(), rollout.finished, strict=True)]
    assert any(cut)


def test_kl_rewards_are_trls(trl, mask, is_whole):
    kl = kl_estimates(trl["ppo.logprobs"], trl["ppo.ref_logprobs"], "k1").masked_fill(~mask, 0.0)
    close(kl, trl["ppo.kl"])
    close(token_rewards(trl["ppo.scores"], kl, mask, KL_COEF)[is_whole], trl["ppo.rewards"][is_whole])


def test_trl_gives_the_score_to_the_pad_after_the_end_token(trl, mask, is_whole):
    kl = trl["ppo.kl"]
    ours, theirs = token_rewards(trl["ppo.scores"], kl, mask, KL_COEF)[~is_whole], trl["ppo.rewards"][~is_whole]
    last = mask[~is_whole].sum(-1) - 1
    rows = torch.arange(len(last))
    close(ours[rows, last] - theirs[rows, last], trl["ppo.scores"][~is_whole])
    close(theirs[rows, last + 1], trl["ppo.scores"][~is_whole])
    assert not mask[~is_whole][rows, last + 1].any()


def test_advantages_from_the_same_rewards_and_values_are_trls(trl):
    reached = ~trl["ppo.padding_mask_p1"]  # with the pad that TRL counts in
    raw = gae(trl["ppo.rewards"], trl["ppo.values"], reached, gamma=GAMMA, lam=LAM)
    close(raw[reached], (trl["ppo.returns"] - trl["ppo.values"])[reached])


def test_whitened_advantages_are_trls_but_for_its_unbiased_variance(trl, mask):
    raw = trl["ppo.returns"] - trl["ppo.values"]
    count = mask.sum()
    close(whiten(raw, mask) * torch.sqrt((count - 1) / count), trl["ppo.advantages"])


def test_policy_losses_are_trls_clipped_ones_too(micro_batches, mask):
    largest = 0.0
    for micro in micro_batches:
        here = mask[micro["micro_batch_inds"]]
        losses = policy_losses(micro["new_logprobs"], micro["mb_logprobs"], micro["mb_advantage"], 0.2)
        close(masked_mean(losses, here), micro["pg_loss"])
        largest = max(largest, float((micro["new_logprobs"] - micro["mb_logprobs"])[here].abs().max()))
    assert largest > 0.5  # so that something was clipped


def test_value_losses_are_trls_clipped_ones_too(trl, micro_batches):
    for micro in micro_batches:
        here = ~trl["ppo.padding_mask_p1"][micro["micro_batch_inds"]]
        losses = value_losses(micro["vpred"], micro["mb_values"], micro["mb_return"], 0.2)
        close(masked_mean(losses, here), micro["vf_loss"])


def test_trl_weighs_micro_batches_alike_however_few_tokens_they_have(micro_batches, mask):
    second_epoch = micro_batches[4:]
    losses = [policy_losses(m["new_logprobs"], m["mb_logprobs"], m["mb_advantage"], 0.2) for m in second_epoch]
    masks = [mask[m["micro_batch_inds"]] for m in second_epoch]
    by_token = masked_mean(torch.cat(losses), torch.cat(masks))
    tokens = torch.stack([here.sum() for here in masks])
    theirs = torch.stack([m["pg_loss"] for m in second_epoch])
    close((theirs * tokens).sum() / tokens.sum(), by_token)
    assert abs(theirs.mean() - by_token) > 1e-3


def test_trl_dilutes_its_approximate_kl_with_padding(trl, micro_batches, mask):
    for micro, theirs in zip(micro_batches[4:], trl["ppo.approxkl_stats"][1, 0], strict=True):
        here = mask[micro["micro_batch_inds"]]
        ours = masked_mean(0.5 * (micro["new_logprobs"] - micro["mb_logprobs"]).square(), here)
        close(theirs, ours * here.float().mean())


def test_trl_does_not_clip_gradients_though_it_was_told_to(trl):
    norms = trl["ppo.grad_norms"]
    assert norms.min() > 10 * MAX_NORM
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = norms.max() * torch.ones(3)
    clip_gradients([parameter], MAX_NORM, torch.tensor(0.0), "test")
    assert parameter.grad.norm() <= MAX_NORM * 1.001


def test_trl_takes_no_more_steps_for_two_minibatches_than_for_one(trl):
    assert (
        len(trl["halves.grad_norms"]) == len(trl["ppo.grad_norms"]) == 2
    )  # two epochs; four steps are due with halves
