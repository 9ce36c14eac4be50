"""What may be fetched on a client's word: URLs that say plainly where they lead, and public addresses.

Nobody inside a network may be reached through us (SSRF). Must not know who looks names up, nor who connects.
"""

from __future__ import annotations

import ipaddress
import re

import msgspec

from headgate.core.address import PORTS, parse_base_url

URL_CHARACTERS = 2048
"""What browsers and content networks agree on; longer ones are data."""

# What Python calls global, or did in a version still in use, and what leads inside all the same.
_INSIDE = (
    ipaddress.ip_network("192.0.0.0/24"),  # protocols' own, RFC 6890
    ipaddress.ip_network("192.88.99.0/24"),  # relays of 6to4, RFC 7526
    ipaddress.ip_network("64:ff9b::/96"),  # NAT64, RFC 6052: an IPv4 address of any kind stands in it
    ipaddress.ip_network("64:ff9b:1::/48"),  # NAT64 of a network's own, RFC 8215
    ipaddress.ip_network("2002::/16"),  # 6to4, RFC 3056: the same
    ipaddress.ip_network("2001::/23"),  # Teredo, ORCHID and other protocols' own, RFC 2928
    ipaddress.ip_network("::/96"),  # IPv4-compatible, RFC 4291
    ipaddress.ip_network("fec0::/10"),  # site-local, RFC 3879
    ipaddress.ip_network("5f00::/16"),  # segment routing, RFC 9602
    ipaddress.ip_network("3fff::/20"),  # documentation, RFC 9637
)

_TARGET = re.compile(r"[/?][!-\[\]-~]*")
"""Path and query: visible ASCII without a backslash, which some read as a slash."""


class Place(msgspec.Struct, frozen=True):
    """Where a URL leads."""

    scheme: str
    host: str
    """Name or IP address, without brackets."""
    port: int
    target: str
    """Path and query, as they go into a request."""

    @property
    def authority(self) -> str:
        """What goes into a `host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def read_url(url: str) -> Place:
    """Reads an http or https URL; raises ValueError that says what is wrong and repeats none of it."""
    if len(url) > URL_CHARACTERS:
        raise ValueError(f"expected a URL of at most {URL_CHARACTERS} characters")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in PORTS:
        raise ValueError("expected a URL that begins with https:// or http://, or a data URI")
    rest = rest.split("#", 1)[0]
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise ValueError("a URL with a user name or password in it is not fetched")
    target = rest[len(authority) :] or "/"
    target = f"/{target}" if target.startswith("?") else target
    if not _TARGET.fullmatch(target):
        raise ValueError("expected visible ASCII without backslashes; percent-encode what else is meant")
    try:
        address = parse_base_url(f"{scheme}://{authority}")
    except ValueError:
        raise ValueError("expected a host name or an IP address after ://, and a port if need be") from None
    return Place(scheme.lower(), address.host, address.port, target)


def is_public(address: str) -> bool:
    """Whether an IP address, as the system's look-up returned it, is one that everybody can reach."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False  # with a zone, or no address at all
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_multicast or ip.is_reserved or not ip.is_global:
        return False
    return not any(ip in network for network in _INSIDE if network.version == ip.version)
