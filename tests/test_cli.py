"""The command line: one sentence for each refusal, every stage and key reachable, real runs followed and left alone."""

import io
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modules.config import STAGES, PPOConfig, SFTConfig
from studio import settings
from studio.annotation import sessions
from studio.annotation.session_config import SessionConfig
from studio.chat import asking
from studio.cli import keyboard, main, printing
from studio.datasets import starter
from studio.errors import ConfigError
from studio.models import checkpoints
from studio.preferences import comparisons, prompts, ratings, vocabulary
from studio.preferences.prompts import NewPrompt
from studio.runs import launcher, metrics, runs
from studio.workspace import Workspace
from tests.support import stored, warm
from tests.support.waiting import PATIENCE_S
from tests.ui import filling
from ui.pages.train import page as train

ROOT = Path(__file__).parent.parent
TINY = ["--set", "lora_rank=4", "--set", "batch_size=8", "--set", "micro_batch_size=8", "--set", "max_length=128"]


@pytest.fixture(autouse=True)
def quick_starts():
    with warm.starts():
        yield


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture
def taught(ws):
    for number in range(24):
        stored.written(
            ws,
            prompts.add_demonstration,
            [{"role": "user", "content": f"What is {number} plus 1?"}],
            f"It is {number + 1}.",
        )
    return ws


@pytest.fixture
def cli(ws, capsys):
    """Run a command in this workspace; returns exit code, stdout and stderr."""

    def call(*words):
        code = main([*words, "--workspace", str(ws.root)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def no_start(monkeypatch):
    """Runs are created and not started."""
    monkeypatch.setattr(launcher, "start", lambda ws, run: run)


def add_pairs(ws, count):
    with ws.write() as db:
        for number in range(count):
            prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"Question {number}"}]))
            pair = [prompts.add_response(db, prompt_id, f"{side} {number}", "import") for side in ("one", "two")]
            comparisons.add_comparison(db, prompt_id, (pair[0], pair[1]))


def process(ws, *words, **options):
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from studio.cli import main; sys.exit(main())",
            *words,
            "--workspace",
            str(ws.root),
        ],
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        **options,
    )


# Settings.


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("epochs=0", "sft: epochs = 0 is not possible; it takes a whole number, at least 1."),
        ("epochs=two", "sft: epochs = two is not possible; it takes a whole number, at least 1."),
        (
            "warmup_fraction=1.5",
            "sft: warmup_fraction = 1.5 is not possible; it takes a number, at least 0.0, at most 1.0.",
        ),
        ("lora_dropout=1", "sft: lora_dropout = 1 is not possible; it takes a number, at least 0.0, below 1.0."),
        ("method=lor", "sft: method = lor is not possible; it takes one of lora, full."),
        ("gradient_checkpointing=perhaps", "it takes true or false."),
        ("learning_rate=nan", "sft: learning_rate = nan is not possible; it takes a number, above 0.0."),
        ("learning_rat=1", "sft has no setting 'learning_rat'. Did you mean learning_rate?"),
        ("zzz=1", "sft has no setting 'zzz'. See them all with: rlhf-studio sft --help"),
        ("epochs", "--set epochs has no value. Write --set key=value"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_nothing_starts(taught, cli, setting, sentence):
    code, out, err = cli("sft", "--set", setting)
    assert (code, out) == (1, "")
    assert sentence in err
    assert "Traceback" not in err
    assert stored.read(taught, runs.list_all) == []


def test_settings_go_over_the_file_and_the_file_over_the_defaults(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"epochs": 3, "seed": 5}))
    config = settings.read("sft", str(tmp_path / "config.json"), ["seed=9", "method = full"])
    assert config == SFTConfig(epochs=3, seed=9, method="full")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not valid JSON"),
        ("[1]", "must hold one object"),
        ('{"epoch": 1}', "no setting 'epoch'. Did you mean epochs?"),
    ],
)
def test_a_bad_config_file_is_named(tmp_path, content, sentence):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError) as refused:
        settings.read("sft", str(tmp_path / "config.json"), [])
    assert sentence in str(refused.value)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        settings.read("sft", str(tmp_path / "other.json"), [])


