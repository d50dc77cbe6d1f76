"""Rounds: a reward model is of the round after the policies whose answers its ratings compare, and PPO is of its reward model's."""

import pytest

from modules.config import DPOConfig, PPOConfig, RewardConfig, SFTConfig
from studio.cli import main
from studio.evaluation import leaderboard
from studio.insights import round_figures
from studio.models import checkpoints, deletion, disk
from studio.preferences import prompts, snapshots
from studio.runs import metrics, rounds, runs
from studio.workspace import Workspace
from tests.support import stored
from tests.ui import filling
from tests.ui.filling import add_checkpoint, add_pairs, add_rated, add_rivals, add_run
from ui.pages.models import table


@pytest.fixture
def ws(tmp_path):
    """Twice round the loop: reward-2 has seen votes on answers of ppo-1; a run of DPO next to it; sft-2, not used yet."""
    made = Workspace.open(tmp_path / "workspace")
    (made.rewards / "length.py").write_text("def short(prompts, responses):\n    return [0.0 for _ in responses]\n")
    ids = filling.add_texts(made)
    add_checkpoint(made, add_run(made, SFTConfig()), 10)
    add_pairs(made, ids[:4], "sft-1@10")
    add_rated(made, 4)
    add_checkpoint(made, add_run(made, RewardConfig()), 20)
    add_checkpoint(made, add_run(made, PPOConfig()), 30)
    add_pairs(made, ids[4:8], "ppo-1@30", lambda n: (f"A {n}", f"B {n}"))
    add_rated(made, 4)
    add_checkpoint(made, add_run(made, RewardConfig()), 20)
    add_checkpoint(made, add_run(made, PPOConfig(policy_checkpoint="ppo-1@30")), 40)
    add_checkpoint(made, add_run(made, DPOConfig()), 50)
    add_checkpoint(made, add_run(made, SFTConfig()), 10)
    return made


def test_a_run_takes_what_all_of_its_checkpoints_and_files_take_and_the_workspace_what_all_of_it_takes(ws):
    before, whole = rounds.sizes(ws, rounds.read(ws)[0]), disk.taken(ws.root)
    assert before.keys() == {"sft-1", "reward-1", "ppo-1", "reward-2", "ppo-2", "dpo-1", "sft-2"}
    (ws.runs / "sft-1" / "checkpoints" / "step_000005").mkdir()
    (ws.runs / "sft-1" / "checkpoints" / "step_000005" / "weights").write_bytes(b"x" * 3 * 2**20)
    (ws.runs / "sft-1" / "log.txt").write_bytes(b"x" * 2**20)
    after = rounds.sizes(ws, rounds.read(ws)[0])
    assert after["sft-1"] - before["sft-1"] == 4 * 2**20
    assert {name: size for name, size in after.items() if name != "sft-1"} == {
        name: size for name, size in before.items() if name != "sft-1"
    }
    assert disk.taken(ws.root) - whole == 4 * 2**20
    said = disk.summary(ws.root, ws.runs)
    assert said.startswith(f"This workspace takes {disk.words(whole + 4 * 2**20)}, 4.")
    assert said.endswith("are free.")


def names(ws, **named):
    found, _ = rounds.read(ws, **named)
    return {each.number: [member.run.name for member in each.members] for each in found}


def member(ws, name):
    return next(m for each in rounds.read(ws)[0] for m in each.members if m.run.name == name)


def test_each_run_is_in_its_round_and_the_newest_round_comes_first(ws):
    assert names(ws) == {2: ["reward-2", "ppo-2", "dpo-1", "sft-2"], 1: ["sft-1", "reward-1", "ppo-1"]}
    assert [each.number for each in rounds.read(ws)[0]] == [2, 1]


def test_a_run_says_what_it_trained_on(ws):
    assert member(ws, "sft-1").sentence == "from starter"
    assert member(ws, "reward-1").sentence == "from sft-1@10; snapshot-1: 4 preferences on answers of sft-1@10"
    assert member(ws, "ppo-1").sentence == "from sft-1@10; scored by reward-1@20"
    assert (
        member(ws, "reward-2").sentence == "from sft-1@10; snapshot-2: 8 preferences on answers of sft-1@10, ppo-1@30"
    )
    assert member(ws, "ppo-2").sentence == "from ppo-1@30; scored by reward-2@20"


