"""Bearer token to principal. Nothing else of a request is looked at, and nothing of it shows in an error."""

from __future__ import annotations

from headgate.core.errors import Unauthorized
from headgate.core.ports import Exchange, Keys, Principal

SCHEME = b"bearer"


class MissingKey(Unauthorized):
    """No key was sent."""

    code = None


def authenticate(exchange: Exchange, keys: Keys) -> Principal:
    """Who asks; raises Unauthorized."""
    header = exchange.header(b"authorization")
    if not header:
        raise MissingKey(
            "You didn't provide an API key. Send it in the Authorization header, as in "
            "'Authorization: Bearer YOUR_KEY'."
        )
    scheme, _, token = header.partition(b" ")
    principal = keys.find(token.strip()) if scheme.lower() == SCHEME else None
    if principal is None:
        raise Unauthorized("Incorrect API key provided.")
    return principal
