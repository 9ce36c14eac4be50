"""One line for each request, as JSON or for people. Pure: what happened in, bytes out.

Must not hold a prompt, an answer, a key or an error's words, for those may quote what was asked.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from headgate.core.errors import ApiError
from headgate.core.observer import Passage
from headgate.core.usage import Source

_SOURCES = {Source.REPORTED: "reported", Source.ESTIMATED: "estimated", Source.PARTIAL: "partial"}

CLIENT_GONE = "client_gone"
REJECTED = "rejected"
"""The gate itself said no; nothing was sent upstream."""

PATH_CHARACTERS = 200
"""Of a path: ours are shorter, and a stranger's is nobody's business beyond that."""

# A field's path in our own words. What a client made up (a key of its own) is not repeated.
_PLAIN_PARAM = re.compile(r"[a-z_]+(?:\[\d+\]|\.[a-z_]+)*")


class Line(msgspec.Struct, omit_defaults=True, gc=False):
    """What is said of one request. Fields are left out where there is nothing to say."""

    time: float
    """Unix time of its end; as RFC 3339 when it is written."""
    request_id: str
    method: str
    path: str
    """Without its query, where some clients put keys."""
    status: int
    """0 when the client left before it was answered."""
    outcome: str
    """`ok`, `refused`, `failed` or `client_gone`."""
    duration_ms: float
    client: str = ""
    key_id: str = ""
    key_name: str = ""
    endpoint: str = ""
    model: str = ""
    target: str = ""
    stream: bool = False
    attempts: int = 0
    error: str = ""
    """Class of the error in our tree, in words with underscores."""
    code: str = ""
    param: str = ""
    first_token_ms: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    usage: str = ""
    """Where the tokens are from: `reported`, `estimated`, `partial`."""
    trace_id: str = ""


class Story(NamedTuple):
    """A finished request, as it was when it ended; a thread makes a line of it."""

    time_s: float
    """Unix time of the end."""
    request_id: str
    method: bytes
    target: bytes
    status: int
    seconds: float
    client: str
    started_s: float
    gone: bool
    failure: ApiError | None
    passage: Passage | None


def told(story: Story) -> Line:
    """The line for a finished request."""
    line = Line(
        story.time_s,
        story.request_id,
        story.method.decode("latin-1"),
        story.target.partition(b"?")[0][:PATH_CHARACTERS].decode("latin-1"),
        story.status,
        "ok",
        round(story.seconds * 1000, 1),
        story.client,
    )
    error = story.failure
    if error is not None:
        line.outcome = REJECTED
        line.error, line.code = kind(error), error.code or ""
        if error.param and _PLAIN_PARAM.fullmatch(error.param):
            line.param = error.param
    elif story.gone:
        line.outcome = CLIENT_GONE
    if story.passage is not None:
        _tell_passage(line, story, story.passage)
    return line


def _tell_passage(line: Line, story: Story, passage: Passage) -> None:
    """Adds what is known of a request to a model."""
    if passage.principal is not None:
        line.key_id, line.key_name = passage.principal.key_id, passage.principal.name
    line.endpoint, line.model, line.target = passage.endpoint, passage.model, passage.target
    line.stream, line.attempts = passage.stream, passage.attempts
    if passage.outcome is not None and line.outcome != CLIENT_GONE:
        line.outcome = passage.outcome.name.lower()
    if passage.first_s:
        line.first_token_ms = round((passage.first_s - story.started_s) * 1000, 1)
    usage = passage.usage
    line.prompt_tokens, line.completion_tokens = usage.input_tokens, usage.output_tokens
    line.cached_tokens, line.reasoning_tokens = usage.cached_input_tokens, usage.reasoning_tokens
    line.usage = _SOURCES.get(usage.source, "")
    if passage.trace is not None:
        line.trace_id = f"{passage.trace.trace_id:032x}"


def kind(error: ApiError) -> str:
    """A kind of error as a word: its class with underscores. There are as many as the tree has."""
    return _words(type(error).__name__)


@functools.lru_cache(maxsize=256)
def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


_encode = msgspec.json.Encoder().encode


def as_json(stories: Iterable[Story]) -> bytes:
    """Their lines as JSON objects, one each."""
    written = []
    for line in map(told, stories):
        fields = _encode(line)
        # The time comes first, as a number: words take its place, for it is the thread that pays for them.
        fields = fields[fields.index(b",") :]
        written.append(
            b'{"time":"%b","level":"info","event":"request"%b\n' % (rfc3339(line.time).encode(), fields)
        )
    return b"".join(written)


def as_text(stories: Iterable[Story]) -> bytes:
    """Their lines for people: what happened first, names and numbers after it."""
    return "".join([_text(told(story)) for story in stories]).encode("utf-8", "backslashreplace")


def _text(line: Line) -> str:
    words = [rfc3339(line.time), str(line.status or "---"), line.method, line.path]
    if line.model:
        words.append(f"{line.model} -> {line.target}" if line.target else line.model)
    words.append(f"{line.duration_ms:.0f} ms")
    if line.first_token_ms:
        words.append(f"(first token {line.first_token_ms:.0f})")
    if line.prompt_tokens or line.completion_tokens:
        words.append(f"{line.prompt_tokens}+{line.completion_tokens} tokens")
    if line.attempts > 1:
        words.append(f"{line.attempts} attempts")
    if line.outcome != "ok":
        words.append(line.outcome if not line.error else f"{line.outcome}: {line.code or line.error}")
    if line.key_name:
        words.append(f"by {line.key_name}")
    # What a terminal would obey (an escape, a line's end) is shown, not sent.
    plain = " ".join(words)
    if not plain.isprintable():
        plain = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in plain)
    return f"{plain} {line.request_id}\n"


def rfc3339(at_s: float) -> str:
    """A Unix time in UTC with milliseconds: `2026-01-31T12:00:00.000Z`."""
    whole = int(at_s)
    return f"{_second(whole)}.{int((at_s - whole) * 1000):03d}Z"


@functools.lru_cache(maxsize=4)
def _second(whole: int) -> str:
    # Thousands of lines may share a second.
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
