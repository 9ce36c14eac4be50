"""Bearer token to principal. Nothing else of a request is looked at, and nothing of it shows in an error."""

from __future__ import annotations

from headgate.core.errors import Unauthorized
from headgate.core.ports import Exchange, Keys, Principal


class MissingKey(Unauthorized):
    """No key was sent."""

    code = None


def authenticate(exchange: Exchange, keys: Keys, key_header: bytes | None = None) -> Principal:
    """Who asks; raises Unauthorized.

    `key_header` is one that may carry the key where there is no Authorization header: it opens nothing else.
    """
    token = exchange.bearer()
    if key_header is not None and token is None and exchange.header(b"authorization") is None:
        token = exchange.header(key_header)
    principal = keys.find(token) if token is not None else None
    if principal is None:
        if token is None and not exchange.header(b"authorization"):
            raise MissingKey(
                "You didn't provide an API key. Send it in the Authorization header, as in "
                "'Authorization: Bearer YOUR_KEY'."
            )
        raise Unauthorized("Incorrect API key provided.")
    if exchange.passage is not None:
        exchange.passage.principal = principal
    return principal
