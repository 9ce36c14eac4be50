"""What each contestant is asked and configured with is what docs/benchmarks.md says."""

import json
from pathlib import Path

import pytest

from bench import contestants
from bench.contestants import CONTESTANTS, Contestant


def body_of(request: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head
    return body


@pytest.mark.parametrize("contestant", CONTESTANTS, ids=lambda one: one.name)
def test_everyone_is_asked_the_same_kilobyte_with_a_key(contestant: Contestant) -> None:
    request = contestant.request("@stream 100 0", stream=True)
    body = body_of(request)
    assert len(body) == 1024
    assert b"\r\nAuthorization: Bearer sk-" in request
    assert json.loads(body)["messages"][0]["content"].startswith("@stream 100 0")
    assert body == body_of(CONTESTANTS[0].request("@stream 100 0", stream=True))


def test_a_big_body_is_as_big_as_asked() -> None:
    size = len(body_of(CONTESTANTS[0].request_of_size(1_200_000)))
    assert 1_200_000 <= size < 1_201_000


@pytest.mark.parametrize(
    "name", ["nginx.conf.template", "headgate.toml.template", "litellm/config.yaml.template"]
)
def test_every_name_in_a_template_is_filled_in(tmp_path: Path, name: str) -> None:
    filled = Path(contestants._filled(name, tmp_path / "configuration", 9110)).read_text()
    assert "127.0.0.1:9101" in filled
    assert not [line for line in filled.splitlines() if "@" in line and not line.startswith("#")]


def test_an_unknown_contestant_is_refused() -> None:
    with pytest.raises(SystemExit, match="no such contestant: apache"):
        contestants.by_names(["nginx", "apache"])
