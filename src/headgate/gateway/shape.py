"""What endpoints of other formats want otherwise: their headers go along, errors are told their way.

Must not know which format it is: that is the endpoint's row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from headgate.core.endpoint import Endpoint
from headgate.core.errors import ApiError
from headgate.core.ports import Exchange, Headers

VALUE_BYTES = 1024
"""Longest value of such a header that goes along: a list of names."""


def forwarded(exchange: Exchange, endpoint: Endpoint) -> Headers:
    """The client's headers that belong to the endpoint's format."""
    found = ((name, exchange.header(name)) for name in endpoint.forwards)
    return [(name, value) for name, value in found if value is not None and len(value) <= VALUE_BYTES]


def shaped(
    handle: Callable[[Exchange], Awaitable[None]], endpoint: Endpoint
) -> Callable[[Exchange], Awaitable[None]]:
    """The same handler, whose errors are told in the endpoint's own shape."""

    async def told(exchange: Exchange) -> None:
        try:
            await handle(exchange)
        except ApiError as error:
            error.as_body, error.as_event = endpoint.error_body, endpoint.error_event
            raise

    return told
