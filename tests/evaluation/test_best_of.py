"""Best-of-n and over-optimisation: the estimate against all draws, Gao's form, the checkpoint to take, and the whole way through runs."""

import json
import math
from itertools import combinations
from statistics import fmean

import numpy as np
import pytest

from modules.config import DPOConfig, EvaluateConfig, PPOConfig, RewardConfig, SampleConfig, SFTConfig
from modules.model.backbone import Backbone
from modules.rl.experience import score_texts
from studio.chat.protocol import Sampling
from studio.chat.resident import Resident
from studio.cli import main
from studio.errors import CheckpointError, ConfigError
from studio.evaluation import best_of, curves, leaderboard, overoptimisation, report, results
from studio.evaluation.overoptimisation import Policy
from studio.models import base_models, checkpoints
from studio.preferences import comparisons, prompts, ratings, snapshots
from studio.preferences.prompts import NewPrompt
from studio.runs import launcher, metrics, runs
from studio.workspace import Workspace
from tests.support import stored, warm
from tests.support.waiting import for_run
from ui.pages.evaluate import earned

TINY = {"lora_rank": 4, "batch_size": 8, "micro_batch_size": 8, "max_length": 128}


def test_the_estimate_is_the_mean_over_all_draws_of_n_of_the_answers():
    rng = np.random.default_rng(0)
    proxy, gold = rng.normal(size=7), rng.normal(size=7)
    for n in range(1, 8):
        drawn = [max(chosen, key=lambda k: proxy[k]) for chosen in combinations(range(7), n)]
        assert best_of.means(proxy, proxy)[n - 1] == pytest.approx(fmean(proxy[k] for k in drawn))
        assert best_of.means(proxy, gold)[n - 1] == pytest.approx(fmean(gold[k] for k in drawn))
    assert best_of.means(range(64), range(64))[63] == 63


def test_choosing_costs_the_published_kl():
    assert [round(best_of.kl(n), 2) for n in (1, 2, 4, 16, 64)] == [0.0, 0.19, 0.64, 1.84, 3.17]


def test_gaos_form_is_found_again_from_five_policies_and_not_from_fewer():
    kls = [0.0, 1.0, 3.0, 6.0, 10.0, 20.0]
    gains = [0.0, *(math.sqrt(kl) * (1.2 - 0.5 * math.log(math.sqrt(kl))) for kl in kls[1:])]
    fit = overoptimisation.fit(kls, gains)
    assert (fit.alpha, fit.beta) == pytest.approx((1.2, 0.5))
    grid = np.linspace(0.5, 40, 4000)
    highest = grid[np.argmax(np.sqrt(grid) * (1.2 - 0.25 * np.log(grid)))]
    assert fit.peak_kl == pytest.approx(highest, rel=0.01)
    assert overoptimisation.fit(kls[:5], gains[:5]) is None, "the start is no point"
    assert overoptimisation.Fit(1.0, -0.1).peak_kl is None
    assert "is greatest at a KL of" in curves._told("gold", fit, furthest=20.0)
    assert "still rises at 3.0 nats" in curves._told("gold", fit, furthest=3.0), "no word about what was not measured"


def policies(*golds):
    return [
        Policy(f"ppo-1@{n}" if n else "sft-1@9", "ppo" if n else "sft", 3.0 * n, 1.0 * n, gold, None)
        for n, gold in enumerate(golds)
    ]


def told(*golds, spread=0.1):
    """The advice where prompts scatter this much around the difference of two policies."""
    known = {policy.name: policy.gold for policy in policies(*golds)}
    noise = spread * np.tile([-1.0, 1.0], 20)

    def compare(before, after):
        return overoptimisation.statistics.paired(np.full(40, known[before]), known[after] + noise)

    return overoptimisation.advise(policies(*golds), compare)


