"""Checks the rows of an untrusted archive: names, times, numbers and JSON must be as this version writes them.

An archive brings texts, judgements and lineage. Nothing in it may lead out of the workspace (the name of a run and the
folder of a checkpoint become paths) or control a process: only a run's description is imported, and a run that was
active when the archive was made has ended here.
"""

import json
import math
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from modules.config import STAGES
from studio.datasets.untrusted_results import CONTROL, Evaluations
from studio.errors import DataError
from studio.models import notes
from studio.preferences.prompts import check_messages
from studio.preferences.vocabulary import ATTRIBUTES, FLAGS

Row = dict[str, Any]
LARGEST_ID = 2**63 - 1
RUN_COLUMNS = (
    "id", "name", "stage", "state", "config", "snapshot_id", "resumed_from", "revision", "message", "progress", "progress_text",
    "created_at", "started_at", "ended_at", "is_fault", "deleted_at",
)  # fmt: skip
"""The columns of a run in an archive: no process, no place in a queue, no request to stop."""
ENDED = ("finished", "stopped", "failed", "lost")
AT_WORK = "It was running when the archive was made."
_RUN = re.compile(r"[a-z]{1,20}-[1-9][0-9]{0,8}")
_LEAF = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,80}")
_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,99}")
_UUID = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_HEX = re.compile(r"[0-9a-f]{64}")
_HITS = re.compile(r"[01]+")
_IDS = ("supersedes", "resumed_from", "repeat_of", "restores")
_COUNTS = ("slot", "position", "kept", "num_given", "row_count", "elapsed_ms")


def as_archived(row: Row) -> Row:
    """Return a run as an archive holds it."""
    kept = {name: row[name] for name in RUN_COLUMNS if name in row}
    if kept.get("state") in ("queued", "running"):
        kept |= {"state": "stopped", "message": AT_WORK, "ended_at": kept.get("started_at") or kept.get("created_at")}
    return kept


class Rows:
    """Checks the rows of an archive in order; runs come before their checkpoints."""

    def __init__(self) -> None:
        self._runs: dict[int, str] = {}
        evaluations = Evaluations()
        self._special: dict[str, Callable[[Row], Row]] = {
            "runs": self._run,
            "checkpoints": self._checkpoint,
            "prompts": _prompt,
            "evaluation_suites": evaluations.suite,
            "evaluation_items": evaluations.item,
            "evaluation_results": evaluations.result,
            "learning_results": _learnt,
        }

    def check(self, table: str, row: Row) -> Row:
        """Return the row as it may be stored.

        Raises:
            ValueError: this version would not write it; the message is for a person.
        """
        for name, value in row.items():
            _check_value(name, value)
            if shape := _SHAPES.get((table, name)):
                _check_shape(name, value, shape)
        return self._special[table](row) if table in self._special else row

    def _run(self, row: Row) -> Row:
        name, stage = row.get("name"), row.get("stage")
        if not isinstance(name, str) or not _RUN.fullmatch(name):
            raise ValueError(f"{_short(name)} is not the name of a run (such as sft-1)")
        if stage not in STAGES:
            raise ValueError(f"{_short(stage)} is not a stage ({', '.join(STAGES)})")
        if row.get("state") not in (*ENDED, "queued", "running"):
            raise ValueError(f"{_short(row.get('state'))} is not the state of a run")
        progress = row.get("progress", 0.0)
        if isinstance(progress, bool) or not isinstance(progress, int | float) or not 0 <= progress <= 1:
            raise ValueError(f"{_short(progress)} is not a progress from 0 to 1")
        kept = as_archived(row)
        for text in ("message", "progress_text", "revision"):
            kept[text] = CONTROL.sub("?", str(kept.get(text) or ""))
        if not kept.get("ended_at"):
            kept["ended_at"] = kept.get("started_at") or kept.get("created_at")
        self._runs[row.get("id", 0)] = name
        return kept | {"gone_at": kept["ended_at"]}  # its processes were never here

    def _checkpoint(self, row: Row) -> Row:
        run, step = self._runs.get(row.get("run_id", 0)), row.get("step")
        if run is None:
            raise ValueError("the checkpoint's run is not in the archive before it")
        if type(step) is not int or not 0 <= step < 10**12 or row.get("name") != f"{run}@{step}":
            raise ValueError(f"{_short(row.get('name'))} is not the name of a checkpoint of {run} (such as {run}@10)")
        folder = row.get("folder")
        start, leaf = f"runs/{run}/checkpoints/", str(folder).rpartition("/")[2]
        if folder != start + leaf or not _LEAF.fullmatch(leaf):
            raise ValueError(f"the folder {_short(folder)} is not that of a checkpoint of {run} ({start}...)")
        if not isinstance(row.get("base_model"), str) or CONTROL.search(row["base_model"]):
            raise ValueError(f"{_short(row.get('base_model'))} is not a base model")
        return row


