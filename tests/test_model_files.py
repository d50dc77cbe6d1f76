"""A model's folder is refused before a run is made from it, with the file, the cause and the next step."""

import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from modules.config import SFTConfig
from studio.errors import BaseModelError, RewardError
from studio.models import base_models, finite, reward_sources
from studio.preferences import prompts
from studio.runs import runs
from studio.workspace import Workspace
from tests.support import stored

CONFIG = {"model_type": "llama", "vocab_size": 8, "max_position_embeddings": 48}


def safetensors(file: Path, names: list[str], dtype: str = "F32", width: int = 4) -> None:
    """A file with one number for each name."""
    table = {
        name: {"dtype": dtype, "shape": [1], "data_offsets": [width * i, width * (i + 1)]}
        for i, name in enumerate(names)
    }
    head = json.dumps(table).encode()
    file.write_bytes(struct.pack("<Q", len(head)) + head + bytes(width * len(names)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that has all that a model needs, as far as small files tell."""
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "tokenizer.json").write_text("{}")
    safetensors(path / "model.safetensors", ["a", "b"])
    return path


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    workspace = Workspace.open(tmp_path / "studio")
    for thing in ("colour", "fruit", "tool", "bird", "river", "month"):  # some of them fall to the train split
        stored.written(workspace, prompts.add_demonstration, [{"role": "user", "content": f"Name a {thing}."}], "Blue.")
    return workspace


def write(path: Path, **content: Any) -> None:
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | content))


def refused(ws: Workspace, folder: Path, sentence: str, **settings: Any) -> None:
    """No run comes of it."""
    with pytest.raises(BaseModelError, match=sentence):
        runs.create(ws, SFTConfig(base_model=str(folder), **settings))
    assert stored.read(ws, runs.list_all) == []
    assert list(ws.runs.iterdir()) == []


def test_a_folder_that_has_everything_is_taken(ws: Workspace, folder: Path) -> None:
    assert runs.create(ws, SFTConfig(base_model=str(folder))).state == "queued"


def test_a_shard_that_the_index_names_and_that_is_not_there_is_named(ws: Workspace, folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    refused(
        ws, folder, r"is incomplete: its index names model-00002-of-00002.safetensors of 2 files, which is not there"
    )
    safetensors(folder / "model-00002-of-00002.safetensors", ["b"])
    assert base_models.resolve(str(folder)) == str(folder)


@pytest.mark.parametrize(
    ("index", "sentence"),
    [
        (None, "has neither model.safetensors nor model.safetensors.index.json"),
        ("{", "is not valid JSON"),
        ("[]", "does not hold an object"),
        ("{}", "does not say where the weights are"),
        ('{"weight_map": {"a": "../model.safetensors"}}', "its index names ../model.safetensors"),
    ],
    ids=["no index", "no json", "no object", "no map", "outside"],
)
def test_weights_that_no_index_leads_to_are_refused(
    ws: Workspace, folder: Path, index: str | None, sentence: str
) -> None:
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    if index is not None:
        (folder / "model.safetensors.index.json").write_text(index)
    refused(ws, folder, sentence)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer_config.json", "chat_template.jinja"])
def test_a_pipe_or_a_device_in_the_place_of_a_file_is_refused_and_not_waited_for(
    ws: Workspace, folder: Path, name: str
) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    refused(ws, folder, rf"{name} is a pipe or a device, not a regular file")
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    refused(ws, folder, rf"{name} is a pipe or a device, not a regular file")
    (folder / name).unlink()
    (folder / name).symlink_to(folder / "gone")
    refused(ws, folder, rf"{name} is a link to nothing")


def test_a_header_that_claims_gigabytes_is_no_header(ws: Workspace, folder: Path) -> None:
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 6_000_000_000))
        file.truncate(6_000_000_016)
    refused(ws, folder, "is cut off or not a safetensors file")


def test_a_config_of_unlikely_size_is_not_read(ws: Workspace, folder: Path) -> None:
    with (folder / "config.json").open("wb") as file:
        file.truncate(2**31)
    refused(ws, folder, "has more than 64 MiB")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]"], ids=["no json", "deep", "no object"])
def test_a_config_that_is_no_object_is_refused(ws: Workspace, folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    refused(ws, folder, r"config.json (is not valid JSON|does not hold an object)")


NF4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}


@pytest.mark.parametrize(
    ("stored", "settings", "sentence"),
    [
        (NF4, {}, "is stored in 4 bits .*quantisation is none: choose quantisation nf4"),
        (NF4, {"method": "full"}, "is stored in 4 bits .*cannot be trained in full"),
        (NF4 | {"bnb_4bit_quant_type": "fp4"}, {"quantisation": "nf4"}, "is stored quantised by bitsandbytes"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, {}, "is stored quantised by bitsandbytes"),
        ({"quant_method": "gptq", "bits": 4}, {}, "is stored quantised in 4 bits by gptq .*unquantised model"),
        ({"quant_method": "awq"}, {"quantisation": "nf4"}, "is stored quantised by awq"),
        ({"quant_method": "fp8"}, {}, "is stored quantised by fp8"),
    ],
    ids=["nf4", "nf4 in full", "fp4", "8 bits", "gptq", "awq", "fp8"],
)
def test_weights_stored_quantised_are_refused_with_how_they_are_stored(
    ws: Workspace, folder: Path, stored: dict[str, Any], settings: dict[str, Any], sentence: str
) -> None:
    write(folder / "config.json", quantization_config=stored)
    refused(ws, folder, sentence, **settings)


@pytest.mark.parametrize("name", ["quantize_config.json", "quant_config.json"])
def test_a_quantised_folder_that_says_so_in_a_file_of_its_own_is_refused(
    ws: Workspace, folder: Path, name: str
) -> None:
    write(folder / name, bits=4)
    refused(ws, folder, r"is stored quantised in 4 bits by (gptq|awq) .*unquantised model")


@pytest.mark.parametrize("dtype", ["I8", "U32", "F8_E4M3"])
def test_weights_that_are_no_plain_numbers_are_refused_though_no_file_says_how_they_were_quantised(
    ws: Workspace, folder: Path, dtype: str
) -> None:
    safetensors(folder / "model.safetensors", ["a.weight"], dtype)
    refused(ws, folder, rf"is stored quantised by an unknown method \(its a.weight are {dtype} numbers\)")
    safetensors(folder / "model.safetensors", ["attn.mask"], dtype)
    assert runs.create(ws, SFTConfig(base_model=str(folder))).state == "queued", "a mask is no weight"


def test_a_base_stored_in_nf4_is_taken_with_nf4(ws: Workspace, folder: Path) -> None:
    write(folder / "config.json", quantization_config=NF4)
    assert runs.create(ws, SFTConfig(base_model=str(folder), quantisation="nf4")).state == "queued"


@pytest.mark.parametrize("lacking", ["sentencepiece", "google.protobuf"])
def test_a_sentencepiece_tokenizer_names_the_package_that_reads_it(
    ws: Workspace, folder: Path, lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")
    assert base_models.resolve(str(folder))
    for name in [name for name in sys.modules if name == lacking or name.startswith(f"{lacking}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == lacking else object())
    package = lacking.removeprefix("google.")
    refused(ws, folder, rf"is a SentencePiece file, .*{package} must be installed: pip install {package}")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"model_type": "bloom"}, r"\(bloom\) has no position ids: choose a decoder-only model"),
        ({"model_type": "mamba"}, r"\(mamba\) has no attention layers"),
        ({"model_type": "bert"}, r"\(bert\) is an encoder"),
        ({"model_type": "t5", "is_encoder_decoder": True}, r"\(t5\) has an encoder and a decoder"),
        (
            {"model_type": "lfm2", "layer_types": ["conv", "full_attention"]},
            r"has layers that are not attention \(conv\)",
        ),
        (
            {"model_type": "new", "text_config": {"layer_types": ["linear_attention"]}},
            r"not attention \(linear_attention\)",
        ),
    ],
    ids=["alibi", "state space", "encoder", "both", "convolutions", "inside a text_config"],
)
def test_families_that_cannot_be_trained_are_refused_from_their_config(
    ws: Workspace, folder: Path, config: dict[str, Any], sentence: str
) -> None:
    write(folder / "config.json", **config)
    refused(ws, folder, sentence)


@pytest.mark.parametrize("where", ["tokenizer.json", "tokenizer_config.json"])
def test_a_turn_marker_beyond_the_embedding_is_named_with_its_id_and_the_rows(
    ws: Workspace, folder: Path, where: str
) -> None:
    write(folder / "tokenizer_config.json", chat_template="{% for m in messages %}<|turn|>{{ m.content }}{% endfor %}")
    if where == "tokenizer.json":
        write(folder / where, added_tokens=[{"id": 8, "content": "<|turn|>"}, {"id": 9, "content": "<|unused|>"}])
    else:
        write(folder / where, added_tokens_decoder={"8": {"content": "<|turn|>"}, "9": {"content": "<|unused|>"}})
    refused(ws, folder, r"writes the token '<\|turn\|>' as id 8, but the model has 8 rows .*another chat template")
    assert runs.create(ws, SFTConfig(base_model=str(folder), chat_template="plain")).state == "queued"


def test_an_adapter_given_as_a_base_model_is_called_one(ws: Workspace, folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    refused(ws, folder, "holds an adapter .*next to a model")
    (folder / "config.json").unlink()
    refused(ws, folder, "holds an adapter, not a model")


@pytest.mark.parametrize(
    "name", ["x" * 5000, "~nobody-of-this-name/model", "a\0b", "y/" * 3000], ids=["long", "home", "null", "deep"]
)
def test_a_name_that_can_be_no_path_gets_a_short_sentence(ws: Workspace, name: str) -> None:
    with pytest.raises(BaseModelError, match="is neither a folder nor a hub id") as error:
        runs.create(ws, SFTConfig(base_model=name))
    assert len(str(error.value)) < 500
    with pytest.raises(RewardError, match="There is no classifier"):
        reward_sources._classifier(name)


LAYERS = {"model_type": "llama", "vocab_size": 8, "max_position_embeddings": 48, "num_hidden_layers": 3}
WHOLE = [
    "model.embed_tokens.weight",
    "lm_head.weight",
    *(f"model.layers.{n}.{name}" for n in range(3) for name in ("a", "b")),
]


@pytest.mark.parametrize(
    ("names", "settings", "sentence"),
    [
        ([n for n in WHOLE if n != "model.layers.1.b"], {}, r"lacks the weights \(model\.layers\.1\.b\)"),
        (
            [n for n in WHOLE if "layers.2" not in n],
            {},
            r"lacks 2 weights \(model\.layers\.2\.a, model\.layers\.2\.b\)",
        ),
        (WHOLE[:1] + WHOLE[2:], {"tie_word_embeddings": False}, r"lacks the weights \(lm_head\.weight\)"),
        (
            [f"base_model.model.{n}" for n in WHOLE],
            {},
            "name weights in another way than its family, such as base_model",
        ),
    ],
    ids=["one of a layer", "a layer", "the output layer", "all, by their names"],
)
def test_weights_that_are_missing_or_no_numbers_are_refused_before_a_run_is_made(
    ws: Workspace, folder: Path, names: list[str], settings: dict[str, Any], sentence: str
) -> None:
    write(folder / "config.json", **LAYERS)
    safetensors(folder / "model.safetensors", WHOLE)
    base_models.check(str(folder), "lora", "none", "plain")
    write(folder / "config.json", **settings)
    safetensors(folder / "model.safetensors", names)
    refused(ws, folder, sentence)


def test_a_weight_that_the_index_names_and_its_file_lacks_is_named(ws: Workspace, folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    write(folder / "model.safetensors.index.json", weight_map={"a": "model-1.safetensors", "c": "model-1.safetensors"})
    refused(ws, folder, r"lacks the weights \(c\)")


@pytest.mark.parametrize(("dtype", "width", "bits"), [("BF16", 2, b"\x80\x7f"), ("F16", 2, b"\x01\x7c"), ("F32", 4, b"\0\0\xc0\xff"), ("F64", 8, b"\0" * 6 + b"\xf0\x7f")])  # fmt: skip
def test_a_weight_that_is_no_number_is_found_wherever_it_stands_and_the_largest_numbers_are_numbers(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, width: int, bits: bytes
) -> None:
    monkeypatch.setattr(finite, "BLOCK", 256)  # of which one tensor takes several
    names = [f"w{n}" for n in range(50)]
    safetensors(folder / "model.safetensors", names, dtype, width)
    raw = bytearray((folder / "model.safetensors").read_bytes())
    at = len(raw) - 25 * width
    largest = (
        bytes(bits[:-2]) + {"F16": b"\xff\x7b", "BF16": b"\x7f\x7f", "F32": b"\x7f\x7f", "F64": b"\xef\x7f"}[dtype]
    )
    for number, name in ((largest, ""), (bits, "w25")):
        raw[at : at + width] = number
        (folder / "model.safetensors").write_bytes(raw)
        assert finite.find(folder, 30.0) == name
    refused(ws, folder, "its weights w25 hold NaN or infinity.*Fetch it again")
    assert finite.find(folder, 0.0) == "w25", "a small model is read whole, however busy the machine is"
    monkeypatch.setattr(finite, "ALWAYS", 0)
    assert finite.find(folder, 0.0) == "", "what it does not come to in time is met when the model is loaded"


def words(folder: Path, ids: dict[str, int], added: dict[str, int]) -> None:
    """Write a tokenizer that knows these words, and others that were added to them."""
    tokenizer = Tokenizer(WordLevel(ids, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    content = json.loads(tokenizer.to_str())
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    content["added_tokens"] = [{"id": number, "content": word} | flags for word, number in added.items()]
    (folder / "tokenizer.json").write_text(json.dumps(content))


@pytest.mark.parametrize("is_added", [False, True], ids=["of the vocabulary", "added"])
def test_a_word_of_a_text_without_an_embedding_row_is_named_before_a_run_is_made(
    ws: Workspace, folder: Path, is_added: bool
) -> None:
    ids = {word: number for number, word in enumerate(["?", "Name", "a", "Blue", ".", "red", "green", "grey"])}
    words(folder, ids | ({} if is_added else {"Unused": 8}), {"Unseen": 8} if is_added else {})
    assert runs.create(ws, SFTConfig(base_model=str(folder))).state == "queued", "no text holds the word"
    [run] = stored.read(ws, runs.list_all)
    words(folder, ids | ({} if is_added else {"fruit": 8}), {"fruit": 8} if is_added else {})
    with pytest.raises(
        BaseModelError,
        match=r"writes the token 'fruit' as id 8, but the model has 8 rows in its embedding.*resize_token_embeddings",
    ):
        runs.create(ws, SFTConfig(base_model=str(folder)))
    assert [found.name for found in stored.read(ws, runs.list_all)] == [run.name]
