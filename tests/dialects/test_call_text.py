"""Calls read out of a model's text: the same whatever the sizes in which the text arrives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.dialects.call_text import Arguments, Call, FreeCalls, GrammarCalls, Text

Reader = GrammarCalls | FreeCalls
Told = list[tuple[str, str]]
"""("text", words) or (name, arguments), in order."""

WORDS = st.text(alphabet='<>tool_call/{}"\\: \nab你', max_size=30)
JSON = st.recursive(
    st.none() | st.integers() | st.text(alphabet='<>/tool_call"\\{}[] \n你', max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
CALLS = st.tuples(
    st.sampled_from(["f", "get_it", 'q"x']), st.dictionaries(st.text(max_size=4), JSON, max_size=3)
)


def told(reader: Reader, texts: Iterable[str]) -> Told:
    result: Told = []
    pieces = [piece for text in texts for piece in reader.feed(text)] + reader.end()
    for piece in pieces:
        match piece:
            case Text(text):
                if result and result[-1][0] == "text":
                    result[-1] = ("text", result[-1][1] + text)
                else:
                    result.append(("text", text))
            case Call(name):
                result.append((name, ""))
            case Arguments(text):
                result[-1] = (result[-1][0], result[-1][1] + text)
    return result


def cut(text: str, places: list[int]) -> list[str]:
    """The text in pieces."""
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[one:other] for one, other in pairwise(edges)]


def written(name: str, arguments: object, blank: str = " ", end: str = "\n") -> str:
    name_text, value = json.dumps(name), json.dumps(arguments, ensure_ascii=False)
    return f'<tool_call>{end}{{"name":{blank}{name_text},{blank}"arguments":{blank}{value}}}{end}</tool_call>'


PLACES = st.lists(st.integers(0, 10_000), max_size=12)


@given(
    st.lists(CALLS, min_size=1, max_size=3), PLACES, st.sampled_from(["", " "]), st.sampled_from(["", "\n"])
)
def test_what_a_grammar_wrote(
    calls: list[tuple[str, object]], places: list[int], blank: str, end: str
) -> None:
    text = "\n".join(written(name, arguments, blank, end) for name, arguments in calls)
    result = told(GrammarCalls(), cut(text, places))
    assert [name for name, _ in result] == [name for name, _ in calls]
    assert [json.loads(arguments) for _, arguments in result] == [arguments for _, arguments in calls]


def test_arguments_are_handed_on_as_they_come() -> None:
    reader = GrammarCalls()
    assert reader.feed('<tool_call>{"name":"f"') == []
    assert reader.feed(', "arguments": {"a') == [Call("f"), Arguments('{"a')]
    assert reader.feed('": "}') == [Arguments('": "}')]
    assert reader.feed("\\") == []
    assert reader.feed('" x') == [Arguments('\\" x')]
    assert reader.feed('"}') == [Arguments('"}')]
    assert reader.feed("}</tool_call>") == []


@pytest.mark.parametrize("length", range(1, 60))
def test_a_call_that_was_cut_off(length: int) -> None:
    text = written("f", {"a": "b"}, end="")[:length]
    result = told(GrammarCalls(), [text])
    beginnings = ['{"a": "b"}'[:size] for size in range(11)]
    assert result in ([], *[[("f", beginning)] for beginning in beginnings])


def test_thoughts_before_a_forced_call_are_no_words() -> None:
    assert told(GrammarCalls(), ["<think>\nhm <tool\n</think>", written("f", {})]) == [("f", "{}")]


def test_a_header_without_end_does_not_grow() -> None:
    reader = GrammarCalls()
    for _ in range(100):
        assert reader.feed("<tool_call>" + "x" * 1000) == []
    assert told(reader, [written("f", {})]) == [("f", "{}")]


def free(many: bool = True) -> FreeCalls:
    return FreeCalls({"f", "g"}, many=many)


ODD = '<tool_call>{"name": "f", "arguments": 5}</tool_call>'


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("Hello.", [("text", "Hello.")]),
        ("Hello.\n", [("text", "Hello.\n")]),
        ("\n", [("text", "\n")]),
        ("", []),
        ('<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>', [("f", '{"a":1}')]),
        ('<tool_call>\n{"arguments": {}, "name": "f"}\n</tool_call>\n', [("f", "{}")]),
        ('<tool_call>{"name": "f"}</tool_call>', [("f", "{}")]),
        ('<tool_call>{"name": "f", "parameters": {"a": 1}}</tool_call>', [("f", '{"a":1}')]),
        # Some models end a call by ending.
        ('<tool_call>{"name": "f", "arguments": {}}', [("f", "{}")]),
        ('Let me see.\n\n<tool_call>{"name": "f"}</tool_call>', [("text", "Let me see."), ("f", "{}")]),
        (
            '<tool_call>{"name": "f"}</tool_call>\n<tool_call>{"name": "g"}</tool_call>',
            [("f", "{}"), ("g", "{}")],
        ),
        ('<tool_call>{"name": "f"}</tool_call> Done.', [("f", "{}"), ("text", " Done.")]),
        # Not offered, not JSON, not an object: words.
        ('<tool_call>{"name": "h"}</tool_call>', [("text", '<tool_call>{"name": "h"}</tool_call>')]),
        ("<tool_call>{f}</tool_call>", [("text", "<tool_call>{f}</tool_call>")]),
        ('<tool_call>{"name": "f", "arguments": 5}</tool_call>', [("text", ODD)]),
        ("<tool_call>", [("text", "<tool_call>")]),
        ("a <tool_cal", [("text", "a <tool_cal")]),
        ("a <tool_cal l", [("text", "a <tool_cal l")]),
        ("</tool_call>", [("text", "</tool_call>")]),
    ],
)
def test_free_text(text: str, result: Told) -> None:
    assert told(free(), [text]) == result
    assert told(free(), list(text)) == result


def test_only_the_first_call_where_one_is_wanted() -> None:
    text = '<tool_call>{"name": "f"}</tool_call><tool_call>{"name": "g"}</tool_call>'
    assert told(free(many=False), [text]) == [("f", "{}")]


@given(st.lists(WORDS | CALLS.map(lambda call: written(*call)), max_size=4).map("".join), PLACES)
def test_any_cut_is_the_same(text: str, places: list[int]) -> None:
    makers: list[Callable[[], Reader]] = [GrammarCalls, free]
    for make in makers:
        assert told(make(), cut(text, places)) == told(make(), [text])


@given(WORDS, PLACES)
def test_free_text_without_a_call_is_kept_letter_by_letter(text: str, places: list[int]) -> None:
    result = told(free(), cut(text, places))
    assert "".join(words for _, words in result) == text
