"""The judge of replies: it must know what is well, and see everything that is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.asked import Answer, event
from tests.faults.judge import ended
from tests.faults.table import ANSWERED, CUT


def stream(*events: bytes) -> bytes:
    return b"".join(events)


def test_the_judge_knows_what_is_well() -> None:
    said = Answer("good")
    assert ended(200, False, said.whole()) == ANSWERED
    assert ended(200, True, stream(*said.events())) == ANSWERED
    assert ended(200, True, stream(b": waiting\n\n", *said.events())) == ANSWERED
    error = event(b'{"error":{"message":"m","type":"t","param":null,"code":null}}')
    assert ended(200, True, stream(*said.events()[:5], error)) == CUT
    assert ended(503, True, error[6:-2]) == "503"


BROKEN: dict[str, Callable[[list[bytes], list[bytes]], bytes]] = {
    "spliced": lambda one, other: stream(*one[:5], *other[5:]),
    "lost": lambda one, _: stream(*one[:5], *one[6:]),
    "twice": lambda one, _: stream(*one[:5], *one[4:]),
    "swapped": lambda one, _: stream(*one[:4], one[5], one[4], *one[6:]),
    "short": lambda one, _: stream(*one[:6], *one[-3:]),
    "no end": lambda one, _: stream(*one[:-1]),
    "half an event": lambda one, _: stream(*one)[:-1],
    "two ends": lambda one, _: stream(*one, one[-1]),
    "after the end": lambda one, _: stream(*one, one[3]),
    "an address": lambda one, _: stream(b": 127.0.0.1\n\n", *one),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_the_judge_sees_what_is_not(kind: str) -> None:
    one, other = Answer("good-1").events(), Answer("good-2").events()
    with pytest.raises(AssertionError):
        ended(200, True, BROKEN[kind](one, other))


def test_the_judge_wants_whole_words_in_whole_replies() -> None:
    said = Answer("good").whole()
    with pytest.raises(AssertionError):
        ended(200, False, said.replace(b"/5 ", b"/6 "))
    with pytest.raises((AssertionError, ValueError)):
        ended(200, False, said[:-10])
