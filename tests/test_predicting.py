"""Predictions come from a real child process with a real reward model; a session that runs dry is supplied by itself."""

import json
import queue
import threading
from contextlib import contextmanager

import pytest

from modules.config import SampleConfig, SFTConfig
from studio.annotation import predictions, prefetch, sessions
from studio.annotation.session_config import SessionConfig
from studio.chat.protocol import Predicting, Start
from studio.chat.resident import Resident
from studio.cli import main
from studio.errors import DataError, RunError
from studio.models import checkpoints
from studio.preferences import comparisons, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.runs import launcher, runs
from studio.worker import sampling
from studio.workspace import Workspace
from tests.support import stored, warm
from tests.support.policies import as_reward
from tests.support.waiting import for_run, until
from tests.test_exporting import make_checkpoint
from tests.ui import filling

# peft reads a property that transformers renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


@pytest.fixture
def quick_starts():
    with warm.starts():
        yield


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "workspace")


def add_pairs(ws, num, run=None):
    with ws.write() as db:
        for n in range(num):
            prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"What is {n}?"}], split="train"))
            pair = [prompts.add_response(db, prompt_id, f"{text} {n}.", "import") for text in ("It is", "Why ask")]
            comparisons.add_comparison(db, prompt_id, pair, run)


def test_a_child_process_predicts_what_nobody_has_judged_with_the_scores_of_the_reward_model(ws, capsys):
    add_pairs(ws, 5)
    showing = stored.written(ws, comparisons.next_showing)
    stored.written(ws, ratings.record, showing.id, "left")
    name, backbone = make_checkpoint(ws, "reward")
    as_reward(ws, name)
    assert main(["session", "predict", "--workspace", str(ws.root)]) == 0
    assert "predicted 4 comparisons" in capsys.readouterr().out
    assert stored.read(ws, predictions.counts) == {"predictions": 4, "waiting": 0}
    import torch

    with ws.read() as db:
        rows = {row["comparison_id"]: row for row in db.query("SELECT * FROM predictions")}
    assert showing.comparison_id not in rows
    chat = backbone.chat
    for comparison_id, row in rows.items():
        n = comparison_id - 1
        prompt = chat.encode_prompt([{"role": "user", "content": f"What is {n}?"}]).ids
        scores = []
        for text in (f"It is {n}.", f"Why ask {n}."):
            ids = torch.tensor([prompt + chat.encode_response(text)])
            with torch.no_grad(), backbone.role("reward"):
                scores.append(float(backbone.scores(ids, torch.tensor([ids.shape[1]]))))
        expected = torch.tensor(scores[0] - scores[1]).sigmoid().item()
        assert row["preference"] == pytest.approx(expected, abs=1e-4)
        assert row["uncertainty_kind"] == "closeness"


@pytest.mark.usefixtures("quick_starts")
def test_a_reward_model_whose_folder_is_broken_is_a_sentence(ws):
    add_pairs(ws, 1)
    filling.add_texts(ws, 2)
    name = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    as_reward(ws, name)
    (stored.read(ws, checkpoints.get, name).folder / "meta.json").unlink()
    with pytest.raises(RunError, match=r"could not predict: .*it has no meta\.json"):
        predictions.run(ws)


def test_a_child_is_not_started_again_until_there_is_something_new(ws, monkeypatch, tmp_path):
    started = []

    class Child:
        def __init__(self, *_, **__):
            started.append(self)
            self.stdin = (tmp_path / "request").open("w")

        def poll(self):
            return 1

    add_pairs(ws, 2)
    assert predictions.start(ws) is False
    filling.add_texts(ws, 2)
    as_reward(ws, filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig())))
    monkeypatch.setattr(predictions.subprocess, "Popen", Child)
    assert [predictions.start(ws) for _ in range(3)] == [True, False, False]
    assert json.loads((tmp_path / "request").read_text()) == {"root": str(ws.root), "is_patient": True}
    filling.add_pairs(ws, [1], "reward-1@40" if False else stored.read(ws, checkpoints.list_all)[0].name)
    assert predictions.start(ws) is True
    assert len(started) == 2


# The process that stays.


@pytest.fixture
def resident(ws, quick_starts):
    found = Resident(ws, "cpu")
    yield found
    found.close()


def predicted(ws):
    with ws.read() as db:
        return [tuple(row.values()) for row in db.query("SELECT comparison_id, scores, preference FROM predictions")]


