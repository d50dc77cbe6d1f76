"""Label Studio live, against a stand-in: pushed once, pulled once, corrected, skipped, cut off and resumed."""

import json

import pytest

from studio import cli
from studio.datasets import archive, importing
from studio.errors import DataError, ExchangeError, StudioError
from studio.exchange.label_studio import pull, push, tables
from studio.exchange.label_studio.client import TOKEN, Server
from studio.exchange.label_studio.project import CONFIG
from studio.preferences import comparisons, prompts, ratings
from studio.workspace import Workspace
from tests.exchange.filling import CHECKPOINT, add_pair, best_first, fill, good_side, note, pairwise, ranked, strength
from tests.support import label_studio, stored


@pytest.fixture(scope="module")
def remote_at():
    with label_studio.running() as state:
        yield state


@pytest.fixture
def remote(remote_at):
    url = remote_at.url
    remote_at.__init__()
    remote_at.url = url
    return remote_at


@pytest.fixture
def ws(tmp_path):
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture
def server(remote):
    with Server(remote.url, label_studio.LEGACY) as server:
        yield server


def winners(ws):
    """The better text of each comparison that has one, with rater and strength."""
    rows = [row for row in stored.preferences(ws) if row["outcome"] in ("left", "right")]
    return sorted((row[row["outcome"]][:4], row["rater"], row["strength"]) for row in rows)


def counts(pulled):
    return {name: count for name, count in pulled.counts.items() if count}


def test_what_a_rater_sees_has_both_texts_in_the_stored_order_and_no_name_of_a_model(ws, server, remote):
    fill(ws, 3, 2)
    push.push(ws, server, "Round 1")
    sent = json.dumps([remote.tasks, remote.projects], ensure_ascii=False)
    assert CHECKPOINT not in sent
    assert "sft" not in sent
    with ws.read() as db:
        for task in remote.tasks:
            number = int(task["data"]["rlhf_studio_comparison"].rpartition("-")[2])
            showing = comparisons.get_showing(db, comparisons.find_showing(db, number, "elsewhere") or 0)
            assert showing is not None
            data = task["data"]
            texts = [item["body"] for item in data["items"]] if "items" in data else [data["answer1"], data["answer2"]]
            assert tuple(texts) == showing.texts
    assert (
        remote.tasks[2]["data"]["prompt"] == "System: Be brief.\n\nHuman: First 2\n\nAssistant: Yes.\n\nHuman: Second 2"
    )
    assert [project["label_config"] for project in remote.projects] == [CONFIG["pairs"], CONFIG["rankings"]]
    assert [project["title"] for project in remote.projects] == ["Round 1: pairs", "Round 1: rankings"]


def test_a_second_push_adds_only_what_is_new(ws, server, remote):
    fill(ws, 3)
    assert push.push(ws, server, "Round 1")[0].num_new == 3
    again = push.push(ws, server, "Round 1")[0]
    assert (again.num_new, again.num_there) == (0, 3)
    add_pair(ws, "New?")
    assert push.push(ws, server, "Round 1")[0].num_new == 1
    assert len(remote.tasks) == 4
    assert len(remote.projects) == 1


@pytest.mark.parametrize("after", [False, True], ids=["before it arrived", "after it arrived"])
def test_a_push_cut_half_way_goes_on_and_nothing_is_there_twice(ws, server, remote, monkeypatch, after):
    monkeypatch.setattr(push, "BATCH", 2)
    fill(ws, 5)
    push.push(ws, server, "Round 1", limit=2)
    remote.cut("/import", after=after)
    with pytest.raises(ExchangeError, match="goes on where it was"):
        push.push(ws, server, "Round 1")
    push.push(ws, server, "Round 1")
    keys = [task["data"]["rlhf_studio_comparison"] for task in remote.tasks]
    assert len(keys) == len(set(keys)) == 5
    assert stored.read(ws, tables.list_projects)[0]["tasks"] == 5


