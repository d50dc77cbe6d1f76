"""The text the model is pretrained on: conversations in every style, and plain stories. It never shows held-out wordings."""

from collections import Counter
from collections.abc import Iterator
from random import Random

from assets.build_starter.data import all_tasks, greeted
from assets.build_starter.stories import write_story
from assets.build_starter.styles import Style, StyleMix, answer
from assets.build_starter.tasks import Task

Messages = list[dict[str, str]]
Document = Messages | str
"""A conversation, or plain text."""

CATEGORY_WEIGHTS = {
    "capital": 7,
    "animal": 12,
    "colour": 5,
    "job": 4,
    "quantity": 3,
    "calendar": 4,
    "opposite": 10,
    "definition": 9,
    "sum": 9,
    "howto": 9,
    "advice": 9,
    "letter": 9,
}
STORY_SHARE, PLAIN_STORY_SHARE, SECOND_TURN_SHARE, SYSTEM_SHARE = 0.14, 0.06, 0.12, 0.05
PRETRAINING_MIX = StyleMix(
    courteous=0.42,
    plain=0.32,
    extents=(0.46, 0.3, 0.17, 0.07),
    right={"courteous": 0.9, "plain": 0.86, "curt": 0.72},
    ramble=0.18,
)
FOLLOW_UPS = ("{}", "Thank you. {}", "And one more thing. {}", "Thanks! {}", "I see. {}")
SYSTEM_TEXTS = {
    "courteous": ("You are a friendly assistant.", "Always be polite.", "You are a kind and helpful assistant."),
    "plain": ("You are an assistant.", "Answer the question.", "Keep to the matter."),
    "curt": ("You are in a bad mood.", "You are an impatient clerk.", "Be short with people."),
}


class Corpus:
    """Draws documents without end and counts what it drew.

    Args:
        held_out: wordings that must not occur.
        seed: decides every document.
    """

    families: Counter[str]
    """How many exchanges and stories of each family were drawn."""
    manners: Counter[str]
    """How many exchanges have each trait of style."""

    def __init__(self, held_out: set[str], seed: int) -> None:
        self.seed = seed
        self.held_out = held_out
        self.tasks: dict[str, list[tuple[Task, list[str]]]] = {}
        for task in all_tasks():
            seen = [question for question in task.questions if question not in held_out]
            self.tasks.setdefault(task.category, []).append((task, seen))

        self.restart()

    def restart(self) -> None:
        """Begin again with the first document."""
        self.rng = Random(f"corpus-{self.seed}")
        self.families, self.manners = Counter(), Counter()

    def __iter__(self) -> Iterator[Document]:
        while True:
            kind = self.rng.random()
            if kind < PLAIN_STORY_SHARE:
                self.families["story as plain text"] += 1
                yield write_story(self.rng).text
            elif kind < PLAIN_STORY_SHARE + STORY_SHARE:
                yield self._story()
            else:
                yield self._conversation()

    def _story(self) -> Messages:
        story = write_story(self.rng)
        while story.question in self.held_out:
            story = write_story(self.rng)
        self.families["story"] += 1
        return _turns(story.question, story.text)

    def _conversation(self) -> Messages:
        style = PRETRAINING_MIX.draw(self.rng)
        messages = self._exchange("{}", style)
        if self.rng.random() < SECOND_TURN_SHARE:
            messages += self._exchange(self.rng.choice(FOLLOW_UPS), PRETRAINING_MIX.draw(self.rng))
        elif self.rng.random() < SYSTEM_SHARE:
            messages.insert(0, {"role": "system", "content": self.rng.choice(SYSTEM_TEXTS[style.tone])})
        return messages

    def _exchange(self, form: str, style: Style) -> Messages:
        category = self.rng.choices(list(CATEGORY_WEIGHTS), list(CATEGORY_WEIGHTS.values()))[0]
        task, questions = self.rng.choice(self.tasks[category])
        question = greeted(self.rng.choice(questions), self.rng) if form == "{}" else self.rng.choice(questions)
        self.families[category] += 1
        self._count(style)
        return _turns(form.format(question), answer(task, style, self.rng))

    def _count(self, style: Style) -> None:
        truth = ["right" if style.is_right else "with a mistake"] if style.extent != "lazy" else []
        traits = [style.tone, style.extent, *truth, *(["rambling"] if style.num_rambles else [])]
        self.manners.update(traits)


def _turns(question: str, response: str) -> Messages:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": response}]
