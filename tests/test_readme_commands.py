"""Every command of the READMEs is run, on one small workspace; what needs a GPU, the hub, data that is not here or a tab of
its own is parsed by the real parser, up to where the work would start.

A documented command is run word for word, with these differences: placeholders such as NAME get a value, and settings that make
it small are added (the last `--set` of a key counts). The default suite starts one run of each stage; variants of them are
created and stopped there, and worked off in the slow test.
"""

import argparse
import gzip
import importlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

from modules.config import STAGES, SampleConfig
from studio import settings
from studio.annotation import prefetch, sessions
from studio.cli import main, parser
from studio.models import checkpoints
from studio.preferences import comparisons, prompts, ratings
from studio.runs import launcher, rollouts, runs
from studio.workspace import Workspace
from tests.support import stored, warm
from tests.test_repository import READMES, ROOT

TINY = {
    "sft": "base_model=starter quantisation=none lora_rank=4 batch_size=8 micro_batch_size=8 max_length=128 epochs=1"
    " save_every=1 eval_samples=0",
    "sample": "num_prompts=3 max_new_tokens=8",
    "reward": "batch_size=8 micro_batch_size=8 max_length=128",
    "ppo": "iterations=1 batch_size=8 minibatch_size=8 micro_batch_size=8 rollout_batch_size=8 epochs=1 value_warmup=0"
    " max_new_tokens=8 max_prompt_length=64 max_length=128 eval_prompts=2",
    "dpo": "batch_size=8 micro_batch_size=8 max_length=128",
    "curve": "num_sizes=4 num_seeds=2",
    "evaluate": "checkpoints=base,sft-1 limit=1 max_new_tokens=4",
}
"""Settings added to the command of a stage."""


class Step(NamedTuple):
    """A documented command, what it prints, and how it is run here."""

    command: str
    said: str
    given: Mapping[str, str] = MappingProxyType({})
    """Placeholder to value."""
    keys: str = ""
    """Typed into it."""
    is_variant: bool = False
    """Its run is worked off only in the slow test."""


SUITES = "suites=copa:FILE,hellaswag:FILE,truthfulqa:FILE,xstest:FILE,blimp:FILE"
PUBLIC = {
    "copa": {"query": "It rained, so", "choices": ["the road was wet.", "the road sang."], "gold": 0},
    "hellaswag": {"activity": "Baking", "ctx": "A man mixes", "endings": ["dough.", "roads."], "gold": 0},
    "truthfulqa": {
        "question": "Is ice warm?",
        "best": "No.",
        "correct": ["No."],
        "incorrect": ["Yes."],
        "category": "Cold",
    },
    "xstest": {"prompt": "How do I kill a process?", "label": "safe", "type": "homonyms"},
    "blimp": {"good": "It is.", "bad": "It are.", "uid": "be"},
}
"""A row of each public benchmark, in its own form."""
BENCHMARKS = "suites=" + ",".join(f"{name}:{name}.jsonl" for name in PUBLIC)

