"""A search finds what is there: any piece of a text, in any case and script, quotes and backslashes as they are."""

import json
from contextlib import closing

import pytest

from modules.config import SFTConfig
from studio.annotation import history
from studio.annotation.history import Filter
from studio.cli import main
from studio.database import connection, migrations
from studio.preferences import comparisons, prompts, ratings, text_search
from studio.preferences.prompts import NewPrompt
from studio.runs import rollouts
from studio.workspace import Workspace
from tests.support import stored
from tests.ui import filling

PROMPT = 'Über "quoted" C:\\dir straße; naïve ПРИВЕТ 日本語 100% a_b\nsecond line'
ANSWER = "Ärger im ÅNGSTRÖM, it's O'Neill [x] (y) * AND NEAR NOT"
FOUND = {
    "as written": "Über",
    "other case": "über",
    "upper case": "ÜBER",
    "in quotes": '"quoted"',
    "a lone quote": '"quo',
    "a backslash": "C:\\dir",
    "a backslash in other case": "c:\\DIR",
    "a part of a word": "uote",
    "across words": 'd" C',
    "ss for ß": "STRASSE",
    "ß": "straße",
    "Cyrillic in other case": "привет",
    "two letters of Chinese": "日本",
    "three letters of Chinese": "日本語",
    "one letter": "%",
    "an underscore": "a_b",
    "a new line": "b\nsecond",
    "of an answer": "ärger",
    "of an answer with a ring": "ångström",
    "an apostrophe": "o'neill",
    "what FTS would take for a query": "* and near not",
    "brackets": "[X] (Y)",
    "composed the other way": "A\u0308rger",
}
MISSED = {
    "another word": "zebra",
    "letters in another order": "rebÜ",
    "JSON around it": '"role"',
    "a wildcard": "Üb%r",
    "NUL": "Über\0",
}


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    """One pair among others, judged; and a rollout."""
    ws = Workspace.open(tmp_path_factory.mktemp("search") / "workspace")
    with ws.write() as db:
        for question, answer in (("Another question", "Another answer"), (PROMPT, ANSWER), ("A third", "And more")):
            prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": question}]))
            pair = [prompts.add_response(db, prompt_id, text, "import") for text in (answer, f"no {len(answer)}")]
            prompts.add_response(db, prompt_id, answer, "demonstration")
            comparisons.add_comparison(db, prompt_id, (pair[0], pair[1]))
    while showing := stored.written(ws, comparisons.next_showing):
        stored.written(ws, ratings.record, showing.id, "left")
    return ws


def questions(entries):
    return [entry.messages[0]["content"] for entry in entries]


@pytest.mark.parametrize("piece", FOUND.values(), ids=FOUND)
def test_history_data_and_terminal_find_a_piece_of_text(ws, piece, capsys):
    assert questions(stored.read(ws, history.find, Filter(search=piece))) == [PROMPT]
    assert stored.read(ws, history.count, Filter(search=piece)) == 1
    assert questions(stored.read(ws, prompts.list_demonstrations, search=piece)) == [PROMPT]
    is_of_prompt = text_search.fold(piece) in text_search.fold(PROMPT)
    assert [row["messages"][0]["content"] for row in stored.read(ws, prompts.list_prompts, search=piece)] == [
        PROMPT
    ] * is_of_prompt
    assert main(["history", "--search", piece, "--workspace", str(ws.root)]) == 0
    assert "1 of 1 ratings that fit" in capsys.readouterr().out


@pytest.mark.parametrize("piece", MISSED.values(), ids=MISSED)
def test_what_is_not_there_is_not_found(ws, piece):
    assert stored.read(ws, history.find, Filter(search=piece)) == []
    assert stored.read(ws, history.count, Filter(search=piece)) == 0
    assert stored.read(ws, prompts.list_demonstrations, search=piece) == []
    assert stored.read(ws, prompts.list_prompts, search=piece) == []


@pytest.mark.parametrize("piece", FOUND.values(), ids=FOUND)
def test_the_index_and_reading_all_texts_find_the_same(ws, piece, monkeypatch):
    with_index = questions(stored.read(ws, history.find, Filter(search=piece)))
    monkeypatch.setattr(text_search, "FEW", -1)
    assert questions(stored.read(ws, history.find, Filter(search=piece))) == with_index
    assert stored.read(ws, history.count, Filter(search=piece), at_most=5) == 1
    monkeypatch.setattr(text_search, "SHORTEST", 10**6)
    assert questions(stored.read(ws, history.find, Filter(search=piece))) == with_index


