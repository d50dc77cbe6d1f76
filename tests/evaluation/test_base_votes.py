"""The pretrained model in blind votes: its answers are its own, its pairs are its own, and the leaderboard names it."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import torch

from assets import STARTER
from modules.config import SampleConfig, SFTConfig
from modules.model.backbone import Backbone
from modules.model.generate import generate
from modules.model.roles import BASE as ROLE
from studio.annotation import prefetch, session_config, sessions
from studio.annotation.session_config import SessionConfig
from studio.cli import main
from studio.database import connection, migrations
from studio.datasets import archive
from studio.errors import RatingError
from studio.evaluation import leaderboard, report
from studio.models import checkpoints
from studio.models.base_names import BASE, shown
from studio.preferences import comparisons, model_votes, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.runs import launcher, runs
from studio.worker import sampling
from studio.workspace import Workspace
from tests.support import policies, stored, warm
from tests.support.waiting import for_run
from tests.ui import filling
from ui.components import form
from ui.pages.evaluate import win_rates

SCHEMA = Path(migrations.__file__).with_name("schema.sql")
OLD_ROWS = (
    "INSERT INTO prompts (hash, messages, split, created_at) VALUES ('h', '[]', 'train', 't')",
    "INSERT INTO runs (name, stage, state, config, revision, created_at) VALUES ('sft-1', 'sft', 'finished', '{}', 'x', 't')",
    "INSERT INTO checkpoints (name, run_id, step, folder, base_model, base_fingerprint, metrics, created_at)"
    " VALUES ('sft-1@1', 1, 1, 'runs/sft-1/checkpoints/step-1', 'starter', 'f', '{}', 't')",
    "INSERT INTO responses (prompt_id, text, kind, checkpoint_id, run_id, sampling, token_ids, created_at)"
    " VALUES (1, 'One answer', 'sample', 1, 1, '{}', '[5]', 't')",
    "INSERT INTO responses (prompt_id, text, kind, model, created_at) VALUES (1, 'Another answer', 'import', 'gpt', 't')",
    "INSERT INTO comparisons (key, prompt_id, created_at) VALUES ('1:1,2', 1, 't')",
    "INSERT INTO comparison_responses VALUES (1, 0, 1), (1, 1, 2)",
)
BY_BASE = (
    "INSERT INTO responses (prompt_id, text, kind, model, sampling, created_at)"
    " VALUES (1, 'Of base', 'sample', 'base:starter', '{}', 't')"
)
SETTINGS = SampleConfig(split="validation", seed=5, max_new_tokens=8, device="cpu", opponent=BASE)


@pytest.fixture
def ws(tmp_path):
    """A workspace with two policies of one pretrained model, and a held-out prompt."""
    ws = policies.workspace(tmp_path / "workspace")
    with ws.write() as db:
        prompts.add_prompt(db, NewPrompt(policies.QUESTION, split="validation"))
    return ws


def sampled(ws, **changes):
    """The run that asked a policy and base, ended."""
    with warm.starts():
        run = launcher.start(ws, runs.create(ws, SETTINGS.model_copy(update={"checkpoint": "sft-2@1"} | changes)))
        run = for_run(ws, run.name, lambda r: r.is_ended)
    assert run.state == "finished", run.message
    return run


def answers(ws, run):
    return [row for row in stored.tables(ws)["responses"] if row["run_id"] == run.id]


def test_base_answers_with_all_adapters_off_on_the_prompts_and_seeds_of_the_other_side(ws):
    of_policy, of_base = answers(ws, sampled(ws))
    assert (of_base["checkpoint_id"], of_base["model"], of_policy["model"]) == (None, "base:starter", None)
    assert of_policy["checkpoint_id"] == stored.read(ws, checkpoints.get, "sft-2@1").id
    assert of_base["prompt_id"] == of_policy["prompt_id"]
    assert [json.loads(row["sampling"])["seed"] for row in (of_policy, of_base)] == [5, 5]
    alone = Backbone.load(str(STARTER / "model"), device="cpu")
    prompt = alone.chat.encode_prompt(policies.QUESTION).ids
    wanted = generate(alone, ROLE, [prompt], max_new_tokens=8, temperature=1.0, seed=5, batch_size=64)
    assert json.loads(of_base["token_ids"]) == wanted.responses[0]
    assert of_base["token_ids"] != of_policy["token_ids"]


def test_base_of_a_policy_with_all_weights_of_its_own_has_those_of_the_pretrained_model(ws):
    full = Backbone.load(str(STARTER / "model"), method="full", device="cpu")
    full.add_role("policy", trainable=True)
    with torch.no_grad():
        for parameter in full.role_parameters("policy").values():
            parameter.zero_()
    found = stored.read(ws, checkpoints.get, "sft-1@1")
    shutil.rmtree(found.folder / "policy")
    full.save_role("policy", found.folder / "policy")
    meta = json.loads((found.folder / "meta.json").read_text()) | {"method": "full"}
    (found.folder / "meta.json").write_text(json.dumps(meta))
    backbone = sampling.load_policies({"sft-1@1": found}, SETTINGS.model_copy(update={"checkpoint": "sft-1@1"}))
    own, base = (backbone.role_parameters(sampling.role_of(name)) for name in ("sft-1@1", BASE))
    assert all(not tensor.any() for tensor in own.values())
    assert any(tensor.any() for tensor in base.values())


def test_pairs_with_base_are_voted_on_blind_by_their_own_session_and_by_no_other(ws):
    sampled(ws)
    sampled(ws, opponent="", seed=9)
    alone = stored.written(
        ws, sessions.start, SessionConfig(source="policy", checkpoint="sft-2@1", repeat_share=0.0, sample_below=0)
    )
    assert stored.written(ws, sessions.next_showing)
    assert stored.read(ws, sessions.count_waiting, alone) == 0, "only the pair of two answers of the policy"
    stored.written(ws, sessions.end, alone.id)
    config = session_config.head_to_head(BASE, "sft-2", 3).model_copy(update={"sample_below": 0})
    session = stored.written(ws, sessions.start, config)
    assert (session.config.checkpoint, session.config.opponent) == ("sft-2@1", BASE)
    showing = stored.written(ws, sessions.next_showing)
    assert "starter" not in (said := repr(showing)), said
    stored.written(ws, ratings.record, showing.id, "left")
    (vote,) = stored.read(ws, model_votes.between_checkpoints, "person")
    assert {vote.left, vote.right} == {"base:starter", "sft-2@1"}
    assert stored.written(ws, sessions.next_showing) is None


def test_the_session_samples_base_by_itself(ws):
    session = stored.written(ws, sessions.start, session_config.head_to_head("sft-2", BASE, 1))
    with warm.starts():
        run = prefetch.top_up(ws, session)
        assert for_run(ws, run.name, lambda r: r.is_ended).state == "finished"
    assert run.config.opponent == BASE
    assert stored.written(ws, sessions.next_showing)


def rivals(ws, num, model="/m/tiny"):
    """Comparisons between base and a checkpoint; an answer is its writer's name and a number."""
    ids = {c.name: c.id for c in stored.read(ws, checkpoints.list_all)}
    with ws.write() as db:
        for number in range(num):
            prompt_id = prompts.add_prompt(
                db, NewPrompt([{"role": "user", "content": f"Base {len(model)} {number}"}], split="validation")
            )
            pair = [
                prompts.add_response(db, prompt_id, f"{name} {number}", "sample", sampling="{}", **facts)
                for name, facts in (
                    ("sft-1@40", {"checkpoint_id": ids["sft-1@40"]}),
                    ("base", {"model": f"base:{model}"}),
                )
            ]
            comparisons.add_comparison(db, prompt_id, pair)


