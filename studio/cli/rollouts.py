"""``runs rollouts NAME``: a PPO run's samples, searched and sorted; for one response the numbers of each token."""

import argparse
import json
from typing import Any

from studio.annotation import tracing
from studio.annotation.tracing import Trace, Vote
from studio.chat import comparing
from studio.chat.comparing import Under
from studio.chat.resident import Resident
from studio.cli import arguments as takes
from studio.cli import follow
from studio.errors import RunError
from studio.runs import rollouts, runs
from studio.runs.rollouts import Filter, Rollout
from studio.runs.runs import Run
from studio.workspace import Workspace

FIRST_LETTERS = 60


def add(verbs: Any) -> None:
    """Add ``rollouts`` to the verbs of ``runs``."""
    summary = "what a PPO run, or all of them, sampled, with scores and the numbers of each token"
    command = verbs.add_parser("rollouts", help=summary, description=f"Shows {summary}.")
    command.add_argument("name", nargs="?", default="", help="a PPO run (default: all)")
    command.add_argument("--search", metavar="TEXT", default="", help="only prompts or responses with this text")
    command.add_argument("--iteration", metavar="N", default="", help="only this iteration, or a range such as 30-40")
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
    command.add_argument("--skip", type=takes.identifier, default=0, metavar="N", help="leave out the first N that fit")
    command.add_argument("--tokens", type=takes.identifier, metavar="ID", help="show the tokens of this response")
    command.add_argument(
        "--under",
        metavar="CHECKPOINT",
        default="",
        help="with --tokens: also how likely this checkpoint finds each of them",
    )
    command.add_argument(
        "--trace", type=takes.identifier, metavar="ID", help="what taught the reward model that scored this response"
    )
    command.add_argument("--json", action="store_true", help="one JSON object a line")
    command.set_defaults(action=_rollouts)


def _rollouts(arguments: argparse.Namespace) -> int:
    ws = Workspace.existing(arguments.workspace)
    with ws.read() as db:
        run = runs.get(db, arguments.name) if arguments.name else None
        if arguments.trace is not None:
            return _show_trace(tracing.trace(db, rollouts.get(db, run, arguments.trace)), arguments)
    if arguments.tokens is not None:
        return _show_tokens(ws, run, arguments)
    if arguments.under:
        raise RunError("--under needs a response: give --tokens ID, a number from the list.")
    with ws.read() as db:
        run_id, wanted = run.id if run else None, _filter(arguments)
        found = rollouts.find(db, run_id, wanted, sort=arguments.sort, limit=arguments.limit, offset=arguments.skip)
        num, stored = rollouts.count(db, run_id, wanted), rollouts.count(db, run_id)
    if arguments.json:
        for rollout in found:
            print(json.dumps(vars(rollout), ensure_ascii=False))
        return 0
    if not stored:
        of_run = f" of {run.name}" if run else ""
        print(f"No rollouts{of_run} are stored: PPO stores those of its newest iterations (keep_rollouts).")
        return 0
    for rollout in found:
        print(_line(rollout, has_run=run is None))
    print(f"{len(found)} of {num} rollouts that fit; {stored} are stored.")
    return 0


def _filter(arguments: argparse.Namespace) -> Filter:
    """Return what is asked for.

    Raises:
        RunError: no response can fit.
    """
    for kind in ("score", "kl"):
        low, high = getattr(arguments, f"min_{kind}"), getattr(arguments, f"max_{kind}")
        if low is not None and high is not None and low > high:
            raise RunError(f"No {kind} is at least {low:g} and at most {high:g}. Swap --min-{kind} and --max-{kind}.")
    return Filter(
        arguments.search,
        *rollouts.span(arguments.iteration),
        arguments.min_score,
        arguments.max_score,
        arguments.min_kl,
        arguments.max_kl,
        arguments.end,
    )


def _line(rollout: Rollout, *, has_run: bool = False) -> str:
    prompt, response = (_first(text) for text in (rollout.messages[-1]["content"], rollout.response))
    return (
        f"{rollout.id:>6}  {f'{rollout.run:<8} ' if has_run else ''}iteration {rollout.iteration:<4} score {rollout.score:<9.4g} kl {rollout.kl:<8.3g} "
        f"{rollout.num_tokens:>4} tokens  {rollout.end_reason:<6}  {prompt} -> {response}"
    )


