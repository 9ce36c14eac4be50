"""What a key may be used for, as data, and the three questions that are asked of it. Pure.

Names count as they are written: no folding of letters, so that a look-alike is another name.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import msgspec

from headgate.core.limit import fits

Networks = tuple[IPv4Network | IPv6Network, ...]

_REMEMBERED_MODELS = 1000
"""Answers kept for each key: clients choose the names, and nobody has so many models."""


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What a key may be used for; None restricts nothing."""

    scopes: frozenset[str] | None = None
    """Of `core.endpoint.Endpoint.scope`."""
    models: tuple[str, ...] | None = None
    """Names and patterns (`*`, `?`)."""
    networks: Networks | None = None
    known: dict[str, bool] = {}
    """Answers to `may_use` so far: patterns are slow to match, and few models are asked for."""

    def may_call(self, scope: str) -> bool:
        """Whether it opens an endpoint of this scope."""
        return self.scopes is None or scope in self.scopes

    def may_use(self, model: str) -> bool:
        """Whether it may use a model, by the name that the client wrote."""
        if self.models is None:
            return True
        found = self.known.get(model)
        if found is None:
            found = any(fits(pattern, model) for pattern in self.models)
            if len(self.known) < _REMEMBERED_MODELS:
                self.known[model] = found
        return found

    def may_come_from(self, address: str) -> bool:
        """Whether it may be used from an address; one that is none is from nowhere."""
        return self.networks is None or inside(address, self.networks)


EVERYTHING = Access()


def access(
    scopes: Iterable[str] | None, models: Iterable[str] | None, networks: Iterable[str] | None
) -> Access:
    """Access from plain lists; raises ValueError for what is no network."""
    if scopes is None and models is None and networks is None:
        return EVERYTHING
    return Access(
        scopes=None if scopes is None else frozenset(scopes),
        models=None if models is None else tuple(models),
        networks=None if networks is None else tuple(ip_network(network) for network in networks),
    )


def inside(address: str, networks: Networks) -> bool:
    """Whether an address is in one of the networks; what is no address is in none."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    # An IPv4 client that came in on an IPv6 socket is the same client.
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in network for network in networks)


def client_address(peer: str, forwarded: str, trusted: Networks) -> str:
    """Who asks, where proxies may stand before us: the last in X-Forwarded-For that is no trusted proxy.

    What stands before that anybody could have written. A peer that is not trusted is the client.
    """
    found = peer
    for entry in reversed(forwarded.split(",")):
        if not inside(found, trusted):
            break
        address = _bare(entry.strip())
        if not address:
            break
        found = address
    return found


def _bare(entry: str) -> str:
    """An entry of X-Forwarded-For without its port."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry
