"""Every way in which an upstream goes wrong on the wire, one short script each, by the names of the table.

A script gets the connection and what was asked. When it returns, the connection may be used again.
"""

from __future__ import annotations

import asyncio
import datetime
import gzip
from collections.abc import Awaitable, Callable
from email.utils import format_datetime

from tests.backends.scripted import Line
from tests.faults.asked import JSON_HEAD, LAST, STREAM_HEAD, Answer, Asked, chunk, event, with_length

Misbehaviour = Callable[[Line, Asked], Awaitable[None]]

BAD = "bad"
"""What the words of a misbehaving upstream begin with."""

MEBIBYTE = 1024 * 1024
DRIP_S = 1.0


class HangUp(Exception):
    """The script is done with this connection: it is closed."""


async def answer(line: Line, asked: Asked) -> None:
    """As it should be."""
    said = Answer(BAD)
    if asked.stream:
        await line.send(STREAM_HEAD, *map(chunk, said.events()), LAST)
    else:
        await line.send(with_length(JSON_HEAD, said.whole()))


async def silence(line: Line, asked: Asked) -> None:
    """Nothing, until the other side has had enough."""
    await line.gone()
    raise HangUp


async def reset_before_head(line: Line, asked: Asked) -> None:
    line.reset()
    raise HangUp


async def close_before_head(line: Line, asked: Asked) -> None:
    raise HangUp


async def reset_inside_head(line: Line, asked: Asked) -> None:
    await line.send(b"HTTP/1.1 200 OK\r\ncontent-ty")
    line.reset()
    raise HangUp


async def reset_after_head(line: Line, asked: Asked) -> None:
    await line.send(_head(asked))
    line.reset()
    raise HangUp


async def silence_after_head(line: Line, asked: Asked) -> None:
    await line.send(_head(asked))
    await silence(line, asked)


def _head(asked: Asked) -> bytes:
    return STREAM_HEAD if asked.stream else JSON_HEAD + b"content-length: 500\r\n\r\n"


async def reset_mid_chunk(line: Line, asked: Asked) -> None:
    """In the middle of a chunk of the framing, which is in the middle of the answer."""
    await _begun(line, asked)
    await line.send(b"400\r\n" + b"data: {")
    line.reset()
    raise HangUp


async def reset_mid_event(line: Line, asked: Asked) -> None:
    """Between two chunks of the framing, in the middle of an event."""
    await _begun(line, asked)
    await line.send(chunk(b'data: {"id": "x", "choi'))
    line.reset()
    raise HangUp


async def end_mid_answer(line: Line, asked: Asked) -> None:
    """A proper end of the body, too early."""
    await _begun(line, asked)
    await line.send(LAST)
    raise HangUp


async def silence_mid_answer(line: Line, asked: Asked) -> None:
    await _begun(line, asked)
    await silence(line, asked)


async def error_mid_answer(line: Line, asked: Asked) -> None:
    """An error event in the stream; a whole reply that is an error object with status 200."""
    await _begun(line, asked)
    error = b'{"error":{"message":"out of memory at 10.0.0.5","type":"server_error"}}'
    await line.send(chunk(event(error) if asked.stream else error), LAST)
    raise HangUp


async def _begun(line: Line, asked: Asked) -> None:
    """Half an answer. A whole one is chunked here too, so that only its end can show that it is not all."""
    said = Answer(BAD)
    if asked.stream:
        await line.send(STREAM_HEAD, *map(chunk, said.events()[:6]))
    else:
        await line.send(JSON_HEAD + b"transfer-encoding: chunked\r\n\r\n")
        await line.send(chunk(said.whole()[:100]))


