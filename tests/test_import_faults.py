"""Rows that came in as something else than they mean: turns in cells, contradicting scores, infinite numbers; and lines that are cut."""

import csv
import io
import json

import numpy as np
import pytest

from studio.cli import main
from studio.datasets import importing
from studio.errors import ImportRefused

USER = {"role": "user", "content": "What's {it}? 😀"}
YES = {"role": "assistant", "content": "Yo"}
NO = {"role": "assistant", "content": "No"}
UNREADABLE = "looks like turns and cannot be read; write them as JSON, [{'role': ..., 'content': ...}, ...]"


def look(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return importing.preview(str(path))


def table(tmp_path, **cells):
    held = io.StringIO()
    csv.writer(held).writerows([cells.keys(), cells.values()])
    return look(tmp_path, "t.csv", held.getvalue())


def line(tmp_path, **row):
    return look(tmp_path, "t.jsonl", json.dumps(row))


def texts(preview):
    """Return what each example teaches: its prompt and its answers."""
    names = ("response", "chosen", "rejected")
    return [(e["messages"][-1]["content"], *(e[name] for name in names if name in e)) for e in preview.examples]


def array(*turns):
    held = np.empty(len(turns), object)
    held[:] = turns
    return held


# Turns in the cell of a table.

SPELLINGS = {
    "another key first": lambda *turns: str([{"weight": None, "id": 1, **turn} for turn in turns]),
    "another key first in json": lambda *turns: json.dumps([{"weight": None, "id": 1, **turn} for turn in turns]),
    "from and value after a key": lambda *turns: str([{"weight": None, "from": t["role"], "value": t["content"]} for t in turns]),
    "long key first": lambda *turns: str([{"id": "x" * 1000, **turn} for turn in turns]),
    "array as pandas shows it": lambda *turns: f"array({list(turns)}, dtype=object)",
    "array as numpy shows it": lambda *turns: repr(array(*turns)),
    "array without its name": lambda *turns: str(array(*turns)),
    "array in an array": lambda *turns: f"np.array([array({list(turns)}, dtype=object)], dtype=object)",
    "list in a list": lambda *turns: str([list(turns)]),
    "list in a list in json": lambda *turns: json.dumps([turns]),
    "tuple": lambda *turns: str(tuple(turns)),
    "one object a line": lambda *turns: "\n".join(json.dumps(turn) for turn in turns),
    "json in json": lambda *turns: json.dumps(json.dumps(turns)),
    "a list of texts": lambda *turns: json.dumps([json.dumps(turn) for turn in turns]),
    "an object with messages": lambda *turns: json.dumps({"messages": turns}),
    "nan and a comma at the end": lambda *turns: str([{"weight": float("nan"), **turn} for turn in turns])[:-1] + ",]",
}  # fmt: skip
spelled = pytest.mark.parametrize("spell", [pytest.param(spell, id=name) for name, spell in SPELLINGS.items()])


@spelled
def test_turns_in_a_cell_are_turns_in_every_spelling(tmp_path, spell):
    assert texts(table(tmp_path, messages=spell(USER, YES))) == [("What's {it}? 😀", "Yo")]
    assert texts(table(tmp_path, prompt=spell(USER), response="R")) == [("What's {it}? 😀", "R")]
    assert texts(table(tmp_path, prompt="P", response=spell(YES))) == [("P", "Yo")]


@spelled
def test_both_sides_of_a_pair_are_turns_in_every_spelling(tmp_path, spell):
    sides = {"chosen": spell(USER, YES), "rejected": spell(USER, NO)}
    assert texts(table(tmp_path, **sides)) == texts(line(tmp_path, **sides)) == [("What's {it}? 😀", "Yo", "No")]


@pytest.mark.parametrize("spell", [pytest.param(json.dumps, id="json"), pytest.param(str, id="python")])
def test_one_turn_as_an_object_is_a_turn(tmp_path, spell):
    for read in (table, line):
        assert texts(read(tmp_path, prompt="P", chosen=spell(YES), rejected=spell(NO))) == [("P", "Yo", "No")]
        assert texts(read(tmp_path, prompt=spell(USER), response=spell(NO))) == [("What's {it}? 😀", "No")]
        assert texts(read(tmp_path, system=spell([{"role": "system", "content": "Be kind."}]), prompt="P", response="R")) == [("P", "R")]  # fmt: skip


def test_turns_given_as_a_list_of_texts_are_no_ranking(tmp_path):
    sides = {"chosen": [json.dumps(USER), json.dumps(YES)], "rejected": [json.dumps(USER), json.dumps(NO)]}
    assert texts(line(tmp_path, **sides)) == [("What's {it}? 😀", "Yo", "No")]


@pytest.mark.parametrize("spell", [pytest.param(json.dumps, id="json"), pytest.param(str, id="python")])
def test_exchanges_of_input_and_output_in_a_cell_are_read(tmp_path, spell):
    exchanges = [{"input": "Hi", "output": "Hello"}, {"input": "And?", "output": "Yo"}]
    assert texts(table(tmp_path, conversation=spell(exchanges))) == [("And?", "Yo")]


def test_a_system_text_given_as_a_turn_is_its_text(tmp_path):
    found = table(tmp_path, system=str({"role": "system", "content": "Be kind."}), prompt="P", response="R")
    assert found.examples[0]["messages"][0] == {"role": "system", "content": "Be kind."}
    assert table(tmp_path, system=str([USER]), prompt="P", response="R").dropped == {
        "the system text holds another turn": 1
    }


def test_a_message_in_parts_is_the_text_of_its_parts(tmp_path):
    text, image = {"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "x"}}
    assert texts(table(tmp_path, prompt=str([text]), response=json.dumps([text]))) == [("Hi", "Hi")]
    assert table(tmp_path, prompt="P", response=str([text, image])).dropped == {"a turn is not text": 1}


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        pytest.param(str([{"id": 1, **USER}, YES])[:60], UNREADABLE, id="cut"),
        pytest.param(str({"id": 1, **YES})[:-1], UNREADABLE, id="one turn cut"),
        pytest.param("[{role: 'user', content: 'Hi'}, {role: 'assistant', content: 'Yo'}]", UNREADABLE, id="javascript"),
        pytest.param(json.dumps([USER, YES]).replace('"', '\\"'), UNREADABLE, id="quotes with a backslash"),
        pytest.param(json.dumps([USER, YES]).replace('"', '""'), UNREADABLE, id="quotes twice"),
        pytest.param("[{'t': datetime.datetime(2024, 1, 1), 'role': 'user', 'content': 'Hi'}]", UNREADABLE, id="a time inside"),
        pytest.param("[OrderedDict([('role', 'user'), ('content', 'Hi')])]", UNREADABLE, id="ordered dictionary"),
        pytest.param("[HumanMessage(content='Hi'), AIMessage(content='Yo')]", UNREADABLE, id="objects of a library"),
        pytest.param('[["user", "Hi"], ["assistant", "Yo"]]', UNREADABLE, id="pairs"),
        pytest.param(str([USER, YES]).replace("content", "said"), UNREADABLE, id="unknown name of the content"),
        pytest.param(json.dumps([{"role": "user", "content": "\U0001f600"}, YES])[:-1] + ",]", UNREADABLE, id="escapes of json in python"),
        pytest.param(str([USER, None, YES]), "a turn has no role", id="none among turns"),
        pytest.param(str([{"role": None, "content": None}]), "a turn has no role", id="turns of none"),
        pytest.param(json.dumps([USER, {"role": "assistant", "tool_calls": [1]}]), "tool calls", id="tool calls"),
        pytest.param("[None]", "empty prompt", id="list of none"),
        pytest.param("array([], dtype=object)", "empty prompt", id="array of nothing"),
        pytest.param("[]", "empty prompt", id="list of nothing"),
        pytest.param('[{"name": "Ann"}]', "a turn has no role", id="other objects in the column of turns"),
        pytest.param(str([[USER, YES], [USER, NO]]), "a turn has no role", id="several conversations"),
    ],
)  # fmt: skip
def test_turns_in_a_cell_that_cannot_be_read_are_dropped_and_never_taught(tmp_path, cell, reason):
    assert table(tmp_path, messages=cell).dropped == {reason: 1}