def test_the_resident_process_predicts_with_the_scores_of_a_process_of_its_own_and_starts_once(
    ws, resident, tmp_path, monkeypatch
):
    other = Workspace.open(tmp_path / "other")
    for each in (ws, other):
        add_pairs(each, 40)
        name, _ = make_checkpoint(each, "reward")
        as_reward(each, name)
    assert "predicted 40 comparisons" in predictions.run(other)
    monkeypatch.setattr(predictions, "_start_child", lambda ws: pytest.fail("another process was started"))
    predictions.ask_resident(ws, lambda: resident.predict if resident.is_idle else None)
    pids = []
    for num in (40, 43):
        assert predictions.start(ws) is True
        until(lambda: not predictions.is_at_work(ws), "all are predicted")
        assert stored.read(ws, predictions.counts) == {"predictions": num, "waiting": 0}
        pids.append(resident.pid)
        if num == 40:
            assert predicted(ws) == predicted(other), "to the last bit"
        with ws.write() as db:
            for n in range(3):
                prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"And {n}?"}], split="train"))
                pair = [prompts.add_response(db, prompt_id, text, "import") for text in ("Yes.", "No.")]
                comparisons.add_comparison(db, prompt_id, pair)
    assert pids[0] == pids[1] is not None


def test_where_the_resident_process_is_busy_or_cannot_a_process_of_its_own_predicts(ws, monkeypatch):
    started, offers = [], []
    monkeypatch.setattr(predictions, "_start_child", lambda ws: started.append(ws))
    filling.add_texts(ws, 4)
    name = filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))
    as_reward(ws, name)

    def cannot(error):
        def ask(reward):
            raise error

        return ask

    asks = [None, cannot(RunError("sft-1 needed the GPU.")), cannot(DataError("It is damaged."))]
    predictions.ask_resident(ws, lambda: offers.append(1) or asks[len(offers) - 1])
    for number, num_started in ((1, 1), (2, 2), (3, 2)):
        filling.add_pairs(ws, [number], name)
        assert predictions.start(ws) is True
        until(lambda: not predictions.is_at_work(ws))
        assert len(started) == num_started
        assert predictions.start(ws) is False, "nothing new"


def test_a_run_that_waits_for_the_gpu_ends_predictions_and_what_was_predicted_stays(ws, monkeypatch):
    from studio.worker import predict
    from studio.worker import resident as worker

    @contextmanager
    def gpu(ws, device):
        yield "gpu0"

    add_pairs(ws, 6)
    name, _ = make_checkpoint(ws, "reward")
    as_reward(ws, name)
    monkeypatch.setattr(worker, "borrowed", gpu)
    monkeypatch.setattr(worker, "LOOK_S", 0.0)
    monkeypatch.setattr(predict, "BATCH", 2)
    real = predictions.add

    def add(db, *given):
        monkeypatch.setattr(predictions, "add", real)
        num = real(db, *given)
        waiting.start()
        return num

    waiting = threading.Thread(target=lambda: runs.create(ws, SFTConfig()))
    monkeypatch.setattr(predictions, "add", add)
    advance = worker.Prediction.advance
    monkeypatch.setattr(worker.Prediction, "advance", lambda self: (advance(self), waiting.join())[0])
    told, lines = [], queue.Queue()
    found = stored.read(ws, checkpoints.get, name)
    asked = Predicting(id=1, checkpoint=name, folder=str(found.folder), checkpoint_id=found.id)
    lines.put(asked.model_dump())
    worker.serve(ws, Start(root=str(ws.root), idle_s=60), lines, told.append)
    assert told[-1].error.endswith("needed the GPU, so this answer was ended.")
    assert stored.read(ws, predictions.counts) == {"predictions": 2, "waiting": 4}
    assert "predicted 4 comparisons" in predict.reply({"root": str(ws.root), "is_patient": False})


# Sampling ahead.


@pytest.fixture
def policy(ws, monkeypatch):
    """A policy, and runs that are created and not started."""
    monkeypatch.setattr(launcher, "start", lambda ws, run: run)
    monkeypatch.setattr(predictions, "start", lambda ws: False)
    filling.add_texts(ws, 40)
    return filling.add_checkpoint(ws, filling.add_run(ws, SFTConfig()))


def test_a_session_that_will_soon_run_dry_starts_one_sampling_run_by_itself(ws, policy):
    session = stored.written(ws, sessions.start, SessionConfig(source="policy", sample_below=10, sample_prompts=7))
    run = prefetch.top_up(ws, session)
    assert run is not None
    assert (run.config.checkpoint, run.config.num_prompts, run.config.opponent) == (policy, 7, "")
    assert prefetch.top_up(ws, session) is None, "one is running"
    assert prefetch.status(ws, session).startswith("sample-1 samples new pairs")
    stored.written(ws, runs.move, run.id, "running")
    stored.written(ws, runs.move, run.id, "finished")
    filling.add_pairs(ws, list(range(1, 13)), policy, run=run)
    assert prefetch.top_up(ws, session) is None, "12 wait"
    for _ in range(3):
        stored.written(ws, ratings.record, stored.written(ws, sessions.next_showing).id, "left")
    again = prefetch.top_up(ws, stored.read(ws, sessions.get, session.id))
    assert again is not None
    assert again.config.seed != run.config.seed
    stored.written(ws, runs.move, again.id, "failed", "No memory.")
    assert prefetch.top_up(ws, stored.read(ws, sessions.get, session.id)) is None, "what failed is not tried for ever"
    assert "No memory." in prefetch.status(ws, session)


