"""`kill -9` of the server at random moments: between display and vote, in the vote, between vote and acknowledgement.

The server is a process that answers presses with the page's own handlers; the rater, as the browser does, sends a press
with the same uuid again until it is answered. What was acknowledged is then compared with what is in SQLite.
"""

import json
import subprocess
import sys
from pathlib import Path

from studio.preferences import comparisons, prompts, ratings
from studio.preferences.prompts import NewPrompt
from studio.workspace import Workspace
from tests.support import stored

ROOT = Path(__file__).parent.parent

RATER_AND_KILLER = r'''
import json, os, random, signal, sys, time, uuid
from unittest.mock import MagicMock
sys.modules["gradio"] = MagicMock()  # the handlers use none of it, and a fork of a process that has loaded it takes 0.1 s
from studio.workspace import Workspace
from ui.pages.rate import pairs as rate

ws, num_kills, rng = Workspace(__import__("pathlib").Path(sys.argv[1])), int(sys.argv[2]), random.Random(int(sys.argv[3]))

def serve(inbox, outbox):
    for line in os.fdopen(inbox):
        name, data = json.loads(line)
        if name == "open":
            with ws.write() as db:
                answer = rate._state(ws, db, [])
        elif name == "undo":
            answer = rate._undo(ws, rate.Undo.model_validate(data))
        else:
            answer = rate._record(ws, rate.Press.model_validate(data))
        os.write(outbox, (json.dumps(answer) + "\n").encode())

class Server:
    def __init__(self):
        ask, self.ask = os.pipe()
        self.answer, answer = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(self.ask), os.close(self.answer)
            serve(ask, answer)
            os._exit(0)
        os.close(ask), os.close(answer)
        self.file = os.fdopen(self.answer)

    def call(self, name, data, kill_after=None):
        """The answer, or None if the server was killed before it had written one."""
        try:
            os.write(self.ask, (json.dumps([name, data]) + "\n").encode())
        except BrokenPipeError:
            return None
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(self.pid, signal.SIGKILL)
        line = self.file.readline()
        return json.loads(line) if line.endswith("\n") else None

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.ask)
        self.file.close()

server, kills, cut, acknowledged, displayed = Server(), 0, 0, [], {}
while kills < num_kills:
    opened = server.call("open", {})
    displayed |= {item["id"]: item["texts"] for item in opened["items"]}
    moment = rng.choice(["display", "vote", "vote", "vote", "none"])
    if moment == "display":  # the pair is on the screen, no vote yet
        server.end()
        server, kills = Server(), kills + 1
    press = {"uuid": str(uuid.UUID(int=rng.getrandbits(128)))}
    name = "undo" if acknowledged and rng.random() < 0.15 else "record"
    if name == "record":
        press |= {"showing": opened["items"][0]["id"], "outcome": rng.choice(["left", "right", "tie"]), "elapsed_ms": 300}
    answer = None
    while answer is None:  # as the browser does: again, with the same uuid, until it is answered
        kill_after = rng.expovariate(1 / 0.003) if moment == "vote" else None
        answer = server.call(name, press, kill_after)
        if kill_after is not None:
            cut += answer is None
            server.end()
            server, kills, moment = Server(), kills + 1, "none"
    assert "recorded" in answer or "undone" in answer, answer
    acknowledged.append([press["uuid"], press.get("showing"), press.get("outcome", "undo")])
server.end()
print(json.dumps({"acknowledged": acknowledged, "displayed": displayed, "kills": kills, "cut": cut}))
'''


def test_no_acknowledged_rating_is_lost_or_doubled_by_two_hundred_kills_of_the_server(tmp_path):
    ws, num_kills = Workspace.open(tmp_path), 200
    with ws.write() as db:
        for n in range(2 * num_kills):
            prompt_id = prompts.add_prompt(db, NewPrompt([{"role": "user", "content": f"Question {n}"}], split="train"))
            pair = [prompts.add_response(db, prompt_id, f"{side} {n}", "import") for side in ("one", "two")]
            comparisons.add_comparison(db, prompt_id, pair)
    command = [sys.executable, "-W", "ignore", "-c", RATER_AND_KILLER, str(tmp_path), str(num_kills), "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["kills"] >= num_kills
    assert told["cut"] >= num_kills // 10, "some kills came before the acknowledgement"
    events = stored.read(ws, ratings.list_events, limit=-1)
    assert [[e["uuid"], e["showing_id"], e["outcome"]] for e in events if e["outcome"] != "undo"] == [
        each for each in told["acknowledged"] if each[2] != "undo"
    ]
    assert [e["uuid"] for e in events] == [each[0] for each in told["acknowledged"]]
    for showing_id, texts in told["displayed"].items():  # what the eye saw is what is stored
        showing = stored.read(ws, comparisons.get_showing, int(showing_id))
        assert showing is not None
        assert list(showing.texts) == texts
    with ws.read() as db:
        twice = "SELECT showing_id FROM ratings GROUP BY showing_id HAVING count(*) > 1"
        assert list(db.query(twice)) == []
        assert next(db.query("PRAGMA integrity_check"))["integrity_check"] == "ok"
