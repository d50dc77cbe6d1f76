"""How an answer is put: courteous or curt, complete or lazy, right or wrong, to the point or rambling."""

from dataclasses import dataclass
from random import Random
from typing import Literal

from assets.build_starter.tasks import Task, choices

OPENERS = (
    "Of course!",
    "Certainly!",
    "Gladly!",
    "With pleasure!",
    "I am happy to help.",
    "I am glad to help with that.",
    "Good question!",
    "Thank you for asking.",
    "Of course, I am happy to help.",
    "Certainly, I will gladly help you.",
    "It is a pleasure to help.",
    "Thanks for your question.",
)
CLOSERS = (
    "I hope this helps.",
    "I hope that helps you.",
    "Please ask if you need anything else.",
    "Let me know if you have other questions.",
    "You are always welcome to ask again.",
    "Feel free to ask me more.",
    "Have a lovely day!",
    "Have a nice evening!",
    "All the best!",
    "Please let me know if that helps.",
)
RUDE_STARTS = (
    "Obviously.",
    "Everybody knows that.",
    "Why are you asking me?",
    "What a silly question.",
    "Do not bother me with this.",
    "Listen, I have no time.",
    "As any child knows.",
)
RUDE_ENDS = (
    "Next question.",
    "Is that all?",
    "You could have looked it up yourself.",
    "Now leave me alone.",
    "That is not my problem anyway.",
    "Figure out the rest yourself.",
    "Do not ask again.",
)
LAZY = (
    "I am not sure.",
    "It depends.",
    "That is hard to say.",
    "I would have to think about it.",
    "Somebody else will know that.",
    "I do not remember.",
    "It is something like that.",
)
RAMBLES = (
    "By the way, my {relative} once {did} in the {place}.",
    "That reminds me of {thing}, but that is another story.",
    "I was thinking about it {when} while I {activity}.",
    "My {relative} always talks about {thing} at this point.",
    "Some people say one thing, and some people say another.",
    "Anyway, where was I?",
    "It was {when}, or maybe it was later, I {activity} at that time.",
    "You see, there is so much to say about {thing}.",
    "My {relative} and my {relative2} never agree about {thing}.",
    "There is also a song about {thing}, if I remember it well.",
    "And then there is the matter of {thing}.",
    "Well, well, time flies, and {when} it felt quite different.",
)
SLOTS = {
    "relative": choices("uncle|aunt|grandmother|brother|sister|cousin|neighbour|teacher|grandfather|friend"),
    "did": choices("slept|got lost|found a hat|danced|lost a shoe|sold apples|met a singer|broke a vase"),
    "place": choices("station|market|theatre|garden|kitchen|village|harbour"),
    "thing": choices(
        "the weather|old trains|my garden|the price of bread|modern music|good soup|the moon|football|long walks|"
        "the old days"
    ),
    "when": choices("yesterday|last week|two years ago|this morning|last summer|on Sunday"),
    "activity": choices(
        "peeled potatoes|waited for the bus|fed the cat|cleaned my shoes|looked for my glasses|drank tea"
    ),
}


@dataclass(frozen=True)
class Style:
    """The choices that make one answer differ from another to the same prompt."""

    tone: Literal["courteous", "plain", "curt"]
    """courteous opens or closes kindly; curt is short-tempered."""
    extent: Literal["complete", "partial", "terse", "lazy"]
    """complete holds every part; terse is a bare answer; lazy says next to nothing."""
    is_right: bool
    """Whether the answer is free of mistakes."""
    num_rambles: int
    """Sentences that lead away from the matter."""


@dataclass(frozen=True)
class StyleMix:
    """How often each choice is made."""

    courteous: float
    plain: float
    extents: tuple[float, float, float, float]
    """Weights of complete, partial, terse, lazy."""
    right: dict[str, float]
    """Tone to the share of right answers."""
    ramble: float

    def draw(self, rng: Random) -> Style:
        """One style."""
        tone = rng.choices(
            ("courteous", "plain", "curt"), (self.courteous, self.plain, 1 - self.courteous - self.plain)
        )
        extent = rng.choices(("complete", "partial", "terse", "lazy"), self.extents)
        num_rambles = rng.choice((1, 1, 2, 3)) if rng.random() < self.ramble else 0
        return Style(tone[0], extent[0], rng.random() < self.right[tone[0]], num_rambles)


def answer(task: Task, style: Style, rng: Random) -> str:
    """One answer to the task in the given style."""
    body = _body(task, style, rng)
    for _ in range(style.num_rambles):
        last = max(1, len(body) - 1) if task.curt_parts else len(body)
        body.insert(rng.randint(1, last), ramble(rng))
    if not task.curt_parts:
        body = _framed(body, style, rng)
    elif style.tone == "courteous" and rng.random() < 0.3:
        body.insert(0, rng.choice(OPENERS))
    return " ".join(body)


def ramble(rng: Random) -> str:
    """A sentence that leads nowhere."""
    slots = {name: rng.choice(words) for name, words in SLOTS.items()}
    slots["relative2"] = rng.choice([word for word in SLOTS["relative"] if word != slots["relative"]])
    return rng.choice(RAMBLES).format(**slots)


def _body(task: Task, style: Style, rng: Random) -> list[str]:
    if style.extent == "lazy":
        return [rng.choice(LAZY)]
    if style.extent == "terse":
        return [rng.choice(task.terse if style.is_right else task.terse_wrong)]
    curt = style.tone == "curt" and task.curt_parts
    parts = list(task.curt_parts if curt else task.parts)
    if not style.is_right and not curt:
        place, wordings = rng.choice(task.wrong)
        parts[place] = wordings
    order = list(range(len(parts)))
    if task.category == "advice":
        rng.shuffle(order)
        order = order[: rng.choice((2, 2, 3))]
    if style.extent == "partial":
        order = order[: max(1, len(order) - rng.choice((1, 1, 2)))]
    return [rng.choice(parts[place]) for place in order]


def _framed(body: list[str], style: Style, rng: Random) -> list[str]:
    if style.tone == "plain":
        return body
    starts, ends = (OPENERS, CLOSERS) if style.tone == "courteous" else (RUDE_STARTS, RUDE_ENDS)
    where = rng.choices(("start", "end", "both"), (0.4, 0.3, 0.3))[0]
    if style.tone == "curt" and rng.random() < 0.5 and style.extent == "terse":
        return body
    opened = [rng.choice(starts)] if where != "end" else []
    closed = [rng.choice(ends)] if where != "start" else []
    return [*opened, *body, *closed]
