"""An archive may be anybody's: what leads out of the workspace, steers a process or is no row of the studio's is refused whole."""

import json

import pytest

from modules.config import SFTConfig
from studio.annotation import sessions
from studio.annotation.session_config import SessionConfig
from studio.cli import main
from studio.database import migrations
from studio.datasets import archive
from studio.errors import CheckpointError, ImportRefused
from studio.models import checkpoints
from studio.runs import launcher, queue, runs
from studio.workspace import Workspace
from tests.support import stored

AT = "2026-11-01T10:00:00.000+00:00"
MESSAGES = json.dumps([{"role": "user", "content": "Hi"}])


def run(number=1, name="sft-1", **facts):
    row = {"table": "runs", "id": number, "name": name, "stage": "sft", "state": "finished"}
    row |= {
        "config": SFTConfig().model_dump_json(),
        "revision": "x",
        "created_at": AT,
        "started_at": AT,
        "ended_at": AT,
    }
    return row | {"message": "", "progress": 1.0, "progress_text": "", "stop_requested": 0} | facts


def checkpoint(name="sft-1@1", folder="runs/sft-1/checkpoints/step-000001", **facts):
    row = {
        "table": "checkpoints",
        "id": 1,
        "name": name,
        "run_id": 1,
        "step": 1,
        "folder": folder,
        "base_model": "starter",
    }
    return row | {"base_fingerprint": "x", "metrics": "{}", "created_at": AT} | facts


def prompt(number=1, messages=MESSAGES, **facts):
    row = {
        "table": "prompts",
        "id": number,
        "hash": f"h{number}",
        "messages": messages,
        "category": "",
        "split": "train",
    }
    return row | {"reference": "{}", "import_id": None, "created_at": AT} | facts


def response(number, prompt_id=1, **facts):
    row = {"table": "responses", "id": number, "prompt_id": prompt_id, "text": f"Answer {number}", "kind": "import"}
    return row | {"created_at": AT} | facts


def pair(number=1, answers=(1, 2), prompt_id=1):
    rows = [{"table": "comparisons", "id": number, "key": f"k{number}", "prompt_id": prompt_id, "created_at": AT}]
    return rows + [
        {"table": "comparison_responses", "comparison_id": number, "slot": slot, "response_id": answer}
        for slot, answer in enumerate(answers)
    ]


def event(number=1, **facts):
    row = {"table": "rating_events", "id": number, "uuid": f"u{number}", "comparison_id": 1, "outcome": "left"}
    return row | {"rater": "person", "created_at": AT} | facts


def session(**facts):
    row = {"table": "sessions", "id": 1, "rater": "person", "config": "{}", "guideline_id": None, "seed": 1}
    return row | {"created_at": AT, "reason": ""} | facts


def imported(dropped):
    row = {"table": "imports", "id": 1, "source": "a.jsonl", "sha256": "x", "kind": "prompts", "kept": 1}
    return row | {"dropped": json.dumps(dropped), "created_at": AT, "is_noted": 0}


def showing(number=1, left=1, right=2, **facts):
    row = {"table": "showings", "id": number, "comparison_id": 1, "left_response_id": left, "right_response_id": right}
    return row | {"seed": 1, "rater": "person", "created_at": AT} | facts


def suite(number=1, kind="choice", **facts):
    row = {"table": "evaluation_suites", "id": number, "name": "facts", "title": "Facts", "kind": kind}
    return row | {"conditions": "{}", "fingerprint": f"{number:064x}", "created_at": AT} | facts


def item(content=None, number=1, **facts):
    content = json.dumps(content or {"prompt": "Ice is", "choices": ["cold", "warm"], "gold": 0})
    row = {"table": "evaluation_items", "id": number, "suite_id": 1, "place": number - 1, "cluster": ""}
    return row | {"content": content} | facts


