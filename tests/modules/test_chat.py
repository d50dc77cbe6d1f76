from collections.abc import Sequence

import pytest
from conftest import ASSISTANT, BOS, END, PAD, USER, tiny_tokenizer
from tokenizers import Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from assets import STARTER
from modules.data.chat import ChatFormat, Encoded
from modules.errors import BaseModelError, ConfigError, DataError
from modules.model.pretrained import load_tokenizer

CHAT = [
    {"role": "user", "content": "w1 w2"},
    {"role": "assistant", "content": "w3"},
    {"role": "user", "content": "w3 w4"},  # holds the text of the assistant's turn before it
    {"role": "assistant", "content": "w5 w6"},
]


def taught(encoded: Encoded) -> list[int]:
    return [token for token, kept in zip(encoded.ids, encoded.mask, strict=True) if kept]


def ids_of(chat: ChatFormat, text: str) -> list[int]:
    return chat.tokenizer.encode(text, add_special_tokens=False)


def test_the_tokenizers_own_template_is_followed_token_by_token() -> None:
    chat = ChatFormat(tiny_tokenizer(), "auto", [END])
    w = ids_of(chat, "w1 w2 w3 w4 w5 w6")
    encoded = chat.encode_conversation(CHAT)
    assert encoded.ids == [
        *(BOS, USER, w[0], w[1], END, ASSISTANT, w[2], END),
        *(USER, w[2], w[3], END, ASSISTANT, w[4], w[5], END),
    ]


@pytest.mark.parametrize("template", ["own", "chatml", "plain"])
def test_every_assistant_turn_is_taught_with_its_end_token_and_nothing_else(template: str) -> None:
    chat = ChatFormat(tiny_tokenizer(), template, [END])
    w3, w5, w6 = ids_of(chat, "w3 w5 w6")
    assert taught(chat.encode_conversation(CHAT)) == [w3, END, w5, w6, END]


@pytest.mark.parametrize("template", ["own", "chatml", "plain"])
def test_training_sees_the_very_ids_that_sampling_starts_from(template: str) -> None:
    chat = ChatFormat(tiny_tokenizer(), template, [END])
    whole, prompt = chat.encode_conversation(CHAT), chat.encode_prompt(CHAT[:-1])
    assert whole.ids[: len(prompt.ids)] == prompt.ids
    assert whole.ids[len(prompt.ids) :] == chat.encode_response(CHAT[-1]["content"])


def test_item_3_the_end_token_stays_taught_when_it_is_also_the_pad() -> None:
    chat = ChatFormat(tiny_tokenizer(pad_token="</s>"), "own", [END])
    assert chat.pad_id == chat.end_id == END
    assert taught(chat.encode_conversation(CHAT[:2]))[-1] == END


def test_a_missing_pad_token_is_replaced_and_the_models_end_token_wins_over_the_tokenizers() -> None:
    tokenizer = tiny_tokenizer(chat_template=None)
    tokenizer.pad_token = None
    chat = ChatFormat(tokenizer, "auto", [BOS, END])  # as in stories260K: <s> ends its texts
    assert chat.template == "plain"
    assert chat.end_id == chat.pad_id == BOS
    assert chat.stop_ids == {BOS, END}


def test_decoding_leaves_out_end_tokens_and_keeps_the_text() -> None:
    chat = ChatFormat(tiny_tokenizer(), "own", [END])
    assert chat.decode(chat.encode_response("w5 w6")).split() == ["w5", "w6"]


def spaced_tokenizer() -> PreTrainedTokenizerFast:
    """Puts a space before every text it is given, as SentencePiece does."""
    letters = {
        letter: index for index, letter in enumerate(["<unk>", "</s>", "▁", "\n", *"abcdefghijklmnopqrstuvwxyz"])
    }
    core = Tokenizer(BPE(vocab=letters, merges=[], unk_token="<unk>"))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize("text", ["there", " there", "two words"])
def test_a_tokenizer_that_prepends_spaces_adds_none_inside_a_text_and_round_trips(text: str) -> None:
    chat = ChatFormat(spaced_tokenizer(), "plain")
    assert not chat.joins_cleanly
    encoded = chat.encode_conversation([{"role": "user", "content": "once"}, {"role": "assistant", "content": text}])
    spelled = "".join(chat.tokenizer.convert_ids_to_tokens(encoded.ids)[:-1])
    assert spelled == "▁once\n" + text.replace(" ", "▁")
    assert chat.decode(taught(encoded)) == text