@pytest.mark.parametrize(
    "text",
    [
        'Write [{"role": "user", "content": "Hi"}] as YAML.',
        '[{"role": "user", "content": "Hi"}] is how a chat is written.',
        "{'role': 'user', 'content': 'Hi'} is what a turn looks like.",
        '{"author": "Orwell", "text": "1984"}',
        '{"from": "ann@example.org", "message": "Hi"}',
        '[{"name": "Bob", "role": "user"}]',
        "[{'name': 'Ann', 'age': 3}]",
        "{% for turn in turns %}{'role': 'user'}",
        "['user', 'admin']",
        "[None] is a list.",
        "array([1, 2])",
        "{ color: red }",
    ],
)
def test_a_text_that_only_quotes_such_a_notation_or_is_another_stays_a_text(tmp_path, text):
    assert texts(table(tmp_path, prompt=text, response=text)) == [(text, text)]


def test_turns_in_a_cell_are_told_on_the_command_line(tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_text(f'prompt,chosen,rejected\nP,"{YES}","{NO}"\n')
    assert main(["import", str(path), "--preview"]) == 0
    said = capsys.readouterr().out
    assert "Yo" in said
    assert "role" not in said


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param('[{"role": "user"}' + "\n" * 400_000, id="line breaks"),
        pytest.param("[{'role': 'user', " + "\\'" * 200_000, id="quotes"),
        pytest.param("[" * 400_000 + '{"role": "user",', id="brackets"),
        pytest.param('[{"role": "user"' + "} " * 200_000, id="gaps"),
        pytest.param("aMessage" * 100_000, id="words"),
    ],
)
@pytest.mark.timeout(60)
def test_a_hostile_cell_is_decided_in_the_time_that_reading_it_takes(tmp_path, cell):
    assert line(tmp_path, prompt="P", response=cell).num_rows == 1


