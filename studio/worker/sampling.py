"""Runs the sample stage: checkpoints answer prompts, the answers are put up for rating as pairs. Loads torch.

All pairs of a prompt's answers are put up; with an opponent, those between it and the checkpoint. Or they are put up
together, to be ranked. Identical answers say nothing and are dropped; their number is reported.
"""

import json
from itertools import combinations
from typing import Any

from sqlite_utils import Database

from modules.config import SampleConfig
from modules.data.dropped import TOO_LONG, Dropped, advice, drop, reason_of, told
from modules.model import checkpoint
from modules.model.backbone import Backbone
from modules.model.generate import Rollout, generate
from modules.model.roles import BASE
from modules.runtime.phases import Phase, during
from studio.errors import DataError
from studio.models import base_models, base_names, checkpoints
from studio.models.checkpoints import Checkpoint
from studio.preferences import comparisons, prompts
from studio.reproduction import measured
from studio.runs import metrics, runs
from studio.runs.runs import Run
from studio.worker import heed
from studio.workspace import Workspace

Row = dict[str, Any]


def work(ws: Workspace, run: Run, config: SampleConfig) -> tuple[str, str]:
    """Sample, store and pair; returns the state the run ends in and one plain sentence."""
    rows = runs.read_rows(ws, run.name, "prompts")
    sides = [config.checkpoint, config.opponent or config.checkpoint]
    names = [sides[index % 2] for index in range(config.responses_per_prompt)]
    with ws.read() as db:
        found = {name: checkpoints.get(db, name) for name in sides if name != BASE}
    backbone = load_policies(found, config)
    base: Row = {"model": base_names.stored(found[config.checkpoint].base_model)}
    writers: list[Row] = [{"checkpoint_id": found[name].id} if name in found else base for name in names]
    rows, encoded, left_out = _encode(rows, backbone, config)
    answers = []
    for index, name in enumerate(names):

        def report(done: int, before: int = index) -> None:
            share = (before + done / len(rows)) / len(names)
            heed.beat(ws, run, share, f"response {before * len(rows) + done} of {len(names) * len(rows)}")

        try:
            answers.append(_generate(backbone, name, encoded, config, seed=seed_of(config, index), on_progress=report))
        except heed.Stopped:
            return (
                "stopped",
                "Stopped before all answers were there; pairs are put up only at the end, so there are none. Start it again for all.",
            )
    texts = [[backbone.chat.decode(response).strip() for response in rollout.responses] for rollout in answers]
    if measured.is_again(ws, run):
        return _note(ws, run, rows, texts, answers)
    with ws.write() as db:
        num_pairs, num_same, num_known = _store(db, run, config, rows, texts, answers, writers)
    what = "rankings" if config.put_up == "rankings" else "pairs"
    same = ("answer", "to rank identical to another") if what == "rankings" else ("pair", "of identical answers")
    num_long, known = left_out.pop(TOO_LONG, 0), what.removesuffix("s")
    notes = "".join(
        [
            _told(num_same, f"{same[0]} {same[1]}", f"{same[0]}s {same[1]}", "dropped"),
            _told(num_known, known, what, "already there"),
            _told(num_long, "prompt too long for the model", "prompts too long for the model", "left out"),
            _told(
                left_out.total(),
                "prompt that cannot be asked",
                "prompts that cannot be asked",
                f"left out: {told(left_out)}",
            ),
        ]
    )
    with ws.write() as db:
        metrics.add(db, run.id, 0, _facts(answers) | {"sample/pairs": num_pairs, "sample/identical": num_same})
    return "finished", f"{num_pairs:,} new {what} are ready to be rated.{notes}"


def _note(ws: Workspace, run: Run, rows: list[Row], texts: list[list[str]], answers: list[Rollout]) -> tuple[str, str]:
    """Note the answers of a run that repeats another one; `rows` are the prompts that were answered."""
    places = {row["prompt_id"]: place for place, row in enumerate(runs.read_rows(ws, run.name, "prompts"))}
    found = [
        measured.answer(
            number, places[rows[index]["prompt_id"]], text, rollout.responses[index], rollout.end_reasons[index]
        )
        for number, (rollout, told) in enumerate(zip(answers, texts, strict=True))
        for index, text in enumerate(told)
    ]
    measured.note(ws, run, found)
    with ws.write() as db:
        metrics.add(db, run.id, 0, _facts(answers))
    return (
        "finished",
        f"{len(found):,} answers were sampled again. None is put up for rating: this run repeats another one.",
    )


def _told(number: int, one: str, several: str, done: str) -> str:
    """Say what became of a number of things; empty of none."""
    if not number:
        return ""
    return f" {number:,} {one} was {done}." if number == 1 else f" {number:,} {several} were {done}."


@during(Phase.LOADING)
def load_policies(found: dict[str, Checkpoint], config: SampleConfig) -> Backbone:
    """Return a backbone with one role per checkpoint, and one for base if it answers too, named as `role_of` says.

    All share the first checkpoint's base model, chat template and quantisation.
    """
    first = next(iter(found.values()))
    meta = checkpoint.load_meta(first.folder)
    backbone = Backbone.load(
        base_models.resolve(first.base_model),
        method=meta.method,
        quantisation=meta.quantisation if config.quantisation == "auto" else config.quantisation,
        precision=config.precision,
        device=config.device,
        chat_template=meta.chat_template,
    )
    for name, each in found.items():
        checkpoint.check_base(checkpoint.load_meta(each.folder), backbone, name)
        backbone.add_role(role_of(name), source=each.folder / "policy")
    if config.opponent == BASE and backbone.method == "full":  # with lora it is there: all adapters switched off
        backbone.add_role(BASE)
    return backbone


