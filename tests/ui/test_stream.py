"""`static/stream.js`: an answer that was asked for while Gradio's stream of answers was being closed arrives all the same."""

import pytest
from playwright.sync_api import BrowserContext

from ui import static

pytestmark = pytest.mark.browser
SERVER = """
window.opened = 0;
const streams = STREAMS;
const told = (parts) => new ReadableStream({ start(to) { for (const part of parts) to.enqueue(new TextEncoder().encode(part)); to.close(); } });
window.fetch = async (name) => {
  if (name.includes("#slow")) return new Promise(() => {});
  if (name.includes("queue/join")) return new Response(JSON.stringify({ event_id: name.split("#")[1] }));
  return new Response(told(streams[window.opened++] ?? []));
};
"""
READ = """async (events) => {
  for (const event of events) await Promise.race([window.fetch(`/queue/join#${event}`), new Promise((go) => setTimeout(go, 50))]);
  return await (await window.fetch("/queue/data?session_hash=x")).text();
}"""
DONE_A, DONE_B, CLOSED = (
    'data: {"msg":"process_completed","event_id":"a","output":{"data":["one\\\\n\\\\ntwo"]}}\n\n',
    'data: {"msg":"process_completed","event_id":"b"}\n\n',
    'data: {"msg":"close_stream"}\n\n',
)


@pytest.mark.parametrize(
    ("events", "streams", "read"),
    [
        pytest.param(["a"], [[DONE_A, CLOSED]], DONE_A + CLOSED, id="closed"),
        pytest.param(["a", "b"], [[DONE_A, CLOSED], [DONE_B, CLOSED]], DONE_A + DONE_B + CLOSED, id="reopened"),
        pytest.param(["a", "slow"], [[DONE_A, CLOSED], [DONE_B]], DONE_A + DONE_B, id="asked-and-unanswered"),
        pytest.param(["a"], [[DONE_A[:20], DONE_A[20:] + CLOSED[:9], CLOSED[9:]]], DONE_A + CLOSED, id="cut-anywhere"),
    ],
)
def test_the_stream_goes_on_until_every_answer_has_come(window: BrowserContext, events, streams, read):
    page = window.new_page()
    page.evaluate(f"() => {{ {SERVER.replace('STREAMS', repr(streams))} }}")
    page.add_script_tag(content=static.read("stream.js"))
    assert page.evaluate(READ, events) == read
    assert page.evaluate("window.opened") == len(streams)
    page.close()
