"""Ratings as rows of the field's formats: what each can hold, and a function from a judgement to its row.

A function raises `Left` where a row cannot be written without inventing or breaking something; the reason is counted.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from studio.datasets.formats.argilla import user_id
from studio.exchange.label_studio.project import COMPARISON, CONFIG, NOTE, RANK, STRENGTH, STRENGTHS, TIES
from studio.exchange.tasks import plain
from studio.preferences.vocabulary import OUTCOMES, SIDES

Row = dict[str, Any]
"""A judgement, as `export_rows.judgements` yields it."""
FACTS: dict[str, Callable[[Row], bool]] = {
    "strength": lambda row: row["strength"] is not None,
    "order on the screen": lambda row: row["showing_id"] is not None,
    "time taken": lambda row: row["elapsed_ms"] is not None,
    "time of the judgement": lambda row: True,
    "rater": lambda row: True,
    "models of the responses": lambda row: any(row["models"]),
    "note": lambda row: bool(row["note"]),
    "flags": lambda row: bool(row["flags"]),
    "scales": lambda row: bool(row["attributes"]),
    "category": lambda row: bool(row["category"]),
    "split": lambda row: True,
}
"""A fact that a format may lack, and whether a judgement has it."""
_HUMAN, _ASSISTANT = "\n\nHuman: ", "\n\nAssistant: "
_JUDGED = frozenset(OUTCOMES) - {"skip"}


class Left(Exception):
    """A judgement is left out; the message is the reason."""


@dataclass(frozen=True)
class Format:
    """How ratings are written.

    Attributes:
        title: the format in words, with its columns.
        row: makes a row of a judgement.
        outcomes: those it can hold.
        facts: those of FACTS that it keeps.
        file: name in `exports/`; a name without a suffix is a folder.
        extra: more files, next to it: name -> content.
    """

    title: str
    row: Callable[[Row], Row]
    outcomes: frozenset[str]
    facts: frozenset[str]
    file: str
    extra: Mapping[str, str]


def trl(row: Row) -> Row:
    """Return a TRL preference with explicit prompt; category, split and strength are extra columns, which TRL ignores."""
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in _better_first(row))
    extra = {"category": row["category"], "split": row["split"], "strength": row["strength"]}
    kept = {"prompt": row["messages"], "chosen": chosen, "rejected": rejected}
    return kept | {name: value for name, value in extra.items() if value}


def hh(row: Row) -> Row:
    """Return a row as in Anthropic's HH: whole transcripts."""
    if any(turn["role"] == "system" for turn in row["messages"]):
        raise Left("system prompt")
    if any(mark in text for text in (*_contents(row), *row["texts"]) for mark in (_HUMAN, _ASSISTANT)):
        raise Left("text that contains a turn marker")
    names = {"user": _HUMAN, "assistant": _ASSISTANT}
    before = "".join(names[turn["role"]] + turn["content"] for turn in row["messages"])
    chosen, rejected = (f"{before}{_ASSISTANT}{text}" for text in _better_first(row))
    return {"chosen": chosen, "rejected": rejected}


def openai(row: Row) -> Row:
    """Return a row of OpenAI's preference fine-tuning."""
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in _better_first(row))
    given = {"messages": row["messages"], "tools": [], "parallel_tool_calls": True}
    return {"input": given, "preferred_output": chosen, "non_preferred_output": rejected}


def arena(row: Row) -> Row:
    """Return a battle as in Chatbot Arena's cleaned files; a is the left response."""
    winner = {"left": "model_a", "right": "model_b", "tie": "tie", "both_bad": "tie (bothbad)"}[row["outcome"]]
    names = [model or "unknown" for model in row["models"]]
    talks = [[*row["messages"], {"role": "assistant", "content": text}] for text in row["texts"]]
    return {
        "question_id": row["uuid"],
        "model_a": names[0],
        "model_b": names[1],
        "winner": winner,
        "judge": row["rater"],
        "conversation_a": talks[0],
        "conversation_b": talks[1],
        "turn": sum(turn["role"] == "user" for turn in row["messages"]),
        "anony": True,
        "language": "",
        "tstamp": datetime.fromisoformat(row["created_at"]).timestamp(),
    }


