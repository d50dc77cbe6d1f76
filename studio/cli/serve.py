"""Serves checkpoints to other programs (``serve``)."""

import argparse
import os
from typing import Any

import uvicorn

from studio import children
from studio.chat import resident
from studio.chat.resident import Resident
from studio.errors import CheckpointError, ConfigError
from studio.network import address
from studio.network.guard import Guard
from studio.redaction import API_KEY
from studio.serving import app
from studio.workspace import Workspace


def add(commands: Any) -> None:
    """Add ``serve``."""
    summary = "Serve checkpoints to other programs over OpenAI's HTTP API."
    command = commands.add_parser(
        "serve",
        help=summary,
        description=f"{summary} Set {API_KEY} to ask for a key; without one, only this machine is answered.",
    )
    command.add_argument(
        "checkpoints", metavar="CHECKPOINT", nargs="*", help="such as ppo-1@40 (default: all policies)"
    )
    command.add_argument("--host", default="127.0.0.1", help=f"anything but this machine itself needs {API_KEY}")
    command.add_argument("--port", type=int, default=8000)
    command.add_argument(
        "--name",
        action="append",
        default=[],
        help="a name under which a proxy or a DNS entry leads here; may be repeated",
    )
    command.add_argument("--device", choices=children.DEVICES, default="auto", help="auto takes a GPU that no run uses")
    command.add_argument(
        "--idle",
        metavar="SECONDS",
        type=float,
        default=resident.IDLE_S,
        help="release the model's memory after this time without a request (default: %(default)s)",
    )
    command.set_defaults(action=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.read() as db:
        names = [resident.policy(db, name).name for name in arguments.checkpoints]
        example = (names or resident.policies(db) or [""])[0]
    if not example:
        raise CheckpointError("There are no checkpoints yet. Make one with: rlhf-studio sft")
    place = address.parse(arguments.host, arguments.port)
    key = os.environ.get(API_KEY, "")
    if not place.is_loopback and not key:
        raise ConfigError(
            f"{place.host} can be reached from other machines: set {API_KEY} to a key that they must send, or leave --host out."
        )
    address.check_free(place)
    answers = Resident(ws, arguments.device, arguments.idle)
    guarded = Guard(app.build(ws, answers, names, key), place, [address.name(name) for name in arguments.name])
    print(f"{', '.join(names) or 'All policies'} at {place.url}v1, until Ctrl-C. For example:", flush=True)
    print(_example(place.url, example, has_key=bool(key)), flush=True)
    try:
        uvicorn.run(guarded, host=str(place.ip), port=place.port, log_level="warning", lifespan="off")
    finally:
        answers.close()
    return 0


def _example(url: str, name: str, *, has_key: bool) -> str:
    key = f' -H "Authorization: Bearer ${API_KEY}"' if has_key else ""
    body = f'{{"model": "{name}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    return f"  curl {url}v1/chat/completions{key} -H 'Content-Type: application/json' -d '{body}'"
