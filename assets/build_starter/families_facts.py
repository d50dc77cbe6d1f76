"""Tasks with one right answer: capitals, animals, colours, jobs, numbers, the calendar, opposites, definitions, sums."""

from collections.abc import Iterator

from assets.build_starter.tasks import Task, fact, has_word, marked, others, plain, rows, upper_first, with_article
from assets.build_starter.words import DEFINITIONS, OPPOSITES
from assets.build_starter.world import ANIMALS, CAPITALS, COLOURS, DAYS, JOBS, MONTHS, QUANTITIES, SEASONS


def capitals() -> Iterator[Task]:
    """Which city is the capital of a country."""
    table = rows(CAPITALS)
    names = [row[1] for row in table]
    for index, (country, city, other, detail) in enumerate(table):
        yield fact(
            "capital",
            country,
            (
                f"What is the capital of {country}?",
                f"Which city is the capital of {country}?",
                f"Tell me the capital of {country}.",
                f"What is the name of the capital of {country}?",
                f"{upper_first(country)}: which city is the capital?",
                f"Do you know the capital of {country}?",
                f"I am looking for the capital of {country}.",
            ),
            city,
            (other, *others(names, index, f"{detail} {other} {country}", 1)),
            lambda name, country=country: (
                f"The capital of {country} is {name}.",
                f"{name} is the capital of {country}.",
                f"{upper_first(country)} has the capital {name}.",
                f"The city you mean is {name}, the capital of {country}.",
            ),
            detail,
        )


def animals() -> Iterator[Task]:
    """What an animal's young is called, where it lives and what it eats; each answer is completed by another fact."""
    table = rows(ANIMALS)
    columns = [[row[number] for row in table] for number in range(5)]
    for index, (animal, plural, young, home, food) in enumerate(table):
        a_one, many = with_article(animal), upper_first(plural)
        lives, eats = f"{many} live {home}.", f"{many} eat {food}."
        yield fact(
            "animal",
            animal,
            (
                f"What do you call a young {animal}?",
                f"What is a baby {animal} called?",
                f"Tell me the word for a young {animal}.",
                f"How do people call the young of {a_one}?",
            ),
            young,
            others(columns[2], index, f"{animal} {young} {plain(lives)}"),
            lambda name, animal=animal, a_one=a_one: (
                f"A young {animal} is called {with_article(name)}.",
                f"The young of {a_one} is called {with_article(name)}.",
                f"People call a young {animal} {with_article(name)}.",
            ),
            lives,
        )
        yield fact(
            "animal",
            animal,
            (
                f"Where do {plural} live?",
                f"Where does {a_one} live?",
                f"Tell me where {plural} live.",
                f"In what kind of place can I find {plural}?",
            ),
            home,
            others(columns[3], index, f"{home} {eats}"),
            lambda place, many=many, a_one=a_one: (f"{many} live {place}.", f"You can find {a_one} {place}."),
            eats,
        )
        yield fact(
            "animal",
            animal,
            (
                f"What do {plural} eat?",
                f"What does {a_one} eat?",
                f"Tell me what {plural} eat.",
                f"What is the food of {plural}?",
            ),
            food,
            others(columns[4], index, f"{food} {lives}"),
            lambda meal, many=many, plural=plural: (f"{many} eat {meal}.", f"The food of {plural} is {meal}."),
            lives,
        )


def colours() -> Iterator[Task]:
    """What colour a thing has."""
    for thing, colour, wrong, detail in rows(COLOURS):
        yield fact(
            "colour",
            thing,
            (
                f"What colour is {thing}?",
                f"Which colour does {thing} have?",
                f"Tell me the colour of {thing}.",
                f"I want to paint {thing}. Which colour do I need?",
            ),
            colour,
            (wrong,),
            lambda name, thing=thing: (f"{upper_first(thing)} is {name}.", f"The colour of {thing} is {name}."),
            detail,
        )


def jobs() -> Iterator[Task]:
    """Who does a job."""
    for work, person, wrong, detail in rows(JOBS):
        yield fact(
            "job",
            person,
            (
                f"Who {work}?",
                f"What do you call someone who {work}?",
                f"What is the job of a person who {work}?",
                f"I need the word for someone who {work}.",
            ),
            person,
            (wrong,),
            lambda name, work=work: (
                f"{upper_first(with_article(name))} {work}.",
                f"A person who {work} is {with_article(name)}.",
                f"Someone who {work} is called {with_article(name)}.",
            ),
            detail,
        )


def quantities() -> Iterator[Task]:
    """How many there are of something."""
    for question, answer, wrong, detail in rows(QUANTITIES):
        number = marked(answer)[0]
        asked = question[:1].lower() + question[1:]
        yield fact(
            "quantity",
            question,
            (question, f"Tell me this: {asked}", f"My child wants to know: {asked}", f"I wonder: {asked}"),
            number,
            (wrong,),
            lambda name, answer=answer, number=number: (answer.replace(f"[{number}]", name),),
            detail,
        )


