"""The fleet: made from settings, kept through a reload, let go when nobody needs it any more."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from headgate.core.endpoint import Endpoint
from headgate.core.errors import QueueFull, SettingsError
from headgate.core.ports import Outgoing
from headgate.core.secret import MaybeSecret, Secret
from headgate.core.settings import Engine, File, Settings, Upstream
from headgate.core.settings_routing import Model
from headgate.dialects.llamacpp import LlamaCpp
from headgate.dialects.openai import OpenAI
from headgate.endpoints import CHAT_COMPLETIONS
from headgate.fleet import Fleet
from headgate.gateway.route import Models, plan_for
from tests.backends.scripted import Line, scripted, until
from tests.conftest import run
from tests.models.bigram import write_bigram

ASK = Outgoing("/chat/completions", b"{}")


def far(name: str = "far", *models: str | Model, **more: Any) -> Upstream:
    """An upstream's settings."""
    served = tuple(Model(name=one) if isinstance(one, str) else one for one in models or ("m",))
    return Upstream(**{"name": name, "base_url": "http://127.0.0.1:9/v1", "models": served, **more})


def settings(*upstreams: Upstream, engines: tuple[Engine, ...] = (), **aliases: str) -> Settings:
    return Settings(upstreams=upstreams, engines=engines, aliases=aliases)


@asynccontextmanager
async def fleet() -> AsyncIterator[Fleet]:
    """A fleet that is stopped in the end."""
    made = Fleet()
    try:
        yield made
    finally:
        await made.stop()


async def answer(line: Line) -> None:
    while True:
        await line.request()
        await line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")


async def ask(models: Models, name: str = "m") -> None:
    """One request to a model's upstream, to its end."""
    upstream = models.targets[name].upstream
    upstream.enter()
    reply = await upstream.send(ASK)
    assert await reply.read(100) == b"{}"
    reply.close()
    upstream.leave()


def test_every_name_leads_to_its_model() -> None:
    async def main() -> None:
        async with fleet() as made:
            models = made.arrange(
                settings(
                    far("one", "a", Model(name="b", upstream_name="b-there")),
                    far("two", "c/d", dialect="llamacpp"),
                    alias="b",
                )
            )
            told = {
                name: (target.model, target.upstream.name, target.upstream_model, target.owner)
                for name, target in models.targets.items()
            }
            assert told == {
                "a": ("a", "one", "a", "one"),
                "b": ("b", "one", "b-there", "one"),
                "c/d": ("c/d", "two", "c/d", "two"),
                "alias": ("b", "one", "b-there", "one"),
            }
            assert models.targets["a"].upstream is models.targets["b"].upstream
            assert isinstance(models.targets["a"].upstream.dialect, OpenAI)
            assert isinstance(models.targets["c/d"].upstream.dialect, LlamaCpp)
            assert models.targets["a"].created_s == models.targets["alias"].created_s > 1_700_000_000

    run(main())


def test_what_an_upstream_is_sent(tmp_path: Path) -> None:
    seen = []

    async def script(line: Line) -> None:
        seen.append(await line.request())
        await line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await line.gone()

    async def main() -> None:
        async with scripted(script) as upstream, fleet() as made:
            models = made.arrange(
                settings(
                    far(
                        base_url=f"http://127.0.0.1:{upstream.port}/v1",
                        api_key=Secret("sk-far", origin="env:FAR"),
                        headers={"X-Team": MaybeSecret("blue", origin="here")},
                        query={"api-version": MaybeSecret("2026 a&b", origin="here")},
                    )
                )
            )
            await ask(models)
            shown = repr(models.targets["m"].upstream) + repr(made.__dict__)
            assert "sk-far" not in shown

    run(main())
    [head] = [one.partition(b"\r\n\r\n")[0].split(b"\r\n") for one in seen]
    assert head[0] == b"POST /v1/chat/completions?api-version=2026%20a%26b HTTP/1.1"
    assert b"authorization: Bearer sk-far" in head
    assert b"x-team: blue" in head
    assert b"accept-encoding: identity" in head


def test_a_reload_keeps_what_did_not_change() -> None:
    async def main() -> None:
        async with scripted(answer) as upstream, fleet() as made:
            url = f"http://127.0.0.1:{upstream.port}/v1"
            before = made.arrange(settings(far(base_url=url), far("other", "o")))
            await ask(before)
            same = made.arrange(settings(far("far", "m", "n", base_url=url), far("third", "t"), alias="n"))
            kept = before.targets["m"].upstream
            assert same.targets["n"].upstream is same.targets["alias"].upstream is kept
            await ask(same)
            assert len(upstream.lines) == 1, "the connection was kept"
            changed = made.arrange(settings(far(base_url=url, idle_timeout_ms=5000)))
            assert changed.targets["m"].upstream is not kept
            await upstream.ended()
            await ask(changed)

    run(main())


