"""What the tests of the command line share: a small configuration, and a port that is taken."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """A configuration that needs neither an engine nor an upstream that answers."""
    path = tmp_path / "gate.toml"
    path.write_text(
        '[server]\nport = 0\n[[upstream]]\nname = "up"\nbase_url = "http://127.0.0.1:9/v1"\nmodels = ["m"]\n'
        'api_key = { env = "UP_KEY" }\n'
    )
    return path


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield int(holder.getsockname()[1])
