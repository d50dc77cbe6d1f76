"""A response that is read along is the response that the whole loop samples, token by token and whoever else is answering."""

from collections.abc import Callable

import pytest
import torch

from modules.errors import ConfigError
from modules.model import streaming
from modules.model.backbone import Backbone
from modules.model.generate import generate
from modules.model.streaming import Batch, Stream

Load = Callable[..., Backbone]
PROMPT = [1, 3, 20, 31, 42, 2, 4]


@pytest.fixture
def backbone(four_roles: Load) -> Backbone:
    backbone = four_roles()
    torch.manual_seed(1)
    for name, parameter in backbone.role_parameters("policy").items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return backbone


def drain(backbone: Backbone, stream: Stream, num_tokens: int = 1, role: str = "policy") -> list[int]:
    batch = Batch(backbone, role)
    batch.join(stream)
    while stream.end_reason is None:
        batch.advance(num_tokens)
    return stream.ids


@pytest.mark.parametrize("num_tokens", [1, 3, 100])
def test_a_stream_gives_the_tokens_of_the_whole_loop_however_many_are_drawn_at_a_time(backbone, num_tokens):
    for seed in range(4):
        wanted = generate(backbone, "policy", [PROMPT], max_new_tokens=20, seed=seed, temperature=1.5, top_k=20)
        stream = Stream(backbone, PROMPT, max_new_tokens=20, seed=seed, temperature=1.5, top_k=20)
        assert drain(backbone, stream, num_tokens) == wanted.responses[0]
        assert stream.end_reason == wanted.end_reasons[0]


def test_two_roles_answer_in_turns_as_each_does_alone(backbone):
    def stream():
        return Stream(backbone, PROMPT, max_new_tokens=15, seed=7)

    roles = ("policy", "reference")
    alone = [drain(backbone, stream(), role=role) for role in roles]
    together = {role: stream() for role in roles}
    batches = [Batch(backbone, role) for role in roles]
    for batch, each in zip(batches, together.values(), strict=True):
        batch.join(each)
    while any(each.end_reason is None for each in together.values()):
        for batch in batches:
            batch.advance()
    assert [each.ids for each in together.values()] == alone
    assert alone[0] != alone[1]


ASKED = [
    {"prompt": PROMPT, "max_new_tokens": 20, "temperature": 1.5, "seed": 1},
    {"prompt": PROMPT[:3], "max_new_tokens": 9, "temperature": 0, "seed": 2},
    {"prompt": PROMPT * 2, "max_new_tokens": 30, "temperature": 1.0, "top_k": 5, "seed": 3, "num_top": 2},
    {"prompt": PROMPT[2:], "max_new_tokens": 25, "temperature": 2.0, "top_p": 0.8, "seed": 4},
    {"prompt": PROMPT, "max_new_tokens": 20, "temperature": 1.5, "seed": 5},
]
"""What people ask for, each with settings of their own."""


@pytest.mark.parametrize("spare", [256, 3], ids=["room for all", "copied every third token"])
def test_a_batch_gives_each_the_tokens_that_it_gets_alone_whoever_joins_and_leaves_meanwhile(
    backbone, monkeypatch, spare
):
    def stream(asked):
        return Stream(backbone, **asked)

    alone = [stream(asked) for asked in ASKED]
    for each in alone:
        drain(backbone, each)
    monkeypatch.setattr(streaming, "SPARE", spare)
    batch, together = Batch(backbone, "policy"), [stream(asked) for asked in ASKED]
    for each in together:  # one joins every other token
        batch.join(each)
        batch.advance(2)
    batch.leave(together[0])  # its asker has gone
    left_at = len(together[0].ids)
    while any(each.end_reason is None for each in together[1:]):
        batch.advance(3)
    assert together[0].ids == alone[0].ids[:left_at]
    assert [each.ids for each in together[1:]] == [each.ids for each in alone[1:]]
    assert [each.end_reason for each in together[1:]] == [each.end_reason for each in alone[1:]]
    assert [drawn.token for drawn in together[2].drawn] == together[2].ids
    assert [drawn.log_prob for drawn in together[2].drawn] == pytest.approx(
        [drawn.log_prob for drawn in alone[2].drawn], abs=1e-4
    )


def test_a_batch_that_always_has_somebody_holds_no_columns_of_those_who_left(backbone):
    batch, rooms = Batch(backbone, "policy"), []
    batch.join(Stream(backbone, PROMPT, max_new_tokens=6, temperature=5, seed=0))
    for seed in range(1, 30):
        batch.join(Stream(backbone, PROMPT, max_new_tokens=6, temperature=5, seed=seed))
        batch.advance(2)
        assert batch._cache is not None
        rooms.append(batch._cache.room)
    assert max(rooms) <= len(PROMPT) + 2 * 6, "29 that followed one another need as much as two"


def test_dropout_is_off_while_a_stream_grows(four_roles):
    backbone = four_roles(lora_dropout=0.5)
    backbone.train()
    assert len({tuple(drain(backbone, Stream(backbone, PROMPT, max_new_tokens=15, seed=3))) for _ in range(3)}) == 1


def test_temperature_0_takes_the_most_likely_token_whatever_the_seed(backbone):
    found = {
        tuple(drain(backbone, Stream(backbone, PROMPT, max_new_tokens=8, temperature=0, seed=n))) for n in range(3)
    }
    (ids,) = found
    with torch.no_grad(), backbone.role("policy"):
        logits = backbone.logits(backbone.hidden(torch.tensor([PROMPT + list(ids)])))
    assert logits[0, len(PROMPT) - 1 : -1].argmax(-1).tolist() == list(ids)


def test_log_probabilities_are_those_of_a_forward_pass_at_temperature_1(backbone):
    stream = Stream(backbone, PROMPT, max_new_tokens=10, temperature=0.3, top_k=5, seed=2, num_top=3)
    ids = drain(backbone, stream, 4)
    with torch.no_grad(), backbone.role("policy"):
        logits = backbone.logits(backbone.hidden(torch.tensor([PROMPT + ids])))
    wanted = torch.log_softmax(logits[0, len(PROMPT) - 1 : -1].float(), -1)
    assert [drawn.token for drawn in stream.drawn] == ids
    own = wanted.gather(-1, torch.tensor(ids)[:, None]).squeeze(-1)
    assert [drawn.log_prob for drawn in stream.drawn] == pytest.approx(own.tolist(), abs=1e-4)
    for drawn, row in zip(stream.drawn, wanted, strict=True):
        assert [token for token, _ in drawn.top] == row.topk(3).indices.tolist()


def test_a_prompt_that_fills_the_model_is_refused_and_a_long_one_ends_at_the_last_position(backbone):
    with pytest.raises(ConfigError, match="leaves no room"):
        Stream(backbone, [5] * backbone.context_length, max_new_tokens=4)
    stream = Stream(backbone, [5] * (backbone.context_length - 2), max_new_tokens=50, seed=1)
    assert len(drain(backbone, stream)) <= 2