@pytest.fixture
def voted(tmp_path):
    """A workspace where sft-1 won against base eight times, and sft-2 against sft-1 four times."""
    ws = Workspace.open(tmp_path / "voted")
    filling.add_texts(ws, 4)
    for _ in range(2):
        filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    rivals(ws, 8)
    filling.add_rivals(ws, 4)
    while showing := stored.written(ws, comparisons.next_showing):
        best = max(range(2), key=lambda n: (showing.left, showing.right)[n])  # sft-2 before sft-1 before base
        stored.written(ws, ratings.record, showing.id, ("left", "right")[best])
    return ws


def test_the_leaderboard_names_base_in_the_terminal_on_the_page_and_as_an_anchor(voted, capsys):
    assert main(["leaderboard", "--anchor", "base", "--workspace", str(voted.root)]) == 0
    said = capsys.readouterr().out
    assert "expected against base (tiny)" in said
    assert "sft-1@40 against base (tiny): won 8, tied 0, lost 0" in said
    assert "/m/tiny" not in said
    (group,) = stored.read(voted, leaderboard.read).groups
    assert [shown(each.name) for each in group.standings] == ["sft-2@40", "sft-1@40", "base (tiny)"]
    assert stored.read(voted, leaderboard.read, "person", ["base:/m/tiny"]).groups[0].anchor == "base:/m/tiny"
    drawn = win_rates._draw(voted, "person")
    assert '<th scope="row">base (tiny)</th>' in drawn
    assert "<h3>sft-1@40 against base (tiny)</h3>" in drawn
    (pair,) = [pair for pair in stored.read(voted, report.votes) if pair.other == "base:/m/tiny"]
    assert (pair.one, pair.wins, pair.verdict) == ("sft-1@40", 8, "Decided: sft-1@40 is preferred.")
    names = [name for row in stored.preferences(voted) for name in row["models"]]
    assert names.count("base (tiny)") == 8


