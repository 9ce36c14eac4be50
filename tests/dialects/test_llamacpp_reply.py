"""llama.cpp's replies become OpenAI's: recorded ones in `llamacpp/`, and what a recording cannot show.

Each folder holds a client's request, what was sent upstream for it, what llama.cpp answered, and what the
client gets. They were recorded from the engine with hand-written models.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.core.errors import UpstreamFailed
from headgate.core.ports import Outgoing
from headgate.core.sse import EventSplitter, events, payload
from headgate.dialects.llamacpp import LlamaCpp
from headgate.dialects.llamacpp_reply import Opening, Reply, ReplyPlan
from tests.dialects.calls import chat_call

FOLDER = Path(__file__).parent / "llamacpp"
CASES = sorted(path.name for path in FOLDER.iterdir())
STREAMS = [name for name in CASES if name.endswith("_stream")]

Json = dict[str, Any]


def outgoing(case: str) -> Outgoing:
    request = (FOLDER / case / "request.json").read_bytes()
    dialect = LlamaCpp(tools_in_template=not case.startswith("in_words"))
    return dialect.request(chat_call(request))


def reply(case: str) -> bytes:
    (path,) = (FOLDER / case).glob("reply.*")
    return path.read_bytes()


def streamed(case: str, blocks: list[bytes]) -> bytes:
    """What a client gets when the reply arrives in these blocks."""
    translator = outgoing(case).translator
    splitter = EventSplitter()
    out = b""
    for block in blocks:
        for event in events(splitter.feed(block)):
            out += event if translator is None else translator.event(event)
    return out


def parsed(stream: bytes) -> list[Any]:
    found = [payload(event) for event in events(stream)]
    return [json.loads(data) if data != b"[DONE]" else "[DONE]" for data in found if data is not None]


@pytest.mark.parametrize("case", CASES)
def test_request(case: str) -> None:
    assert msgspec.json.decode(outgoing(case).body) == json.loads(
        (FOLDER / case / "upstream.json").read_bytes()
    )


@pytest.mark.parametrize("case", [name for name in CASES if name not in STREAMS])
def test_whole(case: str) -> None:
    translator = outgoing(case).translator
    made = reply(case) if translator is None else translator.whole(reply(case))
    assert json.loads(made) == json.loads((FOLDER / case / "client.json").read_bytes())


@pytest.mark.parametrize("case", STREAMS)
def test_stream(case: str) -> None:
    assert streamed(case, [reply(case)]) == (FOLDER / case / "client.sse").read_bytes()


@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 10**9), max_size=20))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_cut_of_a_stream_is_the_same(case: str, places: list[int]) -> None:
    data = reply(case)
    edges = sorted({0, len(data), *(place % len(data) for place in places)})
    blocks = [data[one:other] for one, other in pairwise(edges)]
    assert streamed(case, blocks) == (FOLDER / case / "client.sse").read_bytes()


@pytest.mark.parametrize("case", STREAMS)
def test_the_rules_of_streams(case: str) -> None:
    """What the contract says of every stream, whatever was asked."""
    *chunks, done = parsed((FOLDER / case / "client.sse").read_bytes())
    assert done == "[DONE]"
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    # Usage is always asked for; the gate withholds what the client did not want.
    *chunks, last = chunks
    assert last["choices"] == []
    usage = last["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    for index in {part["index"] for chunk in chunks for part in chunk["choices"]}:
        parts = [part for chunk in chunks for part in chunk["choices"] if part["index"] == index]
        assert parts[0]["delta"]["role"] == "assistant"
        assert parts[0]["delta"]["content"] == ""
        assert not [part for part in parts[1:] if "role" in part["delta"]]
        assert [part["finish_reason"] is not None for part in parts] == [False] * (len(parts) - 1) + [True]
        check_calls(parts)


def check_calls(parts: list[Json]) -> None:
    begun = 0
    for part in parts:
        for call in part["delta"].get("tool_calls", []):
            if call["index"] == begun:
                begun += 1
                assert call.keys() == {"index", "id", "type", "function"}
                assert call["function"]["name"]
            else:
                assert call["index"] == begun - 1
                assert call.keys() == {"index", "function"}
                assert call["function"].keys() == {"arguments"}


@pytest.mark.parametrize(
    "pair", ["required", "auto", "functions", "function_named", "in_words_auto", "named"]
)
def test_a_stream_put_together_is_the_whole_reply(pair: str) -> None:
    """The models say the same every time, so the two recordings differ in ids and counts only."""
    message: Json = {"tool_calls": []}
    finish = None
    for chunk in parsed((FOLDER / f"{pair}_stream" / "client.sse").read_bytes())[:-1]:
        for part in chunk["choices"]:
            for call in part["delta"].get("tool_calls", []):
                if call["index"] == len(message["tool_calls"]):
                    message["tool_calls"].append(["", ""])
                known = message["tool_calls"][call["index"]]
                known[0] += call["function"].get("name", "")
                known[1] += call["function"]["arguments"]
            if "function_call" in part["delta"]:
                known = message.setdefault("function_call", ["", ""])
                known[0] += part["delta"]["function_call"].get("name", "")
                known[1] += part["delta"]["function_call"]["arguments"]
            finish = part["finish_reason"]
    (whole,) = json.loads((FOLDER / f"{pair}_whole" / "client.json").read_bytes())["choices"]
    assert finish == whole["finish_reason"]
    said = whole["message"]
    assert said["content"] is None
    assert message["tool_calls"] == [
        [call["function"]["name"], call["function"]["arguments"]] for call in said.get("tool_calls", [])
    ]
    if "function_call" in said:
        assert message["function_call"] == [said["function_call"]["name"], said["function_call"]["arguments"]]
    for arguments in [call[1] for call in message["tool_calls"]]:
        assert isinstance(json.loads(arguments), dict)


# --- what no recording shows ----------------------------------------------------------------------


def chunk(delta: Json, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    part = {"index": index, "delta": delta, "finish_reason": finish, **more}
    body = {
        "id": "chatcmpl-1",
        "created": 1,
        "model": "m",
        "object": "chat.completion.chunk",
        "choices": [part],
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def usage(completion: int) -> bytes:
    body = {
        "id": "chatcmpl-1", "created": 1, "model": "m", "object": "chat.completion.chunk", "choices": [],
        "usage": {"prompt_tokens": 5, "completion_tokens": completion, "total_tokens": 5 + completion},
    }  # fmt: skip
    return b"data: " + json.dumps(body).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def test_usage_of_several_choices_comes_once_and_last() -> None:
    translator = Reply(ReplyPlan())
    early = [
        chunk({"content": "a"}),
        chunk({}, "stop"),
        usage(3),
        chunk({"content": "b"}, index=1),
        chunk({}, "stop", 1),
        usage(4),
    ]
    out = b"".join(translator.event(event) for event in early)
    assert b'"usage"' not in out
    last = parsed(translator.event(DONE))
    assert last[0]["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 7,
        "total_tokens": 12,
        "prompt_tokens_details": None,
    }
    assert last[1] == "[DONE]"


def test_usage_is_told_when_the_end_mark_is_missing() -> None:
    translator = Reply(ReplyPlan())
    translator.event(usage(3))
    assert parsed(translator.end())[0]["usage"]["completion_tokens"] == 3
    assert translator.end() == b""


def test_reasoning_passes() -> None:
    translator = Reply(ReplyPlan())
    out = translator.event(chunk({"role": "assistant", "content": None})) + translator.event(
        chunk({"reasoning_content": "hm"})
    )
    assert [made["choices"][0]["delta"] for made in parsed(out)] == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "hm"},
    ]
    body = {
        "id": "x",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"content": "ok", "reasoning_content": "hm"}}
        ],
    }
    (choice,) = json.loads(Reply(ReplyPlan()).whole(json.dumps(body).encode()))["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": "ok",
        "refusal": None,
        "reasoning_content": "hm",
    }


@pytest.mark.parametrize(
    "event",
    [
        b": ping\n\n",
        b'data: {"error":{"message":"x"}}\n\n',
        b"data: {broken\n\n",
        b"data: 5\n\n",
        b"event: x\n\n",
    ],
)
def test_what_is_no_chunk_passes_untouched(event: bytes) -> None:
    assert Reply(ReplyPlan()).event(event) == event
    assert Opening().event(event) == event


def test_the_first_content_of_a_plain_stream_is_a_text() -> None:
    translator = Opening()
    first = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}\n\n'
    assert parsed(translator.event(first))[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    # Only once: later it could be part of what the model says.
    assert translator.event(first) == first
    assert translator.whole(b"{}") == b"{}"
    assert translator.end() == b""


@pytest.mark.parametrize(
    "transcript",
    [
        chunk({"content": "a"}),
        chunk({"content": "a"}) + chunk({}, "stop") + usage(1),
        chunk({"content": "a"}) + b'data: {"error":{"code":500,"message":"x"}}\n\n' + DONE,
        b"",
        b"<html></html>",
    ],
)
def test_a_transcript_that_broke_off_is_no_reply(transcript: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        Reply(ReplyPlan()).whole(transcript)


@pytest.mark.parametrize("body", [b"{", b'{"choices":5}', b'{"choices":[{"index":"a"}]}', b'{"error":{}}'])
def test_a_whole_reply_that_is_none(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        Reply(ReplyPlan()).whole(body)


def test_ids_of_calls_are_all_different() -> None:
    found = [
        call["id"]
        for choice in json.loads((FOLDER / "required_whole" / "client.json").read_bytes())["choices"]
        for call in choice["message"]["tool_calls"]
    ]
    found += [
        call["id"]
        for made in parsed((FOLDER / "required_choices_stream" / "client.sse").read_bytes())[:-1]
        for part in made["choices"]
        for call in part["delta"].get("tool_calls", [])
        if "id" in call
    ]
    assert len(found) == 4
    assert len(set(found)) == 4
