"""Files as other programs write them: read as they are meant, or refused by the right line and cause; nothing left out in silence."""

import gzip
import json
import os
import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from studio.cli import main
from studio.datasets import importing, readers
from studio.datasets.plan import Request
from studio.errors import ImportRefused
from studio.preferences import comparisons
from studio.workspace import Workspace
from tests.support import stored

TURNS = [{"role": "user", "content": "What's a colour?"}, {"role": "assistant", "content": "Teal."}]
FROM_VALUE = [{"from": "human", "value": "What's a colour?"}, {"from": "gpt", "value": "Teal."}]
PAIR = {"prompt": "Name a colour.", "chosen": "Teal.", "rejected": "Tuesday."}


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "workspace")


def look(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return importing.preview(str(path))


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def texts(preview):
    return [(example["messages"][-1]["content"], example["response"]) for example in preview.examples]


# Turns in the cell of a table.


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(json.dumps(TURNS), id="json"),
        pytest.param(json.dumps(TURNS, indent=1), id="json with line breaks"),
        pytest.param(json.dumps(FROM_VALUE), id="from and value"),
        pytest.param(str(TURNS), id="python notation"),
        pytest.param("\n " + str(FROM_VALUE), id="python notation after blanks"),
    ],
)
def test_turns_in_a_csv_cell_are_read_in_every_notation(tmp_path, cell):
    quoted = cell.replace('"', '""')
    found = look(tmp_path, "turns.csv", f'messages\n"{quoted}"\n')
    assert (found.kind, texts(found)) == ("demonstrations", [("What's a colour?", "Teal.")])


def test_both_sides_of_a_pair_in_python_notation_share_their_prompt(tmp_path):
    other = [TURNS[0], {"role": "assistant", "content": "Tuesday."}]
    found = look(tmp_path, "pairs.csv", f'chosen,rejected\n"{TURNS}","{other}"\n'.replace('"What\'s', '""What\'s').replace('colour?"', 'colour?""'))  # fmt: skip
    assert found.kind == "preferences"
    assert [(e["messages"][-1]["content"], e["chosen"], e["rejected"]) for e in found.examples] == [
        ("What's a colour?", "Teal.", "Tuesday.")
    ]


def test_a_cell_that_looks_like_turns_and_cannot_be_read_is_never_a_prompt(tmp_path):
    path = tmp_path / "cut.csv"
    path.write_text("messages\n\"[{'role': 'user', 'content': 'Name a\"\n")
    with pytest.raises(ImportRefused, match=r"No row of cut\.csv can be used"):
        importing.import_source(Workspace.open(tmp_path / "w"), str(path))
    assert list(importing.preview(str(path)).dropped) == [
        "looks like turns and cannot be read; write them as JSON, [{'role': ..., 'content': ...}, ...]"
    ]


def test_an_answer_that_is_a_list_in_json_stays_a_text(tmp_path):
    found = look(tmp_path, "a.jsonl", lines({"prompt": "A list of one name.", "response": '[{"name": "Ann"}]'}))
    assert texts(found) == [("A list of one name.", '[{"name": "Ann"}]')]


# Names of files and folders.


def test_endings_count_in_any_case_and_tsv_is_a_table(tmp_path):
    assert texts(look(tmp_path, "A.JSONL", lines({"prompt": "p", "response": "r"}))) == [("p", "r")]
    assert texts(look(tmp_path, "b.Tsv", "prompt\tresponse\np, q\tr; s\n")) == [("p, q", "r; s")]
    packed = gzip.compress(lines({"prompt": "p", "response": "r"}).encode())
    assert texts(look(tmp_path, "C.JSONL.GZ", packed)) == [("p", "r")]


def test_a_folder_tells_which_files_it_left_out(tmp_path, ws):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.jsonl").write_text(lines({"prompt": "p", "response": "r"}))
    (folder / "B.JSONL").write_text(lines({"prompt": "q", "response": "s"}))
    (folder / "c.xlsx").write_bytes(b"PK")
    (folder / "README.md").write_text("words")
    said = importing.import_source(ws, str(folder)).sentence
    assert "2 new demonstrations" in said
    assert said.endswith("Left out, since their type is not known: c.xlsx.")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(ImportRefused, match="not a regular file"):
        importing.preview(str(tmp_path / "pipe.jsonl"))


# CSV.