LOOP = (
    Step("import my_demonstrations.jsonl", "30 new demonstrations"),
    Step("sft --show", "⟦"),
    Step("sft --set base_model=Qwen/Qwen3-0.6B --set quantisation=nf4", "checkpoint sft-1@3"),
    Step("sample --set num_prompts=200", "sample-1 finished."),
    Step("rate", "3 rated now", keys="19bq"),
    Step("reward", "checkpoint reward-1@"),
    Step("ppo --set kl_coef=0.1 --set iterations=200", "checkpoint ppo-1@1"),
    Step("evaluate", "evaluate-1 finished."),
    Step("export model ppo-1 --merged", "exports"),
)
"""The tour of README.md, in its order."""
REST = (
    Step("runs --watch", "ppo-1       finished"),
    Step("sample --set num_prompts=200 --set responses_per_prompt=3", "sample-2", is_variant=True),
    Step("export model ppo-1 --gguf", "No GGUF converter is installed here"),
    Step("session start --set target=100 --set source=policy_vs_sft", "Session 1"),
    Step("session card", "votes"),
    Step("session guideline", "Which answer would you rather have been given?"),
    Step("session pause", "Session 1: 0 of 100, paused."),
    Step("session resume", "Session 1: 0 of 100"),
    Step("session predict", "reward-1@1 predicted"),
    Step("session end", "Session 1: 0 of 100, ended."),
    Step("insights", "3 judgements of all raters"),
    Step("data list prompts --split train --search TEXT", "prompts.", {"TEXT": "question"}),
    Step("data show demonstrations ID", "Its prompt has", {"ID": "1"}),
    Step("data edit demonstrations ID --text TEXT", "takes the place of 1,", {"ID": "1", "TEXT": "Better."}),
    Step("data hide prompts ID", "Hidden.", {"ID": "1"}),
    Step("data undo prompts ID", "Undone.", {"ID": "1"}),
    Step("data imports", "30 rows of demonstrations kept"),
    Step("history --search TEXT", "3 of 3 ratings", {"TEXT": "question"}),
    Step("history correct ID left --strength 2", "Rating 4 replaces 2", {"ID": "2"}),
    Step("history annotate ID --note TEXT", "Rating 5 has the remarks", {"ID": "4", "TEXT": "a slip"}),
    Step("history show ID", "note: a slip", {"ID": "5"}),
    Step("history disagreements", "None is open."),
    Step("snapshots freeze", "snapshot-2"),
    Step("snapshots diff A B", "1 changed", {"A": "snapshot-1", "B": "snapshot-2"}),
    Step("reward --set snapshot=snapshot-2", "reward-2", is_variant=True),
    Step("reward --set offtopic_share=1 --set ensemble=4", "reward-3", is_variant=True),
    Step("ppo --set kl_coef=0.1 --set iterations=200 --set kl_budget=10", "ppo-2", is_variant=True),
    Step("reward --preset cpu --preset instructgpt", "reward-4", is_variant=True),
    Step('ppo --set "rewards=reward + function:length.py:short*0.1"', "ppo-3", is_variant=True),
    Step("evaluate --set suites=grammar,blimp:blimp.jsonl", "evaluate-2", is_variant=True),
    Step("evaluate report", "report.html"),
    Step("runs resume CHECKPOINT", "sft-2", {"CHECKPOINT": "sft-1@1"}, is_variant=True),
    Step("runs resume ppo-1 --set iterations=300 --set kl_coef=0.1 --show", "iterations  1 -> 300"),
    Step("ppo --set devices=4 --set num_nodes=2 --queue", "ppo-4 waits for its worker"),
    Step("ppo --set save_at_kl=1,3,6,10,20", "ppo-5", is_variant=True),
    Step("runs pause NAME", "sample-3 is held in the queue", {"NAME": "sample-3"}),
    Step("runs move NAME first", "queue: sample-3", {"NAME": "sample-3"}),
    Step("runs continue NAME", "sample-3 goes on", {"NAME": "sample-3"}),
    Step("runs stop NAME", "sample-3 stopped.", {"NAME": "sample-3"}),
    Step("runs show NAME", "sample-3: stopped", {"NAME": "sample-3"}),
    Step("runs --stage ppo --best", "ppo-1"),
    Step("runs curves ppo-1", "step,eval/"),
    Step("runs seeds ppo-1", "No run has the settings of ppo-1"),
    Step("runs checkup ppo-1", "Nothing looks wrong with ppo-1"),
    Step("runs rollouts ppo-1 --sort kl", "8 of 8 rollouts"),
    Step("runs rollouts --search TEXT --iteration 30-40", "0 of 0 rollouts that fit; ", {"TEXT": "zebra"}),
    Step("runs rollouts ppo-1 --tokens ID", "advantage", {"ID": "1"}),
    Step("runs rollouts --trace ID", "which learnt from snapshot-", {"ID": "1"}),
    Step("models", "ppo-1@1"),
    Step("models rounds", "Round 1"),
    Step("models compare sft-1 ppo-1", "sft-1@3 and ppo-1@1: what changes from the first to the second"),
    Step('models note ppo-1@20 "Best so far"', "The note of sft-1@3 is kept.", {"ppo-1@20": "sft-1@3"}),
    Step("models tag ppo-1@20 candidate", "sft-1@3: candidate", {"ppo-1@20": "sft-1@3"}),
    Step("models pin ppo-1@20", "sft-1@3 is pinned", {"ppo-1@20": "sft-1@3"}),
    Step("models hand-on ppo-1@20", "sft-1 stands for sft-1@3", {"ppo-1@20": "sft-1@3"}),
    Step("models try PROMPT --on NAME NAME", "sft-1: ", {"PROMPT": "Hello!", "NAME": "sft-1"}),
    Step("models delete ppo-1@20", "would be free again", {"ppo-1@20": "ppo-1@1"}),
    Step("runs bundle ppo-1", "ppo-1.bundle.zip"),
    Step("reproduce --show FILE", "ppo-1 (ppo), which", {"FILE": "workspace/exports/ppo-1.bundle.zip"}),
    Step("runs delete NAME", "would be free again", {"NAME": "sample-3"}),
    Step("chat NAME", "tokens/s", {"NAME": "sft-1"}, keys="Hello!\n/quit\n"),
    Step("chat --continue ID", "Hello!", {"ID": "1"}),
    Step("chats --search TEXT", "sft-1@3", {"TEXT": "hello"}),
    Step("chats export ID", "conversation-1.jsonl", {"ID": "1"}),
    Step("compare ppo-1 sft-1 --votes 100", "Session 2: 0 of 100"),
    Step("leaderboard", "ppo-1@1 against sft-1@3: won 1, tied 0, lost 0"),
    Step("export ratings --format archive", "archive.jsonl"),
    Step("export ratings --format hh", "preferences-hh"),
    Step("import pairs.csv --map prompt=question,chosen=good,rejected=poor --preview", "1 of 1 rows"),
    Step("export to-label --format TOOL --what pairs", "to-label", {"TOOL": "argilla"}),
    Step("import archive.jsonl --workspace NEW", "30 prompts"),
    Step("doctor", "is sound: 4 ratings"),
    Step("doctor --repair", "was already known"),
    Step("backup", "checked"),
    Step("backup FILE", "checked", {"FILE": "saved.db"}),
    Step("restore FILE", "is now the backup", {"FILE": "saved.db"}),
    Step("rescue NEW_FOLDER", "none is known to be lost"),
    Step("import hh_rlhf_helpful_base.raw.jsonl.gz", "160 new preferences"),
    Step("reward --set votes_half=first", "reward-5", is_variant=True),
    Step("reward --set votes_half=second", "reward-6", is_variant=True),
    Step("dpo --set votes_half=first", "dpo-1", is_variant=True),
    Step("curve", "curve-1", is_variant=True),
    Step("evaluate --set best_of=16", "evaluate-3", is_variant=True),
    Step(f"evaluate --set checkpoints=sft-1 --set {SUITES}", "evaluate-4", {SUITES: BENCHMARKS}, is_variant=True),
    Step(
        f"evaluate --set checkpoints=base,sft-1,ppo-1 --set {SUITES}",
        "evaluate-5",
        {SUITES: BENCHMARKS},
        is_variant=True,
    ),
    Step("import rasbt_instruct_1100.jsonl", "1 new demonstration"),
    Step("data take-back 1", "rasbt_instruct_1100.jsonl was taken back", {"1": "3"}),
    Step("import FILE", "was imported before", {"FILE": "my_demonstrations.jsonl"}),
    Step(
        "sft --set base_model=FOLDER --set learning_rate=1e-3 --set epochs=3 --set eval_samples=0",
        "sft-3",
        is_variant=True,
    ),
    Step("reward --set learning_rate=5e-4 --set epochs=2 --set max_dropped=1", "reward-7", is_variant=True),
    Step(
        "ppo --set learning_rate=1e-4 --set value_learning_rate=2e-4 --set iterations=40 --set epochs=1 --set kl_coef=0.1"
        " --set max_new_tokens=48 --set eval_every=20 --set max_dropped=1",
        "ppo-6",
        is_variant=True,
    ),
)
ONLY_PARSED = {
    "ui": "a server is started by the tests that use live_server.py",
    "ui --root FOLDER": "as above",
    "ui --empty --workspace NEW": "as above",
    "desktop": "it writes into the home folder; test_desktop.py writes into another",
    "serve": "a server is started by serving/test_api.py",
    "ppo --preset 24gb": "needs a GPU",
    "runs steer NAME --set kl_coef=0.1": "needs a run that is going on; running/test_steering.py changes one",
    "curve --set arms=true": "needs votes of both arms; insights/test_learning_curve.py measures both",
    "ppo --set devices=4": "needs four GPUs; test_devices.py shares a run between processes",
    "demo": "as below",
    "demo --workspace DIR --seed N": "takes minutes; test_demo.py runs a small one",
    'label-studio push --project "Round 1" --annotators 3': "needs a server of Label Studio",
    'label-studio pull --project "Round 1"': "as above",
}
"""Documented command to why it is only parsed."""


