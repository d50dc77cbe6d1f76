"""Files for other tools to label: blind, in the stored order, with the key that brings the judgement back."""

import json
import re

import pytest

from studio import cli
from studio.datasets import returning
from studio.datasets.formats.item import Dropped, Item
from studio.errors import DataError
from studio.exchange import to_label
from studio.preferences import comparisons, elsewhere
from studio.workspace import Workspace
from tests.exchange.filling import CHECKPOINT, fill

KEYS = {"rlhf_studio_comparison", "rlhf_studio_order"}


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    ws = Workspace.open(tmp_path_factory.mktemp("to-label") / "workspace")
    fill(ws, 3, 2)
    return ws


def load(exported, name):
    return json.loads((exported.folder / name).read_text(encoding="utf-8"))


def shown(ws, number):
    with ws.read() as db:
        showing = comparisons.get_showing(db, comparisons.find_showing(db, number, elsewhere.RATER) or 0)
    assert showing is not None
    return showing


@pytest.mark.parametrize("what", ["pairs", "rankings", "prompts"])
@pytest.mark.parametrize("form", to_label.FORMATS)
def test_no_file_names_a_model_and_a_second_export_is_the_same(ws, form, what):
    exported = to_label.export(ws, form, what)
    text = "".join(path.read_text(encoding="utf-8") for path in exported.folder.iterdir())
    assert CHECKPOINT not in text
    assert "sft" not in text
    assert re.search("rlhf_studio_(comparison|prompt)", text)
    before = {path.name: path.read_bytes() for path in exported.folder.iterdir()}
    again = to_label.export(ws, form, what)
    assert {path.name: path.read_bytes() for path in again.folder.iterdir()} == before
    assert f"{exported.num} {what}" in exported.sentence


def test_label_studio_gets_tasks_and_its_configuration(ws):
    exported = to_label.export(ws, "label-studio", "pairs")
    rows = load(exported, "tasks.json")
    for number, row in enumerate(rows, 1):
        assert (row["data"]["answer1"], row["data"]["answer2"]) == shown(ws, number).texts
        assert row["data"].keys() >= KEYS
    names = set(re.findall(r'value="\$(\w+)"', (exported.folder / "config.xml").read_text()))
    assert names <= rows[0]["data"].keys()


def test_labelbox_gets_chats_whose_last_turn_has_the_responses_as_children(ws):
    row = load(to_label.export(ws, "labelbox", "pairs"), "data_rows.json")[2]
    chat = row["row_data"]
    assert (chat["type"], chat["version"]) == ("application/vnd.labelbox.conversational.model-chat-evaluation", 2)
    (name,) = chat["rootMessageIds"]
    seen = []
    while len(chat["messages"][name]["childMessageIds"]) == 1:
        seen.append(chat["messages"][name]["content"][0]["content"])
        (name,) = chat["messages"][name]["childMessageIds"]
    seen.append(chat["messages"][name]["content"][0]["content"])
    assert seen == ["System: Be brief.", "First 2", "Yes.", "Second 2"]
    answers = [chat["messages"][each] for each in chat["messages"][name]["childMessageIds"]]
    assert tuple(each["content"][0]["content"] for each in answers) == shown(ws, 3).texts
    assert all(message["actorId"] in chat["actors"] for message in chat["messages"].values())
    assert (
        row["global_key"] == {each["name"]: each["value"] for each in row["metadata_fields"]}["rlhf_studio_comparison"]
    )


def test_scale_and_surge_and_argilla_get_the_texts_in_the_order_shown(ws):
    lines = (
        (to_label.export(ws, "scale", "rankings").folder / "chat_tasks.jsonl").read_text(encoding="utf-8").splitlines()
    )
    scale = json.loads(lines[0])
    surge = load(to_label.export(ws, "surge", "rankings"), "create_tasks.json")[0]
    argilla = load(to_label.export(ws, "argilla", "rankings"), "records.json")[0]
    texts = shown(ws, 4).texts
    assert tuple(each["text"] for each in scale["template_variables"]["responses"]) == texts
    assert (surge["response_a"], surge["response_b"], surge["response_c"]) == texts
    assert tuple(argilla["fields"][f"response-{n}"] for n in (1, 2, 3)) == texts
    assert scale["metadata"].keys() == argilla["metadata"].keys() == KEYS
    assert all(isinstance(value, str) for value in surge.values())


