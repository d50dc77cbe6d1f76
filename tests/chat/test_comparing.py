"""A stored response under another checkpoint: the numbers of that checkpoint's own forward pass, by a process of its own."""

import pytest

from studio.chat import comparing
from studio.chat.resident import Resident
from studio.cli import main
from studio.errors import CheckpointError, DataError
from studio.runs import rollouts
from tests.support import policies, sampled, stored, warm

pytestmark = pytest.mark.usefixtures("warm_starts")


@pytest.fixture(scope="module")
def warm_starts():
    with warm.starts():
        yield


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    return policies.workspace(tmp_path_factory.mktemp("chat") / "studio")


@pytest.fixture(scope="module")
def rollout(ws):
    return sampled.add(ws)


@pytest.fixture(scope="module")
def resident(ws, warm_starts):
    found = Resident(ws, "cpu")
    yield found
    found.close()


def test_the_log_probabilities_are_those_of_the_other_checkpoint_at_the_runs_temperature(ws, rollout, resident):
    tokens = stored.read(ws, rollouts.tokens_of, rollout.id)
    found = stored.read(ws, comparing.compare, resident, rollout, "sft-2")
    wanted, _ = sampled.logprobs(ws, "sft-2@1", [*tokens.prompt_ids, *tokens.response_ids], len(tokens.prompt_ids))
    assert found.checkpoint == "sft-2@1"
    assert found.logprobs == pytest.approx(wanted, abs=1e-4)
    assert found.differences == pytest.approx(
        [there - then for there, then in zip(wanted, tokens.logprobs, strict=True)], abs=1e-4
    )
    assert max(map(abs, found.differences)) > 0.05, "the two policies differ"
    itself = stored.read(ws, comparing.compare, resident, rollout, "sft-1@1")
    assert itself.differences == pytest.approx([0.0] * len(tokens.response_ids), abs=1e-4)
    assert (itself.reward, itself.score, itself.why_none) == ("", None, "There is no reward model.")


def test_a_reward_model_scores_the_text_again_and_the_terminal_says_both(ws, rollout, resident, capsys):
    reward = policies.add_reward(ws)
    found = stored.read(ws, comparing.compare, resident, rollout, "sft-2@1")
    (members,) = resident.score(reward, rollout.messages, [rollout.response], ["eos"])
    assert (found.reward, found.score) == (reward, pytest.approx(members[0]))
    place = ["--workspace", str(ws.root)]
    assert main(["runs", "rollouts", "--tokens", str(rollout.id), "--under", "sft-2", *place]) == 0
    out = capsys.readouterr().out
    assert f"{sum(found.logprobs):.4g} in all under sft-2@1" in out
    assert f"score by {reward} now: {found.score:.4g}" in out
    assert f"{found.logprobs[0]:.4f}" in next(line for line in out.splitlines() if "'The'" in line)
    assert main(["runs", "rollouts", "--under", "sft-2", *place]) == 1
    assert "--under needs a response" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="gives no answers"):
        stored.read(ws, comparing.compare, resident, rollout, reward)


def test_another_vocabulary_is_refused_and_the_process_goes_on(ws, rollout, resident):
    tokens = stored.read(ws, rollouts.tokens_of, rollout.id)
    texts = ["other"] * len(tokens.response_ids)
    with pytest.raises(
        DataError, match=r"sft-1@1 cuts texts into other tokens: .* Choose a checkpoint with the same base"
    ):
        resident.read("sft-1@1", tokens.prompt_ids, tokens.response_ids, texts, 1.0)
    with pytest.raises(DataError, match="cuts texts into other tokens"):
        resident.read("sft-1@1", [10**6], tokens.response_ids, [None] * len(texts), 1.0)
    with pytest.raises(DataError, match=r"reads [\d,]+ tokens at most; prompt and response have 5,0"):
        resident.read("sft-1@1", [1] * 5000, tokens.response_ids, [None] * len(texts), 1.0)
    assert resident.read("sft-1@1", tokens.prompt_ids, tokens.response_ids, [None] * len(texts), sampled.TEMPERATURE)