# Scores that contradict the choice.


SCORES = pytest.mark.parametrize(
    ("better", "worse", "told"),
    [
        pytest.param(1, 5, "the rejected response scored better", id="contradict"),
        pytest.param(3, 3, "both sides have the same score", id="equal"),
        pytest.param(5, 1, None, id="agree"),
    ],
)


@SCORES
@pytest.mark.parametrize("names", [("score_chosen", "score_rejected"), ("chosen-rating", "rejected-rating")])
def test_scores_that_contradict_the_choice_are_told(tmp_path, names, better, worse, told):
    row = {"prompt": "P", "chosen": "a", "rejected": "b", names[0]: better, names[1]: worse}
    notes = " ".join(line(tmp_path, **row).notes)
    assert told in notes if told else notes == ""


@SCORES
@pytest.mark.parametrize("label", ["a", "b"])
def test_scores_that_contradict_a_label_are_told(tmp_path, label, better, worse, told):
    other = {"a": "b", "b": "a"}[label]
    scores = {f"score_{label}": better, f"score_{other}": worse}
    notes = " ".join(line(tmp_path, prompt="P", response_a="x", response_b="y", preference=label, **scores).notes)
    assert told in notes if told else notes == ""


# Numbers.


@pytest.mark.parametrize("number", ["1e400", "-1e400", "Infinity"])
def test_an_infinite_number_is_dropped_and_never_taught_as_a_word(tmp_path, number):
    rows = """{"prompt": "P", "response": 0.5}
{"prompt": 0.5, "response": "R"}
{"prompt": [{"role": "user", "content": 0.5}], "response": "R"}
{"prompt": "P", "response": 1e300}
"""
    found = look(tmp_path, "t.jsonl", rows.replace("0.5", number))
    assert (texts(found), found.dropped) == ([("P", "1e+300")], {"a number is infinite": 3})


def test_a_number_that_is_none_is_a_missing_cell(tmp_path):
    found = look(tmp_path, "t.jsonl", '{"prompt": "P", "response": NaN}\n{"prompt": NaN, "response": "R"}\n')
    assert found.dropped == {"empty response": 1, "empty prompt": 1}


# Broken lines.


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        pytest.param("t.jsonl", '{"prompt": "P"}\n{"prompt": "a",\n"response" "b"}\n', "line 2: broken JSON (the line ends in the middle of a row", id="after a comma"),
        pytest.param("t.jsonl", '{"prompt": "P"}\n{"prompt":  \n"a"}\n', "line 2: broken JSON (the line ends in the middle of a row", id="after a colon"),
        pytest.param("t.jsonl", '{"prompt": "P"}\n{"prompt": "a" "b"}\n', "line 2: broken JSON (Expecting ',' delimiter, column 16)", id="inside the line"),
        pytest.param("t.json", '[{"prompt": "P"},\n{"prompt": "a",\n\n\n', "line 2: broken JSON (the file ends in the middle of a row", id="end of a document"),
    ],
)  # fmt: skip
def test_an_error_beyond_the_end_of_a_line_names_no_column_of_another(tmp_path, name, text, told):
    with pytest.raises(ImportRefused) as refused:
        look(tmp_path, name, text)
    assert told in str(refused.value)
    assert ("column" in str(refused.value)) == ("column" in told)
