"""Gemini's stream of partial replies as chat completion chunks, one event at a time.

Source: ai.google.dev/api/generate-content (streamGenerateContent). Text is handed on as the JSON strings that
came, undecoded: it is most of every stream. Nothing marks the last event, so a choice's end waits for it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from headgate.core.sse import DONE, payload
from headgate.dialects.drawn import BREAK, image, markdown, url_of
from headgate.dialects.gemini_error import event_code
from headgate.dialects.gemini_reply import (
    BROKEN,
    NO_ANSWER,
    NULL,
    Candidate,
    FunctionCall,
    InlineData,
    Part,
    ReplyPlan,
    Response,
    UsageSeen,
    blocked,
    finish_reason,
    refusal_text,
    reply_id,
    signed,
    whole_reply,
    written_call,
    written_logprobs,
)


class _Error(Struct):
    status: str | None = None


_decode = msgspec.json.Decoder(Response).decode
_encode = msgspec.json.Encoder().encode

_EMPTY = b'""'
_END = b'},"finish_reason":null}]}\n\n'


class _Choice:
    """What is known of one choice so far."""

    __slots__ = ("calls", "drew", "lead", "pictures", "reason", "refusal", "said", "signature", "wrote")

    def __init__(self, lead: bytes) -> None:
        self.lead = lead
        """The bytes with which every chunk begins, up to the delta's members."""
        self.calls = 0
        self.said = False
        self.wrote = False
        """Words have gone out."""
        self.drew = False
        """A picture was the last thing that has gone out."""
        self.pictures = 0
        self.reason: str | None = None
        self.refusal: str | None = None
        self.signature: str | None = None