@pytest.mark.parametrize("separator", [pytest.param(s, id=name) for s, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (",", "commas"))])  # fmt: skip
@pytest.mark.parametrize("start", [pytest.param("", id="plain"), pytest.param("\ufeff", id="marked")])
def test_the_separator_is_found_by_the_header(tmp_path, separator, start):
    rows = [["prompt", "response"], ['"Name a colour, a tree; a | bar"', "Teal."]]
    text = start + "".join(separator.join(row) + "\r\n" for row in rows)
    assert texts(look(tmp_path, "a.csv", text)) == [("Name a colour, a tree; a | bar", "Teal.")]


def test_the_hint_that_excel_writes_is_no_header(tmp_path):
    assert texts(look(tmp_path, "a.csv", "sep=;\r\nprompt;response\r\np;r\r\n")) == [("p", "r")]
    with pytest.raises(ImportRefused, match="line 3: has more cells"):
        look(tmp_path, "b.csv", "sep=;\nprompt;response\np;r;s\n")


def test_unicode_text_of_excel_is_read(tmp_path):
    assert texts(look(tmp_path, "a.csv", "\ufeffprompt\tresponse\né\tß\n".encode("utf-16-le"))) == [("é", "ß")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param('p,r\na,"b"x\nc,d\n', "line 2", id="first row"),
        pytest.param('p,r\na1,b1\na2,b2\na3,"b3"x\na4,b4\n', "line 4", id="later row"),
        pytest.param(
            'p,r\na1,b1\na2,b2\na3,"b3\na4,b4\n', r"line 4: .*opens here and is never closed", id="open quote"
        ),
        pytest.param(
            'p,r\n"a\na",b1\n"c\nc","d"x\n', r"line 4: .*in the row that ends in line 5", id="row of several lines"
        ),
    ],
)
def test_a_broken_row_is_named_by_the_line_where_it_begins_with_what_to_do(tmp_path, text, told):
    with pytest.raises(ImportRefused, match=rf"a\.csv, {told}.* write each quote in it twice"):
        look(tmp_path, "a.csv", text.replace("p,r", "prompt,response"))


