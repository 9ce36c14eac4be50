"""What `make run` serves besides chat: every alias of the page, under a real gate; how engines are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.engines.sounds import tone, wav
from tests.forms import content_type, form
from tests.gates import RunningGate, wait_until

ALIASES = {
    "text-embedding-3-small": "starter-embed",
    "text-embedding-ada-002": "starter-embed",
    "tts-1": "starter-speech",
    "gpt-4o-mini-tts": "starter-speech",
    "whisper-1": "starter-transcribe",
    "gpt-4o-transcribe": "starter-transcribe",
    "gpt-3.5-turbo-instruct": "starter-chat",
}
REMOTE = '[[upstream]]\nname = "far"\nbase_url = "http://127.0.0.1:9/v1"\nmodels = ["m"]\n'


def ask(gate: RunningGate, path: str, body: Any = None, kind: str = "application/json") -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", gate.port, timeout=120)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {gate.key}", "content-type": kind}
    connection.request("POST" if data else "GET", f"/v1{path}", data, headers)
    reply = connection.getresponse()
    found = reply.read()
    connection.close()
    return reply.status, found


def models(gate: RunningGate) -> set[str]:
    return {model["id"] for model in json.loads(ask(gate, "/models")[1])["data"]}


def test_every_alias_is_there_until_there_is_an_upstream(start_gate: Callable[..., RunningGate]) -> None:
    assert models(start_gate()) >= ALIASES.keys() | set(ALIASES.values())
    configured = models(start_gate(REMOTE))
    assert configured >= set(ALIASES.values())
    assert not configured & ALIASES.keys()


def test_replies_tell_who_answered(start_gate: Callable[..., RunningGate]) -> None:
    gate = start_gate()
    status, data = ask(gate, "/embeddings", {"model": "text-embedding-3-small", "input": "Hello"})
    assert (status, json.loads(data)["model"]) == (200, "starter-embed")
    status, data = ask(gate, "/completions", {"model": "gpt-3.5-turbo-instruct", "prompt": "Hello"})
    assert (status, json.loads(data)["model"]) == (200, "starter-chat")


def test_a_model_that_serves_something_else_is_named(start_gate: Callable[..., RunningGate]) -> None:
    gate = start_gate()
    sound = form(("model", "tts-1"), ("file", wav(tone(1.0)), "upload"))
    for path, body, kind in (
        ("/embeddings", {"model": "tts-1", "input": "a"}, "application/json"),
        ("/audio/speech", {"model": "whisper-1", "input": "a", "voice": "alloy"}, "application/json"),
        (
            "/chat/completions",
            {"model": "tts-1", "messages": [{"role": "user", "content": "a"}]},
            "application/json",
        ),
        ("/completions", {"model": "text-embedding-3-small", "prompt": "a"}, "application/json"),
        ("/audio/transcriptions", sound, content_type()),
    ):
        status, data = ask(gate, path, body, kind)
        error = json.loads(data)["error"]
        assert (status, error["param"]) == (404, "model"), (path, error)


def slept(gate: RunningGate, times: int) -> bool:
    return gate.log.count("its memory is free") == times


def test_an_engine_sleeps_when_nobody_needs_it(start_gate: Callable[..., RunningGate]) -> None:
    gate = start_gate('[[engine]]\nname = "voice"\nkind = "speech"\nidle_ms = 1\n')
    say = {"model": "voice", "input": "Hello.", "voice": "alloy"}
    for times in (1, 2):
        status, data = ask(gate, "/audio/speech", say)
        assert status == 200, data
        wait_until(partial(slept, gate, times), "it to sleep")


@pytest.mark.parametrize("body", [b"", b"{", b'{"model":"tts-1"}', b"\xff" * 100], ids=range(4))
def test_a_bad_request_leaves_an_engine_alone(body: bytes, start_gate: Callable[..., RunningGate]) -> None:
    gate = start_gate()
    assert ask(gate, "/audio/speech", body or b" ")[0] == 400
    assert ask(gate, "/audio/speech", {"model": "tts-1", "input": "Hi.", "voice": "alloy"})[0] == 200