def role_of(name: str) -> str:
    """Return the role name of a checkpoint, or of base; module names hold no dots."""
    return BASE if name == BASE else "policy-" + name.replace("@", "-").replace(".", "-")


def seed_of(config: SampleConfig, number: int) -> int:
    """Return the seed of the n-th answer to each prompt: both sides of a pair with an opponent have the same one.

    Two answers of one policy need different ones, else they would be the same answer.
    """
    has_opponent = config.opponent not in ("", config.checkpoint)
    return config.seed + (number // 2 if has_opponent else number)


def _generate(
    backbone: Backbone, name: str, encoded: list[list[int]], config: SampleConfig, *, seed: int, on_progress: Any
) -> Rollout:
    return generate(
        backbone,
        role_of(name),
        encoded,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        seed=seed,
        batch_size=config.batch_size,
        on_progress=on_progress,
    )


def _store(
    db: Database,
    run: Run,
    config: SampleConfig,
    rows: list[Row],
    texts: list[list[str]],
    answers: list[Rollout],
    writers: list[Row],
) -> tuple[int, int, int]:
    """Store responses and pairs in one transaction; returns the pairs put up, the identical and the known ones.

    All first pairs precede all second ones, so that a rater does not see a prompt twice in a row.
    """
    num_pairs = num_same = num_known = 0
    chosen = [(a, b) for a, b in combinations(range(len(answers)), 2) if not config.opponent or (b - a) % 2]
    ids = [
        _store_answers(db, run, config, rows, rollout, writer, texts[number], number)
        for number, (rollout, writer) in enumerate(zip(answers, writers, strict=True))
    ]
    if config.put_up == "rankings":
        return _put_up_rankings(db, run, rows, ids, texts)
    seen: set[tuple[int | str, ...]] = set()
    for first, second in chosen:
        for index, row in enumerate(rows):
            if texts[first][index] == texts[second][index]:
                num_same += 1
                continue
            pair = (ids[first][index], ids[second][index])
            key = (index, *sorted((texts[first][index], texts[second][index])))
            is_new = key not in seen and comparisons.add_comparison(db, row["prompt_id"], pair, run.id) is not None
            seen.add(key)
            num_pairs, num_known = num_pairs + is_new, num_known + (not is_new)
    return num_pairs, num_same, num_known


def _put_up_rankings(
    db: Any, run: Run, rows: list[Row], ids: list[list[int]], texts: list[list[str]]
) -> tuple[int, int, int]:
    """Put up all different answers to a prompt together; returns the rankings put up, answers dropped, rankings known."""
    num_new = num_same = num_known = 0
    for index, row in enumerate(rows):
        different = {text[index]: answer[index] for text, answer in reversed(list(zip(texts, ids, strict=True)))}
        num_same += len(ids) - len(different)
        if len(different) > 1:
            is_new = comparisons.add_comparison(db, row["prompt_id"], sorted(different.values()), run.id) is not None
            num_new, num_known = num_new + is_new, num_known + (not is_new)
    return num_new, num_same, num_known


def _encode(rows: list[Row], backbone: Backbone, config: SampleConfig) -> tuple[list[Row], list[list[int]], Dropped]:
    """Return the usable prompts with their tokens, and the prompts left out and why.

    Raises:
        DataError: No prompt is usable.
    """
    kept: list[Row] = []
    encoded: list[list[int]] = []
    dropped = Dropped()
    for row in rows:
        try:
            ids = backbone.chat.encode_prompt(row["messages"]).ids
        except DataError as error:
            drop(dropped, reason_of(error), row)
            continue
        if len(ids) + config.max_new_tokens > backbone.context_length:
            drop(dropped, TOO_LONG, row)
            continue
        kept.append(row)
        encoded.append(ids)
    if kept:
        return kept, encoded, dropped
    if dropped[TOO_LONG] == len(rows):
        raise DataError(
            f"All {len(rows)} prompts are too long: with max_new_tokens = {config.max_new_tokens} they do not fit into the model's "
            f"{backbone.context_length} positions. Lower max_new_tokens, or import shorter prompts."
        )
    steps = advice(dropped, "the model's context: lower max_new_tokens", chooses_template=False)
    raise DataError(f"No prompt can be asked: {told(dropped)}. Next step: {', or '.join(steps)}.")


def _store_answers(
    db: Any,
    run: Run,
    config: SampleConfig,
    rows: list[Row],
    rollout: Rollout,
    writer: Row,
    texts: list[str],
    number: int,
) -> list[int]:
    """Store an answer to each prompt by a checkpoint or a pretrained model, as `writer` says; returns their ids."""
    settings = config.model_dump(include={"temperature", "top_p", "top_k", "max_new_tokens", "quantisation"})
    return [
        prompts.add_response(
            db,
            row["prompt_id"],
            texts[index],
            "sample",
            **writer,
            run_id=run.id,
            sampling=json.dumps(settings | {"seed": seed_of(config, number), "index": index}),
            token_ids=json.dumps(rollout.responses[index]),
            end_reason=rollout.end_reasons[index],
        )
        for index, row in enumerate(rows)
    ]


def _facts(answers: list[Rollout]) -> dict[str, float]:
    lengths = [len(response) for rollout in answers for response in rollout.responses]
    ended = [done for rollout in answers for done in rollout.finished]
    return {"rollout/response_tokens": sum(lengths) / len(lengths), "rollout/eos_share": sum(ended) / len(ended)}