def test_ppo_from_the_policy_of_a_later_round_is_of_that_round_whatever_scores_it(ws):
    config = PPOConfig(policy_checkpoint="ppo-2@40", reward_checkpoint="reward-1@20")
    add_checkpoint(ws, add_run(ws, config), 10)
    assert "ppo-3" in names(ws)[2]


def test_a_resumed_run_is_of_the_round_of_the_run_it_goes_on_from(ws):
    with ws.write() as db:
        first = runs.get(db, "ppo-1")
        id_ = checkpoints.id_of(db, "ppo-1@30")
        db.execute(
            "INSERT INTO runs (name, stage, state, config, revision, created_at, ended_at, gone_at, resumed_from)"
            " VALUES ('ppo-3', 'ppo', 'finished', ?, 'x', ?, ?, ?, ?)",
            [first.config.model_dump_json(), *[first.created_at] * 3, id_],
        )
    add_checkpoint(ws, stored.read(ws, runs.get, "ppo-3"), 60)
    assert "ppo-3" in names(ws)[1]
    assert member(ws, "ppo-3").sentence.startswith("goes on from ppo-1@30")


def test_sft_is_in_the_first_round_that_uses_it(ws):
    add_checkpoint(ws, add_run(ws, RewardConfig(sft_checkpoint="sft-2")), 20)
    assert names(ws)[2][-2:] == ["sft-2", "reward-3"]
    add_checkpoint(ws, add_run(ws, PPOConfig(sft_checkpoint="sft-2", rewards="function:length.py:short")), 1)
    assert "sft-2" in names(ws)[1]
    assert member(ws, "ppo-3").sentence == "from sft-2@10; scored by function:length.py:short*1.0"


def test_only_the_newest_runs_with_checkpoints_are_shown_and_rounds_of_the_others_still_count(ws):
    deletion.delete(ws, ["dpo-1"], is_runs=True)
    add_run(ws, SFTConfig(), "failed")
    assert names(ws, limit=3) == {2: ["reward-2", "ppo-2", "sft-2"]}
    assert rounds.read(ws, limit=3)[1] == 3
    assert rounds.read(ws)[1] == 0


def test_a_checkpoint_that_says_it_came_from_a_later_run_makes_no_circle(ws):
    with ws.write() as db:
        ids = {c["name"]: c["id"] for c in db.query("SELECT id, name FROM checkpoints")}
        run = runs.get(db, "ppo-1")
        db.execute("INSERT INTO run_parents VALUES (?, 'opponent', ?)", [run.id, ids["ppo-2@40"]])
    assert names(ws)[1] == ["sft-1", "reward-1", "ppo-1"]


def test_a_snapshot_that_says_it_compares_answers_of_a_later_run_makes_no_circle(ws):
    with ws.write() as db:
        row = next(db.query("SELECT * FROM snapshot_rows WHERE snapshot_id = 1"))
        id_ = checkpoints.id_of(db, "ppo-2@40")
        response = prompts.add_response(db, 1, "Later.", "sample", checkpoint_id=id_, sampling='{"temperature": 1}')
        db.table("snapshot_rows").insert(row | {"position": 99, "chosen_id": response})
    assert names(ws)[1] == ["sft-1", "reward-1", "ppo-1"]


def test_a_snapshot_names_who_answered_and_not_who_did_not(ws):
    ids = {name: stored.read(ws, checkpoints.get, name).id for name in ("sft-1@10", "ppo-1@30")}
    assert stored.read(ws, snapshots.answered_by, 1) == [ids["sft-1@10"]]
    assert stored.read(ws, snapshots.answered_by, 2) == sorted(ids.values())


