"""A name with several addresses: the dead ones are passed by, and no socket is left."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from headgate.backends.dial import dial, first_of, interleave
from headgate.backends.names import Found
from tests.backends.scripted import full_backlog, open_sockets, until
from tests.conftest import run, unused_port

FOUR, SIX = socket.AF_INET, socket.AF_INET6


@pytest.mark.parametrize(
    ("families", "order"),
    [
        ([], []),
        ([FOUR], [0]),
        ([SIX, SIX, FOUR, FOUR], [0, 2, 1, 3]),
        ([FOUR, FOUR, FOUR, SIX], [0, 3, 1, 2]),
        ([SIX, FOUR, FOUR, FOUR], [0, 1, 2, 3]),
    ],
)
def test_families_take_turns(families: list[int], order: list[int]) -> None:
    found: list[Found] = [(family, number) for number, family in enumerate(families)]
    assert [address for _, address in interleave(found)] == order


@contextmanager
def listening() -> Iterator[int]:
    """A port that takes connections."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield listener.getsockname()[1]


def at(*ports: int) -> list[Found]:
    """These ports of this machine, as a look-up would give them."""
    return [(FOUR, ("127.0.0.1", port)) for port in ports]


async def reached(found: list[Found]) -> int:
    """The port that was reached in the end."""
    with await first_of(found) as raw:
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not raw.getblocking()
        return int(raw.getpeername()[1])


def test_the_first_address_is_taken_when_it_answers() -> None:
    async def main() -> None:
        with listening() as first, listening() as second:
            assert await reached(at(first, second)) == first

    run(main())


def test_dead_addresses_are_passed_by() -> None:
    """Some refuse, some never answer."""

    async def main() -> None:
        before = open_sockets()
        with full_backlog() as mute, listening() as good:
            dead = unused_port()
            assert await reached(at(dead, mute, dead, good, mute)) == good
        await until(lambda: open_sockets() == before)

    run(main())


def test_a_slow_address_can_still_win() -> None:
    """It is not given up when the next one joins in, only when that one was quicker."""

    async def main() -> None:
        with full_backlog() as mute:
            trying = asyncio.ensure_future(first_of(at(mute, unused_port())))
            before = open_sockets()
            done, _ = await asyncio.wait([trying], timeout=1)
            assert not done
            trying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await trying
            await until(lambda: open_sockets() <= before)

    run(main())


def test_when_all_fail_the_first_error_counts() -> None:
    async def main() -> None:
        before = open_sockets()
        with pytest.raises(ConnectionRefusedError):
            await first_of([*at(unused_port()), (SIX, ("not an address", 1))])
        with pytest.raises(OSError, match="no address"):
            await first_of([])
        assert open_sockets() == before

    run(main())


def test_winners_that_come_too_late_are_closed() -> None:
    async def main() -> None:
        with listening() as port:
            before = open_sockets()
            for turns in range(6):
                dialling = asyncio.ensure_future(first_of(at(port)))
                for _ in range(turns):
                    await asyncio.sleep(0)
                if not dialling.cancel():
                    dialling.result().close()
                    continue
                try:
                    (await dialling).close()
                except asyncio.CancelledError:
                    pass
            await until(lambda: open_sockets() == before)

    run(main())


def test_a_name_with_both_families() -> None:
    async def main() -> None:
        with listening() as port, await dial("localhost", port) as raw:
            assert raw.getpeername()[:2] == ("127.0.0.1", port)

    run(main())
