"""The likelihood scorer takes the decisions of lm-evaluation-harness 0.4.13 on every item.

It lives in an environment of its own and is called as a process; public files are read where a folder holds them:

    RLHF_STUDIO_EVAL_PYTHON=/path/to/python RLHF_STUDIO_EVAL_DATA=FOLDER pytest -m peer tests/peer/test_lm_eval.py
"""

import importlib.util
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from assets import STARTER
from modules.evaluation import items
from modules.evaluation.likelihood import log_likelihoods, measuring
from modules.model.backbone import Backbone
from modules.model.roles import BASE
from studio.children import CODE
from studio.evaluation import suites
from studio.workspace import Workspace
from tests.support import stored

pytestmark = [pytest.mark.peer, pytest.mark.timeout(1800)]
PUBLIC = {"copa": "copa.jsonl", "hellaswag": "hellaswag_1000.jsonl", "blimp": "blimp_50.jsonl"}
NUM = 400
"""Items of each suite."""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = Path(os.environ.get("RLHF_STUDIO_EVAL_DATA", "nowhere"))
    names = [f"{name}:{folder / file}" for name, file in PUBLIC.items() if (folder / file).is_file()]
    ws = Workspace.open(tmp_path_factory.mktemp("peer") / "studio")
    found = stored.read(ws, suites.find, ws.evaluations, ", ".join(["grammar", "facts", *names]))
    return [suite._replace(items=suite.items[:NUM]) for suite in found]


def call(script, *words):
    """Run a script of this folder by a Python that has lm_eval, on one core."""
    python = os.environ.get("RLHF_STUDIO_EVAL_PYTHON", sys.executable if importlib.util.find_spec("lm_eval") else "")
    if not python:
        pytest.skip("lm_eval is not at hand: name a Python that has it in RLHF_STUDIO_EVAL_PYTHON.")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(CODE)}
    command = [python, Path(__file__).parent / script, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def theirs(given, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm_eval")
    (folder / "suites.json").write_text(json.dumps({suite.name: (suite.kind, suite.items) for suite in given}))
    call("lm_eval_decisions.py", STARTER / "model", folder / "suites.json", folder / "answers.json")
    return json.loads((folder / "answers.json").read_text())


SUMS = """task: SUMS
dataset_path: json
dataset_kwargs: {data_files: {validation: FOLDER/rows.jsonl}}
validation_split: validation
"""
FILTERS = """output_type: generate_until
generation_kwargs: {until: ["\\n"], max_gen_toks: 4, do_sample: false}
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
filter_list:
  - {name: strict, filter: [{function: take_first}]}
  - {name: loose, filter: [{function: regex, regex_pattern: "(\\\\w+)"}, {function: take_first}]}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
ROLLING = """output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
"""
CHOICE = """output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: 0
doc_to_choice: ["yes", "no"]
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


def test_tasks_with_two_filters_and_perplexities_and_groups_give_each_document_its_numbers(tmp_path):
    rows = [{"question": f"Tom had {n} red apples and a dog.", "answer": "red"} for n in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "lm_eval"
    folder.mkdir()
    for name, rest in (("sums", FILTERS), ("texts", ROLLING), ('"copa_mine"', CHOICE)):
        given = SUMS.replace("SUMS", name).replace("FOLDER", str(tmp_path)) + rest
        (folder / f"{name.strip(chr(34))}.yaml").write_text(given)
    (folder / "group.yaml").write_text("group: both\ntask: [texts, copa_mine]\n")
    call("lm_eval_rows.py", STARTER / "model", folder, tmp_path / "found.json", "sums", "texts", "both")
    found = json.loads((tmp_path / "found.json").read_text())
    sums = found["sums"]
    assert [len(sums["items"]), sums["hidden"]] == [6, []]
    assert {"exact_match, strict", "exact_match, loose", "answer"} == set(sums["scores"][0])
    assert sums["passes"] > 0
    texts = found["texts"]
    assert [item["prompt"] for item in texts["items"]] == [row["question"] for row in rows]
    assert all({"nats", "words", "bytes", "answer"} == set(each) for each in texts["scores"])
    total = sum(each["nats"] for each in texts["scores"]) / sum(each["bytes"] for each in texts["scores"])
    assert math.exp(total) == pytest.approx(texts["theirs"]["byte_perplexity,none"], rel=1e-6)
    assert {item["cluster"] for item in found["both"]["items"]} == {"texts", "copa_mine"}


def test_each_decision_is_that_of_lm_eval(given, theirs):
    torch.set_num_threads(1)  # as the other one: threads that wait for cores that others use spend CPU too
    backbone = Backbone.load(str(STARTER / "model"), device="cpu")
    largest, num, started = 0.0, 0, time.process_time()
    for suite in given:
        encoded = [
            items.requests(suite.kind, item, backbone.chat, False, backbone.context_length) for item in suite.items
        ]
        with measuring(backbone, BASE):
            values = iter(log_likelihoods(backbone, [part for item in encoded for text in item for part in text]))
        for item, texts, other in zip(suite.items, encoded, theirs[suite.name], strict=True):
            logprobs = [sum(next(values) for _ in text) for text in texts]
            largest = max(largest, *(abs(a - b) for a, b in zip(logprobs, other["logprobs"], strict=True)))
            found = items.scores(suite.kind, item, logprobs, [1] * len(texts))
            assert found["acc"] == other["acc"], (suite.name, item)
            assert suite.kind == "pair" or found["acc_norm"] == other["acc_norm"], (suite.name, item)
            num += 1
    ours = time.process_time() - started
    print(f"{num} decisions are equal; the largest difference of a log-likelihood is {largest:.1e}")
    print(f"{num / ours:.0f} items a second of CPU, lm_eval {num / theirs['cpu_s']:.0f}")
    assert largest < 1e-3
    assert ours < theirs["cpu_s"]
