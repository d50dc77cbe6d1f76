"""A step of sampling can be recorded and replayed, and the loop gives the tokens of the plain loop before it."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from conftest import prompt
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import DynamicCache

from modules.errors import ConfigError
from modules.memory import merges_by_itself
from modules.model import decoding, generate
from modules.model.backbone import Backbone
from modules.model.decoding import Decoder, Pace, Repeater
from modules.model.generate import Draws
from modules.model.loading import FixedCache
from modules.runtime.devices import gpu_bytes

Load = Callable[..., Backbone]
LAZY = Pace(look_every=8, leave_at=0.75, block=8)


@pytest.fixture
def backbone(four_roles: Load) -> Backbone:
    backbone = four_roles()
    backbone.chat.stop_ids = frozenset(range(0, 96, 24))  # so that responses end at different places
    return backbone


def prompts_of(backbone: Backbone, count: int) -> list[list[int]]:
    return [backbone.chat.encode_prompt(prompt(i, prompt_words=1 + i % 7)["messages"]).ids for i in range(count)]


def plain_loop(backbone: Backbone, prompts: Sequence[Sequence[int]], noise: Tensor) -> list[list[int]]:
    """The loop as it was: transformers' growing cache, a look at every token, rows that have ended leave at once."""
    longest, (num, most) = max(map(len, prompts)), noise.shape
    ids = torch.full((num, longest), backbone.chat.pad_id)
    mask = torch.zeros(num, longest + most, dtype=torch.bool)
    for row, given in enumerate(prompts):
        ids[row, longest - len(given) :] = torch.tensor(given)
        mask[row, longest - len(given) :] = True
    rows, found, cache = list(range(num)), [[] for _ in prompts], DynamicCache()
    with torch.no_grad(), backbone.sampling("policy"):
        for step in range(most):
            hidden = backbone.hidden(ids, mask[rows, : longest + step], cache=cache)
            cumulative = torch.softmax(backbone.logits(hidden[:, -1]), -1).cumsum(-1, dtype=torch.float64)
            heights = noise[rows, step].unsqueeze(-1) * cumulative[:, -1:]
            tokens = torch.searchsorted(cumulative, heights, right=True)[:, 0]
            for row, token in zip(rows, tokens.tolist(), strict=True):
                found[row].append(token)
            alive = [i for i, token in enumerate(tokens.tolist()) if token not in backbone.chat.stop_ids]
            if not alive:
                break
            cache.batch_select_indices(torch.tensor(alive))
            rows, ids = [rows[i] for i in alive], tokens[alive].unsqueeze(-1)
    return found


class Tape(TorchDispatchMode):
    """What a CUDA graph is: the operations of one step on the memory they used, done again without the host's program."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "a recorded step looks at a number"
        assert func is not torch.ops.aten.nonzero.default, "the shapes of a recorded step depend on numbers"
        found = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, found))
        return found

    def replay(self) -> None:
        for func, args, kwargs, found in self.calls:
            if not func.is_view:
                _copy(func(*args, **kwargs), found)


def _copy(again: Any, found: Any) -> None:
    if isinstance(found, Tensor):
        if again is not found and again.data_ptr() != found.data_ptr():
            found.copy_(again)
    elif isinstance(found, tuple | list):
        for one, other in zip(again, found, strict=True):
            _copy(one, other)


def record(step: Callable[[], None]) -> Callable[[], None]:
    """Record a step as `torch.cuda.graph` does: the step that is recorded has no effect."""
    decoder: Any = step.__self__
    cache = decoder._cache
    state = [decoder._mask, decoder._tokens, decoder._positions, decoder._sampled, decoder._lengths, decoder._step]
    state += [cache.column, *(tensor for layer in cache.layers for tensor in (layer.keys, layer.values))]
    before = [tensor.clone() for tensor in state]
    tape = Tape()
    with tape:
        step()
    for tensor, was in zip(state, before, strict=True):
        tensor.copy_(was)
    return tape.replay


@pytest.mark.parametrize("pace", [None, LAZY], ids=["of the CPU", "of a GPU"])
@pytest.mark.parametrize("is_recorded", [False, True])
def test_the_tokens_are_those_of_the_plain_loop(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch, pace: Pace | None, is_recorded: bool
) -> None:
    if pace is not None:
        monkeypatch.setattr(decoding, "pace_of", lambda device: pace)
    replays: list[int] = []

    def counted(step: Callable[[], None]) -> Callable[[], None]:
        replay = record(step)
        return lambda: (replays.append(1), replay())[1]

    monkeypatch.setattr(generate, "recorder_of", lambda device: counted if is_recorded else None)
    prompts, num_tokens = prompts_of(backbone, 10), 40
    noise = torch.rand(10, num_tokens, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    order = sorted(range(10), key=lambda i: len(prompts[i]))
    expected = plain_loop(backbone, [prompts[i] for i in order], noise[order])
    found = generate.generate(backbone, "policy", prompts, max_new_tokens=num_tokens, seed=7)
    assert [found.responses[i] for i in order] == expected
    assert len({len(response) for response in expected}) > 3
    if is_recorded and pace is not None:
        assert sum(replays) > 10


def test_a_step_that_cannot_be_recorded_runs_as_it_is(backbone: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(step: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing")

    noise = torch.rand(2, 6, dtype=torch.float64)
    with torch.no_grad(), backbone.sampling("policy"):
        decoder = Decoder(backbone, [[1, 5], [1, 5, 6]], noise, [6, 6], Draws(1.0, 1.0, 0).choose)
        repeater = Repeater(decoder, refuse)
        for step in range(1, 6):
            repeater.run(step)
    assert caplog.text.count("without CUDA graphs") == 1
    assert all(len(response) >= 1 for response in decoder.responses())


def test_a_row_that_has_ended_stays_below_the_last_position(load: Load) -> None:
    """With looks every 8 tokens a row goes on for some steps behind its end, and behind the model's last position."""
    backbone = load()
    backbone.add_role("policy")
    backbone.chat.stop_ids = frozenset()
    long = [5] * (backbone.context_length - 3)
    found = generate.generate(backbone, "policy", [long, [1, 5]], max_new_tokens=12)
    assert [len(response) for response in found.responses] == [3, 12]