def ultrafeedback(row: Row) -> Row:
    """Return a row shaped as in UltraFeedback; the rating is the place from below, not a judgement of its own."""
    if len(row["messages"]) > 1:
        raise Left("several turns or a system prompt")
    ranks = _ranks(row)
    completions = [
        {
            "model": model or "unknown",
            "response": text,
            "annotations": {"preference": {"Rating": str(max(ranks) + 1 - rank), "Rationale": row["note"] or ""}},
            "overall_score": float(max(ranks) + 1 - rank),
        }
        for text, model, rank in zip(row["texts"], row["models"], ranks, strict=True)
    ]
    models = [each["model"] for each in completions]
    return {
        "source": "rlhf-studio",
        "instruction": row["messages"][0]["content"],
        "models": models,
        "completions": completions,
    }


def argilla(row: Row) -> Row:
    """Return an Argilla record; a ranking with its ranks, as the server stores it."""
    names = [f"response-{n}" for n in range(1, len(row["texts"]) + 1)]
    user = user_id(row["rater"])
    answers: dict[str, Any] = {}
    if row["outcome"] == "ranking":
        answers["ranking"] = [{"value": name, "rank": rank} for name, rank in zip(names, _ranks(row), strict=True)]
    else:
        verdicts = {"left": names[0], "right": names[1], "tie": "tie", "both_bad": "both bad"}
        answers["preference"] = verdicts[row["outcome"]]
    if row["strength"]:
        answers["strength"] = tuple(STRENGTHS)[row["strength"] - 1]
    if row["note"]:
        answers["note"] = row["note"]
    metadata = {
        "rater": row["rater"],
        "category": row["category"],
        "split": row["split"],
        "judged_at": row["created_at"],
    }
    metadata |= {f"model-{n}": model for n, model in enumerate(row["models"], 1) if model}
    return {
        "id": row["uuid"],
        "fields": _prompt(row) | dict(zip(names, row["texts"], strict=True)),
        "metadata": {name: value for name, value in metadata.items() if value},
        "suggestions": {},
        "responses": {name: [{"value": value, "user_id": user}] for name, value in answers.items()},
        "vectors": {},
        "status": "completed",
    }


def label_studio(row: Row) -> Row:
    """Return a task with one annotation; the rater's name is in `created_username`, which the server ignores."""
    data: dict[str, Any] = {**_prompt(row), "category": row["category"], "split": row["split"]}
    if row["outcome"] == "ranking":
        data["items"] = [{"id": str(n), "title": f"Answer {n}", "body": text} for n, text in enumerate(row["texts"], 1)]
        order = sorted(range(len(row["texts"])), key=lambda at: _ranks(row)[at])
        if len(set(row["ranks"])) < len(order):
            raise Left("ranking with ties")
        result = [_result(RANK, "answers", "ranker", {"ranker": {RANK: [str(at + 1) for at in order]}})]
    else:
        data |= {f"answer{n}": text for n, text in enumerate(row["texts"], 1)}
        result = _verdict(row)
    data |= {f"model{n}": model for n, model in enumerate(row["models"], 1) if model}
    if row["note"]:
        result.append(_result(NOTE, "prompt", "textarea", {"text": [row["note"]]}))
    annotation: dict[str, Any] = {"result": result, "was_cancelled": False, "ground_truth": False}
    annotation |= {"created_username": row["rater"], "created_at": row["created_at"]}
    if row["elapsed_ms"] is not None:
        annotation["lead_time"] = row["elapsed_ms"] / 1000
    return {"data": data, "annotations": [annotation]}


def table(row: Row) -> Row:
    """Return a row with every column; what has no fixed shape is JSON."""
    as_json = {
        name: json.dumps(row[name], ensure_ascii=False) if row[name] else None for name in ("flags", "attributes")
    }
    models = [model or "" for model in row["models"]]
    names = ("uuid", "comparison_id", "prompt_id", "outcome", "strength", "ranks", "rater", "elapsed_ms", "created_at")
    kept = {name: row[name] for name in (*names, "note", "category", "split")}
    return {"messages": row["messages"], "responses": row["texts"], "models": models} | kept | as_json


