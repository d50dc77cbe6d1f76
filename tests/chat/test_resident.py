"""One process answers question after question; it may be stopped, killed or sent away, and the next question starts another."""

import os
import queue
import signal
from dataclasses import replace

import pytest

from assets import STARTER
from modules.config import SFTConfig
from modules.model.backbone import Backbone
from modules.model.generate import generate
from studio.chat import asking
from studio.chat import resident as client
from studio.chat.protocol import Event, Sampling, Start
from studio.chat.resident import Resident
from studio.errors import CheckpointError, DataError, RunError
from studio.models import checkpoints, deletion, loaded
from studio.runs import runs
from tests.support import driver, policies, stored, warm
from tests.support.policies import QUESTION
from tests.support.waiting import until


@pytest.fixture(scope="module", autouse=True)
def warm_starts():
    with warm.starts():
        yield


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    return policies.workspace(tmp_path_factory.mktemp("chat") / "studio")


@pytest.fixture
def resident(ws):
    found = Resident(ws, "cpu")
    yield found
    found.close()


def text_of(events):
    return "".join(event.text for event in events)


def test_it_gives_the_answer_of_the_sampling_loop_with_the_same_seed(ws, resident):
    sampling = Sampling(max_new_tokens=24, seed=3)
    answers = [text_of(resident.answer(resident.question("sft-1@1", QUESTION, sampling))) for _ in range(2)]
    backbone = Backbone.load(str(STARTER / "model"), device="cpu", lora_rank=4)
    backbone.add_role("policy", source=stored.read(ws, checkpoints.get, "sft-1@1").folder / "policy")
    prompt = backbone.chat.encode_prompt(QUESTION).ids
    wanted = generate(backbone, "policy", [prompt], max_new_tokens=24, temperature=sampling.temperature, seed=3)
    assert answers == [backbone.chat.decode(wanted.responses[0])] * 2
    assert answers[0]


def test_two_checkpoints_answer_at_the_same_time_by_one_process(resident):
    questions = [
        resident.question(name, QUESTION, Sampling(max_new_tokens=200, temperature=2))
        for name in ("sft-1@1", "sft-2@1")
    ]
    first, second = (resident.answer(question) for question in questions)
    heard = [next(first), next(second)]
    assert [event.reason for event in heard] == [None, None], "both have begun before either has ended"
    pid = resident.pid
    assert list(first)[-1].reason in ("eos", "length")
    assert list(second)[-1].reason in ("eos", "length")
    assert resident.pid == pid


ASKED = [
    (QUESTION, Sampling(max_new_tokens=30, seed=3), ()),
    (
        [{"role": "user", "content": "Tell me about a bird and its nest."}],
        Sampling(max_new_tokens=40, temperature=0),
        (),
    ),
    (QUESTION, Sampling(max_new_tokens=25, temperature=1.5, top_k=20, seed=8), ("e",)),
    (QUESTION, Sampling(max_new_tokens=60, temperature=1.2, top_p=0.8, seed=9), ()),
]
"""What four people ask the same checkpoint, each with a length, a temperature, filters, a seed and stop texts of their own."""


def test_those_who_ask_the_same_checkpoint_at_once_get_the_answers_that_each_gets_alone(resident):
    def asked():
        return [resident.question("sft-1@1", messages, sampling, stop=stop) for messages, sampling, stop in ASKED]

    alone = [list(resident.answer(question)) for question in asked()]
    streams = [resident.answer(question) for question in asked()]
    begun = [next(stream) for stream in streams]
    together = [[first, *stream] for first, stream in zip(begun, streams, strict=True)]
    assert [text_of(events) for events in together] == [text_of(events) for events in alone]
    assert [events[-1].reason for events in together] == [events[-1].reason for events in alone]
    assert len({text_of(events) for events in together}) == len(ASKED)


