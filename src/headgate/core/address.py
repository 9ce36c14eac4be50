"""Where an upstream listens, read from its base URL. Knows nothing of connecting."""

from __future__ import annotations

import ipaddress

import msgspec


class Address(msgspec.Struct, frozen=True):
    """One place to connect to: TCP, TLS over TCP, or a Unix socket."""

    host: str
    """Name or IP address, without brackets; empty for a Unix socket."""
    port: int
    """TCP port; 0 for a Unix socket."""
    tls: bool = False
    socket_path: str = ""
    """Path of the Unix socket; empty for TCP."""
    base_path: str = ""
    """Comes before every request's path, such as `/v1`; no slash at its end."""

    @property
    def authority(self) -> str:
        """What goes into the Host header."""
        if self.socket_path:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def parse_base_url(text: str) -> Address:
    """Reads `http(s)://host[:port][/path]` or `unix:///path/to.sock[:/path]`.

    Raises ValueError that says what is wrong and never repeats the text, which may hold credentials.
    """
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("a URL is printable ASCII without spaces or backslashes (IDNA: write the xn-- form)")
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in {"http", "https", "unix"}:
        raise ValueError("expected a URL that begins with http://, https:// or unix://")
    if "?" in rest:
        raise ValueError("a base URL has no query: put it under `query`")
    if "#" in rest:
        raise ValueError("a base URL has no fragment (#...)")
    if scheme == "unix":
        return _unix(rest)
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        raise ValueError("a base URL holds no user name or password: put the key under `api_key`")
    host, port = _host_and_port(authority, 443 if scheme == "https" else 80)
    return Address(host, port, scheme == "https", "", _base_path(slash + path))


def _unix(rest: str) -> Address:
    socket_path, _, path = rest.partition(":")
    if not socket_path.startswith("/") or socket_path.endswith("/"):
        raise ValueError("expected unix:///absolute/path/to.sock, and :/path after it where there is one")
    if path and not path.startswith("/"):
        raise ValueError("what follows the socket's path and a colon is a path that begins with /")
    return Address("", 0, False, socket_path, _base_path(path))


def _host_and_port(authority: str, default_port: int) -> tuple[str, int]:
    if authority.startswith("["):
        host, closed, after = authority[1:].partition("]")
        if not closed or (after and not after.startswith(":")) or not _is_ipv6(host):
            raise ValueError("expected an IPv6 address in brackets, such as [::1]")
        port_text = after[1:]
    else:
        host, colon, port_text = authority.partition(":")
        if colon and not port_text:
            raise ValueError("expected a port after the colon")
        if not host or set(host) - _HOST_CHARACTERS:
            raise ValueError("expected a host name after ://")
    if not port_text:
        return host.lower(), default_port
    if not port_text.isdecimal() or len(port_text) > 5 or not 1 <= int(port_text) <= 65_535:
        raise ValueError("expected a port from 1 to 65535")
    return host.lower(), int(port_text)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _base_path(path: str) -> str:
    if any(segment in {".", ".."} for segment in path.split("/")):
        raise ValueError("a base URL's path has no . or .. in it")
    return path.rstrip("/")


# Underscores are no host name's by the book, and yet container networks are full of them.
_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")