def result(scores=None, **facts):
    scores = json.dumps({"acc": 1.0, "acc_norm": 1.0, "mass": 0.7, "chosen": 0} if scores is None else scores)
    row = {"table": "evaluation_results", "id": 1, "item_id": 1, "subject": "base:starter", "sample": 0, "role": "base"}
    return row | {"base_fingerprint": "x", "run_id": 9, "scores": scores, "created_at": AT} | facts


def learnt(**facts):
    row = {"table": "learning_results", "id": 1, "curve_id": 1, "run_id": 9, "size": 4, "seed": 0, "hits": "101"}
    return row | {"created_at": AT} | facts


LEARNT = (
    run(9, "curve-1", stage="curve"),
    {
        "table": "learning_curves",
        "id": 1,
        "num_labels": 4,
        "held_out": "[1, 1, 2]",
        "fingerprint": "a" * 64,
        "created_at": AT,
    },
)
ACTIVE = LEARNT[1] | {"id": 2, "fingerprint": "b" * 64, "arm": "active", "random_id": 1}
MEASURED = (run(9, "evaluate-1", stage="evaluate"), suite(), item())


def write(tmp_path, *rows):
    """An archive without sha256, as an attacker or an earlier version writes one."""
    order = {table: at for at, table in enumerate(archive.TABLES)}
    lines = [{"format": archive.FORMAT, "migrations": migrations.names()}]
    path = tmp_path / "hostile.jsonl"
    lines += sorted(rows, key=lambda row: order.get(row["table"], 99))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