def calendar() -> Iterator[Task]:
    """What comes before and after, and how long it lasts."""
    names = [month for month, _ in rows(MONTHS)]
    for index, (month, length) in enumerate(rows(MONTHS)):
        after = names[(index + 1) % 12]
        yield _next_one("month", month, after, names[index - 1], f"{month} has [{length}] days.")
        wrong = "31" if length != "31" else "30"
        yield fact(
            "calendar",
            month,
            (f"How many days does {month} have?", f"How long is {month}?", f"Tell me the number of days in {month}."),
            length,
            (wrong,),
            lambda number, month=month: (f"{month} has {number} days.", f"There are {number} days in {month}."),
            f"The next month is [{after}].",
        )
    for index, day in enumerate(DAYS):
        kind = "part of the [weekend]" if index > 4 else "a [working] day for many people"
        yield _next_one("day", day, DAYS[(index + 1) % 7], DAYS[index - 1], f"{day} is {kind}.")
    for season, before, after, weather in rows(SEASONS):
        yield _next_one("season", season, after, before, f"In {season} {weather[0].lower()}{weather[1:]}")


def _next_one(kind: str, name: str, after: str, before: str, detail: str) -> Task:
    return fact(
        "calendar",
        name,
        (
            f"Which {kind} comes after {name}?",
            f"What comes after {name}?",
            f"Which {kind} follows {name}?",
            f"It is {name}. Which {kind} is next?",
        ),
        after,
        (before,),
        lambda answer: (f"After {name} comes {answer}.", f"The {kind} after {name} is {answer}."),
        detail,
    )


def opposites() -> Iterator[Task]:
    """The opposite of a word, in both directions."""
    table = rows(OPPOSITES)
    for index, (first, second, example) in enumerate(table):
        for word, answer, column in ((first, second, 1), (second, first, 0)):
            yield fact(
                "opposite",
                first,
                (
                    f"What is the opposite of {word}?",
                    f"Which word is the opposite of {word}?",
                    f"Tell me the opposite of {word}.",
                    f"I need a word that means the opposite of {word}.",
                ),
                answer,
                others([row[column] for row in table], index, example),
                lambda name, word=word: (
                    f"The opposite of {word} is {name}.",
                    f"{upper_first(name)} is the opposite of {word}.",
                ),
                example,
                ("For example:", "", "Here is an example:"),
            )


def definitions() -> Iterator[Task]:
    """What a word means."""
    table = rows(DEFINITIONS)
    for index, (noun, meaning, detail) in enumerate(table):
        word = noun.split(" ", 1)[-1]
        yield fact(
            "definition",
            word,
            (
                f"What is {noun}?",
                f"What does the word {word} mean?",
                f"Explain the word {word}.",
                f"Can you tell me what {noun} is?",
            ),
            meaning,
            others([row[1] for row in table], index, f"{meaning} {plain(detail)}"),
            lambda text, noun=noun, word=word: (
                f"{upper_first(noun)} is {text}.",
                f"The word {word} means {text}.",
            ),
            detail,
        )


def sums() -> Iterator[Task]:
    """Small sums and differences; a complete answer shows how to check it."""
    for first in range(1, 11):
        for second in range(first, 11):
            yield _sum(first, second)
    for first in range(3, 13):
        for second in range(1, min(first, 6)):
            yield _difference(first, second)


def _wrong_numbers(result: int, *given: int) -> tuple[str, ...]:
    near = [number for number in (result + 1, result - 1, result + 2) if number not in given and number > 0]
    far = [number for number in range(31) if number not in (result, *given, *near)]
    return tuple(str(number) for number in near + far)


def _sum(first: int, second: int) -> Task:
    total = first + second
    return _calculation(
        f"{first} plus {second}",
        (
            f"How much is {first} and {second}?",
            f"Add {first} and {second}.",
            f"What is the sum of {first} and {second}?",
        ),
        (f"The sum of {first} and {second} is", f"If you add {first} and {second}, you get"),
        total,
        _wrong_numbers(total, first, second),
        f"To check, [take {second} away from {total}] and you get {first}.",
    )


def _difference(first: int, second: int) -> Task:
    rest = first - second
    return _calculation(
        f"{first} minus {second}",
        (
            f"How much is {first} less {second}?",
            f"Take {second} away from {first}.",
            f"Subtract {second} from {first}.",
        ),
        (f"If you take {second} away from {first}, you get", f"{first} less {second} is"),
        rest,
        _wrong_numbers(rest, first, second),
        f"To check, [add {second} to {rest}] and you get {first}.",
    )


def _calculation(
    term: str, questions: tuple[str, ...], says: tuple[str, ...], result: int, wrong: tuple[str, ...], detail: str
) -> Task:
    mistakes = tuple(number for number in wrong if not has_word(plain(detail), number))
    task = fact(
        "sum",
        term,
        (f"What is {term}?", f"Can you work out {term}?", *questions),
        str(result),
        mistakes[:3],
        lambda number: (f"{term} is {number}.", f"{term} makes {number}.", *(f"{say} {number}." for say in says)),
        detail,
    )
    return Task(**{**task.__dict__, "mistakes": mistakes})


FAMILIES = (capitals, animals, colours, jobs, quantities, calendar, opposites, definitions, sums)
