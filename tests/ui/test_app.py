"""The app as a whole: what it imports, what it exposes, what it answers to a stranger."""

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest

from modules.config import STAGES
from studio.chat.resident import Resident
from studio.errors import ConfigError, RunError
from studio.preferences import comparisons, ratings
from studio.runs.runs import get as find_run
from tests.support import stored
from tests.ui.filling import HOSTILE
from ui import app, handlers, static
from ui.components import html
from ui.components.theme import HEAD
from ui.pages.chat import page as chat
from ui.pages.data import page as data
from ui.pages.home import page as home
from ui.pages.insights import page as insights
from ui.pages.models import page as models
from ui.pages.rate import pairs
from ui.pages.runs import listing
from ui.pages.runs import page as runs
from ui.pages.train import page as train
from ui.server.rest import SCRIPT


def test_importing_the_app_loads_nothing_heavy():
    code = (
        "import sys, ui.app\n"
        "heavy = {'torch', 'transformers', 'datasets', 'lightning', 'peft', 'bitsandbytes', 'pandas.core'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"


def test_pandas_is_there_for_whoever_asks_for_it():
    code = "import ui, pandas as pd; from pandas import Series; assert Series is pd.Series is pd.DataFrame({'a': [1]}).a.__class__"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_only_what_a_person_waits_for_moves_without_end():
    """An endless animation takes some 5 % of a core from an idle tab on a machine without a GPU."""
    rules = [
        line
        for path in Path(static.__file__).parent.rglob("*.css")
        for line in path.read_text().splitlines()
        if "infinite" in line
    ]
    assert [rule.split(" {")[0] for rule in rules] == [".notice.is-working::before"]


@pytest.mark.parametrize("kind", ["ws", "full_ws"])
def test_every_page_builds_and_refreshes(kind, request):
    ws = request.getfixturevalue(kind)
    with gr.Blocks(analytics_enabled=False), gr.Tabs() as tabs, gr.Tab():
        chosen = gr.Textbox(render=False)
        pages = [
            home.build(ws),
            data.build(ws),
            pairs.build(ws),
            train.build(ws, tabs, chosen),
            runs.build(ws, chosen, Resident(ws)),
            insights.build(ws),
            chat.build(ws, Resident(ws)),
            models.build(ws, Resident(ws)),
        ]
    for page in pages:
        values = [component.value for component in page.inputs]
        given = page.refresh(*values)
        assert len(given or []) == len(page.outputs)


def test_no_handler_is_public_or_unguarded(ws):
    built = app.build(ws)
    bound = [fn for fn in built.fns.values() if fn.fn is not None]
    assert len(bound) > 20
    assert {fn.api_visibility for fn in built.fns.values()} == {"private"}
    assert all(fn.fn.__qualname__.startswith("_guarded.") for fn in bound)


def test_the_border_turns_errors_into_sentences(caplog):
    def refuse():
        raise RunError("Run <b> is lost.")

    def break_down():
        raise ZeroDivisionError("inner detail")

    with pytest.raises(gr.Error, match=r"Run &lt;b&gt; is lost\."):
        handlers._guarded(refuse)()
    with pytest.raises(gr.Error) as told:
        handlers._guarded(break_down)()
    assert "inner detail" not in str(told.value)
    assert "inner detail" in caplog.text
    assert handlers.served(lambda _: refuse())(None) == {"error": "Run <b> is lost."}
    assert handlers.served(lambda _: break_down())(None) == {"error": handlers.SURPRISE}


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "192.168.1.5", "::", socket.gethostname()], ids=["all", "lan", "all6", "name"]
)
def test_an_open_host_demands_a_password(ws, host):
    with pytest.raises(ConfigError, match="--password"):
        app.launch(ws, host=host)


def test_a_taken_port_is_named(ws, serve):
    port = serve(ws).port
    with pytest.raises(ConfigError, match=f"Port {port} .*--port"):
        app.launch(ws, port=port, inbrowser=False)
    for none in (0, -1, 65536):
        with pytest.raises(ConfigError, match=f"Port {none} does not exist"):
            app.launch(ws, port=none, inbrowser=False)


def test_nothing_is_fetched_from_elsewhere():
    assert "http://" not in HEAD.replace("http://www.w3.org", "")
    assert "https://" not in HEAD
    assert "@import" not in HEAD