def test_three_people_judge_and_every_judgement_comes_back_once_with_its_rater_strength_and_time(ws, server, remote):
    fill(ws, 3, 1)
    push.push(ws, server, "Round 1")
    for task in remote.tasks[:3]:
        side = good_side(task["data"])
        other = "right" if side == "left" else "left"
        remote.annotate(task, [pairwise(side), strength("much better"), note("clear")], by=5, lead_time=12.5)
        remote.annotate(task, [pairwise(side)], by=6)
        remote.annotate(task, [pairwise(other), strength("slightly better")], by=7)
    remote.annotate(remote.tasks[3], [ranked(best_first(remote.tasks[3]["data"]))], by=6)
    pairs, rankings = pull.pull(ws, server, "Round 1")
    assert counts(pairs) == {"new": 9}
    assert pairs.raters == {"ann1@rater.test": 3, "ann2@rater.test": 3, "ann3@rater.test": 3}
    assert winners(ws) == sorted(
        [("good", "ann1@rater.test", 3), ("good", "ann2@rater.test", None), ("bad ", "ann3@rater.test", 1)] * 3
    )
    first = stored.preferences(ws)[0]
    assert (first["elapsed_ms"], first["note"]) == (12500, "clear")
    ranking = stored.preferences(ws)[-1]
    assert [text[0] for _, text in sorted(zip(ranking["ranks"], ranking["texts"], strict=True))] == ["1", "2", "3"]
    assert rankings.counts["new"] == 1
    before = stored.read(ws, ratings.list_events, limit=-1)
    assert counts(pull.pull(ws, server, "Round 1")[0]) == {"known": 9}
    assert stored.read(ws, ratings.list_events, limit=-1) == before


def test_ties_both_bad_skips_and_empty_answers_are_told_apart(ws, server, remote):
    fill(ws, 8)
    push.push(ws, server, "Round 1")
    results = [
        ([strength("tie")], {}),
        ([strength("both bad")], {}),
        ([pairwise("left")], {"was_cancelled": True}),  # a skip may carry what was chosen before
        ([], {}),
        ([pairwise("middle")], {}),
        ([pairwise("left"), strength("tie")], {}),
        ([strength("better")], {}),
        ("left", {}),
    ]
    for task, (result, more) in zip(remote.tasks, results, strict=True):
        remote.annotate(task, result, **more)
    told = pull.pull(ws, server, "Round 1")[0]
    assert [row["outcome"] for row in stored.preferences(ws)] == ["tie", "both_bad", "skip"]
    assert counts(told) == {"new": 3, "skipped": 1}
    assert dict(told.dropped) == {
        "nothing chosen": 1,
        "unknown selection 'middle'": 1,
        "contradicts itself: first and tie": 1,
        "rated, nothing chosen": 1,
        "an annotation without a result": 1,
    }
    assert "nothing chosen" in told.sentence


def test_a_file_of_the_server_and_a_pull_bring_the_same_judgement_once(ws, server, remote, tmp_path):
    fill(ws, 3, 1)
    push.push(ws, server, "Round 1")
    for task in remote.tasks[:3]:
        for person in (5, 6):
            remote.annotate(
                task, [pairwise(good_side(task["data"]))], by=person, created_username=remote.people[person]
            )
    remote.annotate(remote.tasks[3], [ranked(best_first(remote.tasks[3]["data"]))], created_username="ann1@rater.test")
    file = tmp_path / "export.json"
    file.write_text(json.dumps(remote.tasks))
    assert "7 new preferences" not in importing.take(ws, str(file))
    before = [(row["outcome"], row["rater"], row["texts"]) for row in stored.preferences(ws)]
    assert len(before) == 7
    assert {row["showing_id"] is None for row in stored.preferences(ws)} == {False}
    pull.pull(ws, server, "Round 1")
    assert sorted(before) == sorted((row["outcome"], row["rater"], row["texts"]) for row in stored.preferences(ws))
    other = Workspace.open(tmp_path / "other")
    archive.read(other, archive.write(ws).path)
    file.write_text(json.dumps(remote.tasks, indent=1))
    importing.take(other, str(file))
    assert len(stored.preferences(other)) == 7