# JSON as programs write it.


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("a.json", {"prompt": {"0": "p", "1": "q"}, "response": {"0": "r", "1": "s"}}, id="columns"),
        pytest.param("a.json", {"prompt": ["p", "q"], "response": ["r", "s"]}, id="lists"),
        pytest.param("a.json", {"columns": ["prompt", "response"], "index": [0, 1], "data": [["p", "r"], ["q", "s"]]}, id="split"),
        pytest.param("a.json", {"0": {"prompt": "p", "response": "r"}, "1": {"prompt": "q", "response": "s"}}, id="index"),
        pytest.param("a.json", {"schema": {}, "data": [{"prompt": "p", "response": "r"}, {"prompt": "q", "response": "s"}]}, id="table"),
        pytest.param("a.jsonl", [{"prompt": "p", "response": "r"}, {"prompt": "q", "response": "s"}], id="a list in a file for lines"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("indent", [pytest.param(None, id="one line"), pytest.param(1, id="indented")])
def test_json_in_the_shapes_of_pandas_is_read_row_by_row(tmp_path, name, text, indent):
    assert texts(look(tmp_path, name, json.dumps(text, indent=indent))) == [("p", "r"), ("q", "s")]


def test_objects_over_several_lines_are_read_one_after_the_other(tmp_path):
    rows = [{"prompt": "p", "response": "r"}, {"prompt": "q", "response": "s"}]
    for name in ("a.jsonl", "a.json"):
        assert texts(look(tmp_path, name, "\n".join(json.dumps(row, indent=2) for row in rows))) == [("p", "r"), ("q", "s")]  # fmt: skip


def test_one_row_with_turns_is_no_set_of_columns(tmp_path):
    assert texts(look(tmp_path, "a.json", json.dumps({"messages": TURNS}))) == [("What's a colour?", "Teal.")]
    two = {"messages": [TURNS, [{"role": "user", "content": "q"}, {"role": "assistant", "content": "s"}]]}
    assert len(texts(look(tmp_path, "b.json", json.dumps(two)))) == 2


def test_columns_of_different_lengths_are_refused_with_their_lengths(tmp_path):
    with pytest.raises(ImportRefused, match=r"different lengths \(prompt 2, response 1\)"):
        look(tmp_path, "a.json", json.dumps({"prompt": ["p", "q"], "response": ["r"]}))


# Values.


def test_numbers_are_texts_and_zero_is_not_empty(tmp_path):
    rows = [{"prompt": f"p{i}", "response": value} for i, value in enumerate([42, 0, True, 1.5, [], " "])]
    found = look(tmp_path, "a.jsonl", lines(*rows))
    assert [response for _, response in texts(found)] == ["42", "0", "true", "1.5"]
    assert found.dropped == {"empty response": 2}
    table = pa.table({"prompt": ["p", "q", "t"], "response": pa.array([0, 42, None], pa.int64())})
    pq.write_table(table, tmp_path / "a.parquet")
    found = importing.preview(str(tmp_path / "a.parquet"))
    assert [response for _, response in texts(found)] == ["0", "42"]


@pytest.mark.parametrize("strength", [10**400, 1e300, float("inf"), -1, 2.5, True], ids=str)
def test_a_strength_that_is_none_drops_its_row(tmp_path, strength):
    found = look(tmp_path, "a.jsonl", lines(PAIR | {"strength": strength}))
    assert (found.num_kept, sum(found.dropped.values())) == (0, 1)
    assert next(iter(found.dropped)).startswith("strength is not")


@pytest.mark.parametrize(
    ("margin", "strength"),
    [("nan", None), ("NaN", None), ("", None), ("0.1", 1), ("0.7", 3), ("5", 3), ("-2.5", None), ("0", None), ("inf", "infinite"), ("1e999", "infinite")],
)  # fmt: skip
def test_no_strength_is_invented_from_a_margin_that_says_nothing(tmp_path, margin, strength):
    found = look(tmp_path, "a.csv", f"prompt,chosen,rejected,margin\np,c,r,{margin}\n")
    if isinstance(strength, str):
        assert strength in next(iter(found.dropped))
    else:
        assert [example["strength"] for example in found.examples] == [strength]


@pytest.mark.parametrize(
    "label", [0, "0", "no", False, "False", "bad", 0.0, -1, "rejected", None, "", "maybe", 7], ids=repr
)
def test_only_what_its_label_calls_good_becomes_a_demonstration(tmp_path, label):
    rows = [{"prompt": "p", "completion": "r", "label": label}]
    rows += [
        {"prompt": f"q{i}", "completion": "s", "label": good}
        for i, good in enumerate([1, "1", "yes", True, "TRUE", 1.0])
    ]
    found = look(tmp_path, "a.jsonl", lines(*rows))
    assert found.num_kept == 6
    assert [prompt for prompt, _ in texts(found)] == ["q0", "q1", "q2", "q3", "q4"]


# Columns.


@pytest.mark.parametrize(
    "header", ["prompt, response", "Prompt,Response", " PROMPT ,response\t", "\ufeffprompt,response"]
)
def test_names_of_columns_count_without_blanks_and_capitals(tmp_path, header):
    assert texts(look(tmp_path, "a.csv", f"{header}\np, r\n")) == [("p", "r")]
    keys = [key.strip("\ufeff") for key in header.split(",")]
    assert texts(look(tmp_path, "a.jsonl", lines({keys[0]: "p", keys[1]: "r"}))) == [("p", "r")]
    pq.write_table(pa.table({keys[0]: ["p"], keys[1]: ["r"]}), tmp_path / "a.parquet")
    assert texts(importing.preview(str(tmp_path / "a.parquet"))) == [("p", "r")]


def test_columns_that_were_not_read_are_named_where_only_prompts_come_in(tmp_path, ws):
    path = tmp_path / "a.jsonl"
    path.write_text(lines({"prompt": "p", "answer": "r", "category": "c"}))
    assert importing.import_source(ws, str(path)).sentence.endswith(
        "Only prompts are read; the column answer was not. If one holds answers, rename it response (or chosen and rejected)."
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "prompt,response,response\np,r,s\n"),
        ("b.csv", "prompt,response,Response \np,r,s\n"),
        ("a.jsonl", '{"prompt": "p", "response": "r", "response": "s"}\n'),
        ("b.jsonl", '{"prompt": "p", "response": "r", "Response": "s"}\n'),
        ("a.json", '[{"prompt": "p", "response": "r", "response": "s"}]'),
    ],
)
def test_a_column_that_is_there_twice_is_refused(tmp_path, name, content):
    with pytest.raises(ImportRefused, match=r"the column response twice.*rename"):
        look(tmp_path, name, content)