def test_the_checkpoint_to_take_is_the_one_before_the_gold_score_turns_down_if_that_is_shown():
    turned = told(0.0, 0.5, 0.9, 0.6, 0.4)
    assert "Take ppo-1@2 (KL 6.0 nats)" in turned
    assert "turns down: ppo-1@4 (KL 12.0 nats) is lower by 0.500" in turned
    assert "is worse is not shown" in told(0.0, 0.5, 0.9, 0.89, 0.88)
    assert "is not known yet" in told(0.0, 0.5, 0.9)
    assert "That it is better than sft-1@9 is not shown" in told(0.0, 0.01)
    assert "none of them above sft-1@9" in told(0.5, 0.4, 0.3)


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    """SFT, a reward model on each half of the votes, and PPO that saves checkpoints on its way."""
    with warm.starts():
        yield filled(Workspace.open(tmp_path_factory.mktemp("earned") / "studio"))


def filled(ws):
    with ws.write() as db:
        for n in range(40):
            split = "test" if n % 10 == 0 else "validation" if n % 10 == 1 else "train"
            asked = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"What is {n}?"}], split=split))
            prompts.add_response(db, asked, f"It is {n}.", "demonstration")
            pair = [prompts.add_response(db, asked, text, "import") for text in (f"Good {n} is it.", f"Bad: {n} no")]
            comparisons.add_comparison(db, asked, (pair[0], pair[1]))
    while showing := stored.written(ws, comparisons.next_showing):
        stored.written(ws, ratings.record, showing.id, "left" if showing.left.startswith("Good") else "right")
    small = TINY | {"eval_every": 1000, "epochs": 1}
    end(ws, SFTConfig(**small, eval_samples=0))
    for half in ("first", "second"):
        end(ws, RewardConfig(**small, votes_half=half))
    ppo = {"iterations": 3, "minibatch_size": 8, "max_new_tokens": 8, "value_warmup": 0, "learning_rate": 5e-3}
    end(
        ws,
        PPOConfig(
            **TINY,
            **ppo,
            epochs=2,
            reward_checkpoint="reward-1",
            save_at_kl="0.01",
            eval_every=2,
            eval_suites="grammar",
            eval_suite_items=8,
        ),
    )
    end(ws, DPOConfig(**TINY | {"eval_every": 2}, epochs=2, learning_rate=1e-2))
    return ws


def end(ws, config):
    run = launcher.start(ws, runs.create(ws, config))
    run = for_run(ws, run.name, lambda r: r.is_ended)
    assert run.state == "finished", run.message
    return run


def test_no_vote_of_a_training_prompt_is_in_both_halves_and_held_out_votes_are_whole(ws):
    rows = {}
    for half, name in (("first", "reward-1"), ("second", "reward-2")):
        run = stored.read(ws, runs.get, name)
        assert f"half {half}" in stored.read(ws, snapshots.get, run.config.snapshot).sentence
        rows[half] = [{row["prompt_id"] for row in runs.read_rows(ws, name, part)} for part in ("train", "validation")]
    (first, held), (second, also_held) = rows["first"], rows["second"]
    assert not first & second
    everyone = {row["prompt_id"] for row in stored.comparisons(ws)}
    assert first | second | held == everyone - {
        row["id"] for row in stored.read(ws, lambda db: prompts.list_prompts(db, split="test"))
    }
    assert min(len(first), len(second)) >= 10
    assert held == also_held != set()
    one, other = (stored.read(ws, runs.get, name).id for name in ("reward-1", "reward-2"))
    assert not stored.read(ws, snapshots.share_votes, one, other), "held-out votes teach nothing"
    assert stored.read(ws, snapshots.share_votes, one, one)


def test_a_snapshot_knows_its_own_half_and_another_is_refused(ws):
    frozen = stored.read(ws, runs.get, "reward-2").config.snapshot
    assert runs.create(ws, RewardConfig(snapshot=frozen)).config.votes_half == "second"
    with pytest.raises(ConfigError, match="frozen with second"):
        runs.create(ws, RewardConfig(snapshot=frozen, votes_half="first"))


def test_ppo_measures_suites_at_each_evaluation(ws):
    run = stored.read(ws, runs.get, "ppo-1")
    steps = [step for step, _ in stored.read(ws, metrics.curve, run.id, "eval/score")]
    assert [step for step, _ in stored.read(ws, metrics.curve, run.id, "suite/grammar")] == steps == [0, 2, 3]