async def length_too_long(line: Line, asked: Asked) -> None:
    """Announces more than it sends, and closes."""
    body = _body(asked)
    await line.send(with_length(_kind(asked), body[: len(body) // 3], len(body)))
    raise HangUp


async def length_too_short(line: Line, asked: Asked) -> None:
    """Announces less than it sends: the rest looks like another reply."""
    body = _body(asked)
    await line.send(with_length(_kind(asked), body, 60))
    await line.gone()
    raise HangUp


def _body(asked: Asked) -> bytes:
    said = Answer(BAD)
    return b"".join(said.events()) if asked.stream else said.whole()


def _kind(asked: Asked) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n" if asked.stream else JSON_HEAD


async def never_ends(line: Line, asked: Asked) -> None:
    """Comments for ever, so that no limit between two bytes is reached; blanks in a whole reply."""
    await line.send(STREAM_HEAD if asked.stream else JSON_HEAD + b"transfer-encoding: chunked\r\n\r\n")
    while True:
        await line.send(chunk(b": still there\n\n" if asked.stream else b" "))
        await asyncio.sleep(DRIP_S / 10)


async def drip(line: Line, asked: Asked) -> None:
    """One byte a second, from the head on."""
    for byte in with_length(_kind(asked), _body(asked)):
        await line.send(bytes([byte]))
        await asyncio.sleep(DRIP_S)


async def garbage(line: Line, asked: Asked) -> None:
    """Not HTTP."""
    await line.send(b"\x16\x03\x01\x00\xa5 SSH-2.0-OpenSSH_9.6\r\n\r\n")
    raise HangUp


async def broken_framing(line: Line, asked: Asked) -> None:
    """A chunk whose size is no number, before anything was said."""
    await line.send(_chunked(asked), b"zz\r\nwhat\r\n")
    await line.gone()
    raise HangUp


def _chunked(asked: Asked) -> bytes:
    return STREAM_HEAD if asked.stream else JSON_HEAD + b"transfer-encoding: chunked\r\n\r\n"


async def html_with_200(line: Line, asked: Asked) -> None:
    """Somebody's login page."""
    page = b"<!doctype html><title>Sign in</title><p>Please sign in.</p>"
    await line.send(with_length(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n", page))


async def html_as_promised(line: Line, asked: Asked) -> None:
    """The same, under the content type that was hoped for."""
    page = b"<!doctype html>\n<title>Sign in</title>\n\n<p>Please sign in.</p>\n\n"
    await line.send(with_length(_kind(asked), page))


async def json_cut_short(line: Line, asked: Asked) -> None:
    """A body of the length that was announced, that is half an object; a stream without a single event."""
    body = b"" if asked.stream else Answer(BAD).whole()[:-40]
    await line.send(with_length(_kind(asked), body))


async def malformed_line(line: Line, asked: Asked) -> None:
    """One event of the stream is no JSON, another no event at all: the others are well."""
    if not asked.stream:
        await answer(line, asked)
        return
    events = Answer(BAD).events()
    events[4:4] = [b'data: {"id": "x", "choices": [{"in\n\n', b"what is this\n\n", b"data:\n\n"]
    await line.send(STREAM_HEAD, chunk(b"".join(events)), LAST)


async def no_done(line: Line, asked: Asked) -> None:
    """Everything but the last event: it said why it stopped, so it is complete."""
    if not asked.stream:
        await answer(line, asked)
        return
    await line.send(STREAM_HEAD, *map(chunk, Answer(BAD).events()[:-1]), LAST)


async def scattered(line: Line, asked: Asked) -> None:
    """A good answer, cut where nobody would cut it."""
    said = Answer(BAD)
    reply = with_length(
        _kind(asked), b"".join(said.events()).replace(b"\n", b"\r\n") if asked.stream else said.whole()
    )
    for at in range(0, len(reply), 37):
        await line.send(reply[at : at + 37])


async def huge_head(line: Line, asked: Asked) -> None:
    """A mebibyte of headers."""
    head = [b"x-header-%d: %b\r\n" % (number, b"x" * 1000) for number in range(MEBIBYTE // 1000)]
    await line.send(with_length(JSON_HEAD + b"".join(head), Answer(BAD).whole()))
    raise HangUp


async def gzip_unasked(line: Line, asked: Asked) -> None:
    """Packed, though it was asked not to be."""
    packed = gzip.compress(_body(asked))
    await line.send(with_length(_kind(asked) + b"content-encoding: gzip\r\n", packed))


def status(code: int, *lines: str) -> Misbehaviour:
    """An error status with OpenAI's shape of body."""

    async def script(line: Line, asked: Asked) -> None:
        body = b'{"error":{"message":"no, said 10.0.0.5","type":"some_error","param":null,"code":null}}'
        head = "".join(
            f"{one}\r\n" for one in (f"HTTP/1.1 {code} No", "content-type: application/json", *lines)
        )
        await line.send(with_length(head.encode(), body))

    return script


async def too_many_until_a_date(line: Line, asked: Asked) -> None:
    """429 with the date as an HTTP date."""
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
    await status(429, f"retry-after: {format_datetime(later, usegmt=True)}")(line, asked)