def test_a_correction_replaces_the_judgement_and_a_deletion_takes_it_back(ws, server, remote):
    fill(ws, 2)
    push.push(ws, server, "Round 1")
    first, second = remote.tasks
    one = remote.annotate(first, [pairwise(good_side(first["data"]))])
    two = remote.annotate(second, [pairwise(good_side(second["data"]))])
    pull.pull(ws, server, "Round 1")
    remote.correct(one, [strength("tie")], by=6)
    remote.delete(second, two)
    told = pull.pull(ws, server, "Round 1")[0]
    assert counts(told) == {"corrected": 1, "taken back": 1}
    (left,) = stored.preferences(ws)
    assert (left["outcome"], left["rater"]) == ("tie", "ann1@rater.test")
    assert [row["outcome"] for row in stored.read(ws, ratings.list_events, limit=-1)].count("undo") == 2
    remote.correct(one, [])
    assert dict(pull.pull(ws, server, "Round 1")[0].dropped) == {"nothing chosen": 1}
    assert stored.preferences(ws) == []
    remote.correct(one, [pairwise("right")])
    pull.pull(ws, server, "Round 1")
    assert [row["outcome"] for row in stored.preferences(ws)] == ["right"]


def test_a_pull_cut_half_way_keeps_the_pages_read_and_goes_on(ws, server, remote, monkeypatch):
    monkeypatch.setattr("studio.exchange.label_studio.client.PAGE_SIZE", 2)
    fill(ws, 5)
    push.push(ws, server, "Round 1")
    for task in remote.tasks:
        remote.annotate(task, [pairwise(good_side(task["data"]))])
    remote.cut("fields=all&page=2")
    with pytest.raises(ExchangeError, match="connection"):
        pull.pull(ws, server, "Round 1")
    assert len(stored.preferences(ws)) == 2
    assert counts(pull.pull(ws, server, "Round 1")[0]) == {"known": 2, "new": 3}
    assert winners(ws) == [("good", "ann1@rater.test", None)] * 5


@pytest.mark.parametrize(
    ("ids", "reason"),
    [(["1", "2"], "only 2 of 3 items"), (["1", "2", "9"], "does not fit"), (None, "nothing chosen")],
)
def test_a_ranking_that_lacks_an_answer_is_counted_and_not_recorded(ws, server, remote, ids, reason):
    fill(ws, 0, 1)
    push.push(ws, server, "Round 1")
    remote.annotate(remote.tasks[0], [ranked(ids)] if ids else [note("hm")])
    told = pull.pull(ws, server, "Round 1")[0]
    assert reason in " ".join(told.dropped)
    assert stored.preferences(ws) == []


def test_a_ranking_as_a_plain_list_counts_too_and_one_in_the_shown_order_is_told(ws, server, remote):
    fill(ws, 0, 2)
    push.push(ws, server, "Round 1")
    plain = ranked([])
    plain["value"] = {"ranker": ["3", "1", "2"]}
    remote.annotate(remote.tasks[0], [plain])
    remote.annotate(remote.tasks[1], [ranked(["1", "2", "3"])])
    told = pull.pull(ws, server, "Round 1")[0]
    assert [row["ranks"] for row in stored.preferences(ws)] == [[2, 3, 1], [1, 2, 3]]
    assert told.counts["as shown"] == 1
    assert "an untouched one is submitted so" in told.sentence