def test_a_key_that_changed_is_used() -> None:
    seen = []

    async def script(line: Line) -> None:
        while True:
            seen.append(await line.request())
            await line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    async def main() -> None:
        async with scripted(script) as upstream, fleet() as made:
            url = f"http://127.0.0.1:{upstream.port}"
            for key in ("sk-one", "sk-two"):
                secret = Secret(key, origin="env:FAR")
                await ask(made.arrange(settings(far(base_url=url, api_key=secret))))

    run(main())
    assert [b"Bearer sk-one" in one for one in seen] == [True, False]
    assert b"Bearer sk-two" in seen[1]


def test_an_upstream_that_left_serves_what_it_began_with() -> None:
    async def main() -> None:
        async with scripted(answer) as upstream, fleet() as made:
            url = f"http://127.0.0.1:{upstream.port}/v1"
            before = made.arrange(settings(far(base_url=url)))
            await ask(before)
            target = before.targets["m"].upstream
            target.enter()  # a request that has its place, and has not been sent
            after = made.arrange(settings())
            assert after.targets == {}
            reply = await target.send(ASK)
            assert await reply.read(100) == b"{}"
            reply.close()
            target.leave()
            await upstream.ended()

    run(main())


def test_max_in_flight_is_per_upstream() -> None:
    async def main() -> None:
        async with fleet() as made:
            models = made.arrange(settings(far("one", "a", "b", max_in_flight=1), far("two", "c")))
            models.targets["a"].upstream.enter()
            with pytest.raises(QueueFull):
                models.targets["b"].upstream.enter()
            for _ in range(100):
                models.targets["c"].upstream.enter()
            for _ in range(100):
                models.targets["c"].upstream.leave()
            models.targets["a"].upstream.leave()
            models.targets["b"].upstream.enter()
            models.targets["b"].upstream.leave()

    run(main())


def test_a_reload_keeps_the_health_of_what_did_not_change() -> None:
    async def main() -> None:
        async with fleet() as made:
            before = made.arrange(settings(far("one", "m"), far("two", "m")))
            [one, two] = plan_for(before, "m").targets
            for target in (one, two):
                target.health.rest(asyncio.get_running_loop().time(), 60_000)
            after = made.arrange(
                settings(far("one", "m"), far("two", "m", idle_timeout_ms=7), far("three", "m"))
            )
            assert [target.health.fit for target in plan_for(after, "m").targets] == [False, True, True]

    run(main())


def test_several_keys_are_asked_in_turn() -> None:
    seen = []

    async def script(line: Line) -> None:
        while True:
            found = re.search(rb"authorization: Bearer (\S+)", await line.request())
            seen.append(found[1] if found else b"")
            await line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    async def main() -> None:
        async with scripted(script) as upstream, fleet() as made:
            keys = tuple(Secret(f"sk-{name}", origin="env:K") for name in ("one", "two"))
            models = made.arrange(settings(far(base_url=f"http://127.0.0.1:{upstream.port}", api_keys=keys)))
            for _ in range(3):
                await ask(models)
            [status] = models.statuses(asyncio.get_running_loop().time())
            assert status.keys == 2

    run(main())
    assert seen == [b"sk-one", b"sk-two", b"sk-one"]


def test_models_are_found_where_they_are_wanted_and_looked_for_again() -> None:
    lists = [[], ["m"], ["m", "org/n"]]
    asked: list[bytes] = []

    async def script(line: Line) -> None:
        while True:
            asked.append(await line.request())
            names = lists[0] if len(lists) == 1 else lists.pop(0)
            body = json.dumps({"data": [{"id": name} for name in names]}).encode()
            await line.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    async def main() -> None:
        async with scripted(script) as upstream, fleet() as made:
            told: list[Models] = []
            made.on_change = told.append
            wanted = far(
                "far",
                "*",
                base_url=f"http://127.0.0.1:{upstream.port}/v1",
                discover=True,
                discover_interval_ms=1,
            )
            models = made.arrange(settings(wanted, far("other", "o")))
            assert list(models.plans) == ["o"], "a start waits for nobody"
            await until(lambda: len(told) == 3)
            assert [sorted(one.plans) for one in told] == [["o"], ["m", "o"], ["m", "o", "org/n"]]
            kept = made.arrange(settings(wanted, far("third", "t")))
            assert sorted(kept.plans) == ["m", "org/n", "t"]
            assert made.arrange(settings(far("third", "t"))).plans.keys() == {"t"}
            count = len(asked)
            await upstream.ended()
            assert len(asked) <= count + 1, "nobody asks any more"

    run(main())
    assert asked[0].startswith(b"GET /v1/models HTTP/1.1")