def test_a_parquet_column_that_is_there_twice_is_refused_by_its_name(tmp_path):
    table = pa.Table.from_arrays(
        [pa.array(["p"]), pa.array(["r"]), pa.array(["s"])], names=["prompt", "response", "response"]
    )
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ImportRefused, match="has the column response twice"):
        importing.preview(str(tmp_path / "a.parquet"))


# Bounds.


def test_a_file_that_unpacks_to_more_than_the_bound_is_refused_before_it_fills_the_memory(tmp_path):
    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "p"}\n' + b" " * 30_000_000))
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0] * 400, pa.int32()), pa.array(["x" * 100_000]))
    pq.write_table(pa.table({"prompt": dictionary}), tmp_path / "bomb.parquet", compression="zstd")
    (tmp_path / "long.csv").write_bytes(b"prompt\n" + b"p" * 30_000_000)
    for name in ("bomb.jsonl.gz", "bomb.parquet", "long.csv"):
        with pytest.raises(ImportRefused, match=r"more than 0\.02 GiB when unpacked.*--max-gib"):
            importing.preview(str(tmp_path / name), Request(max_gib=0.02))
    assert (tmp_path / "bomb.parquet").stat().st_size < 10_000


def test_a_text_of_millions_of_characters_is_dropped_with_its_reason(tmp_path):
    found = look(
        tmp_path, "a.jsonl", lines({"prompt": "p", "response": "r" * 10_000_001}, {"prompt": "p", "response": "r"})
    )
    assert found.dropped == {"longer than 10,000,000 characters": 1}


# Judgements on pairs that are here.


def pair(first, second, preference):
    return {"prompt": "Name a colour.", "response_a": first, "response_b": second, "preference": preference}


@pytest.mark.parametrize(
    "row", [pair("Teal.", "Blue.", "b"), pair("Blue.", "Teal.", "a")], ids=["same order", "other order"]
)
def test_a_judgement_on_a_pair_that_waits_here_is_recorded(tmp_path, ws, row):
    for name, content in (("waiting", pair("Teal.", "Blue.", "")), ("judged", row)):
        (tmp_path / f"{name}.jsonl").write_text(lines(content | {"strength": 2}))
    importing.import_source(ws, str(tmp_path / "waiting.jsonl"))
    assert stored.read(ws, comparisons.counts)["unrated"] == 1
    said = importing.import_source(ws, str(tmp_path / "judged.jsonl")).sentence
    assert "0 new preferences from 1 rows (1 were waiting here and are now judged)" in said
    (found,) = stored.preferences(ws)
    sides = {"left": found["left"], "right": found["right"]}
    assert (sides[found["outcome"]], found["strength"]) == ("Blue.", 2)
    assert stored.read(ws, comparisons.counts) == {"comparisons": 1, "unrated": 0}


@pytest.mark.parametrize("preference", ["b", "tie", "both_bad"])
def test_another_judgement_on_a_judged_pair_is_told_and_the_first_is_kept(tmp_path, ws, preference):
    for name, label in (("first", "a"), ("other", preference), ("same", "a")):
        (tmp_path / f"{name}.jsonl").write_text(lines(pair("Teal.", "Blue.", label) | {"id": name}))
    importing.import_source(ws, str(tmp_path / "first.jsonl"))
    assert "1 are here with another judgement, which was kept" in importing.import_source(ws, str(tmp_path / "other.jsonl")).sentence  # fmt: skip
    assert "(1 were already here)" in importing.import_source(ws, str(tmp_path / "same.jsonl")).sentence
    (found,) = stored.preferences(ws)
    assert found[found["outcome"]] == "Teal."


