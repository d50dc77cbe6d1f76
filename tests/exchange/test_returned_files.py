"""Each tool's result of our tasks, in the form its SDK reads, joins the comparisons it came from."""

import json

import pytest

from studio.datasets import importing
from studio.datasets.plan import Request
from studio.exchange import to_label
from studio.exchange.tasks import WHAT
from studio.preferences import comparisons, elsewhere, prompts
from studio.workspace import Workspace
from tests.exchange.filling import fill, pairwise, ranked, strength
from tests.exchange.reading import kept
from tests.support import stored

AT = "2026-05-01T10:00:00+00:00"
SIDES = ("left", "right", "left")
"""What is said of the pairs, by the position shown; of the rankings, the last is best and the others are equal."""
WROTE = "What {0} would say."
"""What is written as answer to a prompt."""


@pytest.fixture
def ws(tmp_path):
    ws = Workspace.open(tmp_path / "workspace")
    fill(ws, 3, 1)
    return ws


def load(ws, form, what, name):
    text = (to_label.export(ws, form, what).folder / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if name.endswith("l") else json.loads(text)


def label_studio(ws, what):
    rows = load(ws, "label-studio", what, "tasks.json")
    results = {
        "pairs": [[pairwise(side), strength("much better")] for side in SIDES],
        "rankings": [[ranked(["3", "1", "2"])]],
        "prompts": [[wrote(number)] for number in range(len(rows))],
    }[what]
    for number, (row, result) in enumerate(zip(rows, results, strict=True), 1):
        said = {"id": number, "created_at": AT, "completed_by": 5, "lead_time": 2.5, "was_cancelled": False}
        row |= {"id": number, "annotations": [said | {"result": result, "created_username": "ann1@rater.test, 5"}]}
    return {"export.json": rows}


def wrote(number):
    value = {"text": [WROTE.format(number)]}
    return {"value": value, "from_name": "answer", "to_name": "prompt", "type": "textarea"}


def argilla(ws, what):
    records = load(ws, "argilla", what, "records.json")
    for number, record in enumerate(records if what == "prompts" else ()):
        record["responses"] = {"answer": [{"value": WROTE.format(number), "user_id": "ann1"}]}
    for record, side in zip(records, SIDES if what != "prompts" else (), strict=False):
        ranks = [{"value": f"response-{at}", "rank": rank} for at, rank in ((1, 2), (2, 3), (3, 1))]
        given = {"ranking": ranks} if what == "rankings" else {"preference": f"response-{1 + (side == 'right')}", "strength": "much better"}  # fmt: skip
        record["responses"] = {name: [{"value": value, "user_id": "ann1"}] for name, value in given.items()}
    return {"records.json": records}


def surge(ws, what):
    rows = load(ws, "surge", what, "create_tasks.json")
    questions = load(ws, "surge", what, "questions.json")
    said = {"left": "A is much better", "right": "B is much better"}
    answers = [["Response C", "Response A", "Response B"]] if what == "rankings" else [said[side] for side in SIDES]
    answers = [WROTE.format(number) for number in range(len(rows))] if what == "prompts" else answers
    tasks = [
        {
            "id": f"t{n}", "project_id": "p", "created_at": AT, "fields": row,
            "responses": [{"id": f"r{n}", "completed_at": AT, "worker_id": "ann1", "data": {questions[0]["text"]: answer}}],
        }
        for n, (row, answer) in enumerate(zip(rows, answers, strict=True))
    ]  # fmt: skip
    return {"surge.json": [*questions, *tasks]}


def scale(ws, what):
    tasks = []
    for number, request in enumerate(load(ws, "scale", what, "chat_tasks.jsonl")):
        variables = request["template_variables"]
        messages = [{"role": turn["role"], "content": {"text": turn["content"]}, "source_id": turn["role"]} for turn in variables["messages"]]  # fmt: skip
        messages = messages[-1:]
        messages += [
            {"role": "assistant", "content": {"text": each["text"]}, "source_id": each["source_id"], "annotations": []}
            for each in variables["responses"]
        ]
        said = []
        if what == "prompts":
            messages += [
                {"role": "assistant", "content": {"text": WROTE.format(number)}, "source_id": "s", "annotations": []}
            ]
        elif what == "rankings":
            said = [
                {
                    "id": "a",
                    "key": "ranking",
                    "type": "ranked_choices",
                    "value": ["response-3", "response-1", "response-2"],
                }
            ]
        else:
            said = [
                {
                    "id": "a",
                    "key": "selected_model_id",
                    "type": "text",
                    "value": f"response-{1 + (SIDES[number] == 'right')}",
                }
            ]
        thread = {"id": "th", "turns": [{"id": "tu", "messages": messages, "annotations": said}]}
        thread["submissions"] = [{"submitted_at": AT, "contributor_id": "ann1"}]
        tasks.append({"task_id": f"t{number}", "project": "p", "status": "completed", "created_at": AT, "completed_at": AT,
                      "metadata": request["metadata"], "threads": [thread]})  # fmt: skip
    return {"scale.json": tasks}


def labelbox(ws, what):
    rows = load(ws, "labelbox", what, "data_rows.json")
    said = []
    for number, row in enumerate(rows):
        base = {"uuid": f"u{number}", "dataRow": {"globalKey": row["global_key"]}}
        if what == "prompts":
            said.append(base | {"name": "answer", "answer": WROTE.format(number)})
            continue
        parent = next(name for name, each in row["row_data"]["messages"].items() if len(each["childMessageIds"]) > 1)
        orders = (2, 3, 1) if what == "rankings" else {"left": (1, 2), "right": (2, 1)}[SIDES[number]]
        ranks = [
            {"messageId": f"response-{n}", "modelConfigName": f"Response {n}", "order": o}
            for n, o in enumerate(orders, 1)
        ]
        data = {"parentMessageId": parent, "rankedMessages": ranks}
        said.append(base | {"name": "ranking", "messageEvaluationTask": {"format": "message-ranking", "data": data}})
    return {"data_rows.json": rows, "annotations.ndjson": said}


def write(folder, files):
    """Write a tool's result; returns the folder, or the only file."""
    folder.mkdir()
    for name, rows in files.items():
        text = "\n".join(map(json.dumps, rows)) if name.endswith("ndjson") else json.dumps(rows)
        (folder / name).write_text(text, encoding="utf-8")
    return str(folder if len(files) > 1 else folder / next(iter(files)))


FORMS = [label_studio, argilla, surge, scale, labelbox]


@pytest.mark.parametrize("what", ["pairs", "rankings"])
@pytest.mark.parametrize("form", FORMS)
def test_a_result_joins_its_comparison_and_left_is_what_the_eye_saw(ws, tmp_path, form, what):
    source = write(tmp_path / "result", form(ws, what))
    before = [
        stored.read(ws, comparisons.counts)["comparisons"],
        stored.read(ws, prompts.counts)["prompts"],
        responses(ws),
    ]
    for _ in range(2):
        importing.take(ws, source)
    assert [
        stored.read(ws, comparisons.counts)["comparisons"],
        stored.read(ws, prompts.counts)["prompts"],
        responses(ws),
    ] == before
    rows = {row["comparison_id"]: row for row in stored.preferences(ws)}
    with ws.read() as db:
        shown = {
            number: comparisons.get_showing(db, comparisons.find_showing(db, number, elsewhere.RATER) or 0)
            for number in rows
        }
    if what == "rankings":
        assert rows[4]["ranks"] == [2, 3, 1]
    else:
        assert [rows[number]["outcome"] for number in (1, 2, 3)] == list(SIDES)
    for number, row in rows.items():
        showing = shown[number]
        assert showing is not None
        assert tuple(row["texts"]) == showing.texts
    assert len(rows) == (1 if what == "rankings" else 3)


# Answers that were written elsewhere.


def label_studio_rows(ws, what):
    """What JSON_MIN holds of the same annotations."""
    rows = []
    for task in label_studio(ws, what)["export.json"]:
        (annotation,) = task["annotations"]
        said = {"annotation_id": annotation["id"], "annotator": 5, "lead_time": 2.5, "created_at": AT, "updated_at": AT}
        rows.append(task["data"] | {"id": task["id"], "answer": annotation["result"][0]["value"]["text"][0]} | said)
    return {"export.json": rows}


def labelbox_export(ws, what):
    """The same as exported rows."""
    files = labelbox(ws, what)
    rows = []
    for row, said in zip(files["data_rows.json"], files["annotations.ndjson"], strict=True):
        given = {"name": "answer", "value": "answer", "text_answer": {"content": said["answer"]}}
        label = {
            "id": f"l-{row['global_key']}",
            "label_details": {"created_by": "ann1", "created_at": AT},
            "annotations": {"classifications": [given]},
        }
        rows.append(
            {
                "data_row": {"global_key": row["global_key"], "row_data": row["row_data"]},
                "projects": {"p": {"labels": [label]}},
            }
        )
    return {"export.ndjson": rows}


def surge_by_header(ws, what):
    """Answers under the question's column header, and no questions in the file."""
    tasks = [row for row in surge(ws, what)["surge.json"] if "fields" in row]
    for task in tasks:
        (answer,) = task["responses"][0]["data"].values()
        task["responses"][0]["data"] = {"prompts": answer}
    return {"surge.json": tasks}


@pytest.mark.parametrize("kind", ["auto", "demonstrations"])
@pytest.mark.parametrize("form", [*FORMS, label_studio_rows, labelbox_export, surge_by_header])
def test_an_answer_that_was_written_elsewhere_joins_its_prompt(ws, tmp_path, form, kind):
    source = write(tmp_path / "result", form(ws, "prompts"))
    with ws.read() as db:
        asked = dict(prompts.list_unanswered(db))
    result = importing.import_source(ws, source, Request(kind))
    assert (result.kind, result.num_new, result.num_kept, result.dropped) == (
        "demonstrations",
        len(asked),
        len(asked),
        {},
    )
    assert importing.import_source(ws, source, Request("demonstrations" if kind == "auto" else "auto")).num_new == 0
    with ws.read() as db:
        found = db.execute("SELECT prompt_id, text FROM demonstrations ORDER BY prompt_id").fetchall()
        assert prompts.counts(db)["prompts"] == len(asked)
    assert [row[0] for row in found] == sorted(asked)
    assert sorted(row[1] for row in found) == [WROTE.format(number) for number in range(len(asked))]


def foreign(form, data, said):
    """A task of somebody else's project, as a tool gives it back."""
    if form == "label-studio":
        results = [
            {"value": {"text": [text]}, "from_name": name, "to_name": "prompt", "type": "textarea"}
            for name, text in said.items()
        ]
        return [{"id": 1, "data": data, "annotations": [{"id": 5, "completed_by": 2, "result": results}]}]
    if form == "argilla":
        answers = {name: [{"value": text, "user_id": "u1"}] for name, text in said.items()}
        return [{"id": "r1", "fields": data, "metadata": {}, "suggestions": {}, "responses": answers}]
    return [{"id": "t", "project_id": "p", "fields": data, "responses": [{"id": "r", "worker_id": "w", "data": said}]}]


@pytest.mark.parametrize("form", ["label-studio", "argilla", "surge"])
@pytest.mark.parametrize(
    ("data", "said", "wanted"),
    [
        ({"prompt": "q"}, {"response": "a"}, ["a"]),
        ({"instruction": "q"}, {"ideal answer": "a", "comment": "Easy."}, ["a"]),
        ({"prompt": "q"}, {"topic": "a"}, []),
        ({"prompt": "q"}, {"why this response": "a"}, []),
        ({"prompt": "q", "response": "r"}, {"answer quality": "poor"}, []),
        ({"prompt": "q", "response": "r"}, {"answer": "a"}, []),
        ({"prompt": "q"}, {"answer": " "}, []),
    ],
    ids=str,
)  # fmt: skip
def test_only_what_is_called_an_answer_is_one_in_a_project_of_others(tmp_path, form, data, said, wanted):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(foreign(form, data, said)))
    found, _ = kept(path)
    assert [item.responses[0] for item in found] == wanted
    assert all(item.kind == "demonstration" for item in found)


def responses(ws):
    with ws.read() as db:
        return db.table("responses").count


@pytest.mark.parametrize("what", WHAT)
def test_our_tasks_before_anybody_answered_bring_no_judgement(ws, what):
    exported = to_label.export(ws, "label-studio", what)
    with pytest.raises(importing.ImportRefused):
        importing.take(ws, str(exported.folder / "tasks.json"))
    assert stored.preferences(ws) == []
