"""OpenAI's HTTP API over the resident process: ``/v1/models``, ``/v1/chat/completions`` and ``/v1/completions``."""

import hmac
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from studio.chat import resident
from studio.chat.protocol import Event, Question
from studio.chat.resident import Resident
from studio.errors import CheckpointError, RunError, StudioError
from studio.models import checkpoints
from studio.models.checkpoints import Checkpoint
from studio.serving.requests import ChatRequest, TextRequest
from studio.workspace import Workspace

_ENDS = {"eos": "stop", "stop": "stop", "stopped": "stop", "length": "length"}
LARGEST_BODY = 2**24
"""Bytes of a request."""


def build(ws: Workspace, answers: Resident, names: Sequence[str] = (), key: str = "") -> Starlette:
    """Return the app.

    Args:
        ws: The workspace.
        answers: Gives the answers.
        names: The checkpoints that are served; all policies where empty.
        key: What a request must bring as a bearer token; empty for none.
    """
    api = _API(ws, answers, tuple(names), key)
    return Starlette(
        routes=[
            Route("/v1/models", api.guarded(api.models)),
            Route("/v1/models/{name:path}", api.guarded(api.model)),
            Route("/v1/chat/completions", api.guarded(api.chat), methods=["POST"]),
            Route("/v1/completions", api.guarded(api.text), methods=["POST"]),
        ],
        exception_handlers={404: _no_such_path, 405: _no_such_path},
    )


class _API:
    def __init__(self, ws: Workspace, answers: Resident, names: tuple[str, ...], key: str) -> None:
        self._ws, self._answers, self._names, self._key = ws, answers, names, key

    def guarded(self, endpoint: Any) -> Any:
        """Return an endpoint that asks for the key, and answers faults in OpenAI's form."""

        async def answer(request: Request) -> Response:
            given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
            if self._key and not hmac.compare_digest(given, self._key.encode()):
                return _fault(401, "The key is missing or wrong: send it as a bearer token.", "invalid_api_key")
            try:
                return await endpoint(request)
            except CheckpointError as error:
                return _fault(404, str(error), "model_not_found")
            except RunError as error:
                return _fault(503, str(error), "model_unavailable")
            except StudioError as error:
                return _fault(400, str(error))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                return _fault(400, f"{where or 'The request'}: {first['msg']}.")

        return answer

    def _policies(self) -> list[Checkpoint]:
        with self._ws.read() as db:
            return checkpoints.list_all(db, *checkpoints.POLICIES)

    def _policy(self, name: str) -> Checkpoint:
        with self._ws.read() as db:
            return resident.policy(db, name)

    async def models(self, request: Request) -> Response:
        found = await run_in_threadpool(self._policies)
        rows = [_model(each) for each in found if not self._names or each.name in self._names]
        return JSONResponse({"object": "list", "data": rows})

    async def model(self, request: Request) -> Response:
        name = self._served(request.path_params["name"])
        return JSONResponse(_model(await run_in_threadpool(self._policy, name)))

    async def chat(self, request: Request) -> Response:
        wanted = ChatRequest.model_validate(await _body(request))
        name = self._served(wanted.model)
        questions = [
            await run_in_threadpool(
                self._answers.question,
                name,
                wanted.turns(),
                sampling,
                stop=wanted.stop,
                num_logprobs=wanted.num_logprobs,
            )
            for sampling in wanted.sampling()
        ]
        return await self._reply(request, wanted, questions, _ChatForm(name))

    async def text(self, request: Request) -> Response:
        wanted = TextRequest.model_validate(await _body(request))
        name = self._served(wanted.model)
        questions = [
            await run_in_threadpool(
                self._answers.question,
                name,
                [],
                sampling,
                text=prompt,
                stop=wanted.stop,
                num_logprobs=wanted.num_logprobs,
            )
            for prompt in wanted.prompt
            for sampling in wanted.sampling()
        ]
        return await self._reply(request, wanted, questions, _TextForm(name))

    def _served(self, name: str) -> str:
        if self._names and name not in self._names:
            raise CheckpointError(f"{name[:80]} is not served here. These are: {', '.join(self._names)}.")
        return name

    async def _reply(
        self, request: Request, wanted: ChatRequest | TextRequest, questions: list[Question], form: "_Form"
    ) -> Response:
        events = self._events(questions)
        if wanted.stream:
            return await self._stream(events, form, wanted, len(questions))
        texts = [""] * len(questions)
        tokens: list[list[dict[str, Any]]] = [[] for _ in questions]
        ends: dict[int, Event] = {}
        async with aclosing(events):
            async for place, event in events:
                texts[place] += event.text
                tokens[place] += event.tokens
                if event.reason:
                    ends[place] = event
                elif await request.is_disconnected():
                    return Response(status_code=499)
        choices = [
            form.choice(place, text, _end(ends[place]), pieces if wanted.num_logprobs is not None else None)
            for place, (text, pieces) in enumerate(zip(texts, tokens, strict=True))
        ]
        return JSONResponse(form.head(form.whole) | {"choices": choices, "usage": _usage(ends, wanted)})

    async def _stream(
        self, events: AsyncGenerator[tuple[int, Event]], form: "_Form", wanted: ChatRequest | TextRequest, num: int
    ) -> Response:
        first = await anext(events)  # a fault before the first token is answered as one, not as a stream

        async def lines() -> AsyncIterator[str]:
            ends: dict[int, Event] = {}
            try:
                for place in range(num):
                    for piece in form.opening(place):
                        yield _line(form.head(form.part) | {"choices": [piece]})
                found: tuple[int, Event] | None = first
                while found is not None:
                    place, event = found
                    delta = form.delta(place, event.text, _end(event), event.tokens or None)
                    yield _line(form.head(form.part) | {"choices": [delta]})
                    if event.reason:
                        ends[place] = event
                    found = await anext(events, None)
                if wanted.wants_usage:
                    yield _line(form.head(form.part) | {"choices": [], "usage": _usage(ends, wanted)})
                yield "data: [DONE]\n\n"
            except StudioError as error:
                yield _line(_error(str(error), "model_unavailable"))
            finally:
                await events.aclose()

        return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    async def _events(self, questions: list[Question]) -> AsyncGenerator[tuple[int, Event]]:
        try:
            events = await run_in_threadpool(self._answers.answers, questions)  # all at once
            while (found := await run_in_threadpool(next, events, None)) is not None:
                yield found
        finally:
            self._answers.leave(questions)  # whoever asked may have gone, also before the first word: the model stops


