"""An upstream with an identity in place of a key: what proves it is added to each request as it leaves.

Kinds of identity are in `identity_*.py`; their libraries are optional, and loaded where one is configured.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from headgate.backends.identity_aws import AwsKeys
from headgate.backends.identity_entra import entra_token
from headgate.backends.identity_google import google_token
from headgate.backends.keeper import Keeper
from headgate.backends.upstreams import Place, RemoteUpstream
from headgate.core.ports import Dialect, Headers, Outgoing, Reply
from headgate.core.settings import Identity


class Proof(Protocol):
    """What stands for an identity in a request."""

    async def lines(self, outgoing: Outgoing) -> Headers:
        """Header lines for this request; raises ConnectFailed while there are none to be had."""
        ...

    async def close(self) -> None:
        """Ends what is under way."""
        ...


class Token:
    """A token that goes along with every request (RFC 6750)."""

    def __init__(self, keeper: Keeper[str]) -> None:
        self._keeper = keeper
        self.close = keeper.close

    async def lines(self, outgoing: Outgoing) -> Headers:
        """The header that carries it."""
        return ((b"authorization", b"Bearer " + (await self._keeper.current()).encode()),)


def make_proof(upstream: str, identity: Identity, place: Place) -> Proof:
    """What proves an identity at a place; raises SettingsError where its library or its region is missing."""
    if identity.kind == "aws":
        return AwsKeys(upstream, identity, place.address, place.query)
    obtain = google_token(identity) if identity.kind == "google" else entra_token(identity)
    return Token(Keeper(f'upstream "{upstream}": no token', obtain))


class IdentifiedUpstream(RemoteUpstream):
    """An upstream where every request proves who sends it."""

    def __init__(
        self, name: str, dialect: Dialect, place: Place, max_in_flight: int | None, proof: Proof
    ) -> None:
        super().__init__(name, dialect, place, max_in_flight)
        self._proof = proof
        self.close = proof.close

    async def send(self, outgoing: Outgoing, *, fresh: bool = False) -> Reply:
        """Sends one request (`headgate.core.ports.Upstream.send`)."""
        lines = await self._proof.lines(outgoing)
        proven = msgspec.structs.replace(outgoing, headers=(*outgoing.headers, *lines))
        return await super().send(proven, fresh=fresh)
