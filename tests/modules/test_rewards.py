"""Rewards behind one interface, on tiny real models: each component, the mix, and what is refused."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SPECIAL, WORDS, Memory, prompt, trainer, words, write_model
from pydantic import ValidationError
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from modules.config import PPOConfig
from modules.config.reward_terms import RewardTerm, parse
from modules.data.datamodules import PPOBatch, PPODataModule
from modules.errors import BaseModelError, NonFiniteError, RewardError
from modules.metrics import METRICS, sentence
from modules.model.backbone import Backbone
from modules.model.generate import Rollout
from modules.ppo import PPOModule
from modules.rl.experience import reward_scores
from modules.rl.rewards import ClassifierReward, FunctionReward, RewardMix, RoleReward, Texts, build_mix, load_function

Load = Callable[..., Backbone]
SIZES: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def classifier(folder: Path, *, labels: list[str], chat_template: str | None = None, kind: str = "llama") -> Path:
    """A random classifier whose tokenizer numbers the words the other way round."""
    torch.manual_seed(3)
    vocab = {word: index for index, word in enumerate([*SPECIAL, *reversed(WORDS), "<cls>"])}
    core = Tokenizer(WordLevel(vocab, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "chat_template": chat_template}
    PreTrainedTokenizerFast(tokenizer_object=core, **names).save_pretrained(folder)
    common = {
        "vocab_size": len(vocab),
        "id2label": dict(enumerate(labels)),
        "max_position_embeddings": 34,
        "initializer_range": 0.3,
        "pad_token_id": 0,
    }
    if kind == "bert":
        BertForSequenceClassification(BertConfig(**SIZES, **common)).save_pretrained(folder)
    elif kind == "roberta":
        RobertaForSequenceClassification(RobertaConfig(**SIZES, **common)).save_pretrained(folder)
    else:
        config = LlamaConfig(**SIZES, **common, num_key_value_heads=2)
        LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture
def rollout(four_roles: Load) -> tuple[Backbone, Rollout, Texts, list[str], list[str]]:
    """Five responses of uneven length, with the texts they come from."""
    backbone = four_roles()
    rows = [prompt(i, prompt_words=2 + i) for i in range(5)]
    prompts = [backbone.chat.encode_prompt(row["messages"]).ids for row in rows]
    texts = [words(1 + 2 * i, 50 + i) for i in range(5)]
    responses = [backbone.chat.encode_response(text) for text in texts]
    found = Rollout(prompts, responses, [True] * 5)
    row_of = {tuple(ids): row for ids, row in zip(prompts, rows, strict=True)}
    return backbone, found, Texts(backbone.chat, row_of), [row["messages"][0]["content"] for row in rows], texts


# What a person writes.


def test_a_reward_is_read_term_by_term() -> None:
    found = parse("reward*1.5 +  classifier:/models/a model#GOOD*-0.5 + function:sub/length.py:short")
    assert found == (
        RewardTerm("reward", "", "", 1.5, "reward"),
        RewardTerm("classifier", "/models/a model", "GOOD", -0.5, "a_model"),
        RewardTerm("function", "sub/length.py", "short", 1.0, "short"),
    )
    assert parse("  ") == ()
    assert parse(" + ".join(map(str, found))) == found
    assert parse("reward*1e-3")[0].weight == 1e-3


def test_names_are_unique_and_fit_for_a_metric() -> None:
    found = parse("function:a.py:reward + reward + function:b.py:reward + classifier:./7 b/ + classifier:Org/7-b")
    assert [term.name for term in found] == ["reward", "reward_2", "reward_3", "_7_b", "_7_b_2"]
    assert all(term.name.isidentifier() for term in found)
    assert sentence("reward/reward_2")
    assert sentence("policy/loss") == METRICS["policy/loss"]
    assert sentence("policy/lost") == ""


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("reward+function:a.py:f", "join terms with ' \\+ '"),
        ("rewards", "is not reward, classifier:FOLDER"),
        ("reward:x", "is not reward"),
        ("classifier:*2", "is not reward"),
        ("function:length.py", "is not reward"),
        ("function:length.py:two words", "is not reward"),
        ("function:length.txt:f", "is not reward"),
        ("function:a.py:__import__('os')", "is not reward"),
        ("reward*", "the weight '' of the term"),
        ("reward*0", "not a number other than 0"),
        ("reward*nan", "the weight 'nan'"),
        ("reward*inf", "the weight 'inf'"),
        ("reward*two", "the weight 'two'"),
        ("reward + reward*2", "occurs twice"),
        ("reward + ", "is not reward"),
        (" + ", "is not reward"),
    ],
)
def test_what_cannot_be_read_is_refused_by_the_config_with_a_sentence(written: str, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        PPOConfig(rewards=written)


def test_the_reward_checkpoint_is_needed_unless_the_reward_is_made_of_other_things() -> None:
    needed = {"": True, "reward": True, "function:a.py:f": False, "function:a.py:f + reward*0.1": True}
    assert {text: PPOConfig(rewards=text).needs_reward_checkpoint for text in needed} == needed


# The components.


def test_the_role_reward_is_the_reward_model_as_before(rollout: Any) -> None:
    backbone, found, *_ = rollout
    assert torch.equal(RoleReward(backbone)(found), reward_scores(backbone, found, 32))


@pytest.mark.parametrize("kind", ["llama", "bert"])
@pytest.mark.parametrize("labels", [["only"], ["bad", "good"], ["bad", "so so", "good"]])
def test_a_classifier_scores_texts_with_its_own_tokenizer(
    rollout: Any, tmp_path: Path, labels: list[str], kind: str
) -> None:
    """Against each text alone, unpadded: the logit, the difference of two, the log-odds of one of three."""
    _, found, texts, prompts, responses = rollout
    folder = classifier(tmp_path, labels=labels, kind=kind)
    judge = ClassifierReward(str(folder), "GOOD" if len(labels) == 3 else "", texts, micro_batch_size=2)
    wanted = []
    number = {word: len(SPECIAL) + i for i, word in enumerate(reversed(WORDS))}
    for asked, answered in zip(prompts, responses, strict=True):
        ids = torch.tensor([[number[word] for word in f"{asked}\n{answered}".split()]])
        with torch.no_grad():
            logits = judge.model(input_ids=ids).logits[0].tolist()
        others = sum(math.exp(x) for x in logits[:-1])
        wanted.append(logits[-1] - (math.log(others) if others else 0.0))
    assert judge(found).tolist() == pytest.approx(wanted, abs=1e-5)
    assert len(set(judge(found).tolist())) == 5


def test_a_classifier_reads_its_own_chat_template(rollout: Any, tmp_path: Path) -> None:
    _, found, texts, prompts, responses = rollout
    template = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}"
    judge = ClassifierReward(str(classifier(tmp_path, labels=["x"], chat_template=template)), "", texts)
    number = {word: index for index, word in enumerate([*SPECIAL, *reversed(WORDS)])}
    line = f"<user> {prompts[2]} <assistant> {responses[2]}"
    with torch.no_grad():
        alone = judge.model(input_ids=torch.tensor([[number[word] for word in line.split()]])).logits
    assert judge(found)[2].item() == pytest.approx(alone.item(), abs=1e-5)


@pytest.mark.parametrize("has_template", [True, False], ids=["own template", "no template"])
def test_control_tokens_typed_in_a_text_end_nothing_for_a_classifier_either(
    rollout: Any, tmp_path: Path, has_template: bool
) -> None:
    _, _, texts, *_ = rollout
    template = "{% for m in messages %}{{ m['content'] }} </s> {% endfor %}" if has_template else None
    folder = classifier(tmp_path, labels=["x"], chat_template=template)
    core = json.loads((folder / "tokenizer.json").read_text())
    ends = {"id": "</s>", "type_id": 0}
    core["post_processor"] = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": ends}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}], "special_tokens": {"</s>": {"id": "</s>", "ids": [SPECIAL.index("</s>")], "tokens": ["</s>"]}}}  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(core))
    judge = ClassifierReward(str(folder), "", texts)
    end, unknown = SPECIAL.index("</s>"), SPECIAL.index("<unk>")
    plain, typed = (judge._encode([{"role": "user", "content": f"w1 {word} w2"}], "w3") for word in ("w9", "</s>"))
    assert plain.count(end) == typed.count(end) == (2 if has_template else 1)
    assert typed[-1] == end
    assert [i for i in plain if i != plain[1]] == [i for i in typed if i != unknown], "all else is as it was"
    long = judge._encode([{"role": "user", "content": "</s> " * 50}], "w3")
    assert len(long) == judge.max_length
    assert long[-1] == end


def test_a_text_that_is_too_long_for_a_classifier_loses_its_beginning(rollout: Any, tmp_path: Path) -> None:
    backbone, found, texts, *_ = rollout
    judge = ClassifierReward(str(classifier(tmp_path, labels=["x"], kind="bert")), "", texts)
    assert judge.max_length == 34
    endings = [backbone.chat.encode_response(words(60, 1) + tail) for tail in (" w1", " w2")]
    long = Rollout([found.prompts[0], found.prompts[4]], [endings[0], endings[0]], [True, True])
    assert judge(long)[0].item() == pytest.approx(judge(long)[1].item(), abs=1e-5), "the prompts are cut off"
    other = long._replace(responses=endings)
    assert abs(judge(other)[0] - judge(other)[1]) > 1e-3, "the ends are read"


@pytest.mark.parametrize(
    ("kind", "told", "read"), [("bert", 512, 34), ("bert", 16, 16), ("roberta", 512, 33), ("llama", 512, 34)]
)
def test_a_classifier_reads_no_more_than_both_its_tokenizer_and_its_model_allow(
    rollout: Any, tmp_path: Path, kind: str, told: int, read: int
) -> None:
    _, found, texts, *_ = rollout
    folder = classifier(tmp_path, labels=["x"], kind=kind)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": told}))
    judge = ClassifierReward(str(folder), "", texts)
    assert judge.max_length == read
    long = Rollout([found.prompts[0] * 30], [found.responses[0]], [True])
    assert judge(long).isfinite().all()


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (
            "{% if messages[0].role == 'user' %}{{ raise_exception('no user first') }}{% endif %}",
            "turns are user .no user first",
        ),
        ("{{ 'x' * 2000000 }}", "cannot be used, since it writes more than"),
    ],
    ids=["refuses", "endless"],
)
def test_a_classifier_whose_template_cannot_write_the_prompts_is_refused_before_anything_is_scored(
    rollout: Any, tmp_path: Path, template: str, sentence: str
) -> None:
    folder = classifier(tmp_path, labels=["x"], chat_template=template)
    with pytest.raises(RewardError, match=sentence):
        ClassifierReward(str(folder), "", rollout[2])


def test_a_classifiers_pad_beyond_its_embedding_is_replaced_since_it_is_always_masked(
    rollout: Any, tmp_path: Path
) -> None:
    folder = classifier(tmp_path, labels=["x"])
    _, found, texts, *_ = rollout
    expected = ClassifierReward(str(folder), "", texts)(found)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<beyond>"})
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "config.json").read_text()) | {"pad_token_id": tokenizer.pad_token_id}
    (folder / "config.json").write_text(json.dumps(settings))
    assert torch.allclose(ClassifierReward(str(folder), "", texts)(found), expected, atol=1e-5)


def test_a_label_that_a_classifier_does_not_have_is_refused_with_those_it_has(rollout: Any, tmp_path: Path) -> None:
    folder = str(classifier(tmp_path, labels=["bad", "so so", "good"]))
    with pytest.raises(RewardError, match=r"has 3 labels, and none is named .* one of bad, so so, good"):
        ClassifierReward(folder, "", rollout[2])
    with pytest.raises(
        RewardError, match=r"has no label 'great': write classifier:.*#LABEL with one of bad, so so, good"
    ):
        ClassifierReward(folder, "great", rollout[2])
    assert ClassifierReward(folder, "1", rollout[2]).label == 1


def test_a_model_of_another_task_or_with_pickled_weights_is_no_classifier(rollout: Any, tmp_path: Path) -> None:
    write_model(tmp_path / "causal")
    with pytest.raises(BaseModelError, match=r"lacks weights .*score.*would be random"):
        ClassifierReward(str(tmp_path / "causal"), "", rollout[2])
    folder = classifier(tmp_path / "pickled", labels=["x"])
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BaseModelError, match=r"no \*\.safetensors weights"):
        ClassifierReward(str(folder), "", rollout[2])
    with pytest.raises(BaseModelError, match="There is no model folder"):
        ClassifierReward("./nowhere", "", rollout[2])


def test_a_function_gets_texts_and_the_ids_it_asks_for(rollout: Any) -> None:
    _, found, texts, prompts, responses = rollout
    seen: list[Any] = []

    def count(asked: list[str], answered: list[str], response_ids: list[list[int]]) -> list[int]:
        seen.extend([asked, answered])
        return [len(ids) for ids in response_ids]

    assert FunctionReward(count, "a.py:count", texts)(found).tolist() == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert seen == [prompts, responses]
    without = FunctionReward(lambda asked, answered: [float(len(a)) for a in asked], "a.py:f", Texts(texts.chat))(found)
    assert without.dtype is torch.float32
    assert len(without) == 5, "prompts without a row are decoded"


def test_a_longer_conversation_is_given_turn_by_turn(rollout: Any) -> None:
    backbone, found, *_ = rollout
    turns = [
        {"role": "user", "content": "w1"},
        {"role": "assistant", "content": "w2"},
        {"role": "user", "content": "w3"},
    ]
    ids = backbone.chat.encode_prompt(turns).ids
    texts = Texts(backbone.chat, {tuple(ids): {"messages": turns}})
    seen: list[str] = []
    FunctionReward(lambda p, r: seen.extend(p) or [0.0], "a.py:f", texts)(Rollout([ids], [found.responses[0]], [True]))
    assert seen == ["user: w1\nassistant: w2\nuser: w3"]


@pytest.mark.parametrize(
    ("body", "error", "complaint"),
    [
        ("return [1 / 0]", RewardError, r"a.py:f failed on 5 responses at line 2: ZeroDivisionError: division by zero"),
        ("raise SystemExit(0)", RewardError, "at line 2: SystemExit"),
        ("return None", RewardError, "TypeError"),
        ("return ['good'] * 5", RewardError, "ValueError: could not convert string to float"),
        ("return [1.0] * 4", RewardError, "returned 4 numbers for 5 responses"),
        ("return [[1.0]] * 5", RewardError, "TypeError"),
        ("return [1.0, float('nan'), 1, 1, 1]", NonFiniteError, "a.py:f returned nan for the response 'w"),
        ("return [float('inf')] * 5", NonFiniteError, "weights are as they were: correct the function"),
        ("responses.clear(); return [1.0] * 5", None, ""),
    ],
)
def test_what_a_function_does_wrong_is_said_with_its_name(
    rollout: Any, body: str, error: type[Exception] | None, complaint: str
) -> None:
    _, found, texts, *_ = rollout
    function = load_function(f"def f(prompts, responses):\n    {body}\n", "a.py", "f")
    judge = FunctionReward(function, "a.py:f", texts)
    if error is None:
        assert judge(found).tolist() == [1.0] * 5
        return
    with pytest.raises(error, match=complaint):
        judge(found)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("def f(:", "cannot be run at line 1: SyntaxError"),
        ("x = 1\nimport nothing_of_this_name", "cannot be run at line 2: ModuleNotFoundError"),
        ("exit(3)", "cannot be run"),
        ("f = 3", "has no function f"),
        ("def g(a, b): ...", "has no function f"),
    ],
)
def test_a_file_that_holds_no_such_function_is_refused(source: str, complaint: str) -> None:
    with pytest.raises(RewardError, match=complaint):
        load_function(source, "a.py", "f")


# The mix.


def test_a_mix_is_the_weighted_sum_and_each_component_is_kept(rollout: Any, tmp_path: Path) -> None:
    backbone, found, texts, *_ = rollout
    folder = classifier(tmp_path, labels=["bad", "good"])
    terms = parse(f"reward*0.5 + classifier:{folder}*-2 + function:a.py:f*0.1")
    sources = {"a.py": "def f(prompts, responses):\n    return [len(r.split()) for r in responses]"}
    mix = build_mix(terms, backbone, texts, sources, micro_batch_size=2)
    role = reward_scores(backbone, found, 32).tolist()
    judged = ClassifierReward(str(folder), "", texts)(found).tolist()
    wanted = [0.5 * a - 2 * b + 0.1 * (1 + 2 * i) for i, (a, b) in enumerate(zip(role, judged, strict=True))]
    assert mix(found).tolist() == pytest.approx(wanted, abs=1e-4)
    assert {name: scores.tolist() for name, scores in mix.latest.items()} == {
        "reward": pytest.approx(role, abs=1e-5),
        terms[1].name: pytest.approx(judged, abs=1e-5),
        "f": [1.0, 3.0, 5.0, 7.0, 9.0],
    }
    assert mix.role_part().tolist() == pytest.approx([0.5 * a for a in role], abs=1e-5)


def function_mix(source: str, texts: Texts) -> RewardMix:
    judge = FunctionReward(load_function(source, "a.py", "f"), "a.py:f", texts)
    return RewardMix([(parse("function:a.py:f*0.5")[0], judge)], torch.device("cpu"))


def test_ppo_learns_from_a_function_and_logs_the_component(load: Load) -> None:
    """No reward model anywhere: the value function starts at 0, and the share of one word rises."""
    backbone = load()
    backbone.add_role("reference")
    backbone.add_role("policy", copy_of="reference", trainable=True)
    backbone.add_role("value", copy_of="reference", trainable=True, head=True)
    backbone.scale_head("value", 0.0)
    data = PPODataModule([prompt(i) for i in range(16)], [prompt(20)], backbone.chat, batch_size=32, iterations=12)
    source = "def f(prompts, responses):\n    return [10 * r.split().count('w7') for r in responses]"
    module = PPOModule(
        backbone,
        score_function=function_mix(source, Texts(backbone.chat, data.row_of)),
        max_new_tokens=6,
        value_warmup=0,
        learning_rate=1e-2,
        value_learning_rate=1e-2,
        kl_coef=0.0,
        missing_eos_penalty=0.0,
    )
    memory = Memory()
    trainer(memory, val_check_interval=50).fit(module, datamodule=data)
    share = memory.of("reward/f")
    assert memory.of("objective/score") == pytest.approx({step: 0.5 * value for step, value in share.items()})
    assert share[12] > share[1] + 2.0
    assert module.latest is not None
    answers, experience = module.latest
    assert answers.components["f"].shape == (32,)
    assert torch.equal(experience.scores, 0.5 * answers.components["f"])


def test_the_value_function_starts_from_the_zero_of_the_rewards_share(four_roles: Load) -> None:
    """A copied head, scaled by the weight and shifted by the mean of that share alone; a function's mean leaves it."""
    backbone = four_roles()
    backbone.heads["reward"].bias.data += 3.0
    backbone.heads["value"].load_state_dict(backbone.heads["reward"].state_dict())
    backbone.scale_head("value", 0.5)
    assert torch.equal(backbone.heads["value"].weight, 0.5 * backbone.heads["reward"].weight)
    bias = backbone.heads["value"].bias.item()
    texts = Texts(backbone.chat)
    constant = FunctionReward(lambda p, r: [100.0] * len(r), "a.py:f", texts)
    terms = parse("reward*0.5 + function:a.py:f")
    mix = RewardMix([(terms[0], RoleReward(backbone)), (terms[1], constant)], torch.device("cpu"))
    module = PPOModule(backbone, score_function=mix, max_new_tokens=4, value_start="reward")
    prompts = [backbone.chat.encode_prompt(prompt(i)["messages"]).ids for i in range(4)]
    module._set_score_center(PPOBatch(prompts, None))
    assert module.score_center == pytest.approx(100.0 + mix.role_part().mean().item(), abs=1e-3)
    assert backbone.heads["value"].bias.item() == pytest.approx(bias - mix.role_part().mean().item(), abs=1e-4)
