"""The starter kit: its files agree with their generator and their card, and the model does what the card says."""

import json
import re
from random import Random

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from assets import STARTER
from assets.build_starter import SEED
from assets.build_starter.card import write_card
from assets.build_starter.corpus import Corpus
from assets.build_starter.data import GREETINGS, all_tasks, build_data, write_jsonl
from assets.build_starter.measure import response_loss, sample
from assets.build_starter.styles import Style, answer
from assets.build_starter.tasks import plain
from studio.demo.scripted_rater import assess

MODEL = STARTER / "model"


@pytest.fixture(scope="module")
def data():
    return build_data(SEED)


@pytest.fixture(scope="module")
def figures():
    return json.loads((STARTER / "build.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL)


@pytest.fixture(scope="module")
def model():
    return LlamaForCausalLM.from_pretrained(MODEL)


def bare(question):
    """The question without a greeting in front of it."""
    for greeting in GREETINGS:
        question = question.removeprefix(greeting.removesuffix("{}"))
    return question


def test_the_committed_data_files_are_what_the_generator_writes(data, tmp_path):
    for name, rows in zip(("prompts.jsonl", "demonstrations.jsonl"), data, strict=False):
        write_jsonl(tmp_path / name, rows)
        assert (tmp_path / name).read_bytes() == (STARTER / name).read_bytes(), name


def test_another_seed_writes_other_data(data):
    assert build_data(SEED + 1)[0] != data[0]


def test_the_kit_is_small_and_holds_no_pickles():
    files = [path for path in STARTER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 10_000_000
    assert {path.suffix for path in files} == {".json", ".jsonl", ".jinja", ".md", ".safetensors"}


def test_no_group_of_prompts_lies_in_two_splits(data):
    group_of = {plain(question): task.group for task in all_tasks() for question in task.questions}
    splits: dict[str, set[str]] = {}
    for row in data[0]:
        question = bare(row["messages"][0]["content"])
        splits.setdefault(group_of.get(question, question), set()).add(row["split"])
    assert {group for group, found in splits.items() if len(found) > 1} == set()


def test_there_are_enough_held_out_prompts_and_demonstrations(data):
    prompts, demonstrations, _ = data
    assert sum(row["split"] == "test" and row["category"] != "story" for row in prompts) >= 200
    assert sum(row["split"] == "test" and row["category"] == "story" for row in demonstrations) >= 60
    assert len({row["messages"][0]["content"] for row in prompts}) == len(prompts)


def test_each_demonstration_answers_a_prompt_of_its_split(data):
    prompts = {row["id"]: row for row in data[0]}
    for row in data[1]:
        prompt = prompts[row["prompt_id"]]
        assert row["messages"][:-1] == prompt["messages"]
        assert (row["split"], row["category"]) == (prompt["split"], prompt["category"])


def test_pretraining_never_shows_a_held_out_wording(data):
    prompts, _, held_out = data
    asked = {bare(row["messages"][0]["content"]) for row in prompts if row["split"] != "train"}
    assert asked <= held_out
    documents = iter(Corpus(held_out, SEED))
    for _ in range(4000):
        document = next(documents)
        turns = [] if isinstance(document, str) else [turn["content"] for turn in document if turn["role"] == "user"]
        assert not any(turn.endswith(tuple(asked)) for turn in turns)


def test_the_rater_calls_every_task_s_best_answer_ideal_and_its_mistake_wrong():
    rng = Random(1)
    for task in all_tasks():
        best = answer(task, Style("courteous", "complete", True, 0), rng)
        wrong = answer(task, Style("courteous", "complete", False, 0), rng)
        lazy = answer(task, Style("courteous", "lazy", True, 0), rng)
        assert assess(task.reference, best).is_ideal, best
        assert assess(task.reference, wrong).has_mistake or task.category == "advice", wrong
        assert not assess(task.reference, lazy).is_right, lazy


def test_the_demonstrations_are_uneven(figures):
    assert 0.3 < figures["ideal_demonstrations"] < 0.5 < 0.9 < figures["right_demonstrations"]


def test_the_card_is_written_from_the_measured_figures(figures):
    assert (STARTER / "README.md").read_text(encoding="utf-8") == write_card(figures)


def test_any_text_survives_the_tokenizer(tokenizer):
    for text in ("Of course! The capital of France is Paris.", "größer, 東京 🙂\n\ttabs", " 12 + 7 = 19"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_pad_end_and_beginning_are_three_different_tokens(tokenizer):
    assert tokenizer.eos_token == "<|end|>"
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id}) == 3


def test_the_chat_template_takes_several_turns_and_marks_what_the_assistant_says(tokenizer):
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Good day."},
        {"role": "user", "content": "What is 1 plus 1?"},
        {"role": "assistant", "content": "2."},
    ]
    encoded = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    ids, mask = encoded["input_ids"], encoded["assistant_masks"]
    assert tokenizer.decode(ids) == (
        "<|bos|><|system|>Be kind.<|end|><|user|>Hello!<|end|><|assistant|>Good day.<|end|>"
        "<|user|>What is 1 plus 1?<|end|><|assistant|>2.<|end|>"
    )
    marked = [token for token, keep in zip(ids, mask, strict=True) if keep]
    assert tokenizer.decode(marked) == "Good day.<|end|>2.<|end|>"
    prompt = tokenizer.apply_chat_template(messages[:2], add_generation_prompt=True, tokenize=False)
    assert prompt.endswith("Hello!<|end|><|assistant|>")


def test_every_linear_layer_divides_by_64_so_that_nf4_works_on_the_cpu(model):
    sizes = {module.out_features for module in model.modules() if isinstance(module, torch.nn.Linear)}
    assert {size for size in sizes if size % 64} == set()


def test_the_held_out_losses_are_those_of_the_card(model, tokenizer, data, figures):
    for name, is_story in (("story_loss", True), ("other_loss", False)):
        rows = [row for row in data[1] if row["split"] == "test" and (row["category"] == "story") == is_story]
        assert response_loss(model, tokenizer, rows) == pytest.approx(figures[name], abs=0.01)
        assert f"{figures[name]:.3f} |" in (STARTER / "README.md").read_text(encoding="utf-8")


def test_samples_are_short_varied_and_come_to_an_end(model, tokenizer, data):
    prompts = [row for row in data[0] if row["split"] == "test" and row["reference"]][::6]
    samples = sample(model, tokenizer, prompts)
    assert sum(item.has_end for item in samples) >= 0.95 * len(samples)
    assert 15 <= sorted(item.num_tokens for item in samples)[len(samples) // 2] <= 45
    for trait in ("is_courteous", "is_right", "is_rude"):
        share = sum(getattr(item.seen, trait) for item in samples) / len(samples)
        assert 0.05 < share < 0.95, trait
    words = [word for item in samples for word in re.findall(r"[A-Za-z']+", item.text)]
    known = {word for row in data[1] for turn in row["messages"] for word in re.findall(r"[A-Za-z']+", turn["content"])}
    assert sum(word in known for word in words) > 0.85 * len(words)
