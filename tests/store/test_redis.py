"""Where a Redis is, and that its password shows nowhere."""

from __future__ import annotations

import pytest

from headgate.core.errors import SettingsError
from headgate.store.redis import Redis, RedisAway, RedisPlace, parse_url
from tests.conftest import run, unused_port


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://h", RedisPlace("h", 6379)),
        ("redis://h:1/2", RedisPlace("h", 1, database=2)),
        ("rediss://u:p%40@h/", RedisPlace("h", 6379, tls=True, username="u", password="p@")),
        ("unix:///run/redis.sock", RedisPlace(socket_path="/run/redis.sock")),
    ],
)
def test_urls(url: str, place: RedisPlace) -> None:
    assert parse_url(url) == place


@pytest.mark.parametrize(
    "url", ["", "http://u:s3cret@h", "redis://", "redis://:s3cret@h:x", "redis://:s3cret@h/x", "unix:"]
)
def test_what_is_no_place_is_refused_without_a_word_of_it(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_url(url)
    assert "s3cret" not in str(caught.value)


def test_a_place_does_not_show_its_password() -> None:
    assert "s3cret" not in repr(parse_url("redis://u:s3cret@h"))


def test_nobody_there_is_said_without_the_password() -> None:
    async def main() -> None:
        place = parse_url(f"redis://u:s3cret@127.0.0.1:{unused_port()}")
        redis = Redis(place, timeout_ms=1000, scripts=[], on_open=lambda: None)
        with pytest.raises(RedisAway) as caught:
            await redis.start()
        assert "s3cret" not in str(caught.value)
        with pytest.raises(RedisAway):
            await redis.call(b"*1\r\n$4\r\nPING\r\n")
        await redis.stop()

    run(main())
