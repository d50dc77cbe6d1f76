"""Runs the evaluate stage: each subject is loaded alone, its role entered, and each suite measured item by item. Loads torch.

Results are stored batch by batch, each whole or not at all, and batches are the same in every run with the same settings; so a run
that was interrupted and resumed ends with the numbers of one that was left alone.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from modules.config import EvaluateConfig
from modules.data.dropped import TOO_LONG, Dropped, drop, reason_of, told
from modules.errors import DataError, RowError
from modules.evaluation import items as scored
from modules.evaluation.likelihood import Request, log_likelihoods, measuring
from modules.evaluation.toxicity import ToxicityClassifier
from modules.model import checkpoint
from modules.model.backbone import Backbone
from modules.model.generate import Rollout, generate
from modules.model.roles import BASE
from modules.rl.evaluation import kl_per_response
from modules.rl.experience import reward_scores
from modules.runtime.phases import Phase, during
from studio.evaluation import plan, results, rules, suites
from studio.evaluation.results import Result, Subject
from studio.evaluation.suites import Suite
from studio.models import base_models, base_names, checkpoints
from studio.models.checkpoints import Checkpoint
from studio.reproduction import measured
from studio.runs import runs
from studio.runs.runs import Run
from studio.worker import heed, lm_eval_tasks
from studio.worker.sampling import role_of
from studio.workspace import Workspace

SCORER = 1
"""Version of how items are scored; results of another version are not paired with these."""
TASK_ITEMS = 100
"""What a task of lm_eval counts for in the share that is done."""
ITEMS_PER_BATCH = 64
"""Items of a likelihood suite that are stored together."""

Encoded = dict[int, Any]
"""Place of an item to its requests (likelihood), or to its prompt's ids (answers)."""


def work(ws: Workspace, run: Run, config: EvaluateConfig) -> tuple[str, str]:
    """Measure every subject on every suite; returns the state the run ends in and one plain sentence."""
    names = plan.subjects(config.checkpoints)
    chosen = plan.thaw(runs.read_rows(ws, run.name, plan.PART))
    steps = heed.Steps(ws, run, len(names) * sum(_num_steps(suite, config) for suite in chosen))
    left_out = Dropped()
    try:
        for name in names:
            left_out = _measure_subject(ws, run, config, name, chosen, steps)
    except heed.Stopped:
        return (
            "stopped",
            f"Stopped after {steps.num_done:,} of {steps.total:,} items; what is measured stays. Resume measures the rest.",
        )
    num = left_out.total()
    notes = "".join(f" {note}" for note in steps.notes)
    notes += f" {num:,} {'item was' if num == 1 else 'items were'} left out: {told(left_out)}." if num else ""
    return "finished", (
        f"Measured {', '.join(names)} on {len(chosen)} suite{'s' * (len(chosen) != 1)}.{notes} See them on the page Evaluate, or with: "
        "rlhf-studio evaluate report"
    )


@dataclass(frozen=True)
class _Work:
    """A subject that is being measured."""

    ws: Workspace
    run: Run
    config: EvaluateConfig
    backbone: Backbone
    subject: Subject
    steps: heed.Steps
    left_out: Dropped
    is_again: bool
    """The run repeats another one: nothing counts as measured, and nothing is stored."""

    def keep(self, suite: Suite, conditions: dict[str, Any], items: Sequence[scored.Item]) -> int:
        """Store the suite as it is measured here; returns its id. A run that repeats another one stores nothing."""
        if self.is_again:
            return 0
        with self.ws.write() as db:
            return results.keep_suite(db, suite.name, suite.title, suite.kind, conditions, items)

    def add(self, suite: Suite, suite_id: int, found: Sequence[Result]) -> None:
        """Store results, or note them where the run repeats another one."""
        if self.is_again:
            noted = [
                measured.result(
                    suite.name, self.config, self.subject.name, each.sample, each.place, each.scores, each.text
                )
                for each in found
            ]
            measured.note(self.ws, self.run, noted)
            return
        with self.ws.write() as db:
            results.add(db, self.run.id, suite_id, self.subject, found)

    def in_batches(
        self, suite: Suite, suite_id: int, order: list[int], size: int, measure: Callable[[list[int]], list[Result]]
    ) -> None:
        """Measure the items that are not measured yet, batch by batch, each batch stored at once."""
        with self.ws.read() as db:
            done = set() if self.is_again else results.places_done(db, suite_id, self.subject.name)
        for batch in _batches(order, size):
            if waiting := [place for place in batch if place not in done]:
                self.add(suite, suite_id, measure(waiting))
            self.steps.add(len(batch), f"{suite.name} on {self.subject.name}")