def _post(url: str, body: dict, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=240) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_raw_calls_change_nothing_and_other_hosts_are_refused(full_ws, serve):
    served = serve(full_ws)
    component = next(b for b in served.app.blocks.values() if b.elem_id == "rate")
    call = served.url + "gradio_api/component_server"
    before = stored.read(full_ws, ratings.list_events)
    showing = stored.written(full_ws, comparisons.next_showing)
    assert showing is not None
    uuid = "0" * 36
    for sent in (None, [], HOSTILE, {"uuid": uuid}, {"uuid": uuid, "showing": showing.id, "outcome": "DROP", "elapsed_ms": 1},
                 {"uuid": uuid, "showing": 10**9, "outcome": "left", "elapsed_ms": 1},
                 {"uuid": "'; --", "showing": showing.id, "outcome": "left", "elapsed_ms": 1},
                 {"uuid": uuid, "showing": showing.id, "outcome": "tie", "strength": 3, "elapsed_ms": 1},
                 {"uuid": uuid, "showing": str(showing.id), "outcome": "left", "elapsed_ms": 1}):  # fmt: skip
        body = {"component_id": component._id, "fn_name": "record", "session_hash": "x", "data": sent}
        status, answer = _post(call, body)
        assert status == 200
        assert "error" in json.loads(answer)
    assert (
        _post(call, {"component_id": component._id, "fn_name": "postprocess", "session_hash": "x", "data": 1})[0] == 404
    )
    assert stored.read(full_ws, ratings.list_events) == before
    body = {"component_id": component._id, "fn_name": "open_pair", "session_hash": "x", "data": {}}
    assert "checkpoint" not in _post(call, body)[1]  # rating is blind
    assert _post(call, body, Host="evil.example")[0] == 400
    database = served.url + f"gradio_api/file={full_ws.database}"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(database, timeout=240)
    refused.value.close()
    assert refused.value.code in (403, 404)


def test_the_address_leads_only_where_it_may():
    assert app._follow("train/ppo")[1] == "ppo"
    assert app._follow("runs/ppo-2")[2] == "ppo-2"
    assert app._follow(f"runs/{HOSTILE}")[2] == HOSTILE, "the page says that there is no such run"
    for address in ("", "nowhere", "runs/", "train/nothing", "../etc"):
        tabs, stage, run, _ = app._follow(address)
        assert tabs["selected"] in app.TITLES if isinstance(tabs, dict) else True
        assert stage == run == gr.skip()


def test_every_stage_has_a_place_on_the_train_page():
    assert set(train.TITLES) == set(train.ESSENTIALS) == set(STAGES)
    for stage, names in train.ESSENTIALS.items():
        assert set(names) <= set(STAGES[stage].model_fields)


def test_the_list_and_the_head_say_the_same_of_a_run_that_was_asked_to_pause_or_stop(full_ws):
    run = replace(stored.read(full_ws, find_run, "sft-1"), state="running", progress_text="step 3 of 9", progress=0.333)
    for asked, word in (
        ({}, "step 3 of 9"),
        ({"pause_requested": True}, "Pausing"),
        ({"stop_requested": True}, "Stopping"),
    ):
        assert listing._doing(replace(run, **asked), []).startswith(f"33% {word}")
        assert f'<span class="doing">{word}' in html.progress(replace(run, **asked))


def test_pages_escape_what_they_show(full_ws):
    drawn = runs._refresh(full_ws, "ppo-2", "")
    assert "onerror" in str(drawn)
    assert not any("<script" in part or "<img" in part for part in drawn if isinstance(part, str))
    answer = models._answer(HOSTILE, HOSTILE)
    assert "<script" not in answer
    assert "<img" not in answer


def test_the_page_begins_with_the_script_that_lets_an_idle_tab_rest(ws, serve):
    with urllib.request.urlopen(serve(ws).url, timeout=240) as answer:
        body, length = answer.read(), answer.headers["content-length"]
    assert body.count(SCRIPT) == 1
    assert body.index(SCRIPT) < body.index(b'type="module"')
    assert len(body) == int(length)


def test_handlers_that_keep_the_newest_values_share_no_event(full_ws):
    """Gradio's page repeats a whole event for such a handler, so that two of them on one would repeat each other without end."""
    config = app.build(full_ws).get_config_file()
    repeated = [each for each in config["dependencies"] if each["trigger_mode"] == "always_last" and each["backend_fn"]]
    assert len(repeated) > 20
    ids = {each["id"] for each in config["dependencies"] if each["backend_fn"]}
    for each in repeated:
        events = [tuple(event) for event in each["targets"] if event[0] is not None]
        others = [other for other in config["dependencies"] if other["id"] in ids - {each["id"]}]
        shared = [other["api_name"] for other in others for event in other["targets"] if tuple(event) in events]
        assert shared == [], f"{each['api_name']} is repeated together with them"