@pytest.mark.parametrize(("rater", "whose"), [("person", "4 votes"), ("scripted", "4 votes of scripted")])
def test_votes_against_the_sft_checkpoint_it_began_with_are_counted_for_each_policy(ws, capsys, rater, whose):
    add_rivals(ws, 4, ("ppo-1@30", "sft-1@10"))
    add_rivals(ws, 3, ("ppo-1@30", "ppo-2@40"))
    with ws.write() as db:
        rows = list(db.query("SELECT id FROM comparisons ORDER BY id DESC LIMIT 7"))
        for number, row in enumerate(reversed(rows)):
            uuid = f"vote-{number}"
            outcome = ["left", "left", "left", "tie", "left", "left", "left"][number]
            db.execute(
                "INSERT INTO rating_events (uuid, comparison_id, outcome, rater, created_at) VALUES (?, ?, ?, ?, ?)",
                [uuid, row["id"], outcome, rater, "2026-01-01T00:00:00.000+00:00"],
            )
    found = stored.read(ws, leaderboard.against_sft, stored.read(ws, checkpoints.list_all))
    assert round_figures.read(ws)[1].votes == found["ppo-1@30"]
    assert list(found) == ["ppo-1@30"]
    met = found["ppo-1@30"]
    assert (met.other, met.wins, met.ties, met.losses, met.half) == ("sft-1@10", 3, 1, 0, 0.875)
    assert (met.rater, met.counted) == (rater, whose)
    assert round_figures.read(ws)[1].sentence.count(f"{whose})") == 1
    assert main(["models", "--workspace", str(ws.root)]) == 0
    assert f", {whose})" in capsys.readouterr().out
    assert main(["models", "compare", "sft-1", "ppo-1", "--workspace", str(ws.root)]) == 0
    assert f", {whose})" in capsys.readouterr().out
    assert f", {whose}</small>" in table._won(met)


def test_a_round_tells_what_its_newest_reward_model_and_policy_brought(ws):
    """The loss is compared with that of SFT, over a policy that went on from another, and by one suite of texts."""
    ppo_1, ppo_2 = (stored.read(ws, runs.get, name) for name in ("ppo-1", "ppo-2"))
    for run, losses in ((ppo_1, (2.0, 2.2)), (ppo_2, (2.2, 2.5))):
        for step, loss in enumerate(losses):
            stored.written(ws, metrics.add, run.id, step, {"eval/demonstration_loss": loss})
    with ws.write() as db:
        figures = '{"eval/demonstration_loss": 2.5, "eval/kl": 4.25}'
        db.execute("UPDATE checkpoints SET metrics = ? WHERE name = 'ppo-2@40'", [figures])
        db.execute("""UPDATE checkpoints SET metrics = '{"eval/accuracy": 0.7}' WHERE name = 'reward-2@20'""")
    second, first = round_figures.read(ws)
    assert (second.number, second.reward.name, second.policy.name) == (2, "reward-2@20", "ppo-2@40")
    assert (second.snapshot.name, second.accuracy, second.kl, second.votes) == ("snapshot-2", 0.7, 4.25, None)
    assert second.tax == pytest.approx(2.5 / 2.0 - 1)
    assert second.sentence == "8 preferences, held-out accuracy 70%, KL 4.2, tax +25.0%"
    assert (first.policy.name, first.kl, first.tax, first.snapshot.row_count) == ("ppo-1@30", None, None, 4)


def test_rounds_begin_with_what_learned_from_ratings(tmp_path):
    made = Workspace.open(tmp_path / "new")
    filling.add_texts(made)
    add_checkpoint(made, add_run(made, SFTConfig()), 10)
    assert round_figures.read(made) == []


def test_the_terminal_prints_rounds_the_oldest_first(ws, capsys):
    assert main(["models", "rounds", "--workspace", str(ws.root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("Round")] == ["Round 1: 4 preferences", "Round 2: 8 preferences"]
    size = disk.words(disk.taken(ws.runs / "sft-1")).split()
    assert lines[1].split() == ["sft-1", "finished", *size, "sft-1@10", "from", "starter"]
    assert lines[-1] == disk.summary(ws.root, ws.runs)
    assert main(["models", "rounds", "--workspace", str(Workspace.open(ws.root.parent / "new").root)]) == 0
    assert "There are no checkpoints yet" in capsys.readouterr().out
