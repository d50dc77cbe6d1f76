"""Rewards of a run: which files and models it may name, and a PPO run by a function alone through the real worker."""

import json

import pytest

from modules.config import PPOConfig, SFTConfig
from studio.cli import main
from studio.errors import BaseModelError, CheckpointError, ConfigError, RewardError
from studio.models import checkpoints
from studio.preferences import prompts
from studio.runs import metrics, runs
from studio.workspace import Workspace
from tests.support import stored, warm

TINY = ["lora_rank=4", "batch_size=8", "micro_batch_size=8", "max_length=128"]
SHORT = "def short(prompts, responses):\n    return [float(-len(response)) for response in responses]\n"


@pytest.fixture(autouse=True)
def quick_starts():
    with warm.starts():
        yield


@pytest.fixture
def ws(tmp_path):
    """A workspace with texts, and an SFT checkpoint that is a row with an empty folder."""
    workspace = Workspace.open(tmp_path / "studio")
    for number in range(12):
        stored.written(
            workspace,
            prompts.add_demonstration,
            [{"role": "user", "content": f"What is {number}?"}],
            f"It is {number}.",
        )
    run = runs.create(workspace, SFTConfig())
    stored.written(workspace, runs.move, run.id, "running")
    stored.written(workspace, runs.move, run.id, "finished")
    folder = runs.folder(workspace, run.name) / "checkpoints" / "step-1"
    folder.mkdir(parents=True)
    stored.written(
        workspace, checkpoints.add, run.id, 1, folder, base_model="starter", base_fingerprint="f", metrics={}
    )
    (workspace.rewards / "short.py").write_text(SHORT)
    return workspace


def hostile_files(ws):
    """Names that lead out of rewards/, each to a file that exists."""
    outside = ws.root.parent / "outside.py"
    outside.write_text(SHORT)
    (ws.root / "beside.py").write_text(SHORT)
    (ws.rewards / "link.py").symlink_to(outside)
    (ws.rewards / "folder").symlink_to(ws.root.parent)
    return [
        str(outside),
        "../beside.py",
        "sub/../../beside.py",
        "link.py",
        "folder/outside.py",
        f"{ws.rewards}/../beside.py",
    ]


def test_a_function_outside_the_folder_is_never_taken_whatever_leads_there(ws):
    for file in hostile_files(ws):
        with pytest.raises(RewardError, match=r"is outside .*rewards\. A run executes it"):
            runs.create(ws, PPOConfig(rewards=f"function:{file}:short"))
    assert [run.stage for run in stored.read(ws, runs.list_all)] == ["sft"]


def test_a_rewards_folder_that_is_itself_a_link_is_refused(ws):
    ws.rewards.rename(ws.root.parent / "moved")
    ws.rewards.symlink_to(ws.root.parent / "moved")
    with pytest.raises(RewardError, match="is outside"):
        runs.create(ws, PPOConfig(rewards="function:short.py:short"))


