"""Export: files carry what they promise, count what they cannot, and exported models open with plain peft and transformers."""

import importlib
import json
import re

import pytest

from assets import STARTER
from modules.config import SFTConfig
from studio.datasets import exporting, importing
from studio.errors import CheckpointError, DataError, WorkspaceError
from studio.models import checkpoints, export
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.runs import runs
from studio.workspace import Workspace
from tests.support import stored

# peft reads a property that transformers renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
CHAT = [{"role": "user", "content": "What is the capital of Spain?"}, {"role": "assistant", "content": "Madrid."}]


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture
def rated(ws):
    """Seven comparisons: better, worse, tie, both bad, skip, one undone, and an import."""
    with ws.write() as db:
        for number in range(6):
            prompt = NewPrompt([{"role": "user", "content": f"Question {number}"}], f"kind {number % 2}", "train")
            prompt_id = prompts.add_prompt(db, prompt)
            pair = [prompts.add_response(db, prompt_id, f"{side} {number}", "import") for side in ("one", "two")]
            comparisons.add_comparison(db, prompt_id, (pair[0], pair[1]))
    for outcome, strength in (
        ("left", 3),
        ("right", None),
        ("tie", None),
        ("both_bad", None),
        ("skip", None),
        ("left", 1),
    ):
        showing = stored.written(ws, comparisons.next_showing)
        assert showing is not None
        stored.written(ws, ratings.record, showing.id, outcome, strength=strength, elapsed_ms=900)
    stored.undone(ws)
    row = {"prompt": "Imported", "chosen": "yes", "rejected": "no", "split": "test"}
    source = ws.root / "import.jsonl"
    source.write_text(json.dumps(row) + "\n")
    importing.import_source(ws, str(source))
    return ws


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# Ratings and demonstrations.


def test_the_native_export_has_every_event_showing_and_text(rated):
    rows = lines(exporting.export_ratings(rated))
    assert len(rows) == 7
    assert sum(len(row["showings"]) for row in rows) == 6
    events = sorted((event for row in rows for event in row["events"]), key=lambda event: event["id"])
    here = stored.read(rated, ratings.list_events, limit=-1)
    assert events == [{name: value for name, value in event.items() if name != "comparison_id"} for event in here]
    assert [response["text"] for response in rows[0]["responses"]] == ["one 0", "two 0"]
    assert rows[0]["messages"] == [{"role": "user", "content": "Question 0"}]


def test_export_import_export_is_a_fixed_point(rated, tmp_path):
    first = exporting.export_ratings(rated)
    other = Workspace.open(tmp_path / "other")
    assert importing.import_source(other, str(first)).dropped == {}
    before, after = stored.read(rated, ratings.summary), stored.read(other, ratings.summary)
    assert (after["tie"], after["both_bad"]) == (1, 1)
    assert stored.read(other, comparisons.counts)["unrated"] == 1
    assert after["left"] + after["right"] == before["left"] + before["right"] == 3


def test_demonstrations_come_back_as_they_went(ws, tmp_path):
    stored.written(ws, prompts.add_demonstration, CHAT[:1], "Madrid.", category="capital")
    stored.written(ws, prompts.add_demonstration, [*CHAT, {"role": "user", "content": "And of Ünïcode?"}], "Nowhere.")
    path = exporting.export_demonstrations(ws)
    assert lines(path)[0]["messages"] == CHAT
    other = Workspace.open(tmp_path / "other")
    assert importing.import_source(other, str(path)).num_new == 2
    assert exporting.export_demonstrations(other).read_bytes() == path.read_bytes()


def test_an_empty_workspace_has_nothing_to_export_and_no_file_appears(ws):
    for write in (exporting.export_ratings, exporting.export_demonstrations):
        with pytest.raises(DataError, match="There are no"):
            write(ws)
    assert list(ws.exports.iterdir()) == []


# Models.


def make_checkpoint(ws, role, *, quantisation="none", seed=0):
    """A checkpoint with a random adapter, made without training; returns its name and the backbone that holds the role."""
    torch = importlib.import_module("torch")
    from modules.model.backbone import Backbone
    from modules.model.checkpoint import CheckpointMeta

    torch.manual_seed(seed)
    base = STARTER / "model"
    backbone = Backbone.load(str(base), quantisation=quantisation, device="cpu", lora_rank=4)
    backbone.add_role(role, trainable=True, head=role == "reward")
    for name, parameter in backbone.role_parameters(role).items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    stored.written(ws, prompts.add_demonstration, CHAT[:1], "Madrid.")
    run = runs.create(ws, SFTConfig(seed=3))
    folder = runs.folder(ws, run.name) / "checkpoints" / "step-1"
    backbone.save_role(role, folder / role)
    (folder / "state.safetensors").write_bytes(b"optimizer")
    meta = CheckpointMeta(
        stage="reward" if role == "reward" else "sft",
        step=1,
        base_model=str(base),
        base_fingerprint=backbone.fingerprint,
        method="lora",
        quantisation=quantisation,
        chat_template=backbone.chat.template,
        roles=(role,),
        config=run.config.model_dump(mode="json"),
    )
    (folder / "meta.json").write_text(meta.model_dump_json())
    figures = {"base_model": "starter", "base_fingerprint": backbone.fingerprint, "metrics": {"eval/loss": 1.5}}
    name = stored.written(ws, checkpoints.add, run.id, 1, folder, **figures)
    stored.written(ws, runs.move, run.id, "running")
    stored.written(ws, runs.move, run.id, "finished")
    return name, backbone


