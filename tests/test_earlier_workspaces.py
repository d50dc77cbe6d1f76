"""A workspace that an earlier version made opens with everything in it, and what this version does not know is kept and shown."""

import json
from contextlib import closing

import pytest

from modules.config import PPOConfig, SampleConfig, SFTConfig
from studio import doctor, settings
from studio.annotation import history
from studio.cli import main
from studio.database import connection, migrations
from studio.errors import ConfigError, RunError, WorkspaceError
from studio.models import checkpoints
from studio.preferences import prompts, ratings
from studio.runs import earlier_configs, runs
from studio.workspace import Workspace
from tests.support import stored

AT = "2026-06-01T10:00:00.000+00:00"
NEXT = [name for name in migrations.names() if name > "m001_first_schema"]


def config(stage, **changes):
    cls = {"sft": SFTConfig, "sample": SampleConfig, "ppo": PPOConfig}[stage]
    return json.dumps(
        {name: value for name, value in (json.loads(cls().model_dump_json()) | changes).items() if value != "-"}
    )


RUNS = {
    "sft-1": config("sft"),
    "sample-1": config("sample", pairs_per_prompt=2),
    "sft-2": config("sft", quantisation="int3", batch_size=-7),
    "sft-3": config("sft", seed="-", save_every="-"),
    "ppo-1": config("ppo", target_kl={"nested": [1]}, iterations="many"),
    "sft-4": "{broken",
    "sft-5": "[]",
    "distil-1": json.dumps({"teacher": "x"}),
}
UNREAD = {
    "sft-1": set(), "sample-1": {"pairs_per_prompt"}, "sft-2": {"quantisation", "batch_size"}, "sft-3": set(),
    "ppo-1": {"iterations", "target_kl"}, "sft-4": {"config"}, "sft-5": {"config"}, "distil-1": {"teacher"},
}  # fmt: skip


@pytest.fixture(params=["m002", "m005", "m007", "m010", "m011"], ids=lambda name: f"before {name}")
def ws(request, tmp_path):
    """A workspace as it was before one of the migrations, with a row of each kind."""
    stop = next(name for name in NEXT if name.startswith(request.param))
    path = tmp_path / "old" / "studio.db"
    path.parent.mkdir()
    with closing(connection.connect(path, may_create=True)) as db:
        db.enable_wal()
        migrations.ALL.apply(db, stop_before=[name for name in NEXT if name >= stop])
        add(db)
    for name in RUNS:
        (tmp_path / "old" / "runs" / name).mkdir(parents=True)
    return Workspace.open(path.parent)


def add(db):
    messages = json.dumps([{"role": "user", "content": "Is Über here?"}], ensure_ascii=False)
    with db.conn:
        db.execute(
            "INSERT INTO prompts (hash, messages, split, created_at) VALUES ('h', ?, 'train', ?)", [messages, AT]
        )
        for kind, text in (("import", "Yes."), ("import", "No."), ("demonstration", "Yes, here.")):
            db.execute(
                "INSERT INTO responses (prompt_id, text, kind, created_at) VALUES (1, ?, ?, ?)", [text, kind, AT]
            )
        db.execute("INSERT INTO comparisons (key, prompt_id, created_at) VALUES ('1:1,2', 1, ?)", [AT])
        db.execute("INSERT INTO comparison_responses VALUES (1, 0, 1), (1, 1, 2)")
        db.execute(
            "INSERT INTO showings (comparison_id, left_response_id, right_response_id, seed, rater, created_at)"
            " VALUES (1, 1, 2, 1, 'person', ?)",
            [AT],
        )
        for number, (outcome, before) in enumerate((("left", None), ("right", 1)), 1):
            db.execute(
                "INSERT INTO rating_events (uuid, comparison_id, showing_id, outcome, rater, supersedes, created_at)"
                " VALUES (?, 1, 1, ?, 'person', ?, ?)",
                [f"u{number}", outcome, before, AT],
            )
        for name, text in RUNS.items():
            db.execute(
                "INSERT INTO runs (name, stage, state, config, revision, created_at, started_at, ended_at, message)"
                " VALUES (?, ?, 'finished', ?, 'x', ?, ?, ?, 'Saved.')",
                [name, name.partition("-")[0], text, AT, AT, AT],
            )
        db.execute(
            "INSERT INTO checkpoints (name, run_id, step, folder, base_model, base_fingerprint, metrics, created_at)"
            " VALUES ('sft-1@1', 1, 1, 'runs/sft-1/checkpoints/step-000001', 'starter', 'f', '{}', ?)",
            [AT],
        )
        for step in range(5):
            db.execute("INSERT INTO metrics (run_id, step, name, value, at) VALUES (1, ?, 'loss', 1.0, ?)", [step, AT])