def test_what_is_no_file_of_code_is_refused_with_those_that_are_there(ws):
    with pytest.raises(RewardError, match=r"There is no reward file other\.py in .* \(there: short\.py\)"):
        runs.create(ws, PPOConfig(rewards="function:other.py:short"))
    (ws.rewards / "folder.py").mkdir()
    with pytest.raises(RewardError, match=r"There is no reward file folder\.py"):
        runs.create(ws, PPOConfig(rewards="function:folder.py:short"))
    (ws.rewards / "large.py").write_text("#" * 2**21)
    with pytest.raises(RewardError, match="larger than 1 MiB"):
        runs.create(ws, PPOConfig(rewards="function:large.py:short"))
    (ws.rewards / "bytes.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RewardError, match="cannot be read as text"):
        runs.create(ws, PPOConfig(rewards="function:bytes.py:short"))


def test_a_function_that_the_file_does_not_bind_is_refused_before_there_is_a_run(ws):
    with pytest.raises(RewardError, match=r"There is no function brief in short\.py \(there: short\)"):
        runs.create(ws, PPOConfig(rewards="function:short.py:short + function:short.py:brief*0.1"))
    (ws.rewards / "torn.py").write_text("def short(prompts, responses:")
    with pytest.raises(RewardError, match=r"The reward file torn\.py is not valid Python: .*line 1"):
        runs.create(ws, PPOConfig(rewards="function:torn.py:short"))
    assert {run.stage for run in stored.read(ws, runs.list_all)} == {"sft"}
    for text in (
        "from x import short",
        "from x import *",
        "short = lambda p, r: r",
        "try:\n    import x as short\nexcept E: 0",
    ):
        (ws.rewards / "torn.py").write_text(text)
        runs.create(ws, PPOConfig(rewards="function:torn.py:short"))


def test_a_classifier_is_a_local_model_folder_or_a_hub_id(ws, tmp_path, monkeypatch):
    (tmp_path / "notes").mkdir()
    with pytest.raises(BaseModelError, match=r"has no config\.json"):
        runs.create(ws, PPOConfig(rewards=f"classifier:{tmp_path / 'notes'}"))
    with pytest.raises(RewardError, match="starter is a language model, not a classifier"):
        runs.create(ws, PPOConfig(rewards="classifier:starter"))
    with pytest.raises(
        RewardError, match="There is no classifier '/no/such/folder': it is neither a folder nor a hub id"
    ):
        runs.create(ws, PPOConfig(rewards="classifier:/no/such/folder"))
    model = tmp_path / "judge"
    model.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (model / name).write_text("{}")
    (model / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    monkeypatch.chdir(tmp_path)
    run = runs.create(ws, PPOConfig(rewards="classifier:judge#good*0.5 + classifier:Org/judge"))
    assert run.config.rewards == f"classifier:{model}#good*0.5 + classifier:Org/judge*1.0"


def test_without_a_reward_term_no_reward_checkpoint_is_asked_for(ws):
    with pytest.raises(CheckpointError, match="There is no checkpoint of the reward model yet"):
        runs.create(ws, PPOConfig(rewards="function:short.py:short + reward"))
    run = runs.create(ws, PPOConfig(rewards="function:short.py:short"))
    assert stored.read(ws, runs.parents_of, run).keys() == {"sft", "policy"}
    with pytest.raises(ConfigError, match=r"rewards has no term reward: add one, such as reward \+ function"):
        runs.create(ws, PPOConfig(rewards="function:short.py:short", reward_checkpoint="reward-1"))


def test_the_functions_text_is_frozen_with_the_run_and_goes_on_with_it(ws):
    run = runs.create(ws, PPOConfig(rewards="function:short.py:short"))
    (ws.rewards / "short.py").write_text("def short(prompts, responses): return [0.0] * len(responses)")
    assert runs.read_rows(ws, run.name, "rewards") == [{"file": "short.py", "source": SHORT}]
    stored.written(ws, runs.move, run.id, "running")
    stored.written(ws, runs.move, run.id, "stopped")
    folder = runs.folder(ws, run.name) / "checkpoints" / "step-1"
    folder.mkdir(parents=True)
    stored.written(ws, checkpoints.add, run.id, 1, folder, base_model="starter", base_fingerprint="f", metrics={})
    assert runs.read_rows(ws, runs.resume(ws, run.name).name, "rewards")[0]["source"] == SHORT


def test_the_command_line_says_what_is_wrong_with_a_reward(ws, capsys):
    assert main(["ppo", "--set", "rewards=short.py", "--workspace", str(ws.root)]) == 1
    told = capsys.readouterr().err
    assert told.startswith("ppo: rewards = short.py is not possible: the term 'short.py' is not reward, classifier")


@pytest.mark.timeout(900)
def test_ppo_runs_on_a_function_alone_through_the_command_line_and_a_worker(tmp_path, capsys):
    workspace = Workspace.open(tmp_path / "studio")
    for number in range(24):
        stored.written(
            workspace,
            prompts.add_demonstration,
            [{"role": "user", "content": f"What is {number}?"}],
            f"It is {number}.",
        )
    place = ["--workspace", str(workspace.root)]
    tiny = [word for setting in TINY for word in ("--set", setting)]
    assert main(["sft", *tiny, "--set", "epochs=1", *place]) == 0
    (workspace.rewards / "short.py").write_text(SHORT)
    ppo = [*tiny, *(f"--set={s}" for s in ("iterations=2", "epochs=1", "max_new_tokens=8", "eval_every=1"))]
    assert main(["ppo", *ppo, "--set", "rewards=function:short.py:short*0.5", *place]) == 0
    run = stored.read(workspace, runs.get, "ppo-1")
    lengths = dict(stored.read(workspace, metrics.curve, run.id, "reward/short"))
    assert list(lengths) == [1, 2]
    scores = dict(stored.read(workspace, metrics.curve, run.id, "objective/score"))
    assert scores == pytest.approx({step: 0.5 * value for step, value in lengths.items()})
    assert stored.read(workspace, checkpoints.get, "ppo-1").step == 2
    sample = stored.read(workspace, metrics.list_samples, run.id)[0]
    assert json.loads(sample["components"]) == {"short": float(-len(sample["response"]))}
    check_rollouts_at_the_terminal(workspace, capsys, lengths)


def check_rollouts_at_the_terminal(workspace, capsys, lengths):
    place = ["--workspace", str(workspace.root)]
    capsys.readouterr()
    assert main(["runs", "rollouts", "ppo-1", "--iteration", "2", "--sort", "score", "--json", *place]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 8
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert sum(row["components"]["short"] for row in rows) / 8 == pytest.approx(lengths[2])
    assert all(row["components"] == {"short": -len(row["response"])} for row in rows)
    assert all(row["score"] == pytest.approx(-0.5 * len(row["response"])) for row in rows)
    assert main(["runs", "rollouts", "ppo-1", "--tokens", str(rows[0]["id"]), "--json", *place]) == 0
    tokens = json.loads(capsys.readouterr().out)["tokens"]
    assert "".join(token["text"] for token in tokens).startswith(rows[0]["response"])
    assert sum(token["logprob"] - token["ref_logprob"] for token in tokens) == pytest.approx(rows[0]["kl"], abs=1e-4)
