"""Makes items and scores of what lm-evaluation-harness logs: one item a document, with a score for each metric and filter."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from studio.evaluation.measures import LOWER

Sample = Mapping[str, Any]
LONGEST = 2000
"""Characters of an answer that are kept for reading."""
PERPLEXITIES = {"word_perplexity": "words", "byte_perplexity": "bytes", "bits_per_byte": "bytes"}
"""Metric of a document's log-likelihood, to what it is divided by."""


class Rows(NamedTuple):
    """What was measured, document by document."""

    items: list[dict[str, Any]]
    scores: list[dict[str, Any]]
    hidden: tuple[str, ...]
    """Metrics that give a document no number, so that they cannot be shown."""


def rows(samples: Mapping[str, Iterable[Sample]], higher_is_better: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Return the documents of a task, or of all tasks of a group, in their order.

    Args:
        samples: by task, as logged: one for each document and filter.
        higher_is_better: by task and metric.
    """
    items, scores, hidden, shown = [], [], dict[str, None](), set[str]()
    for task, logged in samples.items():
        documents: dict[int, list[Sample]] = {}
        for sample in logged:
            documents.setdefault(sample["doc_id"], []).append(sample)
        for _, filtered in sorted(documents.items()):
            found: dict[str, Any] = {}
            for sample in filtered:
                for name in sample.get("metrics", ()):
                    value = _numbers(name, sample.get(name))
                    (shown.add if value else hidden.setdefault)(name)
                    mark = f", {sample['filter']}" if len(filtered) > 1 and len(value) == 1 else ""
                    lower = LOWER if higher_is_better.get(task, {}).get(name) is False and len(value) == 1 else ""
                    found |= {f"{key}{mark}{lower}": number for key, number in value.items()}
            items.append(_item(filtered[0]) | ({"cluster": task} if len(samples) > 1 else {}))
            scores.append(found | {"answer": _answer(filtered[0])[:LONGEST]})
    return Rows(items, scores, tuple(name for name in hidden if name not in shown))


def _numbers(name: str, value: Any) -> dict[str, float]:
    """Return a metric's number by its name, or the parts of a perplexity; empty where it has none."""
    if isinstance(value, Real | np.bool_):
        return {name: float(value)}
    if name in PERPLEXITIES and isinstance(value, Sequence) and len(value) == 2 and value[1]:
        return {"nats": -float(value[0]), PERPLEXITIES[name]: int(value[1])}
    return {}


def _item(sample: Sample) -> dict[str, Any]:
    """Return what was asked; the harness's hashes tell whether two items are the same."""
    return {
        "prompt": str(_arguments(sample)[0][0]),
        "doc_hash": str(sample.get("doc_hash")),
        "prompt_hash": str(sample.get("prompt_hash")),
    }


def _answer(sample: Sample) -> str:
    """Return the likeliest continuation, or the text that was sampled; empty where only a likelihood was asked for."""
    answers, arguments = sample["filtered_resps"], _arguments(sample)
    if answers and isinstance(answers[0], list | tuple) and len(arguments) == len(answers):
        best = max(range(len(answers)), key=lambda place: float(answers[place][0]))
        return str(arguments[best][1]).strip()
    is_likelihood = any(name in PERPLEXITIES for name in sample.get("metrics", ()))
    return str(answers[0]) if answers and not is_likelihood else ""


def _arguments(sample: Sample) -> list[Any]:
    given = sample["arguments"]
    found = list(given.values()) if isinstance(given, dict) else list(given)
    return [list(row.values()) if isinstance(row, dict) else row for row in found]