def test_prompts_go_out_and_come_back_as_demonstrations(ws, server, remote):
    fill(ws, 3)
    push.push(ws, server, "Round 1", ["prompts"])
    written = {"from_name": "answer", "to_name": "prompt", "type": "textarea", "value": {"text": [" A fine answer. "]}}
    remote.annotate(remote.tasks[2], [written])
    remote.annotate(remote.tasks[0], [written], was_cancelled=True)
    told = pull.pull(ws, server, "Round 1")[0]
    (found,) = stored.read(ws, prompts.list_demonstrations)
    assert (found.response, len(found.messages)) == ("A fine answer.", 4)
    assert dict(told.dropped) == {"skipped": 1}
    assert push.push(ws, server, "Round 1", ["prompts"])[0].num_new == 0


def test_a_personal_access_token_is_a_refresh_token_and_is_refreshed_when_it_runs_out(ws, remote, monkeypatch):
    monkeypatch.setenv(TOKEN, remote.refresh_token)
    fill(ws, 2)
    with Server(remote.url) as server:
        push.push(ws, server, "Round 1")
        remote.expire()
        assert push.push(ws, server, "Round 1")[0].num_there == 2
    assert sum("refresh" in call for call in remote.calls) == 2
    assert {header.partition(" ")[0] for header in remote.headers if header} == {"Bearer"}
    assert not any(remote.refresh_token in header for header in remote.headers)


def test_a_wrong_token_or_address_gets_a_sentence_without_the_token(ws, remote, monkeypatch):
    fill(ws, 1)
    for token in ("wrong-token-0123456789", label_studio.web_token("refresh", 5)):
        monkeypatch.setenv(TOKEN, token)
        with Server(remote.url) as server, pytest.raises(ExchangeError, match="does not accept the token") as refused:
            push.push(ws, server, "Round 1")
        assert token not in str(refused.value)
    monkeypatch.delenv(TOKEN)
    for url, sentence in (
        (remote.url, "set LABEL_STUDIO_API_KEY"),
        ("ftp://x", "not the address of a server"),
        ("http://me:secret@host", "address of host alone"),
    ):
        with pytest.raises(ExchangeError, match=sentence) as refused:
            Server(url)
        assert "secret" not in str(refused.value)


def test_a_project_with_another_configuration_is_left_alone(ws, server, remote):
    fill(ws, 1)
    server.create_project("Round 1: pairs", "<View/>", 1)
    with pytest.raises(ExchangeError, match="another labelling configuration"):
        push.push(ws, server, "Round 1")
    assert remote.tasks == []


def test_tasks_of_others_are_counted_and_a_changed_key_joins_nothing(ws, server, remote):
    fill(ws, 2)
    push.push(ws, server, "Round 1")
    server.add_tasks(remote.projects[0]["id"], [{"data": {"prompt": "p", "answer1": "a", "answer2": "b"}}])
    data = remote.tasks[0]["data"]
    data["rlhf_studio_order"] = data["rlhf_studio_order"][::-1]
    for task in remote.tasks:
        remote.annotate(task, [pairwise("left")])
    told = pull.pull(ws, server, "Round 1")[0]
    assert told.counts["foreign"] == 1
    assert told.counts["new"] == 1
    assert "has other responses" in next(iter(told.dropped))


def test_a_server_made_again_under_the_same_address_is_another_project(ws, server, remote):
    fill(ws, 1)
    push.push(ws, server, "Round 1")
    remote.annotate(remote.tasks[0], [pairwise("left")])
    pull.pull(ws, server, "Round 1")
    url, clock = remote.url, remote._clock
    remote.__init__()
    remote.url, remote._clock = url, clock + 5
    push.push(ws, server, "Round 1", is_all=True)
    remote.annotate(remote.tasks[0], [pairwise("right")], by=6)
    assert counts(pull.pull(ws, server, "Round 1")[0]) == {"new": 1}
    assert [row["outcome"] for row in stored.preferences(ws)] == ["left", "right"]


