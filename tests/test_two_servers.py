"""Two real servers on one workspace, asked for the same thing at the same moment: one of them does it, none does it twice."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from modules.config import SFTConfig
from studio.annotation import sessions
from studio.annotation.session_config import SessionConfig
from studio.preferences import comparisons, prompts, ratings
from studio.runs import launcher, processes, queue, runs
from studio.workspace import Workspace
from tests.live_server import LiveServer
from tests.support import stored
from tests.support.waiting import until as wait
from tests.ui import filling

pytestmark = pytest.mark.timeout(900)
PAIRS = 24
LONG = SFTConfig(
    lora_rank=2,
    batch_size=4,
    micro_batch_size=4,
    max_length=512,
    max_demonstrations=8,
    epochs=900,
    max_dropped=1,
    eval_samples=0,
)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Both started in the same moment on a folder that is not there yet; then the workspace is filled."""
    root = tmp_path_factory.mktemp("two")
    ws = Workspace((root / "workspace").resolve())
    both = [LiveServer(ws, root / f"{name}.txt") for name in "ab"]
    try:
        for server in both:
            server.wait()
        sft = filling.add_run(ws, SFTConfig())
        ids = [row["id"] for row in stored.read(ws, prompts.list_prompts, split="train", limit=PAIRS)]
        filling.add_pairs(ws, ids, filling.add_checkpoint(ws, sft), run=sft)
        yield ws, both
    finally:
        for server in both:
            server.stop()
        for run in stored.read(ws, runs.list_all):
            launcher.kill(ws, run.name)


def at_once(*calls):
    """The answers to calls that are made at the same moment."""
    barrier = threading.Barrier(len(calls))

    def wait_and_call(call):
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(wait_and_call, calls))


def press(showing, outcome):
    return {"uuid": str(uuid.uuid4()), "showing": showing, "outcome": outcome, "elapsed_ms": 500}


def test_both_start_at_once_on_a_new_workspace_load_the_starter_kit_once_and_the_later_one_names_the_other(servers):
    ws, (a, b) = servers
    assert sum("This workspace is also open at" in server.said for server in (a, b)) == 1
    later, other = (a, b) if "This workspace is also open at" in a.said else (b, a)
    assert f"This workspace is also open at {other.url}. Both can be used" in later.said
    with ws.read() as db:
        imports = list(db.query("SELECT kept FROM imports"))
        twice = list(db.query("SELECT text FROM responses GROUP BY prompt_id, text HAVING count(*) > 1"))
    assert len(imports) == 1
    assert imports[0]["kept"] > 100
    assert twice == []


