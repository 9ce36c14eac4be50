"""The Protocols through which packages of one layer know each other; joined in `headgate.app`.

Records that cross a port live here too. Nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import IntEnum
from typing import Protocol

import msgspec

from headgate.core.access import EVERYTHING, Access
from headgate.core.accounting import FREE, NOTHING_HELD, Charge, Held
from headgate.core.cut import Pieces
from headgate.core.endpoint import Endpoint
from headgate.core.errors import ApiError
from headgate.core.exchange import Exchange as Exchange  # noqa: PLC0414  # passed on: a part of these
from headgate.core.exchange import Throttle as Throttle  # noqa: PLC0414
from headgate.core.limit import Account
from headgate.core.outside import Place
from headgate.core.usage import Usage

Headers = Sequence[tuple[bytes, bytes]]
"""Header lines in order of arrival, names in lower case."""


# --- dialects -------------------------------------------------------------------------------------


Host = Callable[[str, str], str]
"""Keeps a picture, given its media type and base64, and returns the URL under which it can be had. It must
not block."""

Bring = Callable[[str, str, str | None], Awaitable[str]]
"""Brings a picture, given its URL, the field that it stands in and the `detail` that it is looked at in: a
data URI of a format that every engine reads. Raises InvalidField."""


class Call(msgspec.Struct):
    """A checked request on its way out. Do not keep it: `fields` point into the request's buffer."""

    endpoint: Endpoint
    request: msgspec.Struct
    """The typed fields that the gate knows (the row's `request` type)."""
    fields: dict[str, msgspec.Raw]
    """Every top-level field as it came, for splicing."""
    stream: bool
    wants_usage: bool
    """The client itself asked for a final usage chunk."""
    upstream_model: str
    """The model's name at the upstream."""
    created_s: int = 0
    """Unix time, for replies of upstreams that do not tell any."""
    abridged: bool = False
    """Long base64 was cut out of `messages`, and comes back after translation wherever its stand-in was
    copied to. A dialect that has to read it raises `core.cut.WholeBodyNeeded`."""
    request_id: str = ""
    """The exchange's own, for replies of upstreams that give none an id; empty outside of an exchange."""
    headers: Headers = ()
    """Those of the client's headers that belong to the endpoint's format (`Endpoint.forwards`)."""
    host: Host | None = None
    """Keeps a picture that a reply draws, given its media type and base64, and returns the URL under which
    it can be had; it must not block. Without it pictures come as data URLs."""
    pictures_at_hand: bool = False
    """Every picture in it has been looked at, and is a data URI. A dialect that needs them so, and finds them
    otherwise, raises `core.seeing.PicturesWanted`."""
    model: str = ""
    """The model's name as the client gave it."""
    body_bytes: int = 0
    """Length of the request's body as it came, unpacked."""


class Splitter(Protocol):
    """Cuts a stream into blocks of whole server-sent events, whatever the sizes in which it arrives."""

    def feed(self, data: bytes) -> bytes:
        """The events that are complete; the rest waits. Raises UpstreamFailed for what is no such stream."""
        ...

    @property
    def oversized(self) -> bool:
        """The event that is arriving is over the cap: take it with `take_raw`."""
        ...

    def take_raw(self) -> bytes:
        """The unfinished event so far, but for what could be part of its end."""
        ...

    @property
    def tail(self) -> bytes:
        """What has arrived of an unfinished event."""
        ...


class Framing(msgspec.Struct, frozen=True):
    """How a reply's stream is written, where that is not server-sent events of ordinary size."""

    content_type: bytes
    """What such a reply says it is, in lower case; what stands after a `;` is not looked at."""
    make_splitter: Callable[[], Splitter]
    """Makes what cuts one reply's stream."""


class Translator(Protocol):
    """Turns one reply into OpenAI's wire format. One per attempt; may keep state."""

    def whole(self, body: bytes) -> bytes:
        """A complete, successful reply body, translated."""
        ...

    def event(self, event: bytes) -> bytes:
        """One complete server-sent event, blank line included, to zero or more complete events."""
        ...

    def end(self) -> bytes:
        """What is still to be sent when the upstream has ended the stream without `[DONE]`."""
        ...