TEXTS = (prompt(), prompt(2, json.dumps([{"role": "user", "content": "Ho"}])), response(1), response(2), response(3, 2))
HOSTILE = {
    "a run's name that climbs": [run(name="../../outside")],
    "a run's name that is absolute": [run(name="/tmp/outside")],
    "a run's name with NUL": [run(name="sft-1\0")],
    "a run's name with a newline": [run(name="sft-1\n")],
    "a run's name of look-alike letters": [run(name="ѕft-1")],
    "a run's number of other digits": [run(name="sft-１")],
    "a run's name that is huge": [run(name="a" * 100_000 + "-1")],
    "a run's name that is a dot": [run(name="..")],
    "a run's name that is no text": [run(name=7)],
    "a stage nobody knows": [run(stage="evil")],
    "a stage that is a list": [run(stage=["sft"])],
    "a state nobody knows": [run(state="zombie")],
    "a config that is no object": [run(config="[]")],
    "a config that is no JSON": [run(config="{")],
    "a config that is nested without end": [run(config="[" * 100_000)],
    "a progress of 900": [run(progress=900)],
    "a time that is none": [run(created_at="yesterday")],
    "a time without a zone": [run(started_at="2026-11-01T10:00:00")],
    "an id of 0": [run(0)],
    "an id below 0": [run(-1)],
    "an id beyond all": [run(2**70)],
    "an id that is true": [run(True)],
    "two runs of one name": [run(1), run(2)],
    "a checkpoint's folder that is absolute": [run(), checkpoint(folder="/etc")],
    "a checkpoint's folder that climbs": [run(), checkpoint(folder="runs/sft-1/checkpoints/../../../../etc")],
    "a checkpoint's folder that is a parent": [run(), checkpoint(folder="runs/sft-1/checkpoints/..")],
    "a checkpoint's folder outside": [run(), checkpoint(folder="../outside/ck")],
    "a checkpoint's folder of another run": [run(), checkpoint(folder="runs/ppo-9/checkpoints/step-000001")],
    "a checkpoint's folder with NUL": [run(), checkpoint(folder="runs/sft-1/checkpoints/step\0")],
    "a checkpoint's folder that is the run": [run(), checkpoint(folder="runs/sft-1/checkpoints/")],
    "a checkpoint's name that is a path": [run(), checkpoint(name="../x@1")],
    "a checkpoint of no run": [checkpoint()],
    "a checkpoint's metrics that are texts": [run(), checkpoint(metrics='{"a": "b"}')],
    "a step that is a text": [run(), checkpoint(step="1")],
    "a run that comes from itself": [run(resumed_from=1), checkpoint()],
    "a run that has itself for a parent": [
        run(), checkpoint(), {"table": "run_parents", "run_id": 1, "role": "sft", "checkpoint_id": 1}
    ],
    "a role that is a path": [
        run(), run(2, "reward-1"), checkpoint(), {"table": "run_parents", "run_id": 2, "role": "../x", "checkpoint_id": 1}
    ],
    "messages that are no turns": [prompt(messages='["hi"]')],
    "messages of a role nobody knows": [prompt(messages='[{"role": "root", "content": "x"}]')],
    "messages without a turn": [prompt(messages="[]")],
    "an answer to another prompt in a comparison": [*TEXTS, *pair(answers=(1, 3))],
    "a comparison of one answer": [*TEXTS, *pair(answers=(1,))],
    "a showing of what its comparison has not": [*TEXTS, *pair(), showing(left=1, right=3)],
    "a rating twice of one uuid": [*TEXTS, *pair(), event(1, uuid="u"), event(2, uuid="u", outcome="right")],
    "a uuid with blanks": [*TEXTS, *pair(), event(uuid="u 1\n")],
    "a rating that takes its own place": [*TEXTS, *pair(), event(1, supersedes=1)],
    "ratings that take each other's place": [*TEXTS, *pair(), event(1, supersedes=2), event(2, supersedes=1)],
    "flags nobody knows": [*TEXTS, *pair(), event(flags='{"evil": [0]}')],
    "flags that are no positions": [*TEXTS, *pair(), event(flags='{"unsafe": "x"}')],
    "attributes beyond the scale": [*TEXTS, *pair(), event(attributes='{"helpful": [99, 1]}')],
    "ranks of another number": [*TEXTS, *pair(), event(outcome="ranking", ranks="[1, 2, 3]")],
    "a rater with control characters": [*TEXTS, *pair(), event(rater="\x1b[2J")],
    "a text with half a character": [prompt(messages='[{"role": "user", "content": "\\ud800"}]')],
    "a table that steers": [{"table": "drafts", "name": "x", "text": "y"}],
    "a column that is none": [prompt(evil=1)],
    "a column that is SQL": [prompt() | {"id) VALUES (1); --": 1}],
    "a cell that is an object": [prompt(category={"a": 1})],
    "a run without an id": [{name: value for name, value in run(name="sft-9").items() if name != "id"}, run(2, "sft-9")],
    "a suite of a kind nobody knows": [suite(kind="magic")],
    "a suite whose title moves the cursor": [suite(title="\x1b[2J")],
    "a suite without conditions": [suite(conditions="[]")],
    "a suite whose fingerprint is a path": [suite(fingerprint="../x")],
    "an item of no suite": [item()],
    "an item without its choices": [*MEASURED[:2], item({"prompt": "Ice is", "gold": 0})],
    "an item whose right choice is not there": [*MEASURED[:2], item({"prompt": "a", "choices": ["b", "c"], "gold": 2})],
    "an item of another kind": [*MEASURED[:2], item({"good": "a", "bad": "b"})],
    "an item of turns that are none": [suite(kind="prompt"), item({"messages": ["hi"]})],
    "an item of turns without a user": [suite(kind="text"), item({"messages": [], "text": "a"})],
    "an item that is no object": [suite(), item() | {"content": "[]"}],
    "a place that is a text": [suite(), item(place="1")],
    "two items of one place": [suite(), item(), item(number=2, place=0)],
    "a result on no item": [MEASURED[0], result()],
    "a result of another stage": [run(9), *MEASURED[1:], result()],
    "a result of no run": [*MEASURED[1:], result()],
    "a result of another checkpoint": [
        *MEASURED, run(), checkpoint(), result(subject="sft-2@1", checkpoint_id=1)
    ],
    "a result of a subject without a name": [*MEASURED, result(subject="base:")],
    "a result whose subject moves the cursor": [*MEASURED, result(subject="base:\x1b[2J")],
    "a result without scores": [*MEASURED, {k: v for k, v in result().items() if k != "scores"}],
    "a result that lacks a score": [*MEASURED, result({"acc": 1.0, "mass": 0.7, "chosen": 0})],
    "a result that chose what is not there": [*MEASURED, result({"acc": 1, "acc_norm": 1, "mass": 1, "chosen": 2})],
    "a result whose score is a text": [*MEASURED, result({"acc": "1", "acc_norm": 1, "mass": 1, "chosen": 0})],
    "a result whose log-probabilities are one": [
        *MEASURED, result({"acc": 1, "acc_norm": 1, "mass": 1, "chosen": 0, "logprobs": 1})
    ],
    "a text of no bytes": [
        MEASURED[0], suite(kind="text"), item({"text": "a"}), result({"nats": 1.0, "tokens": 1, "bytes": 0})
    ],
    "a sample below 0": [*MEASURED, result(sample=-1)],
    "two results of one sample": [*MEASURED, result(), result(id=2)],
    "a session that never began": [session()],
    "an import that dropped what is no number": [imported({"empty": None})],
    "an import that dropped a part of a row": [imported({"empty": 0.5})],
    "a learning curve of no votes": [LEARNT[0], LEARNT[1] | {"held_out": "[]"}],
    "a learning curve of other votes": [LEARNT[0], LEARNT[1] | {"held_out": '["x"]'}],
    "hits for other votes": [*LEARNT, learnt(hits="10")],
    "hits that are none": [*LEARNT, learnt(hits="1x1")],
    "no hits": [*LEARNT, learnt(hits=None)],
    "a size that is no number": [*LEARNT, learnt(size="4")],
    "a part that is larger than the whole": [*LEARNT, learnt(size=8)],
    "a seed below 0": [*LEARNT, learnt(seed=-1)],
    "a curve of an arm that there is not": [LEARNT[0], LEARNT[1] | {"arm": "best"}],
    "a chosen curve against one that is none of random labels": [*LEARNT, ACTIVE],
    "a chosen curve against one on other votes": [
        LEARNT[0], LEARNT[1] | {"arm": "random", "held_out": "[1, 2, 3]"}, ACTIVE
    ],
    "a chosen curve against none": [LEARNT[0], ACTIVE | {"random_id": None}],
    "a chosen curve against itself": [LEARNT[0], ACTIVE | {"random_id": 2}],
    "a learning curve measured by another stage": [run(9, "sft-1"), LEARNT[1], learnt()],
}  # fmt: skip


