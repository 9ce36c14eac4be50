"""The services that other tests rely on: what was committed outlives a kill and a restart."""

from __future__ import annotations

from pathlib import Path

import pg8000.native
from redis import Redis

from tests.services import postgresql, redis


def test_a_killed_postgresql_comes_back_with_what_was_committed(tmp_path: Path) -> None:
    with postgresql(tmp_path / "postgresql") as server:
        assert server.create("shop").endswith("/shop")
        where = {"user": "headgate", "host": "127.0.0.1", "port": server.port, "database": "shop"}
        with pg8000.native.Connection(**where) as connection:
            connection.run("CREATE TABLE fruit (name text)")
            connection.run("INSERT INTO fruit VALUES ('pear')")
        server.kill()
        server.start()
        with pg8000.native.Connection(**where) as connection:
            assert connection.run("SELECT name FROM fruit") == [["pear"]]


def test_a_stopped_redis_comes_back_with_what_it_held(tmp_path: Path) -> None:
    with redis(tmp_path / "redis") as server:
        with Redis.from_url(server.url) as client:
            client.set("fruit", "pear")
        server.stop()
        server.start()
        with Redis.from_url(server.url) as client:
            assert client.get("fruit") == b"pear"