def test_the_fixed_cache_holds_what_transformers_own_holds(backbone: Backbone) -> None:
    plain = DynamicCache()
    generator = torch.Generator().manual_seed(0)
    with backbone.role("policy"):
        cache = backbone.new_cache(20)
    for step, length in enumerate([3] + [1] * 15):
        rows = 4 if step < 6 else 3
        if step == 6:
            kept = torch.tensor([0, 2, 3])
            cache.keep(kept)
            plain.batch_select_indices(kept)
        if step:
            cache.column, cache.num_filled, cache.num_read = torch.tensor([2 + step]), 2 + step, 3 + step
        states = torch.randn(2, rows, 2, length, 8, generator=generator)
        found, expected = cache.update(*states, 0), plain.update(*states, 0)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
    assert isinstance(cache, FixedCache)
    assert cache.get_seq_length() == 17, "before the newest column"


@pytest.mark.parametrize("options", [{}, {"precision": "bf16"}, {"quantisation": "nf4"}], ids=["fp32", "bf16", "nf4"])
def test_merged_weights_sample_the_same_policy_and_leave_nothing_behind(
    four_roles: Load, options: dict[str, Any]
) -> None:
    backbone = four_roles(**options)
    ids = torch.tensor([[1, 5, 6, 7, 8, 9]])
    found = {}
    for weights in ("adapter", "merged", "adapter", "auto"):
        with torch.no_grad(), backbone.sampling("policy", weights):
            found.setdefault(weights, []).append(backbone.logits(backbone.hidden(ids)))
    (before, after), (merged,), (auto,) = found["adapter"], found["merged"], found["auto"]
    assert torch.equal(before, after), "the copy is gone, and the base is as it was"
    rounding = 1e-4 if not options else 0.1 * float(before.std())
    assert float((merged - before).abs().max()) < rounding
    assert torch.equal(auto, before if options else merged), "on a CPU only float32 is merged by itself"
    with torch.no_grad(), backbone.role("base"):
        assert float((backbone.logits(backbone.hidden(ids)) - before).abs().max()) > rounding


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_merged_weights_come_back_after_an_error_and_are_refused_where_they_cannot_be_made(load: Load) -> None:
    backbone = load()
    backbone.add_role("policy")
    held = {name: tensor.data_ptr() for name, tensor in backbone.named_parameters()}
    with pytest.raises(ZeroDivisionError), backbone.sampling("policy", "merged"):
        raise ZeroDivisionError
    assert {name: tensor.data_ptr() for name, tensor in backbone.named_parameters()} == held
    tied = load(lora_targets="q_proj,lm_head")
    tied.add_role("policy")
    with pytest.raises(ConfigError, match="choose auto or adapter"), tied.sampling("policy", "merged"):
        pass


def test_a_copy_is_made_by_itself_where_a_quarter_of_the_gpu_holds_it() -> None:
    assert merges_by_itself(10**9, 8 * 10**9)
    assert not merges_by_itself(10**9, 8 * 10**9 - 1)
    assert not merges_by_itself(1, gpu_bytes(torch.device("cpu")))