def test_the_terminal_writes_a_folder_for_each_tool(ws, capsys):
    assert cli.main(["export", "to-label", "--format", "surge", "--limit", "2", "--workspace", str(ws.root)]) == 0
    said = capsys.readouterr().out
    assert "to-label-surge-pairs" in said
    assert "2 pairs" in said
    assert cli.main(["export", "to-label", "--run", "sample-99", "--workspace", str(ws.root)]) == 1
    assert "There are no pairs" in capsys.readouterr().err


# Coming back.


def item(texts, metadata, **more):
    facts = {"prompt": [{"role": "user", "content": "?"}], "groups": ((0,), (1,)), "metadata": metadata}
    return Item("pair", responses=tuple(texts), **(facts | more))


def sent(ws, number=1):
    with ws.write() as db:
        showing, metadata = elsewhere.send(db, number)
    return showing, metadata


def test_an_item_that_comes_back_finds_its_comparison_whatever_order_its_texts_are_in(ws):
    showing, metadata = sent(ws)
    with ws.read() as db:
        place = returning.find(db, item([f" {showing.left}\n", showing.right], metadata))
        assert place is not None
        assert (place.comparison_id, place.response_ids) == (1, showing.response_ids)
        assert place.shown == showing.response_ids
        swapped = returning.find(db, item([showing.right, showing.left], metadata))
        assert swapped is not None
        assert swapped.response_ids == showing.response_ids[::-1]


def test_the_order_in_the_file_decides_what_left_is(ws):
    showing, metadata = sent(ws)
    other = metadata | {"rlhf_studio_order": ",".join(metadata["rlhf_studio_order"].split(",")[::-1])}
    with ws.read() as db:
        joined = elsewhere.find(db, other)
        assert joined is not None
        assert joined.response_ids == showing.response_ids[::-1]
        without = elsewhere.find(db, {"rlhf_studio_comparison": metadata["rlhf_studio_comparison"]})
        assert without is not None
        assert without.response_ids == showing.response_ids


def test_what_is_not_ours_joins_nothing_and_what_was_changed_is_dropped(ws, tmp_path):
    showing, metadata = sent(ws)
    other = Workspace.open(tmp_path / "other")
    fill(other, 1)
    with other.read() as db:
        assert returning.find(db, item(showing.texts, metadata)) is None
    with ws.read() as db:
        assert returning.find(db, item(showing.texts, {})) is None
        assert returning.find(db, item(showing.texts, {"rlhf_studio_comparison": "x-1"})) is None
        for texts in ([showing.left, "another"], [showing.left]):
            with pytest.raises(Dropped, match="other responses"):
                returning.find(db, item(texts, metadata))
        never = metadata["rlhf_studio_comparison"].rpartition("-")[0] + "-77"
        with pytest.raises(Dropped, match="never given out"):
            returning.find(db, item(showing.texts, {"rlhf_studio_comparison": never}))


def test_a_bare_number_is_no_key_even_where_there_are_no_prompts_yet(tmp_path):
    with Workspace.open(tmp_path / "workspace").read() as db:
        for key in ("41", "-41", 41, "", None, {"a": 1}):
            assert elsewhere.find(db, {"rlhf_studio_comparison": key}) is None


def test_a_judgement_from_elsewhere_wins_for_the_text_its_rater_saw_on_that_side(tmp_path):
    ws = Workspace.open(tmp_path / "workspace")
    fill(ws, 2)
    for number in (1, 2):
        showing, metadata = sent(ws, number)
        with ws.write() as db:
            joined = elsewhere.find(db, metadata)
            assert joined is not None
            for _ in range(2):
                event = elsewhere.record(db, joined, "right", rater="person", uuid=f"u-{number}", strength=2)
            assert comparisons.verdict(db, number) == showing.response_ids[1]
            assert event.showing_id != showing.id
            rows = list(db.query("SELECT rater, count(*) AS n FROM rating_events WHERE comparison_id = ?", [number]))
            assert rows == [{"rater": "person (elsewhere)", "n": 1}]


def test_nothing_to_label_is_told(tmp_path):
    ws = Workspace.open(tmp_path / "workspace")
    with pytest.raises(DataError, match="There are no pairs"):
        to_label.export(ws, "surge")
    assert list(ws.exports.iterdir()) == []