def _under(ws: Workspace, rollout: Rollout, checkpoint: str) -> Under | None:
    """Return the response under a checkpoint; its process is started for it."""
    if not checkpoint:
        return None
    resident = Resident(ws)
    try:
        with ws.read() as db:
            return comparing.compare(db, resident, rollout, checkpoint)
    finally:
        resident.close()


def _show_tokens(ws: Workspace, run: Run | None, arguments: argparse.Namespace) -> int:
    with ws.read() as db:
        rollout = rollouts.get(db, run, arguments.tokens)
        table = rollouts.token_table(db, rollout)
    under = _under(ws, rollout, arguments.under)
    there = under.logprobs if under else []
    if arguments.json:
        rows = [token._asdict() | ({"logprob_under": there[at]} if under else {}) for at, token in enumerate(table)]
        scored = {"under": under.checkpoint, "scored_by": under.reward, "score_now": under.score} if under else {}
        print(json.dumps(vars(rollout) | {"tokens": rows} | scored, ensure_ascii=False))
        return 0
    print(_line(rollout, has_run=True))
    components = ", ".join(f"{name} {value:.4g}" for name, value in rollout.components.items())
    print(f"sampled by {rollout.checkpoint or f'the policy after {rollout.iteration - 1} iterations (not saved)'}")
    print(f"shaped score {rollout.shaped_score:.4g}" + (f"; components: {components}" if components else ""))
    if under:
        total = f"{sum(there):.4g} in all under {under.checkpoint}, {sum(token.logprob for token in table):.4g} when it was sampled"
        print(f"log-probability {total}")
        print(f"score by {under.reward} now: {under.score:.4g}" if under.score is not None else under.why_none)
    columns = {"logprob": 10, "reference": 11, "ratio": 9, "value": 9, "advantage": 11, "reward": 9, "return": 9}
    print(
        f"{'token':<20}"
        + "".join(f"{name:>{width}}" for name, width in columns.items())
        + (" " * 6 + "under" if under else "")
    )
    for at, token in enumerate(table):
        print(
            f"{_safe(token.text)[:19]!r:<20}{token.logprob:>10.4f}{token.ref_logprob:>11.4f}{token.ratio:>9.3f}{token.value:>9.3f}"
            f"{token.advantage:>11.3f}{token.reward:>9.3f}{token.return_to_go:>9.3f}"
            + (f"{there[at]:>11.4f}" if under else "")
        )
    return 0


def _show_trace(found: Trace, arguments: argparse.Namespace) -> int:
    """Print what taught the reward model."""
    if arguments.json:
        votes = {kind: [vote._asdict() for vote in getattr(found, kind)] for kind in ("same_prompt", "similar")}
        snapshot = found.snapshot.name if found.snapshot else None
        print(json.dumps({"reward": found.reward, "snapshot": snapshot} | votes, ensure_ascii=False))
        return 0
    if not found.reward:
        print("No reward model took part in this run's reward.")
        return 0
    print(f"scored by {found.reward}" + ("" if found.snapshot else "; the votes it learnt from are not known here"))
    if found.snapshot:
        print(f"which learnt from {found.snapshot.sentence}")
        print(f"votes on the same prompt: {found.num_same_prompt}")
    for vote in found.same_prompt:
        print(_vote(vote))
    if found.similar:
        print("votes on pairs with the most words in common:")
    for vote in found.similar:
        print(_vote(vote))
    if found.same_prompt or found.similar:
        print(f"a vote with all its events: {follow.command(arguments, 'history', 'show', 'ID')}")
    return 0


def _vote(vote: Vote) -> str:
    sign = "=" if vote.is_tie else ">"
    return (
        f"{vote.rating_id:>6}  {vote.likeness:.0%} alike  {_first(vote.prompt)} -> {_first(vote.chosen)} {sign} "
        f"{_first(vote.rejected)}"
    )


def _first(text: str) -> str:
    line = _safe(" ".join(text.split()))
    return line[:FIRST_LETTERS] + ("…" if len(line) > FIRST_LETTERS else "")


def _safe(text: str) -> str:
    """Show control characters, which could control the terminal, as boxes."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
