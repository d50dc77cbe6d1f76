"""Every format in small, with texts of our own: what comes in, and that no damaged file gives a traceback or a wrong row."""

import copy
import csv
import json
import random
from pathlib import Path

import pytest

from studio.datasets import plan, readers, sifting
from studio.datasets.formats.item import Dropped, Item
from studio.datasets.formats.table import FAMILIES
from studio.datasets.readers import Part, RawData
from studio.datasets.sifting import Tally
from studio.errors import ImportRefused
from tests.exchange.reading import outcomes, told

FIXTURES = Path(__file__).parents[1] / "fixtures" / "exchange"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text(encoding="utf-8"))
WHOLE = [
    name
    for name, said in EXPECTED.items()
    if "items" in said and "/" not in name and name.endswith((".json", ".jsonl"))
]
BESIDE = ("strength", "split", "margin")
RETYPED = (None, "", "x", [], {}, [None], {"x": 1}, float("nan"))


@pytest.mark.parametrize("name", EXPECTED)
def test_each_format_comes_in_as_it_says(name):
    expected = EXPECTED[name]
    if "refused" in expected:
        with pytest.raises(ImportRefused) as refused:
            outcomes(FIXTURES / name)
        assert str(refused.value) == expected["refused"]
        return
    found = outcomes(FIXTURES / name)
    items = [each for each in found if isinstance(each, Item)]
    assert [told(item) | beside(item) for item in items] == expected["items"]
    assert [str(each) for each in found if isinstance(each, Dropped)] == expected["dropped"]


def beside(item):
    said = {name: getattr(item, name) for name in BESIDE if getattr(item, name) is not None}
    said |= {"rater": item.rater} if item.rater != "import" else {}
    said |= {"at": item.at} if item.at else {}
    return said | {name: list(getattr(item, name)) for name in ("models", "rewrites") if getattr(item, name)}


def test_each_family_has_a_file():
    seen = set()
    for name, expected in EXPECTED.items():
        if "refused" not in expected:
            with readers.opened(str(FIXTURES / name)) as raw:
                plans, _ = plan.decide(raw, "auto", "", [part.mapped for part in raw.parts])
                seen |= {each.family.name for each in plans}
    assert {family.name for family in FAMILIES} - seen == {"chat-prompts", "prompts"} - seen


def test_the_address_of_a_voter_is_never_read():
    assert "192.0.2.1" not in str(outcomes(FIXTURES / "arena_log.json"))


# Variants of the same: other orders, more columns, missing optional ones.


@pytest.mark.parametrize("name", WHOLE)
def test_the_order_of_columns_and_a_column_more_change_nothing(name):
    rows = rows_of(FIXTURES / name)
    plain = read(rows)
    shuffled = [{"zz_extra": "1", **dict(reversed(row.items()))} for row in rows]
    assert read(shuffled) == plain


# Damage.


def test_a_field_that_is_missing_or_of_another_type_drops_its_row_and_makes_no_wrong_one():
    drawn = list(mutants())
    random.Random(7).shuffle(drawn)
    check(drawn[:2500])


@pytest.mark.slow
def test_every_field_of_every_format_may_be_missing_or_of_another_type():
    check(list(mutants()))


@pytest.mark.slow
def test_two_fields_of_a_row_may_be_damaged():
    chance = random.Random(11)
    twice = []
    for name, path, rows in mutants():
        others = list(paths(rows))
        if not others:
            continue
        other = chance.choice(others)
        twice.append(
            (name, (*path, "and", *other), changed(rows, other, chance.choice(RETYPED), is_gone=chance.random() < 0.3))
        )
    check(twice, is_sure=False)


