"""A response that is read along is the response that the whole loop samples, token by token and whoever else is answering."""

from collections.abc import Callable

import pytest
import torch

from modules.errors import ConfigError
from modules.model.backbone import Backbone
from modules.model.generate import generate
from modules.model.streaming import Stream

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


def drain(stream: Stream, num_tokens: int = 1) -> list[int]:
    while stream.end_reason is None:
        stream.advance(num_tokens)
    return stream.ids


@pytest.mark.parametrize("num_tokens", [1, 3, 100])
def test_a_stream_gives_the_tokens_of_the_whole_loop_however_many_are_drawn_at_a_time(backbone, num_tokens):
    for seed in range(4):
        wanted = generate(backbone, "policy", [PROMPT], max_new_tokens=20, seed=seed, temperature=1.5, top_k=20)
        stream = Stream(backbone, "policy", PROMPT, max_new_tokens=20, seed=seed, temperature=1.5, top_k=20)
        assert drain(stream, num_tokens) == wanted.responses[0]
        assert stream.end_reason == wanted.end_reasons[0]


def test_two_roles_answer_in_turns_as_each_does_alone(backbone):
    def streams():
        return [Stream(backbone, role, PROMPT, max_new_tokens=15, seed=7) for role in ("policy", "reference")]

    alone = [drain(stream) for stream in streams()]
    together = streams()
    while any(stream.end_reason is None for stream in together):
        for stream in together:
            stream.advance()
    assert [stream.ids for stream in together] == alone
    assert alone[0] != alone[1]


def test_dropout_is_off_while_a_stream_grows(four_roles):
    backbone = four_roles(lora_dropout=0.5)
    backbone.train()
    assert len({tuple(drain(Stream(backbone, "policy", PROMPT, max_new_tokens=15, seed=3))) for _ in range(3)}) == 1


def test_temperature_0_takes_the_most_likely_token_whatever_the_seed(backbone):
    found = {
        tuple(drain(Stream(backbone, "policy", PROMPT, max_new_tokens=8, temperature=0, seed=n))) for n in range(3)
    }
    (ids,) = found
    with torch.no_grad(), backbone.role("policy"):
        logits = backbone.logits(backbone.hidden(torch.tensor([PROMPT + list(ids)])))
    assert logits[0, len(PROMPT) - 1 : -1].argmax(-1).tolist() == list(ids)


def test_log_probabilities_are_those_of_a_forward_pass_at_temperature_1(backbone):
    stream = Stream(backbone, "policy", PROMPT, max_new_tokens=10, temperature=0.3, top_k=5, seed=2, num_top=3)
    ids = drain(stream, 4)
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
        Stream(backbone, "policy", [5] * backbone.context_length, max_new_tokens=4)
    stream = Stream(backbone, "policy", [5] * (backbone.context_length - 2), max_new_tokens=50, seed=1)
    assert len(drain(stream)) <= 2
