"""The table of routes: exact paths, parameters, methods."""

from __future__ import annotations

import pytest

from headgate.core.errors import MethodNotAllowed, NotFound
from headgate.edge.exchange import Exchange
from headgate.edge.route import Route, Routes, parameter


async def nothing(exchange: Exchange) -> None:
    """Never called here."""


CHAT = Route("POST", "/v1/chat/completions", nothing, 100)
LIST = Route("GET", "/v1/models", nothing)
ONE = Route("GET", "/v1/models/{id}", nothing)
DROP = Route("DELETE", "/v1/models/{id}", nothing)
PAGES = Route("GET", "/console/*", nothing)
ROUTES = Routes([CHAT, LIST, ONE, DROP, PAGES])


@pytest.mark.parametrize(
    ("method", "target", "route"),
    [
        (b"POST", b"/v1/chat/completions", CHAT),
        (b"POST", b"/v1/chat/completions?a=b", CHAT),
        (b"POST", b"http://elsewhere/v1/chat/completions", CHAT),
        (b"GET", b"/v1/models", LIST),
        (b"HEAD", b"/v1/models", LIST),
        (b"GET", b"/v1/models/a", ONE),
        (b"HEAD", b"/v1/models/a/b", ONE),
        (b"DELETE", b"/v1/models/a", DROP),
        (b"GET", b"/v1/models/a?b", ONE),
        (b"GET", b"/console/app.js", PAGES),
    ],
)
def test_found(method: bytes, target: bytes, route: Route) -> None:
    assert ROUTES.find(method, target) is route


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"*",
        b"/v1",
        b"/v1/",
        b"/v1/models/",
        b"/v1/chat/completions/",
        b"/v1/chat/completions;a",
        b"/v1/chat/completions#a",
        b"/v1//chat/completions",
        b"//v1/chat/completions",
        b"/V1/chat/completions",
        b"/v1/chat/completions%20",
        b"/v1/chat%2fcompletions",
        b"/v1/%63hat/completions",
        b"/v1/./chat/completions",
        b"/v1/x/../chat/completions",
        b"/console/../v1/chat/completions/../../..",
        b"http://h",
        b"http://h?/v1/models",
        b"/console/",
    ],
)
def test_nothing_but_the_exact_path_reaches_a_post(target: bytes) -> None:
    assert not isinstance(ROUTES.find(b"POST", target), Route)


def test_the_other_methods_of_a_path_are_named() -> None:
    error = ROUTES.find(b"PUT", b"/v1/models/a")
    assert isinstance(error, MethodNotAllowed)
    assert "DELETE, GET, HEAD" in error.message
    assert isinstance(ROUTES.find(b"GET", b"/v2"), NotFound)


def test_an_unknown_path_is_shown_in_part() -> None:
    error = ROUTES.find(b"GET", b"/" + b"x" * 10_000)
    assert isinstance(error, NotFound)
    assert len(error.message) < 300


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/v1/models/a", "a"),
        (b"/v1/models/org/name", "org/name"),
        (b"/v1/models/org%2Fname", "org/name"),
        (b"/v1/models/%E4%BD%A0", "你"),
        (b"/v1/models/..", ".."),
        (b"/v1/models/a%00b", "a\x00b"),
        (b"/v1/models/%ff", "\ufffd"),
    ],
)
def test_parameters(path: bytes, expected: str) -> None:
    assert parameter(ONE, path) == expected


def test_the_longest_prefix_wins() -> None:
    inner = Route("GET", "/v1/models/special/*", nothing)
    routes = Routes([ONE, inner])
    assert routes.find(b"GET", b"/v1/models/special/a") is inner
    assert routes.find(b"GET", b"/v1/models/special") is ONE
