"""Chats of several turns go through the whole loop: import, SFT, pairs, a vote in a conversation, reward model, PPO."""

import io
import json
import re

import pytest

from studio.chat import conversations, turns
from studio.cli import main
from studio.models import checkpoints
from studio.preferences import comparisons, prompts, ratings
from studio.runs import rollouts, runs
from studio.workspace import Workspace
from tests.support import stored, warm
from tests.test_readme_commands import TINY

ANIMALS = (
    "fox",
    "wolf",
    "hare",
    "goat",
    "crow",
    "deer",
    "duck",
    "frog",
    "mole",
    "newt",
    "seal",
    "swan",
    "toad",
    "wren",
    "bear",
    "bull",
)


@pytest.fixture
def ws(tmp_path):
    ws = Workspace.open(tmp_path / "studio")
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Where is the {animal}?"},
                {"role": "assistant", "content": f"The {animal} is in the wood."},
                {"role": "user", "content": "What does it do there?"},
                {"role": "assistant", "content": f"It sleeps, as every {animal} does."},
            ],
            "split": "validation" if animal == "bull" else "train",
        }
        for animal in ANIMALS
    ]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ws


@pytest.fixture
def cli(ws, capsys, monkeypatch):
    def call(*words, typed=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        small = [part for setting in TINY.get(words[0], "").split() for part in ("--set", setting)]
        code = main([*words, *small, "--workspace", str(ws.root)])
        captured = capsys.readouterr()
        assert code == 0, captured.out + captured.err
        return captured.out

    return call


def is_of_several_turns(messages):
    return [turn["role"] for turn in messages] == ["user", "assistant", "user"]


def test_chats_of_several_turns_go_through_all_stages(ws, cli, tmp_path):
    with warm.starts():
        assert "16 new demonstrations" in cli("import", str(tmp_path / "chats.jsonl"))
        taught = "".join(re.findall("⟦(.*?)⟧", cli("sft", "--show"), flags=re.DOTALL))
        assert re.search("is in the wood.*sleeps, as every", taught, flags=re.DOTALL), "both answers are taught"
        cli("sft")
        (row, *_) = runs.read_rows(ws, "sft-1", "train")
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"] * 2
        cli("sample")
        pairs = stored.comparisons(ws)
        assert pairs
        assert all(is_of_several_turns(pair["messages"]) for pair in pairs)
        while showing := stored.written(ws, comparisons.next_showing):
            stored.written(ws, ratings.record, showing.id, "left", strength=2)
        cli(
            "chat",
            "sft-1",
            "--temperature",
            "2",
            "--seed",
            "3",
            typed="Where is the fox?\nWhat does it do there?\n/ideal It digs.\n",
        )
        asked = stored.read(ws, turns.branch, stored.read(ws, conversations.get, 1).leaf_id)
        (ideal,) = [each for each in stored.read(ws, prompts.list_demonstrations) if each.response == "It digs."]
        assert ideal.messages[1]["content"] == asked[1].text.strip()
        cli("reward")
        trained = [row for split in ("train", "validation") for row in runs.read_rows(ws, "reward-1", split)]
        assert all(is_of_several_turns(row["messages"]) for row in trained)
        assert "It digs." in {row["chosen"] for row in trained}, "what was said in a conversation is trained on"
        cli("ppo")
        assert all(is_of_several_turns(row["messages"]) for row in runs.read_rows(ws, "ppo-1", "prompts"))
        assert stored.read(ws, rollouts.count, stored.read(ws, runs.get, "ppo-1").id) == 8
    assert [each.name for each in stored.read(ws, checkpoints.list_all, "ppo")] == ["ppo-1@1"]
