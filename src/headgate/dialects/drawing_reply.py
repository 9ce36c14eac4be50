"""What an images endpoint replies, as a chat completion or its chunks, and as links.

Must not know what was asked.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core.sse import DONE, comment, payload
from headgate.core.sse import event as written
from headgate.dialects.drawn import Host, image, markdown

DATA_URL = "data:"


class _Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: dict[str, int] = {}


class _Datum(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None


class _Reply(msgspec.Struct):
    data: list[_Datum]
    output_format: str = "png"
    usage: _Usage | None = None


class _Event(msgspec.Struct):
    type: str = ""
    b64_json: str = ""
    output_format: str = "png"
    usage: _Usage | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


_decode = msgspec.json.Decoder(_Reply).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_any = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_data = msgspec.json.Decoder(list[dict[str, Any]]).decode


class Linked:
    """Puts links in the place of data URLs; implements `headgate.core.ports.Translator`."""

    def __init__(self, host: Host | None) -> None:
        self._host = host

    def whole(self, body: bytes) -> bytes:
        """The reply, with every picture that came as a data URL behind a link."""
        if self._host is None or b'"data:' not in body:
            return body
        fields = _decode_any(body)
        data = _decode_data(fields["data"])
        for datum in data:
            kind, comma, base64 = str(datum.get("url", "")).removeprefix(DATA_URL).partition(";base64,")
            if comma:
                datum["url"] = self._host(kind, base64)
        return msgspec.json.encode(fields | {"data": data})

    def event(self, event: bytes) -> bytes:
        """Events hold base64, as they are meant to."""
        return event

    def end(self) -> bytes:
        """Nothing is left to say."""
        return b""


class ChatReply:
    """Pictures as an assistant's message; implements `headgate.core.ports.Translator`."""

    def __init__(self, number: str, created_s: int, model: str, host: Host | None) -> None:
        self._head = {"id": f"chatcmpl-{number}", "created": created_s, "model": model}
        self._host = host
        self._drawn = 0
        self._usage = _Usage()

    def whole(self, body: bytes) -> bytes:
        """A chat completion with a choice for each picture."""
        reply = _decode(body)
        choices = []
        for index, datum in enumerate(reply.data):
            url = datum.url if datum.b64_json is None else self._url(reply.output_format, datum.b64_json)
            message = {"role": "assistant", "refusal": None, **_shown(url or "")}
            choices.append({"index": index, "message": message, "logprobs": None, "finish_reason": "stop"})
        self._usage = reply.usage or _Usage()
        made = {**self._head, "object": "chat.completion", "choices": choices, "usage": self._counted()}
        return msgspec.json.encode(made)

    def event(self, event: bytes) -> bytes:
        """A picture becomes a chunk, a partial one a comment: it is a sign of life and no more."""
        data = payload(event)
        if data is None:
            return event if event.startswith(b":") else b""
        try:
            found = _decode_event(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return b""
        if bytes(found.error) != b"null":
            return event
        if found.type.endswith(".partial_image"):
            return comment(b"drawing")
        if not found.type.endswith(".completed"):
            return b""
        return self._finished(found)

    def end(self) -> bytes:
        """The usage of all pictures; nothing when none came, for then the stream broke off."""
        if not self._drawn:
            return b""
        usage = self._chunk([], self._counted())
        return usage + DONE

    def _finished(self, found: _Event) -> bytes:
        index = self._drawn
        self._drawn += 1
        if found.usage is not None:
            self._add(found.usage)
        shown = _shown(self._url(found.output_format, found.b64_json))
        first = self._delta(index, {"role": "assistant", "content": ""})
        return first + self._delta(index, shown) + self._delta(index, {}, "stop")

    def _delta(self, index: int, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._chunk([choice])

    def _chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": choices}
        return written(msgspec.json.encode(chunk if usage is None else chunk | {"usage": usage}))

    def _url(self, form: str, base64: str) -> str:
        kind = f"image/{form}"
        return f"data:{kind};base64,{base64}" if self._host is None else self._host(kind, base64)

    def _add(self, usage: _Usage) -> None:
        """The prompt is read once; what is drawn adds up."""
        drawn = self._usage.output_tokens + usage.output_tokens
        self._usage = _Usage(
            usage.input_tokens, drawn, usage.input_tokens + drawn, usage.input_tokens_details
        )

    def _counted(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self._usage.input_tokens,
            "completion_tokens": self._usage.output_tokens,
            "total_tokens": self._usage.total_tokens,
            "prompt_tokens_details": self._usage.input_tokens_details,
        }


def _shown(url: str) -> dict[str, Any]:
    """Both shapes in which clients look for a picture."""
    return {"content": markdown(url), "images": [image(url, 0)]}
