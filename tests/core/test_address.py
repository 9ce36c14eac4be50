"""Base URLs: what they say, and what is refused without repeating it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.address import Address, parse_base_url


@pytest.mark.parametrize(
    ("url", "address", "authority"),
    [
        ("http://host", Address("host", 80), "host"),
        ("https://api.example.com/v1", Address("api.example.com", 443, True, "", "/v1"), "api.example.com"),
        ("HTTPS://Host:443/v1//", Address("host", 443, True, "", "/v1"), "host"),
        ("https://host:80", Address("host", 80, True), "host:80"),
        ("http://my_model:8001/", Address("my_model", 8001), "my_model:8001"),
        (
            "http://[2001:DB8::1]:8000/a/b",
            Address("2001:db8::1", 8000, False, "", "/a/b"),
            "[2001:db8::1]:8000",
        ),
        ("http://[::1]:8000", Address("::1", 8000), "[::1]:8000"),
        ("https://müller.example", Address("xn--mller-kva.example", 443, True), "xn--mller-kva.example"),
        ("unix:/run/a.sock", Address(socket_path="/run/a.sock"), "localhost"),
        ("unix:///run/a.sock:/v1/", Address(socket_path="/run/a.sock", prefix="/v1"), "localhost"),
    ],
)
def test_what_a_base_url_says(url: str, address: Address, authority: str) -> None:
    assert parse_base_url(url) == address
    assert address.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "", "host", "host:80", "//host", "ftp://host", "http:/host", "http://", "http:///v1", "http://:80",
        "http://host:", "http://host:0", "http://host:65536", "http://host:8_0", "http://host:٨٠", "http://host:-1",
        "http://user@host", "http://user:pass@host/v1", "http://host@evil/v1", "http://evil\\@host",
        "http://host?x=1", "http://host/v1?x", "http://host/v1#x", "http://host#x",
        "http://ho st", "http://host/a b", "http://host/a\r\nb", "http://host/\\evil", "http://host/é",
        "http://host/../admin", "http://host/./a", "http://[::1", "http://[::1]x", "http://[host]", "http://[]",
        "http://[fe80::1%eth0]", "http://h%6fst", "http://ho,st", "http://" + "ü" * 70,
        "unix:", "unix:run/a.sock", "unix:/run/", "unix:/a.sock:", "unix:/a.sock:v1", "unix:/a b.sock",
        "unix:/a.sock:/v1?x", " http://host", "http://host ",
    ],
)  # fmt: skip
def test_what_is_no_base_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        parse_base_url(url)
    assert type(caught.value) is ValueError, "not one of its subclasses, whose text repeats the input"


@given(st.one_of(
    st.text(),
    st.builds("{}{}{}{}".format, st.sampled_from(["http://", "https://", "unix:/", "unix:///"]),
              st.text("ab.[]:@/%\\0 1", max_size=8), st.sampled_from(["", ":", ":80", "@"]),
              st.text(max_size=8)),
))  # fmt: skip
def test_whatever_is_accepted_can_be_sent(url: str) -> None:
    try:
        address = parse_base_url(url)
    except ValueError:
        return
    sent = address.authority + address.prefix + address.socket_path
    assert all("!" <= character <= "~" for character in sent)
    assert bool(address.host) != bool(address.socket_path)
    assert not address.prefix or address.prefix.startswith("/")
    assert not address.prefix.endswith("/")
    assert 1 <= address.port <= 65_535 if address.host else address.port == 0