def test_votes_on_base_come_back_from_an_archive(voted, tmp_path):
    file = archive.write(voted).path
    assert main(["import", str(file), "--workspace", str(tmp_path / "new")]) == 0
    new = Workspace.open(tmp_path / "new")
    assert stored.read(new, leaderboard.read).as_dict() == stored.read(voted, leaderboard.read).as_dict()


def test_base_can_be_chosen_on_both_pages_and_in_the_terminal_and_by_an_address(voted, capsys):
    one, other, _, _ = win_rates._refresh(voted, "base/sft-1/7", None, None, None)
    assert [[value for _, value in each.choices] for each in (one, other)] == [["sft-2@40", "sft-1@40", "base"]] * 2
    assert win_rates._take_over("base/sft-1/7")[:3] == ["base", "sft-1", 7]
    for config in (SampleConfig, SessionConfig):
        assert "base" in [value for _, value in stored.read(voted, form.choices, config, "opponent")]
        assert "base" not in [value for _, value in stored.read(voted, form.choices, config, "checkpoint")]
        (kept,) = form.refreshed(voted, config, {"opponent": "base"})
        assert "value" not in kept.constructor_args, "what was chosen stays"
    for names in (["base", "sft-1"], ["sft-1", "base"]):
        assert main(["compare", *names, "--workspace", str(voted.root)]) == 0
        session = stored.read(voted, sessions.list_all)[0]
        assert (session.config.checkpoint, session.config.opponent) == ("sft-1@40", "base")
        stored.written(voted, sessions.end, session.id)


def test_base_alone_or_against_itself_is_refused_with_a_sentence(ws, capsys):
    with pytest.raises(RatingError, match="base is compared with a checkpoint"):
        stored.written(ws, sessions.start, session_config.head_to_head(BASE, BASE, 3))
    with pytest.raises(RatingError, match="base is compared with a checkpoint"):
        stored.written(ws, sessions.start, SessionConfig(source="policy", checkpoint=BASE))
    assert main(["sample", "--set", "checkpoint=base", "--workspace", str(ws.root)]) != 0
    assert "name that here, and base as opponent" in capsys.readouterr().err


def test_a_workspace_of_before_keeps_its_answers_and_lets_base_answer_from_then_on(tmp_path):
    path = tmp_path / "old" / "studio.db"
    path.parent.mkdir()
    with closing(connection.connect(path, may_create=True)) as db:
        db.enable_wal()
        migrations.ALL.apply(db, stop_before="m091_base_answers")
        with db.atomic():
            for statement in OLD_ROWS:
                db.execute(statement)
        with pytest.raises(sqlite3.IntegrityError):
            db.execute(BY_BASE)
        before = list(db.query("SELECT * FROM responses"))
    new = Workspace.open(path.parent)
    assert stored.tables(new)["responses"] == before
    assert (before[0]["token_ids"], before[1]["model"]) == ("[5]", "gpt")
    with new.write() as db:
        assert not list(db.query("PRAGMA foreign_key_check"))
        assert migrations.present(db) == SCHEMA.read_text(encoding="utf-8")
        found = db.query("SELECT rowid FROM response_search WHERE response_search MATCH 'answer'")
        assert [row["rowid"] for row in found] == [1, 2]
        db.execute(BY_BASE)
        for statement in (BY_BASE.replace("'base:starter'", "'sft-1@1'"), BY_BASE.replace("'base:starter'", "NULL")):
            with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
                db.execute(statement)
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            db.execute("DELETE FROM responses")


def test_pretrained_models_whose_folders_end_alike_are_told_apart_by_as_much_of_the_path_as_that_takes(
    tmp_path, capsys
):
    near, far, other = "base:/m/tiny/final", "base:/m/small/final", "base:Qwen/Qwen3-0.6B"
    names = (near, far, other, "sft-1@40")
    assert [shown(name, names) for name in names] == [
        "base (tiny/final)",
        "base (small/final)",
        "base (Qwen3-0.6B)",
        "sft-1@40",
    ]
    assert [shown(name, (near, other)) for name in (near, other)] == ["base (final)", "base (Qwen3-0.6B)"]
    assert shown("base:final", ("base:/x/final",)) == "base (final)"
    assert shown("base:/x/final", ("base:final",)) == "base (x/final)"
    assert shown("base:/a/x/final", ("base:/b/x/final",)) == "base (a/x/final)"
    ws = Workspace.open(tmp_path / "ws")
    filling.add_texts(ws, 4)
    filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    for model in ("/m/tiny/final", "/m/small/final"):
        rivals(ws, 2, model=model)
    while showing := stored.written(ws, comparisons.next_showing):
        stored.written(ws, ratings.record, showing.id, "left")
    assert main(["leaderboard", "--workspace", str(ws.root)]) == 0
    said = capsys.readouterr().out
    drawn = win_rates._draw(ws, "person")
    for name in ("base (tiny/final)", "base (small/final)"):
        assert f"against {name}: won" in said or f"{name} against" in said
        assert f'<th scope="row">{name}</th>' in drawn
    assert "base (final)" not in said + drawn
