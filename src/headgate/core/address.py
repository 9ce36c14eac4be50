"""Where an upstream is: reads base URLs. Knows nothing of connecting, nor of proxies."""

from __future__ import annotations

import ipaddress
import re

import msgspec

PORTS = {"http": 80, "https": 443}

_HOST = re.compile(r"[A-Za-z0-9._-]+")
"""What a host name may hold once it is in ASCII; underscores are in use in container networks."""

_VISIBLE = re.compile(r"[!-\[\]-~]*")
"""Visible ASCII but no backslash: anything else could end a request's line, or be read as something else."""


class Address(msgspec.Struct, frozen=True):
    """Where to connect, and what every request there begins with."""

    host: str = ""
    """Name or IP address, without brackets; empty for a Unix socket."""
    port: int = 0
    """TCP port; 0 for a Unix socket."""
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
        """The same with the port always there."""
        return f"{self.bracketed}:{self.port}"

    @property
    def bracketed(self) -> str:
        """The host, in brackets when it is an IPv6 address."""
        return f"[{self.host}]" if ":" in self.host else self.host


def parse_base_url(url: str) -> Address:
    """Reads `http[s]://host[:port][/path]` or `unix:/path/to.sock[:/path]` (`unix:///path` is the same).

    Raises ValueError that says what is wrong and repeats nothing of the URL, which may hold a password.
    """
    if url.startswith("unix:"):
        # As nginx writes it: a colon ends the file's name.
        socket_path, colon, path = url.removeprefix("unix:").removeprefix("//").partition(":")
        if not socket_path.startswith("/") or socket_path.endswith("/") or (colon and not path):
            raise ValueError("expected unix:/path/to.sock, followed by :/path where requests' paths need one")
        return Address(socket_path=_visible(socket_path), prefix=_prefix(path))
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in PORTS:
        raise ValueError("expected a URL that begins with http://, https:// or unix:/")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise ValueError("a base URL has no user name or password in it: the key goes into `api_key`")
    prefix = _prefix(rest[len(authority) :])
    host, port = _host_and_port(authority)
    return Address(host, port or PORTS[scheme], scheme == "https", "", prefix)


def _host_and_port(authority: str) -> tuple[str, int]:
    """The host in lower case, and the port or 0."""
    bracketed = re.fullmatch(r"\[(?P<host>[^\]%]*)\](?::(?P<port>.*))?", authority, re.DOTALL)
    if bracketed:
        try:
            host = str(ipaddress.IPv6Address(bracketed["host"]))
        except ValueError:
            raise ValueError("expected an IPv6 address in the brackets, such as [::1]") from None
        port = bracketed["port"]
    else:
        name, colon, port = authority.partition(":")
        host, port = _host(name), port if colon else None
    if port is None:
        return host, 0
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65_535:
        raise ValueError("expected a port from 1 to 65535 after the colon")
    return host, int(port)


def _host(name: str) -> str:
    try:
        host = name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        raise ValueError("expected a host name after ://") from None
    if not _HOST.fullmatch(host):
        raise ValueError("expected a host name after ://")
    return host.lower()


def _prefix(path: str) -> str:
    if "?" in path:
        raise ValueError("a base URL has no query: its fields go into `query`")
    if "#" in path:
        raise ValueError("a base URL has no fragment (#...)")
    if path and not path.startswith("/"):
        raise ValueError("expected a path that begins with / after the colon")
    if any(segment in {".", ".."} for segment in path.split("/")):
        raise ValueError("expected a path without . and ..")
    return _visible(path).rstrip("/")


def _visible(text: str) -> str:
    if not _VISIBLE.fullmatch(text):
        raise ValueError("expected visible ASCII without backslashes; percent-encode what else is meant")
    return text