@pytest.mark.parametrize("stage", STAGES)
def test_a_runs_own_config_file_can_be_given_back(tmp_path, stage):
    config = STAGES[stage](seed=11)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    assert settings.read(stage, str(tmp_path / "config.json"), []) == config


@pytest.mark.parametrize("stage", STAGES)
def test_help_lists_every_setting_with_its_sentence_and_default(capsys, stage):
    with pytest.raises(SystemExit) as ended:
        main([stage, "--help"])
    assert ended.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    for name, field in STAGES[stage].model_fields.items():
        assert f" {name} = " in out
        assert " ".join(field.description.split()) in out
    assert str(PPOConfig.model_fields["kl_coef"].default) in out or stage != "ppo"


# Import and export.


@pytest.mark.parametrize("content", [None, "", '{"colour": "red"}\n'], ids=["missing", "empty", "other columns"])
def test_a_source_that_cannot_be_imported_leaves_no_new_workspace(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "new.jsonl").write_text(content)
    assert main(["import", str(tmp_path / "new.jsonl"), "--workspace", str(tmp_path / "ws")]) == 1
    assert "new.jsonl" in capsys.readouterr().err
    assert not (tmp_path / "ws").exists()


def test_import_previews_imports_once_and_says_why_rows_were_dropped(ws, cli, tmp_path):
    path = tmp_path / "pairs.jsonl"
    row = {"prompt": "Name a prime.", "chosen": "7", "rejected": "9"}
    path.write_text("".join(json.dumps(r) + "\n" for r in (row, row, row | {"chosen": "9"})))
    code, out, _ = cli("import", str(path), "--preview")
    assert code == 0
    assert "1 of 3 rows are preferences" in out
    assert "chosen: 7" in out
    assert stored.read(ws, comparisons.counts)["comparisons"] == 0
    code, out, _ = cli("import", str(path), "--category", "maths")
    assert (code, "1 new preference from" in out, "duplicate (1)" in out) == (0, True, True)
    assert stored.read(ws, prompts.list_categories) == {"maths": 1}
    assert "was imported before" in cli("import", str(path))[1]