def test_a_file_that_is_cut_off_anywhere_is_refused_or_gives_rows_that_are_not_wrong(tmp_path):
    """A cell of a table may be cut within a text, which nothing tells; a row of JSON may not."""
    chance, counts = random.Random(3), {"refused": 0, "nothing": 0, "kept": 0}
    for name, expected in EXPECTED.items():
        if not (FIXTURES / name).is_file():
            continue
        whole = (FIXTURES / name).read_bytes()
        for at_byte in {1, len(whole) - 2, *(chance.randrange(1, len(whole)) for _ in range(8))}:
            path = tmp_path / Path(name).name
            path.write_bytes(whole[:at_byte])
            try:
                found = [each for each in outcomes(path) if isinstance(each, Item)]
            except ImportRefused:
                counts["refused"] += 1
                continue
            except Exception as error:
                raise AssertionError(f"{name}, cut after {at_byte} bytes") from error
            original = expected.get("items", [])
            if path.suffix in (".json", ".jsonl", ".ndjson"):
                assert not wrong(found, original), (name, at_byte)
                texts = {text for item in original for text in _texts(item)}
                assert all(set(item.responses) <= texts for item in found) or "refused" in expected, (name, at_byte)
            counts["kept" if found else "nothing"] += 1
    assert counts["refused"] > 500, counts
    assert counts["kept"], "whole lines, or a cell of a table"


def _texts(item):
    alone = [item[name] for name in ("chosen", "rejected", "a", "b", "response") if name in item]
    return alone + [text for group in item.get("groups", []) for text in group]


def check(drawn, *, is_sure=True):
    counts = {"refused": 0, "dropped": 0, "kept": 0}
    for name, path, rows in drawn:
        try:
            items, drops = read_all(rows)
        except ImportRefused:
            counts["refused"] += 1
            continue
        except Exception as error:
            raise AssertionError(f"{name}: {'.'.join(map(str, path))} in {rows}") from error
        assert sifting.OTHERWISE not in drops, (name, path)  # each reader says what is wrong itself
        original = EXPECTED[name]["items"]
        assert not is_sure or not wrong(items, original), (name, path, wrong(items, original))
        counts["dropped" if drops else "kept"] += 1
    assert all(counts.values()), counts


def wrong(items, original):
    """Judgements that say the contrary of those in the sound file, and demonstrations of an answer that was not wanted."""
    pairs = {(each["chosen"], each["rejected"]) for each in original if each["kind"] == "pair"}
    worse = {worse for _, worse in pairs} - {better for better, _ in pairs}
    worse |= {each["response"] for each in original if each["kind"] == "unpaired" and not each["label"]}
    shown = {each["response"] for each in original if each["kind"] == "demonstration"}
    found = []
    for item in items:
        if item.kind == "pair" and (item.rejected, item.chosen) in pairs - {pair[::-1] for pair in pairs}:
            found.append(told(item))
        if item.kind == "demonstration" and item.responses[0] in worse - shown:
            found.append(told(item))
    return found


def mutants():
    for name, expected in EXPECTED.items():
        if "refused" in expected or name in ("labelbox", "llamafactory/pairs.json"):
            continue
        rows = rows_of(FIXTURES / name)
        for path in paths(rows):
            yield name, path, changed(rows, path, None, is_gone=True)
            value = at(rows, path)
            for other in RETYPED:
                yield name, path, changed(rows, path, other)
            if isinstance(value, str) and len(value) > 3:
                yield name, path, changed(rows, path, str(value)[: len(value) // 2])


def rows_of(path):
    with readers.opened(str(path)) as raw:
        return [dict(row) for part in raw.parts for row in part.rows()]


def paths(value, before=()):
    """Every place inside the rows, but not the rows themselves."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        if before:
            yield (*before, key)
        yield from paths(part, (*before, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


def changed(rows, path, value, is_gone=False):
    rows = copy.deepcopy(rows)
    parent = at(rows, path[:-1])
    if is_gone:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return rows


def read_all(rows):
    raw = RawData("x", "", [Part("x", lambda: iter(copy.deepcopy(rows)))])
    plans, kind = plan.decide(raw, "auto", "", [None])
    tally = Tally()
    return list(sifting.items(plans, kind, "", tally)), tally.dropped


def read(rows):
    items, drops = read_all(rows)
    return [told(item) | beside(item) for item in items], drops


def test_a_table_with_json_in_its_cells_reads_as_its_lines_do(tmp_path):
    for name in ("nectar.jsonl", "skywork.jsonl", "arena_140k.jsonl", "trl_preference.jsonl"):
        rows = rows_of(FIXTURES / name)
        path = tmp_path / f"{name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(
                {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()} for row in rows
            )
        items = [told(each) for each in outcomes(path) if isinstance(each, Item)]
        assert items == [told(each) for each in outcomes(FIXTURES / name) if isinstance(each, Item)]
