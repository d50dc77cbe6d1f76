import itertools

import pytest
import torch
from conftest import END, comparison, conversation, prompt, tiny_tokenizer

from modules.data.chat import ChatFormat
from modules.data.datamodules import RewardDataModule
from modules.data.preferences import bootstrap_weights, pairs_of, weigh_by_prompt
from modules.errors import DataError
from modules.model.generate import Rollout


@pytest.fixture
def chat() -> ChatFormat:
    return ChatFormat(tiny_tokenizer(), "own", [END])


def ranking(seed: int, ranks: list[int]) -> dict:
    return prompt(seed) | {"responses": [f"w{i}" for i in range(len(ranks))], "ranks": ranks}


def test_a_ranking_becomes_all_its_pairs_the_better_one_first_and_equal_ranks_ties() -> None:
    pairs = pairs_of(ranking(1, [2, 1, 2]))
    found = {(pair["chosen"], pair["rejected"]): pair["target_p"] for pair in pairs}
    assert found == {("w1", "w0"): 1.0, ("w1", "w2"): 1.0, ("w0", "w2"): 0.5}
    assert len(pairs_of(ranking(1, list(range(9))))) == 36
    assert pairs_of(comparison(3)) == [comparison(3)]
    assert {pair["weight"] for pair in pairs_of(ranking(1, [1, 2, 3]) | {"weight": 0.25})} == {0.25}


def test_a_ranking_without_a_rank_for_each_response_is_refused() -> None:
    broken = ranking(1, [1, 2])
    with pytest.raises(DataError, match="prompt p1 has 2 responses and 1 ranks"):
        pairs_of(broken | {"ranks": [1]})
    with pytest.raises(DataError, match="two or more"):
        pairs_of(broken | {"ranks": [1], "responses": ["w1"]})


def test_item_32_each_pair_of_k_ranked_responses_weighs_one_over_k_choose_two(chat: ChatFormat) -> None:
    rows = [ranking(1, [1, 2, 3, 4]), comparison(2), ranking(3, [1, 1, 2])]
    data = RewardDataModule(rows, [], chat, weighting="prompt", batch_size=3)
    (batch,) = data.train_dataloader()
    expected = {0: 1 / 6, 1: 1.0, 2: 1 / 3}
    for number, weight in expected.items():
        here = batch.weight[batch.prompt == number]
        assert here.tolist() == pytest.approx([weight] * len(here))
    assert sorted(torch.bincount(batch.prompt).tolist()) == [1, 3, 6]
    assert RewardDataModule(rows, [], chat).rows[0].weight == 1.0, "pairs count alike unless asked"


def test_weights_of_a_prompt_keep_their_ratio_and_sum_to_one() -> None:
    assert weigh_by_prompt(["a", "b", "a"], [3.0, 5.0, 1.0]) == [0.75, 1.0, 0.25]


def test_a_batch_that_counts_prompts_never_cuts_one_up(chat: ChatFormat) -> None:
    rows = [ranking(i, list(range(9))) for i in range(5)]
    data = RewardDataModule(rows, [], chat, weighting="prompt", batch_size=2)
    assert sorted(map(len, data.plan)) == [36, 72, 72]
    for indices in data.plan:
        assert len({data.rows[i].prompt_id for i in indices}) * 36 == len(indices)


def test_members_of_an_ensemble_draw_prompts_whole_and_each_in_its_own_way() -> None:
    prompts = [f"p{i // 3}" for i in range(3 * 2000)]
    drawn = bootstrap_weights(prompts, 4, seed=1)
    assert torch.equal(drawn[0::3], drawn[1::3])
    assert torch.equal(drawn[0::3], drawn[2::3])
    assert torch.equal(drawn, bootstrap_weights(prompts, 4, seed=1))
    assert not torch.equal(drawn, bootstrap_weights(prompts, 4, seed=2))
    assert drawn.mean(0).tolist() == pytest.approx([1.0] * 4, abs=0.08)
    assert (drawn == 0).float().mean(0).tolist() == pytest.approx([0.368] * 4, abs=0.04), "one prompt in e is not seen"
    for first, second in itertools.combinations(range(4), 2):
        assert abs(torch.corrcoef(drawn[::3, [first, second]].T)[0, 1].item()) < 0.1
    assert torch.equal(bootstrap_weights(prompts, 1, seed=1), torch.ones(6000, 1))


def test_the_zero_is_set_on_demonstrations_that_fit_or_else_on_the_preferred_responses(chat: ChatFormat) -> None:
    rows = [comparison(1, chosen="w1"), comparison(1, chosen="w1"), comparison(2, chosen="w2")]
    long = conversation(7, response_words=90)
    demonstrations = [conversation(5, response_words=2), long, conversation(6, response_words=3)]
    data = RewardDataModule(rows, [], chat, demonstrations=demonstrations, max_length=32)
    (batch,) = data.reference_answers()
    for row, ids in zip((demonstrations[0], demonstrations[2]), batch.ids, strict=True):
        whole = chat.encode_prompt(row["messages"][:-1]).ids + chat.encode_response(row["messages"][-1]["content"])
        assert ids[: len(whole)].tolist() == whole
    (preferred,) = RewardDataModule(rows, [], chat).reference_answers()
    assert len(preferred.ids) == 2, "the same response is not counted twice"
    assert data.dropped == {}, "demonstrations are not what is trained on"