def test_a_broken_file_is_one_sentence_on_stderr_and_exit_code_1(ws, cli, tmp_path):
    (tmp_path / "broken.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n{"prompt"\n')
    code, out, err = cli("import", str(tmp_path / "broken.jsonl"))
    assert (code, out) == (1, "")
    assert err.startswith("broken.jsonl, line 3: broken JSON")
    assert "Traceback" not in err
    assert stored.read(ws, prompts.counts)["prompts"] == 0


def test_export_prints_where_the_file_is(taught, cli):
    code, out, _ = cli("export", "demonstrations")
    assert code == 0
    assert len(Path(out.strip()).read_text().splitlines()) == 24
    code, _, err = cli("export", "ratings", "--format", "trl")
    assert (code, err) == (1, "There are no preferences to export. Rate some pairs first, or import preferences.\n")


# Runs and models.


def test_a_stage_that_lacks_something_says_what_to_do_first(ws, cli):
    assert cli("sft")[2] == (
        "There are no demonstrations to learn from. Import some (rlhf-studio import FILE, or the Data page), or write one on the Data page.\n"
    )
    assert "There is no checkpoint of SFT yet" in cli("reward")[2]


def test_what_sft_would_teach_is_shown_and_nothing_starts(taught, cli):
    stored.written(taught, prompts.add_demonstration, [{"role": "user", "content": "Long?"}], "very " * 200)
    kept = [
        d for d in stored.read(taught, prompts.list_demonstrations, split="train") if "plus" in d.messages[0]["content"]
    ]
    code, out, _ = cli("sft", "--show", "--set", "max_length=64")
    assert code == 0
    assert f"Chat template: the tokenizer's own. {len(kept)} demonstrations with " in out
    assert re.search(r"1 of \d+ left out: longer than max_length = 64 tokens", out)
    oldest = kept[-1]
    shown = out.replace("|>|", "|>").replace("⟧|⟦", "").replace("⟦|", "⟦").split("\n")
    asked = oldest.messages[0]["content"].replace(" ", "| ").replace("?", "|?")
    assert f"<|bos|><|user|>{asked}|<|end|><|assistant|>⟦{oldest.response}<|end|>⟧" in shown
    assert stored.read(taught, runs.list_all) == []
    code, _, err = cli("sft", "--show", "--set", "max_length=8")
    assert code == 1
    assert err.startswith("This run could not start: There are no demonstrations to train on (")


def test_detach_starts_a_run_and_tells_how_to_watch_it(taught, cli, no_start):
    code, out, _ = cli("sft", "--set", "seed=3", "--detach")
    assert code == 0
    assert out == f"sft-1 started. Watch it: rlhf-studio runs show sft-1 --watch --workspace {taught.root}\n"
    assert stored.read(taught, runs.get, "sft-1").config.seed == 3


def test_a_recipe_is_scaled_to_the_data_combines_with_hardware_and_gives_way_to_what_is_set(taught, cli, no_start):
    """And the page's preset fills in the same; the method decides on the rate."""
    both = ("--preset", "instructgpt", "--preset", "cpu")
    assert cli("sft", *both, "--set", "epochs=3", "--detach")[0] == 0
    config = stored.read(taught, runs.get, "sft-1").config.model_dump()
    assert (config["epochs"], config["batch_size"], config["learning_rate"]) == (3, 8, 1e-4)
    assert (config["micro_batch_size"], config["device"]) == (4, "cpu")
    assert cli("sft", "--preset", "instructgpt", "--set", "method=full", "--detach")[0] == 0
    assert stored.read(taught, runs.get, "sft-2").config.model_dump()["learning_rate"] == 1.04e-5
    form = [field.default for field in SFTConfig.model_fields.values()]
    assert train._preset(taught, "sft", "instructgpt", form) == {
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 1e-4,
        "warmup_fraction": 0.0,
    }
    code, _, err = cli("reward", "--preset", "instructgpt")
    assert code == 1
    assert "There is no checkpoint of SFT yet" in err


def test_runs_are_listed_shown_stopped_and_resumed(taught, cli, no_start, monkeypatch):
    monkeypatch.setattr(
        launcher, "ADOPTION_S", 3600.0
    )  # not found lost, though it has no process and the machine is slow
    assert "There are no runs yet" in cli("runs")[1]
    cli("sft", "--detach")
    stored.written(taught, metrics.add, 1, 1, {"train/loss": 2.5})
    assert "sft-1  queued" in cli("runs")[1]
    shown = cli("runs", "show", "sft-1")[1]
    assert "sft-1: queued" in shown
    assert "train/loss  2.5" in shown
    assert cli("runs", "stop", "sft-1")[:2] == (0, "sft-1 stopped. Cancelled before it started.\n")
    assert cli("runs", "stop", "sft-1")[1] == "sft-1 is already stopped. Cancelled before it started.\n"
    assert "sft-1 is stopped and cannot go on" in cli("runs", "continue", "sft-1")[2]
    monkeypatch.setattr(launcher, "ADOPTION_S", 0.0)  # from here on a run without a process is found lost at once
    assert cli("runs", "resume", "sft-1")[0] == 1
    folder = runs.folder(taught, "sft-1") / "checkpoints" / "step-4"
    folder.mkdir(parents=True)
    stored.written(
        taught, checkpoints.add, 1, 4, folder, base_model="starter", base_fingerprint="f", metrics={"eval/loss": 1.25}
    )
    assert " continues sft-1@4." in cli("runs", "resume", "sft-1@4", "--detach")[1]
    assert "sft-1@4     0 KiB  starter     -     held-out loss 1.25" in cli("models")[1]
    code, _, err = cli("runs", "show", "sft-9")
    assert (code, err) == (1, "There is no run named 'sft-9'. See them with: rlhf-studio runs\n")


def test_the_workspace_may_stand_before_the_command_and_after_its_last_word(taught, capsys):
    assert main(["--workspace", str(taught.root), "runs"]) == 0
    assert main(["runs", "--workspace", str(taught.root)]) == 0
    assert (taught.root / "studio.db").exists()
    assert capsys.readouterr().err == ""


def test_models_are_listed_though_the_folder_of_one_is_gone(taught, cli):
    sft = filling.add_run(taught, SFTConfig())
    for step in (2, 4):
        filling.add_checkpoint(taught, sft, step=step)
    shutil.rmtree(stored.read(taught, checkpoints.get, "sft-1@2").folder)
    code, out, _ = cli("models")
    assert code == 0
    assert "sft-1@2" in out
    assert "sft-1@4" in out


def test_a_prompt_is_tried_on_the_named_models(taught, cli, monkeypatch):
    asked = []

    def answer(resident, messages, names, sampling):
        asked.append((messages, list(names), sampling))
        return {name: f"answer of {name}" for name in names}

    monkeypatch.setattr(asking, "final", answer)
    code, out, _ = cli("models", "try", "Hello?", "--on", "sft-1", "ppo-1", "--seed", "4")
    assert (code, out) == (0, "sft-1: answer of sft-1\nppo-1: answer of ppo-1\n")
    assert asked[0][0] == [{"role": "user", "content": "Hello?"}]
    assert asked[0][2].seed == 4
    assert cli("models", "try", "Hello?")[2].startswith("There are no checkpoints yet")


@pytest.mark.timeout(900)
def test_a_run_is_followed_to_its_end_and_its_checkpoint_named(taught):
    child = process(taught, "sft", *TINY, "--set", "epochs=1", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 0, err
    assert out.splitlines()[0].startswith("sft-1 finished. ")
    assert out.splitlines()[1] == f"checkpoint {stored.read(taught, checkpoints.get, 'sft-1').name}"
    assert "sft-1: " in err
    assert "Traceback" not in err


@pytest.mark.timeout(900)
def test_ctrl_c_leaves_the_run_going_and_says_how_to_stop_it(taught):
    child = process(taught, "sft", *TINY, "--set", "epochs=4000", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stderr is not None
    child.stderr.readline()
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 0
    assert f"Stop it: rlhf-studio runs stop sft-1 --workspace {taught.root}" in err
    assert launcher.is_alive(stored.read(taught, runs.get, "sft-1"))
    assert main(["runs", "stop", "sft-1", "--now", "--workspace", str(taught.root)]) == 0
    assert not launcher.is_alive(stored.read(taught, runs.get, "sft-1"))
    assert stored.read(taught, runs.get, "sft-1").state == "stopped"


# Rating in the terminal.


def test_each_key_is_recorded_as_the_browser_would(ws, cli, monkeypatch):
    add_pairs(ws, 11)
    monkeypatch.setattr(sys, "stdin", io.StringIO("1238905 bs2x1q"))
    code, out, _ = cli("rate")
    assert code == 0
    assert out.endswith("11 rated now, 10 in all.\n")
    given = [(event["outcome"], event["strength"]) for event in stored.read(ws, ratings.list_events)]
    assert given == [
        *[("left", 3), ("left", 2), ("left", 1), ("right", 1), ("right", 2), ("right", 3)],
        *[("tie", None), ("tie", None), ("both_bad", None), ("skip", None), ("left", 3)],
    ]
    assert stored.read(ws, ratings.list_events)[9]["reason"] == vocabulary.SKIP_REASONS[1]
    assert all(event["elapsed_ms"] is not None for event in stored.read(ws, ratings.list_events))
    assert "Nothing is left to rate" in out


def test_undo_in_the_terminal_shows_the_pair_again_as_it_was(ws, cli, monkeypatch):
    add_pairs(ws, 3)
    monkeypatch.setattr(sys, "stdin", io.StringIO("12zz8q"))
    _, out, _ = cli("rate")
    assert "Taken back: left better." in out
    assert "Taken back: left much better." in out
    assert [event["outcome"] for event in stored.read(ws, ratings.list_events)] == [
        "left",
        "left",
        "undo",
        "undo",
        "right",
    ]
    assert out.endswith("1 rated now, 1 in all.\n")
    pages = out.split("──")
    assert sum("Question 0" in page for page in pages) == 2


def test_the_end_of_a_pipe_ends_the_rating_and_an_open_pair_stays_open(ws, cli, monkeypatch):
    add_pairs(ws, 2)
    monkeypatch.setattr(sys, "stdin", io.StringIO("1\n"))
    assert cli("rate")[1].endswith("1 rated now, 1 in all.\n")
    assert stored.read(ws, comparisons.counts)["unrated"] == 1


@pytest.fixture
def rankings(ws):
    """Two rankings, of four and of three answers."""
    with ws.write() as db:
        for number, size in enumerate((4, 3)):
            prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"Rank {number}"}]))
            ids = [prompts.add_response(db, prompt_id, f"answer {n} of {size}", "import") for n in range(size)]
            comparisons.add_comparison(db, prompt_id, ids)
    return ws


