"""URLs that may be fetched, and addresses that may be reached."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.outside import Place, is_public, read_url

PUBLIC = ["93.184.215.14", "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8"]

INSIDE = {
    "0.0.0.0": "this host",
    "0.1.2.3": "this network",
    "10.0.0.1": "private",
    "100.64.0.1": "carrier-grade NAT",
    "100.127.255.254": "carrier-grade NAT",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "169.254.169.254": "link-local: clouds' metadata",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.8": "protocol assignments",
    "192.0.2.1": "documentation",
    "192.88.99.1": "relays of 6to4",
    "192.168.1.1": "private",
    "198.18.0.1": "benchmarks",
    "198.51.100.7": "documentation",
    "203.0.113.9": "documentation",
    "224.0.0.1": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::127.0.0.1": "IPv4-compatible",
    "::8.8.8.8": "IPv4-compatible, whatever is in it",
    "::ffff:127.0.0.1": "IPv4-mapped loopback",
    "::ffff:10.0.0.1": "IPv4-mapped private",
    "::ffff:169.254.169.254": "IPv4-mapped metadata",
    "::ffff:0:127.0.0.1": "IPv4-translated",
    "64:ff9b::7f00:1": "NAT64 of loopback",
    "64:ff9b::808:808": "NAT64, whatever is in it",
    "64:ff9b:1::1": "a network's own NAT64",
    "100::1": "discard",
    "2001::1": "Teredo",
    "2001:db8::1": "documentation",
    "2002:7f00:1::": "6to4 of loopback",
    "2002:808:808::": "6to4, whatever is in it",
    "3fff::1": "documentation",
    "fc00::1": "unique local",
    "fd12:3456::1": "unique local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "with a zone",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "localhost": "no address",
    "2130706433": "no address as look-ups return them",
    "": "nothing",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", INSIDE, ids=INSIDE.get)
def test_addresses_that_lead_inside_are_not(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_an_address_in_ipv6_clothes_is_judged_as_what_it_is(address: ipaddress.IPv4Address) -> None:
    assert is_public(f"::ffff:{address}") == is_public(str(address))
    for clothes in (
        f"::{address}",
        f"64:ff9b::{address}",
        str(ipaddress.IPv6Address((0x2002 << 112) | (int(address) << 80))),
    ):
        assert not is_public(clothes)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://a.example/x.png", Place("https", "a.example", 443, "/x.png")),
        ("HTTP://A.Example", Place("http", "a.example", 80, "/")),
        ("https://a.example:8443?q=1#part", Place("https", "a.example", 8443, "/?q=1")),
        ("https://[2606:2800::1]/x", Place("https", "2606:2800::1", 443, "/x")),
        ("https://bücher.example/x", Place("https", "xn--bcher-kva.example", 443, "/x")),
    ],
)
def test_a_plain_url_says_where_it_leads(url: str, place: Place) -> None:
    assert read_url(url) == place


@pytest.mark.parametrize(
    ("place", "authority"),
    [
        (Place("https", "a.example", 443, "/"), "a.example"),
        (Place("http", "a.example", 8080, "/"), "a.example:8080"),
        (Place("http", "::1", 80, "/"), "[::1]"),
        (Place("http", "::1", 81, "/"), "[::1]:81"),
    ],
)
def test_the_host_header_names_the_port_only_where_it_is_unusual(place: Place, authority: str) -> None:
    assert place.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x.png",
        "//a.example/x.png",
        "file:///etc/passwd",
        "ftp://a.example/x",
        "gopher://a.example/_x",
        "unix:/run/x.sock",
        "https:/a.example",
        "https://",
        "https:///x",
        "https://user@a.example/x",
        "https://user:password@a.example/x",
        "https://a.example@b.example/x",
        "https://a.example\\@b.example/x",
        "https://a.example\\.b.example/x",
        "https://a.example/\\b",
        "https://a.example/x\r\nhost: b",
        "https://a.example/x y",
        "https://a.example/ü",
        "https://a.example:0/x",
        "https://a.example:65536/x",
        "https://a.example:port/x",
        "https://[::1/x",
        "https://[fe80::1%25eth0]/x",
        "https://[v1.x]/x",
        "https://a.example:80:80/x",
        "https://a%2eexample/x",
        "https://a.example/" + "x" * 2048,
    ],
)
def test_an_odd_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected|not fetched") as refused:
        read_url(url)
    assert "password" not in url or "user:password" not in str(refused.value)


@given(st.text(max_size=60).map(lambda rest: f"https://{rest}"))
def test_any_text_is_a_place_or_refused(url: str) -> None:
    try:
        place = read_url(url)
    except ValueError:
        return
    line = f"GET {place.target} HTTP/1.1\r\nhost: {place.authority}\r\n"
    assert line.isascii()
    assert line.count("\r\n") == 2
    assert "@" not in place.authority
