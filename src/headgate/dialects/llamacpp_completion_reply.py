"""llama.cpp's legacy completions turned into OpenAI's: its log probabilities have the shape of chat, its
usage counts one choice, and it knows neither echo nor best_of.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
from msgspec import Struct

from headgate.core.errors import UpstreamFailed
from headgate.core.sse import DONE, events, payload
from headgate.core.sse import event as sse_event

Chunk = dict[str, Any]


class CompletionPlan(Struct, frozen=True):
    """What a request wants of its reply."""

    candidates: int
    """Texts that the engine writes for each prompt."""
    wanted: int
    """How many of them are told: the best ones."""
    top_logprobs: int | None
    """Alternatives at each token; None where no log probabilities are wanted."""
    echo: list[str | None] | None
    """What each prompt's replies begin with; None in it where the engine tells."""
    silent: bool
    """Nothing was to be written: the engine writes one token all the same."""


class _Token(Struct):
    token: str
    logprob: float | None = None
    bytes: list[int] | None = None
    top_logprobs: list[_Token] = []


class _Logprobs(Struct):
    content: list[_Token] | None = None


class _Usage(Struct):
    completion_tokens: int = 0
    prompt_tokens: int = 0


class _Part(Struct):
    index: int
    text: str = ""
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Verbose(Struct):
    prompt: str | None = None


class _Received(Struct):
    """A chunk or a whole reply."""

    choices: list[_Part]
    id: str = ""
    created: int = 0
    model: str = ""
    system_fingerprint: str | None = None
    usage: _Usage | None = None
    verbose: _Verbose | None = msgspec.field(name="__verbose", default=None)


_decode = msgspec.json.Decoder(_Received).decode
_encode = msgspec.json.Encoder().encode


class _Choice:
    """One text's progress."""

    __slots__ = ("characters", "finish_reason", "opened", "prompt", "texts", "tokens")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.tokens: list[_Token] = []
        self.finish_reason: str | None = None
        self.prompt: str | None = None
        self.opened = False
        self.characters = 0
        """Of the text so far, the prompt included where it is echoed."""


