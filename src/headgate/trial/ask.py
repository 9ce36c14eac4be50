"""Asks an upstream something tiny, whole and as a stream, over the pool and the dialect that the gate uses.

What was found is put into words elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from headgate.backends.discover import PATHS
from headgate.backends.discover import ask as ask_models
from headgate.core.address import parse_base_url
from headgate.core.body import open_body
from headgate.core.chat import ChatRequest
from headgate.core.embedding import EmbeddingRequest
from headgate.core.errors import ApiError, HeadgateError, UpstreamError, UpstreamTimeout
from headgate.core.ports import Call, Outgoing, Reply
from headgate.core.settings import Upstream
from headgate.core.settings_routing import Model
from headgate.core.sse import EventSplitter, events
from headgate.core.tap import StreamTap, whole_usage
from headgate.core.usage import Source
from headgate.dialects.refusal import read as read_refusal
from headgate.endpoints import CHAT_COMPLETIONS, EMBEDDINGS
from headgate.fleet import Member, make_remote
from headgate.trial import words
from headgate.trial.words import Finding

PROMPT = "Say OK."
MOST_TOKENS = 16
"""What some services want at least; a few hundredths of a cent at the dearest."""
REPLY_BYTES = 1_048_576
"""More than any answer to this has."""

LIMITS = ("max_tokens", "max_completion_tokens")
"""The field that bounds an answer: the one that every server knows, then the one that newer models want."""


class Trial(msgspec.Struct, frozen=True):
    """What was found out about one model at one upstream."""

    upstream: str
    model: str
    key: str
    """Where the key is from, never the key; empty when none is sent."""
    findings: list[Finding]
    whole_ms: int | None = None
    stream_ms: int | None = None
    first_token_ms: int | None = None

    @property
    def ok(self) -> bool:
        """Whether both requests were answered."""
        return all(finding.ok for finding in self.findings)


async def try_upstream(
    upstream: Upstream, model: Model, *, limit_ms: int, embeddings: bool = False
) -> list[Trial]:
    """Tries one model of an upstream, with each of its keys; waits no longer than `limit_ms` for anything.

    `embeddings`: it makes vectors, and does not talk.
    """
    bounded = msgspec.structs.replace(
        upstream,
        models=(),
        # For a list of what is there; nobody is told of it. It is asked for with a key.
        discover=upstream.dialect in PATHS and upstream.identity is None,
        connect_timeout_ms=min(upstream.connect_timeout_ms, limit_ms),
        first_byte_timeout_ms=min(upstream.first_byte_timeout_ms, limit_ms),
        idle_timeout_ms=min(upstream.idle_timeout_ms, limit_ms),
    )
    keys = upstream.api_keys or ((upstream.api_key,) if upstream.api_key is not None else (None,))
    each = [msgspec.structs.replace(bounded, api_key=key, api_keys=()) for key in keys]
    return [await _Try(settings, model, limit_ms, embeddings=embeddings).run() for settings in each]


class _Refused(Exception):
    """The trial is over: what was found says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.detail)
        self.finding = finding


