"""Tasks without one right answer: how-tos with steps, advice and short letters. Stories are in ``stories``."""

from collections.abc import Iterator

from assets.build_starter.chores import ADVICE, HOWTOS
from assets.build_starter.letters import CLOSINGS, CURT, MATTERS, NAMES, POLITE, THANKS
from assets.build_starter.tasks import Task, lower_first, marked, others, plain, rows, upper_first

STEP_STARTS = (
    ("First, {}.", "First of all, {}.", "To begin with, {}.", "Start like this: {}."),
    ("Then {}.", "Next, {}.", "After that, {}.", "As a second step, {}."),
    ("Finally, {}.", "In the end, {}.", "Last of all, {}.", "As a last step, {}."),
)
TIP_STARTS = ("{}.", "You could {}.", "It may help to {}.", "I would advise you to {}.")
BAD_TIP_STARTS = ("Just {}.", "You could {}.", "Why not {}?", "I would advise you to {}.")


def howtos() -> Iterator[Task]:
    """How to do something in three steps; the mistake is one bad step."""
    for number, (what, *steps, bad) in enumerate(rows(HOWTOS)):
        place = number % 2 + 1
        yield Task(
            category="howto",
            group=f"howto:{what}",
            questions=(
                f"How do I {what}?",
                f"How can I {what}?",
                f"Explain how to {what}.",
                f"I want to {what}. What do I have to do?",
                f"What are the steps to {what}?",
                f"Tell me how to {what}.",
                f"I have never tried to {what}. How does it work?",
            ),
            parts=tuple(
                tuple(start.format(plain(step)) for start in starts)
                for starts, step in zip(STEP_STARTS, steps, strict=True)
            ),
            wrong=((place, tuple(start.format(plain(bad)) for start in STEP_STARTS[place])),),
            terse=tuple(f"{upper_first(plain(step))}." for step in steps),
            terse_wrong=(f"{upper_first(plain(bad))}.",),
            answer=(),
            mistakes=marked(bad),
            keywords=tuple(marked(step) for step in steps),
            needed=3,
            max_words=60,
        )


def advice() -> Iterator[Task]:
    """What to do about a trouble; two of three good tips are enough."""
    for trouble, *tips, bad in rows(ADVICE):
        said = upper_first(trouble)
        yield Task(
            category="advice",
            group=f"advice:{trouble}",
            questions=(
                f"{said}. What should I do?",
                f"{said}. What can I do?",
                f"{said}. Do you have any advice?",
                f"{said}. Can you help me?",
                f"What would you do? {said}.",
                f"I need advice: {trouble}.",
                f"{said}. What would you suggest?",
            ),
            parts=tuple(_phrased(TIP_STARTS, tip) for tip in tips),
            wrong=tuple((place, _phrased(BAD_TIP_STARTS, bad)) for place in range(3)),
            terse=tuple(f"{plain(tip)}." for tip in tips),
            terse_wrong=(f"{upper_first(plain(bad))}.",),
            answer=(),
            mistakes=marked(bad),
            keywords=tuple(marked(tip) for tip in tips),
            needed=2,
            max_words=60,
        )


def _phrased(starts: tuple[str, ...], tip: str) -> tuple[str, ...]:
    text = plain(tip)
    return tuple(start.format(text if start.startswith("{") else lower_first(text)) for start in starts)


def letters() -> Iterator[Task]:
    """A short letter with a greeting, a request, a reason and a closing; the mistake asks for something else."""
    table = rows(MATTERS)
    for index, row in enumerate(table):
        wrong = others([entry[1] for entry in table], index, f"{row[1]} {row[2]}", 1)[0]
        for name in (NAMES[(index * 7 + step * 5) % len(NAMES)] for step in range(4)):
            yield _letter(name, row, wrong)


def _letter(name: str, row: list[str], wrong: str) -> Task:
    what, request, reason = row
    greetings = (f"Dear {name},", f"Hello {name},", f"Good morning {name},")
    signed = tuple(f"{closing}, {signer}." for closing in CLOSINGS for signer in NAMES[::3] if signer != name)
    reasons = (plain(reason) + ".", f"The reason is this: {lower_first(plain(reason))}.")
    return Task(
        category="letter",
        group=f"letter:{what}",
        questions=(
            f"Write a short letter and ask {name} to {what}.",
            f"Write a short note asking {name} to {what}.",
            f"I want to ask {name} to {what}. Write the message.",
            f"Help me write to {name}. I would like to say: {what}.",
            f"Please draft an e-mail to {name}: {what}.",
        ),
        parts=(_requests(greetings, POLITE, request), reasons, THANKS, signed),
        wrong=((0, _requests(greetings, POLITE, wrong)),),
        terse=_requests((f"{name},", f"To {name}:"), ("{request}.",), request),
        terse_wrong=_requests((f"{name},",), ("{request}.",), wrong),
        answer=marked(request),
        mistakes=marked(wrong),
        keywords=(tuple(greeting.rstrip(",") for greeting in greetings), marked(reason), CLOSINGS),
        needed=3,
        max_words=60,
        curt_parts=(_requests((f"{name},", f"Look here, {name},"), CURT, request), reasons, signed),
    )


def _requests(greetings: tuple[str, ...], forms: tuple[str, ...], request: str) -> tuple[str, ...]:
    return tuple(f"{greeting} {form.format(request=plain(request))}" for greeting in greetings for form in forms)


FAMILIES = (howtos, advice, letters)