def test_no_run_is_started_for_a_session_that_needs_none(ws, policy):
    filling.add_pairs(ws, [1, 2, 3], policy, run=filling.add_run(ws, SampleConfig(checkpoint=policy)))
    for config in (
        SessionConfig(source="any"),
        SessionConfig(source="policy", sample_below=0),
        SessionConfig(source="policy", target=3),
        SessionConfig(source="policy", sample_below=2),
    ):
        session = stored.written(ws, sessions.start, config)
        assert prefetch.top_up(ws, session) is None, config
        assert prefetch.top_up(ws, stored.written(ws, sessions.end, session.id)) is None


def test_looking_after_a_session_happens_in_the_background(ws, policy):
    stored.written(ws, sessions.start, SessionConfig(source="policy"))
    thread = prefetch.look_after(ws)
    assert thread is not None
    thread.join(20)
    assert [run.stage for run in stored.read(ws, runs.list_all)][:1] == ["sample"]
    assert prefetch.look_after(ws) is None, "it was looked at just now"


@pytest.mark.usefixtures("quick_starts")
def test_a_session_asks_for_rankings_and_a_real_sampling_run_puts_them_up(ws):
    policy, _ = make_checkpoint(ws, "policy")
    filling.add_texts(ws, 8)
    add_pairs(ws, 3)
    config = SessionConfig(source="policy", checkpoint=policy, rank=4, sample_prompts=6, sample_below=3, target=10)
    session = stored.written(ws, sessions.start, config)
    assert stored.written(ws, sessions.next_showing) is None, "pairs are not what it wants"
    run = prefetch.top_up(ws, session)
    assert run is not None
    run = for_run(ws, run.name, lambda r: r.is_ended and not r.is_ending, may_fail=True, reaps=True)
    assert (run.state, run.message.split(".")[0]) == ("finished", "6 new rankings are ready to be rated")
    showing = stored.written(ws, sessions.next_showing)
    assert showing is not None
    assert len(set(showing.texts)) == 4
    with ws.read() as db:
        sampled = [
            row["sampling"] for row in db.query("SELECT sampling FROM responses WHERE kind = 'sample' ORDER BY id")
        ]
    assert len(sampled) == 4 * 6
    assert len({json.loads(each)["seed"] for each in sampled}) == 4, "each answer with a seed of its own"
    stored.written(ws, ratings.record, showing.id, "ranking", ranks=[2, 1, 3, 3])
    assert stored.read(ws, sessions.get, session.id).num_given == 1
    assert prefetch.top_up(ws, stored.read(ws, sessions.get, session.id)) is None, "enough wait"


def test_identical_answers_leave_a_ranking_and_what_is_no_ranking_is_not_shown(ws, policy):
    run = filling.add_run(ws, SampleConfig(checkpoint=policy, put_up="rankings", responses_per_prompt=3))
    with ws.write() as db:
        rows = [{"prompt_id": n} for n in (1, 2, 3)]
        texts = [["a", "a", "a"], ["b", "b", "a"], ["c", "a", "a"]]  # by answer, then by prompt
        found = stored.read(ws, checkpoints.get, policy).id
        ids = [
            [
                prompts.add_response(db, row["prompt_id"], text, "sample", checkpoint_id=found, sampling="{}")
                for row, text in zip(rows, answer, strict=True)
            ]
            for answer in texts
        ]
        assert sampling._put_up_rankings(db, run, rows, ids, texts) == (2, 3, 0)
        assert sampling._put_up_rankings(db, run, rows, ids, texts) == (0, 3, 2)
    stored.written(ws, sessions.start, SessionConfig(source="policy", checkpoint=policy, rank=5, sample_below=0))
    showing = stored.written(ws, sessions.next_showing)
    assert showing is not None
    assert sorted(showing.texts) == ["a", "b", "c"]
    assert stored.written(ws, sessions.next_showing, after=showing.id) is None, "two answers are a pair"


def test_a_ranking_of_two_is_refused_as_a_wish(capsys, ws):
    assert main(["session", "start", "--set", "rank=2", "--workspace", str(ws.root)]) == 1
    assert "rank = 2 is not possible: two answers are a pair" in capsys.readouterr().err
    assert main(["session", "start", "--set", "rank=3", "--workspace", str(ws.root)]) == 0