def test_dpo_learns_from_the_votes_without_a_reward_model_and_is_a_policy_like_the_others(ws):
    run = stored.read(ws, runs.get, "dpo-1")
    losses = stored.read(ws, metrics.curve, run.id, "eval/loss")
    assert losses[0] == (0, pytest.approx(math.log(2), abs=1e-5))
    assert losses[-1][1] < 0.5
    assert stored.read(ws, metrics.latest, run.id)["eval/accuracy"] == 1.0
    assert run.snapshot_id is not None
    found = stored.read(ws, checkpoints.get, "dpo-1")
    assert {p.name for p in found.folder.iterdir()} == {"meta.json", "policy", "state.json", "state.safetensors"}
    assert stored.read(ws, checkpoints.parents, found.name) == {"sft": stored.read(ws, checkpoints.get, "sft-1").name}
    for config in (SampleConfig(checkpoint="dpo-1"), PPOConfig(**TINY, policy_checkpoint="dpo-1", minibatch_size=8)):
        assert found.id in stored.read(ws, runs.parents_of, runs.create(ws, config)).values()
    resident = Resident(ws, "cpu")
    question = resident.question("dpo-1", [{"role": "user", "content": "What is 3?"}], Sampling(max_new_tokens=4))
    assert list(resident.answer(question))[-1].num_tokens > 0
    resident.close()


@pytest.fixture(scope="module")
def measured(ws):
    return end(ws, EvaluateConfig(best_of=4, max_new_tokens=24, batch_size=8))


def test_best_of_fills_in_what_the_question_needs(ws, measured):
    config = measured.config
    names = [name.strip() for name in config.checkpoints.split(",")]
    saved = [c.name for c in stored.read(ws, checkpoints.list_all, "ppo") if checkpoints.SAVED_AT_KL in c.metrics]
    assert names[0] == stored.read(ws, checkpoints.get, "sft-1").name
    assert set(names[1:]) == {
        *saved,
        stored.read(ws, checkpoints.get, "ppo-1").name,
        stored.read(ws, checkpoints.get, "dpo-1").name,
    }
    assert saved
    assert (config.suites, config.top_p, config.num_samples) == ("answers", 1.0, 4)
    assert config.reward_checkpoint == stored.read(ws, checkpoints.get, "reward-1").name
    assert config.gold_checkpoint == stored.read(ws, checkpoints.get, "reward-2").name


def test_scores_and_kl_of_each_answer_give_the_curve_the_table_and_the_advice(ws, measured, capsys):
    (curve,) = stored.read(ws, overoptimisation.read)
    start, *others = curve.policies
    assert {policy.stage for policy in others} == {"ppo", "dpo"}
    assert start.kl == pytest.approx(0.0, abs=1e-6)
    assert others[-1].kl > 0.01
    (suite,) = [s for s in stored.read(ws, results.measured) if s.conditions.get("gold")]
    items = stored.read(ws, results.items, suite.id, [start.name])
    assert [len(item.scores[start.name]) for item in items] == [4] * 4
    scores = [[sample["reward"] for sample in item.scores[start.name]] for item in items]
    assert [best.n for best in curve.best] == [1, 2, 3, 4]
    assert curve.best[0].proxy == pytest.approx(start.proxy) == pytest.approx(fmean(map(fmean, scores)))
    assert curve.best[3].proxy == pytest.approx(fmean(map(max, scores)))
    golds = [max(item.scores[start.name], key=lambda sample: sample["reward"])["gold"] for item in items]
    assert curve.best[3].gold == pytest.approx(fmean(golds))
    assert curve.gold_fit is None, "fewer than five policies"
    assert curve.has_own_votes
    assert curves.SHARED_VOTES not in curves.sentences(curve)
    assert curves.SHARED_VOTES in curves.sentences(curve._replace(has_own_votes=False))
    assert main(["evaluate", "report", "--workspace", str(ws.root)]) == 0
    said = capsys.readouterr().out
    assert f"best of 4 of {start.name}" in said
    assert curve.advice in said
    page = (ws.exports / report.FOLDER / "report.html").read_text(encoding="utf-8")
    assert "What PPO earned for its KL" in page
    facts = json.loads((ws.exports / report.FOLDER / "report.json").read_text(encoding="utf-8"))["earned"]
    assert [len(facts), len(facts[0]["best_of_n"])] == [1, 4]
    (drawn,) = earned._refresh(ws)
    assert drawn.count("<svg") == 3
    assert curves.table(curve)[0] == ("Checkpoint", "KL, nats", "Reward model", "Gold"), "nobody has voted"
    assert f"best of 4 of {start.name}" in [row[0] for row in curves.table(curve)]
    assert set(curve.best_of_others) == {policy.name for policy in others}


