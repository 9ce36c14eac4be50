"""One line for each request, as JSON or for people. Pure: a record in, bytes out.

Must not hold a prompt, an answer, a key or an error's words, for those may quote what was asked.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence

import msgspec


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


_encode = msgspec.json.Encoder().encode


def as_json(lines: Sequence[Line]) -> bytes:
    """The lines as JSON objects, one each."""
    written = []
    for line in lines:
        fields = _encode(line)
        # The time comes first, as a number: words take its place, for it is the thread that pays for them.
        fields = fields[fields.index(b",") :]
        written.append(
            b'{"time":"%b","level":"info","event":"request"%b\n' % (rfc3339(line.time).encode(), fields)
        )
    return b"".join(written)


def as_text(lines: Sequence[Line]) -> bytes:
    """The lines for people: what happened first, names and numbers after it."""
    return "".join(map(_text, lines)).encode("utf-8", "backslashreplace")


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
