import math
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from conftest import END, UNKNOWN, prompt
from torch import Tensor

from modules.model.backbone import Backbone
from modules.model.generate import Rollout, filter_logits, generate
from modules.rl.experience import all_logprobs, reward_scores

Load = Callable[..., Backbone]


@pytest.fixture
def backbone(four_roles: Load) -> Backbone:
    return four_roles()


def prompts_of(backbone: Backbone, count: int) -> list[list[int]]:
    return [backbone.chat.encode_prompt(prompt(i, prompt_words=1 + i % 7)["messages"]).ids for i in range(count)]


def stop_often(backbone: Backbone) -> None:
    """Many end tokens, so that responses end at different places."""
    backbone.chat.stop_ids = frozenset(range(0, 96, 12))


def test_responses_do_not_depend_on_batch_size_or_neighbours(backbone: Backbone) -> None:
    stop_often(backbone)
    prompts = prompts_of(backbone, 12)
    whole = generate(backbone, "policy", prompts, max_new_tokens=12, seed=3)
    assert len({len(response) for response in whole.responses}) > 3, "rows left the batch at different times"
    for size in (1, 5):
        assert generate(backbone, "policy", prompts, max_new_tokens=12, seed=3, batch_size=size) == whole
    assert generate(backbone, "policy", prompts, max_new_tokens=12, seed=4) != whole


def test_every_token_is_drawn_from_the_models_own_distribution_at_the_temperature(backbone: Backbone) -> None:
    """4,000 draws of a first token against softmax(logits / 0.7) from a plain forward."""
    ids = prompts_of(backbone, 1)[0]
    drawn = generate(backbone, "policy", [ids] * 4000, max_new_tokens=1, temperature=0.7, batch_size=1000)
    counts = Counter(response[0] for response in drawn.responses)
    with torch.no_grad(), backbone.role("policy"):
        logits = backbone.logits(backbone.hidden(torch.tensor([ids]))[0, -1])
    probs = torch.softmax(logits.double() / 0.7, -1).tolist()
    for token, p in enumerate(probs):
        spread = math.sqrt(4000 * p * (1 - p))
        assert abs(counts[token] - 4000 * p) < 5 * spread + 1


def test_a_long_response_is_what_one_full_forward_predicts(backbone: Backbone) -> None:
    """With the cache, padding and leaving rows, the token at each place is still the likeliest of a forward without."""
    stop_often(backbone)
    rollout = generate(backbone, "policy", prompts_of(backbone, 9), max_new_tokens=10, temperature=1e-4)
    for ids, response in zip(rollout.prompts, rollout.responses, strict=True):
        with torch.no_grad(), backbone.role("policy"):
            logits = backbone.logits(backbone.hidden(torch.tensor([ids + response])))[0]
        assert logits[len(ids) - 1 : -1].argmax(-1).tolist() == response


def test_item_5_a_response_ends_with_its_first_end_token_or_at_the_limit(backbone: Backbone) -> None:
    stop_often(backbone)
    rollout = generate(backbone, "policy", prompts_of(backbone, 40), max_new_tokens=6)
    stops = backbone.chat.stop_ids
    for response, finished, reason in zip(rollout.responses, rollout.finished, rollout.end_reasons, strict=True):
        assert not stops & set(response[:-1])
        assert finished == (response[-1] in stops)
        assert reason == ("eos" if finished else "length")
        assert finished or len(response) == 6
    assert {len(r) for r, f in zip(rollout.responses, rollout.finished, strict=True) if f} >= {1, 2, 3, 6}


def test_item_3_masks_are_explicit_when_pad_is_the_end_token() -> None:
    rollout = Rollout([[1, 7], [1, 8, 9]], [[5, END], [6, 5, 4]], [True, False])
    sequences = rollout.sequences(pad_id=END)
    assert sequences.ids.tolist() == [[1, 7, 5, END, END, END], [1, 8, 9, 6, 5, 4]]
    assert sequences.mask.int().tolist() == [[0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1]]
    assert rollout.response_mask().int().tolist() == [[1, 1, 0], [1, 1, 1]]
    assert rollout.end_reasons == ["eos", "length"]


def test_item_5_what_stands_in_the_padding_changes_no_score_and_no_logprob(backbone: Backbone) -> None:
    rollout = Rollout([[1, 3, 7], [1, 8]], [[5, END], [6, 5, 40, 41, END]], [True, True])
    sequences, mask = rollout.sequences(pad_id=0), rollout.response_mask()
    columns = torch.arange(sequences.ids.shape[1])
    garbage = torch.where(columns < sequences.lengths.unsqueeze(-1), sequences.ids, torch.tensor(77))
    assert not torch.equal(garbage, sequences.ids)

    def judge(ids: Tensor) -> tuple[Tensor, Tensor]:
        changed = sequences._replace(ids=ids)
        with torch.no_grad(), backbone.role("reward"):
            scores = backbone.scores(changed.ids, changed.lengths)
        return scores, all_logprobs(backbone, "policy", changed, mask, 1.0, 2)

    assert all(torch.equal(a, b) for a, b in zip(judge(sequences.ids), judge(garbage), strict=True))
    alone = Rollout(rollout.prompts[:1], rollout.responses[:1], [True])
    assert torch.allclose(reward_scores(backbone, rollout, 2)[:1], reward_scores(backbone, alone, 1), atol=1e-5)


def test_item_8_ids_that_text_cannot_carry_survive_bit_for_bit(backbone: Backbone) -> None:
    backbone.chat.stop_ids = frozenset({END})
    odd = [UNKNOWN, 3, UNKNOWN, 1]
    assert backbone.tokenizer.encode(backbone.chat.decode(odd), add_special_tokens=False) != odd
    rollout = Rollout([[1, 3, UNKNOWN]], [[*odd, END]], [True])
    sequences = rollout.sequences(pad_id=0)
    assert sequences.ids[0][sequences.mask[0]].tolist() == [*odd, END]
    sampled = generate(backbone, "policy", [[1, UNKNOWN, 3]] * 30, max_new_tokens=5)
    assert sampled.prompts == [[1, UNKNOWN, 3]] * 30


def test_filters_keep_the_likeliest_tokens_and_always_one() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))

    def kept(**filters: float) -> list[int]:
        options = {"top_p": 1.0, "top_k": 0} | filters
        return filter_logits(logits, **options)[0].isfinite().nonzero().flatten().tolist()

    assert kept() == [0, 1, 2, 3]
    assert kept(top_k=2) == [0, 1]
    assert kept(top_p=0.75) == [0, 1]
    assert kept(top_p=0.81) == [0, 1, 2]
    assert kept(top_p=0.01) == [0]
    assert kept(top_k=50) == [0, 1, 2, 3]


def test_progress_is_told_after_each_batch_and_the_mode_comes_back(backbone: Backbone) -> None:
    done: list[int] = []
    backbone.train()
    generate(backbone, "policy", prompts_of(backbone, 7), max_new_tokens=2, batch_size=3, on_progress=done.append)
    assert done == [3, 6, 7]
    assert backbone.training


@pytest.mark.parametrize("options", [{"quantisation": "nf4"}, {"method": "full"}, {"gradient_checkpointing": True}])
def test_all_kinds_of_backbone_sample(load: Load, options: dict[str, object]) -> None:
    backbone = load(**options)
    backbone.add_role("policy", trainable=True)
    backbone.train()
    rollout = generate(backbone, "policy", prompts_of(backbone, 3), max_new_tokens=4)
    assert all(1 <= len(response) <= 4 for response in rollout.responses)
