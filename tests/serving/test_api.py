"""Other programs use a checkpoint over OpenAI's API: its own client, curl, and requests that are wrong."""

import json
import shutil
import subprocess
import threading

import httpx
import openai
import pytest
import uvicorn

from studio.chat.resident import Resident
from studio.network import address
from studio.network.guard import Guard
from studio.serving import app
from tests.support import policies, warm
from tests.support.policies import QUESTION
from tests.support.waiting import until

KEY = "a key of these tests"


@pytest.fixture(scope="module", autouse=True)
def warm_starts():
    with warm.starts():
        yield


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    return policies.workspace(tmp_path_factory.mktemp("serving") / "studio")


@pytest.fixture(scope="module")
def resident(ws):
    found = Resident(ws, "cpu")
    yield found
    found.close()


@pytest.fixture(scope="module")
def url(ws, resident):
    """The address of a real server that asks for a key and serves both checkpoints."""
    guarded = Guard(app.build(ws, resident, key=KEY), address.parse("127.0.0.1", 8000))
    server = uvicorn.Server(uvicorn.Config(guarded, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started, "the server starts")
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def client(url):
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as found:
        yield found


def test_the_client_lists_the_policies(client):
    assert [model.id for model in client.models.list()] == ["sft-2@1", "sft-1@1"]
    assert client.models.retrieve("sft-1@1").owned_by == "rlhf-studio"


def test_a_stream_is_the_whole_answer_in_pieces_and_a_seed_repeats_it(client):
    asked = {"model": "sft-1@1", "messages": QUESTION, "max_tokens": 30, "seed": 5, "temperature": 0.9}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert text
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens <= 30
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    other = client.chat.completions.create(**asked | {"seed": 6})
    assert other.choices[0].message.content != text


def test_several_choices_have_the_seeds_that_follow(client):
    asked = {"model": "sft-2@1", "messages": QUESTION, "max_tokens": 12}
    both = client.chat.completions.create(**asked, n=2, seed=8)
    alone = [client.chat.completions.create(**asked, seed=seed) for seed in (8, 9)]
    assert [c.message.content for c in both.choices] == [a.choices[0].message.content for a in alone]
    assert both.usage.completion_tokens == sum(a.usage.completion_tokens for a in alone)


def test_several_choices_are_streamed_side_by_side_each_under_its_index(client):
    asked = {
        "model": "sft-1@1",
        "prompt": ["Once upon a", "The fox"],
        "max_tokens": 30,
        "seed": 4,
        "n": 2,
        "logprobs": 0,
    }
    whole = client.completions.create(**asked)
    chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0] for chunk in chunks if chunk.choices]
    for place, choice in enumerate(whole.choices):
        mine = [piece for piece in pieces if piece.index == place]
        assert "".join(piece.text for piece in mine) == choice.text
        assert [token for piece in mine if piece.logprobs for token in piece.logprobs.tokens] == choice.logprobs.tokens
        assert [piece.finish_reason for piece in mine if piece.finish_reason] == [choice.finish_reason]
    assert {piece.index for piece in pieces[: len(pieces) // 2]} == {0, 1, 2, 3}, "none waits for another's end"
    assert chunks[-1].usage == whole.usage
    chat = {"model": "sft-2@1", "messages": QUESTION, "max_tokens": 12, "n": 2, "seed": 8}
    opened = [c.choices[0] for c in client.chat.completions.create(**chat, stream=True)]
    assert [c.index for c in opened if c.delta.role] == [0, 1]
    texts = ["".join(c.delta.content or "" for c in opened if c.index == place) for place in (0, 1)]
    assert texts == [choice.message.content for choice in client.chat.completions.create(**chat).choices]


def test_a_text_is_gone_on_from_stops_and_says_its_log_probabilities(client):
    asked = {"model": "sft-1@1", "prompt": "Once upon a", "max_tokens": 12, "temperature": 0}
    found = client.completions.create(**asked, logprobs=2).choices[0]
    assert "".join(found.logprobs.tokens).strip() == found.text.strip()
    assert all(each <= 0 for each in found.logprobs.token_logprobs)
    assert all(max(top.values()) == pytest.approx(own) for own, top in zip(found.logprobs.token_logprobs, found.logprobs.top_logprobs, strict=True)), "the most likely one"  # fmt: skip
    stop = found.text[5:8]
    cut = client.completions.create(**asked, stop=stop).choices[0]
    assert (cut.text, cut.finish_reason) == (found.text[: found.text.index(stop)], "stop")


def test_each_text_of_a_list_is_gone_on_from_as_if_it_had_been_sent_alone_and_the_usage_is_summed(client):
    asked = {"model": "sft-1@1", "max_tokens": 10, "seed": 4, "n": 2, "logprobs": 1}
    prompts = ["Once upon a", "The fox", "In the quiet wood there was"]
    found = client.completions.create(**asked, prompt=prompts)
    alone = [client.completions.create(**asked, prompt=prompt) for prompt in prompts]
    assert [choice.index for choice in found.choices] == list(range(6)), (
        "both answers to the first text, then the others"
    )
    assert [choice.text for choice in found.choices] == [choice.text for each in alone for choice in each.choices]
    assert len({choice.text for choice in found.choices}) == 6
    assert all("".join(choice.logprobs.tokens).strip() == choice.text.strip() for choice in found.choices)
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert getattr(found.usage, name) == sum(getattr(each.usage, name) for each in alone)
    (single,) = client.completions.create(**asked | {"n": 1}, prompt=prompts[:1]).choices
    assert single.text == found.choices[0].text


@pytest.mark.parametrize(
    ("changed", "sentence"),
    {
        "ids": ({"prompt": [5, 6]}, "prompt: Token ids are not supported here: send a text, or a list of texts."),
        "lists of ids": ({"prompt": [[5, 6], [7]]}, "prompt: Token ids are not supported here"),
        "nothing": ({"prompt": []}, "prompt: List should have at least 1 item"),
        "many": ({"prompt": ["a"] * 17, "n": 16}, "A request gives at most 256 answers"),
        "one is too long": ({"prompt": ["a", "fox " * 3000]}, "leaves no room for an answer"),
    }.values(),
    ids=["ids", "lists of ids", "nothing", "many", "too long"],
)
def test_texts_that_cannot_be_gone_on_from_are_refused_with_the_reason(client, resident, changed, sentence):
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(**{"model": "sft-1@1", "max_tokens": 3} | changed)
    assert sentence in refused.value.body["message"]
    assert not resident._open, "the others are not answered either"


@pytest.mark.parametrize(
    ("changed", "status", "sentence"),
    {
        "unknown model": ({"model": "gpt-5"}, 404, "There is no checkpoint named 'gpt-5'"),
        "tools": ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "tools is not supported here"),
        "JSON mode": ({"response_format": {"type": "json_object"}}, 400, "response_format is not supported here"),
        "too warm": ({"temperature": 9}, 400, "temperature: Input should be less than or equal to 2"),
        "last turn": ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "must end with the user"),
        "no turns": ({"messages": []}, 400, "messages"),
        "an image": (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            400,
            "messages.0.content",
        ),
        "too long": ({"messages": [{"role": "user", "content": "fox " * 3000}]}, 400, "leaves no room for an answer"),
        "streamed and too long": (
            {"messages": [{"role": "user", "content": "fox " * 3000}], "stream": True},
            400,
            "leaves no room for an answer",
        ),
    }.values(),
    ids=["unknown model", "tools", "JSON", "warm", "last", "none", "image", "long", "streamed"],
)
def test_what_cannot_be_done_is_refused_with_the_reason(client, changed, status, sentence):
    asked = {"model": "sft-1@1", "messages": QUESTION, "max_tokens": 3} | changed
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(**asked)
    assert refused.value.status_code == status
    assert sentence in refused.value.body["message"]


