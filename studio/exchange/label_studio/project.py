"""What a project of Label Studio holds: the labelling configuration, and the data of a task.

A pair has an explicit tie and both bad, because Label Studio submits "no preference" and "not answered" as the same
empty result.
"""

from typing import Any

from studio.exchange.tasks import Task, What
from studio.preferences import vocabulary

STRENGTHS = {word: strength for strength, word in vocabulary.STRENGTHS.items()}
TIES = {"tie": "tie", "both bad": "both_bad"}
"""Choices of `strength` next to the strengths, and their outcomes."""
COMPARISON, STRENGTH, RANK, ANSWER, NOTE = "comparison", "strength", "rank", "answer", "note"
"""Names of the controls."""
CONTROL: dict[What, str] = {"pairs": COMPARISON, "rankings": RANK, "prompts": ANSWER}
"""The control that a project of each kind must have."""

_BOX = "flex: 1; min-width: 0; margin: 0.5em; padding: 0 1em 1em; border: 1px solid #8888; border-radius: 6px"
_ANSWERS = "\n".join(
    f'    <View style="{_BOX}"><Header size="5" value="Answer {n}"/><Text name="answer{n}" value="$answer{n}"/></View>'
    for n in (1, 2)
)
_CHOICES = "\n".join(f'    <Choice value="{name}"/>' for name in (*STRENGTHS, *TIES))
_NOTE = f'  <TextArea name="{NOTE}" toName="prompt" rows="2" maxSubmissions="1" editable="true" placeholder="A remark, if any"/>'
CONFIG: dict[What, str] = {
    "pairs": f"""<View>
  <Header value="Which answer is better? Choose it and how much better; for neither, tie or both bad alone."/>
  <Text name="prompt" value="$prompt"/>
  <Pairwise name="{COMPARISON}" toName="answer1,answer2"/>
  <View style="display: flex">
{_ANSWERS}
  </View>
  <Choices name="{STRENGTH}" toName="prompt" choice="single" showInline="true">
{_CHOICES}
  </Choices>
{_NOTE}
</View>
""",
    "rankings": f"""<View>
  <Header value="Order the answers, the best on top."/>
  <Text name="prompt" value="$prompt"/>
  <List name="answers" value="$items" title="Answers"/>
  <Ranker name="{RANK}" toName="answers"/>
{_NOTE}
</View>
""",
    "prompts": f"""<View>
  <Header value="Write the answer that the assistant should give."/>
  <Text name="prompt" value="$prompt"/>
  <TextArea name="{ANSWER}" toName="prompt" rows="8" maxSubmissions="1" editable="true"/>
</View>
""",
}


def data(task: Task) -> dict[str, Any]:
    """Return the data of a task as the configuration names it; it holds no model's name."""
    shown: dict[str, Any] = {"prompt": task.prompt}
    if task.what == "pairs":
        shown |= {"answer1": task.texts[0], "answer2": task.texts[1]}
    elif task.what == "rankings":
        shown["items"] = [{"id": str(n), "title": f"Answer {n}", "body": text} for n, text in enumerate(task.texts, 1)]
    return shown | task.metadata