def test_a_terminal_that_lacks_characters_shows_others_in_their_place(tmp_path):
    (tmp_path / "dü.jsonl").write_text(lines({"prompt": "Füße ⟦x⟧", "response": "é"}), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from studio.cli import main; sys.exit(main())", "import", "dü.jsonl", "--preview"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "d?.jsonl: 1 of 1 rows" in done.stdout


# What a file really is, whatever its name says; and marks that nobody sees.


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        pytest.param("book.csv", b"PK\x03\x04\x14\0", "is a zip archive or an Excel workbook", id="zip called csv"),
        pytest.param("rows.jsonl", b"PAR1\x15\x04", "is a Parquet file. Give it the ending .parquet", id="parquet"),
        pytest.param("t.csv.gz", gzip.compress(gzip.compress(b"prompt\nA?\n")), "packed with gzip twice", id="twice"),
        pytest.param("t.csv", "prompt,response\nA?,a\n".encode("utf-16-le"), "line 1: holds a zero byte", id="utf-16"),
        pytest.param("t.csv", b"prompt,response\nA?,a\n" + bytes(64), "line 3: holds a zero byte", id="cut off"),
        pytest.param("t.jsonl", lines({"prompt": "A?"}).encode() + bytes(64), "line 2: holds a zero byte", id="lines"),
    ],
)
def test_content_that_is_no_text_is_refused_by_what_it_is(tmp_path, name, content, told):
    with pytest.raises(ImportRefused, match=re.escape(told)):
        look(tmp_path, name, content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("t.csv", gzip.compress(b"prompt,response\nA?,a\n"), id="gzip without its ending"),
        pytest.param("t.csv", "prompt,response\r\nA?,a\r\n".encode("utf-32"), id="utf-32"),
        pytest.param("t.csv", "prompt,response\r\nA?,a\r\n".encode("utf-16"), id="utf-16"),
        pytest.param("t.csv", "SEP = ;\nprompt;response\nA?;a\n", id="sep in capitals and with blanks"),
        pytest.param("t.csv", "sep=;\rprompt;response\rA?;a\r", id="sep with the line ends of an old Macintosh"),
        pytest.param("t.csv", "\u200bPrompt ,\u00a0response\u2060\nA?,a\n", id="header with blanks of no width"),
        pytest.param("t.jsonl", '{"prompt": "A?", "response": "a"} ,\n', id="comma after each line"),
    ],
)
def test_rows_are_read_whatever_marks_stand_around_them(tmp_path, name, content):
    assert texts(look(tmp_path, name, content)) == [("A?", "a")]


def test_a_list_over_several_lines_is_refused_by_the_line_at_which_it_breaks(tmp_path):
    with pytest.raises(ImportRefused, match=r"t\.jsonl, line [23]: broken JSON"):  # Python 3.13 names the comma
        look(tmp_path, "t.jsonl", '[{"prompt": "A?", "response": "a"},\n{"prompt": "B?", "response": "b"},\n]\n')
    with pytest.raises(ImportRefused, match=r"t\.jsonl, line 1: broken JSON"):
        look(tmp_path, "t.jsonl", '[{"prompt": "A?"}] x\n')


def test_a_missing_prompt_is_not_made_up_from_what_both_answers_begin_with(tmp_path):
    rows = [PAIR, {"prompt": None, "chosen": "It is a tree.", "rejected": "It is a spoon."}]
    for given in (rows, rows[::-1], [PAIR, {**rows[1], "prompt": float("nan")}]):
        found = look(tmp_path, "t.jsonl", lines(*given))
        assert (found.num_kept, found.dropped) == (1, {"empty prompt": 1})


def test_a_text_with_a_zero_character_is_dropped_with_that_reason(tmp_path):
    found = look(tmp_path, "t.jsonl", lines({"prompt": "A?", "response": "a\0b"}, {"prompt": "B?", "response": "b"}))
    assert (texts(found), found.dropped) == ([("B?", "b")], {"text holds a zero character": 1})


@pytest.mark.parametrize("where", ["reading", "storing"])
def test_a_file_that_does_not_fit_into_memory_is_refused_in_one_sentence(ws, tmp_path, monkeypatch, capsys, where):
    (tmp_path / "large.jsonl").write_text(json.dumps(PAIR))

    def exhaust(*_, **__):
        raise MemoryError

    monkeypatch.setattr(
        readers if where == "reading" else importing, "_read_file" if where == "reading" else "_decide", exhaust
    )
    assert main(["import", str(tmp_path / "large.jsonl"), "--workspace", str(ws.root)]) == 1
    said = capsys.readouterr().err
    assert (
        "large.jsonl does not fit into this machine's memory" if where == "reading" else "not enough memory"
    ) in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("source", ["", " "], ids=["empty", "blank"])
def test_an_empty_name_is_not_the_folder_one_is_in(source):
    with pytest.raises(ImportRefused, match="No file is named"):
        importing.preview(source)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        pytest.param("9" * 5001, "a number of thousands of digits", id="number"),
        pytest.param("[" * 100_000 + "]" * 100_000, "nested too deeply", id="nested"),
    ],
)
def test_what_json_cannot_hold_is_told_in_the_studios_own_words(tmp_path, value, told):
    for name in ("a.jsonl", "a.json"):
        with pytest.raises(ImportRefused, match=told):
            look(tmp_path, name, f'{{"prompt": "p", "response": {value}}}\n')