def _prompt(row: Row) -> Row:
    try:
        check_messages(json.loads(row["messages"]), last="user")
    except (DataError, KeyError, AttributeError) as error:
        raise ValueError(f"the prompt's messages cannot be read ({error})") from error
    return row


def _check_value(name: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value}, which is not a number")
    if isinstance(value, bool | list | dict):
        raise ValueError(f"{name} is {_short(value)}, which no column can hold")
    if value is None:
        return
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{name} holds half a character") from error
    if name == "id" or name.endswith("_id") or name in _IDS:
        if type(value) is not int or not 0 < value <= LARGEST_ID:
            raise ValueError(f"{name} is {_short(value)}, which is not an id")
    elif name in _COUNTS:
        if type(value) is not int or not 0 <= value <= LARGEST_ID:
            raise ValueError(f"{name} is {_short(value)}, which is not a count")
    elif name.endswith("_at"):
        _check_time(name, value)
    elif name == "uuid":
        if not isinstance(value, str) or not _UUID.fullmatch(value):
            raise ValueError(f"{_short(value)} is not a uuid")
    elif name == "role":
        if not isinstance(value, str) or not _ROLE.fullmatch(value):
            raise ValueError(f"{_short(value)} is not a role")
    elif name in ("sha256", "fingerprint"):
        if not isinstance(value, str) or not _HEX.fullmatch(value):
            raise ValueError(f"{_short(value)} is not a sha256")
    elif name in ("rater", "model") and (not isinstance(value, str) or CONTROL.search(value)):
        raise ValueError(f"{_short(value)} is not the name of a {name}")


def _check_time(name: str, value: Any) -> None:
    try:
        is_utc = datetime.fromisoformat(value).utcoffset() is not None
    except (ValueError, TypeError):
        is_utc = False
    if not is_utc or "T" not in value or not value.endswith("+00:00"):
        raise ValueError(
            f"{name} is {_short(value)}, which is not a time in UTC (such as 2026-03-31T10:00:00.000+00:00)"
        )


def _check_shape(name: str, value: Any, is_right: Callable[[Any], bool]) -> None:
    if value is None:
        return
    try:
        found = json.loads(value) if isinstance(value, str) else value
        fits = isinstance(value, str) and is_right(found)
        json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair cannot be in a page or a file
    except (ValueError, RecursionError):
        fits = False
    if not fits:
        raise ValueError(f"{name} is {_short(value)}, which cannot be read")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_dict(found: Any) -> bool:
    return isinstance(found, dict)


def _is_ints(found: Any) -> bool:
    return isinstance(found, list) and all(type(each) is int and abs(each) <= LARGEST_ID for each in found)


def _is_ids(found: Any) -> bool:
    return _is_ints(found) and len(found) >= 2 and min(found) > 0 and len(set(found)) == len(found)


def _is_some_ids(found: Any) -> bool:
    return _is_ints(found) and len(found) > 0 and min(found) > 0


def _learnt(row: Row) -> Row:
    hits, size = row.get("hits"), row.get("size")
    if not isinstance(hits, str) or not _HITS.fullmatch(hits):
        raise ValueError(f"hits is {_short(hits)}, which is not a 1 or 0 for each vote")
    if type(size) is not int or not 0 < size <= LARGEST_ID or type(row.get("seed")) is not int:
        raise ValueError(f"size is {_short(size)} and seed {_short(row.get('seed'))}, which are not both whole numbers")
    return row


def _is_figures(found: Any) -> bool:
    return isinstance(found, dict) and all(each is None or _is_number(each) for each in found.values())


def _is_counts(found: Any) -> bool:
    return isinstance(found, dict) and all(type(each) is int and 0 <= each <= LARGEST_ID for each in found.values())