def test_answers_of_one_checkpoint_are_one_batch_which_one_joins_and_leaves_and_more_than_fit_wait_their_turn(
    ws, monkeypatch
):
    from studio.worker import resident as worker

    monkeypatch.setattr(worker, "MOST_TOGETHER", 3)
    resident, models = Resident(ws, "cpu"), worker.Models()
    length = Sampling(max_new_tokens=200, temperature=5)
    asked = [resident.question("sft-1@1", QUESTION, length) for _ in range(5)]
    backbone = models.get(asked[0])
    rows = []
    next_hidden = backbone.next_hidden
    monkeypatch.setattr(backbone, "next_hidden", lambda tokens, *rest: rows.append(len(tokens)) or next_hidden(tokens, *rest))  # fmt: skip
    answers = worker.Answers(backbone, worker.role_of("sft-1@1"))
    answers.add(worker.Answer(asked[0], backbone))
    assert [event.id for event in answers.advance()] == [asked[0].id]
    for question in asked[1:]:
        answers.add(worker.Answer(question, backbone))
    assert [event.id for event in answers.advance()] == [question.id for question in asked[:3]]
    assert rows == [1, 3]
    assert answers.end(asked[1].id).reason == "stopped"
    assert [event.id for event in answers.advance()] == [asked[0].id, asked[2].id, asked[3].id], "the next one joins"
    assert answers.ids == [asked[0].id, asked[2].id, asked[3].id, asked[4].id]
    assert answers.end(asked[4].id).num_tokens == 0, "one that waits can be stopped too"
    long = resident.question("sft-1@1", QUESTION, length)
    answers.end(asked[0].id)
    broken = worker.Answer(long, backbone)
    monkeypatch.setattr(broken.stream, "choose", None)
    answers.add(broken)
    told = answers.advance()
    assert told[0].id == long.id
    assert told[0].error.startswith("The model could not answer")
    assert [event.id for event in told[1:]] == [asked[2].id, asked[3].id], "what goes wrong for one ends no other's"
    ask = resident.question("sft-1@1", QUESTION, length)
    with monkeypatch.context() as fault:
        fault.setattr(backbone, "next_hidden", None)
        assert all(event.error for event in answers.advance()), "a step that fails ends all that take it"
    answers.add(worker.Answer(ask, backbone))
    told = answers.advance()
    assert [(event.id, event.error) for event in told] == [(ask.id, "")], "and none that is asked for afterwards"
    answers.advance()
    assert rows[-1] == 1, "which grows alone"


def test_a_deletion_lists_that_a_process_has_a_checkpoint_loaded_until_that_process_is_gone(ws):
    def uses(name):
        return [said for said in deletion.plan(ws, [name]).changes if "is loaded by a process that answers" in said]

    assert uses("sft-1@1") == []
    resident = Resident(ws, "cpu")
    try:
        for name in ("sft-1@1", "sft-2@1"):
            list(resident.answer(resident.question(name, QUESTION, Sampling(max_new_tokens=2))))
            assert name in loaded.by_processes(ws)
        assert loaded.by_processes(ws) == {"sft-1@1", "sft-2@1"}
        assert len(uses("sft-1@1")) == 1
        assert uses("sft-1@1")[0].startswith("sft-1@1 is loaded")
        assert resident.pid is not None
        os.kill(resident.pid, signal.SIGKILL)
        until(lambda: not loaded.by_processes(ws))
        assert uses("sft-1@1") == []
        assert [path.name for path in (ws.root / "servers").glob("*.loaded")] != [], "left by the killed process"
        list(resident.answer(resident.question("sft-1@1", QUESTION, Sampling(max_new_tokens=2))))
        assert loaded.by_processes(ws) == {"sft-1@1"}
        assert len(list((ws.root / "servers").glob("*.loaded"))) == 1, "the next one takes it away"
    finally:
        resident.close()


def test_a_process_that_ends_by_itself_leaves_no_list(ws):
    resident = Resident(ws, "cpu", idle_s=0.2)
    list(resident.answer(resident.question("sft-1@1", QUESTION, Sampling(max_new_tokens=2))))
    until(lambda: resident.pid is None)
    assert list((ws.root / "servers").glob("*.loaded")) == [], "nor is one of a killed process left"


