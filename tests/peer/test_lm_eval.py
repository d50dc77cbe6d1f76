"""The likelihood scorer takes the decisions of lm-evaluation-harness 0.4.13 on every item.

It lives in an environment of its own and is called as a process; public files are read where a folder holds them:

    RLHF_STUDIO_EVAL_PYTHON=/path/to/python RLHF_STUDIO_EVAL_DATA=FOLDER pytest -m peer tests/peer/test_lm_eval.py
"""

import importlib.util
import json
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
from studio.evaluation import suites
from studio.workspace import Workspace

pytestmark = [pytest.mark.peer, pytest.mark.timeout(1800)]
PUBLIC = {"copa": "copa.jsonl", "hellaswag": "hellaswag_1000.jsonl", "blimp": "blimp_50.jsonl"}
NUM = 400
"""Items of each suite."""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = Path(os.environ.get("RLHF_STUDIO_EVAL_DATA", "nowhere"))
    names = [f"{name}:{folder / file}" for name, file in PUBLIC.items() if (folder / file).is_file()]
    ws = Workspace.open(tmp_path_factory.mktemp("peer") / "studio")
    found = suites.find(ws, ", ".join(["grammar", "facts", *names]))
    return [suite._replace(items=suite.items[:NUM]) for suite in found]


@pytest.fixture(scope="module")
def theirs(given, tmp_path_factory):
    python = os.environ.get("RLHF_STUDIO_EVAL_PYTHON", sys.executable if importlib.util.find_spec("lm_eval") else "")
    if not python:
        pytest.skip("lm_eval is not at hand: name a Python that has it in RLHF_STUDIO_EVAL_PYTHON.")
    folder = tmp_path_factory.mktemp("lm_eval")
    (folder / "suites.json").write_text(json.dumps({suite.name: (suite.kind, suite.items) for suite in given}))
    script = Path(__file__).parent / "lm_eval_decisions.py"
    command = [python, script, STARTER / "model", folder / "suites.json", folder / "answers.json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "answers.json").read_text())


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
