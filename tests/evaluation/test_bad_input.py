"""Bad input of an evaluation at the terminal: each ends in one sentence with the thing, the cause and the next step, and stores nothing."""

import json
import shutil

import pytest

from assets import STARTER
from modules.rl import labels
from studio.cli import main
from studio.evaluation import results
from studio.runs import runs
from studio.workspace import Workspace
from tests.evaluation.test_evaluating import classifier
from tests.support import stored, warm


@pytest.fixture(autouse=True, scope="module")
def quick_starts():
    with warm.starts():
        yield


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "studio")


@pytest.fixture
def evaluate(ws, capsys):
    """Evaluate at the terminal; returns exit code, stdout and stderr."""

    def call(base="starter", **settings):
        settings = {"base_model": base, "limit": 4, "max_new_tokens": 4} | settings
        words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        code = main(["evaluate", *words, "--workspace", str(ws.root)])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return code, said.out, said.err

    return call


@pytest.fixture
def refusing(tmp_path):
    """The starter's model with a chat template that refuses what has a word; returns a function."""

    def made(word):
        folder = shutil.copytree(STARTER / "model", tmp_path / "refusing")
        (folder / "chat_template.jinja").write_text(
            "{% for m in messages %}{% if m['role'] == 'user' and '" + word + "' in m['content'] %}"
            "{{ raise_exception('No questions.') }}{% endif %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
            "{% if add_generation_prompt %}<assistant>{% endif %}"
        )
        return str(folder)

    return made


def write(ws, *rows):
    (ws.evaluations / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("third", "cause"),
    [
        ({"prompt": "Fire is", "choices": ["wet", "hot"]}, "the key gold is missing"),
        ({"choices": ["wet", "hot"], "gold": 1}, "the key prompt is missing"),
        ({"good": "Fire is hot."}, "the key bad is missing"),
    ],
)
def test_a_suite_with_a_missing_key_is_told_by_file_line_and_key(ws, evaluate, third, cause):
    fine = third | {"prompt": "Ice is", "gold": 0} if "choices" in third else third | {"bad": "Fire are hot."}
    write(ws, fine, fine, third)
    code, out, err = evaluate(suites="mine")
    assert (code, out) == (1, "")
    assert f"mine.jsonl, line 3: {cause}" in err
    assert "Correct the line, or leave it out." in err
    assert stored.read(ws, runs.list_all) == []


@pytest.mark.parametrize(
    ("labels", "label", "told"),
    [
        (
            1,
            "#LABEL_0",
            "has one label, so its score is not the probability that a text is toxic. Choose one with two labels",
        ),
        (2, "", "needs the label that means toxic: write classifier:FOLDER#LABEL with one of LABEL_0, LABEL_1"),
        (2, "#rude", "has no label 'rude'"),
    ],
)
def test_a_classifier_that_cannot_tell_toxic_texts_is_refused_before_a_run_is_made(
    ws, evaluate, tmp_path, labels, label, told
):
    folder = classifier(tmp_path / "classifier", labels)
    code, out, err = evaluate(suites="caution", toxicity=f"classifier:{folder}{label}")
    assert (code, out) == (1, "")
    assert told in err
    assert stored.read(ws, runs.list_all) == []


@pytest.mark.parametrize(
    ("names", "label", "told"),
    [
        ({"0": "fine", "5": "toxic"}, "toxic", "numbers its labels 0, 5, but its outputs are 0 to 1"),
        ({"fine": "0", "toxic": "1"}, "toxic", "numbers its labels fine, toxic. Correct id2label"),
        (
            {"0": "bad", "1": "bad"},
            "bad",
            "has several labels named 'bad'. Name the one that is meant by its number: 0, 1",
        ),
        ({"0": "Bad", "1": "BAD"}, "bad", "has several labels named 'bad'"),
    ],
)
def test_labels_that_do_not_tell_which_output_is_meant_are_refused(ws, evaluate, tmp_path, names, label, told):
    folder = classifier(tmp_path / "classifier", 2)
    config = json.loads((folder / "config.json").read_text()) | {"id2label": names}
    (folder / "config.json").write_text(json.dumps(config))
    code, _, err = evaluate(suites="caution", toxicity=f"classifier:{folder}#{label}")
    assert (code, told in err) == (1, True), err
    assert stored.read(ws, runs.list_all) == []


def test_a_label_is_found_by_its_name_before_its_number_and_in_other_letters():
    names = {0: "1", 1: "Toxic", 2: "toxic"}
    asked = ("1", "2", "toxic", "Toxic")
    assert [labels.find(label, names, "folder") for label in asked] == [0, 2, 2, 1]
    assert labels.find("TOXIC", {0: "fine", 1: "Toxic"}, "folder") == 1
    assert labels.find("", {0: "fine", 1: "Toxic"}, "folder") == 1


@pytest.mark.parametrize("suite", ["caution", "facts@chat"])
def test_a_template_that_refuses_every_question_is_told_with_its_words_and_what_to_do(ws, evaluate, refusing, suite):
    base = refusing("")
    code, out, _ = evaluate(base, suites=suite)
    assert code == 1
    assert "is refused by the chat template (No questions.). Measure suites without it, such as facts@plain" in out
    assert stored.read(ws, results.measured) == []


def test_a_template_that_no_suite_uses_is_not_in_the_way(ws, evaluate, refusing):
    code, out, _ = evaluate(refusing(""), suites="grammar,facts,caution@plain")
    assert (code, "finished" in out) == (0, True)
    assert len(stored.read(ws, results.measured)) == 3


def test_items_that_a_template_refuses_are_left_out_and_counted(ws, evaluate, refusing):
    rows = [{"prompt": word, "choices": ["wet", "dry"], "gold": 0} for word in ("Water?", "War?", "Ice?", "Fire?")]
    write(ws, *rows)
    base = refusing("War")
    code, out, _ = evaluate(base, suites="mine@chat")
    assert code == 0
    assert (
        'on 1 suite. 1 item was left out: 1 refused by the chat template (No questions.), such as "War?". See them'
        in out
    )
    (suite,) = stored.read(ws, results.measured)
    assert stored.read(ws, results.places_done, suite.id, f"base:{base}") == {0, 2, 3}
    write(ws, rows[1], rows[1])
    code, out, _ = evaluate(base, suites="mine@chat")
    assert code == 1
    assert "No item of mine@chat can be given to the model: 2 refused by the chat template (No questions.)" in out
    assert "Leave the suite out, or change it." in out