def test_an_answer_that_is_stopped_ends_in_the_model_too(resident):
    question = resident.question("sft-1@1", QUESTION, Sampling(max_new_tokens=480, temperature=5))
    events = resident.answer(question)
    begun = next(events)
    resident.stop(question)
    rest = list(events)
    assert rest[-1].reason == "stopped"
    assert 0 < rest[-1].num_tokens < 480
    assert begun.id == question.id
    left = resident.answer(resident.question("sft-1@1", QUESTION, Sampling(max_new_tokens=480, temperature=5)))
    next(left)
    left.close()  # whoever reads has gone
    assert text_of(resident.answer(resident.question("sft-1@1", QUESTION, Sampling(max_new_tokens=4))))


def test_a_killed_process_is_told_and_the_next_question_starts_another(resident):
    events = resident.answer(resident.question("sft-1@1", QUESTION, Sampling(max_new_tokens=480, temperature=5)))
    next(events)
    pid = resident.pid
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RunError, match="its process was ended; ask again"):
        list(events)
    assert text_of(resident.answer(resident.question("sft-1@1", QUESTION, Sampling(max_new_tokens=4))))
    assert resident.pid != pid


def test_it_ends_after_an_idle_time_and_comes_back_when_asked(ws):
    resident = Resident(ws, "cpu", idle_s=0.2)
    try:
        for _ in range(2):
            assert text_of(resident.answer(resident.question("sft-1@1", QUESTION, Sampling(max_new_tokens=4))))
            until(lambda: resident.pid is None, "the idle process ends")
    finally:
        resident.close()


