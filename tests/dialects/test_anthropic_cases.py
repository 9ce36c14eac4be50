"""Requests and replies in Anthropic's dialect, a folder each (see anthropic/README.md), held to both SDKs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from headgate.core.ports import Outgoing
from headgate.core.sse import EventSplitter, events, payload
from headgate.dialects.anthropic import Anthropic
from tests.dialects.anthropic_types import accepted
from tests.dialects.calls import chat_call

Json = dict[str, Any]
FOLDER = Path(__file__).parent / "anthropic"
CASES = sorted(path for path in FOLDER.iterdir() if path.is_dir())
STREAMS = [case for case in CASES if case.name.endswith("_stream")]
WHOLE = [case for case in CASES if case.name.endswith("_whole")]
CREATED_S = 1_760_000_000

_known_event = TypeAdapter[Any](RawMessageStreamEvent)


def outgoing_of(case: Path) -> Outgoing:
    options = json.loads((case / "options.json").read_text()) if (case / "options.json").exists() else {}
    version = options.get("version")
    headers = [(b"anthropic-version", version.encode())] if version else []
    dialect = Anthropic(drop_unsupported=options.get("unsupported") == "drop", headers=headers)
    call = chat_call((case / "request.json").read_bytes(), "claude-opus-5-5")
    call.created_s = CREATED_S
    return dialect.request(call)


def upstream_of(case: Path) -> Json:
    """What goes upstream: headers that the dialect adds, and what it had to drop, beside the body."""
    outgoing = outgoing_of(case)
    return {
        "path": outgoing.path,
        "headers": {name.decode(): value.decode() for name, value in outgoing.headers},
        "dropped": list(outgoing.dropped),
        "body": json.loads(outgoing.body),
    }


def client_of(case: Path) -> bytes:
    translator = outgoing_of(case).translator
    assert translator is not None
    if case.name.endswith("_stream"):
        return b"".join([translator.event(event) for event in events((case / "reply.sse").read_bytes())])
    return translator.whole((case / "reply.json").read_bytes())


def data_of(stream: bytes) -> list[bytes]:
    return [data for event in events(stream) if (data := payload(event)) is not None]


def chunks_of(stream: bytes) -> Iterator[Json]:
    for data in data_of(stream):
        if data != b"[DONE]":
            yield json.loads(data)


def test_there_are_enough() -> None:
    assert len(CASES) >= 25
    assert len(STREAMS) >= 12
    assert len(STREAMS) + len(WHOLE) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request(case: Path) -> None:
    assert upstream_of(case) == json.loads((case / "upstream.json").read_text())
    assert (case / "page").read_text().startswith("https://platform.claude.com/docs/en/")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_official_sdk_would_send_it_too(case: Path) -> None:
    body = upstream_of(case)["body"]
    if "options.json" in {path.name for path in case.iterdir()}:
        for name in ("temperature", "top_p", "top_k"):
            body.pop(name, None)  # they are of the version before
    accepted(body)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_reply_is_one_that_the_official_sdk_knows(case: Path) -> None:
    if case in WHOLE:
        Message.model_validate_json((case / "reply.json").read_bytes(), strict=True)
        return
    for data in data_of((case / "reply.sse").read_bytes()):
        if json.loads(data)["type"] not in ("ping", "error", "shiny_new_event"):
            _known_event.validate_json(data)


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
def test_a_whole_reply(case: Path) -> None:
    made = json.loads(client_of(case))
    assert made == json.loads((case / "client.json").read_text())
    ChatCompletion.model_validate(made, strict=True)


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_a_streamed_reply(case: Path) -> None:
    assert client_of(case) == (case / "client.sse").read_bytes()


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_a_stream_keeps_the_contract(case: Path) -> None:
    made = client_of(case)
    chunks = list(chunks_of(made))
    if case.name == "overloaded_stream":
        assert chunks.pop()["error"].keys() == {"message", "type", "param", "code"}
        assert b"req_" not in made
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert not any("role" in delta for delta in deltas[1:])
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"]]
    if case.name in ("overloaded_stream", "broken_off_stream"):
        assert set(reasons) == {None}
        assert not made.endswith(b"data: [DONE]\n\n")
        return
    assert made.endswith(b"data: [DONE]\n\n")
    assert [reason for reason in reasons if reason] == reasons[-1:]
    assert "usage" in chunks[-1]
    assert [chunk["choices"] for chunk in chunks].count([]) == 1
    begun: set[int] = set()
    for call in (call for delta in deltas for call in delta.get("tool_calls", ())):
        if call["index"] not in begun:
            begun.add(call["index"])
            assert call["id"]
            assert call["type"] == "function"
            assert call["function"]["name"]
            assert call["function"]["arguments"] == ""
        else:
            assert call.keys() == {"index", "function"}


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
@given(data=st.data())
def test_any_cut_of_the_stream_gives_the_same(case: Path, data: st.DataObject) -> None:
    stream = (case / "reply.sse").read_bytes()
    if data.draw(st.booleans()):
        stream = stream.replace(b"\n", b"\r\n")
    translator, splitter = outgoing_of(case).translator, EventSplitter()
    assert translator is not None
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=12)))
    made = b""
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        block = splitter.feed(stream[start:end])
        made += b"".join([translator.event(event) for event in events(block)])
    assert made == client_of(case)
