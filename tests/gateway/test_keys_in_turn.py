"""Several keys of one upstream through a whole gate: one is refused, one is limited, and nobody notices."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable

from tests.backends.scripted import Line, scripted
from tests.conftest import run
from tests.gates import RunningGate
from tests.gateway.house import answer, whole


def test_keys_are_asked_in_turn_and_rested_one_by_one(start_gate: Callable[..., RunningGate]) -> None:
    seen: list[str] = []
    replies = {
        "sk-good": whole(answer("Hello")),
        "sk-wrong": whole(b'{"error":{"message":"no sk-wrong here"}}', "401 No"),
        "sk-tired": whole(b"{}", "429 Slow", "retry-after: 60"),
    }

    async def script(line: Line) -> None:
        while True:
            found = re.search(rb"authorization: Bearer (\S+)", await line.request())
            assert found
            seen.append(found[1].decode())
            await line.send(replies[seen[-1]])

    async def main() -> None:
        async with scripted(script) as upstream:
            gate = await asyncio.to_thread(
                start_gate,
                f'[[upstream]]\nname = "far"\nbase_url = "http://127.0.0.1:{upstream.port}/v1"\n'
                'models = ["m"]\napi_keys = [{ env = "ONE" }, { env = "TWO" }, { env = "THREE" }]\n',
                environment={"ONE": "sk-wrong", "TWO": "sk-tired", "THREE": "sk-good"},
            )
            for _ in range(6):
                reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
                body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}).encode()
                writer.write(
                    b"POST /v1/chat/completions HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer %b\r\n"
                    b"connection: close\r\ncontent-length: %d\r\n\r\n%b"
                    % (gate.key.encode(), len(body), body)
                )
                said = await reader.read()
                assert said.startswith(b"HTTP/1.1 200"), said
                assert b"sk-" not in said
                writer.close()
            await asyncio.to_thread(gate.stop)
            assert "sk-" not in gate.log + gate.printed

    run(main())
    assert seen == ["sk-wrong", "sk-tired", *["sk-good"] * 6]
