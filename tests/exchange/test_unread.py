"""An answer that its file judges in a place that is not read is never a demonstration; harmless columns ask nothing."""

import json

import pytest

from studio.datasets import importing
from studio.datasets.plan import Asks, Request
from studio.workspace import Workspace

ANSWERED = {"prompt": "q", "response": "wrong"}
TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "wrong"}]


def write(tmp_path, *rows):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def talk(**more):
    return {"messages": [TURNS[0], TURNS[1] | more]}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (talk(score=-1), r"messages\[-1\]\.score"),
        (talk(rating=0), r"messages\[-1\]\.rating"),
        (talk(label="quality:0,toxicity:4"), r"messages\[-1\]\.label"),
        (talk(feedback={"stars": 1}), r"messages\[-1\]\.feedback"),
        (talk(metadata={"thumb": "down"}), r"messages\[-1\]\.metadata\.thumb"),
        (talk(isPreferred=False), r"messages\[-1\]\.isPreferred"),
        ({"conversations": json.dumps(talk(score=0)["messages"])}, r"conversations\[-1\]\.score"),
        (talk() | {"metadata": {"thumbs": "down"}}, r"metadata\.thumbs"),
    ],
    ids=str,
)
def test_a_judgement_inside_the_last_turn_is_asked_about(tmp_path, row, told):
    with pytest.raises(Asks, match=f"holds {told}, which may be a judgement"):
        importing.preview(write(tmp_path, row))


@pytest.mark.parametrize(
    "metadata",
    [{"rating": 1}, {"score": 0}, {"human": {"quality": "poor"}}, {"reviews": [{"rating": 2}]}, {"approved": False}, '{"rating": 1}'],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("name", ["metadata", "meta", "extra"])
def test_a_judgement_inside_the_metadata_is_asked_about(tmp_path, name, metadata):
    with pytest.raises(Asks, match=rf"holds {name}\.\w+"):
        importing.preview(write(tmp_path, ANSWERED | {name: metadata}))


@pytest.mark.parametrize(
    "judged",
    [
        {"approved": False}, {"passed": False}, {"valid": False}, {"valid": 0}, {"verified": "no"}, {"isValid": False}, {"liked": False},
        {"status": "rejected"}, {"review_status": "not approved"}, {"decision": "Failed"}, {"reaction": "👎"}, {"human_eval": 0}, {"overall": 1},
        {"gpt4_eval": "1/10"}, {"evaluation": {"clarity": 1}}, {"is_toxic": True}, {"flagged": True}, {"flags": ["unsafe"]}, {"toxicity": 0.97},
        {"hallucination": "yes"}, {"accuracy": 0.1}, {"is_refusal": True}, {"success": False}, {"correctness": 1},
        {"deleted": True}, {"upvoted": False}, {"kept": "no"}, {"result": "incorrect"}, {"pass@1": 0.0}, {"outcome": "Failure"},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("row", [ANSWERED, {"messages": TURNS}], ids=["columns", "turns"])
def test_a_flag_a_state_or_a_grade_of_another_name_is_asked_about(tmp_path, row, judged):
    path = write(tmp_path, row | judged)
    with pytest.raises(Asks, match=f"holds {next(iter(judged))}"):
        importing.preview(path)
    assert importing.preview(path, Request("prompts")).num_kept == 1  # the person said so


@pytest.mark.parametrize(
    "late",
    [{"score": 0}, {"rating": 1}, {"approved": False}, {"metadata": {"rating": 1}}, {"status": "rejected"}],
    ids=str,
)
@pytest.mark.parametrize("before", [False, True], ids=["not there before", "empty before"])
def test_a_judgement_that_begins_after_the_first_rows_drops_its_rows(tmp_path, late, before):
    empty = dict.fromkeys(late) if before else {}
    rows = [{"prompt": f"p{at}", "response": "r"} | empty for at in range(300)]
    path = write(tmp_path, *rows, ANSWERED | late)
    result = importing.import_source(Workspace.open(tmp_path / "w"), path)
    (reason,) = result.dropped
    assert (result.num_kept, result.dropped[reason]) == (300, 1)
    assert reason.startswith(f"holds {next(iter(late))}")


HARMLESS = {
    "id": 7, "source": "web", "category": "maths", "language": "en", "length": 12, "num_tokens": 5, "url": "https://x.y/a?b=0", "date": "2026-01-01",
    "license": "apache-2.0", "model": "m-1", "topic": "no sports", "tags": ["a", "b"], "status": "completed", "state": "Ohio", "http_status": 404,
    "valid": True, "approved": True, "flagged": False, "toxic": False, "redacted": True, "multi_turn": False, "index": 0, "label_id": 3, "turn": 1,
    "created_at": "2026-01-01T00:00:00Z", "temperature": 0.0, "seed": 0, "lang_score": 0.99, "errors": [], "error": None, "review": "Bad film, "
    "of which I have seen nothing worse.", "reviewed": True, "difficulty": 1, "num_turns": 0, "subset": "test", "has_code": False, "score": None,
    "reward_model": "rm-1", "metadata": {"source": "x", "line": 0, "usage": {"total": 0}, "learning_rate": 0.1, "label": "maths", "is_code": False},
    "openai_moderation": [{"flagged": False, "category_scores": {"hate": 0.1}}], "result": "A long text about what is bad in the world of letters.",
    "hash": "0a", "version": 2, "user_id": "u1", "country": "NO", "timestamp": 1.7e9, "stop_reason": "stop", "rating": float("nan"),
}  # fmt: skip


@pytest.mark.parametrize("row", [ANSWERED, {"messages": TURNS}], ids=["columns", "turns"])
def test_harmless_columns_ask_nothing(tmp_path, row):
    found = importing.preview(write(tmp_path, *[row | {"prompt": f"q{at}"} | HARMLESS for at in range(2)]))
    assert (found.kind, sum(found.dropped.values())) == ("demonstrations", 0 if row is ANSWERED else 1)