def test_a_reward_models_score_of_an_answer_is_that_of_the_same_text(ws, measured):
    """The score that is stored is the one that the worker predicts votes with."""
    (suite,) = [s for s in stored.read(ws, results.measured) if s.conditions.get("gold")]
    name = stored.read(ws, checkpoints.get, "sft-1").name
    reward = stored.read(ws, checkpoints.get, "reward-1")
    backbone = Backbone.load(base_models.resolve("starter"), device="cpu", precision="fp32")
    backbone.add_role("reward", source=reward.folder / "reward", head=True)
    num = 0
    for item in stored.read(ws, results.items, suite.id, [name]):
        ended = [s for s in zip(item.scores[name], item.texts[name], strict=True) if not s[0]["truncated"]]
        found = score_texts(backbone, [(item.content["messages"], text) for _, text in ended]) if ended else []
        assert found == pytest.approx([scores["reward"] for scores, _ in ended], abs=1e-4)
        num += len(found)
    assert num


def test_votes_between_a_policy_and_sft_stand_beside_its_scores(ws, measured):
    (before,) = stored.read(ws, overoptimisation.read)
    start, policy = before.policies[0].name, before.policies[-1].name
    assert {each.win_rate for each in before.policies} == {None}
    with ws.write() as db:
        ids = [stored.read(ws, checkpoints.get, name).id for name in (policy, start)]
        for n in range(12):
            asked = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"Vote {n}?"}], split="test"))
            pair = [
                prompts.add_response(db, asked, text, "sample", checkpoint_id=id_, sampling='{"temperature": 1}')
                for text, id_ in zip((f"new {n}", f"old {n}"), ids, strict=True)
            ]
            comparisons.add_comparison(db, asked, (pair[0], pair[1]))
    for _ in range(12):
        showing = stored.written(ws, comparisons.next_showing)
        stored.written(ws, ratings.record, showing.id, "left" if showing.left.startswith("new") else "right")
    (curve,) = stored.read(ws, overoptimisation.read)
    found = {each.name: each.win_rate for each in curve.policies}
    (group,) = stored.read(ws, leaderboard.read, "person", [start]).groups
    expected = next(each.win_rate for each in group.standings if each.name == policy)
    assert found.pop(policy) == expected > 0.5
    assert set(found.values()) == {None}
    assert curves.table(curve)[0][-1] == "Won"
    assert len(curves.charts(curve)) == 4


def test_what_does_not_go_with_best_of_is_refused(ws, tmp_path):
    with pytest.raises(ConfigError, match="samples_per_prompt 7"):
        runs.create(ws, EvaluateConfig(best_of=4, samples_per_prompt=7))
    with pytest.raises(ConfigError, match="cannot judge itself"):
        runs.create(ws, EvaluateConfig(best_of=4, reward_checkpoint="reward-1", gold_checkpoint="reward-1"))
    with pytest.raises(ConfigError, match="PPO and DPO compare"):
        runs.create(ws, DPOConfig(lora_dropout=0.1))
    with pytest.raises(ConfigError, match="no suite samples any"):
        runs.create(ws, EvaluateConfig(best_of=4, suites="grammar"))
    empty = Workspace.open(tmp_path / "studio")
    with empty.write() as db:
        prompts.add_prompt(db, NewPrompt([{"role": "user", "content": "Why?"}], split="test"))
    with pytest.raises(CheckpointError, match="chooses by a reward model's score"):
        runs.create(empty, EvaluateConfig(best_of=4, base_model="starter"))
    assert "There is no checkpoint yet" in earned._start(empty, 4)[0]
