"""Requests and replies in Gemini's dialect, a folder each (see gemini/README.md), held to both SDKs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.genai import types
from google.genai.types import GenerateContentResponse
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from headgate.core.ports import Outgoing
from headgate.core.sse import DONE, EventSplitter, events, payload
from headgate.dialects.gemini import Gemini
from tests.dialects.calls import chat_call, embedding_call
from tests.dialects.gemini_types import accepted

Json = dict[str, Any]
FOLDER = Path(__file__).parent / "gemini"
FOLDERS = sorted(path for path in FOLDER.iterdir() if path.is_dir())
VECTORS = [case for case in FOLDERS if case.name.endswith("_vectors")]
CASES = [case for case in FOLDERS if case not in VECTORS]
STREAMS = [case for case in CASES if case.name.endswith("_stream")]
WHOLE = [case for case in CASES if case.name.endswith("_whole")]
FAILING = ("overloaded_stream", "broken_off_stream", "malformed_call_stream", "not_drawn_stream")
CREATED_S = 1_760_000_000
MODEL = "gemini-3.5-flash"


def options_of(case: Path) -> Json:
    path = case / "options.json"
    found: Json = json.loads(path.read_text()) if path.exists() else {}
    return found


def outgoing_of(case: Path) -> Outgoing:
    options = options_of(case)
    dialect = Gemini(drop_unsupported=options.get("unsupported") == "drop")
    make, model = (embedding_call, "gemini-embedding-001") if case in VECTORS else (chat_call, MODEL)
    call = make((case / "request.json").read_bytes(), options.get("model", model))
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


@pytest.mark.parametrize("case", FOLDERS, ids=lambda case: case.name)
def test_a_request(case: Path) -> None:
    assert upstream_of(case) == json.loads((case / "upstream.json").read_text())
    assert (case / "page").read_text().startswith("https://ai.google.dev/")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_official_sdk_has_types_for_it(case: Path) -> None:
    accepted(upstream_of(case)["body"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_reply_is_one_that_the_official_sdk_knows(case: Path) -> None:
    if case in WHOLE:
        GenerateContentResponse.model_validate_json((case / "reply.json").read_bytes())
        return
    for data in data_of((case / "reply.sse").read_bytes()):
        if "error" not in json.loads(data):
            GenerateContentResponse.model_validate_json(data)


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
def test_a_whole_reply(case: Path) -> None:
    made = json.loads(client_of(case))
    assert made == json.loads((case / "client.json").read_text())
    ChatCompletion.model_validate(made, strict=True)


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case.name)
def test_a_reply_of_vectors(case: Path) -> None:
    body = upstream_of(case)["body"]
    for one in body.get("requests", [body]):
        types.Content.model_validate(one["content"])
        own = {name: value for name, value in one.items() if name not in ("content", "model")}
        types.EmbedContentConfig.model_validate(own)
    reply = json.loads((case / "reply.json").read_text())
    for vector in reply.get("embeddings") or [reply["embedding"]]:
        types.ContentEmbedding.model_validate(vector)
    made = json.loads(client_of(case))
    assert made == json.loads((case / "client.json").read_text())
    if isinstance(made["data"][0]["embedding"], list):
        CreateEmbeddingResponse.model_validate(made, strict=True)


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_a_streamed_reply(case: Path) -> None:
    assert client_of(case) == (case / "client.sse").read_bytes()


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_a_stream_keeps_the_contract(case: Path) -> None:
    made = client_of(case)
    chunks = list(chunks_of(made))
    if case.name in FAILING:
        assert not made.endswith(DONE)
        if case.name != "broken_off_stream":
            assert chunks.pop()["error"].keys() == {"message", "type", "param", "code"}
        assert b"projects/" not in made
    else:
        assert made.endswith(DONE)
        assert chunks.pop()["usage"]["total_tokens"] > 0
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == (1 if chunks else 0)
    found = [chunk["choices"][0] for chunk in chunks]
    for index in {choice["index"] for choice in found}:
        keeps_the_contract([choice for choice in found if choice["index"] == index], case.name in FAILING)


def keeps_the_contract(choices: list[Json], failing: bool) -> None:
    """What must hold of the chunks of one choice."""
    deltas = [choice["delta"] for choice in choices]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert not any("role" in delta for delta in deltas[1:])
    reasons = [choice["finish_reason"] for choice in choices]
    assert [reason for reason in reasons if reason] == ([] if failing else reasons[-1:])
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
    assert made + translator.end() == client_of(case)
