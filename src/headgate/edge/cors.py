"""Cross-origin requests (the Fetch standard): what browsers are told about who may call.

Callers prove themselves with a bearer token and never with a cookie, so any origin may be let in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

EXPOSED = (
    b"x-request-id, openai-processing-ms, openai-version, retry-after, retry-after-ms, x-should-retry, "
    b"x-headgate-dropped, "
    b"x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    b"x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
)
"""Reply headers that a script in a browser may read."""

PREFLIGHT_AGE_S = 7200
"""How long a browser may keep the answer; Chromium's own cap."""


class Cors:
    """Allowed origins; `*` allows all."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def allows(self, origin: bytes) -> bool:
        """Whether pages of this origin may call."""
        return self._any or origin in self._origins

    def headers(self, origin: bytes) -> bytes:
        """Header lines for a reply to a request with this Origin."""
        if self._any:
            allowed = b"*"
        elif origin in self._origins:
            allowed = origin
        else:
            return b"vary: origin\r\n"
        lines = b"access-control-allow-origin: %b\r\naccess-control-expose-headers: %b\r\n" % (
            allowed,
            EXPOSED,
        )
        return lines if self._any else lines + b"vary: origin\r\n"

    def preflight(self, methods: Iterable[bytes], fields: Mapping[bytes, bytes]) -> bytes:
        """Header lines for the reply to an OPTIONS request on a path with these methods."""
        names = b", ".join(sorted((*methods, b"OPTIONS")))
        lines = b"allow: %b\r\n" % names
        origin = fields.get(b"origin")
        if origin is None or not self.allows(origin):
            return lines
        # An asked-for header list is echoed only as far as it is made of token characters.
        asked = fields.get(b"access-control-request-headers", b"authorization, content-type")
        wanted = bytes(octet for octet in asked if octet in _LIST_OCTETS)[:4096]
        return lines + (
            b"access-control-allow-methods: %b\r\n"
            b"access-control-allow-headers: %b\r\n"
            b"access-control-max-age: %d\r\n" % (names, wanted, PREFLIGHT_AGE_S)
        )


_LIST_OCTETS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_, ")
