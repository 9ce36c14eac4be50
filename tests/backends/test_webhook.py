"""One delivery on a real socket: what is sent, signed and said of failures."""

from __future__ import annotations

import base64
import hmac

import pytest

from headgate.backends.webhook import NotDelivered, deliver, signature
from tests.backends.scripted import Line, scripted
from tests.conftest import run, unused_port


def test_id_time_body_and_secret_are_all_signed() -> None:
    secret = b"\x31\xf2\xa0\x49\xd0\x36\xc9\xa1"
    body = b'{"test": 2432232314}'
    made = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    expected = hmac.new(secret, b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330." + body, "sha256").digest()
    assert made == "v1," + base64.b64encode(expected).decode()
    assert made != signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265331, body)
    assert made != signature(b"other", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)


def test_a_delivery_arrives_whole_and_signed() -> None:
    async def main() -> None:
        heads: list[bytes] = []

        async def script(line: Line) -> None:
            heads.append(await line.request())
            await line.send(b"HTTP/1.1 204 No Content\r\n\r\n")

        async with scripted(script) as receiver:
            await deliver(f"http://127.0.0.1:{receiver.port}/a?b=c", b"secret", "evt_1", 5, b"{}")
        assert heads[0].startswith(b"POST /a?b=c HTTP/1.1\r\n")
        assert b"webhook-id: evt_1\r\nwebhook-timestamp: 5\r\n" in heads[0]
        assert signature(b"secret", "evt_1", 5, b"{}").encode() in heads[0]
        assert heads[0].endswith(b"\r\n\r\n{}")

    run(main())


@pytest.mark.parametrize("status", [b"301 Moved", b"410 Gone", b"500 Broken"])
def test_any_other_status_is_a_failure(status: bytes) -> None:
    async def main() -> None:
        async def script(line: Line) -> None:
            await line.request()
            await line.send(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")

        async with scripted(script) as receiver:
            with pytest.raises(NotDelivered, match=status.decode()[:3]):
                await deliver(f"http://127.0.0.1:{receiver.port}/", b"secret", "evt_1", 5, b"{}")

    run(main())


@pytest.mark.parametrize(
    ("url", "secret", "said"),
    [
        ("http://127.0.0.1:{port}/", b"", "no secret"),
        ("http://127.0.0.1:{port}/s3cret", b"x", "cannot be reached"),
        ("http://user:s3cret@127.0.0.1/", b"x", "cannot be used"),
        ("http://127.0.0.1:{port}/\u00e4", b"x", "cannot be used"),
        ("http://127.0.0.1:{port}/a b", b"x", "characters"),
        ("ftp://127.0.0.1/", b"x", "cannot be used"),
    ],
)
def test_what_cannot_be_delivered_is_said_without_its_url(url: str, secret: bytes, said: str) -> None:
    async def main() -> None:
        with pytest.raises(NotDelivered, match=said) as caught:
            await deliver(url.format(port=unused_port()), secret, "evt_1", 5, b"{}")
        assert "s3cret" not in str(caught.value)

    run(main())