def test_a_pair_that_both_rate_at_once_has_one_rating_and_the_other_page_says_so_and_goes_on(servers):
    ws, both = servers
    for number in range(PAIRS // 2):
        shown = [server.ask("rate", "open_items", {})["items"][0] for server in both]
        assert shown[0] == shown[1], "both show the same pair, its sides in the same order"
        pressed = [press(shown[0]["id"], outcome) for outcome in ("left", "right")]
        answers = at_once(*(lambda s=s, p=p: s.ask("rate", "record", p) for s, p in zip(both, pressed, strict=True)))
        first, second = sorted(answers, key=lambda answer: "error" in answer)
        assert first["recorded"] == ("left", "right")[answers.index(first)] + " better"
        assert "error" not in first
        assert second["error"].startswith("This pair is rated already (")
        assert "recorded" not in second
        assert second["items"] == first["items"], "both go on with the same one"
        events = stored.read(ws, ratings.list_events, limit=-1)
        assert len(events) == number + 1
        newest = max(events, key=lambda event: event["id"])
        assert (newest["uuid"], newest["outcome"]) == tuple(
            pressed[answers.index(first)][k] for k in ("uuid", "outcome")
        )


def test_a_press_that_is_sent_again_to_the_other_server_is_one_rating_and_undo_takes_it_back_once(servers):
    ws, (a, b) = servers
    before = len(stored.read(ws, ratings.list_events, limit=-1))
    showing = a.ask("rate", "open_items", {})["items"][0]["id"]
    sent = press(showing, "tie")
    answers = at_once(lambda: a.ask("rate", "record", sent), lambda: b.ask("rate", "record", sent))
    assert [answer["recorded"] for answer in answers] == ["both fine"] * 2
    assert len(stored.read(ws, ratings.list_events, limit=-1)) == before + 1
    undo = {"uuid": str(uuid.uuid4())}
    taken = at_once(lambda: a.ask("rate", "undo", undo), lambda: b.ask("rate", "undo", undo))
    assert [answer["undone"] for answer in taken] == ["both fine"] * 2
    assert len(stored.read(ws, ratings.list_events, limit=-1)) == before + 2
    assert {server.ask("rate", "open_items", {})["items"][0]["id"] for server in (a, b)} == {showing}
    with ws.read() as db:
        assert comparisons.counts(db)["unrated"] == PAIRS - before


def test_a_session_that_both_start_at_once_is_one_and_each_end_of_it_is_seen_by_both(servers):
    ws, (a, b) = servers
    values = list(SessionConfig(target=6, block_size=5, repeat_share=0).model_dump().values())
    told = at_once(*(lambda s=s: s.click("session-start", values)["data"][0] for s in (a, b)))
    assert len(stored.read(ws, sessions.list_all)) == 1
    assert sorted("has started" in text for text in told) == [False, True]
    assert any("Session 1 is running. Pause or end it before you start another." in text for text in told)
    shown = [server.ask("rate", "open_items", {})["items"] for server in (a, b)]
    assert shown[0] == shown[1]
    for server, other in ((a, b), (b, a)) * 2:
        showing = server.ask("rate", "open_items", {})["items"][0]["id"]
        assert "recorded" in server.ask("rate", "record", press(showing, "left"))
        assert showing not in [item["id"] for item in other.ask("rate", "open_items", {})["items"]]
    assert stored.read(ws, sessions.get, 1).num_given == 4
    paused = at_once(*(lambda s=s: s.click("session-pause", [])["data"][0] for s in (a, b)))
    assert sum("paused" in text and "cannot" not in text for text in paused) == 1
    assert any("Session 1 is paused, so it cannot be paused." in text for text in paused)
    assert "Session 1: 4 of 6, block 1." in b.click("session-resume", [])["data"][0]
    ended = at_once(*(lambda s=s: s.click("session-end", [])["data"][0] for s in (a, b)))
    assert stored.read(ws, sessions.get, 1).state == "ended"
    assert sum("4 of 6, ended." in text for text in ended) == 1
    with ws.read() as db:
        kinds = [row["kind"] for row in db.query("SELECT kind FROM session_events ORDER BY id")]
    assert kinds == ["started", "paused", "resumed", "ended"]


def test_runs_that_both_start_order_and_stop_at_once_are_each_started_and_stopped_once(servers):
    ws, (a, b) = servers
    values = list(LONG.model_dump().values())
    known = {run.name for run in stored.read(ws, runs.list_all)}
    started = at_once(*(lambda s=s: s.click("start-sft", values)["data"][3] for s in (a, b)))
    started.append(a.click("start-sft", list(LONG.model_copy(update={"seed": 5}).model_dump().values()))["data"][3])
    assert len({*started} - known) == 3
    wait(lambda: sum(stored.read(ws, runs.get, name).progress > 0 for name in started) == 1)
    at_work = next(name for name in started if stored.read(ws, runs.get, name).state == "running")
    waiting = [run.name for run in stored.read(ws, queue.waiting)]
    assert {*waiting} == {*started} - {at_work}
    at_once(*(lambda s=s: s.click("run-earlier", ["Earlier", waiting[1], "", "", "", "", 0]) for s in (a, b)))
    assert [run.name for run in stored.read(ws, queue.waiting)] == waiting[::-1]
    at_once(
        lambda: a.click("run-earlier", ["Earlier", waiting[0], "", "", "", "", 0]),
        lambda: b.click("run-later", ["Later", waiting[0], "", "", "", "", 0]),
    )
    assert sorted(run.name for run in stored.read(ws, queue.waiting)) == sorted(waiting)
    cancelled = at_once(
        lambda: a.click("run-stop", ["Stop and save", waiting[0], "", "", "", "", 0]),
        lambda: b.click("run-stop", ["Stop and save", waiting[0], "", "", "", "", 0]),
    )
    assert [answer.get("error") for answer in cancelled] == [None, None]
    wait(lambda: stored.read(ws, runs.get, waiting[0]).is_ended)
    assert stored.read(ws, runs.get, waiting[0]).message == "Cancelled before it started."
    mixed = at_once(
        lambda: a.click("run-kill", ["Kill now", waiting[1], "", "", "", "", 0]),
        lambda: b.click("run-stop", ["Stop and save", waiting[1], "", "", "", "", 0]),
    )
    assert [answer.get("error") for answer in mixed] == [None, None]
    run = stored.read(ws, runs.get, at_work)
    assert run.state == "running", "the others were stopped, not this one"
    killed = at_once(*(lambda s=s: s.click("run-kill", ["Kill now", at_work, "", "", "", "", 0]) for s in (a, b)))
    assert [answer.get("error") for answer in killed] == [None, None]
    for name in started:
        run = stored.read(ws, runs.get, name)
        assert run.state == "stopped"
        assert processes.family(runs.claim(ws, run)) == set()


def test_a_server_that_was_killed_is_not_named_any_more(servers, tmp_path):
    ws, (a, b) = servers
    b.stop()
    third = LiveServer(ws, tmp_path / "third.txt")
    try:
        third.wait()
        wait(lambda: f"also open at {a.url}" in third.said)
        assert b.url not in third.said
    finally:
        third.stop()