class _Try:
    """One trial, with one key."""

    def __init__(self, settings: Upstream, model: Model, limit_ms: int, *, embeddings: bool) -> None:
        self._settings = settings
        self._model = model.sent_as
        self._shown = model.name
        self._limit_ms = limit_ms
        self._embeddings = embeddings
        self._limit_field = LIMITS[0]
        self._key = settings.api_key.origin if settings.api_key is not None else ""
        if settings.identity is not None:
            self._key = f"identity:{settings.identity.kind}"
        self._findings: list[Finding] = []
        self._first_ms: int | None = None

    async def run(self) -> Trial:
        """Asks, first for a whole reply, then for a stream; or for vectors."""
        asks = (self._vectors,) if self._embeddings else (self._whole, self._stream)
        took_ms: list[int | None] = [None, None]
        async with _member(self._settings) as member:
            for number, ask in enumerate(asks):
                began_s = time.monotonic()
                try:
                    # The pool bounds each wait; this bounds an upstream that never stops saying a little.
                    async with asyncio.timeout(3 * self._limit_ms / 1000):
                        await ask(member)
                except _Refused as refused:
                    self._findings.append(refused.finding)
                    break
                except (UpstreamError, TimeoutError) as error:
                    met = error if isinstance(error, UpstreamError) else UpstreamTimeout("first byte")
                    address = parse_base_url(self._settings.base_url)
                    self._findings.append(words.connection(met, address, self._limit_ms))
                    break
                except ApiError as error:
                    step = ("whole", "stream")[number]
                    self._findings.append(Finding(step, False, error.message, "look at dialect and quirks"))
                    break
                took_ms[number] = round((time.monotonic() - began_s) * 1000)
        return Trial(
            self._settings.name,
            self._shown,
            self._key,
            self._findings,
            took_ms[0],
            took_ms[1],
            self._first_ms,
        )

    async def _whole(self, member: Member) -> None:
        outgoing, reply = await self._send(member, "whole", stream=False)
        try:
            body = await reply.read(REPLY_BYTES)
        finally:
            reply.close()
        self._expect_unpacked("whole", reply)
        try:
            if outgoing.translator is not None:
                body = outgoing.translator.whole(body)
            if not msgspec.json.decode(body, type=_Completion).choices:
                raise _Refused(words.not_completion("whole", body))
            usage = whole_usage(body, len(PROMPT))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise _Refused(self._odd("whole", reply, body)) from None
        self._findings.append(words.good("whole", "answers"))
        if usage.source is not Source.REPORTED:
            self._findings.append(words.no_usage("whole"))

    async def _vectors(self, member: Member) -> None:
        outgoing, reply = await self._send(member, "whole", stream=False)
        try:
            body = await reply.read(REPLY_BYTES)
        finally:
            reply.close()
        self._expect_unpacked("whole", reply)
        try:
            if outgoing.translator is not None:
                body = outgoing.translator.whole(body)
            vectors = msgspec.json.decode(body, type=_Vectors).data
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise _Refused(self._odd("whole", reply, body)) from None
        if not vectors:
            raise _Refused(words.not_completion("whole", body))
        self._findings.append(words.good("whole", "answers"))

    async def _stream(self, member: Member) -> None:
        outgoing, reply = await self._send(member, "stream", stream=True)
        try:
            await self._read_stream(outgoing, reply)
        finally:
            reply.close()

    async def _read_stream(self, outgoing: Outgoing, reply: Reply) -> None:
        kind = reply.header(b"content-type") or b""
        expected = outgoing.framing.content_type if outgoing.framing is not None else b"text/event-stream"
        self._expect_unpacked("stream", reply)
        if not kind.lower().startswith(expected):
            raise _Refused(words.no_stream(kind))
        splitter = outgoing.framing.make_splitter() if outgoing.framing is not None else EventSplitter()
        translator, began_s = outgoing.translator, time.monotonic()
        tap = StreamTap(withhold_usage=False, prompt_bytes=len(PROMPT))

        def take(data: bytes) -> None:
            block = splitter.feed(data)
            if block and translator is not None:
                block = b"".join(map(translator.event, events(block)))
            reading = not tap.done and tap.error is None
            if block and reading and tap.scan(block) and self._first_ms is None:
                self._first_ms = round((time.monotonic() - began_s) * 1000)

        take(reply.take())
        if not reply.complete:
            await reply.pump(take)
        if translator is not None and not tap.done and tap.error is None:
            tap.scan(translator.end())
        self._judge_stream(tap)

    def _judge_stream(self, tap: StreamTap) -> None:
        if tap.error is not None:
            said = read_refusal(tap.error).message[: words.EXCERPT_CHARACTERS]
            raise _Refused(
                Finding("stream", False, f"an error in the stream: {said}", "look into its own log")
            )
        if not (tap.done or tap.finished):
            raise _Refused(
                Finding("stream", False, "the stream ends before its answer does", "is a proxy between?")
            )
        odd = f", but {tap.malformed} events are malformed" if tap.malformed else ""
        self._findings.append(words.good("stream", f"streams{odd}"))
        if tap.counted(complete=True).source is not Source.REPORTED:
            self._findings.append(words.no_usage("stream"))

    async def _send(self, member: Member, step: str, *, stream: bool) -> tuple[Outgoing, Reply]:
        """Sends the request; returns a successful reply's head, or raises _Refused with what came instead."""
        outgoing = self._outgoing(member, stream=stream)
        reply = await member.upstream.send(outgoing)
        if 200 <= reply.status < 300:
            return outgoing, reply
        try:
            body = await reply.read(REPLY_BYTES)
        finally:
            reply.close()
        if reply.status == 400 and self._limit_field == LIMITS[0] and words.wants_other_limit(body):
            self._limit_field = LIMITS[1]
            return await self._send(member, step, stream=stream)
        raise _Refused(await self._refusal(member, step, reply, body))

    async def _refusal(self, member: Member, step: str, reply: Reply, body: bytes) -> Finding:
        location = reply.header(b"location") or b""
        found = words.status(step, reply.status, location, body, model=self._model, key=self._key)
        if reply.status != 404:
            return found
        if words.is_unknown_model(reply.status, body):
            return words.unknown_model(step, self._model, await _known_models(member))
        return words.lacks_version(step) if await self._is_below_v1() else found

    async def _is_below_v1(self) -> bool:
        """Whether the path that was not found is there once `/v1` is added to base_url."""
        settings = self._settings
        if settings.dialect != "openai" or settings.base_url.rstrip("/").endswith("/v1"):
            return False
        below = msgspec.structs.replace(settings, base_url=settings.base_url.rstrip("/") + "/v1")
        async with _member(below) as member:
            try:
                reply = await member.upstream.send(self._outgoing(member, stream=False))
                try:
                    body = await reply.read(REPLY_BYTES)
                finally:
                    reply.close()
            except UpstreamError:
                return False
            return reply.status != 404 or words.is_unknown_model(reply.status, body)

    def _outgoing(self, member: Member, *, stream: bool) -> Outgoing:
        if self._embeddings:
            body = msgspec.json.encode({"model": self._model, "input": PROMPT})
            asked, given = open_body(body, EmbeddingRequest)
            call = Call(EMBEDDINGS, asked, given, False, False, self._model, int(time.time()))
            return member.upstream.dialect.request(call)
        body = msgspec.json.encode(
            {
                "model": self._model,
                "messages": [{"role": "user", "content": PROMPT}],
                self._limit_field: MOST_TOKENS,
                "stream": stream,
            }
        )
        request, fields = open_body(body, ChatRequest)
        call = Call(CHAT_COMPLETIONS, request, fields, stream, True, self._model, int(time.time()))
        return member.upstream.dialect.request(call)

    def _expect_unpacked(self, step: str, reply: Reply) -> None:
        if (reply.header(b"content-encoding") or b"identity").lower() != b"identity":
            raise _Refused(words.packed(step))

    def _odd(self, step: str, reply: Reply, body: bytes) -> Finding:
        try:
            msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return words.not_json(step, reply.header(b"content-type") or b"", body)
        return words.not_completion(step, body)


class _Vectors(msgspec.Struct):
    data: list[msgspec.Raw] = []


class _Completion(msgspec.Struct):
    choices: list[msgspec.Raw] = []


@asynccontextmanager
async def _member(settings: Upstream) -> AsyncIterator[Member]:
    member = make_remote(settings)
    try:
        yield member
    finally:
        await member.stop()


async def _known_models(member: Member) -> tuple[str, ...]:
    settings = member.settings
    if member.lists is None or not isinstance(settings, Upstream):
        return ()
    try:
        return await ask_models(member.lists, PATHS[settings.dialect])
    except HeadgateError:
        return ()