def test_an_archive_of_the_workspace_goes_on_pulling_where_this_one_was(ws, server, remote, tmp_path):
    fill(ws, 2)
    push.push(ws, server, "Round 1")
    annotations = [remote.annotate(task, [pairwise(good_side(task["data"]))]) for task in remote.tasks]
    pull.pull(ws, server, "Round 1")
    other = Workspace.open(tmp_path / "other")
    archive.read(other, archive.write(ws).path)
    remote.correct(annotations[0], [strength("tie")])
    assert counts(pull.pull(other, server, "Round 1")[0]) == {"known": 1, "corrected": 1}
    assert sorted(row["outcome"] for row in stored.preferences(other))[-1] == "tie"
    assert push.push(other, server, "Round 1", is_all=True)[0].num_new == 0


class Odd:
    """A server that tells of one task, changed somewhere."""

    url = "http://odd"

    def __init__(self, task, project):
        self.task, self.project = task, project

    def find_project(self, title):
        return self.project if title.endswith("pairs") else None

    def people(self):
        return {5: "ann1@rater.test"}

    def pages(self, project_id, *, is_full):
        yield [self.task]


def changed(value, path=()):
    """Yield a JSON value with each part of it removed or of another type."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        for other in (None, -5, "x\ud800", [5], {"y": None}):
            copy = json.loads(json.dumps(value))
            copy[key] = other
            yield copy
        inner = value[key]
        if isinstance(inner, dict | list):
            for part in changed(inner):
                copy = json.loads(json.dumps(value))
                copy[key] = part
                yield copy
        elif isinstance(value, dict):
            yield {name: each for name, each in value.items() if name != key}


def test_whatever_a_server_tells_is_a_judgement_a_counted_reason_or_a_sentence(ws, server, remote):
    fill(ws, 1)
    push.push(ws, server, "Round 1")
    task = remote.tasks[0]
    good = good_side(task["data"])
    remote.annotate(task, [pairwise(good), strength("better"), note("n")])
    outcomes = {"refused": 0, "judged": 0, "dropped": 0, "none": 0}
    for number, odd in enumerate(changed(task)):
        if type(odd.get("id")) is not int:
            continue  # the client refuses it
        for annotation in odd["annotations"] if isinstance(odd.get("annotations"), list) else []:
            if isinstance(annotation, dict):
                annotation["id"] = annotation.get("id", 0) + number if isinstance(annotation.get("id"), int) else None
        try:
            (told,) = pull.pull(ws, Odd(odd, remote.projects[0]), "Round 1")
        except StudioError:
            outcomes["refused"] += 1
        else:
            outcomes["judged" if told.counts["new"] else "dropped" if told.dropped else "none"] += 1
    rows = stored.preferences(ws)
    assert all(row[row["outcome"]][:4] in ("good", "bad ") for row in rows if row["outcome"] in ("left", "right"))
    assert outcomes["judged"] > 20
    assert outcomes["dropped"] > 20, outcomes


def test_nothing_to_label_and_a_project_that_is_not_there_are_told(ws, server):
    with pytest.raises(DataError, match="There are no pairs"):
        push.push(ws, server, "Round 1")
    with pytest.raises(ExchangeError, match="has no project Round 1: pairs"):
        pull.pull(ws, server, "Round 1")
    with pytest.raises(DataError, match="1 to 40 characters"):
        push.title("x" * 41, "pairs")


def test_the_terminal_pushes_and_pulls(ws, remote, monkeypatch, capsys):
    monkeypatch.setenv(TOKEN, label_studio.LEGACY)
    fill(ws, 2)
    where = ["--url", remote.url + "/", "--project", "Round 1", "--workspace", str(ws.root)]
    assert cli.main(["label-studio", "push", *where]) == 0
    assert "Round 1: pairs: 2 pairs pushed." in capsys.readouterr().out
    remote.annotate(remote.tasks[0], [pairwise("left")])
    assert cli.main(["label-studio", "pull", *where]) == 0
    assert "1 new. Raters: ann1@rater.test (1)." in capsys.readouterr().out
    monkeypatch.delenv(TOKEN)
    assert cli.main(["label-studio", "pull", *where]) == 1
    assert TOKEN in capsys.readouterr().err