class Reply:
    """Translates one reply, streamed or whole; implements `headgate.core.ports.Translator`."""

    __slots__ = ("_choices", "_head", "_plan", "_usage")

    def __init__(self, plan: ReplyPlan) -> None:
        self._plan = plan
        self._head: dict[str, Any] | None = None
        """What all chunks share; None until the first."""
        self._choices: dict[int, _Choice] = {}
        self._usage: UsageSeen | None = None

    def whole(self, body: bytes) -> bytes:
        """A whole reply as a chat completion."""
        return whole_reply(body, self._plan)

    def event(self, event: bytes) -> bytes:
        """One event, to zero or more; what is not known or not JSON becomes nothing."""
        data = payload(event)
        if data is None:
            return event if event.startswith(b":") else b""
        try:
            found = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return b""
        if found.error != NULL:
            self._choices = {}
            return _told(found.error)
        if self._head is None:
            self._head = {
                "id": reply_id(found, data),
                "object": "chat.completion.chunk",
                "created": self._plan.created_s,
                "model": found.model_version or self._plan.model,
            }
        if found.usage_metadata is not None:
            if self._usage is None:
                self._usage = found.usage_metadata
            else:
                self._usage.update(found.usage_metadata)
        out = b"".join(
            [self._candidate(candidate, place) for place, candidate in enumerate(found.candidates)]
        )
        if not found.candidates and (refused := blocked(found.prompt_feedback)) is not None:
            out = self._candidate(refused, 0)
        return out

    def end(self) -> bytes:
        """Why each choice ended, and the usage; nothing when the stream broke off before."""
        choices = self._choices.values()
        if self._head is None or not choices or any(choice.reason is None for choice in choices):
            return b""
        out = b"".join([self._finish(choice) for choice in choices])
        self._choices = {}
        if self._usage is not None:
            last = {**self._head, "choices": [], "usage": self._usage.written()}
            out += b"data: %b\n\n" % _encode(last)
        return out + DONE

    # --- choices ----------------------------------------------------------------------------------

    def _candidate(self, candidate: Candidate, place: int) -> bytes:
        index = place if candidate.index is None else candidate.index
        choice = self._choices.get(index)
        out = b""
        if choice is None:
            lead = b'data: %b,"choices":[{"index":%d,"delta":{' % (_encode(self._head)[:-1], index)
            choice = self._choices[index] = _Choice(lead)
            out = lead + b'"role":"assistant","content":""' + _END
        if candidate.content is not None:
            for part in candidate.content.parts:
                out += self._part(choice, index, part)
        if candidate.logprobs_result is not None:
            probabilities = _encode(written_logprobs(candidate.logprobs_result))
            out += choice.lead + b'},"logprobs":%b,"finish_reason":null}]}\n\n' % probabilities
        reason = candidate.finish_reason
        if reason is not None:
            choice.reason = reason
            choice.refusal = refusal_text(reason, candidate.finish_message, "answer")
            if reason in BROKEN and not any(other.said for other in self._choices.values()):
                self._choices = {}
                # Alone: nothing has to go out before it, so that another upstream can still be tried.
                return _failed(NO_ANSWER, "upstream_error")
        return out

    def _part(self, choice: _Choice, index: int, part: Part) -> bytes:
        if part.function_call is not None:
            return self._call(choice, index, part.function_call, part.thought_signature)
        if part.thought_signature:
            choice.signature = part.thought_signature
        if part.inline_data is not None and part.inline_data.is_picture and not part.thought:
            return self._picture(choice, part.inline_data)
        text = bytes(part.text)
        if text == _EMPTY or not text.startswith(b'"'):
            return b""
        choice.said = True
        if part.thought:
            return choice.lead + b'"reasoning_content":' + text + _END
        out = _chunk(choice, {"content": BREAK}) if choice.drew else b""
        choice.wrote, choice.drew = True, False
        return out + choice.lead + b'"content":' + text + _END

    def _picture(self, choice: _Choice, drawing: InlineData) -> bytes:
        try:
            url = url_of(drawing.mime_type, drawing.data, self._plan.host)
        except msgspec.DecodeError:
            return b""
        before = BREAK if choice.wrote or choice.drew else ""
        choice.said, choice.drew = True, True
        told = {"content": before + markdown(url), "images": [image(url, choice.pictures)]}
        choice.pictures += 1
        return _chunk(choice, told)

    def _call(self, choice: _Choice, index: int, call: FunctionCall, signature: str | None) -> bytes:
        assert self._head is not None
        place = choice.calls
        choice.calls += 1
        choice.said = True
        written = written_call(call, self._head["id"], index, place)
        arguments = written["function"]["arguments"]
        written["function"]["arguments"] = ""
        if self._plan.legacy:
            if place > 0:
                return b""  # the old form has room for one
            return _chunk(choice, {"function_call": written["function"]}) + _chunk(
                choice, {"function_call": {"arguments": arguments}}
            )
        if signature:
            written["extra_content"] = signed(signature)
        return _chunk(choice, {"tool_calls": [{"index": place, **written}]}) + _chunk(
            choice, {"tool_calls": [{"index": place, "function": {"arguments": arguments}}]}
        )

    def _finish(self, choice: _Choice) -> bytes:
        out = b""
        if choice.refusal is not None:
            out += _chunk(choice, {"refusal": choice.refusal})
        if choice.signature is not None:
            out += _chunk(choice, {"extra_content": signed(choice.signature)})
        finish = finish_reason(choice.reason or "", called=choice.calls > 0, legacy=self._plan.legacy)
        return out + choice.lead + b'},"finish_reason":"%b"}]}\n\n' % finish.encode()


def _chunk(choice: _Choice, delta: dict[str, Any]) -> bytes:
    return choice.lead + _encode(delta)[1:-1] + _END


def _told(error: Raw) -> bytes:
    """An error as an event for whoever reads along: its words are the upstream's, and stay inside."""
    try:
        status = msgspec.json.decode(error, type=_Error).status
    except msgspec.DecodeError:
        status = None
    return _failed("The upstream reported an error in mid-stream.", event_code(status))


def _failed(message: str, code: str) -> bytes:
    detail = {"message": message, "type": "api_error", "param": None, "code": code}
    return b"data: %b\n\n" % _encode({"error": detail})