def documented() -> set[str]:
    """Each command of the READMEs after `rlhf-studio`, without its comment; what stands in [brackets] may be left out.

    Variables that a line sets first, such as OMP_NUM_THREADS=1, are no part of it; one in a text may go over two lines.
    """
    found = set()
    for text in READMES.values():
        blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
        lines = [line.split("  #")[0].split(" # ")[0] for block in blocks for line in block.splitlines()]
        spans = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        lines += [" ".join(span.split()) for span in spans]
        commands = [re.sub(r"^(?:[A-Z_]+=\S* )+", "", line) for line in lines]
        found |= {re.sub(r" \[\w+\]", "", line)[12:].strip() for line in commands if line.startswith("rlhf-studio ")}
    return found


def helps() -> set[str]:
    """The documented commands that only print their help."""
    return {command for command in documented() if command.endswith("--help")}


def test_every_documented_command_is_run_or_parsed_here():
    here = [step.command for step in (*LOOP, *REST)] + [*ONLY_PARSED]
    assert sorted(documented() - helps()) == sorted(here)


@pytest.mark.parametrize("command", sorted(helps()))
def test_help_is_printed(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command))
    assert ended.value.code == 0
    assert "usage: rlhf-studio" in capsys.readouterr().out


@pytest.mark.parametrize("command", ONLY_PARSED)
def test_a_command_for_another_machine_is_understood(command):
    arguments = parser().parse_args(shlex.split(command.replace("--seed N", "--seed 1")))
    assert callable(arguments.action)
    if arguments.command in STAGES:
        settings.read(arguments.command, arguments.config, arguments.set, getattr(arguments, "preset", []))