class CompletionReply:
    """Translates one reply, streamed or whole; implements `headgate.core.ports.Translator`."""

    def __init__(self, plan: CompletionPlan) -> None:
        self._plan = plan
        self._choices: dict[int, _Choice] = {}
        self._shared: Chunk = {}
        self._prompt_tokens: dict[int, int] = {}
        self._completion_tokens = 0

    # --- a stream ----------------------------------------------------------------------------------

    def event(self, event: bytes) -> bytes:
        """One event, to zero or more."""
        data = payload(event)
        if data is None:
            return event
        if data.strip() == b"[DONE]":
            return self.end() + DONE
        if data.strip() == b"null":
            return b""  # one of its own: it says so while it has nothing to say
        try:
            received = _decode(data)
        except msgspec.DecodeError:
            return event  # an error, or what whoever reads along will leave out
        self._note(received)
        return b"".join([sse_event(_encode(self._chunk(part))) for part in received.choices])

    def end(self) -> bytes:
        """The usage of all choices, which llama.cpp reports one by one."""
        if not self._prompt_tokens:
            return b""
        chunk = {**self._shared, "choices": [], "usage": self._usage()}
        self._prompt_tokens = {}
        return sse_event(_encode(chunk))

    def _chunk(self, part: _Part) -> Chunk:
        choice = self._choice(part.index)
        text = "" if self._plan.silent else part.text
        found = part.logprobs.content if part.logprobs is not None and not self._plan.silent else None
        logprobs = self._logprobs(choice, found or [])
        choice.characters += len(text)
        if not choice.opened:
            choice.opened = True
            text = self._before(part.index, choice) + text
        told = {
            "text": text,
            "index": part.index,
            "logprobs": logprobs if found else None,
            "finish_reason": "length" if part.finish_reason and self._plan.silent else part.finish_reason,
        }
        return {**self._shared, "choices": [told]}

    # --- a whole reply -----------------------------------------------------------------------------

    def whole(self, body: bytes) -> bytes:
        """A reply as JSON, or the transcript of a stream, to a whole reply."""
        for received in [_decode(body)] if body.lstrip().startswith(b"{") else _transcript(body):
            self._note(received)
            for part in received.choices:
                choice = self._choice(part.index)
                if received.verbose is not None and received.verbose.prompt is not None:
                    choice.prompt = received.verbose.prompt
                choice.finish_reason = part.finish_reason or choice.finish_reason
                if not self._plan.silent:
                    choice.texts.append(part.text)
                    choice.tokens += (part.logprobs and part.logprobs.content) or []
        choices = [self._told(place, index) for place, index in enumerate(self._best())]
        return _encode({**self._shared, "choices": choices, "usage": self._usage()})

    def _best(self) -> list[int]:
        """The indices of the texts to tell, those of one prompt together, its best ones first."""
        plan = self._plan
        if plan.candidates == plan.wanted:
            return sorted(self._choices)
        chosen: list[int] = []
        for start in range(0, max(self._choices) + 1, plan.candidates):
            group = [index for index in range(start, start + plan.candidates) if index in self._choices]
            group.sort(key=lambda index: _mean(self._choices[index].tokens), reverse=True)
            chosen += group[: plan.wanted]
        return chosen

    def _told(self, place: int, index: int) -> Chunk:
        choice = self._choices[index]
        before = self._before(index, choice)
        wanted = self._plan.top_logprobs is not None and choice.tokens
        return {
            "text": before + "".join(choice.texts),
            "index": place,
            "logprobs": self._logprobs(choice, choice.tokens) if wanted else None,
            "finish_reason": "length" if self._plan.silent else choice.finish_reason or "stop",
        }

    # --- both --------------------------------------------------------------------------------------

    def _choice(self, index: int) -> _Choice:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice()
        return choice

    def _note(self, received: _Received) -> None:
        if not self._shared:
            self._shared = {
                "id": f"cmpl-{received.id.removeprefix('chatcmpl-')}",
                "object": "text_completion",
                "created": received.created,
                "model": received.model,
                "system_fingerprint": received.system_fingerprint,
            }
        if received.usage is not None:
            # A prompt counts once, however many texts were written for it.
            for part in received.choices:
                self._prompt_tokens[part.index // self._plan.candidates] = received.usage.prompt_tokens
            self._completion_tokens += received.usage.completion_tokens

    def _usage(self) -> dict[str, int]:
        prompt = sum(self._prompt_tokens.values())
        completion = 0 if self._plan.silent else self._completion_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def _before(self, index: int, choice: _Choice) -> str:
        """What is echoed before a text."""
        if self._plan.echo is None:
            return ""
        text = self._plan.echo[index // self._plan.candidates]
        return (choice.prompt or "") if text is None else text

    def _logprobs(self, choice: _Choice, tokens: list[_Token]) -> Chunk:
        """Four lists of one length. Offsets count the characters of the choice's own `text`."""
        top = self._plan.top_logprobs or 0
        offset = choice.characters
        offsets: list[int] = []
        for token in tokens:
            offsets.append(offset)
            offset += len(token.token)
        return {
            "tokens": [_name(token) for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [_alternatives(token, top) for token in tokens] if top else None,
            "text_offset": offsets,
        }


def _alternatives(token: _Token, top: int) -> dict[str, float | None]:
    """The likeliest tokens, and the one that was taken."""
    found = {_name(other): other.logprob for other in token.top_logprobs[:top]}
    return {**found, _name(token): token.logprob}


def _name(token: _Token) -> str:
    """A token as a text; one that is part of a character is named by its bytes, as at OpenAI."""
    raw = bytes(token.bytes or ())
    try:
        return raw.decode() if raw else token.token
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def _mean(tokens: list[_Token]) -> float:
    """Log probability per token; a text that says nothing is nobody's best."""
    known = [token.logprob for token in tokens if token.logprob is not None]
    return sum(known) / len(known) if known else -math.inf


def _transcript(body: bytes) -> list[_Received]:
    """The chunks of a complete stream; raises UpstreamFailed when it was not."""
    chunks: list[_Received] = []
    for event in events(body):
        data = (payload(event) or b"null").strip()
        if data == b"[DONE]":
            return chunks
        if data != b"null":
            try:
                chunks.append(_decode(data))
            except msgspec.DecodeError:
                raise UpstreamFailed("The model failed in mid-reply.") from None
    raise UpstreamFailed("The model's reply broke off.")
