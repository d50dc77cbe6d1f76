from collections import Counter
from typing import Any, Literal

import pytest
import torch
from conftest import END, comparison, conversation, prompt, tiny_tokenizer

from modules.config import PPOConfig, RewardConfig, SFTConfig
from modules.data.chat import ChatFormat
from modules.data.datamodules import PPODataModule, RewardDataModule, SFTDataModule
from modules.data.preview import preview
from modules.errors import DataError


@pytest.fixture
def chat() -> ChatFormat:
    return ChatFormat(tiny_tokenizer(), "own", [END])


def test_every_demonstration_comes_once_an_epoch_in_another_order_each(chat: ChatFormat) -> None:
    rows = [conversation(i, response_words=1 + i % 9) for i in range(23)]
    data = SFTDataModule(rows, [], chat, batch_size=4, epochs=3, seed=1)
    assert data.num_steps == 3 * 6 == len(data.train_dataloader())
    epochs = [[row for batch in data.plan[i : i + 6] for row in batch] for i in (0, 6, 12)]
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert data.plan == SFTDataModule(rows, [], chat, batch_size=4, epochs=3, seed=1).plan
    assert data.plan != SFTDataModule(rows, [], chat, batch_size=4, epochs=3, seed=2).plan


def test_a_run_taken_up_again_sees_the_rest_of_the_same_batches(chat: ChatFormat) -> None:
    rows = [conversation(i) for i in range(10)]
    whole = list(SFTDataModule(rows, [], chat, batch_size=3, epochs=2).train_dataloader())
    rest = list(SFTDataModule(rows, [], chat, batch_size=3, epochs=2, start_step=5).train_dataloader())
    assert len(rest) == len(whole) - 5
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(rest, whole[5:], strict=True))


def test_rows_of_similar_length_share_a_batch(chat: ChatFormat) -> None:
    rows = [conversation(i, response_words=1 + i % 40) for i in range(160)]
    sequences = list(SFTDataModule(rows, [], chat, batch_size=8).train_dataloader())
    padded = sum(batch.ids.numel() for batch in sequences)
    real = sum(int(batch.lengths.sum()) for batch in sequences)
    assert padded < 1.2 * real


def test_rows_too_long_or_not_encodable_are_dropped_and_counted(chat: ChatFormat) -> None:
    broken = prompt(1)  # no assistant turn
    data = SFTDataModule([conversation(0), conversation(1, response_words=90), broken], [], chat, max_length=32)
    assert len(data.rows) == 1
    assert data.dropped == {"too long": 1, "without an assistant's turn at the end": 1}
    with pytest.raises(DataError, match="no demonstrations to train on .*1 too long"):
        SFTDataModule([conversation(1, response_words=90)], [], chat, max_length=32)
    with pytest.raises(DataError, match="none were given"):
        SFTDataModule([], [], chat)


def test_item_34_a_prompt_in_both_sets_is_refused(chat: ChatFormat) -> None:
    with pytest.raises(DataError, match="split comparisons by prompt"):
        RewardDataModule([comparison(1), comparison(2)], [comparison(2)], chat)


def test_all_pairs_of_a_prompt_come_in_one_batch_and_each_response_once(chat: ChatFormat) -> None:
    answers = ["w1", "w2 w3", "w4"]
    rows = []
    for i in range(6):
        pairs = [(0, 1), (0, 2), (1, 2)] if i % 2 else [(0, 1)]
        rows += [comparison(i, chosen=answers[a], rejected=answers[b], weight=1 / len(pairs)) for a, b in pairs]
    data = RewardDataModule(rows, [], chat, batch_size=4, epochs=2)
    seen: Counter[int] = Counter()
    for indices, batch in zip(data.plan, data.train_dataloader(), strict=True):
        seen.update(indices)
        groups = Counter(rows[i]["prompt_id"] for i in indices)
        assert all(count == Counter(row["prompt_id"] for row in rows)[name] for name, count in groups.items())
        different = {(rows[i]["prompt_id"], rows[i][side]) for i in indices for side in ("chosen", "rejected")}
        assert len(batch.sequences.ids) == len(different)
        for position, i in enumerate(indices):
            for side, index in (("chosen", batch.chosen), ("rejected", batch.rejected)):
                row = int(index[position])
                response = batch.sequences.ids[row][batch.sequences.mask[row]].tolist()
                assert response == chat.encode_response(rows[i][side])
    assert seen == dict.fromkeys(range(len(rows)), 2)


