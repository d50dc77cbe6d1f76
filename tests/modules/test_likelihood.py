"""The likelihood scorer against plain transformers, text by text, and the scores of an item against hand values."""

import math
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from modules.errors import ConfigError
from modules.evaluation import items
from modules.evaluation.likelihood import Request, _passes, log_likelihoods, measuring, plain_request, windows
from modules.model.roles import BASE
from tests.modules.conftest import BOS, words

TEXTS = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10 w11", "w1 w2 w30"]


def naive(folder, request: Request) -> float:
    """The log-probability of a continuation by transformers alone, one text at a time."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([request.context + request.continuation])
    with torch.no_grad():
        logprobs = model(ids).logits.log_softmax(-1)[0, :-1].gather(-1, ids[0, 1:, None])[:, 0]
    return float(logprobs[len(request.context) - 1 :].sum())


def test_batched_log_likelihoods_are_those_of_one_text_at_a_time(load, tiny):
    backbone = load()
    requests = [plain_request(backbone.chat, "w40 w41", f" {text}") for text in TEXTS]
    requests += [plain_request(backbone.chat, "", text) for text in TEXTS]
    with measuring(backbone, BASE):
        found = log_likelihoods(backbone, requests, tokens_per_pass=24)
    assert found == pytest.approx([naive(tiny, request) for request in requests], abs=1e-4)


def test_the_base_scores_as_the_plain_model_beside_an_adapter_that_does_not(load, tiny):
    backbone = load()
    backbone.add_role("policy", trainable=True)
    for parameter in backbone.role_parameters("policy").values():
        torch.nn.init.normal_(parameter, std=0.3)
    requests = [plain_request(backbone.chat, "w1", f" {text}") for text in TEXTS]
    expected = [naive(tiny, request) for request in requests]
    with measuring(backbone, "policy"):
        trained = log_likelihoods(backbone, requests)
    with measuring(backbone, BASE):
        base = log_likelihoods(backbone, requests)
    assert base == pytest.approx(expected, abs=1e-4)
    assert trained != pytest.approx(expected, abs=0.1)


def test_requests_are_taken_by_length_within_the_budget_and_equal_ones_once():
    requests = [Request((1,), (2,) * length) for length in (5, 1, 9, 1, 3)]
    passes = list(_passes(requests, 20))
    assert [len(r.continuation) for batch in passes for r in batch] == [9, 5, 3, 1, 1]
    assert all(len(batch) * (1 + len(batch[0].continuation)) <= 20 for batch in passes)


def test_a_text_without_context_begins_after_the_tokenizers_first_token(load):
    chat = load().chat
    assert plain_request(chat, "", "w1 w2").context == (BOS,)
    assert plain_request(chat, "w1 ", "w2") == plain_request(chat, "w1", " w2")


def test_windows_score_each_token_of_a_long_text_once(load, tiny):
    request = Request((0,), tuple(range(10, 40)))
    parts = windows(request, 8)
    assert [token for part in parts for token in part.continuation] == list(range(10, 40))
    assert all(len(part.context) >= 1 and len(part.context + part.continuation) <= 8 for part in parts)
    assert windows(request, 31) == [request]
    late = windows(Request(tuple(range(20)), (50, 51)), 8)
    assert late == [Request(tuple(range(14, 20)), (50, 51))]


def test_the_template_puts_the_prompt_into_a_users_turn_and_never_a_sentence_pair(load):
    chat = load().chat
    item = {"prompt": "w1 w2", "choices": ["w3", "w4"], "gold": 0}
    (first,), _ = items.requests("choice", item, chat, True, 256)
    assert list(first.context) == chat.encode_prompt([{"role": "user", "content": "w1 w2"}]).ids
    assert chat.end_id not in first.continuation
    with pytest.raises(ConfigError, match="never put into a chat template"):
        items.requests("pair", {"good": "w1", "bad": "w2"}, chat, True, 256)


def test_scores_of_a_choice():
    item = {"prompt": "", "choices": ["ab", "abcdefgh", "c"], "gold": 1}
    logprobs = [-2.0, -3.0, -2.5]
    found = items.scores("choice", item, logprobs, [1, 4, 1])
    assert (found["acc"], found["acc_norm"], found["chosen"]) == (0.0, 1.0, 0)
    assert found["mass"] == pytest.approx(math.exp(-3) / sum(map(math.exp, logprobs)))


def test_scores_of_a_pair_and_of_truth():
    assert items.scores("pair", {"good": "a", "bad": "b"}, [-1.0, -2.0], [1, 1])["acc"] == 1.0
    assert items.scores("pair", {"good": "a", "bad": "b"}, [-1.0, -1.0], [1, 1])["acc"] == 0.0
    item = {"best": "x", "correct": ["x", "y"], "incorrect": ["z"]}
    found = items.scores("truth", item, [-2.0, -2.0, -1.0, -1.5], [1] * 4)
    assert (found["mc1"], found["chosen"]) == (0.0, 1)
    right, wrong = math.exp(-2) + math.exp(-1), math.exp(-1.5)
    assert found["mc2"] == pytest.approx(right / (right + wrong))


def test_scores_of_a_text_are_per_token_and_per_byte():
    found = items.scores("text", {"text": "é!"}, [-6.0], [2])
    assert (found["nats"], found["tokens"], found["bytes"]) == (6.0, 2, 3)


def test_an_adapter_is_folded_into_the_base_only_where_that_is_exact(load, monkeypatch):
    asked = []
    backbone = load()
    backbone.add_role("policy")
    monkeypatch.setattr(backbone.roles, "folded", lambda name, weights: asked.append(weights) or nullcontext())
    with measuring(backbone, "policy"):
        pass
    backbone.dtype = torch.bfloat16
    with measuring(backbone, "policy"):
        pass
    assert asked == ["auto", "adapter"]


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of resident memory can be reset there only")
def test_the_peak_of_memory_does_not_grow_with_the_number_of_items(load):
    backbone = load()
    backbone.add_role("policy")

    def peak_mib(num: int) -> float:
        wanted = [plain_request(backbone.chat, words(20, n), f" {words(20, n + 10_000)}") for n in range(num)]
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins again at what is held now
        with measuring(backbone, "policy"):
            log_likelihoods(backbone, wanted)
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    peak_mib(40)
    few, many = peak_mib(40), peak_mib(2000)
    assert many - few < 32, "one pass of all of them would take ten times as much more"