def test_everything_is_there_after_it_was_opened(ws, capsys):
    assert stored.read(ws, prompts.counts) | {"samples": 0} == {
        "prompts": 1, "demonstrations": 1, "samples": 0, "demonstrations_train": 1
    }  # fmt: skip
    assert [event["outcome"] for event in stored.read(ws, ratings.list_events)] == ["left", "right"]
    (entry,) = stored.read(ws, history.find, history.Filter(search="über"))
    assert (entry.outcome, entry.left, entry.right) == ("right", "Yes.", "No.")
    assert stored.freeze(ws).row_count == 1
    assert [c.name for c in stored.read(ws, checkpoints.list_all)] == ["sft-1@1"]
    assert connection.quick_check(ws.database) == "ok"
    assert {run.name: set(run.unread) for run in stored.read(ws, runs.list_all)} == UNREAD
    for words in (["runs"], ["runs", "show", "sample-1"], ["history"], ["export", "ratings"]):
        assert main([*words, "--workspace", str(ws.root)]) == 0, words
    assert 'settings of another version, not read: {"pairs_per_prompt": 2}' in capsys.readouterr().out


def test_the_doctor_says_which_runs_have_settings_of_another_version(ws):
    (said,) = (check.line for check in doctor._workspace(ws.root) if check.name == "configs")
    assert "settings of 6 runs are of another version" in said
    assert "distil-1: teacher" in said


@pytest.mark.parametrize(
    "stage_and_text", [(name.partition("-")[0], text) for name, text in RUNS.items()], ids=list(RUNS)
)
def test_what_can_be_read_of_a_config_is_read_and_the_rest_has_its_default(stage_and_text):
    found, unread = earlier_configs.read(*stage_and_text)
    assert not unread.keys() & found.model_dump(exclude_defaults=True).keys()
    if stage_and_text == ("sft", RUNS["sft-1"]):
        assert (found, unread) == (SFTConfig(), {})


def test_a_value_that_fits_is_kept_beside_one_that_does_not():
    found, unread = earlier_configs.read("sft", config("sft", seed=7, quantisation="int3"))
    assert (found.seed, unread) == (7, {"quantisation": "int3"})


def test_the_weight_of_the_value_loss_that_every_run_has_now_is_read_and_another_one_is_not(tmp_path):
    """It was a setting; the runs that had its default go on as they began."""
    assert earlier_configs.read("ppo", config("ppo", seed=7, value_coef=0.1)) == (PPOConfig(seed=7), {})
    assert earlier_configs.read("ppo", config("ppo", value_coef=0.5))[1] == {"value_coef": 0.5}
    file = tmp_path / "config.json"
    file.write_text('{"seed": 7, "value_coef": 0.1}')
    assert settings.read("ppo", str(file), []) == PPOConfig(seed=7)
    with pytest.raises(ConfigError, match="ppo has no setting 'value_coef'"):
        settings.read("ppo", None, ["value_coef=0.5"])


def test_a_run_whose_settings_are_not_all_known_is_not_resumed_in_another_way(tmp_path):
    ws = Workspace.open(tmp_path)
    with ws.write() as db:
        db.table("runs").insert(
            {
                "name": "sft-1",
                "stage": "sft",
                "state": "stopped",
                "config": config("sft", magic=3),
                "revision": "",
                "created_at": AT,
            }
        )
    with pytest.raises(RunError, match=r"settings that this one does not know \(magic\)"):
        runs.resume(ws, "sft-1")


def test_a_migration_says_where_the_database_stays_as_it_was(tmp_path, capsys):
    path = tmp_path / "old" / "studio.db"
    path.parent.mkdir()
    with closing(connection.connect(path, may_create=True)) as db:
        migrations.ALL.apply(db, stop_before="m015_many_runs")
    ws = Workspace.open(path.parent)
    (backup,) = ws.backups.iterdir()
    assert (
        capsys.readouterr().err
        == f"studio.db is brought up to date by this version; a copy of the old one is kept in {backup}\n"
    )
    Workspace.open(tmp_path / "new")
    assert capsys.readouterr().err == "", "a new workspace has nothing to be kept"


def test_a_program_at_work_while_a_newer_version_migrates_goes_on_where_it_can_and_else_says_so(tmp_path):
    ws = Workspace.open(tmp_path / "studio")
    run = _queued(ws)
    with ws.write() as db:
        db.execute("ALTER TABLE runs ADD COLUMN mood TEXT NOT NULL DEFAULT 'good'")
        applied = {"migration_set": "rlhf-studio", "name": "m099_moods", "applied_at": "2030-01-01"}
        db.table("_sqlite_migrations").insert(applied)
    stored.written(ws, runs.beat, run.id, 0.5, "step 1 of 2")
    assert stored.read(ws, runs.get, run.name).progress == 0.5, "a column more is none of its business"
    with ws.write() as db:
        db.execute("ALTER TABLE runs RENAME COLUMN progress TO share")
    with pytest.raises(
        WorkspaceError, match=r"brought up to date by a newer version of RLHF Studio \(it has m099_moods\)"
    ):
        stored.written(ws, runs.beat, run.id, 0.7, "step 2 of 2")


def _queued(ws):
    stored.written(ws, prompts.add_demonstration, [{"role": "user", "content": "Why?"}], "So.")
    return runs.create(ws, SFTConfig())
