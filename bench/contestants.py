"""Who is measured: the columns of the table, how each is configured and started, and asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import install, interpreter
from bench.load import UPSTREAM_PORT, chat_body, picture_body, request_bytes

BENCH = Path(__file__).resolve().parent
KEY = "sk-bench-0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Contestant:
    """One column of the table. `command` makes its configuration in a folder and returns what to run."""

    name: str
    port: int
    command: Callable[[Path], Sequence[str]] | None
    environment: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    slow: bool = False

    def request(self, marker: str = "", *, stream: bool = False, size: int = 1024) -> bytes:
        """A chat request for this contestant as it goes on the wire."""
        headers = {"Authorization": f"Bearer {KEY}", **self.headers}
        return request_bytes(self.port, chat_body(marker, stream=stream, size=size), headers)

    def request_of_size(self, size: int) -> bytes:
        """A chat request with a picture of `size` bytes as a data URI in it."""
        headers = {"Authorization": f"Bearer {KEY}", **self.headers}
        return request_bytes(self.port, picture_body(size), headers)


def _filled(template: str, target: Path, port: int = 0) -> str:
    text = (BENCH / template).read_text()
    for name, value in (("UPSTREAM", UPSTREAM_PORT), ("PORT", port), ("DIR", target.parent)):
        text = text.replace(f"@{name}@", str(value))
    target.write_text(text)
    return str(target)


def _nginx(folder: Path) -> list[str]:
    file = _filled("nginx.conf.template", folder / "nginx.conf", 9110)
    return [install.nginx(), "-p", str(folder), "-e", str(folder / "error.log"), "-c", file]


def _headgate(folder: Path) -> list[str]:
    file = _filled("headgate.toml.template", folder / "headgate.toml")
    options = ["--config", file, "--port", "9120", "--data", str(folder / "data")]
    return [*interpreter.headgate(), "serve", *options]


def _litellm(folder: Path) -> list[str]:
    file = _filled("litellm/config.yaml.template", folder / "config.yaml")
    options = ["--config", file, "--host", "127.0.0.1", "--port", "9130", "--num_workers", "1"]
    return [install.litellm(), *options]


def _portkey(_folder: Path) -> list[str]:
    return [*install.portkey(), "--port=9140", "--headless"]


CONTESTANTS = (
    Contestant("direct", UPSTREAM_PORT, None),
    Contestant("nginx", 9110, _nginx),
    Contestant(
        "headgate",
        9120,
        _headgate,
        environment={"HEADGATE_MASTER_KEY": KEY, "BENCH_UPSTREAM_KEY": "sk-upstream-0123456789"},
    ),
    Contestant(
        "litellm",
        9130,
        _litellm,
        environment={
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MASTER_KEY": KEY,
            "LITELLM_LOG": "ERROR",
            "NO_DOCS": "True",
            # Its default, 500 connections to one upstream, would keep it from 2,000 streams.
            "AIOHTTP_CONNECTOR_LIMIT": "4096",
            "AIOHTTP_CONNECTOR_LIMIT_PER_HOST": "4096",
        },
        slow=True,
    ),
    Contestant(
        "portkey",
        9140,
        _portkey,
        environment={"NODE_ENV": "production"},
        headers={
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://127.0.0.1:{UPSTREAM_PORT}/v1",
        },
        slow=True,
    ),
)


def by_names(names: Sequence[str]) -> list[Contestant]:
    """The contestants of these names, in the table's order. Exits on an unknown name."""
    known = {contestant.name for contestant in CONTESTANTS}
    if unknown := set(names) - known:
        raise SystemExit(
            f"no such contestant: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
        )
    return [contestant for contestant in CONTESTANTS if contestant.name in names]
