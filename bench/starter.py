"""Tokens a second of the starter model: its engine alone, and the same engine behind the gate."""

import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from gguf import GGUFReader

from bench import interpreter
from bench.contestants import KEY
from bench.load import Wrong
from bench.machine import CACHE, ROOT
from bench.measures import Plan, Row, Target
from bench.ratios import ratios

MODEL = ROOT / "packages/headgate-starter/src/headgate_starter/starter-chat.gguf"
ENGINE_PORT, GATE_PORT = 9150, 9151
TOKENS = 500  # long enough to be sure, short enough that attention over the context is not all there is
START_TIMEOUT_S = 60
MIN_ROUNDS = 15  # engine, gate and client on two cores: single rounds differ by a tenth


def starter(plan: Plan, model: Path) -> list[Row]:
    """Streamed tokens a second through the gate, as a ratio to the engine alone; alternating requests."""
    row = Row("starter tokens/s through the gate", "of the engine alone", 3, Target(0.97, at_least=True))
    engine = [
        "engine",
        "llamacpp",
        "--model",
        str(model),
        "--port",
        str(ENGINE_PORT),
        "--api-key-env",
        "BENCH_KEY",
    ]
    data = CACHE / "run" / "starter"
    gate = ["serve", "--model", str(model), "--port", str(GATE_PORT), "--data", str(data)]
    speeds: dict[str, list[float]] = {"alone": [], "gate": []}
    try:
        end_token = _end_token(model)
        with Process(engine, ENGINE_PORT, "engine"), Process(gate, GATE_PORT, "gate"):
            for port in (ENGINE_PORT, GATE_PORT):
                _tokens_per_second(port, model, end_token)  # lazy starts and cold caches are not measured
            for number in range(max(plan.rounds, MIN_ROUNDS)):
                for name, port in (("alone", ENGINE_PORT), ("gate", GATE_PORT)):
                    speed = _tokens_per_second(port, model, end_token)
                    speeds[name].append(speed)
                    print(f"  round {number + 1} {name}: {speed:.0f} tokens/s", file=sys.stderr, flush=True)
    except (Wrong, OSError, KeyError, ValueError) as reason:
        row.cells["headgate"] = f"{type(reason).__name__}: {reason}"
        print(f"  {row.cells['headgate']}", file=sys.stderr)
        return [row]
    row.absolute = speeds
    row.cells["headgate"] = ratios(speeds["gate"], speeds["alone"])
    return [row]


def _end_token(model: Path) -> int:
    field = GGUFReader(model).fields["tokenizer.ggml.eos_token_id"]
    return int(field.contents())


def _tokens_per_second(port: int, model: Path, end_token: int) -> float:
    """Speed of one long stream, from sending the request to the last event."""
    body = {
        "model": model.stem,
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": TOKENS,
        "temperature": 0,
        "logit_bias": {str(end_token): -100},  # it never ends by itself
    }
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.connect()
        began = time.perf_counter()
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        reply = connection.getresponse()
        if reply.status != 200:
            raise Wrong(f"{reply.status} {reply.read(500)!r}")
        tokens = _tokens(reply)
        return tokens / (time.perf_counter() - began)
    finally:
        connection.close()


def _tokens(reply: http.client.HTTPResponse) -> int:
    """Reads a stream to its end; how many tokens it says it had."""
    usage, done = None, False
    for line in reply:
        if b'"usage":{' in line:
            event: dict[str, Any] = json.loads(line[6:])
            usage = event["usage"]
        done = done or line.startswith(b"data: [DONE]")
    if not usage or not done:
        raise Wrong("the stream ended without usage or [DONE]")
    if usage["completion_tokens"] < TOKENS / 2:
        raise Wrong(f"only {usage['completion_tokens']} of {TOKENS} tokens were made")
    return int(usage["completion_tokens"])


class Process:
    """`headgate ...` with the bench's key, from when it answers until the `with` ends."""

    def __init__(self, arguments: list[str], port: int, name: str) -> None:
        self._arguments, self._port = arguments, port
        self._log = CACHE / f"starter-{name}.log"

    def __enter__(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*interpreter.headgate(), *self._arguments],
                env={**os.environ, "HEADGATE_MASTER_KEY": KEY, "BENCH_KEY": KEY},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise Wrong(f"did not start: {self._log.read_text()[-1000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {KEY}"})
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