def test_a_stop_text_ends_the_answer_and_no_part_of_it_is_told(resident):
    sampling = Sampling(max_new_tokens=60, seed=5)
    whole = text_of(resident.answer(resident.question("sft-1@1", QUESTION, sampling)))
    stop = whole[len(whole) // 2 :][:4]
    events = list(resident.answer(resident.question("sft-1@1", QUESTION, sampling, stop=[stop])))
    assert text_of(events) == whole[: whole.index(stop)]
    assert events[-1].reason == "stop"


def test_an_answer_can_be_continued_from_its_beginning(resident):
    sampling = Sampling(max_new_tokens=12, temperature=0)
    whole = text_of(resident.answer(resident.question("sft-1@1", QUESTION, sampling)))
    tokens = list(resident.answer(resident.question("sft-1@1", QUESTION, sampling, text=whole[: len(whole) // 2])))
    assert tokens[-1].num_prompt_tokens > 0
    assert text_of(resident.answer(resident.question("sft-1@1", [], sampling, text="Once upon")))


def test_what_cannot_be_answered_is_refused_in_a_sentence_and_the_process_stays(resident):
    with pytest.raises(CheckpointError, match="There is no checkpoint named 'sft-9@1'"):
        resident.question("sft-9@1", QUESTION)
    with pytest.raises(DataError, match="must end with the user"):
        resident.question("sft-1@1", [*QUESTION, {"role": "assistant", "content": "Here."}])
    long = [{"role": "user", "content": "fox " * 2000}]
    with pytest.raises(DataError, match="leaves no room for an answer"):
        list(resident.answer(resident.question("sft-1@1", long)))
    assert text_of(resident.answer(resident.question("sft-1@1", QUESTION, Sampling(max_new_tokens=4))))


def test_answers_that_were_asked_for_and_never_heard_are_ended(resident):
    questions = [resident.question("sft-1@1", QUESTION, Sampling(max_new_tokens=480, temperature=5)) for _ in range(2)]
    unheard = resident.answers(questions)
    assert not resident.is_idle
    unheard.close()
    assert not resident.is_idle, "a generator that was never begun does nothing at its end"
    resident.leave(questions)
    assert resident.is_idle
    assert text_of(resident.answer(resident.question("sft-1@1", QUESTION, Sampling(max_new_tokens=4))))


def test_a_gpu_goes_to_the_first_run_that_waits_for_it(ws, monkeypatch):
    from studio.worker import resident as worker

    driver.use(monkeypatch, driver.Driver(driver.SMALL))
    monkeypatch.setattr(worker, "LOOK_S", 0.0)
    lines: queue.Queue = queue.Queue()
    told: list[Event] = []
    resident = Resident(ws, "cpu")
    question = resident.question("sft-1@1", QUESTION, Sampling(max_new_tokens=480, temperature=5))

    def tell(event):
        told.append(event)
        if len(told) == 1:
            runs.create(ws, SFTConfig(device="cpu"))  # this one needs no GPU
        if len(told) == 3:
            runs.create(ws, SFTConfig())

    lines.put(question.model_dump())
    worker.serve(ws, Start(root=str(ws.root), idle_s=60), lines, tell)
    assert told[-1].error.startswith("sft-4 needed the GPU")
    assert all(not event.error for event in told[:-1])
    assert len(told) >= 4


def test_only_policies_are_offered_and_asked_the_newest_first(ws, monkeypatch):
    assert stored.read(ws, client.policies) == ["sft-2@1", "sft-1@1"]
    found = stored.read(ws, checkpoints.get, "sft-1@1")
    monkeypatch.setattr(client.checkpoints, "get", lambda ws, name: replace(found, stage="reward"))
    with pytest.raises(CheckpointError, match="is a reward model and gives no answers"):
        stored.read(ws, client.policy, "sft-1@1")


def test_several_are_asked_at_once_and_leaving_stops_them_all(resident):
    sampling = Sampling(max_new_tokens=480, temperature=5)
    growing = asking.growing(resident, QUESTION, ["sft-1@1", "sft-2@1"], sampling)
    assert next(growing).keys() == {"sft-1@1", "sft-2@1"}
    growing.close()
    assert not resident._open
    whole = asking.final(resident, QUESTION, ["sft-1@1", "sft-1@1"], Sampling(max_new_tokens=6))
    assert whole["sft-1@1"]


def test_an_answer_that_fills_the_models_last_position_says_so(resident):
    long = [{"role": "user", "content": "fox " * 240}]
    answer = asking.final(resident, long, ["sft-1@1"], Sampling(max_new_tokens=400, temperature=5))["sft-1@1"]
    assert answer.endswith(asking.CUT.strip())


def test_a_reward_model_gives_the_scores_of_predictions_by_the_same_process(tmp_path):
    from studio.worker import predict

    ws = policies.workspace(tmp_path / "studio")
    reward = policies.add_reward(ws)
    resident = Resident(ws, "cpu")
    try:
        text_of(resident.answer(resident.question("sft-1@1", QUESTION, Sampling(max_new_tokens=4))))
        pid = resident.pid
        found = [resident.score(reward, QUESTION, ["In the wood.", "No"], ["eos", "length"]) for _ in range(2)]
        assert resident.pid == pid
        with pytest.raises(DataError, match="cannot read these answers: they are too long"):
            resident.score(reward, QUESTION, ["fox " * 2000, "No"], ["eos", "eos"])
        with pytest.raises(CheckpointError, match="is a sft model and gives no scores"):
            resident.score("sft-1@1", QUESTION, ["a", "b"], ["eos", "eos"])
        assert text_of(resident.answer(resident.question("sft-1@1", QUESTION, Sampling(max_new_tokens=4))))
    finally:
        resident.close()
    backbone = predict.load(stored.read(ws, checkpoints.get, reward).folder)
    row = {"messages": QUESTION, "responses": ["In the wood.", "No"], "end_reasons": ["eos", "length"]}
    wanted = predict.score(backbone, predict.encode(backbone, row))
    assert found[0] == found[1]
    assert [each[0] for each in found[0]] == pytest.approx([each[0] for each in wanted], abs=1e-5)
    assert found[0][0] != found[0][1]