def rows_of(ws):
    with ws.read() as db:
        return {table: count for table in archive.TABLES if (count := db.table(table).count)}


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "workspace")


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_archive_with_a_row_that_is_none_of_the_studios_is_refused_whole(tmp_path, ws, kind):
    path = write(tmp_path, *HOSTILE[kind])
    with pytest.raises(ImportRefused) as refused:
        archive.read(ws, path)
    assert "Nothing was imported" in str(refused.value)
    assert len(str(refused.value)) < 500
    assert rows_of(ws) == {}


@pytest.mark.parametrize("config", ['{"gone_field": 1, "target": 7}', '{"target": "many"}'])
def test_a_session_with_settings_of_another_version_is_read_as_far_as_they_are_known(tmp_path, ws, config, capsys):
    begun = {"table": "session_events", "id": 1, "session_id": 1, "kind": "started", "num_given": 0, "created_at": AT}
    archive.read(ws, write(tmp_path, session(config=config), begun))
    for words in (["session"], ["session", "card"], ["session", "resume"]):
        main([*words, "--workspace", str(ws.root)])
    assert "Traceback" not in capsys.readouterr().err
    (found,) = stored.read(ws, sessions.list_all)
    assert found.config.target == (7 if "7" in config else SessionConfig().target)


def test_what_is_hostile_is_a_sentence_at_the_terminal_also_in_the_preview(tmp_path, ws, capsys):
    path = write(tmp_path, prompt(), run(name="../../outside"))
    for words in ((), ("--preview",)):
        assert main(["import", str(path), *words, "--workspace", str(ws.root)]) == 1
        said = capsys.readouterr().err
        assert (
            "Line 3 of hostile.jsonl is not one that this studio writes: '../../outside' is not the name of a run"
            in said
        )
    assert rows_of(ws) == {}


