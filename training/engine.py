"""llama.cpp in a child process of its own, serving one GGUF file over HTTP on a loopback port.

It must not know the gateway: a model is scored without it.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Many short requests at once fill a batch; each slot must hold the longest scored conversation.
SLOTS, SLOT_CONTEXT = 8, 2048

_CHILD = """
import os, sys, time
import xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
if sys.argv[4]:
    parameters.mmproj.path = sys.argv[4]
parameters.n_parallel = int(sys.argv[2])
parameters.n_ctx = int(sys.argv[2]) * int(sys.argv[3])
parameters.fit_params = False
parameters.ui = False
parameters.hostnames = ["127.0.0.1"]
parameters.port = 0
parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 2) - 1)
server = xllamacpp.Server(parameters)
print("listening", server.listening_address, flush=True)
sys.stdin.read()
os._exit(0)
"""


class Engine:
    """A running model; one connection per call, so it may be used from many threads."""

    def __init__(self, address: str) -> None:
        self._place = address.removeprefix("http://").rstrip("/")

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The JSON reply to a JSON request; RuntimeError with its text unless the status is 200."""
        connection = http.client.HTTPConnection(self._place, timeout=120)
        try:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode()
            if response.status != 200:
                raise RuntimeError(f"{path}: {response.status} {text}")
            answer: dict[str, Any] = json.loads(text)
            return answer
        finally:
            connection.close()

    def reply(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None, **fields: Any
    ) -> dict[str, Any]:
        """The assistant's message to a conversation, greedily unless `temperature` says otherwise."""
        # Room for three tool calls with long names: one token is one byte.
        defaults = {"model": "starter-chat", "temperature": 0, "max_tokens": 500}
        body: dict[str, Any] = defaults | {"messages": messages} | fields
        if tools:
            body["tools"] = tools
        message: dict[str, Any] = self.post("/v1/chat/completions", body)["choices"][0]["message"]
        return message


@contextmanager
def serving(
    model: Path, slots: int = SLOTS, slot_context: int = SLOT_CONTEXT, eye: Path | None = None
) -> Iterator[Engine]:
    """Start llama.cpp on the file and its eye, wait until it listens, and end it afterwards."""
    # Spinning threads on a busy machine slow a small model a hundredfold.
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-c", _CHILD, str(model), str(slots), str(slot_context), str(eye or "")]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            for line in child.stdout:
                if line.startswith("listening "):
                    yield Engine(line.split()[1])
                    return
            raise RuntimeError(f"llama.cpp did not start on {model.name}")
        finally:
            child.terminate()
