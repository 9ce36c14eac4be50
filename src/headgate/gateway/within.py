"""Time limits around a part of a request, told in the words of its errors."""

from __future__ import annotations

import asyncio
from types import TracebackType

from headgate.core.errors import UpstreamTimedOut


class within:  # noqa: N801 -- read as a word: async with within(...)
    """Ends what runs in its block after so many milliseconds, with UpstreamTimedOut."""

    __slots__ = ("_timeout",)

    def __init__(self, limit_ms: int) -> None:
        self._timeout = asyncio.timeout(limit_ms / 1000)

    def lift(self) -> None:
        """There is no limit any more."""
        if not self._timeout.expired():
            self._timeout.reschedule(None)

    async def __aenter__(self) -> within:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise UpstreamTimedOut("The upstream did not answer in time.") from None