def logits(model, ids):
    import torch

    with torch.no_grad():
        return model(input_ids=ids).logits.float()


def role_logits(backbone, role, ids):
    import torch

    with torch.no_grad(), backbone.role(role):
        return backbone.logits(backbone.hidden(ids))


def chat_ids(backbone):
    import torch

    return torch.tensor([backbone.chat.encode_conversation(CHAT).ids])


def test_an_exported_adapter_opens_with_plain_peft_and_gives_the_same_logits(ws):
    name, backbone = make_checkpoint(ws, "policy")
    folder = export.export_checkpoint(ws, name)
    assert folder == ws.exports / name
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "README.md",
        "policy/adapter_config.json",
        "policy/adapter_model.safetensors",
    }
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    where = json.loads((folder / "policy" / "adapter_config.json").read_text())["base_model_name_or_path"]
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(where), str(folder / "policy")).eval()
    ids = chat_ids(backbone)
    assert logits(model, ids).sub(role_logits(backbone, "policy", ids)).abs().max() < 1e-4


def test_item_31_a_merged_4_bit_model_is_dequantised_and_states_how_far_its_logits_moved(ws):
    name, backbone = make_checkpoint(ws, "policy", quantisation="nf4")
    folder = export.export_checkpoint(ws, name, is_merged=True)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    ids = chat_ids(backbone)
    moved = float(logits(model, ids).sub(role_logits(backbone, "policy", ids)).abs().max())
    card = (folder / "README.md").read_text()
    stated = re.search(
        r"changed no logit by more than (\S+) \(largest logit: .*the 4-bit base was dequantised first", card
    )
    assert stated is not None
    assert moved <= 10 * float(stated[1]) < 0.1
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rendered = tokenizer.apply_chat_template(CHAT[:1], add_generation_prompt=True, return_dict=False)
    assert rendered == backbone.chat.encode_prompt(CHAT[:1]).ids
    assert set(model.generation_config.eos_token_id) == backbone.chat.stop_ids


@pytest.mark.parametrize("is_merged", [False, True])
def test_the_card_of_a_reward_model_tells_how_to_score_and_it_is_true(ws, monkeypatch, is_merged):
    import torch

    name, backbone = make_checkpoint(ws, "reward")
    with ws.write() as db:
        db.table("runs").update(1, {"stage": "reward", "config": "{}"})
    monkeypatch.setattr(export, "_merge", merge_here)
    folder = export.export_checkpoint(ws, name, is_merged)
    card = (folder / "README.md").read_text()
    snippet = re.search(r"```python\n(.*?)```", card, flags=re.S)
    assert snippet is not None
    ids = chat_ids(backbone)
    monkeypatch.chdir(folder)
    names = {"ids": ids}
    with torch.no_grad():
        exec(snippet[1], names)
        with backbone.role("reward"):
            expected = backbone.scores(ids, torch.tensor([ids.shape[1]]))
    found = names["scores"][0] if is_merged else names["score"]
    assert float(found) == pytest.approx(float(expected), abs=1e-5)
    assert "Caution" not in card


def merge_here(_ws, source, folder, _device):
    """The merge in this process: it has loaded torch already, a child would take seconds."""
    from studio.worker import merge

    return merge.merge(source, folder)


@pytest.mark.parametrize("template", ["chatml", "plain"])
def test_a_merged_model_carries_the_built_in_chat_format_it_was_trained_with(tmp_path, template):
    importlib.import_module("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from modules.data.chat import ChatFormat
    from modules.model.pretrained import end_ids
    from studio.worker import merge

    base = STARTER / "model"
    model = AutoModelForCausalLM.from_pretrained(base)
    dressed = AutoTokenizer.from_pretrained(base)
    chat = ChatFormat(dressed, template, end_ids(model.config, base))
    merge._dress(dressed, model, chat)
    dressed.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = tokenizer.apply_chat_template([*CHAT, CHAT[0]], add_generation_prompt=True, tokenize=False)
    assert text == tokenizer.decode(chat.encode_prompt([*CHAT, CHAT[0]]).ids)


def test_the_card_names_base_lineage_figures_and_settings(ws):
    name, _ = make_checkpoint(ws, "policy")
    card = (export.export_checkpoint(ws, name) / "README.md").read_text()
    for fact in (f"# {name}", "a language model fine-tuned on demonstrations", "| eval/loss | 1.5 |", '"seed": 3'):
        assert fact in card


def test_a_failed_export_leaves_the_earlier_one_whole_and_no_remains(ws, monkeypatch):
    name, _ = make_checkpoint(ws, "policy")
    folder = export.export_checkpoint(ws, name)
    before = sorted(folder.rglob("*"))

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "model_card", fail)
    with pytest.raises(WorkspaceError, match=f"The export {name} could not be written: No space left on device"):
        export.export_checkpoint(ws, name)
    assert sorted(folder.rglob("*")) == before
    assert [path.name for path in ws.exports.iterdir()] == [name]


def test_a_damaged_checkpoint_is_refused_by_name(ws):
    name, _ = make_checkpoint(ws, "policy")
    (stored.read(ws, checkpoints.get, name).folder / "meta.json").write_text("{")
    with pytest.raises(CheckpointError, match=f"Checkpoint {name} is damaged"):
        export.export_checkpoint(ws, name)
    assert list(ws.exports.iterdir()) == []


def test_an_unknown_checkpoint_is_refused_with_the_known_ones(ws):
    with pytest.raises(CheckpointError, match=r"no checkpoint named 'sft-9'\. Newest ones: none yet"):
        export.export_checkpoint(ws, "sft-9")