def _measure_subject(
    ws: Workspace, run: Run, config: EvaluateConfig, name: str, chosen: Sequence[Suite], steps: heed.Steps
) -> Dropped:
    """Measure one subject on all suites; returns the items left out and why."""
    backbone, subject = load_subject(ws, config, name, any(suite.uses_template for suite in chosen))
    work = _Work(ws, run, config, backbone, subject, steps, Dropped(), measured.is_again(ws, run))
    for suite in chosen:
        started, cpu = time.monotonic(), time.process_time()
        {"prompt": _measure_answers, "task": _measure_task}.get(suite.kind, _measure_likelihood)(work, suite)
        print(
            f"{suite.name} on {subject.name} (role {subject.role}): {len(_places(suite, config)):,} items, "
            f"{time.monotonic() - started:.1f} s, {time.process_time() - cpu:.1f} s of CPU",
            flush=True,
        )
    return work.left_out


@during(Phase.LOADING)
def load_subject(ws: Workspace, config: EvaluateConfig, name: str, uses_template: bool) -> tuple[Backbone, Subject]:
    """Return a backbone with the role that is measured, roles ``reward`` and ``gold`` where answers are scored by them, and a role
    ``reference`` where the KL from it is measured. A pretrained model's own template is looked at only where a suite uses it."""
    with ws.read() as db:
        found = None if name == BASE else checkpoints.get(db, name)
        others = [checkpoints.get(db, each) for each in plan.subjects(config.checkpoints) if each != BASE]
    like = found or next((c for c in others if c.base_model == config.base_model), None)
    backbone = _backbone(config, like, "auto" if uses_template else "plain")
    role = role_of(found.name) if found else BASE
    if found:
        checkpoint.check_base(checkpoint.load_meta(found.folder), backbone, found.name)
        backbone.add_role(role, source=found.folder / "policy")
    elif backbone.method == "full":
        backbone.add_role(role)
    for judge, given in (("reward", config.reward_checkpoint), ("gold", config.gold_checkpoint)):
        if given:
            with ws.read() as db:
                reward = checkpoints.get(db, given)
            checkpoint.check_base(checkpoint.load_meta(reward.folder), backbone, reward.name)
            backbone.add_role(judge, source=reward.folder / "reward", head=True)
    with ws.read() as db:
        reference = plan.reference_of(db, config, found) if found else None
    if reference:
        backbone.add_role("reference", source=reference.folder / "policy")
    subject = found.name if found else base_names.stored(config.base_model)
    return backbone, Subject(subject, role, backbone.fingerprint, found.id if found else None)


def _backbone(config: EvaluateConfig, like: Checkpoint | None, template: str) -> Backbone:
    """Return the pretrained model, loaded as a checkpoint was trained; with a chat template where there is none.

    Raises:
        DataError: Its own template refuses an ordinary conversation.
    """
    meta = checkpoint.load_meta(like.folder) if like else None
    trained = meta.quantisation if meta else "none"
    try:
        return Backbone.load(
            base_models.resolve(like.base_model if like else config.base_model),
            method=meta.method if meta else "lora",
            quantisation=trained if config.quantisation == "auto" else config.quantisation,
            precision=config.precision,
            device=config.device,
            chat_template=meta.chat_template if meta else template,
        )
    except RowError as error:
        raise DataError(
            f"A question to {config.base_model} is {error.reason}. Measure suites without it, such as facts@plain, or train SFT with "
            "chat_template=chatml or plain and measure its checkpoint."
        ) from error


def _num_steps(suite: Suite, config: EvaluateConfig) -> int:
    """Return the items that are measured; how many a task has is known only by lm_eval."""
    return config.limit or TASK_ITEMS if suite.kind == "task" else len(_places(suite, config))