def _is_flags(found: Any) -> bool:
    return _is_dict(found) and found.keys() <= set(FLAGS) and all(_is_ints(at) for at in found.values())


def _is_attributes(found: Any) -> bool:
    return (
        _is_dict(found)
        and found.keys() <= set(ATTRIBUTES)
        and all(isinstance(at, list) and all(v is None or v in range(1, 8) for v in at) for at in found.values())
    )


def _is_scores(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(each, list) and all(map(_is_number, each)) for each in found)


def _is_turns(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(turn, dict) for turn in found)


_SHAPES: dict[tuple[str, str], Callable[[Any], bool]] = {
    ("imports", "dropped"): _is_counts,
    ("prompts", "messages"): _is_turns,
    ("prompts", "reference"): _is_dict,
    ("runs", "config"): _is_dict,
    ("checkpoints", "metrics"): _is_figures,
    ("checkpoint_notes", "tags"): notes.is_list_of_tags,
    ("responses", "sampling"): _is_dict,
    ("responses", "token_ids"): _is_ints,
    ("showings", "response_ids"): _is_ids,
    ("conversations", "settings"): _is_dict,
    ("turns", "settings"): _is_dict,
    ("sessions", "config"): _is_dict,
    ("predictions", "scores"): _is_scores,
    ("rating_events", "ranks"): _is_ints,
    ("rating_events", "flags"): _is_flags,
    ("rating_events", "attributes"): _is_attributes,
    ("rating_events", "facts"): _is_dict,
    ("snapshots", "recipe"): _is_dict,
    ("evaluation_suites", "conditions"): _is_dict,
    ("evaluation_items", "content"): _is_dict,
    ("evaluation_results", "scores"): _is_dict,
    ("learning_curves", "held_out"): _is_some_ids,
}
"""The check that a column's JSON must pass."""


