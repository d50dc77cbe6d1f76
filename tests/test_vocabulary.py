"""The words and keys of judgements stand in one table, and everything that shows or reads them goes by it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.cli import rate
from studio.preferences import vocabulary, wording
from studio.preferences.vocabulary import (
    ATTRIBUTES,
    COMMANDS,
    FLAGS,
    HELP,
    JUDGEMENTS,
    KEYS,
    OUTCOMES,
    SKIP_REASONS,
    TYPED,
)

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "studio/preferences/vocabulary.py"
SHOWN = re.compile(r"\b((much|slightly) better|(both|all) (fine|bad))\b", re.IGNORECASE)
NAMES = {*FLAGS, *ATTRIBUTES, *SKIP_REASONS[:-1], *(name for name in JUDGEMENTS if ":" in name)}
LETTERS = {key for key in KEYS if len(key) == 1 and key.isalpha()} | {"=", "⌫", "⏎"}
FOREIGN = ("studio/datasets/", "studio/evaluation/", "studio/exchange/")
"""These read and write for other programs, in their words."""
READS_KEYS = ("ui/static/rate/", "ui/pages/rate/", "studio/cli/rate.py", "studio/cli/remarks.py")


def texts(path: Path) -> Iterator[list[str]]:
    """Yield the strings of a source, each with those that stand in one list, table or line with it; no prose."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".js":
        bare = re.sub(r"/\*.*?\*/|//[^\n]*", "", source, flags=re.DOTALL)
        for line in bare.splitlines():
            yield [text for _, text in re.findall(r"""(["'`])((?:\\.|(?!\1).)*)\1""", line)]
        return
    tree = ast.parse(source)
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    formats = [node.format_spec for node in ast.walk(tree) if isinstance(node, ast.FormattedValue) and node.format_spec]
    prose |= {id(part) for found in formats for part in ast.walk(found)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield [node.value]
        if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
            parts = [*node.keys, *node.values] if isinstance(node, ast.Dict) else node.elts
            yield [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def repeated(path: Path) -> list[str]:
    """Return what a source spells out that the table has."""
    name = str(path.relative_to(ROOT))
    found = []
    for together in texts(path):
        found += [text for text in together if SHOWN.search(text) or text in NAMES]
        found += [text for text in together if text in LETTERS and name.startswith(READS_KEYS)]
        found += [text for text in together if {*TYPED} <= {*re.findall(r"\w+", text)}]
        found += [" ".join(together)] if len({*together} & {*OUTCOMES}) > 3 else []
    return found


def test_no_word_and_no_key_of_a_judgement_stands_outside_the_table():
    sources = [path for room in ("studio", "ui") for path in (ROOT / room).rglob("*") if path.suffix in (".py", ".js")]
    sources = [path for path in sources if not str(path.relative_to(ROOT)).startswith(FOREIGN)]
    assert len(sources) > 150
    assert {str(path): found for path in sources if path != TABLE and (found := repeated(path))} == {}
    assert len(repeated(TABLE)) > 20, "the search finds them where they stand"


def test_each_key_has_one_command_and_a_line_in_the_list_of_keys():
    meant = {(key, command.name) for command in COMMANDS for key in command.keys}
    assert len(meant) == len(KEYS), "a key means one thing, for a pair and for a ranking"
    drawn = {key for row in HELP for key in row.keys.split()} - {"or", "then", "to"}
    assert {vocabulary.CAPS.get(key, key) for key in KEYS} <= drawn
    assert set(JUDGEMENTS) <= {*KEYS.values()}


def test_the_terminal_takes_and_names_keys_by_the_table(monkeypatch):
    monkeypatch.setitem(KEYS, "x", KEYS["b"])
    monkeypatch.delitem(KEYS, "b")
    judge = rate._Judge.__new__(rate._Judge)
    judge.is_ranking = judge.is_held = False
    judge._record = lambda outcome, **facts: (outcome, facts)
    assert judge._press("x") == ("both_bad", {"strength": None})
    assert judge._press("b") is None
    assert judge._press("1") == ("left", {"strength": 3})


@pytest.mark.parametrize(
    ("judgement", "said"),
    [
        (("left", 3, None), "left much better"),
        (("right", None, None), "right better"),
        (("tie", None, None), "both fine"),
        (("both_bad", None, None), "both bad"),
        (("ranking", None, "[2, 1, 2]"), "ranking 2 > 1 = 3"),
        (("skip", None, None), "skipped"),
    ],
    ids=lambda part: part if isinstance(part, str) else part[0],
)
def test_a_judgement_is_said_in_words(judgement, said):
    assert wording.of_judgement(*judgement) == said


def test_bad_answers_to_a_ranking_are_all_bad():
    assert wording.of_judgement("both_bad", None, None, is_ranked=True) == "all bad"