def test_nothing_is_answered_without_the_key_nor_for_pages_of_other_sites(url):
    assert httpx.get(f"{url}/models").status_code == 401
    right = {"Authorization": f"Bearer {KEY}"}
    assert httpx.get(f"{url}/models", headers=right).status_code == 200
    assert httpx.get(f"{url}/models", headers=right | {"Origin": "http://evil.example"}).status_code == 403
    assert httpx.get(f"{url}/models", headers=right | {"Host": "evil.example"}).status_code == 400
    plain = httpx.post(f"{url}/chat/completions", headers=right, content=json.dumps({"model": "sft-1@1"}))
    assert "Content-Type: application/json" in plain.json()["error"]["message"], (
        "what a foreign form can send is not read"
    )
    assert (
        httpx.get(f"{url}/nothing", headers=right)
        .json()["error"]["message"]
        .startswith("GET /v1/nothing does not exist")
    )
    broken = httpx.post(f"{url}/completions", headers=right | {"Content-Type": "application/json"}, content="{")
    assert "is not JSON" in broken.json()["error"]["message"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_reads_a_stream_to_its_end(url):
    body = json.dumps({"model": "sft-1@1", "messages": QUESTION, "max_tokens": 5, "stream": True})
    said = subprocess.run(
        ["curl", "-sS", "--no-buffer", f"{url}/chat/completions", "-H", f"Authorization: Bearer {KEY}", "-H", "Content-Type: application/json", "-d", body],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    lines = [line.removeprefix("data: ") for line in said.splitlines() if line]
    assert lines[-1] == "[DONE]"
    assert json.loads(lines[0])["choices"][0]["delta"]["role"] == "assistant"


@pytest.mark.parametrize("num", [1, 3])
def test_the_model_stops_when_the_program_that_asked_goes_away(client, resident, num):
    stream = client.chat.completions.create(
        model="sft-1@1", messages=QUESTION, max_tokens=480, temperature=2, stream=True, n=num
    )
    next(stream)
    stream.close()
    until(lambda: not resident._open, "nobody waits for the answer any more")