class Outgoing(msgspec.Struct):
    """What goes upstream for one call."""

    path: str
    """Path and query below the upstream's base URL, such as `/chat/completions`."""
    body: bytes
    headers: Headers = ()
    content_type: str = ""
    """Of the body, where that is not JSON. No dialect sets it; it is one of a few."""
    translator: Translator | None = None
    """None when the reply needs no translation: bytes pass."""
    dropped: tuple[str, ...] = ()
    """Parameters that the upstream does not have and the operator wants left out; told in a reply header."""
    framing: Framing | None = None
    """How its streamed reply is written; None for server-sent events."""
    mended: Pieces | None = None
    """What is sent in place of `body`, where that was made of an abridged one. No dialect sets it."""
    key: int = 0
    """With which of the upstream's keys it was sent; set by the upstream."""


class Dialect(Protocol):
    """One upstream wire format: pure functions, no state of its own."""

    def request(self, call: Call) -> Outgoing:
        """Translates a request; raises InvalidField for what this upstream cannot do."""
        ...

    def credentials(self, key: str) -> Headers:
        """The header lines that carry the operator's key."""
        ...

    def error(self, status: int, headers: Headers, body: bytes) -> ApiError:
        """Translates a reply of status >= 400; never shows the upstream's address or secrets."""
        ...


# --- backends -------------------------------------------------------------------------------------


class Reply(Protocol):
    """One upstream reply whose head has arrived.

    Body bytes that came in the same read are at hand at once: take them with `take`, then `pump` the rest.
    Every reply must be closed, whatever happened.
    """

    status: int
    headers: Headers

    def header(self, name: bytes) -> bytes | None:
        """The first value of one header (name in lower case), without taking the others apart."""
        ...

    @property
    def complete(self) -> bool:
        """The last byte of the body has arrived (it may still wait in `take`)."""
        ...

    def take(self) -> bytes:
        """The body bytes that have arrived and were not taken yet."""
        ...

    async def pump(self, on_bytes: Callable[[bytes], None]) -> None:
        """Calls `on_bytes` for what arrives, once per socket read, until the body is complete.

        `on_bytes` runs inside the socket's callback: it must not block, and what it raises ends the pump.
        Raises UpstreamError when the body breaks off, or no byte comes for the idle time limit.
        """
        ...

    async def read(self, limit_bytes: int) -> bytes:
        """The rest of the body; raises UpstreamTooLong when it is longer than the limit."""
        ...

    def pause(self) -> None:
        """Stops reading from the upstream's socket until `resume` (the client is slow)."""
        ...

    def resume(self) -> None: ...

    def close(self) -> None:
        """Ends the use of the reply, at any point and more than once.

        A complete one gives its connection back to the pool; any other closes it at once, which is how an
        upstream learns that its work is no longer wanted.
        """
        ...


class Pool(Protocol):
    """Keep-alive connections to one address."""

    async def send(self, head: bytes, body: bytes | Pieces, *, fresh: bool = False) -> Reply:
        """Sends one request and returns when the reply's head has arrived.

        `head` is everything up to and including the blank line. `fresh` forbids an idle connection.
        Raises ConnectFailed, ConnectionLost, UpstreamTimeout or UpstreamGarbage; cancelling it closes the
        connection.
        """
        ...

    async def close(self) -> None: ...


class Engine(Protocol):
    """An engine's supervisor, as an upstream sees it."""

    async def ready(self) -> object:
        """Starts the engine if need be and waits for it; raises Overloaded when it does not come up."""
        ...

    def began(self) -> None:
        """To be told that a request is on its way."""
        ...

    def ended(self) -> None:
        """To be told that one is through."""
        ...

    async def refused(self) -> None:
        """To be told that a connection was refused: waits until the supervisor knows why."""
        ...


