"""``runs rollouts NAME``: a PPO run's samples, searched and sorted; for one response the numbers of each token."""

import argparse
import json
from typing import Any

from sqlite_utils import Database

from studio.cli import arguments as takes
from studio.errors import RunError
from studio.runs import rollouts, runs
from studio.runs.rollouts import Filter, Rollout
from studio.workspace import Workspace

FIRST_LETTERS = 60


def add(verbs: Any) -> None:
    """Add ``rollouts`` to the verbs of ``runs``."""
    summary = "what a PPO run sampled, with scores and the numbers of each token"
    command = verbs.add_parser("rollouts", help=summary, description=f"Shows {summary}.")
    command.add_argument("name", help="a PPO run")
    command.add_argument("--search", metavar="TEXT", default="", help="only prompts or responses with this text")
    command.add_argument("--iteration", type=takes.identifier, metavar="N", help="only this iteration")
    for figure in ("score", "kl"):
        command.add_argument(
            f"--min-{figure}", type=takes.finite, metavar="X", help=f"only responses of at least this {figure}"
        )
        command.add_argument(
            f"--max-{figure}", type=takes.finite, metavar="X", help=f"only responses of at most this {figure}"
        )
    command.add_argument(
        "--end", choices=["eos", "length"], help="only responses that ended by themselves, or were cut"
    )
    command.add_argument("--sort", choices=rollouts.SORTS, default="newest")
    command.add_argument("--limit", type=takes.count, default=20, metavar="N", help="show this many (20)")
    command.add_argument("--tokens", type=takes.identifier, metavar="ID", help="show the tokens of this response")
    command.add_argument("--json", action="store_true", help="one JSON object a line")
    command.set_defaults(action=_rollouts)


def _rollouts(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.read() as db:
        run = runs.get(db, arguments.name)
        if arguments.tokens is not None:
            _show_tokens(db, run.id, rollouts.get(db, run, arguments.tokens), arguments.json)
            return 0
    for kind in ("score", "kl"):
        low, high = getattr(arguments, f"min_{kind}"), getattr(arguments, f"max_{kind}")
        if low is not None and high is not None and low > high:
            raise RunError(f"No {kind} is at least {low:g} and at most {high:g}. Swap --min-{kind} and --max-{kind}.")
    wanted = Filter(
        arguments.search,
        arguments.iteration,
        arguments.min_score,
        arguments.max_score,
        arguments.min_kl,
        arguments.max_kl,
        arguments.end,
    )
    with ws.read() as db:
        found = rollouts.find(db, run.id, wanted, sort=arguments.sort, limit=arguments.limit)
        num, stored = rollouts.count(db, run.id, wanted), rollouts.count(db, run.id)
    if arguments.json:
        for rollout in found:
            print(json.dumps(vars(rollout), ensure_ascii=False))
        return 0
    if not stored:
        print(f"No rollouts of {run.name} are stored: PPO stores those of its newest iterations (keep_rollouts).")
        return 0
    for rollout in found:
        print(_line(rollout))
    print(f"{len(found)} of {num} rollouts that fit; {stored} are stored.")
    return 0


def _line(rollout: Rollout) -> str:
    prompt, response = (_first(text) for text in (rollout.messages[-1]["content"], rollout.response))
    return (
        f"{rollout.id:>6}  iteration {rollout.iteration:<4} score {rollout.score:<9.4g} kl {rollout.kl:<8.3g} "
        f"{rollout.num_tokens:>4} tokens  {rollout.end_reason:<6}  {prompt} -> {response}"
    )


def _show_tokens(db: Database, run_id: int, rollout: Rollout, is_json: bool) -> None:
    table = rollouts.token_table(db, run_id, rollout)
    if is_json:
        print(json.dumps(vars(rollout) | {"tokens": [token._asdict() for token in table]}, ensure_ascii=False))
        return
    print(_line(rollout))
    components = ", ".join(f"{name} {value:.4g}" for name, value in rollout.components.items())
    print(f"sampled by {rollout.checkpoint or f'the policy after {rollout.iteration - 1} iterations (not saved)'}")
    print(f"shaped score {rollout.shaped_score:.4g}" + (f"; components: {components}" if components else ""))
    print(f"{'token':<20}{'logprob':>10}{'reference':>11}{'value':>9}{'advantage':>11}{'return':>9}")
    for token in table:
        print(
            f"{_safe(token.text)[:19]!r:<20}{token.logprob:>10.4f}{token.ref_logprob:>11.4f}{token.value:>9.3f}"
            f"{token.advantage:>11.3f}{token.return_to_go:>9.3f}"
        )


def _first(text: str) -> str:
    line = _safe(" ".join(text.split()))
    return line[:FIRST_LETTERS] + ("…" if len(line) > FIRST_LETTERS else "")


def _safe(text: str) -> str:
    """Show control characters, which could control the terminal, as boxes."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
