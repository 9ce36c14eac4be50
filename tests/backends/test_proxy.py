"""Which proxy stands before an upstream: the environment's rules as a table, and no password in any text."""

from __future__ import annotations

import base64
import traceback

import pytest

from headgate.backends.proxy import Proxy, proxy_for
from headgate.core.address import parse_base_url
from headgate.core.errors import SettingsError

BOTH = {"HTTPS_PROXY": "http://secure:3128", "HTTP_PROXY": "http://plain:3129"}


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("https://api.example.com/v1", {}, None),
        ("https://api.example.com/v1", BOTH, ("secure", 3128)),
        ("http://api.example.com/v1", BOTH, ("plain", 3129)),
        ("https://api.example.com", {"HTTP_PROXY": "http://plain:1"}, None),
        ("https://api.example.com", {"ALL_PROXY": "http://all:1"}, ("all", 1)),
        ("http://api.example.com", {"ALL_PROXY": "http://all:1"}, ("all", 1)),
        ("https://api.example.com", {**BOTH, "https_proxy": "http://lower:1"}, ("lower", 1)),
        ("https://api.example.com", {**BOTH, "https_proxy": ""}, ("secure", 3128)),
        ("https://api.example.com", {"HTTPS_PROXY": "  "}, None),
        ("https://api.example.com", {"HTTPS_PROXY": "proxy.lan:8080"}, ("proxy.lan", 8080)),
        ("https://api.example.com", {"HTTPS_PROXY": "http://proxy.lan/"}, ("proxy.lan", 80)),
        ("https://api.example.com", {"HTTPS_PROXY": "http://[fd00::1]:8080"}, ("fd00::1", 8080)),
        ("unix:/run/engine.sock", BOTH, None),
    ],
)
def test_which_variable_counts(
    url: str, environment: dict[str, str], expected: tuple[str, int] | None
) -> None:
    proxy = proxy_for(parse_base_url(url), environment)
    assert (proxy and (proxy.host, proxy.port)) == expected


@pytest.mark.parametrize(
    ("url", "no_proxy", "direct"),
    [
        ("https://api.example.com", "*", True),
        ("https://api.example.com", "example.com", True),
        ("https://api.example.com", ".example.com", True),
        ("https://api.example.com", "*.example.com", True),
        ("https://API.example.com", "Api.Example.Com", True),
        ("https://api.example.com", "other.org, example.com", True),
        ("https://api.example.com", "other.org example.com", True),
        ("https://api.example.com", "ample.com", False),
        ("https://api.example.com", "api.example.com.evil.org", False),
        ("https://example.com", ".example.com", True),
        ("https://api.example.com", "", False),
        ("https://api.example.com", ",, ,", False),
        ("https://api.example.com", ".", False),
        ("https://api.example.com", "example.com:443", True),
        ("https://api.example.com", "example.com:8443", False),
        ("https://10.1.2.3", "10.0.0.0/8", True),
        ("https://10.1.2.3", "10.1.2.3", True),
        ("https://10.1.2.3:8443", "10.1.2.3:8443", True),
        ("https://10.1.2.3:8443", "10.1.2.3:443", False),
        ("https://11.1.2.3", "10.0.0.0/8", False),
        ("https://10.1.2.3", "3", False),
        ("https://[fd00::1]", "fd00::/8", True),
        ("https://[fd00::1]", "[fd00::1]", True),
        ("https://[fd00::1]", "10.0.0.0/8", False),
        ("http://localhost:8080", "", True),
        ("http://engine.localhost", "", True),
        ("http://127.0.0.1:8080", "", True),
        ("http://127.8.8.8:8080", "", True),
        ("http://[::1]:8080", "", True),
        ("http://localhost.example.com", "", False),
    ],
)
def test_what_needs_no_proxy(url: str, no_proxy: str, direct: bool) -> None:
    assert (proxy_for(parse_base_url(url), {**BOTH, "NO_PROXY": no_proxy}) is None) == direct


def test_credentials_come_decoded() -> None:
    proxy = proxy_for(
        parse_base_url("https://api.example.com"), {"HTTPS_PROXY": "http://gate:p%40ss%3Aword@proxy:1"}
    )
    assert proxy is not None
    assert proxy.authorization == "Basic " + base64.b64encode(b"gate:p@ss:word").decode()
    assert (proxy.host, proxy.port) == ("proxy", 1)


@pytest.mark.parametrize(
    "url",
    [
        "https://gate:hunter2@proxy:1",
        "socks5://gate:hunter2@proxy:1",
        "http://gate:hunter2@",
        "http://gate:hunter2@proxy:port",
        "http://gate:hunter2@pro xy",
        "http://gate:hunter2@proxy:99999",
        "gate:hunter2://proxy",
        "http://gate:1@hunter2@ ",
        "http://",
    ],
)
def test_unusable_proxies_are_named_by_their_variable_only(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^HTTPS_PROXY: ") as caught:
        proxy_for(parse_base_url("https://api.example.com"), {"https_proxy": url})
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_proxy_shows_no_secret() -> None:
    proxy = Proxy("proxy", 3128, "Basic c2VjcmV0")
    assert "c2VjcmV0" not in f"{proxy!r} {proxy}"
