"""The skills that need no tools: each draws one or more turns, a question and its one right answer.

A turn is a list of OpenAI messages. Nothing here knows about tokens.
"""

from __future__ import annotations

from collections.abc import Callable

from training.chat import phrases
from training.chat.conversation import Message
from training.chat.source import Source

Turns = list[Message]

SIGNS = {"+": "plus", "-": "minus"}

# What an echo is made of besides made-up words and places.
SMALL_WORDS = [
    "this", "is", "a", "test", "the", "quick", "brown", "fox", "it", "was", "my", "new", "day", "of", "we",
    "will", "see", "you", "here",
]  # fmt: skip
SMALL_CHARACTERS = "我你他的是不了在有人这大来上个到说"

# The fullwidth marks of Chinese text and what people type instead of them.
_PLAIN_MARKS = str.maketrans({"\uff0c": ",", "\uff01": "!", "\uff1f": "?", "\uff1a": ":"})


def vary(source: Source, text: str) -> str:
    """The same question as other people type it."""
    if source.chance(0.12):
        text = text.rstrip("?!.\uff01\uff1f\u3002 ") or text
    if source.chance(0.15):
        text = text.translate(_PLAIN_MARKS)
    return text


def exchange(question: str, answer: str) -> Turns:
    """One user turn and its reply."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def small_talk(source: Source, language: str, kinds: tuple[int, ...] = (0, 0, 1, 1, 2, 3, 4)) -> Turns:
    """Greetings, what it is, how it is, thanks and goodbye: the places in phrases.toml."""
    talk = phrases.SMALL_TALK[language][source.one(kinds)]
    return exchange(vary(source, source.one(talk["questions"])), talk["answer"])


def greeting(source: Source, language: str) -> Turns:
    """Hello, and who are you."""
    return small_talk(source, language, (0, 0, 1))


def _country(source: Source, language: str) -> tuple[str, str]:
    country, capital, country_zh, capital_zh = source.one(phrases.CAPITALS)
    if language == "zh":
        return country_zh, capital_zh
    if country in phrases.COUNTRY_SPELLINGS and source.chance(0.4):
        country = source.one(phrases.COUNTRY_SPELLINGS[country])
    return country, capital


def capital(source: Source, language: str) -> Turns:
    """The capital of a country, and sometimes of one more; a wording with a country is one item."""
    templates = phrases.QUESTIONS["capital"][language]

    def draw() -> tuple[str, tuple[str, str]]:
        return source.one(templates), _country(source, language)

    template, (country, city) = source.own("capital", draw)
    question = template.format(country)
    if language == "en" and source.chance(0.08):
        question = question.lower()
    answer = phrases.ANSWERS["capital"][language]
    turns = exchange(vary(source, question), answer.format(country, city))
    if source.chance(0.25):
        country, city = _country(source, language)
        follow_up = source.one(phrases.QUESTIONS["follow_up_capital"][language])
        turns += exchange(follow_up.format(country), answer.format(country, city))
    return turns


def small_sum(source: Source, language: str) -> Turns:
    """Adds or subtracts numbers up to two digits; a pair with its sign is one item."""

    def draw() -> tuple[int, str, int]:
        high = source.one((9, 20, 99, 99, 99))
        return source.whole(0, high), source.one("+-"), source.whole(0, source.one((high, 9)))

    first, sign, second = source.own("sum", draw)
    question = source.one(phrases.QUESTIONS[SIGNS[sign]][language]).format(a=first, b=second)
    result = first + second if sign == "+" else first - second
    stop = "." if language == "en" or not any(ord(letter) > 127 for letter in question) else "\u3002"
    return exchange(vary(source, question), f"{first} {sign} {second} = {result}{stop}")


def name_given(source: Source, language: str) -> Turns:
    """The user says a name; later turns may ask for it."""
    name = source.person(language)
    said = source.one(phrases.QUESTIONS["name_given"][language]).format(name)
    return exchange(vary(source, said), phrases.ANSWERS["name_taken"][language].format(name))


def name_asked(source: Source, language: str, earlier: Turns) -> Turns:
    """Asks for the name given earlier in the conversation, or for one never given."""
    question = vary(source, source.one(phrases.QUESTIONS["name_asked"][language]))
    for message in earlier:
        for tongue in phrases.LANGUAGES:
            opening, closing = phrases.ANSWERS["name_taken"][tongue].split("{}")
            content = message.get("content") or ""
            if message["role"] == "assistant" and content.startswith(opening) and content.endswith(closing):
                name = content[len(opening) : len(content) - len(closing)]
                return exchange(question, phrases.ANSWERS["name_known"][language].format(name))
    return exchange(question, phrases.ANSWERS["name_missing"][language])


def echo(source: Source, language: str) -> Turns:
    """Say this, word for word."""

    def draw() -> str:
        if language == "zh":
            alphabets = (phrases.PLACE_CHARACTERS, SMALL_CHARACTERS)
            return "".join(source.one(source.one(alphabets)) for _ in range(source.whole(2, 8)))
        if source.chance(0.25):
            return source.letters(3, 14)
        words = (source.one((source.one(SMALL_WORDS), source.word())) for _ in range(source.whole(1, 5)))
        return " ".join(words)

    # The sentence that samples in the wild ask for.
    if language == "en" and not source.held_out and source.chance(0.06):
        text = "this is a test"
    else:
        text = source.own("echo", draw)
    return exchange(source.one(phrases.QUESTIONS["echo"][language]).format(text), text)


def unknown(source: Source, language: str) -> Turns:
    """A question outside what it knows; an opening with a subject is one item."""

    def draw() -> str:
        if source.chance(0.25):
            subject = source.word() if language == "en" else source.city("zh")
        else:
            subject = source.one(phrases.QUESTIONS["unknown_subject"][language])
        return source.one(phrases.QUESTIONS["unknown_opening"][language]).format(subject)

    if source.chance(0.15) and not source.held_out:
        question = source.one(phrases.QUESTIONS["unknown_whole"][language])
    elif source.chance(0.12):
        country = source.word().capitalize() if language == "en" else source.city("zh")
        question = source.one(phrases.QUESTIONS["capital"][language]).format(country)
    elif source.chance(0.1):
        sign, high = source.one((("+", 9999), ("-", 9999), ("*", 99), ("times", 99), ("/", 99)))
        low = 100 if high > 99 else 2
        first, second = source.whole(low, high), source.whole(low, high)
        template = source.one(("What is {} {} {}?", "{} {} {}", "Calculate {} {} {}"))
        question = template.format(first, sign, second)
        return exchange(question, phrases.ANSWERS["unknown"]["en"])
    else:
        question = source.own("unknown", draw)
    return exchange(vary(source, question), phrases.ANSWERS["unknown"][language])


SKILLS: dict[str, Callable[[Source, str], Turns]] = {
    "greeting": greeting,
    "small talk": small_talk,
    "capital": capital,
    "sum": small_sum,
    "name": name_given,
    "echo": echo,
    "unknown": unknown,
}
