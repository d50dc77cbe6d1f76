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


@pytest.mark.parametrize(
    "more", [{"corrected_response": "right"}, {"revision": "right"}, {"edited_answer": "right"}, {"improved": "right"}, {"s": "★☆☆☆☆"}, {"react": "😡"}], ids=str
)  # fmt: skip
@pytest.mark.parametrize("row", [ANSWERED, {"messages": TURNS}], ids=["columns", "turns"])
def test_a_better_answer_or_stars_next_to_an_answer_are_asked_about(tmp_path, row, more):
    with pytest.raises(Asks, match=f"holds {next(iter(more))}"):
        importing.preview(write(tmp_path, row | more))


SIDES = {"prompt": "q", "response_a": "x", "response_b": "y"}


@pytest.mark.parametrize(
    "more", [{"result": "lose"}, {"outcome": 1}, {"a": 0, "b": 1}, {"p_a": 0.2}, {"delta": -2}, {"prob_b_better": "0.7"}, {"left": True}, {"confidence": 0.9}], ids=str
)  # fmt: skip
def test_a_pair_without_a_label_asks_about_what_may_be_one(tmp_path, more):
    with pytest.raises(Asks, match=f"holds {next(iter(more))}"):
        importing.preview(write(tmp_path, SIDES | more))
    assert importing.preview(write(tmp_path, SIDES | {"preference": "b"} | more)).num_kept == 1


@pytest.mark.parametrize("more", [{"margin": -2}, {"strength": 3}])
def test_how_much_better_without_which_is_no_pair_that_waits(tmp_path, more):
    assert importing.preview(write(tmp_path, SIDES | more)).dropped == {"how much better one is, and not which": 1}


@pytest.mark.parametrize("pair", [{"chosen": "x", "rejected": "y"}, {"response_a": "x", "response_b": "y", "preference": "a"}], ids=["chosen", "labelled"])  # fmt: skip
def test_a_pair_that_was_rejected_as_a_whole_is_asked_about_or_dropped(tmp_path, pair):
    with pytest.raises(Asks, match="holds answer"):
        importing.preview(write(tmp_path, {"prompt": "q"} | pair | {"answer": "reject"}))
    late = write(
        tmp_path, *[{"prompt": f"p{at}"} | pair for at in range(200)], {"prompt": "q"} | pair | {"answer": "reject"}
    )
    result = importing.import_source(Workspace.open(tmp_path / "w"), late)
    assert (result.num_kept, list(result.dropped)) == (
        200,
        ["holds answer, which may be a judgement and is not understood"],
    )


@pytest.mark.parametrize("last", [{"train": False}, {"loss": False}, {"loss": 0}, {"weight": 0}], ids=str)
def test_an_answer_that_is_marked_as_not_to_be_learnt_is_no_demonstration(tmp_path, last):
    path = write(tmp_path, talk(**last), talk(train=True) | {"id": 1})
    found = importing.preview(path)
    assert (found.num_kept, sum(found.dropped.values())) == (1, 1)


@pytest.mark.parametrize(
    "row", [{"prompt": "q", "responses": {"m1": {"text": "x", "score": 1}, "m2": {"text": "y"}}}, {"prompt": "q", "draft": "x", "final": "y"}, {"prompt": "q", "original": "x", "edited": "y"}], ids=str
)  # fmt: skip
def test_answers_next_to_a_prompt_are_not_left_out_in_silence(tmp_path, row):
    with pytest.raises(Asks, match="may be a judgement"):
        importing.preview(write(tmp_path, row))