def _places(suite: Suite, config: EvaluateConfig) -> list[int]:
    return suites.subset(suite.items, config.limit, config.seed)


def _conditions(suite: Suite, backbone: Backbone) -> dict[str, Any]:
    return {
        "scorer": SCORER,
        "template": backbone.chat.template if suite.uses_template else "none",
        "precision": str(backbone.dtype).removeprefix("torch."),
        "quantisation": backbone.quantisation,
    }


def _measure_likelihood(work: _Work, suite: Suite) -> None:
    backbone, role = work.backbone, work.subject.role
    suite_id = work.keep(suite, _conditions(suite, backbone), suite.items)
    encode = partial(_requests, suite, backbone)
    encoded = _encode(suite, _places(suite, work.config), encode, work.left_out)
    order = sorted(encoded, key=lambda place: (-_length(encoded[place]), place))

    def measure(places: list[int]) -> list[Result]:
        with measuring(backbone, role):
            return _score(suite, places, encoded, backbone)

    work.in_batches(suite, suite_id, order, ITEMS_PER_BATCH, measure)


def _measure_task(work: _Work, suite: Suite) -> None:
    what, passes = f"{suite.name} on {work.subject.name}", count(1)
    work.steps.tell(f"{what}: lm_eval prepares its requests")
    rows = lm_eval_tasks.measure(
        work.backbone,
        work.subject.role,
        suite.name.removeprefix(suites.LM_EVAL),
        work.ws.evaluations / "lm_eval",
        limit=work.config.limit,
        batch_size=work.config.batch_size,
        on_pass=lambda: work.steps.tell(f"{what}: pass {next(passes):,} of the model"),
    )
    suite_id = work.keep(suite, _conditions(suite, work.backbone), rows.items)
    work.add(suite, suite_id, [Result(place, 0, scores) for place, scores in enumerate(rows.scores)])
    if rows.hidden:
        names = ", ".join(rows.hidden)
        work.steps.notes[f"{suite.name}: no item has a number of {names}, so that cannot be shown."] = None
    work.steps.num_done += _num_steps(suite, work.config)
    work.steps.tell(f"{what}: {len(rows.items):,} items")


def _requests(suite: Suite, backbone: Backbone, item: scored.Item) -> list[list[Request]]:
    return scored.requests(suite.kind, item, backbone.chat, suite.uses_template, backbone.context_length)


def _length(texts: list[list[Request]]) -> int:
    return max(len(part.context) + len(part.continuation) for parts in texts for part in parts)


def _score(suite: Suite, places: Sequence[int], encoded: Encoded, backbone: Backbone) -> list[Result]:
    """Score items together; a text in several windows has the sum of their log-likelihoods."""
    parts = [part for place in places for text in encoded[place] for part in text]
    values = iter(log_likelihoods(backbone, parts))
    found = []
    for place in places:
        logprobs = [sum(next(values) for _ in text) for text in encoded[place]]
        num_tokens = [sum(len(part.continuation) for part in text) for text in encoded[place]]
        found.append(Result(place, 0, scored.scores(suite.kind, suite.items[place], logprobs, num_tokens)))
    return found


