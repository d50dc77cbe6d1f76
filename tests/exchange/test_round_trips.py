"""Judgements of any text that go out in a format come back with all that the format carries, and go out again the same."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from studio.datasets import exporting, importing, plan, sifting
from studio.datasets.formats.item import ranks_of
from studio.datasets.readers import Part, RawData
from studio.datasets.sifting import Tally
from studio.errors import DataError
from studio.exchange import rating_formats, ratings_files, ratings_out
from studio.exchange.rating_formats import FORMATS, Left
from studio.preferences import prompts
from studio.preferences.prompts import NewPrompt
from studio.workspace import Workspace

AWKWARD = (
    "[1, 2]", '{"a": 1}', "true", "nan", "None", "0", "1e5", "A", "tie", "both bad", "Human: no", "a\tb", "a\r\nb", "x\n\ny", "é 🐢 ﷽",
    "=1+1", '"', "'", "\\", "<b>", "\u2028", "response-1", "much better", "left",
)  # fmt: skip
CHARACTERS = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
TEXTS = st.one_of(st.sampled_from(AWKWARD), st.text(CHARACTERS, min_size=1, max_size=30)).map(str.strip).filter(bool)
NAMES = st.text(st.characters(categories=("Ll", "Lu", "Nd")), min_size=1, max_size=12).map(lambda name: f"r{name}")
TURNS = ("user", "assistant", "user")


@st.composite
def judgements(draw):
    """A judgement as `export_rows.judgements` yields it."""
    texts = draw(st.lists(TEXTS, min_size=2, max_size=4, unique=True))
    is_pair = len(texts) == 2
    outcome = draw(st.sampled_from(["left", "right", "tie", "both_bad"])) if is_pair else "ranking"
    places = draw(st.lists(st.integers(1, len(texts)), min_size=len(texts), max_size=len(texts)))
    order = sorted(set(places))
    asked = draw(st.lists(TEXTS, min_size=1, max_size=1) | st.lists(TEXTS, min_size=3, max_size=3))
    messages = [{"role": role, "content": text} for role, text in zip(TURNS, asked, strict=False)]
    system = draw(st.none() | TEXTS)
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=draw(st.integers(0, 10**10)))
    return {
        "uuid": draw(st.uuids()).hex, "comparison_id": 1, "showing_id": 1, "prompt_id": 1, "outcome": outcome, "reason": None,
        "strength": draw(st.none() | st.integers(1, 3)) if outcome in ("left", "right") else None,
        "ranks": [order.index(place) + 1 for place in places] if outcome == "ranking" else None,
        "rater": draw(NAMES), "elapsed_ms": draw(st.none() | st.integers(1, 10**7)), "created_at": at.isoformat(timespec="milliseconds"),
        "note": draw(st.none() | TEXTS), "flags": None, "attributes": None,
        "messages": [*([{"role": "system", "content": system}] if system else []), *messages],
        "category": draw(st.just("") | NAMES), "split": draw(st.sampled_from(["train", "validation", "test"])), "texts": texts,
        "models": draw(st.lists(NAMES, min_size=len(texts), max_size=len(texts)) | st.just([None] * len(texts))),
    }  # fmt: skip


def come_back(written):
    """The items that an import makes of the rows of a file."""
    rows = json.loads(json.dumps(written))
    raw = RawData("x", "", [Part("x", lambda: iter(rows))])
    plans, kind = plan.decide(raw, "auto", "", [None])
    tally = Tally()
    return list(sifting.items(plans, kind, "", tally)), dict(tally.dropped)


def places(row):
    return rating_formats._ranks(row) if row["outcome"] != "both_bad" else []


def by_text(texts, ranks):
    return dict(zip(texts, ranks, strict=False))


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "datasets"])
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(row=judgements())
def test_a_judgement_comes_back_with_what_its_format_carries(name, row):
    form = FORMATS[name]
    if row["outcome"] not in form.outcomes:
        return
    try:
        written = form.row(row)
    except Left:
        return
    (item,), dropped = come_back([written])
    assert not dropped
    assert by_text(item.responses, ranks_of(item.groups)) == by_text(row["texts"], places(row))
    assert (item.kind == "both_bad") == (row["outcome"] == "both_bad")
    if name not in ("argilla", "label-studio", "label-studio-rankings") or len(row["messages"]) == 1:
        assert item.prompt == row["messages"]
    carried = {
        "strength": (item.strength, row["strength"]),
        "order on the screen": (item.responses, tuple(row["texts"])),
        "rater": (item.rater, row["rater"]),
        "time of the judgement": (item.at, row["created_at"]),
        "time taken": (item.elapsed_ms, row["elapsed_ms"]),
        "note": (item.note, row["note"] or ""),
        "category": (item.category, row["category"]),
        "split": (item.split, row["split"]),
        "models of the responses": (item.models, tuple(row["models"]) if all(row["models"]) else item.models),
    }
    for fact in form.facts & carried.keys():
        here, there = carried[fact]
        assert here == there, fact


IDS = ("uuid", "id", "question_id", "comparison_id", "prompt_id")


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(judgements(), min_size=1, max_size=4, unique_by=lambda row: row["messages"][-1]["content"]))
def test_what_a_workspace_exports_is_the_same_after_an_import(tmp_path_factory, name, rows):
    folder = tmp_path_factory.mktemp("trip")
    first, second = (Workspace.open(folder / each) for each in ("first", "second"))
    source = ratings_files.write(folder / "source.json", [FORMATS["argilla"].row(row) for row in rows])
    importing.import_source(first, str(source))
    try:
        there = ratings_out.export(first, name)
    except DataError:
        return  # the format can hold none of them
    importing.import_source(second, str(there.path))
    assert lines(ratings_out.export(second, name).path) == lines(there.path)


def lines(path):
    """The rows of a file or a folder in no order, without the names that each workspace gives."""
    if path.is_dir():
        import datasets

        rows = [row | {"data set": name} for name, rows in datasets.load_from_disk(str(path)).items() for row in rows]
    else:
        rows = parquet.read_table(path).to_pylist() if path.suffix == ".parquet" else read_text(path)
    return sorted(
        json.dumps({key: value for key, value in row.items() if key not in IDS}, sort_keys=True) for row in rows
    )


def read_text(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.split("\n") if line]


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(judgements(), min_size=1, max_size=6))
def test_demonstrations_go_out_as_they_came_in(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("trip")
    first, second = (Workspace.open(folder / each) for each in ("first", "second"))
    with first.write() as db:
        for row in rows:
            prompt_id = prompts.add_prompt(db, NewPrompt(row["messages"], row["category"], row["split"]))
            prompts.add_response(db, prompt_id, row["texts"][0], "demonstration")
    there = exporting.export_demonstrations(first)
    importing.import_source(second, str(there))
    assert exporting.export_demonstrations(second).read_bytes() == there.read_bytes()


@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(judgements(), min_size=1, max_size=4))
def test_the_studios_own_export_comes_back_to_equality(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("trip")
    first, second = (Workspace.open(folder / each) for each in ("first", "second"))
    source = ratings_files.write(folder / "source.json", [FORMATS["argilla"].row(row) for row in rows])
    importing.import_source(first, str(source))
    there = exporting.export_ratings(first)
    importing.import_source(second, str(there))
    assert exporting.export_ratings(second).read_bytes() == there.read_bytes()
