"""Which handler a path and method reach: by exact path alone, never by a pattern over the URL or by Host."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import unquote

import msgspec

from headgate.core.errors import ApiError, MethodNotAllowed, NotFound
from headgate.edge.wire import split_target

Handler = Callable[[Any], Awaitable[None]]
"""Answers one exchange: the gateway knows it as a port, the ASGI bridge as the edge's own class."""


class Route(msgspec.Struct, frozen=True):
    """One thing that can be called."""

    method: str
    path: str
    """Exact path, or one that ends in `/{id}`, which takes the rest, slashes too; or in `/*`, likewise."""
    handler: Handler
    body_limit_bytes: int = 0

    @property
    def takes_rest(self) -> bool:
        """The path's end is a parameter."""
        return self.path.endswith("{id}")


class Routes:
    """The table of routes, looked up once per request."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._direct: dict[tuple[bytes, bytes], Route] = {}
        self._exact: dict[bytes, dict[bytes, Route]] = {}
        self._prefixes: dict[bytes, dict[bytes, Route]] = {}
        for route in routes:
            table, path = self._exact, route.path
            for ending in ("{id}", "*"):
                if path.endswith("/" + ending):
                    table, path = self._prefixes, path.removesuffix(ending)
            methods = table.setdefault(path.encode(), {})
            methods[route.method.encode()] = route
            if route.method == "GET":
                methods.setdefault(b"HEAD", route)
            if table is self._exact:
                self._direct[route.method.encode(), path.encode()] = route

    def methods(self, path: bytes) -> dict[bytes, Route]:
        """The routes of a path by method; empty where there is no such path."""
        methods = self._exact.get(path)
        if methods is not None:
            return methods
        # The longest prefix wins; there are a handful of them.
        for prefix in sorted(self._prefixes, key=len, reverse=True):
            if path.startswith(prefix) and len(path) > len(prefix):
                return self._prefixes[prefix]
        return {}

    def find(self, method: bytes, target: bytes) -> Route | ApiError:
        """The route for a request target, or the error that says why there is none."""
        direct = self._direct.get((method, target))
        if direct is not None:
            return direct
        path, _ = split_target(target)
        methods = self.methods(path)
        route = methods.get(method)
        if route is not None:
            return route
        shown = path[:200].decode("latin-1")
        if not methods:
            return NotFound(f"Invalid URL ({method.decode('latin-1')} {shown})", code="unknown_url")
        allowed = ", ".join(sorted(name.decode() for name in methods))
        return MethodNotAllowed(f"Not allowed: {method.decode('latin-1')} {shown}. Use {allowed}.")


def parameter(route: Route, path: bytes) -> str:
    """What a path holds in place of its route's `{id}`, percent-decoded."""
    return unquote(path[len(route.path) - len("{id}") :].decode("latin-1"))
