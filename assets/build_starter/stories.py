"""Small stories, put together at random: who, where, what happened, how it ended.

Stories are the neutral category: nobody rates them, so a policy's loss on them tells what preference learning cost.
"""

from dataclasses import dataclass
from random import Random

from assets.build_starter.tasks import choices

ANIMALS = choices(
    "fox|bear|mouse|owl|hare|hedgehog|frog|goose|donkey|cat|dog|squirrel|badger|goat|otter|crow|lamb|beaver"
)
PEOPLE = choices(
    "girl:she|boy:he|baker:he|fisherman:he|queen:she|shepherd:he|grandmother:she|miller:he|sailor:he|teacher:she|"
    "tailor:he|gardener:she|king:he|postman:he|painter:she|clockmaker:he|nurse:she|farmer:he"
)
NAMES = choices("Mila|Otto|Pia|Hugo|Lina|Max|Frida|Emil|Tilda|Karl|Greta|Theo|Lotte|Nils|Elsa|Ivo|Juna|Rolf|Selma|Timo")
MOODS = choices("small|old|brave|lazy|kind|shy|clever|hungry|curious|quiet|proud|tired|cheerful|lonely|careful|young")
PLACES = choices(
    "forest|village|river|lake|hill|harbour|market|garden|meadow|bridge|mill|castle|orchard|beach|valley|barn|"
    "station|island|windmill|well"
)
THINGS = choices(
    "key|lamp|letter|coin|bell|boat|map|book|button|ring|basket|kite|drum|mirror|stone|feather|hat|clock|seed|bottle|"
    "ladder|spoon|flute|blanket|box"
)
LOOKS = choices("golden|old|tiny|broken|shiny|wooden|blue|strange|heavy|empty|red|dusty|silver|round|green")
TIMES = choices(
    "One morning|One evening|Long ago|Last winter|On a rainy day|In early spring|One summer night|Before sunrise|"
    "On a windy afternoon|After the harvest"
)
WEATHER = choices("rain|snow|wind|fog|thunder|sunshine")
FEELINGS = choices("happy|afraid|surprised|sad|angry|glad|worried|hopeful")

OPENINGS = (
    "{time} a {mood} {who} named {name} found a {look} {thing} near the {place}.",
    "{time} {name}, a {mood} {who}, moved to the {place}.",
    "{time} {name} the {who} walked to the {place} with a {look} {thing}.",
    "{name} was a {mood} {who} and loved the {place} more than anything.",
    "{time} a {who} called {name} lost a {look} {thing} at the {place}.",
    "There once was a {who} named {name} who wanted a {look} {thing}.",
)
EVENTS = (
    "Suddenly a {mood2} {animal} came from the {place2} and asked for the {thing}.",
    "{He} heard a noise behind the {place2} and felt {feeling}.",
    "Then came the {weather}, and {he} had to wait near the {place2}.",
    "A {animal} told {name} about a {look2} {thing2} under the {place2}.",
    "{He} looked everywhere, but there was only a {look2} {thing2}.",
    '"Who took my {thing2}?" cried a {animal} from the {place2}.',
    "On the way {he} met a {mood2} {animal} that carried a {thing2}.",
    "{He} opened a {look2} {thing2} and found a {thing3} inside.",
    "The {animal} was {feeling} and did not want to talk.",
    "For three days {name} waited at the {place2}, but nobody came.",
    '"Come with me to the {place2}," said the {animal}.',
    "{He} gave the {animal} some bread, and they shared the {thing2}.",
    "Nobody at the {place2} believed what {name} had seen.",
    "{He} turned towards the {place2} and saw a {look2} light.",
)
ENDINGS = (
    "In the end {he} gave the {thing} back and felt {feeling2}.",
    "From that day on {name} and the {animal} were friends.",
    "So {he} went home, tired but {feeling2}.",
    "The {thing} still lies in the {place3} today.",
    "{name} never told anyone, and the {animal} kept the secret too.",
    "They laughed about it until the {weather2} came back.",
    "At last {he} fell asleep beside the {place3}.",
    "And every {season} {he} thinks of the {look2} {thing2}.",
    "That is how the {who} got the {thing}.",
    "{He} sold the {thing} and bought a {thing3} for the {animal}.",
)
QUESTIONS = (
    "Tell me a short story about a {who}.",
    "Tell me a story about a {who} and a {thing}.",
    "Please write a little story about a {mood} {who}.",
    "I would like to hear a story that happens near the {place}.",
    "Make up a story about {name} the {who}.",
    "Tell the children a story about a {look} {thing}.",
)
CONTINUE = ("Continue this story: {opening}", "How does this story go on? {opening}", "Please go on: {opening}")


@dataclass(frozen=True)
class Story:
    """A request for a story and the story itself."""

    question: str
    text: str


def write_story(rng: Random) -> Story:
    """A story of three to five sentences, and a request that it answers."""
    slots = _slots(rng)
    opening = _fill(rng.choice(OPENINGS), slots)
    events = [_fill(event, slots) for event in rng.sample(EVENTS, rng.choice((1, 2, 2, 3)))]
    ending = _fill(rng.choice(ENDINGS), slots)
    if rng.random() < 0.5:
        return Story(rng.choice(CONTINUE).format(opening=opening), " ".join([*events, ending]))
    return Story(_fill(rng.choice(QUESTIONS), slots), " ".join([opening, *events, ending]))


def _slots(rng: Random) -> dict[str, str]:
    who = rng.choice(ANIMALS) if rng.random() < 0.5 else rng.choice(PEOPLE)
    who, _, pronoun = who.partition(":")
    pronoun = pronoun or rng.choice(("he", "she"))
    things, places, moods, looks = (rng.sample(words, 3) for words in (THINGS, PLACES, MOODS, LOOKS))
    return {
        "who": who,
        "he": pronoun,
        "He": pronoun.capitalize(),
        "name": rng.choice(NAMES),
        "animal": rng.choice([animal for animal in ANIMALS if animal != who]),
        "time": rng.choice(TIMES),
        "weather": rng.choice(WEATHER),
        "weather2": rng.choice(WEATHER),
        "feeling": rng.choice(FEELINGS),
        "feeling2": rng.choice(FEELINGS),
        "season": rng.choice(("spring", "summer", "autumn", "winter")),
        **{f"thing{number}": thing for number, thing in zip(("", 2, 3), things, strict=True)},
        **{f"place{number}": place for number, place in zip(("", 2, 3), places, strict=True)},
        **{f"mood{number}": mood for number, mood in zip(("", 2, 3), moods, strict=True)},
        **{f"look{number}": look for number, look in zip(("", 2, 3), looks, strict=True)},
    }


def _fill(template: str, slots: dict[str, str]) -> str:
    text = template.format(**slots)
    for vowel in "aeiou":
        text = text.replace(f" a {vowel}", f" an {vowel}").replace(f"A {vowel}", f"An {vowel}")
    return text