def test_what_the_rows_of_evaluations_are_changed_from_is_read(tmp_path, ws):
    archive.read(ws, write(tmp_path, *MEASURED, result(), prompt()))
    assert rows_of(ws)["evaluation_results"] == 1


def test_what_the_rows_of_learning_curves_are_changed_from_is_read(tmp_path, ws):
    archive.read(ws, write(tmp_path, *LEARNT, learnt(), prompt()))
    assert rows_of(ws)["learning_results"] == 1


def test_nothing_that_steers_a_process_comes_in_with_a_run(tmp_path, ws, monkeypatch):
    steering = {
        "pid": 1,
        "pid_started": 1.0,
        "heartbeat_at": AT,
        "gone_at": None,
        "stop_requested": 1,
        "pause_requested": 1,
    }
    steering |= {"lane": "gpu0", "place": 1.0, "advanced_at": AT}
    rows = [run(n, f"sft-{n}", state=state, **steering) for n, state in enumerate(("lost", "running", "queued"), 1)]
    archive.read(ws, write(tmp_path, prompt(), *rows))
    monkeypatch.setattr(launcher.processes, "kill", lambda *_: pytest.fail("a process was to be killed"), raising=False)
    launcher.reap(ws)
    for found in stored.read(ws, runs.list_all):
        assert found.is_ended, "what was running elsewhere does not work here"
        assert (found.pid, found.pid_started, found.heartbeat_at, found.lane, found.place) == (
            None,
            None,
            None,
            "",
            None,
        )
        assert not found.stop_requested
        assert not found.pause_requested
        assert not found.is_ending
    assert stored.read(ws, queue.waiting) == []
    assert not any(name in archive.write(ws).path.read_text() for name in ('"pid"', '"lane"', '"stop_requested"'))


def test_a_sentence_of_a_run_cannot_move_the_cursor(tmp_path, ws):
    archive.read(ws, write(tmp_path, prompt(), run(message="\x1b]0;evil\x07Saved.\u202e", revision="\x00")))
    assert stored.read(ws, runs.get, "sft-1").message == "?]0;evil?Saved.?"


def test_folders_of_runs_that_lie_there_are_not_taken_for_an_archives(tmp_path, ws):
    (ws.runs / "sft-1").mkdir()
    with pytest.raises(ImportRefused, match="has folders of runs"):
        archive.read(ws, write(tmp_path, prompt(), run()))


@pytest.mark.parametrize("folder", ["/etc", "../outside/ck", "runs/sft-1/../../outside", "exports/x", "runs/sft-1"])
def test_a_row_of_a_checkpoint_that_leads_out_is_not_followed(tmp_path, ws, folder):
    """Of a workspace into which such an archive was imported by an earlier version."""
    archive.read(ws, write(tmp_path, prompt(), run(), checkpoint()))
    outside = tmp_path / "outside" / "ck"
    outside.mkdir(parents=True)
    with ws.write() as db:
        db.execute("UPDATE checkpoints SET folder = ?", [folder])
    with pytest.raises(CheckpointError, match="outside of the workspace's runs"):
        stored.read(ws, checkpoints.get, "sft-1@1")


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(tmp_path, ws, monkeypatch):
    monkeypatch.setattr(archive, "LONGEST_LINE", 2000)
    path = write(tmp_path, prompt(messages=json.dumps([{"role": "user", "content": "x" * 5000}])))
    with pytest.raises(ImportRefused, match="it is longer than"):
        archive.read(ws, path)