_PAIRED = frozenset(SIDES)
_PAIR_FACTS = frozenset({"strength", "category", "split"})
_ALL = frozenset(FACTS)
FORMATS: dict[str, Format] = {
    "trl": Format("TRL preference (prompt, chosen, rejected)", trl, _PAIRED, _PAIR_FACTS, "preferences.jsonl", {}),
    "hh": Format("HH-RLHF (chosen, rejected as transcripts)", hh, _PAIRED, frozenset(), "preferences-hh.jsonl", {}),
    "openai": Format(
        "OpenAI preference (input, preferred_output, non_preferred_output)", openai, _PAIRED, frozenset(),
        "preferences-openai.jsonl", {},
    ),
    "arena": Format(
        "Chatbot Arena battles (model_a, model_b, winner)", arena, _JUDGED - {"ranking"},
        frozenset({"order on the screen", "rater", "time of the judgement", "models of the responses"}), "battles.jsonl", {},
    ),
    "ultrafeedback": Format(
        "UltraFeedback-like rankings (instruction, completions with ratings)", ultrafeedback, _JUDGED - {"both_bad"},
        frozenset({"order on the screen", "models of the responses", "note"}), "rankings-ultrafeedback.jsonl", {},
    ),
    "argilla": Format(
        "Argilla records", argilla, _JUDGED,
        _ALL - {"time taken", "flags", "scales"}, "ratings-argilla.json", {},
    ),
    "label-studio": Format(
        "Label Studio tasks with annotations, pairs", label_studio, _JUDGED - {"ranking"},
        _ALL - {"flags", "scales"}, "ratings-label-studio.json", {"ratings-label-studio.xml": CONFIG["pairs"]},
    ),
    "label-studio-rankings": Format(
        "Label Studio tasks with annotations, rankings", label_studio, frozenset({"ranking"}),
        _ALL - {"flags", "scales"}, "rankings-label-studio.json", {"rankings-label-studio.xml": CONFIG["rankings"]},
    ),
    "parquet": Format("Parquet, a judgement a row", table, frozenset(OUTCOMES), _ALL, "ratings.parquet", {}),
    "datasets": Format(
        "datasets folder (prompt, chosen, rejected)", trl, _PAIRED, _PAIR_FACTS, "preferences-dataset", {}
    ),
}  # fmt: skip


def _verdict(row: Row) -> list[Row]:
    """Return the results of a pair: the side, and how much better; or tie, or both bad."""
    choice = next((name for name, outcome in TIES.items() if outcome == row["outcome"]), "")
    result = [] if choice else [_result(COMPARISON, COMPARISON, "pairwise", {"selected": row["outcome"]})]
    if not choice and row["strength"]:
        choice = tuple(STRENGTHS)[row["strength"] - 1]
    return [*result, _result(STRENGTH, "prompt", "choices", {"choices": [choice]})] if choice else result


def _result(name: str, to: str, kind: str, value: Row) -> Row:
    return {"id": name, "from_name": name, "to_name": to, "type": kind, "origin": "manual", "value": value}


def _prompt(row: Row) -> dict[str, str]:
    """Return the conversation as one text, and the system prompt apart from it."""
    first, *rest = row["messages"]
    if first["role"] == "system":
        return {"system": first["content"], "prompt": plain(rest)}
    return {"prompt": plain(row["messages"])}


def _better_first(row: Row) -> Sequence[str]:
    return row["texts"] if row["outcome"] == "left" else row["texts"][::-1]


def _ranks(row: Row) -> list[int]:
    """Return the rank of each response; of a pair, 1 and 2, or 1 and 1."""
    return row["ranks"] or {"left": [1, 2], "right": [2, 1]}.get(row["outcome"], [1, 1])


def _contents(row: Row) -> list[str]:
    return [turn["content"] for turn in row["messages"]]