def test_what_has_no_list_of_models_is_not_asked_for_one() -> None:
    async def main() -> None:
        async with fleet() as made:
            wanted = far("cloud", "*", dialect="azure", discover=True)
            with pytest.raises(SettingsError, match=r'upstream "cloud": `discover` means nothing'):
                made.arrange(settings(wanted))

    run(main())


def test_stopping_waits_for_nobody() -> None:
    async def main() -> None:
        made = Fleet()
        for name in ("one", "two"):
            made.arrange(settings(far(name))).targets["m"].upstream.enter()
        await made.stop()

    run(main())


# --- engines ----------------------------------------------------------------------------------------


def engine(folder: Path, name: str = "bigram", **more: Any) -> Engine:
    path = folder / f"{name}.gguf"
    if not path.exists():
        write_bigram(path, "Hello from a bigram.")
    small: dict[str, Any] = {"slots": 1, "threads": 1, "context_tokens": 256}
    return Engine(**{"name": name, "model": File(path), **small, **more})


@pytest.fixture(autouse=True)
def _own_runtime_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where engines keep their sockets: a path short enough for one, and nobody else's.
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("r")))


def runtime_folders() -> list[Path]:
    return sorted(Path(os.environ["XDG_RUNTIME_DIR"]).iterdir())


def chat(endpoint: Endpoint = CHAT_COMPLETIONS) -> Outgoing:
    body = {"model": "bigram", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 20}
    return Outgoing(endpoint.path.removeprefix("/v1"), json.dumps(body).encode())


def test_an_engine_starts_with_its_first_request_and_leaves_after_its_last(tmp_path: Path) -> None:
    async def main() -> None:
        async with fleet() as made:
            models = made.arrange(settings(engines=(engine(tmp_path, slots=1, queue=2),), alias="bigram"))
            target = models.targets["bigram"]
            assert (target.owner, target.model, target.upstream_model) == ("headgate", "bigram", "bigram")
            assert models.targets["alias"].upstream is target.upstream
            for _ in range(3):
                target.upstream.enter()
            with pytest.raises(QueueFull):
                target.upstream.enter()
            running = [member.engine for member in made._members if member.engine is not None]
            assert [one.status().state for one in running] == ["stopped"]
            reply = await target.upstream.send(chat())
            assert reply.status == 200
            assert b"Hello from a bigram." in await reply.read(100_000)
            reply.close()
            assert [one.status().state for one in running] == ["ready"]

            made.arrange(settings())
            for _ in range(3):
                # Gone from the table, it still answers whoever has a place.
                reply = await target.upstream.send(chat())
                assert reply.status == 200
                await reply.read(100_000)
                reply.close()
                assert [one.status().state for one in running] == ["ready"]
                target.upstream.leave()
            await until(lambda: running[0].status().state == "stopped")
            await until(lambda: runtime_folders() == [])

    run(main())


def test_a_reload_starts_engines_that_are_not_to_wait(tmp_path: Path) -> None:
    async def main() -> None:
        async with fleet() as made:
            made.arrange(settings(far()))
            made.start_eager()
            made.arrange(settings(engines=(engine(tmp_path), engine(tmp_path, "eager", eager=True))))
            made.start_eager()
            states = [member.engine.status for member in made._members if member.engine is not None]
            await until(lambda: states[1]().state == "ready")
            assert states[0]().state == "stopped"

    run(main())


def test_settings_that_cannot_be_used_change_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF?")

    async def main() -> None:
        async with fleet() as made:
            before = made.arrange(settings(far(), engines=(engine(tmp_path),)))
            folders = runtime_folders()
            assert len(folders) == 1
            bad_engine = Engine(name="bad", model=File(broken))
            for bad in (
                settings(far("new"), engines=(engine(tmp_path, "good"), bad_engine)),
                settings(far("tls", base_url="https://127.0.0.1:9/v1", ca_file=File(broken))),
            ):
                with pytest.raises(SettingsError):
                    made.arrange(bad)
                await until(lambda: runtime_folders() == folders)
            after = made.arrange(settings(far(), engines=(engine(tmp_path),)))
            assert [target.upstream for target in after.targets.values()] == [
                target.upstream for target in before.targets.values()
            ]
        assert runtime_folders() == []

    run(main())


def test_a_first_start_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    async def main() -> None:
        async with fleet() as made:
            with pytest.raises(SettingsError):
                made.arrange(settings(engines=(engine(tmp_path), Engine(name="bad", model=File(tmp_path)))))
        assert runtime_folders() == []
        await asyncio.sleep(0)

    run(main())