def test_a_ranking_is_typed_in_numbers_from_best_to_worst(rankings, cli, monkeypatch):
    # 4 before 2, which ties with 1, 3 left over; then: too few placed, one taken out and placed again, a pair's keys ignored
    monkeypatch.setattr(sys, "stdin", io.StringIO("4 2=1\n2\n1<1 3 0 5\nq"))
    code, out, _ = cli("rate")
    assert code == 0
    assert "[answer 4]" in out
    assert "Place 1, 3 first" in out
    assert "ranking 4 > 1 = 2 > 3" in out
    assert [json.loads(event["ranks"]) for event in stored.read(rankings, ratings.list_events)] == [
        [2, 2, 3, 1],
        [2, 1, 3],
    ]
    assert "2 rated now, 2 in all." in out


def test_rankings_are_all_bad_skipped_and_undone_in_the_terminal(rankings, cli, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("bzs3" + "2\n31\nz" + "12\nq"))
    assert cli("rate")[0] == 0
    given = [
        (event["outcome"], event["ranks"] and json.loads(event["ranks"]))
        for event in stored.read(rankings, ratings.list_events)
    ]
    assert given == [
        ("both_bad", None), ("undo", None), ("skip", None), ("ranking", [3, 1, 2]), ("undo", None), ("ranking", [1, 2, 3])
    ]  # fmt: skip


