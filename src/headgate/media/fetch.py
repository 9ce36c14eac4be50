"""Fetches what a client's URL points at: only from public addresses, and only from the one that was checked.

The name is looked up once, every address it has is checked, and the connection goes to one of those: a second
look-up might say something else (DNS rebinding). Must not know what is done with the bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import urljoin

from headgate.core.errors import InvalidField, UpstreamError, UpstreamTooLong
from headgate.core.outside import Place, is_public, read_url
from headgate.core.ports import Outside

REDIRECTS = 3
"""Links to pictures pass one or two (http to https, a content network); browsers allow 20."""

TIMEOUT_MS = 20_000
"""Names, connections and bytes of all redirects together: a client waits meanwhile."""

AT_ONCE = 32
"""Fetches under way: a request with hundreds of URLs must not become a flood from here."""


class Fetcher:
    """Fetches pictures for requests."""

    def __init__(
        self,
        outside: Outside,
        *,
        limit_bytes: int,
        timeout_ms: int = TIMEOUT_MS,
        allowed: Callable[[str], bool] = is_public,
    ) -> None:
        """`allowed` judges IP addresses: an operator may have pictures inside that clients may name."""
        self._outside = outside
        self._allowed = allowed
        self._limit_bytes = limit_bytes
        self._timeout_ms = timeout_ms
        self._places = asyncio.Semaphore(AT_ONCE)

    async def fetch(self, url: str, field: str) -> bytes:
        """What stands at a URL; raises InvalidField with `field` as its param, and says no more than it must.

        What kind of failure it was would tell a client which ports are open in there.
        """
        try:
            async with self._places, asyncio.timeout(self._timeout_ms / 1000):
                return await self._follow(url)
        except ValueError as error:
            raise InvalidField(f"Invalid '{field}': {error}.", param=field, code="invalid_value") from None
        except UpstreamTooLong:
            limit_mebibytes = self._limit_bytes // 1_048_576
            raise InvalidField(
                f"Invalid '{field}': what it points at is larger than {limit_mebibytes} MiB.",
                param=field,
                code="invalid_image_url",
            ) from None
        except (UpstreamError, TimeoutError):
            raise InvalidField(
                f"Invalid '{field}': nothing could be downloaded from there.",
                param=field,
                code="invalid_image_url",
            ) from None

    async def _follow(self, url: str) -> bytes:
        for _ in range(REDIRECTS + 1):
            place = read_url(url)
            fetched = await self._outside.get(place, await self._checked(place), self._limit_bytes)
            if fetched.status == 200:
                return fetched.body
            if fetched.status not in (301, 302, 303, 307, 308) or not fetched.location:
                break
            url = urljoin(url, fetched.location)
        raise UpstreamError("no body at the end of the redirects")

    async def _checked(self, place: Place) -> str:
        """The address to connect to. One that is not allowed is a reason to refuse them all."""
        addresses = await self._outside.look_up(place.host, place.port)
        if not addresses or not all(self._allowed(address) for address in addresses):
            raise UpstreamError("not an address to be fetched from")
        return addresses[0]
