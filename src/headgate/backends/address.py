"""Where an upstream is: reads base URLs, and decides whether a proxy is asked.

Pure: opens nothing and reads no environment. No password it reads ever shows in an error or a repr.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import msgspec

from headgate.core.errors import SettingsError

PORTS = {"http": 80, "https": 443}

HOST = re.compile(r"[A-Za-z0-9._-]+\Z")
"""What a host name may hold once it is in ASCII; underscores are in use in container networks."""

PATH = re.compile(r"(/[!-~]*)?\Z")
"""Visible ASCII: anything else would have to be percent-encoded, and could end the request line."""

BLANK_OR_CONTROL = re.compile(r"[\x00-\x20\x7f]")


class Address(msgspec.Struct, frozen=True):
    """Where to connect, and what every request there begins with."""

    host: str = ""
    """Name or IP address, without brackets; empty for a Unix socket."""
    port: int = 0
    tls: bool = False
    socket_path: str = ""
    """File name of a Unix socket; empty for TCP."""
    prefix: str = ""
    """Path of the base URL without a final slash: what comes before `/chat/completions`."""

    @property
    def authority(self) -> str:
        """What goes into a `host` header."""
        if self.socket_path:
            return "localhost"
        return self.host_and_port if self.port != PORTS["https" if self.tls else "http"] else self.bracketed

    @property
    def host_and_port(self) -> str:
        """What goes into a CONNECT request: the port is always there."""
        return f"{self.bracketed}:{self.port}"

    @property
    def bracketed(self) -> str:
        """The host, in brackets when it is an IPv6 address."""
        return f"[{self.host}]" if ":" in self.host else self.host


class Proxy(msgspec.Struct, frozen=True):
    """An HTTP proxy that is asked for a tunnel."""

    host: str
    port: int
    authorization: str = ""
    """The value of `proxy-authorization`: a secret."""

    def __repr__(self) -> str:
        return f"Proxy({self.host!r}, {self.port})"


def parse_address(url: str) -> Address:
    """Reads `http[s]://host[:port][/path]` or `unix:/path/to.sock[:/path]`; raises SettingsError."""
    if url.startswith("unix:"):
        # As nginx writes it: a colon ends the file's name.
        socket_path, _, prefix = url.removeprefix("unix:").removeprefix("//").partition(":")
        if not socket_path.startswith("/"):
            raise SettingsError("base_url: a Unix socket is written unix:/path/to.sock")
        return Address(socket_path=socket_path, prefix=_prefix(prefix))
    scheme, host, port, rest = _split(url, "base_url")
    if scheme not in PORTS:
        raise SettingsError("base_url: must begin with http://, https:// or unix:/")
    userinfo, path, extra = rest
    if userinfo:
        raise SettingsError("base_url: put the key into the upstream's credentials, not into its address")
    if extra:
        raise SettingsError("base_url: must have no query and no fragment")
    return Address(host=host, port=port or PORTS[scheme], tls=scheme == "https", prefix=_prefix(path))


def proxy_for(address: Address, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name for an address, or None.

    Lower-case names win, as in curl. This machine is never asked for through a proxy, as in Go.
    """
    if address.socket_path or _excluded(address, _setting(environment, "no_proxy")):
        return None
    own = "https_proxy" if address.tls else "http_proxy"
    for name in (own, "all_proxy"):
        url = _setting(environment, name)
        if url:
            return _parse_proxy(url, name.upper())
    return None


def _setting(environment: Mapping[str, str], name: str) -> str:
    return (environment.get(name) or environment.get(name.upper()) or "").strip()


def _parse_proxy(url: str, name: str) -> Proxy:
    scheme, host, port, (userinfo, _, _) = _split(url if "://" in url else f"http://{url}", name)
    if scheme != "http":
        raise SettingsError(f"{name}: only http:// proxies are known")
    authorization = ""
    if userinfo:
        user, _, password = userinfo.partition(":")
        pair = f"{unquote(user)}:{unquote(password)}".encode()
        authorization = "Basic " + base64.b64encode(pair).decode()
    return Proxy(host, port or PORTS["http"], authorization)


def _split(url: str, name: str) -> tuple[str, str, int, tuple[str, str, str]]:
    """Scheme, host, port (0 when not given), and (user info, path, query or fragment)."""
    # Nothing of the URL is repeated in an error, nor is the cause: a password may be in it.
    if BLANK_OR_CONTROL.search(url):  # urlsplit would quietly drop some of them
        raise SettingsError(f"{name}: not an address")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 0
        if ":" in host:
            host = str(ipaddress.IPv6Address(host))
        elif not host.isascii():
            host = host.encode("idna").decode()
    except ValueError:
        raise SettingsError(f"{name}: not an address") from None
    if ":" not in host and not HOST.match(host):
        raise SettingsError(f"{name}: not an address")
    userinfo = parts.netloc.rpartition("@")[0]
    return parts.scheme, host, port, (userinfo, parts.path, parts.query or parts.fragment)


def _prefix(path: str) -> str:
    if not PATH.match(path) or "?" in path or "#" in path:
        raise SettingsError("base_url: the path must begin with a slash and hold visible ASCII only")
    return path.rstrip("/")


def _excluded(address: Address, no_proxy: str) -> bool:
    host = address.host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        ip = None
    if ip is not None and ip.is_loopback:
        return True
    return any(
        _matches(rule.lower(), host, address.port, ip) for rule in re.split(r"[,\s]+", no_proxy) if rule
    )


def _matches(
    rule: str, host: str, port: int, ip: ipaddress.IPv4Address | ipaddress.IPv6Address | None
) -> bool:
    if rule == "*":
        return True
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
    rule = rule.strip("[]").lstrip("*").strip(".")
    return host == rule or host.endswith("." + rule)
