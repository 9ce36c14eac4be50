"""A slice of `make fuzz`, and proof that the fuzzer sees what it is meant to see."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from random import Random

import pytest

from tests.conftest import run
from tests.edge.serving import Reply
from tests.fuzz.bodies import SEEDS, body
from tests.fuzz.model import Model
from tests.fuzz.session import fuzz
from tests.fuzz.storm import Finding, Tally, broken, chat, judge

ERROR = b'{"error": {"message": "a", "type": "b", "param": null, "code": null}}'


def test_two_thousand_mutated_requests(tmp_path: Path) -> None:
    report = fuzz(tmp_path, 2000, 20_261_122)
    statuses = report.tally.statuses
    # A storm in which nothing gets through, or everything, finds nothing.
    assert statuses[200] > 200, report
    assert statuses[400] > 400, report
    assert statuses[401] > 10, report
    assert statuses[408] > 5, report
    assert report.upstream_requests > 150, report


def test_cases_depend_on_their_number_alone() -> None:
    for make in (chat, broken):
        first = make(Random("1:7"))
        assert len({make(Random(f"1:{number}")) for number in range(500)}) > 400
        assert make(Random("1:7")) == first


def test_mutated_bodies_are_of_every_kind() -> None:
    valid = unchanged = 0
    for number in range(2000):
        data = body(Random(number))
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            continue
        valid += 1
        unchanged += isinstance(value, dict) and value | {"model": "m"} in SEEDS
    assert 1000 < valid < 1900
    assert 100 < unchanged < 600


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500, [], ERROR),
        Reply(502, [], ERROR),
        Reply(503, [], ERROR),
        Reply(504, [], ERROR),
        Reply(400, [], b'{"error": {"message": "a"}}'),
        Reply(200, [(b"content-type", b"text/event-stream; charset=utf-8")], b"data: {}\n\n"),
    ],
    ids=["500", "502", "503", "504", "shape", "stream"],
)
def test_a_bad_reply_is_a_finding(reply: Reply) -> None:
    with pytest.raises(Finding):
        judge(reply, Tally())


def test_the_upstream_complains_of_what_is_not_json() -> None:
    async def main() -> None:
        model = Model()
        await model.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", model.port)
        for wrong, data in enumerate(
            [b'{"model":"m"}', b'{"model":NaN}', b'{"model":"x"}', b"{", b"[" * 100_000]
        ):
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data)
            )
            await reader.readuntil(b"\r\n\r\n")
            while b"usage" not in await reader.readuntil(b"}"):
                pass
            await reader.readexactly(1)
            assert len(model.complaints) >= wrong
        writer.close()
        await model.stop()

    run(main())