@pytest.mark.parametrize("kind", ["spaced", "tiny", "starter"])
def test_answers_that_are_read_ahead_have_the_ids_that_they_have_alone(kind: str) -> None:
    """Also where the tokenizer would cut and pad texts given together, and after a typed control token was spelt out."""
    made = {"spaced": spaced_tokenizer, "tiny": tiny_tokenizer, "starter": lambda: load_tokenizer(STARTER / "model")}
    chat = ChatFormat(made[kind](), "plain" if kind == "spaced" else "auto", [END] if kind == "tiny" else [])
    texts = [
        "w5 w6 w7 w8",
        " w5",
        "w6 \n",
        "",
        "a much longer answer than the others " * 3,
        f"w1 {chat.end_text or '</s>'} w2",
    ]
    alone = [chat.encode_response(text) for text in texts]
    chat.tokenizer.backend_tokenizer.enable_truncation(2)
    chat.tokenizer.backend_tokenizer.enable_padding()
    for _ in range(2):
        chat.read_ahead(texts)
        assert len(chat._ahead) >= 5
        assert all(ids_of(chat, piece) == ids for piece, ids in chat._ahead.items())
        assert [chat.encode_response(text) for text in texts] == alone
        chat.tokenizer.encode("</s>", split_special_tokens=True)
    chat.read_ahead(())
    assert chat._ahead == {}


def test_what_cannot_be_encoded_is_refused_with_a_next_step() -> None:
    chat = ChatFormat(tiny_tokenizer(), "own", [END])
    with pytest.raises(DataError, match="ends with a turn of another role"):
        chat.encode_conversation(CHAT[:1])
    strict = ChatFormat(
        tiny_tokenizer(
            chat_template="{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}{% for m in messages %}{{ m.content }}</s>{% endfor %}"
        ),
        "own",
        [END],
    )
    with pytest.raises(DataError, match="user first"):
        strict.encode_prompt([{"role": "system", "content": "w1"}])
    with pytest.raises(ConfigError, match="no chat template called"):
        ChatFormat(tiny_tokenizer(), "llama")
    with pytest.raises(ConfigError, match="no chat template of its own"):
        ChatFormat(tiny_tokenizer(chat_template=None), "own")


def test_a_model_without_any_end_token_is_refused() -> None:
    tokenizer = tiny_tokenizer(chat_template=None)
    tokenizer.eos_token = None
    with pytest.raises(BaseModelError, match="no end token"):
        ChatFormat(tokenizer, "plain")


def test_a_turn_that_the_template_rewrote_is_read_but_not_taught() -> None:
    template = "{% for m in messages %}<{{ m.role }}> {{ 'w9' if not loop.last and m.role == 'assistant' else m.content }} </s>{% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"
    chat = ChatFormat(tiny_tokenizer(chat_template=template), "own", [END])
    w5, w6 = ids_of(chat, "w5 w6")
    assert taught(chat.encode_conversation(CHAT)) == [w5, w6, END]


def test_the_pad_is_the_tokenizers_own_where_it_has_one() -> None:
    template: Sequence[str] = ("own", "plain")
    assert {ChatFormat(tiny_tokenizer(), name, [END]).pad_id for name in template} == {PAD}


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}</s>{% endif %}{% endfor %}", "leaves out .* what the user says"),
        ("{% for m in messages %}<{{ m.role }}> {{ m.content | upper }} </s>{% endfor %}<assistant>", "rewrites what the user says"),
        ("{% for m in messages %}<{{ m.role }}> {{ m.content }} </s>{% endfor %}", "'</s><assistant>' before an answer .* but '</s>' where"),
        ("{% for m in messages %}{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}", "training and sampling would differ"),
    ],
    ids=["no user", "capitals", "no opening", "opening only when asked"],
)  # fmt: skip
def test_a_template_that_would_silently_teach_something_else_is_refused(template: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        ChatFormat(tiny_tokenizer(chat_template=template), "auto", [END])
    assert ChatFormat(tiny_tokenizer(chat_template=template), "plain", [END]).template == "plain"


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}",
        "{% for m in messages %}<{{ m.role }}>\n{% if loop.last and m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>\n{% endif %}",
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<assistant><think>\n{% endif %}",
    ],
    ids=["inst", "empty thought", "open thought"],
)  # fmt: skip
def test_templates_that_open_an_answer_with_a_thought_or_with_nothing_are_taken(template: str) -> None:
    assert ChatFormat(tiny_tokenizer(chat_template=template), "auto", [END]).template == "own"