TOGETHER = (
    (
        "SELECT 1 FROM sessions s WHERE NOT EXISTS (SELECT 1 FROM session_events e WHERE e.session_id = s.id)",
        "a session has not begun",
    ),
    (
        "SELECT 1 FROM comparison_responses f JOIN comparisons c ON c.id = f.comparison_id"
        " JOIN responses r ON r.id = f.response_id WHERE r.prompt_id != c.prompt_id",
        "a comparison has an answer to another prompt",
    ),
    (
        "SELECT 1 FROM comparisons c WHERE NOT EXISTS (SELECT 1 FROM comparison_responses f WHERE f.comparison_id = c.id AND f.slot = 0)"
        " OR NOT EXISTS (SELECT 1 FROM comparison_responses f WHERE f.comparison_id = c.id AND f.slot = 1)",
        "a comparison has fewer than two answers",
    ),
    (
        "SELECT 1 FROM showings s, json_each(coalesce(s.response_ids, json_array(s.left_response_id, s.right_response_id))) j"
        " WHERE NOT EXISTS (SELECT 1 FROM comparison_responses f WHERE f.comparison_id = s.comparison_id AND f.response_id = j.value)",
        "a showing shows what its comparison has not",
    ),
    (
        "SELECT 1 FROM demonstration_events e JOIN responses r ON r.id = e.response_id JOIN demonstration_events o ON o.id = e.supersedes"
        " JOIN responses p ON p.id = o.response_id WHERE o.id >= e.id OR r.prompt_id != p.prompt_id",
        "a demonstration takes the place of one that came later, or of an answer to another prompt",
    ),
    (
        "SELECT 1 FROM text_events t WHERE NOT EXISTS (SELECT 1 FROM prompts p WHERE t.what = 'prompts' AND p.id = t.text_id)"
        " AND NOT EXISTS (SELECT 1 FROM responses r WHERE t.what = 'demonstrations' AND r.id = t.text_id AND r.kind = 'demonstration')"
        " AND NOT EXISTS (SELECT 1 FROM comparisons c WHERE t.what = 'preferences' AND c.id = t.text_id)",
        "a text that is not there was hidden or changed",
    ),
    (
        "SELECT 1 FROM import_rows m JOIN comparisons c ON m.rows_of = 'comparisons' AND c.id BETWEEN m.first AND m.last"
        " WHERE c.run_id IS NOT NULL",
        "a comparison of sampled answers came with an import",
    ),
    (
        "SELECT 1 FROM turns t JOIN turns p ON p.id = t.parent_id WHERE p.conversation_id != t.conversation_id OR p.role = t.role"
        " UNION ALL SELECT 1 FROM conversations c JOIN turns t ON t.id = c.leaf_id WHERE t.conversation_id != c.id",
        "a turn follows one of another conversation, or one of the same speaker",
    ),
    (
        "SELECT 1 FROM conversation_votes v JOIN turns l ON l.id = v.left_id JOIN turns r ON r.id = v.right_id"
        " WHERE l.attempt IS NULL OR l.parent_id != r.parent_id OR l.attempt != r.attempt",
        "a vote is on turns that are not two answers to the same",
    ),
    (
        "SELECT 1 FROM session_items i JOIN showings s ON s.id = i.showing_id JOIN showings z ON z.id = i.repeat_of"
        " LEFT JOIN predictions q ON q.id = i.prediction_id"
        " WHERE i.repeat_of >= i.showing_id OR z.comparison_id != s.comparison_id OR q.comparison_id != s.comparison_id",
        "a repeat is of another comparison, or of a later showing, or was chosen by a prediction of another comparison",
    ),
    (
        "SELECT 1 FROM settlements t LEFT JOIN session_items i ON i.showing_id = t.showing_id"
        " JOIN rating_events f ON f.id = t.first_event_id JOIN rating_events g ON g.id = t.second_event_id"
        " LEFT JOIN rating_events c ON c.id = t.correction_id LEFT JOIN settlements o ON o.id = t.supersedes"
        " WHERE i.prediction_id IS NULL OR f.showing_id IS NOT i.repeat_of OR g.showing_id IS NOT t.showing_id"
        " OR c.showing_id != i.repeat_of OR c.id <= f.id OR t.last_event_id < g.id OR o.id >= t.id OR o.showing_id != t.showing_id",
        "an answer about two votes names votes of other showings, or takes the place of another answer",
    ),
    (
        "SELECT 1 FROM rating_events e JOIN showings s ON s.id = e.showing_id WHERE s.comparison_id != e.comparison_id",
        "a rating belongs to another comparison than its showing",
    ),
    (
        "SELECT 1 FROM rating_events e JOIN rating_events o ON o.id = e.supersedes"
        " WHERE o.id >= e.id OR o.comparison_id != e.comparison_id",
        "a rating takes the place of one that came later, or of another comparison",
    ),
    (
        "SELECT 1 FROM rating_events e LEFT JOIN showings s ON s.id = e.showing_id WHERE e.ranks IS NOT NULL"
        " AND json_array_length(e.ranks) != coalesce(json_array_length(s.response_ids),"
        " (SELECT count(*) FROM comparison_responses f WHERE f.comparison_id = e.comparison_id))",
        "a ranking has another number of places than answers",
    ),
    (
        "SELECT 1 FROM run_parents p JOIN checkpoints c ON c.id = p.checkpoint_id WHERE c.run_id >= p.run_id"
        " UNION ALL SELECT 1 FROM runs r JOIN checkpoints c ON c.id = r.resumed_from WHERE c.run_id >= r.id",
        "a run comes from one that was made after it",
    ),
    (
        "SELECT 1 FROM evaluation_results r JOIN runs u ON u.id = r.run_id WHERE u.stage != 'evaluate'",
        "a result was measured by a run of another stage",
    ),
    (
        "SELECT 1 FROM learning_results r JOIN learning_curves c ON c.id = r.curve_id JOIN runs u ON u.id = r.run_id"
        " WHERE length(r.hits) != json_array_length(c.held_out) OR u.stage != 'curve' OR r.size > c.num_labels",
        "a learning curve has results that are not its own",
    ),
    (
        "SELECT 1 FROM learning_curves a JOIN learning_curves r ON r.id = a.random_id"
        " WHERE r.arm IS NOT 'random' OR r.held_out != a.held_out",
        "a learning curve stands against one that was measured on other votes",
    ),
    (
        "SELECT 1 FROM evaluation_results r JOIN checkpoints c ON c.id = r.checkpoint_id WHERE c.name != r.subject",
        "a result names another checkpoint than its own",
    ),
)
"""Faults across rows: a query that finds a fault, and the fault in words."""