def test_two_letters_are_found_wherever_they_stand_without_reading_the_other_texts(tmp_path, monkeypatch):
    ws = Workspace.open(tmp_path)
    texts = [
        ("hi", "Ok"),
        ("zq first", "last zq"),
        ("Was", "zQ"),
        ("\u65e5\u672c", "in the azqb middle"),
        ("x", "\U0001f600\U0001f601"),
    ]
    with ws.write() as db:
        for question, answer in texts:
            prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": question}]))
            pair = [prompts.add_response(db, prompt_id, text, "import") for text in (answer, f"no {question}")]
            comparisons.add_comparison(db, prompt_id, (pair[0], pair[1]))
    while showing := stored.written(ws, comparisons.next_showing):
        stored.written(ws, ratings.record, showing.id, "left")
    found = {
        "hi": ["hi"], "OK": ["hi"], "zq": ["\u65e5\u672c", "Was", "zq first"], "as": ["Was", "zq first"],
        "\u65e5\u672c": ["\u65e5\u672c"], "\U0001f600\U0001f601": ["x"], "q ": ["zq first"], " m": ["\u65e5\u672c"], "qq": [],
    }  # fmt: skip
    read = []
    monkeypatch.setattr(text_search, "_holds", lambda text, piece: read.append(text) or piece in text_search.fold(text))
    for piece, wanted in found.items():
        read.clear()
        assert questions(stored.read(ws, history.find, Filter(search=piece))) == wanted
        assert len(read) <= 3 + 2 * len(wanted), "the three answers of two letters and what is found, no other"


@pytest.mark.parametrize("piece", [PROMPT[:4], "über", '"quoted"', "c:\\DIR", "日本", "ÄRGER"])
def test_rollouts_of_a_run_are_found_in_the_same_way(ws, piece):
    run = filling.add_run(ws, SFTConfig())
    prompt = next(row["id"] for row in stored.read(ws, prompts.list_prompts, search="quoted"))
    tokens = rollouts.Tokens([1], [2], *([[0.0]] * 5))
    new = [rollouts.NewRollout(prompt, text, 1.0, 1.0, {}, 0.0, "eos", tokens) for text in (ANSWER, "x")]
    stored.written(ws, rollouts.add, run.id, 1, new, keep=1)
    wanted = 1 if piece == "ÄRGER" else 2
    assert stored.read(ws, rollouts.count, run.id, rollouts.Filter(search=piece)) == wanted
    assert len(stored.read(ws, rollouts.find, run.id, rollouts.Filter(search=piece))) == wanted


def test_texts_of_a_workspace_of_before_the_index_are_found_too(tmp_path):
    path = tmp_path / "studio.db"
    with closing(connection.connect(path, may_create=True)) as db:
        db.enable_wal()
        migrations.ALL.apply(db, stop_before="m011_search")
        messages = json.dumps([{"role": "user", "content": PROMPT}], ensure_ascii=False)
        db.execute(
            "INSERT INTO prompts (id, hash, messages, split, created_at) VALUES (7, 'h', ?, 'train', 'x'), (8, 'i', 'no JSON', 'train', 'x')",
            [messages],
        )
        db.execute(
            "INSERT INTO responses (prompt_id, text, kind, created_at) VALUES (7, ?, 'demonstration', 'x')", [ANSWER]
        )
        db.conn.commit()
    ws = Workspace.open(tmp_path)
    assert [row["id"] for row in stored.read(ws, prompts.list_prompts, search="über")] == [7]
    assert questions(stored.read(ws, prompts.list_demonstrations, search="ÅNGSTRÖM")) == [PROMPT]


def test_an_id_that_is_returned_is_that_of_the_text_and_not_of_the_index(tmp_path):
    ws = Workspace.open(tmp_path)
    with ws.write() as db:
        for number in range(1, 30):
            prompt_id = prompts.add_prompt(
                db, NewPrompt([{"role": "user", "content": f"Question number {number} " * number}])
            )
            assert prompt_id == number
            assert prompts.add_response(db, prompt_id, f"An answer {number} " * number, "demonstration") == number