class Upstream(Protocol):
    """One configured upstream: an address, a dialect and credentials."""

    name: str
    dialect: Dialect

    def enter(self) -> None:
        """Takes a place among the requests in flight; raises QueueFull when there is none."""
        ...

    def leave(self) -> None:
        """Gives the place back."""
        ...

    def send(self, outgoing: Outgoing, *, fresh: bool = False) -> Awaitable[Reply]:
        """Sends one request; errors as in `Pool.send`, and ApiError when the upstream cannot be started."""
        ...


class Keyring(Protocol):
    """Several keys of one upstream; `Outgoing.key` says with which of them a request was sent."""

    def rest(self, key: int, now_s: float, rest_ms: int) -> None:
        """Leaves one alone for a while."""
        ...

    def waits_ms(self, now_s: float) -> int:
        """How long until one may be asked; 0 when one may now."""
        ...

    def at_hand(self, now_s: float) -> int:
        """How many are not resting."""
        ...


class Answer(msgspec.Struct, frozen=True):
    """A reply from the outside world."""

    status: int
    location: str
    """Where it sends us; empty if nowhere."""
    body: bytes
    """Empty unless the status is 200."""


class Outside(Protocol):
    """How the outside world is reached, for what is fetched on a client's word."""

    async def look_up(self, host: str, port: int) -> Sequence[str]:
        """All IP addresses of a name; raises ConnectFailed."""
        ...

    async def get(self, place: Place, address: str, limit_bytes: int) -> Answer:
        """One GET over a connection to just this address; raises UpstreamError (UpstreamTooLong ...)."""
        ...


# --- store ----------------------------------------------------------------------------------------


class Outcome(IntEnum):
    """How an attempt ended."""

    UNKNOWN = 0
    """The gate died, or the connection did before a byte was answered."""
    OK = 1
    REFUSED = 2
    """The upstream answered with an error status."""
    FAILED = 3
    """The upstream could not be reached, timed out, broke off or sent an error in the stream; or the gate was
    stopped and its grace period was over."""
    CLIENT_GONE = 4
    """The client left before the end."""
    SUPERSEDED = 5
    """Another attempt at the same request was heard first, and this one was given up."""


class Opened(msgspec.Struct, frozen=True, array_like=True, tag="o"):
    """Written before a request goes upstream."""

    attempt: int
    """Unique in this data folder, for ever; rises with time."""
    at_ms: int
    """Unix time."""
    request_id: str
    key_id: str
    endpoint: str
    model: str
    upstream: str
    upstream_model: str
    held: Held = NOTHING_HELD


class Closed(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """Written before the reply's last byte goes to the client."""

    attempt: int
    at_ms: int
    outcome: Outcome
    status: int
    """The upstream's HTTP status; 0 when none came."""
    usage: Usage
    charge: Charge = FREE


class Journal(Protocol):
    """The record of every attempt that was sent; survives the death of the process."""

    durable: bool
    """Records have to outlive a power cut too: whoever writes one awaits `flushed` before it acts on it."""

    def open(
        self,
        request_id: str,
        key_id: str,
        endpoint: str,
        model: str,
        upstream: str,
        upstream_model: str,
        held: Held = ...,
    ) -> int:
        """Records that a request is about to be sent and returns the attempt's number; raises StoreError."""
        ...

    def close(self, attempt: int, outcome: Outcome, status: int, usage: Usage, charge: Charge = ...) -> None:
        """Records how it ended. Never raises for want of room: that was kept when it was opened."""
        ...

    async def flushed(self) -> None:
        """Returns when all that was recorded before the call is on the disk; raises StoreError if not."""
        ...


class Principal(msgspec.Struct, frozen=True):
    """Who is asking."""

    key_id: str
    name: str
    team_id: str = ""
    accounts: tuple[Account, ...] = ()
    """The key's own and its team's: whose limits, budgets and balance a request is held against. The price's
    multiplier is the last one's. A change makes a new Principal: plans are kept by its identity."""
    access: Access = EVERYTHING
    """What it may be used for."""


class Keys(Protocol):
    """The keys that open the gate."""

    def find(self, token: bytes) -> Principal | None:
        """The holder of a bearer token, or None; takes the same time for any wrong token."""
        ...
