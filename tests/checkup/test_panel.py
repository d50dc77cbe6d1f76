"""What the Runs page says of a sick run."""

import re

from studio.checkup.findings import Finding
from ui.components import html
from ui.pages.runs.checkup import SHOWN, panel

FINDING = Finding("answers get longer", 30, "rollout/response_tokens", "60 tokens <b>", "Reward length less.", True)


def test_a_healthy_run_has_no_panel():
    assert panel("ppo-1", []) == ""


def test_the_newest_findings_stand_first_with_evidence_and_advice_and_ask_for_votes():
    drawn = panel("ppo-1", [FINDING._replace(step=step) for step in range(1, SHOWN + 3)])
    assert drawn.count("<li>") == SHOWN
    assert drawn.index(f"iteration {SHOWN + 2}<") < drawn.index(f"iteration {SHOWN + 1}<")
    assert "60 tokens &lt;b&gt;" in drawn
    assert "Reward length less." in drawn
    assert 'href="#evaluate"' in drawn
    assert f"All {SHOWN + 2}: <code>rlhf-studio runs checkup ppo-1</code>" in drawn


def test_the_evidence_is_drawn_with_a_mark_where_the_rule_spoke():
    curve = [(step, 40.0 if step < 20 else 60.0) for step in range(1, 41)]
    drawn = panel("ppo-1", [FINDING], {FINDING.metric: curve})
    assert drawn.count("<svg") == 1
    ends = f"{html.number(40.0)} and {html.number(60.0)}"
    assert f"rollout/response_tokens between {ends}, marked at iteration 30" in drawn
    points = re.search(r'<polyline points="([^"]+)"', drawn).group(1).split()
    circle = re.search(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)
    assert points[29] == f"{circle.group(1)},{circle.group(2)}"
    assert "<svg" not in panel("ppo-1", [FINDING], {FINDING.metric: curve[:1]})


def test_a_fault_of_the_optimiser_asks_for_no_votes():
    assert "#evaluate" not in panel("ppo-1", [FINDING._replace(asks_votes=False)])