def _measure_answers(work: _Work, suite: Suite) -> None:
    config, backbone = work.config, work.backbone
    toxicity = _toxicity(config, backbone)
    judged = {"classifier": toxicity.fingerprint} if toxicity else {}
    suite_id = work.keep(suite, _conditions(suite, backbone) | _sampling(config) | judged, suite.items)
    room = backbone.context_length - config.max_new_tokens
    encoded = _encode(suite, _places(suite, config), partial(_prompt, suite, backbone, room), work.left_out)
    order = sorted(encoded, key=lambda place: (-len(encoded[place]), place))

    def measure(places: list[int]) -> list[Result]:
        answers = _answer(config, backbone, work.subject.role, places, encoded)
        return _judge(work, answers, places, toxicity)

    work.in_batches(suite, suite_id, order, max(1, config.batch_size // config.num_samples), measure)


def _sampling(config: EvaluateConfig) -> dict[str, Any]:
    """Return the conditions of sampled answers: only answers got under the same ones are compared."""
    fields = {"seed", "max_new_tokens", "temperature", "top_p", "toxicity"}
    return (
        config.model_dump(include=fields)
        | {
            "samples": config.num_samples,
            "reward": config.reward_checkpoint,
            "rules": rules.VERSION,
        }
        | ({"gold": config.gold_checkpoint} if config.gold_checkpoint else {})
    )


def _prompt(suite: Suite, backbone: Backbone, room: int, item: scored.Item) -> list[int]:
    """Return the ids of a prompt to be answered.

    Raises:
        RowError: The template refuses it, or its answer would not fit behind it.
    """
    turns = scored.messages(item)
    if suite.uses_template:
        ids = backbone.chat.encode_prompt(turns).ids
    else:
        text = "\n".join(turn["content"] for turn in turns)
        ids = [*backbone.chat.bos_ids, *backbone.tokenizer.encode(text, add_special_tokens=False)]
    if len(ids) > room:
        raise RowError(f"A prompt of {len(ids)} tokens leaves no room for an answer.", TOO_LONG)
    return ids


def _answer(config: EvaluateConfig, backbone: Backbone, role: str, places: Sequence[int], encoded: Encoded) -> Rollout:
    """Sample k answers to each prompt; their random numbers belong to prompt and sample, not to the batch."""
    num = config.num_samples
    return generate(
        backbone,
        role,
        [encoded[place] for place in places for _ in range(num)],
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        seed=config.seed,
        places=[place * num + sample for place in places for sample in range(num)],
        batch_size=config.batch_size,
    )


def _judge(work: _Work, answers: Rollout, places: Sequence[int], toxicity: ToxicityClassifier | None) -> list[Result]:
    config, backbone = work.config, work.backbone
    texts = [backbone.chat.decode(response) for response in answers.responses]
    columns = _scored(work, answers)
    if toxicity:
        columns["toxicity"] = toxicity.probabilities(texts)
    found = []
    for number, (text, response, is_finished) in enumerate(
        zip(texts, answers.responses, answers.finished, strict=True)
    ):
        measured: dict[str, Any] = {
            "tokens": len(response),
            "truncated": float(not is_finished),
            "distinct_4": rules.distinct_share(response),
            "listed_words": rules.count_listed(text),
            "refusal": float(rules.looks_like_refusal(text)),
        }
        measured |= {name: column[number] for name, column in columns.items()}
        place, sample = places[number // config.num_samples], number % config.num_samples
        found.append(Result(place, sample, measured, text))
    return found


def _scored(work: _Work, answers: Rollout) -> dict[str, list[float]]:
    """Return what models say of each answer: the scores of the reward models, and the KL from the SFT policy."""
    config, backbone = work.config, work.backbone
    judges = {"reward": config.reward_checkpoint, "gold": config.gold_checkpoint}
    found = {
        role: reward_scores(backbone, answers, config.batch_size, role=role).tolist()
        for role, name in judges.items()
        if name
    }
    if backbone.roles.has("reference"):
        kl = kl_per_response(
            backbone,
            work.subject.role,
            answers,
            temperature=config.temperature,
            micro_batch_size=config.batch_size,
        )
        found["kl"] = kl.tolist()
    return found


def _toxicity(config: EvaluateConfig, backbone: Backbone) -> ToxicityClassifier | None:
    if not config.reward_terms:
        return None
    term = config.reward_terms[0]
    return ToxicityClassifier(term.source, term.item, backbone.chat, backbone.device)


def _encode(suite: Suite, places: Sequence[int], encode: Any, left_out: Dropped) -> Encoded:
    """Encode the items that the model can be given; the others are counted with their reason.

    Raises:
        DataError: No item can be given.
    """
    encoded: Encoded = {}
    refused = Dropped()
    for place in places:
        try:
            encoded[place] = encode(suite.items[place])
        except DataError as error:
            row = {"messages": scored.messages(suite.items[place])}
            drop(refused, reason_of(error), row)
            drop(left_out, reason_of(error), row)
    if places and not encoded:
        raise DataError(
            f"No item of {suite.name} can be given to the model: {told(refused)}. Leave the suite out, or change it."
        )
    return encoded


def _batches(order: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (order[start : start + size] for start in range(0, len(order), size))
