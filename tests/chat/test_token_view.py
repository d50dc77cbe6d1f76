"""A judged answer token by token: the numbers of the moment in which it was sampled, those of the other checkpoint, and only after the vote."""

import pytest
import torch

from assets import STARTER
from modules.model.backbone import Backbone
from studio.chat import conversations, judging, token_view, turns
from studio.chat.answering import Answering
from studio.chat.conversations import Settings
from studio.chat.protocol import Sampling
from studio.chat.resident import Resident
from studio.cli import main
from studio.errors import RatingError, StudioError
from studio.models import checkpoints
from tests.chat.talking import answered
from tests.support import policies, stored, warm
from tests.support.waiting import until

HOW = Sampling(max_new_tokens=12, seed=3)
TWO = Settings(checkpoints=("sft-1@1", "sft-2@1"), system="Be brief.", sampling=HOW)
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is the fox?"}]


@pytest.fixture(scope="module", autouse=True)
def warm_starts():
    with warm.starts():
        yield


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    return policies.workspace(tmp_path_factory.mktemp("chat") / "studio")


@pytest.fixture(scope="module")
def resident(ws, warm_starts):
    found = Resident(ws, "cpu")
    yield found
    found.close()


@pytest.fixture
def pair(ws, resident):
    """Two answers of the models, not judged."""
    answers = Answering(ws, resident)
    with ws.write() as db:
        made = conversations.start(db, TWO)
        begun = conversations.ask(db, conversations.say(db, made, "Where is the fox?"))
    answers.begin(begun)
    until(lambda: not any(answers.is_live(each.id) for each in begun), "both have ended")
    return [each.id for each in begun]


def view_of(ws, resident, turn_id):
    return token_view.read(resident, stored.read(ws, token_view.judged, turn_id))


def own_logprobs(ws, name, text, end_reason):
    """The log-probabilities by a forward pass of this process, without any of the studio's loops."""
    backbone = Backbone.load(str(STARTER / "model"), device="cpu", lora_rank=4)
    backbone.add_role("policy", source=stored.read(ws, checkpoints.get, name).folder / "policy")
    backbone.eval()
    prompt, response = backbone.chat.encode_prompt(ASKED).ids, backbone.chat.encode_response(text, end_reason)
    with torch.no_grad(), backbone.role("policy"):
        logits = backbone.logits(backbone.hidden(torch.tensor([prompt + response])))[0]
    found = logits.float().log_softmax(-1)
    return [float(found[len(prompt) + at - 1, token]) for at, token in enumerate(response)]


def test_each_token_has_its_log_probability_under_both_checkpoints(ws, resident, pair):
    stored.written(ws, judging.vote, pair, "left")
    told = []
    question = resident.question("sft-1@1", ASKED, HOW, num_logprobs=0)
    for event in resident.answer(question):
        told += event.tokens
    first = stored.read(ws, turns.turn, pair[0])
    view = view_of(ws, resident, pair[0])
    assert (view.checkpoint, view.other, view.why_none, view.note) == ("sft-1@1", "sft-2@1", "", "")
    assert view.texts[: len(told)] == [each["token"] for each in told]
    assert view.logprobs[: len(told)] == pytest.approx([each["logprob"] for each in told], abs=1e-4)
    end = "eos" if first.end_reason == "eos" else "length"
    assert view.logprobs == pytest.approx(own_logprobs(ws, "sft-1@1", first.text, end), abs=1e-4)
    assert view.other_logprobs == pytest.approx(own_logprobs(ws, "sft-2@1", first.text, end), abs=1e-4)
    assert max(map(abs, view.differences)) > 0.05, "the two policies differ"
    assert view_of(ws, resident, pair[1]).checkpoint == "sft-2@1"


def test_nothing_is_told_before_the_vote_nor_of_an_answer_that_was_not_compared(ws, pair):
    with pytest.raises(RatingError, match="Judge the two answers first"):
        stored.read(ws, token_view.judged, pair[0])
    with ws.write() as db:
        made = conversations.start(db, TWO.model_copy(update={"checkpoints": ("sft-1@1",)}))
        asked = conversations.say(db, made, "And now?")
        (alone,) = answered(db, asked, "Here.")
    for turn_id in (alone, asked):
        with pytest.raises(RatingError, match="Tokens are shown of two answers that were compared"):
            stored.read(ws, token_view.judged, turn_id)


def test_another_tokenizer_and_a_text_that_is_cut_otherwise_are_said(ws, resident, pair, monkeypatch):
    stored.written(ws, judging.vote, pair, "left")
    with ws.write() as db:
        db.execute("UPDATE turns SET num_tokens = 99 WHERE id = ?", [pair[0]])
    real = resident.read_text

    def other_cuts(name, *given):
        found = real(name, *given)
        return [(text.upper() + "?", number) for text, number in found] if name == "sft-2@1" else found

    monkeypatch.setattr(resident, "read_text", other_cuts)
    view = view_of(ws, resident, pair[0])
    assert (view.other_logprobs, view.differences) == ([], [])
    assert view.why_none.startswith("sft-2@1 cuts texts into other tokens")
    assert view.note.startswith("99 tokens were sampled; the text is cut into")
    assert view.why_none in token_view.lines(view)

    def gone(name, *given):
        if name == "sft-2@1":
            raise StudioError("It is gone.")
        return real(name, *given)

    monkeypatch.setattr(resident, "read_text", gone)
    assert view_of(ws, resident, pair[0]).why_none == "It is gone."


def test_the_terminal_prints_the_tokens_after_the_vote(ws, resident, pair, capsys, monkeypatch):
    said = iter(["/tokens 1", "/vote left", "/tokens 2", "/tokens 3"])
    monkeypatch.setattr("studio.cli.chat._read", lambda: next(said, None))
    conversation = str(stored.read(ws, turns.turn, pair[0]).conversation_id)
    assert main(["chat", "--continue", conversation, "--device", "cpu", "--workspace", str(ws.root)]) == 0
    before, after = capsys.readouterr().out.split("Recorded: ")
    assert "Judge the two answers first." in before
    view = view_of(ws, resident, pair[1])
    for line in token_view.lines(view):
        assert line in after
    assert f"{sum(view.logprobs):.4g} in all under sft-2@1" in after
    assert "Give a number from 1 to 2." in after