def test_remarks_edits_and_demonstrations_are_given_in_the_terminal(ws, cli, monkeypatch):
    add_pairs(ws, 2)
    session = stored.written(ws, sessions.start, SessionConfig(attributes=True))
    typed = "u2h1h1nsee the units\na6 7 -\n1\ne1\nThe ideal\nanswer\n.\ndA good one.\n.\ng?8q"
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    code, out, _ = cli("rate")
    assert code == 0
    assert f"Session {session.id}: 0 of 100, block 1. It asks for scales: a" in out
    edit, vote = stored.read(ws, ratings.list_events)
    assert (vote["outcome"], vote["strength"], vote["note"]) == ("right", 1, "see the units")
    assert json.loads(vote["flags"]) == {"unsafe": [1]}
    assert json.loads(vote["attributes"]) == {"helpful": [6, 1], "truthful": [7, None]}
    assert edit["edited_response_id"] is not None
    found = {demonstration.response for demonstration in stored.read(ws, prompts.list_demonstrations)}
    assert found == {"The ideal\nanswer", "A good one."}
    assert "longer is not better" in out, "the guideline"


def test_an_edit_that_changes_nothing_is_a_sentence_and_undo_takes_back_edits_too(ws, cli, monkeypatch):
    add_pairs(ws, 1)
    monkeypatch.setattr(sys, "stdin", io.StringIO("e1.\n" + "e2Better.\n.\nz" + "q"))
    _, out, _ = cli("rate")
    assert "Nothing was changed, so there is no ideal answer to keep." in out
    assert "Taken back: your ideal answer, better than the one it was made from." in out
    assert stored.read(ws, prompts.list_demonstrations) == []
    assert out.endswith("0 rated now, 0 in all.\n")


