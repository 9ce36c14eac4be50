"""The Protocols through which the gateway knows the edge: one request, and the reply to it.

A part of `core.ports` in a file of its own. Nothing here does anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from headgate.core.observer import Passage


class Throttle(Protocol):
    """Something whose bytes can be held back while a reader is slow."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Exchange(Protocol):
    """One HTTP request and the reply to it, as the gateway sees them."""

    request_id: str
    """Unique; sent as `x-request-id`."""
    started_s: float
    """When the request's head was complete, on the loop's clock."""
    parameter: str
    """What stood for `{id}` in the path; empty where the route has none."""
    begun: bool
    """The reply's status line has been sent; from here an error can only be an event in the stream."""
    gone: bool
    """The client has hung up."""
    passage: Passage | None
    """What is seen of it from outside; None while nobody looks."""

    @property
    def client(self) -> str:
        """The address that it came from."""
        ...

    def header(self, name: bytes) -> bytes | None:
        """A request header's value by its lower-case name; lines of the same name are joined by `, `."""
        ...

    def bearer(self) -> bytes | None:
        """The token of the Authorization header (RFC 6750); None where it holds none."""
        ...

    def body_at_hand(self) -> bytes | None:
        """The request body, if it has come whole already, as most do; or else `body` has to be awaited."""
        ...

    async def body(self, enough_bytes: int = ...) -> bytes:
        """The request body, decompressed; raises ApiError when it is too large, slow or broken.

        Of one that is longer than `enough_bytes` the beginning, as soon as more than that is at hand; further
        calls return what follows, and nothing at the end.
        """
        ...

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        """Sends a whole reply; `headers` is complete lines, each ended by CR LF."""
        ...

    def begin(self, status: int, headers: bytes, length: int | None = None) -> None:
        """Starts a reply whose body follows; `length` in bytes when known, else chunked."""
        ...

    def write(self, data: bytes) -> None:
        """Sends a piece of the body."""
        ...

    def finish(self, data: bytes = b"") -> None:
        """Sends the last piece and ends the reply."""
        ...

    def throttle(self, source: Throttle | None) -> None:
        """Names whom to pause while the client does not read; None when there is nobody any more."""
        ...
