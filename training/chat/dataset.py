"""Mixes the skills into conversations, and conversations into rows of tokens with a weight for each.

Everything follows from a seed: the same seed gives the same rows on every machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from training.chat import phrases, talk, tools
from training.chat.conversation import ANSWER_OPENING, Message, segments
from training.chat.source import Source
from training.chat.vocabulary import MARKERS, PADDING, encode, piece

# What the model does not write itself still teaches it to read, at little weight.
READING_WEIGHT = 0.03
# In a copying exercise only the repetition can be foreseen.
NOISE_WEIGHT = 0.02
# The first token of a value decides which one is copied, and the rest follows by itself.
CHOICE_WEIGHT = 4.0
# Short rows, so that one batch holds hundreds of sums.
DRILL_LENGTH = 120
# The context the model is made for; the few conversations beyond it are cut.
LONGEST_ROW = 2048

# How often each skill is drawn for a turn of a conversation without tools. Sums need the most practice.
TALK_SHARES = {"greeting": 3, "small talk": 2, "capital": 5, "sum": 11, "name": 2, "echo": 3, "unknown": 4}
# And between the tool turns of a conversation with tools.
ASIDE_SHARES = {"greeting": 3, "small talk": 1, "capital": 2, "sum": 2, "unknown": 2, "echo": 1}
# Where a name or a value begins: in a call, and in an answer from a tool's result.
_CALL_VALUE = re.compile(rb'": ?\{?"')
_TOLD_VALUE = re.compile("^| |\uff1a|\uff0c".encode())
# Words that ask for what a tool may give: not used as an aside next to tools.
_TOOL_WORDS = ("weather", "天气", "time", "几点", "cost", "多少钱", "buy")


# Tokens, and how much each counts when it is predicted; then many of both, of one length.
Row = tuple[list[int], list[float]]
Batch = tuple[list[list[int]], list[list[float]]]


@dataclass
class Conversation:
    """OpenAI messages, the tools offered with them, and whether calls are written without spaces."""

    messages: list[Message] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
    compact: bool = False


def draw_system(source: Source) -> list[Message]:
    draw = source.random.random()
    if draw < 0.35:
        return []
    if draw < 0.6:
        return [{"role": "system", "content": phrases.SYSTEMS[0]}]
    if draw < 0.92:
        return [{"role": "system", "content": source.one(phrases.SYSTEMS)}]
    words = " ".join(source.word() for _ in range(source.whole(2, 12)))
    return [{"role": "system", "content": f"You are {words}."}]


def _pick(source: Source, shares: dict[str, int]) -> str:
    return source.random.choices(list(shares), list(shares.values()))[0]


def talk_conversation(source: Source, turns: int, shares: dict[str, int] = TALK_SHARES) -> Conversation:
    """A conversation without tools, of so many draws of a skill."""
    conversation = Conversation(draw_system(source))
    language = source.one(("en", "en", "zh"))
    for _ in range(turns):
        if source.chance(0.08):
            language = source.one(phrases.LANGUAGES)
        skill = _pick(source, shares)
        said = [message["content"] for message in conversation.messages]
        named = any(content.startswith(("Nice to meet", "很高兴")) for content in said)
        if skill == "name" and (named or source.chance(0.1)):
            conversation.messages += talk.name_asked(source, language, conversation.messages)
        else:
            conversation.messages += talk.SKILLS[skill](source, language)
            if skill == "name" and source.chance(0.4):
                conversation.messages += talk.name_asked(source, language, conversation.messages)
    return conversation


def aside(source: Source, language: str) -> list[Message]:
    while True:
        turns = talk.SKILLS[_pick(source, ASIDE_SHARES)](source, language)
        if not any(word in turns[0]["content"] for word in _TOOL_WORDS):
            return turns


def tool_conversation(source: Source, turns: int) -> Conversation:
    """A conversation with tools offered: mostly used, sometimes not needed, sometimes of no help."""
    offered = tools.draw_tools(source)
    conversation = Conversation(draw_system(source), [tool.schema for tool in offered], source.chance(0.08))
    language = source.one(("en", "en", "zh"))
    for _ in range(turns):
        draw = source.random.random()
        if draw < 0.62:
            conversation.messages += tools.use(source, language, offered)
        elif draw < 0.84:
            conversation.messages += aside(source, language)
        else:
            conversation.messages += tools.refuse(source, language, offered)
    return conversation


def tokens_of(conversation: Conversation, choice_weight: float = 1.0) -> Row:
    """The conversation's tokens, and how much each counts when it is predicted.

    `choice_weight` is for the first token of each value in a call or in an answer from its result.
    """
    tokens: list[int] = []
    weights: list[float] = []
    told = False
    for text, written in segments(conversation.messages, conversation.tools, conversation.compact):
        pieces = encode(text)
        tokens += pieces
        if written:
            weights += _written_weights(text, pieces, told, conversation.compact, choice_weight)
        else:
            weights += [READING_WEIGHT] * len(pieces)
            told = "</tool_response>" in text or (told and text == ANSWER_OPENING)
    return tokens, weights


def _written_weights(
    text: str, pieces: list[int], told: bool, compact: bool, choice_weight: float
) -> list[float]:
    is_call = text.startswith("<tool_call>")
    opening = _CALL_VALUE if is_call else _TOLD_VALUE if told else None
    written = text.encode()
    chosen = {found.end() for found in opening.finditer(written)} if opening else set()
    weights, place = [], 0
    for token in pieces:
        # A grammar decides against the space in a compact call, never the model.
        is_forced = is_call and compact and written[:place].endswith((b":", b","))
        weights.append(0.0 if is_forced else choice_weight if place in chosen else 1.0)
        place += len(piece(token))
    return weights


def copying_exercise(source: Source) -> Row:
    """Random strings, then the same strings again in any order: teaches the first layers to look back."""
    tokens: list[int] = []
    weights: list[float] = []
    strings = []
    for _ in range(source.whole(2, 5)):
        plain, english, chinese = source.letters(3, 16), source.city("en"), source.city("zh")
        strings.append(source.one((plain, english, chinese, f"{source.word()}_{source.word()}")))
    for text in strings:
        pieces = encode(json.dumps(text, ensure_ascii=False))
        tokens += pieces
        weights += [NOISE_WEIGHT] * len(pieces)
    for _ in range(2):
        source.random.shuffle(strings)
        for text in strings:
            pieces = encode(json.dumps(text, ensure_ascii=False))
            tokens += pieces
            # The first token after the quotation mark says which string it is.
            weights += [NOISE_WEIGHT] * 2 + [1.0] * (len(pieces) - 2)
    return tokens, weights


def sum_drill(source: Source) -> Row:
    """Many sums in a row without a conversation around them; only their results count."""
    tokens: list[int] = []
    weights: list[float] = []
    while len(tokens) < DRILL_LENGTH:
        asked, result = talk.small_sum(source, "en")[1]["content"].split("= ")
        for text, weight in ((f"{asked}= ", NOISE_WEIGHT), (f"{result} ", 1.0)):
            pieces = encode(text)
            tokens += pieces
            weights += [weight] * len(pieces)
    return tokens, weights


@dataclass(frozen=True)
class Mix:
    """How often each kind of row is drawn, the skills of a conversation, and how many turns it may have."""

    copying: float
    drill: float
    tools: float
    talk_shares: dict[str, int]
    talk_turns: tuple[int, ...]
    tool_turns: tuple[int, ...]
    long: float
    choice_weight: float


# Rows, not tokens: a conversation with tools is twice as long as one without. First it learns to speak and to
# copy, then sums join in.
EARLY = Mix(0.25, 0.1, 0.25, TALK_SHARES, (1, 2, 3, 5), (1, 1, 2), 0.0, CHOICE_WEIGHT)
LATE = Mix(0.06, 0.26, 0.33, TALK_SHARES, (1, 2, 3, 5, 8), (1, 1, 1, 2, 3), 0.02, CHOICE_WEIGHT)


def _row(source: Source, mix: Mix) -> Row:
    draw = source.random.random()
    if draw < mix.copying:
        return copying_exercise(source)
    if draw < mix.copying + mix.drill:
        return sum_drill(source)
    if draw < 1 - mix.tools:
        conversation = talk_conversation(source, source.one(mix.talk_turns), mix.talk_shares)
        return tokens_of(conversation, mix.choice_weight)
    turns = source.one(mix.tool_turns)
    if mix.long and source.chance(mix.long):
        turns *= 5
    return tokens_of(tool_conversation(source, turns), mix.choice_weight)


def group(source: Source, mix: Mix, tokens_per_batch: int, batches: int) -> list[Batch]:
    """About so many batches; rows of like length share one, padded to its longest."""
    examples: list[Row] = []
    while sum(len(tokens) for tokens, _ in examples) < tokens_per_batch * batches:
        tokens, weights = _row(source, mix)
        examples.append((tokens[:LONGEST_ROW], weights[:LONGEST_ROW]))
    examples.sort(key=lambda example: len(example[0]))
    grouped: list[list[Row]] = [[]]
    for example in examples:
        # Sorted, so the newcomer is the longest of its batch.
        if (len(grouped[-1]) + 1) * len(example[0]) > tokens_per_batch and grouped[-1]:
            grouped.append([])
        grouped[-1].append(example)
    source.random.shuffle(grouped)
    return [_padded(members) for members in grouped]


def _padded(members: list[Row]) -> Batch:
    longest = max(len(tokens) for tokens, _ in members)
    every_token = [tokens + [MARKERS[PADDING]] * (longest - len(tokens)) for tokens, _ in members]
    return every_token, [weights + [0.0] * (longest - len(weights)) for _, weights in members]


def conversations(seed: int, held_out: bool = False) -> Iterator[Conversation]:
    """An endless mix of both kinds, as training sees it (or as scoring may)."""
    source = Source(seed, held_out)
    while True:
        if source.chance(0.5):
            yield talk_conversation(source, source.whole(1, 5))
        else:
            yield tool_conversation(source, source.whole(1, 3))
