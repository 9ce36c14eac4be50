"""One delivery to a webhook: signed as Standard Webhooks says, sent, judged by its status.

    webhook-id, webhook-timestamp, webhook-signature: v1,BASE64(HMAC-SHA256(secret, "ID.TIMESTAMP.BODY"))

Must not know what is delivered, nor when it is tried again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import urlsplit

from headgate import __version__
from headgate.backends.pool import Limits, Pool
from headgate.core.address import parse_base_url
from headgate.core.errors import UpstreamError

LIMITS = Limits(connect_timeout_ms=5000, first_byte_timeout_ms=15_000, idle_timeout_ms=5000)
"""A receiver only takes note; what it does with the news it does afterwards."""
_OK = range(200, 300)


class NotDelivered(Exception):
    """Why not, in words for the operator; nothing of the URL, the secret or the reply is in them."""


def signature(secret: bytes, delivery_id: str, timestamp_s: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = b"%b.%d.%b" % (delivery_id.encode(), timestamp_s, body)
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


async def deliver(url: str, secret: bytes, delivery_id: str, timestamp_s: int, body: bytes) -> None:
    """Sends it once; raises NotDelivered unless the receiver answers with 2xx."""
    if not secret:
        raise NotDelivered("it has no secret")
    parts = urlsplit(url)
    try:
        address = parse_base_url(f"{parts.scheme}://{parts.netloc}")
        target = ((parts.path or "/") + (f"?{parts.query}" if parts.query else "")).encode("ascii")
    except ValueError as error:
        raise NotDelivered(f"its URL cannot be used: {error}") from None
    lines = [
        b"POST %b HTTP/1.1" % target,
        b"host: " + address.authority.encode("ascii"),
        b"user-agent: headgate/" + __version__.encode("ascii"),
        b"content-type: application/json",
        b"webhook-id: " + delivery_id.encode("ascii"),
        b"webhook-timestamp: %d" % timestamp_s,
        b"webhook-signature: " + signature(secret, delivery_id, timestamp_s, body).encode("ascii"),
        b"content-length: %d" % len(body),
    ]
    if any(byte < 0x21 or byte == 0x7F for byte in target):
        raise NotDelivered("its URL has characters that no request can have")
    pool = Pool(address, limits=LIMITS)
    try:
        reply = await pool.send(b"\r\n".join(lines) + b"\r\n\r\n", body)
        status = reply.status
        reply.close()
    except (TimeoutError, UpstreamError, OSError) as error:
        raise NotDelivered(f"it cannot be reached: {error}") from None
    finally:
        await pool.close()
    if status not in _OK:
        raise NotDelivered(f"it answered with status {status}")
