"""Requests and replies in Azure's dialect, a folder each (see azure/README.md), held to SDK and tap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from headgate.core.ports import Dialect, Outgoing
from headgate.core.quirks import Quirks
from headgate.core.sse import EventSplitter, events, payload
from headgate.core.tap import StreamTap
from headgate.core.usage import Source
from headgate.dialects.table import make_dialect
from tests.dialects.calls import chat_call

Json = dict[str, Any]
FOLDER = Path(__file__).parent / "azure"
CASES = sorted(path for path in FOLDER.iterdir() if path.is_dir())
STREAMS = [case for case in CASES if case.name.endswith("_stream")]
WHOLE = [case for case in CASES if case.name.endswith("_whole")]
ERRORS = [case for case in CASES if case.name.endswith("_error")]
WITHOUT_END = {"error_stream", "broken_off_stream"}
WITHOUT_USAGE = WITHOUT_END | {
    "no_usage_stream",
    "asynchronously_filtered_stream",
    "asynchronous_protected_stream",
    "two_annotations_first_stream",
}


def options_of(case: Path) -> Json:
    path = case / "options.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def dialect_of(case: Path) -> Dialect:
    options = options_of(case)
    quirks = msgspec.convert(options.get("quirks", {}), Quirks)
    return make_dialect("azure", api_version=options.get("api_version"), quirks=quirks)


def outgoing_of(case: Path) -> Outgoing:
    deployment = options_of(case).get("deployment", "my-deployment")
    return dialect_of(case).request(chat_call((case / "request.json").read_bytes(), deployment))


def upstream_of(case: Path) -> Json:
    """What goes upstream."""
    outgoing = outgoing_of(case)
    assert not outgoing.headers
    assert not outgoing.dropped
    return {"path": outgoing.path, "body": json.loads(outgoing.body)}


def client_of(case: Path) -> bytes:
    """What the client gets of a good reply, before the gate takes out what it did not ask for."""
    translator = outgoing_of(case).translator
    if case.name.endswith("_whole"):
        assert translator is None, "the bytes pass"
        return (case / "reply.json").read_bytes()
    assert translator is not None
    made = b"".join([translator.event(event) for event in events((case / "reply.sse").read_bytes())])
    return made + translator.end()


def told_of(case: Path) -> Json:
    """What the client is told of an error."""
    options = options_of(case)
    headers = [(name.encode(), value.encode()) for name, value in options["headers"].items()]
    error = dialect_of(case).error(options["status"], headers, (case / "reply.json").read_bytes())
    return {"status": error.status, "retry_after_ms": error.retry_after_ms, **json.loads(error.body())}


def chunks_of(stream: bytes) -> list[Json]:
    found = [data for event in events(stream) if (data := payload(event)) is not None]
    return [json.loads(data) for data in found if data != b"[DONE]"]


def test_there_are_enough() -> None:
    assert len(CASES) >= 25
    assert len(STREAMS) >= 12
    assert len(ERRORS) >= 12
    assert len(STREAMS) + len(WHOLE) + len(ERRORS) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request(case: Path) -> None:
    assert upstream_of(case) == json.loads((case / "upstream.json").read_text())
    assert (case / "page").read_text().startswith("https://learn.microsoft.com/en-us/azure/")


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
def test_a_whole_reply(case: Path) -> None:
    made = client_of(case)
    assert made == (case / "client.json").read_bytes()
    ChatCompletion.model_validate(json.loads(made), strict=True)


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case.name)
def test_an_error(case: Path) -> None:
    told = told_of(case)
    assert told == json.loads((case / "client.json").read_text())
    assert told["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_a_streamed_reply(case: Path) -> None:
    assert client_of(case) == (case / "client.sse").read_bytes()


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_a_stream_keeps_the_contract(case: Path) -> None:
    made = client_of(case)
    chunks = chunks_of(made)
    if case.name == "error_stream":
        assert chunks.pop().keys() == {"error"}
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    assert len({(chunk["id"], chunk["object"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert chunks[0]["id"]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    roles = [choice["index"] for choice in choices if "role" in choice["delta"]]
    finished = [choice["index"] for choice in choices if choice["finish_reason"]]
    assert len(roles) == len(set(roles))
    assert sorted(finished) == ([] if case.name in WITHOUT_END else sorted(roles))
    assert [not chunk["choices"] for chunk in chunks].count(True) == (case.name not in WITHOUT_USAGE)


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_nothing_that_azure_says_is_lost(case: Path) -> None:
    there = [json.loads(data) for data in said_by_azure(case)]
    ours = chunks_of(client_of(case))
    for name in ("prompt_filter_results", "prompt_annotations", "custom_blocklists"):
        assert [chunk[name] for chunk in there if name in chunk] == [
            chunk[name] for chunk in ours if name in chunk
        ]
    for name in ("content_filter_results", "content_filter_offsets", "finish_reason", "index"):
        assert [choice.get(name) for chunk in there for choice in chunk.get("choices", [])] == [
            choice.get(name) for chunk in ours for choice in chunk.get("choices", [])
        ]


def said_by_azure(case: Path) -> list[bytes]:
    found = [payload(event) for event in events((case / "reply.sse").read_bytes())]
    return [data for data in found if data is not None and data != b"[DONE]"]


@pytest.mark.parametrize("withhold", [False, True])
@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_the_tap_takes_annotations_for_what_they_are(case: Path, withhold: bool) -> None:
    tap = StreamTap(
        withhold_usage=withhold, prompt_bytes=40, choices=2 if case.name == "choices_stream" else 1
    )
    made = client_of(case)
    seen = b"".join([tap.scan(event) for event in events(made)])
    assert tap.malformed == 0
    assert (tap.error is not None) == (case.name == "error_stream")
    assert tap.done == (case.name not in WITHOUT_END)
    assert tap.finished == (case.name not in WITHOUT_END)
    counted = tap.counted(complete=True)
    if case.name in WITHOUT_USAGE:
        assert counted.source is Source.ESTIMATED
    else:
        assert counted.source is Source.REPORTED
        assert (counted.input_tokens, counted.output_tokens) == (12, 9)
    sent = [chunk for chunk in chunks_of(made) if "error" not in chunk]
    usage_told = case.name not in WITHOUT_USAGE and not withhold
    assert chunks_of(seen) == (sent if usage_told or case.name in WITHOUT_USAGE else sent[:-1])


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
@given(data=st.data())
def test_any_cut_of_the_stream_gives_the_same(case: Path, data: st.DataObject) -> None:
    stream = (case / "reply.sse").read_bytes()
    translator, splitter = outgoing_of(case).translator, EventSplitter()
    assert translator is not None
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=12)))
    made = b""
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        block = splitter.feed(stream[start:end])
        made += b"".join([translator.event(event) for event in events(block)])
    assert made + translator.end() == client_of(case)
