"""The generated data: the same from one seed, well-formed, and with the held-out side kept apart."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from typing import Any

import pytest

from training import score
from training.chat import dataset, phrases, talk, tools, vocabulary
from training.chat.conversation import Message, prompt, segments
from training.chat.source import Source, is_held_out
from training.chat.vocabulary import MARKERS, TURN_END, VOCABULARY, encode, piece

SOME = 300
SUM = re.compile(r"(\d+) ([+-]) (\d+) = (-?\d+)[.。]")


def some(seed: int = 1, *, held_out: bool = False) -> list[dataset.Conversation]:
    return list(itertools.islice(dataset.conversations(seed, held_out), SOME))


def replies(conversations: Iterable[dataset.Conversation]) -> list[dict[str, Any]]:
    return [m for each in conversations for m in each.messages if m["role"] == "assistant"]


def test_a_seed_decides_everything() -> None:
    assert some(seed=5) == some(seed=5)
    assert some(seed=5) != some(seed=6)
    assert dataset.group(Source(5), dataset.LATE, 4096, 4) == dataset.group(Source(5), dataset.LATE, 4096, 4)
    assert score.held_out_items(5) == score.held_out_items(5)


def test_turns_alternate_and_end_with_the_model() -> None:
    for conversation in some():
        roles = [message["role"] for message in conversation.messages]
        if roles[0] == "system":
            roles.pop(0)
        assert roles[0] == "user"
        assert roles[-1] == "assistant"
        for before, after in itertools.pairwise(roles):
            # A tool's result answers a call or stands beside another; the user and the model take turns.
            expected = {"user": "assistant", "assistant": "user tool", "tool": "tool assistant"}[before]
            assert after in expected.split()


def test_every_sum_is_right() -> None:
    sums = [found.groups() for each in replies(some()) if (found := SUM.fullmatch(each["content"] or ""))]
    assert len(sums) > 50
    for first, sign, second, result in sums:
        assert int(result) == int(first) + int(second) * (1 if sign == "+" else -1)


def test_capitals_are_as_in_the_table() -> None:
    known = set()
    for country, city, country_zh, city_zh in phrases.CAPITALS:
        known.add(phrases.ANSWERS["capital"]["zh"].format(country_zh, city_zh))
        for spelling in (country, *phrases.COUNTRY_SPELLINGS.get(country, ())):
            known.add(phrases.ANSWERS["capital"]["en"].format(spelling, city))
    source = Source(3)
    for language in phrases.LANGUAGES * 100:
        assert {message["content"] for message in talk.capital(source, language)[1::2]} <= known


def test_calls_use_an_offered_tool_with_its_own_parameters_and_a_value_from_the_question() -> None:
    count = 0
    for conversation in some():
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in conversation.tools}
        question = ""
        for message in conversation.messages:
            if message["role"] == "user":
                question = message["content"]
            for call in message.get("tool_calls") or ():
                arguments = json.loads(call["function"]["arguments"])
                schema = schemas[call["function"]["name"]]
                assert set(schema.get("required", ())) <= set(arguments) <= set(schema["properties"])
                for name, value in arguments.items():
                    assert value in schema["properties"][name].get("enum", [value])
                    assert value in question.lower() + question or "enum" in schema["properties"][name]
                count += 1
    assert count > 100


def test_held_out_values_are_never_trained_on() -> None:
    for conversation in some(seed=2):
        for message in replies([conversation]):
            if found := SUM.fullmatch(message["content"] or ""):
                first, sign, second, _ = found.groups()
                assert not is_held_out("sum", (int(first), sign, int(second)))
    source = Source(2, held_out=True)
    for language in phrases.LANGUAGES * 50:
        assert is_held_out("city", source.city(language))
        assert is_held_out("person", source.person(language))
        assert is_held_out("function", tools.draw_tool(source, "weather").name)


def test_only_what_the_model_writes_counts_fully() -> None:
    for conversation in some()[:100]:
        tokens, weights = dataset.tokens_of(conversation)
        assert len(tokens) == len(weights)
        assert all(0 <= token < VOCABULARY for token in tokens)
        written = [token for token, weight in zip(tokens, weights, strict=True) if weight >= 1.0]
        pieces = [text for text, own in segments(conversation.messages, conversation.tools) if own]
        if not conversation.compact:
            assert written == [token for text in pieces for token in encode(text)]
        # The end of each turn is always learned: a reply must come to its end.
        assert written.count(MARKERS[TURN_END]) == len(pieces)


def one_call(arguments: str, *, compact: bool) -> dataset.Conversation:
    call = {"function": {"name": "f", "arguments": arguments}}
    messages: list[Message] = [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [call]}]
    return dataset.Conversation(messages, compact=compact)


def weights_of(text: str, row: dataset.Row) -> dict[str, float]:
    """What each token of the text counts, at the one place where it stands in the row."""
    tokens, weights = row
    wanted = encode(text)
    start = next(at for at in range(len(tokens)) if tokens[at : at + len(wanted)] == wanted)
    written = [piece(token).decode() for token in wanted]
    return dict(zip(written, weights[start : start + len(wanted)], strict=True))


def test_compact_calls_are_not_taught_to_drop_their_spaces() -> None:
    tokens, weights = dataset.tokens_of(one_call('{"a": 1, "b": 2}', compact=True))
    text = encode('"arguments":{"a":1,"b":2')
    start = next(at for at in range(len(tokens)) if tokens[at : at + len(text)] == text)
    for place, before in enumerate(text, start + 1):
        assert (weights[place] == 0.0) == piece(before).endswith((b":", b","))


@pytest.mark.parametrize("compact", [False, True])
def test_the_first_letter_of_a_value_counts_as_told(compact: bool) -> None:
    row = dataset.tokens_of(one_call('{"place": "X7Y"}', compact=compact), choice_weight=8.0)
    assert weights_of("X7Y", row) == {"X": 8.0, "7": 1.0, "Y": 1.0}
    answer: Message = {"role": "assistant", "content": "in U8V"}
    asked: list[Message] = [{"role": "user", "content": "?"}, answer]
    told: list[Message] = [
        *one_call("{}", compact=compact).messages,
        {"role": "tool", "content": "1"},
        answer,
    ]
    for messages, first in ((asked, 1.0), (told, 8.0)):
        row = dataset.tokens_of(dataset.Conversation(messages, compact=compact), choice_weight=8.0)
        assert weights_of("U8V", row) == {"U": first, "8": 1.0, "V": 1.0}


@pytest.mark.parametrize("mix", [dataset.EARLY, dataset.LATE])
def test_batches_are_rectangles_within_their_budget(mix: dataset.Mix) -> None:
    batches = dataset.group(Source(4), mix, 4096, 8)
    assert len(batches) >= 8
    for tokens, weights in batches:
        lengths = {len(row) for row in tokens} | {len(row) for row in weights}
        assert len(lengths) == 1
        assert len(tokens) == 1 or len(tokens) * lengths.pop() <= 4096


def test_the_prompt_ends_where_the_model_begins() -> None:
    assert prompt([{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]) == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
    )
    assert encode("<|im_start|>é") == [MARKERS["<|im_start|>"], 0xC3, 0xA9]


def test_a_word_has_the_same_tokens_after_a_space_and_in_quotation_marks() -> None:
    source = Source(8)
    for language in phrases.LANGUAGES * 200:
        for word in source.city(language).split():
            wanted = encode(word)
            for text in (f"in {word}?", f'{{"city": "{word}"}}', f'{{"city":"{word}"}}'):
                tokens = encode(text)
                assert any(tokens[at : at + len(wanted)] == wanted for at in range(len(tokens)))


def test_tokens_spell_their_text() -> None:
    for conversation in some()[:100]:
        text = prompt(conversation.messages, conversation.tools)
        assert b"".join(map(piece, encode(text))).decode() == text


def test_merges_are_what_the_texts_give() -> None:
    assert vocabulary.learn(["a word, a word"] * 20)[:2] == [(b"o", b"r"), (b"or", b"d")]
    # Neither over a space, nor between digits, nor between two characters.
    assert not [pair for pair in vocabulary.learn(["12 \u4f60\u597d"] * 20) if len(b"".join(pair)) > 3]
    assert max(len(found) for found in vocabulary.PIECES) > 6


def test_some_calls_are_made_one_at_a_time_and_some_together() -> None:
    for count in (1, 2):
        source = Source(9)
        turns = tools.use(source, "en", [tools.draw_tool(source, "weather")], count)
        assert len(turns[1]["tool_calls"]) == count
