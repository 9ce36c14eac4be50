"""Requests and replies in Cohere's dialect, a folder each (see cohere/README.md), held to both SDKs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from headgate.core.ports import Outgoing
from headgate.core.sse import DONE, EventSplitter, events, payload
from headgate.dialects.cohere import Cohere
from tests.dialects.calls import chat_call, embedding_call
from tests.dialects.cohere_types import accepted, accepted_embed, known_event, known_reply, known_vectors
from tests.dialects.conversations import chunks_of

Json = dict[str, Any]
FOLDER = Path(__file__).parent / "cohere"
CASES = sorted(path for path in FOLDER.iterdir() if path.is_dir())
STREAMS = [case for case in CASES if case.name.endswith("_stream")]
WHOLE = [case for case in CASES if case.name.endswith("_whole")]
VECTORS = [case for case in CASES if case.name.endswith("_vectors")]
FAILING = ("failed_stream", "timeout_stream", "broken_off_stream")
CREATED_S = 1_760_000_000
MODEL = "command-a-plus-05-2026"


def options_of(case: Path) -> Json:
    path = case / "options.json"
    found: Json = json.loads(path.read_text()) if path.exists() else {}
    return found


def model_of(case: Path) -> str:
    return "embed-v4.0" if case in VECTORS else MODEL


def outgoing_of(case: Path) -> Outgoing:
    dialect = Cohere(drop_unsupported=options_of(case).get("unsupported") == "drop")
    make = embedding_call if case in VECTORS else chat_call
    call = make((case / "request.json").read_bytes(), model_of(case))
    call.created_s = CREATED_S
    return dialect.request(call)


def upstream_of(case: Path) -> Json:
    """What goes upstream, and what the dialect had to drop."""
    outgoing = outgoing_of(case)
    assert outgoing.headers == ()
    return {"path": outgoing.path, "dropped": list(outgoing.dropped), "body": json.loads(outgoing.body)}


def client_of(case: Path) -> bytes:
    translator = outgoing_of(case).translator
    assert translator is not None
    if case.name.endswith("_stream"):
        made = [translator.event(event) for event in events((case / "reply.sse").read_bytes())]
        return b"".join([*made, translator.end()])
    return translator.whole((case / "reply.json").read_bytes())


def test_there_are_enough() -> None:
    assert len(CASES) >= 25
    assert len(STREAMS) >= 12
    assert len(STREAMS) + len(WHOLE) + len(VECTORS) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request(case: Path) -> None:
    assert upstream_of(case) == json.loads((case / "upstream.json").read_text())
    assert (case / "page").read_text().startswith("https://docs.cohere.com/")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_official_sdk_has_types_for_it(case: Path) -> None:
    (accepted_embed if case in VECTORS else accepted)(upstream_of(case)["body"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_reply_is_one_that_the_official_sdk_knows(case: Path) -> None:
    if case in STREAMS:
        for event in events((case / "reply.sse").read_bytes()):
            data = payload(event)
            if data is not None and b"shiny" not in data:
                known_event(data)
        return
    (known_vectors if case in VECTORS else known_reply)((case / "reply.json").read_bytes())


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
def test_a_whole_reply(case: Path) -> None:
    made = json.loads(client_of(case))
    assert made == json.loads((case / "client.json").read_text())
    ChatCompletion.model_validate(made, strict=True)


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case.name)
def test_a_reply_of_vectors(case: Path) -> None:
    made = json.loads(client_of(case))
    assert made == json.loads((case / "client.json").read_text())
    if not isinstance(made["data"][0]["embedding"], str):
        CreateEmbeddingResponse.model_validate(made, strict=True)


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_a_streamed_reply(case: Path) -> None:
    assert client_of(case) == (case / "client.sse").read_bytes()


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_a_stream_keeps_the_contract(case: Path) -> None:
    made = client_of(case)
    chunks = chunks_of(made)
    if case.name in FAILING:
        assert not made.endswith(DONE)
        if case.name != "broken_off_stream":
            assert chunks.pop()["error"].keys() == {"message", "type", "param", "code"}
        assert b"10.0.0.7" not in made
    else:
        assert made.endswith(DONE)
        assert chunks.pop()["usage"]["total_tokens"] > 0
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert not any("role" in choice["delta"] for choice in choices[1:])
    reasons = [choice["finish_reason"] for choice in choices]
    assert [reason for reason in reasons if reason] == ([] if case.name in FAILING else reasons[-1:])
    begun: set[int] = set()
    for call in (call for choice in choices for call in choice["delta"].get("tool_calls", ())):
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
    assert made + translator.end() == client_of(case)
