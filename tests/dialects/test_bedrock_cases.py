"""Requests and replies in Bedrock's dialect, a folder each (see bedrock/README.md), held to AWS's description
of the service and to OpenAI's SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from headgate.core.ports import Outgoing
from headgate.core.sse import DONE, events, payload
from headgate.dialects.bedrock import Bedrock
from headgate.dialects.bedrock_frames import FrameSplitter
from tests.dialects.bedrock_types import accepted, known_reply, parsed
from tests.dialects.calls import chat_call
from tests.dialects.frames import frames_of

Json = dict[str, Any]
FOLDER = Path(__file__).parent / "bedrock"
CASES = sorted(path for path in FOLDER.iterdir() if path.is_dir())
STREAMS = [case for case in CASES if case.name.endswith("_stream")]
WHOLE = [case for case in CASES if case.name.endswith("_whole")]
FAILING = ("throttled_stream", "model_failed_stream", "malformed_stream", "broken_off_stream")
CREATED_S = 1_760_000_000
MODEL = "us.anthropic.claude-sonnet-4-6"


def options_of(case: Path) -> Json:
    path = case / "options.json"
    found: Json = json.loads(path.read_text()) if path.exists() else {}
    return found


def model_of(case: Path) -> str:
    return str(options_of(case).get("model", MODEL))


def outgoing_of(case: Path) -> Outgoing:
    dialect = Bedrock(drop_unsupported=options_of(case).get("unsupported") == "drop")
    call = chat_call((case / "request.json").read_bytes(), model_of(case))
    call.created_s, call.request_id = CREATED_S, "0123456789abcdef"
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


def translated(case: Path, *pieces: bytes) -> bytes:
    """What becomes of a stream that arrives in these pieces."""
    outgoing = outgoing_of(case)
    assert outgoing.framing is not None
    assert outgoing.translator is not None
    splitter, made = outgoing.framing.make_splitter(), b""
    for piece in pieces:
        made += b"".join([outgoing.translator.event(event) for event in events(splitter.feed(piece))])
    return made + outgoing.translator.end()


def client_of(case: Path) -> bytes:
    if case.name.endswith("_stream"):
        return translated(case, frames_of(case / "reply.jsonl"))
    translator = outgoing_of(case).translator
    assert translator is not None
    return translator.whole((case / "reply.json").read_bytes())


def chunks_of(stream: bytes) -> Iterator[Json]:
    for event in events(stream):
        data = payload(event)
        if data is not None and data != b"[DONE]":
            yield json.loads(data)


def test_there_are_enough() -> None:
    assert len(CASES) >= 25
    assert len(STREAMS) >= 12
    assert len(STREAMS) + len(WHOLE) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request(case: Path) -> None:
    assert upstream_of(case) == json.loads((case / "upstream.json").read_text())
    assert (case / "page").read_text().startswith("https://docs.aws.amazon.com/")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_service_has_words_for_it(case: Path) -> None:
    accepted(model_of(case), upstream_of(case)["body"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_reply_is_one_that_the_service_may_give(case: Path) -> None:
    if case in WHOLE:
        known_reply(json.loads((case / "reply.json").read_text()))
        return
    stream = frames_of(case / "reply.jsonl")
    given_ = [json.loads(line) for line in (case / "reply.jsonl").read_text().splitlines()]
    for found, written in zip(parsed(stream), given_, strict=True):
        [name] = written
        if name.endswith("Exception"):
            assert found["Error"]["Code"] == name
        elif name != "shinyNewEvent":
            assert found.keys() == {name}


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_frames_are_read_as_botocore_reads_them(case: Path) -> None:
    """Our events say what botocore's own parser makes of the same bytes, blobs and padding aside."""
    stream = frames_of(case / "reply.jsonl")
    ours = list(chunks_of(FrameSplitter().feed(stream)))
    for made, theirs in zip(ours, parsed(stream), strict=True):
        if "Error" not in theirs and theirs:
            assert made.keys() == theirs.keys()
            if "contentBlockDelta" in made and "text" in made["contentBlockDelta"]["delta"]:
                assert made["contentBlockDelta"]["delta"] == theirs["contentBlockDelta"]["delta"]


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
    if case.name in FAILING:
        assert not made.endswith(DONE)
        if case.name != "broken_off_stream":
            assert chunks.pop()["error"].keys() == {"message", "type", "param", "code"}
        assert b"123456789012" not in made
    else:
        assert made.endswith(DONE)
        assert chunks.pop()["usage"]["total_tokens"] > 0
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == (1 if chunks else 0)
    choices = [chunk["choices"][0] for chunk in chunks]
    if choices:
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
    stream = frames_of(case / "reply.jsonl")
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=12)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert translated(case, *pieces) == client_of(case)
