"""Which proxy, if any, stands before an upstream. Pure: reads no environment, it is given one.

No password that passes through here shows in an error or a repr.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import unquote

import msgspec

from headgate.core.address import Address, parse_base_url
from headgate.core.errors import SettingsError

IP = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxy(msgspec.Struct, frozen=True):
    """An HTTP proxy that is asked for a tunnel."""

    host: str
    port: int
    authorization: str = ""
    """The value of `proxy-authorization`: a secret."""

    def __repr__(self) -> str:
        return f"Proxy({self.host!r}, {self.port})"


def proxy_for(address: Address, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name for an address, or None.

    Lower-case names win, as in curl; this machine itself is never asked for through a proxy, as in Go.
    Raises SettingsError.
    """
    if address.socket_path or _is_excluded(address, _setting(environment, "no_proxy")):
        return None
    for name in ("https_proxy" if address.tls else "http_proxy", "all_proxy"):
        url = _setting(environment, name)
        if url:
            return _parse_proxy(url, name.upper())
    return None


def _setting(environment: Mapping[str, str], name: str) -> str:
    return (environment.get(name) or environment.get(name.upper()) or "").strip()


def _parse_proxy(url: str, name: str) -> Proxy:
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "http", url
    if scheme.lower() != "http":
        raise SettingsError(f"{name}: only proxies at http:// addresses are known")
    userinfo, _, authority = rest.partition("/")[0].rpartition("@")
    try:
        place = parse_base_url(f"http://{authority}")
    except ValueError:
        # Without the cause: a wrongly written URL can have its password anywhere.
        raise SettingsError(f"{name}: expected http://host:port") from None
    user, _, password = userinfo.partition(":")
    pair = f"{unquote(user)}:{unquote(password)}".encode()
    authorization = "Basic " + base64.b64encode(pair).decode() if userinfo else ""
    return Proxy(place.host, place.port, authorization)


def _is_excluded(address: Address, no_proxy: str) -> bool:
    host = address.host.rstrip(".")
    try:
        ip: IP | None = ipaddress.ip_address(host)
    except ValueError:
        ip = None
    if host == "localhost" or host.endswith(".localhost") or (ip is not None and ip.is_loopback):
        return True
    rules = re.split(r"[,\s]+", no_proxy.lower())
    return any(rule == "*" or _matches(rule, host, address.port, ip) for rule in rules if rule)


def _matches(rule: str, host: str, port: int, ip: IP | None) -> bool:
    """Whether a rule names the host: a name and all below it, an address, a network; `:port` may follow."""
    if ip is not None:
        try:
            return ip in ipaddress.ip_network(rule.strip("[]"), strict=False)
        except ValueError:
            pass
    name, colon, rule_port = rule.rpartition(":")
    if colon and rule_port.isdigit():
        if int(rule_port) != port:
            return False
        rule = name
    rule = rule.strip("[]").removeprefix("*").strip(".")
    return bool(rule) and (host == rule or (ip is None and host.endswith("." + rule)))