def test_pairs_of_one_prompt_beyond_a_batch_are_cut_only_where_they_share_no_response(chat: ChatFormat) -> None:
    rows = [comparison(1, chosen=f"w{2 * i}", rejected=f"w{2 * i + 1}") for i in range(7)] + [comparison(2)]
    data = RewardDataModule(rows, [], chat, batch_size=3)
    assert sorted(i for batch in data.plan for i in batch) == list(range(8))
    assert max(map(len, data.plan)) == 3
    chain = [comparison(1, chosen=f"w{i}", rejected=f"w{i + 1}") for i in range(7)]
    assert sorted(map(len, RewardDataModule([*chain, comparison(2)], [], chat, batch_size=3).plan)) == [1, 7]


@pytest.mark.parametrize("size", range(2, 10))
@pytest.mark.parametrize("weighting", ["pair", "prompt"])
def test_a_ranking_is_learnt_in_one_step_however_many_pairs_it_has(
    chat: ChatFormat, size: int, weighting: Literal["pair", "prompt"]
) -> None:
    def ranking(prompt_id: int, base: int) -> dict[str, Any]:
        responses = [f"w{base + i}" for i in range(size)]
        return {**prompt(prompt_id), "responses": responses, "ranks": list(range(1, size + 1))}

    rows = [ranking(1, 0), ranking(1, 20), ranking(2, 40), comparison(3)]  # two rankings of one prompt
    data = RewardDataModule(rows, [], chat, batch_size=4, epochs=2, weighting=weighting)
    assert sorted(i for batch in data.plan for i in batch) == sorted([*range(len(data.rows))] * 2)
    for step in data.plan:
        found = Counter(tuple(data.rows[i].row.get("responses", ())) for i in step)
        assert all(count == size * (size - 1) / 2 for responses, count in found.items() if responses)


def test_comparisons_of_weight_0_or_too_long_are_dropped(chat: ChatFormat) -> None:
    rows = [comparison(1), comparison(2, weight=0.0), comparison(3, chosen=" ".join(["w1"] * 60))]
    data = RewardDataModule(rows, [], chat, max_length=40)
    assert len(data.rows) == 1
    assert data.dropped == {"weight 0": 1, "too long": 1}


def test_ppo_prompts_are_a_reshuffled_stream_that_can_be_entered_anywhere(chat: ChatFormat) -> None:
    rows = [prompt(i) for i in range(7)]
    data = PPODataModule(rows, [], chat, batch_size=5, iterations=7)
    batches = [batch.prompts for batch in data.train_dataloader()]
    assert [len(batch) for batch in batches] == [5] * 7
    stream = [tuple(ids) for batch in batches for ids in batch]
    everything = {tuple(chat.encode_prompt(row["messages"]).ids) for row in rows}
    assert all(set(stream[i : i + 7]) == everything for i in range(0, 35, 7))
    data.start_step = 4
    assert [batch.prompts for batch in data.train_dataloader()] == batches[4:]


def test_ppo_leaves_excluded_categories_out_and_marks_their_demonstrations(chat: ChatFormat) -> None:
    rows = [prompt(i, category="story" if i % 2 else "talk") for i in range(10)]
    demonstrations = [conversation(i) | {"category": "story" if i < 3 else "talk"} for i in range(5)]
    data = PPODataModule(
        rows[:6], rows[6:], chat, excluded=frozenset({"story"}), validation_demonstrations=demonstrations, iterations=1
    )
    assert len(data.prompts) == 3
    assert [row["category"] for row in data.validation_rows] == ["talk", "talk"]
    (held_out,) = data.val_dataloader()
    assert held_out.is_excluded.tolist() == [True, True, True, False, False]
    assert held_out.prompts == [chat.encode_prompt(row["messages"]).ids for row in data.validation_rows]
    with pytest.raises(DataError, match="no prompts to train on"):
        PPODataModule(rows[1:2], [], chat, excluded=frozenset({"story"}))


def test_ptx_hands_out_demonstrations_only_if_asked(chat: ChatFormat) -> None:
    demonstrations = [conversation(i) for i in range(4)]
    (without,) = PPODataModule([prompt(1)], [], chat, demonstrations=demonstrations, iterations=1).train_dataloader()
    assert without.demonstrations is None
    data = PPODataModule([prompt(1)], [], chat, demonstrations=demonstrations, iterations=1, ptx_per_iteration=3)
    (batch,) = data.train_dataloader()
    assert batch.demonstrations is not None
    assert len(batch.demonstrations.ids) == 3
    with pytest.raises(DataError, match="ptx_coef"):
        PPODataModule([prompt(1)], [], chat, iterations=1, ptx_per_iteration=3)