def test_the_editor_begins_with_the_answer_and_gives_back_the_ideal_one(ws, monkeypatch):
    add_pairs(ws, 1)
    script = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.write_text(p.read_text().upper())"
    monkeypatch.setenv("VISUAL", f"{sys.executable} -c '{script}'")
    ours, theirs = pty.openpty()
    child = process(ws, "rate", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        read_until(ours, "1 to rate")
        for key, answer in (
            (b"e", "which answer"),
            (b"1", "Recorded: your ideal answer"),
            (b"n", "Note: "),
            (b"hm\n", "recorded with"),
        ):
            time.sleep(2 * keyboard.SETTLE_S)
            os.write(ours, key)
            read_until(ours, answer)
        os.write(ours, b"9")
        read_until(ours, "any other key ends")
        os.write(ours, b"q")
        read_until(ours, "1 rated now")
    finally:
        child.wait(timeout=PATIENCE_S)
        os.close(ours)
    assert [each.response for each in stored.read(ws, prompts.list_demonstrations)] in (["ONE 0"], ["TWO 0"])
    assert stored.read(ws, ratings.list_events)[1]["note"] == "hm"


def test_a_response_cannot_command_the_terminal():
    shown = printing.wrapped("ok\x1b[2J\x07 \x9b31m red", 80)
    assert shown == ["ok\ufffd[2J\ufffd \ufffd31m red"]


def test_keys_are_single_presses_in_a_terminal_and_arrow_keys_are_none(ws):
    add_pairs(ws, 3)
    ours, theirs = pty.openpty()
    child = process(ws, "rate", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        read_until(ours, "3 to rate")
        time.sleep(3 * keyboard.SETTLE_S)
        os.write(ours, b"\x1b[5~")  # page up, with a 5 in it
        time.sleep(3 * keyboard.ESCAPE_S)
        os.write(ours, b"9")
        read_until(ours, "2 to rate")
        time.sleep(3 * keyboard.SETTLE_S)
        os.write(ours, b"q")
        read_until(ours, "1 rated now")
    finally:
        child.wait(timeout=PATIENCE_S)
        os.close(ours)
    assert [(event["outcome"], event["strength"]) for event in stored.read(ws, ratings.list_events)] == [("right", 2)]


def read_until(descriptor, text, timeout_s=PATIENCE_S):
    seen, deadline = "", time.monotonic() + timeout_s
    while text not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([descriptor], [], [], 0.1)[0]:
            seen += os.read(descriptor, 4096).decode("utf-8", errors="replace")


# Opening the studio.


def test_ui_loads_the_starter_kit_into_an_empty_workspace_only(ws, cli, monkeypatch):
    launched = []
    app = type(sys)("ui.app")
    app.launch = lambda ws, **options: launched.append(options)
    monkeypatch.setitem(sys.modules, "ui.app", app)
    assert cli("ui", "--no-browser", "--port", "7999")[0] == 0
    kit = stored.read(ws, prompts.counts)
    assert kit["demonstrations"] > 100
    assert launched == [
        {
            "host": "127.0.0.1",
            "port": 7999,
            "password": None,
            "inbrowser": False,
            "is_window": False,
            "roots": [],
            "names": [],
            "max_upload": "2GB",
        }
    ]
    other = Workspace.open(ws.root.parent / "other")
    stored.written(other, prompts.add_demonstration, [{"role": "user", "content": "Mine"}], "Only mine")
    monkeypatch.setattr(starter, "load", lambda _: pytest.fail("the kit was mixed into somebody's own data"))
    assert main(["--workspace", str(other.root), "ui"]) == 0
    assert main(["--workspace", str(other.root)]) == 0  # no command opens the studio
    assert main(["--workspace", str(other.root.parent / "new"), "ui", "--empty"]) == 0
    assert len(launched) == 4


def test_the_demo_wants_a_folder_of_its_own(capsys):
    assert main(["demo"]) == 1
    assert capsys.readouterr().err == "The demo needs a folder of its own: rlhf-studio demo --workspace DIR\n"


def test_an_unusable_workspace_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["import", "prompts.jsonl", "--workspace", str(tmp_path / "file")]) == 1
    err = capsys.readouterr().err
    assert "cannot be created" in err
    assert "Traceback" not in err