class _Form:
    """How one of the two endpoints writes its answers."""

    whole = part = prefix = ""

    def __init__(self, model: str) -> None:
        self._id, self._model, self._created = f"{self.prefix}-{uuid.uuid4().hex}", model, int(time.time())

    def head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def opening(self, place: int) -> list[dict[str, Any]]:
        """Return what a stream begins a choice with."""
        return []

    def choice(self, place: int, text: str, end: str | None, tokens: list[dict[str, Any]] | None) -> dict[str, Any]:
        raise NotImplementedError

    def delta(self, place: int, text: str, end: str | None, tokens: list[dict[str, Any]] | None) -> dict[str, Any]:
        raise NotImplementedError


class _ChatForm(_Form):
    whole, part, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def opening(self, place: int) -> list[dict[str, Any]]:
        return [
            {"index": place, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        ]

    def choice(self, place: int, text: str, end: str | None, tokens: list[dict[str, Any]] | None) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": place, "message": message, "logprobs": _chat_logprobs(tokens), "finish_reason": end}

    def delta(self, place: int, text: str, end: str | None, tokens: list[dict[str, Any]] | None) -> dict[str, Any]:
        added = {"content": text} if text else {}
        return {"index": place, "delta": added, "logprobs": _chat_logprobs(tokens), "finish_reason": end}


class _TextForm(_Form):
    whole = part = "text_completion"
    prefix = "cmpl"

    def choice(self, place: int, text: str, end: str | None, tokens: list[dict[str, Any]] | None) -> dict[str, Any]:
        return {"index": place, "text": text, "logprobs": _text_logprobs(tokens), "finish_reason": end}

    def delta(self, place: int, text: str, end: str | None, tokens: list[dict[str, Any]] | None) -> dict[str, Any]:
        return self.choice(place, text, end, tokens)


def _chat_logprobs(tokens: list[dict[str, Any]] | None) -> dict[str, Any] | None:
    return None if tokens is None else {"content": tokens, "refusal": None}


def _text_logprobs(tokens: list[dict[str, Any]] | None) -> dict[str, Any] | None:
    if tokens is None:
        return None
    return {
        "tokens": [each["token"] for each in tokens],
        "token_logprobs": [each["logprob"] for each in tokens],
        "top_logprobs": [{top["token"]: top["logprob"] for top in each["top_logprobs"]} for each in tokens],
    }


async def _body(request: Request) -> Any:
    """Return the JSON of a request.

    Raises:
        StudioError: it is too large or not JSON.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise StudioError("Send JSON, with Content-Type: application/json.")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_BODY:
            raise StudioError(f"The request is larger than {LARGEST_BODY // 2**20} MiB.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise StudioError(f"The request is not JSON: {error}") from error


def _model(found: checkpoints.Checkpoint) -> dict[str, Any]:
    created = int(datetime.fromisoformat(found.created_at).timestamp())
    return {"id": found.name, "object": "model", "created": created, "owned_by": "rlhf-studio"}


def _end(event: Event) -> str | None:
    return _ENDS[event.reason] if event.reason else None


def _usage(ends: dict[int, Event], wanted: ChatRequest | TextRequest) -> dict[str, int]:
    """Sum the tokens; those of a prompt count once for all answers to it."""
    num_prompt = sum(event.num_prompt_tokens for place, event in ends.items() if place % wanted.n == 0)
    num_answer = sum(event.num_tokens for event in ends.values())
    return {"prompt_tokens": num_prompt, "completion_tokens": num_answer, "total_tokens": num_prompt + num_answer}


def _line(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"


def _error(message: str, code: str | None = None, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _fault(status: int, message: str, code: str | None = None) -> JSONResponse:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return JSONResponse(_error(message, code, kind), status_code=status)


def _no_such_path(request: Request, error: Exception) -> JSONResponse:
    paths = "/v1/models, POST /v1/chat/completions, POST /v1/completions"
    return _fault(404, f"{request.method} {request.url.path} does not exist here. There are: {paths}.")
