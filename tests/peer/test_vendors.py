"""The files for Labelbox, Scale, Surge and Argilla are read by these vendors' own models.

Their SDKs live in an environment of their own and are called as a process:

    VENV/bin/pip install scaleapi surge-api "labelbox[data]" argilla
    RLHF_STUDIO_VENDORS_PYTHON=VENV/bin/python pytest -m peer tests/peer/test_vendors.py
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from studio.exchange import ratings_out, to_label
from studio.exchange.tasks import WHAT, What
from studio.preferences import comparisons, ratings
from studio.workspace import Workspace
from tests.exchange.filling import fill
from tests.support import stored

pytestmark = [pytest.mark.peer, pytest.mark.timeout(600)]

SCALE = """
from scaleapi.api_client.v2.models.create_chat_task_request import CreateChatTaskRequest
rows = [json.loads(line) for line in open(folder / "chat_tasks.jsonl", encoding="utf-8")]
read = [CreateChatTaskRequest.from_dict(row | {"project_name": "p"}) for row in rows]
assert [each.to_dict() for each in read] == [row | {"project_name": "p"} for row in rows]
"""
SURGE = """
from surge import questions, tasks
kinds = {"multiple_choice": questions.MultipleChoiceQuestion, "ranking": questions.RankingQuestion,
         "free_response": questions.FreeResponseQuestion}
for question in load("questions.json"):
    kind = kinds[question["type"]]
    named = {name: value for name, value in question.items() if name != "type"}
    made = kind(**named).to_dict()
    assert {name: made[name] for name in question} == question, made
rows = load("create_tasks.json")
posted = []
def post(endpoint, data, api_key=None):
    posted.append(data["tasks"])
    return [{"id": "t", "project_id": "p", "fields": task, "responses": []} for task in data["tasks"]]
tasks.Task.post = post
made = tasks.Task.create_many("p", rows, False)
assert [task.fields for task in made] == posted[0] == rows
"""
LABELBOX = """
from labelbox.schema.data_row_payload_templates import ModelEvaluationTemplate
from labelbox.schema.internal.data_row_upsert_item import DataRowCreateItem
rows = load("data_rows.json")
for row in rows:
    plain = {name: value for name, value in row.items() if name != "metadata_fields"}
    read = ModelEvaluationTemplate(**plain).model_dump(exclude={"row_data": {"draft"}}, include={"row_data", "global_key"})
    assert read == plain, read
items = DataRowCreateItem.build("dataset", rows)
assert [item.payload["global_key"] for item in items] == [row["global_key"] for row in rows]
"""
ARGILLA = """
from unittest.mock import MagicMock
import argilla as rg
from argilla.records._io._json import JsonIO
rg.Argilla._default_client = MagicMock()
records = JsonIO._records_from_json(folder / "records.json")
settings = rg.Settings.from_json(folder / "settings.json")
fields = {field.name for field in settings.fields}
assert all(set(record.fields.to_dict()) <= fields for record in records)
assert [record.to_dict()["metadata"] for record in records] == [row["metadata"] for row in load("records.json")]
assert [question.name for question in settings.questions], settings
"""
ANSWERED = """
from unittest.mock import MagicMock
import argilla as rg
from argilla.records._io._json import JsonIO
rg.Argilla._default_client = MagicMock()
records = JsonIO._records_from_json(folder / "ratings-argilla.json")
rows = load("ratings-argilla.json")
for record, row in zip(records, rows):
    said = {response.question_name: response.value for response in record.responses}
    assert said == {name: given[0]["value"] for name, given in row["responses"].items()}, said
"""


@pytest.fixture(scope="module")
def python() -> str:
    python = os.environ.get("RLHF_STUDIO_VENDORS_PYTHON", "")
    if not python:
        pytest.skip("The vendors' SDKs are not at hand: name a Python that has them in RLHF_STUDIO_VENDORS_PYTHON.")
    return python


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    ws = Workspace.open(tmp_path_factory.mktemp("vendors") / "workspace")
    fill(ws, 3, 2)
    return ws


def judge(python: str, script: str, folder: Path) -> None:
    start = "import json, pathlib, sys, warnings\nwarnings.simplefilter('ignore')\nfolder = pathlib.Path(sys.argv[1])\n"
    start += "load = lambda name: json.loads((folder / name).read_text(encoding='utf-8'))\n"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-c", start + script, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize(
    ("form", "script"), [("scale", SCALE), ("surge", SURGE), ("labelbox", LABELBOX), ("argilla", ARGILLA)]
)
def test_the_vendors_models_read_our_tasks(python: str, ws: Workspace, form: str, script: str, what: What):
    judge(python, script, to_label.export(ws, form, what).folder)


def test_argillas_records_read_our_ratings(python: str, ws: Workspace):
    while showing := stored.written(ws, comparisons.next_showing):
        is_pair = len(showing.texts) == 2
        stored.written(
            ws, ratings.record, showing.id, "left" if is_pair else "ranking", ranks=None if is_pair else [1, 1, 2]
        )
    exported = ratings_out.export(ws, "argilla")
    assert json.loads(exported.path.read_text(encoding="utf-8"))
    judge(python, ANSWERED, exported.path.parent)