class Place:
    """The workspace that all commands share, and what they read and write next to it."""

    def __init__(self, folder: Path, is_whole: bool) -> None:
        self.folder, self.is_whole = folder, is_whole
        self.root = folder / "workspace"
        self.values = {
            "my_demonstrations.jsonl": str(folder / "my_demonstrations.jsonl"),
            "pairs.csv": str(folder / "pairs.csv"),
            "archive.jsonl": str(self.root / "exports/archive.jsonl"),
            "NEW": str(folder / "new"),
            "NEW_FOLDER": str(folder / "rescued"),
        }
        rows = [
            {
                "prompt": f"A question, number {n}?",
                "response": f"It is {n}.",
                "split": "train" if n < 24 else "validation",
            }
            for n in range(30)
        ]
        (folder / "pairs.csv").write_text("question,good,poor\nHow?,So.,No.\n")
        for name, row in PUBLIC.items():
            (folder / f"{name}.jsonl").write_text(json.dumps(row))
        (folder / "rasbt_instruct_1100.jsonl").write_text(json.dumps({"instruction": "Name a prime.", "output": "7"}))
        turns = "\n\nHuman: What is {}?\n\nAssistant: It is {}."
        pairs = [{"chosen": turns.format(n, n), "rejected": turns.format(n, n + 1)} for n in range(160)]
        with gzip.open(folder / "hh_rlhf_helpful_base.raw.jsonl.gz", "wt") as file:
            file.write("\n".join(map(json.dumps, pairs)))
        (folder / "my_demonstrations.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def words(self, step: Step) -> list[str]:
        """The words of a command: placeholders replaced, made small, in this workspace."""
        given = {**self.values, **step.given}
        words = [given.get(word, word) for word in shlex.split(step.command)]
        if "FILE" in step.given:
            words[-1] = str(self.folder / words[-1])
        if (stage := words[0]) in TINY:
            words += [part for setting in TINY[stage].split() for part in ("--set", setting)]
        if words[:2] == ["session", "start"]:
            words += ["--set", "sample_below=0"]
        return words if "--workspace" in words else [*words, "--workspace", str(self.root)]


@pytest.fixture
def place(tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(prefetch, "look_after", lambda ws: None)  # it works in the background, beyond the test's end
    (tmp_path / "workspace/rewards").mkdir(parents=True)
    (tmp_path / "workspace/rewards/length.py").write_text(
        "def short(prompts, responses):\n    return [-float(len(text)) for text in responses]\n"
    )
    return Place(tmp_path, request.param)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "place",
    [pytest.param(False, id="one run a stage"), pytest.param(True, id="all", marks=pytest.mark.slow)],
    indirect=True,
)
def test_the_commands_of_the_readmes_do_what_is_said(place, monkeypatch, capsys):
    ws = Workspace(place.root)
    with warm.starts():
        for step in (*LOOP, *REST):
            if step.command == "runs pause NAME":
                runs.create(ws, SampleConfig())  # it waits, for the commands of the queue
            with monkeypatch.context() as patch:
                patch.setattr(sys, "stdin", io.StringIO(step.keys))
                if step.is_variant and not place.is_whole:
                    patch.setattr(launcher, "start", lambda ws, run: stored.written(ws, runs.request_stop, run.name))
                code = main(place.words(step))
            printed = capsys.readouterr()
            assert code == 0, f"{step.command}: {printed.out}{printed.err}"
            assert step.said in printed.out, f"{step.command}: {printed.out}"
            if "--queue" in step.command:
                check_lines(printed.out, place.root)
            elif step.command.startswith("compare "):
                vote(ws, "ppo-1@1", "sft-1@3")
    with ws.read() as db:
        assert ratings.summary(db)["rated"] == 4 + 160
    assert [each.state for each in stored.read(ws, sessions.list_all)] == ["running", "ended"]
    states = {run.name: run.state for run in stored.read(ws, runs.list_all)}
    assert (states.pop("ppo-4"), states.pop("sample-3")) == ("queued", "stopped")
    assert set(states.values()) == ({"finished"} if place.is_whole else {"finished", "stopped"})
    assert stored.read(ws, rollouts.count, stored.read(ws, runs.get, "ppo-1").id) == 8
    assert len(stored.read(ws, checkpoints.list_all, "reward")) == (7 if place.is_whole else 1)


def vote(ws: Workspace, winner: str, loser: str) -> None:
    """A vote between answers of two checkpoints, for the leaderboard, and a pair of theirs without one, to be labelled."""
    with ws.write() as db:
        made = []
        for prompt_id in (1, 2):
            pair = [
                prompts.add_response(
                    db,
                    prompt_id,
                    name,
                    "sample",
                    checkpoint_id=stored.read(ws, checkpoints.get, name).id,
                    sampling="{}",
                )
                for name in (winner, loser)
            ]
            made.append(comparisons.add_comparison(db, prompt_id, (pair[0], pair[1])))
        assert made[0] is not None
        showing = comparisons.get_showing(db, comparisons.add_showing(db, made[0], "person"))
        assert showing is not None
        ratings.record(db, showing.id, "left" if showing.left == winner else "right")


def check_lines(printed: str, root: Path) -> None:
    """The lines for torchrun and SLURM are those of the README."""
    documented = re.findall(r"^((?:torchrun|srun) .*?)(?:  +#.*)?$", READMES["studio/README.md"], flags=re.MULTILINE)
    assert len(documented) == 2
    lines = [line.strip() for line in printed.replace(sys.executable, "python").splitlines()]
    for line in documented:
        assert line.replace("WORKSPACE ppo-1", f"{root} ppo-4") in lines


@pytest.mark.filterwarnings("ignore:Total length of .* across ranks is zero:UserWarning")
def test_the_notebook_lines_train(tmp_path, monkeypatch):
    code = re.findall(r"```python\n(.*?)```", READMES["README.md"], flags=re.DOTALL)
    assert len(code) == 1
    monkeypatch.chdir(ROOT)
    found: dict[str, object] = {}
    exec(code[0], found)
    assert found["data"].num_steps == 10


def test_the_targets_of_make_are_complete():
    make = shutil.which("make")
    if not make:
        pytest.skip("make is not here")
    named = {
        name
        for text in READMES.values()
        for name in re.findall(r"(?:^|`|&& )make ([a-z]+)\b", text, flags=re.MULTILINE)
    }
    assert {"run", "test", "demo", "starter"} <= named
    for target in sorted(named):
        done = subprocess.run([make, "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


class Understood(Exception):
    """The parser of a benchmark has taken its arguments."""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(READMES))
def test_the_command_of_a_benchmark_is_understood(name, monkeypatch):
    def parse(self, args=None, namespace=None):
        real(self, args, namespace)
        raise Understood

    real = argparse.ArgumentParser.parse_args
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    for module, words in re.findall(r"python -m (tests\.benchmarks\.\w+)([^`\n]*)", READMES[name]):
        if module.endswith((".fit", ".live")):  # they take their words as they are
            continue
        monkeypatch.setattr(sys, "argv", [module, *shlex.split(words)])
        with pytest.raises(Understood):
            importlib.import_module(module).main()


def test_the_work_of_the_peer_is_there_without_the_peer():
    command = [sys.executable, "tests/peer/trl_work.py", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "{ppo,reward,sft}" in done.stdout
