"""What docs/routing.md tells the reader to try: three real engines, one of them killed in mid-answer."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import gguf
import pytest

from tests.conftest import unused_port
from tests.gates import RunningGate
from tests.structure.pages import first_block, read, section

ENGINE_KEY = "sk-engines-0123456789"
START_LIMIT_S = 60.0
"""Loading two megabytes, on a machine that does a dozen other things."""

WORDS = section(read("routing.md"), "Try it")


def request() -> dict[str, Any]:
    """The request of the page."""
    found = re.search(r"-d '(\{.*?\})'", WORDS, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def starter() -> Path:
    folder = pytest.importorskip("headgate_starter").__path__[0]
    return Path(folder) / "starter-chat.gguf"


@contextmanager
def engine(port: int) -> Generator[subprocess.Popen[bytes]]:
    """One engine, as the page starts it, once it answers."""
    words = ["--model", str(starter()), "--port", str(port), "--api-key-env", "ENGINE_KEY"]
    command = [sys.executable, "-m", "headgate", "engine", "llamacpp", *words]
    with subprocess.Popen(
        command, env={**os.environ, "ENGINE_KEY": ENGINE_KEY}, stdout=subprocess.DEVNULL
    ) as process:
        try:
            deadline_s = time.monotonic() + START_LIMIT_S
            while not _answers(port):
                assert process.poll() is None, "the engine has ended"
                assert time.monotonic() < deadline_s, "the engine did not start"
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def ask(gate: RunningGate, on_text: Callable[[str], None] = lambda _: None) -> tuple[str, set[str], str]:
    """The page's request: the answer's text, every id it had, and who began it."""
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=120)
    headers = {"authorization": f"Bearer {gate.key}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(request()), headers)
    reply = connection.getresponse()
    assert reply.status == 200, reply.read()
    text, ids, last = "", set(), ""
    for line in reply:
        if line.startswith(b"data: {"):
            chunk = json.loads(line[6:])
            assert "error" not in chunk, chunk
            ids.add(chunk["id"])
            for choice in chunk["choices"]:
                text += choice["delta"].get("content") or ""
            on_text(text)
        last = line.decode().strip() or last
    assert last == "data: [DONE]"
    connection.close()
    return text, ids, reply.headers["x-headgate-upstream"]


def test_one_is_killed_and_the_answer_goes_on(start_gate: Callable[..., RunningGate]) -> None:
    reader = gguf.GGUFReader(starter())
    end = reader.fields["tokenizer.ggml.eos_token_id"].contents()
    assert request()["logit_bias"] == {str(end): -100}, "the page names the token that ends an answer"
    toml = first_block(WORDS, "toml")
    with ExitStack() as stack:
        engines = []
        for known in (9001, 9002, 9003):
            port = unused_port()
            engines.append(stack.enter_context(engine(port)))
            toml = toml.replace(f":{known}/", f":{port}/")
        gate = start_gate(toml, environment={"ENGINE_KEY": ENGINE_KEY})
        whole, ids, upstream = ask(gate)
        assert (len(ids), upstream) == (1, "one")
        assert len(whole) > 200, "there has to be time"

        def kill(text: str) -> None:
            if text and engines[0].poll() is None:
                engines[0].kill()
                engines[0].wait()

        broken, ids, upstream = ask(gate, kill)
        assert engines[0].poll() is not None
        assert (len(ids), upstream) == (1, "one")
        # As a rule all of it is the same. But text can be cut into other tokens than it was made of, and
        # what the model says when it may not end hangs by a thread: what it was trained to say does not.
        sentence = whole.partition("\n")[0]
        assert len(sentence) > 40
        assert broken.startswith(sentence)
        assert len(broken) > len(whole) * 0.8, "it went on to the end"
        again, _, upstream = ask(gate)
        assert (again, upstream != "one") == (whole, True)
        gate.stop()
