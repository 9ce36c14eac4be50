"""Bedrock's dialect through a real gate: signed requests, binary frames, errors."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import openai
import pytest

from tests.dialects.conversations import chunks_of
from tests.dialects.frames import frames_of
from tests.dialects.recorded import Answer, Recorded, recorded
from tests.dialects.test_bedrock_cases import CASES, FAILING, model_of, options_of, upstream_of
from tests.gates import RunningGate, open_gate

Json = dict[str, Any]
KEY_ID, KEY, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY", "session-token-0123456789"
ERRORS = {
    "throttled": (429, "ThrottlingException", "Too many tokens of account 123456789012"),
    "locked": (403, "AccessDeniedException", "User: arn:aws:iam::123456789012:user/x is not authorized"),
    "too_long": (400, "ValidationException", "Input is too long for requested model."),
    "gone": (400, "ValidationException", "The provided model identifier is invalid."),
}


def name_of(case: Path) -> str:
    """The upstream's name for a case: how the model is spoken to is judged by it."""
    return (
        f"{case.name}.{model_of(case).rpartition('/')[2] if 'profile' in model_of(case) else model_of(case)}"
    )


def case_of(name: str) -> Path:
    return next(case for case in CASES if case.name == name.partition(".")[0])


def asked_for(path: str, _: Json) -> str:
    return unquote(path.split("/")[2])


def answer(name: str, _: Json) -> Answer:
    if name in ERRORS:
        status, kind, message = ERRORS[name]
        headers = {"content-type": "application/json", "x-amzn-errortype": f"{kind}:http://internal/"}
        return status, headers, json.dumps({"message": message}).encode()
    case = case_of(name)
    if case.name.endswith("_stream"):
        return 200, {"content-type": "application/vnd.amazon.eventstream"}, frames_of(case / "reply.jsonl")
    return 200, {"content-type": "application/json"}, (case / "reply.json").read_bytes()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recorded, RunningGate]]:
    """The server, and a gate before it with an upstream for each way in which it can be configured."""
    with recorded(asked_for, answer) as server:
        models: dict[str, list[str]] = {"refuse": list(ERRORS), "drop": []}
        for case in CASES:
            models[options_of(case).get("unsupported", "refuse")].append(name_of(case))
        tables = [
            f'[[upstream]]\nname = "{unsupported}"\ndialect = "bedrock"\nunsupported = "{unsupported}"\n'
            f'base_url = "http://127.0.0.1:{server.server_port}"\n'
            'identity = { kind = "aws", access_key_id = { env = "ID" }, '
            'secret_access_key = { env = "SECRET" }, session_token = { env = "TOKEN" }, region = "r" }\n'
            f"models = {json.dumps(names)}\n"
            for unsupported, names in models.items()
        ]
        folder = tmp_path_factory.mktemp("bedrock")
        environment = {"ID": KEY_ID, "SECRET": KEY, "TOKEN": TOKEN}
        # What an upstream says is told as it is: none rests for it.
        tables.append("[health]\nrest_max_ms = 1\n")
        with open_gate(folder, "\n".join(tables), environment=environment) as gate:
            yield server, gate
            assert KEY not in gate.log + gate.printed
            assert TOKEN not in gate.log + gate.printed


def ask(gate: RunningGate, body: Json) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=60)
    headers = {"authorization": f"Bearer {gate.key}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body).encode(), headers)
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    return reply.status, {name.lower(): value for name, value in reply.getheaders()}, data


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case(house: tuple[Recorded, RunningGate], case: Path) -> None:
    server, gate = house
    request = {**json.loads((case / "request.json").read_text()), "model": name_of(case)}
    status, headers, data = ask(gate, request)

    _, sent_headers, sent = server.seen[name_of(case)]
    expected = upstream_of(case)
    assert sent_headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={KEY_ID}/")
    assert sent_headers["x-amz-security-token"] == TOKEN
    if case.name != "thinking_behind_a_profile_whole":
        assert sent == expected["body"]
    assert status == 200, data
    assert headers.get("x-headgate-dropped", "") == ", ".join(expected["dropped"])

    if case.name.endswith("_whole"):
        made, golden = json.loads(data), json.loads((case / "client.json").read_text())
        for changing in ("id", "created", "model"):
            assert made.pop(changing)
            golden.pop(changing)
        assert made == golden
        return
    assert headers["content-type"].startswith("text/event-stream")
    made_chunks, golden_chunks = chunks_of(data), chunks_of((case / "client.sse").read_bytes())
    if case.name in FAILING:
        assert "error" in made_chunks.pop()
        assert b"[DONE]" not in data
        golden_chunks = [chunk for chunk in golden_chunks if "error" not in chunk]
    else:
        assert data.count(b"[DONE]") == 1
        if not request.get("stream_options"):
            golden_chunks.pop()  # the usage, which the client did not ask for
    assert len({chunk["id"] for chunk in made_chunks}) == 1
    for chunk in [*made_chunks, *golden_chunks]:
        for changing in ("id", "created", "model"):
            assert chunk.pop(changing)
    assert made_chunks == golden_chunks


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("throttled", 429, "rate_limit_exceeded"),
        ("locked", 502, "upstream_error"),
        ("too_long", 400, "context_length_exceeded"),
        ("gone", 404, "model_not_found"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error(
    house: tuple[Recorded, RunningGate], name: str, status: int, code: str, stream: bool
) -> None:
    found, _, data = ask(
        house[1], {"model": name, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    )
    assert (found, json.loads(data)["error"]["code"]) == (status, code)
    assert b"123456789012" not in data


def test_every_reply_has_an_id_of_its_own(house: tuple[Recorded, RunningGate]) -> None:
    with openai.OpenAI(base_url=f"{house[1].url}/v1", api_key=house[1].key) as client:
        model = name_of(next(case for case in CASES if case.name == "plain_whole"))
        made = [
            client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}]).id
            for _ in range(3)
        ]
    assert len(set(made)) == 3
    assert all(one.startswith("chatcmpl-") for one in made)


def test_a_stream_is_accumulated_by_the_official_client(house: tuple[Recorded, RunningGate]) -> None:
    model = name_of(next(case for case in CASES if case.name == "parallel_calls_stream"))
    with openai.OpenAI(base_url=f"{house[1].url}/v1", api_key=house[1].key) as client:
        user: Any = {"role": "user", "content": "hi"}
        with client.chat.completions.stream(model=model, messages=[user]) as stream:
            calls = stream.get_final_completion().choices[0].message.tool_calls
    assert calls is not None
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("get_weather", {"location": "Paris"}),
        ("get_time", {"zone": "CET"}),
    ]