def test_an_offtopic_pair_sets_a_preferred_response_over_the_answer_to_another_prompt(chat: ChatFormat) -> None:
    rows = [comparison(i, strength=3, margin=0.5) for i in range(20)]
    plain = RewardDataModule(rows, [], chat)
    data = RewardDataModule(rows, [], chat, offtopic_share=0.5, seed=3)
    added = data.rows[len(plain.rows) :]
    assert data.rows[: len(plain.rows)] == plain.rows
    assert len(added) == 10
    assert len({pair.prompt_id for pair in added}) == 10
    preferred = {pair.prompt_id: pair.chosen for pair in plain.rows}
    for pair in added:
        assert pair.chosen == preferred[pair.prompt_id]
        assert pair.rejected in [response for prompt_id, response in preferred.items() if prompt_id != pair.prompt_id]
        assert (pair.row["target_p"], pair.row["margin"], pair.row["strength"]) == (1.0, 0.0, None)
    assert RewardDataModule(rows, [], chat, offtopic_share=0.5, seed=3).rows == data.rows
    assert RewardDataModule(rows[:1], [], chat, offtopic_share=1.0).rows == plain.rows[:1], "there is no other prompt"


def test_an_offtopic_pair_that_would_be_too_long_is_left_out(chat: ChatFormat) -> None:
    short, long = comparison(1, chosen="w1", rejected="w2"), comparison(2, chosen="w3 " * 40, rejected="w4")
    room = max(
        len(chat.encode_prompt(row["messages"]).ids) + len(chat.encode_response(row["chosen"])) for row in (short, long)
    )
    data = RewardDataModule([short, long], [], chat, offtopic_share=1.0, max_length=room)
    added = data.rows[2:]
    assert all(len(pair.prompt) + len(pair.rejected) <= room for pair in added)
    assert [pair.prompt_id for pair in added if pair.rejected == chat.encode_response("w1")] == [str(long["prompt_id"])]


def test_a_response_that_was_cut_off_has_no_end_token_for_the_reward_model_just_as_ppo_scores_it(
    chat: ChatFormat,
) -> None:
    row = comparison(1, chosen="w2 w3", rejected="w4")
    cut, whole = chat.encode_response("w2 w3")[:-1], chat.encode_response("w4")
    for ends, expected in (
        ({}, ([*cut, END], whole)),
        ({"chosen_end_reason": "length", "rejected_end_reason": None}, (cut, whole)),
        ({"chosen_end_reason": "eos", "rejected_end_reason": "length"}, ([*cut, END], whole[:-1])),
        ({"end_reason": "length"}, (cut, whole[:-1])),
    ):
        [pair] = RewardDataModule([row | ends], [], chat).rows
        assert (pair.chosen, pair.rejected) == expected
    [pair] = RewardDataModule([row | {"chosen_end_reason": "length"}], [], chat).rows
    seen = Rollout([pair.prompt], [cut], [False]).sequences(0).ids[0].tolist()
    assert pair.prompt + pair.chosen == seen
    ranking = {"responses": ["w1", "w2 w3"], "ranks": [2, 1], "end_reasons": ["eos", "length"]}
    [pair] = RewardDataModule([prompt(3) | ranking], [], chat).rows
    assert (pair.chosen, pair.rejected) == (cut, chat.encode_response("w1"))


def test_the_sides_of_a_pair_stand_behind_thinking_blocks_of_their_own() -> None:
    template = (
        "{% for m in messages %}<{{ m.role }}> {{ m.content.split('</think>')[-1] }} </s>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% if not enable_thinking %} <think> </think>{% endif %}{% endif %}"
    )
    chat = ChatFormat(tiny_tokenizer(chat_template=template), "own", [END])
    answers = {"chosen": "<think> w7 </think> w2", "rejected": "w4"}
    [first, second] = RewardDataModule([comparison(1, **answers), comparison(2)], [], chat).rows
    thought = chat.encode_prompt(first.row["messages"]).ids[len(first.prompt) :]
    assert len(thought) == 2, "the empty block"
    assert first.chosen == chat.encode_response("<think> w7 </think> w2"), "no empty block before a full one"
    assert first.rejected == thought + chat.encode_response("w4")
    assert second.chosen == thought + chat.encode_response(second.row["chosen"])


def test_responses_of_a_ranking_are_encoded_once_though_they_come_in_many_pairs(
    chat: ChatFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    encode = chat.encode_answer
    monkeypatch.setattr(chat, "encode_answer", lambda turns, text, end: calls.append(text) or encode(turns, text, end))
    row = prompt(1) | {"responses": [f"w{i}" for i in range(9)], "ranks": list(range(1, 10))}
    assert len(RewardDataModule([row], [], chat).rows) == 36
    assert sorted(calls) == sorted(row["responses"])
