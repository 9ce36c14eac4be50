"""Reads a reply and says how its request ended; raises AssertionError for what must never happen.

A stream spliced of two answers, a word lost or twice, a success that is none, an error without its shape.
"""

from __future__ import annotations

import json
import re

from tests.faults.asked import WORDS
from tests.faults.table import ANSWERED, CUT

_WORD = re.compile(r"([\w.-]+\.\d+)/(\d+) ")

SECRETS = (b"10.0.0.5", b"Traceback", b"127.0.0.1")
"""What upstreams said of themselves, and where they are: no client is to see it."""


def ended(status: int, stream: bool, body: bytes) -> str:
    """How the request ended: `answered`, `cut`, or the error's status."""
    for secret in SECRETS:
        assert secret not in body, f"{secret!r} in {body[:500]!r}"
    if status != 200:
        error = json.loads(body)["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        return str(status)
    return _stream(body) if stream else _whole(body)


def _whole(body: bytes) -> str:
    (choice,) = json.loads(body)["choices"]
    _all_words(choice["message"]["content"])
    return ANSWERED


def _stream(body: bytes) -> str:
    text, reasons, done, error = "", [], False, False
    lines = body.decode().replace("\r\n", "\n")  # an upstream's own line ends pass
    for event in lines.split("\n\n")[:-1]:
        assert not done, "something after [DONE]"
        assert not error, "something after the error"
        if event.startswith(":"):
            continue
        assert event.startswith("data: "), event
        if event == "data: [DONE]":
            done = True
            continue
        data = json.loads(event[6:])
        error = "error" in data
        for choice in data.get("choices", ()):
            text += choice["delta"].get("content") or ""
            reasons += [choice["finish_reason"]] if choice.get("finish_reason") else []
    assert lines.endswith("\n\n"), "half an event at the end"
    if error:
        assert not done, "[DONE] after an error"
        _words(text)
        return CUT if text else "error event"
    assert done, "neither [DONE] nor an error at the end"
    assert reasons == ["stop"], reasons
    _all_words(text)
    return ANSWERED


def _all_words(text: str) -> None:
    assert len(_words(text)) == WORDS, f"words are missing: {text!r}"


def _words(text: str) -> list[int]:
    """The places of an answer's words, which must be the first ones of one reply, in order."""
    found = _WORD.findall(text)
    assert "".join(f"{reply}/{place} " for reply, place in found) == text, f"not whole words: {text!r}"
    assert len({reply for reply, _ in found}) <= 1, f"words of several replies: {text!r}"
    places = [int(place) for _, place in found]
    assert places == list(range(len(places))), f"words out of order: {text!r}"
    return places
