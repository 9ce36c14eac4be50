"""Rows that pass through, with the official SDKs: what goes, what comes, what is counted."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from headgate.core.ports import Closed, Opened, Outcome
from headgate.core.usage import Source, Usage
from headgate.store.reader import read
from tests.dialects.recorded import Answer, Recorded, recorded
from tests.gates import RunningGate, open_gate

Json = dict[str, Any]
UPSTREAM_KEY = "sk-the-upstream-key-nobody-may-see"

RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1760000000,
    "status": "completed",
    "model": "gpt-5.5",
    "error": None,
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hello!", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 8},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 26,
    },
}
MESSAGE: Json = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-6",
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "content": [{"type": "text", "text": "Hello!"}],
    "usage": {
        "input_tokens": 5,
        "cache_read_input_tokens": 10,
        "cache_creation_input_tokens": 3,
        "output_tokens": 6,
    },
}
MODERATION = {
    "id": "modr-1",
    "model": "omni-moderation-latest",
    "results": [
        {"flagged": False, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
    ],
}
RANKED = {"id": "r", "results": [{"index": 1, "relevance_score": 0.9}], "usage": {"total_tokens": 17}}


def stream(*told: Json) -> bytes:
    return b"".join([f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in told])


RESPONSE_STREAM = stream(
    {
        "type": "response.created",
        "response": {**RESPONSE, "status": "in_progress", "output": [], "usage": None},
        "sequence_number": 0,
    },
    {
        "type": "response.output_text.delta",
        "item_id": "msg_1",
        "output_index": 0,
        "content_index": 0,
        "delta": "Hello!",
        "logprobs": [],
        "sequence_number": 1,
    },
    {"type": "response.completed", "response": RESPONSE, "sequence_number": 2},
)
MESSAGE_STREAM = stream(
    {
        "type": "message_start",
        "message": {
            **MESSAGE,
            "content": [],
            "stop_reason": None,
            "usage": {**MESSAGE["usage"], "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello!"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 6},
    },
    {"type": "message_stop"},
)
OVERLOADED = {
    "type": "error",
    "error": {"type": "overloaded_error", "message": f"at 10.0.0.7 with {UPSTREAM_KEY}"},
}
JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}


def answer(name: str, body: Json) -> Answer:
    path, _, model = name.partition(" ")
    if model == "refuses":
        return 529, JSON, json.dumps(OVERLOADED).encode()
    if model == "too-long":
        error = {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "prompt is too long"},
        }
        return 400, JSON, json.dumps(error).encode()
    if model == "stumbles":
        return (
            200,
            EVENTS,
            MESSAGE_STREAM[: MESSAGE_STREAM.index(b"event: content_block_stop")] + stream(OVERLOADED),
        )
    if model == "breaks":
        return 200, EVENTS, RESPONSE_STREAM[: RESPONSE_STREAM.index(b"event: response.completed")]
    if path == "/v1/responses":
        return (
            (200, EVENTS, RESPONSE_STREAM)
            if body.get("stream")
            else (200, JSON, json.dumps(RESPONSE).encode())
        )
    if path == "/v1/messages":
        return (
            (200, EVENTS, MESSAGE_STREAM) if body.get("stream") else (200, JSON, json.dumps(MESSAGE).encode())
        )
    return 200, JSON, json.dumps(MODERATION if path == "/v1/moderations" else RANKED).encode()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recorded, RunningGate]]:
    """A server that has all of them, and a gate before it with an upstream of each dialect that passes."""
    with recorded(lambda path, body: f"{path} {body['model']}", answer) as server:
        base = f'base_url = "http://127.0.0.1:{server.server_port}/v1"\napi_key = {{ env = "THERE" }}\n'
        toml = (
            f'[[upstream]]\nname = "openai"\n{base}'
            'quirks = { max_tokens_field = "max_completion_tokens" }\n'
            'models = ["breaks", "omni-moderation-latest", { name = "gpt", upstream_name = "gpt-5.5" }, '
            '{ name = "both", upstream_name = "gpt-5.5", priority = 2 }]\n'
            f'[[upstream]]\nname = "anthropic"\ndialect = "anthropic"\n{base}'
            'models = ["refuses", "stumbles", "too-long", '
            '{ name = "claude", upstream_name = "claude-sonnet-4-6" }]\n'
            f'[[upstream]]\nname = "cohere"\ndialect = "cohere"\n{base}models = ["rerank-v4.0", "both"]\n'
        )
        folder = tmp_path_factory.mktemp("passed")
        with open_gate(folder, toml, environment={"THERE": UPSTREAM_KEY}) as gate:
            yield server, gate
            assert UPSTREAM_KEY not in gate.log + gate.printed


def claude(gate: RunningGate, **more: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gate.url, api_key=gate.key, max_retries=0, **more)


HI: Any = [{"role": "user", "content": "hi"}]


# --- responses ------------------------------------------------------------------------------------


def test_responses(house: tuple[Recorded, RunningGate]) -> None:
    server, gate = house
    with openai.OpenAI(base_url=f"{gate.url}/v1", api_key=gate.key) as client:
        made = client.responses.create(
            model="gpt", input="hi", max_output_tokens=9, extra_body={"x_own": [1]}
        )
        assert (made.output_text, made.usage.input_tokens if made.usage else 0) == ("Hello!", 20)
        assert server.seen["/v1/responses gpt-5.5"][2] == {
            "model": "gpt-5.5",
            "input": "hi",
            "max_output_tokens": 9,
            "x_own": [1],
        }
        with client.responses.create(model="gpt", input="hi", stream=True) as events:
            kinds = [event.type for event in events]
    assert kinds == ["response.created", "response.output_text.delta", "response.completed"]
    assert server.seen["/v1/responses gpt-5.5"][2] == {"model": "gpt-5.5", "input": "hi", "stream": True}


def test_a_stream_of_responses_that_breaks_off_ends_with_an_error_event(
    house: tuple[Recorded, RunningGate],
) -> None:
    status, _, data = ask(house[1], "/v1/responses", {"model": "breaks", "input": "hi", "stream": True})
    assert status == 200
    last = data.split(b"\n\n")[-2]
    assert last.startswith(b"event: error\ndata: ")
    error = json.loads(last.partition(b"data: ")[2])
    assert error.keys() == {"type", "code", "message", "param"}
    assert b"[DONE]" not in data


# --- messages -------------------------------------------------------------------------------------


def test_messages(house: tuple[Recorded, RunningGate]) -> None:
    server, gate = house
    with claude(gate, default_headers={"anthropic-beta": "context-1m"}) as client:
        made = client.messages.create(model="claude", max_tokens=9, messages=HI, extra_body={"top_k": 5})
        assert (made.content[0].text, made.usage.output_tokens) == ("Hello!", 6)  # type: ignore[union-attr]
        _, headers, sent = server.seen["/v1/messages claude-sonnet-4-6"]
        assert sent == {"model": "claude-sonnet-4-6", "max_tokens": 9, "messages": HI, "top_k": 5}
        assert headers["x-api-key"] == UPSTREAM_KEY
        assert headers["anthropic-beta"] == "context-1m"
        assert headers["anthropic-version"].startswith("20")
        assert gate.key not in json.dumps(headers)
        with client.messages.stream(model="claude", max_tokens=9, messages=HI) as events:
            final = events.get_final_message()
    assert (final.content[0].text, final.usage.output_tokens, final.stop_reason) == ("Hello!", 6, "end_turn")  # type: ignore[union-attr]


def test_a_stream_of_messages_comes_byte_for_byte(house: tuple[Recorded, RunningGate]) -> None:
    body = {"model": "claude", "max_tokens": 9, "messages": HI, "stream": True}
    status, headers, data = ask(house[1], "/v1/messages", body)
    assert (status, data) == (200, MESSAGE_STREAM)
    assert headers["content-type"].startswith("text/event-stream")


def test_an_upstream_of_openais_format_may_have_messages_too(house: tuple[Recorded, RunningGate]) -> None:
    server, gate = house
    body = {"model": "gpt", "max_tokens": 9, "messages": HI, "stream": True}
    assert ask(gate, "/v1/messages", body)[2] == MESSAGE_STREAM
    # Nothing is renamed, and no usage is asked for: that is another format's.
    assert server.seen["/v1/messages gpt-5.5"][2] == {**body, "model": "gpt-5.5"}


@pytest.mark.parametrize(
    ("model", "kind", "status"),
    [
        ("refuses", anthropic.InternalServerError, 503),
        ("too-long", anthropic.BadRequestError, 400),
        ("nobody", anthropic.NotFoundError, 404),
    ],
)
def test_errors_of_messages_are_in_its_own_shape(
    house: tuple[Recorded, RunningGate], model: str, kind: type[anthropic.APIStatusError], status: int
) -> None:
    with claude(house[1]) as client, pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(model=model, max_tokens=9, messages=HI)
    assert isinstance(caught.value, kind)
    assert caught.value.status_code == status
    assert caught.value.body["type"] == "error"  # type: ignore[index]
    assert caught.value.body["error"].keys() == {"type", "message"}  # type: ignore[index]
    assert "10.0.0.7" not in str(caught.value)


def test_an_error_in_a_stream_of_messages_is_in_its_own_shape(house: tuple[Recorded, RunningGate]) -> None:
    body = {"model": "stumbles", "max_tokens": 9, "messages": HI, "stream": True}
    _, _, data = ask(house[1], "/v1/messages", body)
    last = data.split(b"\n\n")[-2]
    assert last.startswith(b"event: error\ndata: ")
    assert json.loads(last.partition(b"data: ")[2])["error"].keys() == {"type", "message"}
    assert b"10.0.0.7" not in data


def ask(
    gate: RunningGate, path: str, body: Json, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=60)
    given = {"authorization": f"Bearer {gate.key}"} if headers is None else headers
    connection.request("POST", path, json.dumps(body).encode(), {**given, "content-type": "application/json"})
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    return reply.status, {name.lower(): value for name, value in reply.getheaders()}, data


def test_the_other_header_opens_this_route_and_no_other(house: tuple[Recorded, RunningGate]) -> None:
    gate = house[1]
    message = {"model": "claude", "max_tokens": 9, "messages": HI}
    right, wrong = {"x-api-key": gate.key}, {"x-api-key": "sk-wrong"}
    assert ask(gate, "/v1/messages", message, right)[0] == 200
    assert ask(gate, "/v1/messages", message, wrong)[0] == 401
    assert ask(gate, "/v1/messages", message, {})[0] == 401
    # Whoever sends both is judged by the usual one.
    assert ask(gate, "/v1/messages", message, {**right, "authorization": "Bearer sk-wrong"})[0] == 401
    assert ask(gate, "/v1/messages", message, {**right, "authorization": "Basic x"})[0] == 401
    for path, body in (
        ("/v1/responses", {"model": "gpt", "input": "hi"}),
        ("/v1/chat/completions", {"model": "gpt", "messages": HI}),
        ("/v1/rerank", {"model": "rerank-v4.0", "query": "q", "documents": ["a"]}),
    ):
        assert ask(gate, path, body, right)[0] == 401


# --- moderations, rerank --------------------------------------------------------------------------


def test_moderations(house: tuple[Recorded, RunningGate]) -> None:
    server, gate = house
    with openai.OpenAI(base_url=f"{gate.url}/v1", api_key=gate.key) as client:
        assert not client.moderations.create(input="hi").results[0].flagged
    assert server.seen["/v1/moderations omni-moderation-latest"][2] == {
        "input": "hi",
        "model": "omni-moderation-latest",
    }


@pytest.mark.parametrize("model", ["gpt", "rerank-v4.0"])
def test_rerank(house: tuple[Recorded, RunningGate], model: str) -> None:
    gate = house[1]
    body = {"model": model, "query": "q", "documents": ["a", "b"], "top_n": 1}
    status, _, data = ask(gate, "/v1/rerank", body)
    assert (status, json.loads(data)) == (200, RANKED)


def test_of_two_upstreams_the_one_that_has_it_is_asked(house: tuple[Recorded, RunningGate]) -> None:
    body = {"model": "both", "max_tokens": 9, "messages": HI}
    assert json.loads(ask(house[1], "/v1/messages", body)[2]) == MESSAGE


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/responses", "claude"),
        ("/v1/messages", "rerank-v4.0"),
        ("/v1/moderations", "claude"),
        ("/v1/rerank", "claude"),
    ],
)
def test_who_does_not_have_it_says_so(house: tuple[Recorded, RunningGate], path: str, model: str) -> None:
    body = {"model": model, "input": "hi", "messages": HI, "max_tokens": 1, "query": "q", "documents": ["a"]}
    status, _, data = ask(house[1], path, body)
    assert status == 404
    assert path in json.loads(data)["error"]["message"]


# --- what is counted ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "model", "stream", "used"),
    [
        ("/v1/responses", "gpt", False, Usage(Source.REPORTED, 20, 8, 6, 2)),
        ("/v1/responses", "gpt", True, Usage(Source.REPORTED, 20, 8, 6, 2)),
        ("/v1/messages", "claude", False, Usage(Source.REPORTED, 18, 10, 6, 0, 3)),
        ("/v1/messages", "claude", True, Usage(Source.REPORTED, 18, 10, 6, 0, 3)),
        ("/v1/rerank", "gpt", False, Usage(Source.REPORTED, 17)),
    ],
)
def test_usage_is_recorded(
    house: tuple[Recorded, RunningGate], path: str, model: str, stream: bool, used: Usage
) -> None:
    gate = house[1]
    body = {"model": model, "input": "hi", "messages": HI, "max_tokens": 1, "query": "q", "documents": ["a"]}
    status, headers, _ = ask(gate, path, {**body, "stream": stream})
    assert status == 200
    records = list(read(gate.folder / "data/journal"))
    [attempt] = [
        record.attempt
        for record in records
        if isinstance(record, Opened) and record.request_id == headers["x-request-id"]
    ]
    [closed] = [record for record in records if isinstance(record, Closed) and record.attempt == attempt]
    assert (closed.outcome, closed.usage) == (Outcome.OK, used)