def test_rows_of_raw_text_pass_by_the_chat_template_and_are_taught_whole(chat: ChatFormat) -> None:
    story = {"prompt_id": "s", "category": "story", "ids": [1, 40, 41, 42]}
    data = PPODataModule([story], [], chat, demonstrations=[story], ptx_per_iteration=1, batch_size=2, iterations=1)
    [batch] = data.train_dataloader()
    assert batch.prompts == [story["ids"]] * 2
    assert batch.demonstrations is not None
    assert batch.demonstrations.ids.tolist() == [story["ids"]]
    assert batch.demonstrations.mask.all()
    [taught] = SFTDataModule([story | {"messages": []}], [], chat).train_dataloader()
    assert taught.ids.tolist() == [story["ids"]]
    with pytest.raises(DataError, match="no demonstrations to train on .*1 not encodable; 1 too long"):
        SFTDataModule([story | {"ids": []}, story | {"ids": [7] * 9}], [], chat, max_length=8)


GENTLE = (  # as Gemma's: no system turn, the user first
    "{% if messages[0].role != 'user' %}{{ raise_exception('no ' + messages[0].role + ' turn here') }}{% endif %}"
    "{% for m in messages %} <{{ m.role }}> {{ m.content }} </s>{% endfor %}{% if add_generation_prompt %} <assistant>{% endif %}"
)


def test_rows_that_the_template_refuses_are_told_with_its_words_an_example_and_advice_that_fits() -> None:
    chat = ChatFormat(tiny_tokenizer(chat_template=GENTLE), "own", [END])
    system = {"role": "system", "content": "w8\n  w9"}
    refused = conversation(1) | {"messages": [system, *conversation(1)["messages"]]}
    rows = [conversation(0), refused, refused, conversation(2, response_words=90)]
    parts = {"train": rows, "validation": [refused]}
    config = SFTConfig(max_length=32)
    found = preview(config, lambda part: parts.get(part, []), chat)
    reason = "refused by the chat template (no system turn here)"
    assert found.dropped == {reason: 3, "too long": 1}
    assert "4 of 5 rows (80%) would be left out, more than max_dropped = 0.1 allows" in found.refusal
    assert f'3 {reason}, such as "w8 w9 / w' in found.refusal
    advice = "raise max_length, or correct the rows, or choose chat_template chatml or plain, or start anyway"
    assert advice in found.refusal
    for part, config in (("train", RewardConfig()), ("train", PPOConfig())):
        asked = refused | {"messages": refused["messages"][:2]} | {"chosen": "w1", "rejected": "w2", "weight": 1}
        good = [comparison(3)] if isinstance(config, RewardConfig) else [prompt(3)]
        told = preview(config, lambda name, rows=(*good, asked), part=part: rows if name == part else [], chat).refusal
        assert "correct the rows, or start from an SFT checkpoint with chat_template chatml or plain" in told
        assert "raise" not in told, "no row is too long"
    with pytest.raises(DataError, match=r"no demonstrations .*no system turn here\), such as .*that can be used"):
        SFTDataModule([refused], [], chat)


def test_a_preview_counts_typed_control_tokens_answers_that_are_only_read_and_own_thoughts() -> None:
    template = (
        "{% for m in messages %}<{{ m.role }}> {{ 'w9' if m.role == 'assistant' and not loop.last else m.content }} </s>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% if not enable_thinking %} <think> </think>{% endif %}{% endif %}"
    )
    chat = ChatFormat(tiny_tokenizer(chat_template=template), "own", [END])
    typed = prompt(1)["messages"], {"role": "assistant", "content": "w1 </s> w2"}
    long = [*conversation(2)["messages"], *conversation(3)["messages"]]
    thinks = [*prompt(4)["messages"], {"role": "assistant", "content": "<think> w1 </think> w2"}]
    rows = [conversation(0) | {"messages": messages} for messages in ([*typed[0], typed[1]], long, thinks)]
    found = preview(SFTConfig(), lambda part: rows if part == "train" else [], chat)
    assert found.dropped == {}
    assert [remark.split(" ", 1)[0] for remark in found.remarks] == ["1", "1", "1"]
    text = " ".join(found.remarks)
    assert "earlier answers are read but not taught" in text
    assert "a control token typed as text, such as </s>; it is read as ordinary text" in text
    assert "have a thinking block of their own" in text
    plain = preview(SFTConfig(), lambda part: [conversation(0)] if part == "train" else [], chat)
    assert plain.remarks == []
