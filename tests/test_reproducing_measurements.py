"""Runs that save no model, bundled and run again: what they sampled and measured is equal, or the first that differs is named."""

import json
import re

import pytest

from modules.config import CurveConfig, EvaluateConfig, RewardConfig, SampleConfig, SFTConfig
from studio.cli import main
from studio.errors import ConfigError, ImportRefused, RunError
from studio.models import checkpoints
from studio.reproduction import bundling, differences, measured, opening, repeating
from studio.runs import runs
from studio.workspace import Workspace
from tests.insights.test_learning_curve import SMALL, end, rate
from tests.support import stored, warm
from tests.test_reproduction import rewritten, with_head

pytestmark = pytest.mark.timeout(900)
KEPT = ("responses", "comparisons", "evaluation_suites", "evaluation_results", "learning_curves", "learning_results")
CONFIGS = {
    "sample-1": SampleConfig(num_prompts=5, responses_per_prompt=3, max_new_tokens=8, split="train"),
    "evaluate-1": EvaluateConfig(checkpoints="base, sft-1", suites="grammar, caution", limit=6, max_new_tokens=6),
    "curve-1": CurveConfig(num_sizes=4, num_seeds=2),
}


@pytest.fixture(autouse=True, scope="module")
def quick_starts():
    with warm.starts():
        yield


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A trained reward model, and a run of each stage that saves no model."""
    ws = Workspace.open(tmp_path_factory.mktemp("measured") / "studio")
    rate(ws, "train", 48, error=0.05)
    rate(ws, "validation", 12)
    end(ws, SFTConfig(**SMALL, epochs=1, eval_samples=0, eval_every=1000))
    end(ws, RewardConfig(**SMALL, epochs=1, learning_rate=5e-3))
    for name, config in CONFIGS.items():
        run = end(ws, config)
        assert (run.name, run.state) == (name, "finished"), run.message
    return ws


@pytest.fixture
def ws(template, tmp_path):
    return stored.copied(template, tmp_path / "studio")


def kept(ws):
    tables = stored.tables(ws)
    return {name: tables[name] for name in KEPT}


def against(ws, path, name):
    with opening.opened(path) as bundle:
        return differences.between(ws, bundle, stored.read(ws, runs.get, name))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_run_that_saves_no_model_is_run_again_equals_it_and_changes_nothing_that_is_stored(ws, name, capsys):
    before, root = kept(ws), ["--workspace", str(ws.root)]
    assert main(["runs", "bundle", name, *root]) == 0
    path = ws.exports / f"{name}.bundle.zip"
    content = path.read_bytes()
    assert bundling.write(ws, name).read_bytes() == content
    assert main(["reproduce", str(path), "--show", *root]) == 0
    assert "Code, packages and machine are the same here." in capsys.readouterr().out
    assert main(["reproduce", str(path), *root]) == 0
    out = capsys.readouterr().out
    num = int(re.search(r"All (\d+) answers and results are equal to the last bit\.", out)[1])
    assert num == {"sample-1": 15, "evaluate-1": 24, "curve-1": 8}[name]
    assert "files with the weights" not in out, "it has none"
    assert kept(ws) == before

    again = name.replace("-1", "-2")
    file = runs.folder(ws, again) / measured.NAME
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0][2] = {"sample-1": {"text": "x"}, "evaluate-1": {"scores": {}}, "curve-1": "01"}[name.replace("-2", "-1")]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]))
    assert main(["reproduce", str(path), "--against", again, *root]) == 1
    out = capsys.readouterr().out
    assert f"2 of {num} answers and results differ; the first is " in out
    assert " there, " in out
    assert bundling.write(ws, again).is_file(), "what repeats another one can be bundled, too"


def test_a_checkpoint_of_another_name_is_found_and_measured_under_it(ws, template):
    path = bundling.write(template, "curve-1")
    evaluation = bundling.write(template, "evaluate-1")
    with ws.write() as db:
        db.execute("UPDATE runs SET name = 'sft-7' WHERE name = 'sft-1'")
        db.execute(
            "UPDATE checkpoints SET name = replace(name, 'sft-1@', 'sft-7@'), folder = replace(folder, 'sft-1/', 'sft-7/')"
        )
    (ws.runs / "sft-1").rename(ws.runs / "sft-7")
    name = stored.read(ws, checkpoints.newest, "sft").name
    assert name.startswith("sft-7@")
    with opening.opened(evaluation) as bundle:
        assert stored.read(ws, repeating.plan, bundle).config.checkpoints == f"base, {name}"
    assert main(["reproduce", str(path), "--workspace", str(ws.root)]) == 0


def test_a_run_whose_every_part_was_measured_before_has_nothing_to_bundle_and_a_part_is_told_as_a_part(ws):
    first = bundling.write(ws, "evaluate-1")
    everything = end(ws, CONFIGS["evaluate-1"])
    with pytest.raises(
        RunError, match=rf"{everything.name} measured nothing itself: .* all was measured by earlier runs"
    ):
        bundling.write(ws, everything.name)
    more = end(ws, CONFIGS["evaluate-1"].model_copy(update={"suites": "grammar, caution, facts"}))
    second = bundling.write(ws, more.name)
    assert main(["reproduce", str(second), "--workspace", str(ws.root)]) == 0
    found = against(ws, second, "evaluate-4")
    assert found.num_measured == 12
    assert found.num_more == 24
    assert "24 more were measured here, which the bundle's run had found measured." in found.sentences
    missing = against(ws, first, more.name)
    assert missing.measured.startswith(
        "24 of 24 answers and results differ; the first is caution on subject 1, sample 1, number"
    )
    assert missing.measured.endswith(" there, nothing here.")


def test_a_bundle_whose_results_were_changed_or_are_of_another_stage_is_refused(ws):
    path = bundling.write(ws, "sample-1")
    for change, said in (
        (
            lambda name, content: content + b'["answer 1", 99, {}]\n' if name == "measured.jsonl" else content,
            "another hash",
        ),
        (lambda name, content: None if name == "measured.jsonl" else content, "has no measured.jsonl"),
    ):
        with opening.opened(rewritten(path, change)) as bundle, pytest.raises(ImportRefused, match=said):
            bundle.check()
    with (
        opening.opened(with_head(path, stage="sft", config={})) as bundle,
        pytest.raises(ConfigError, match="does not hold what a run of sft makes"),
    ):
        stored.read(ws, repeating.plan, bundle)
