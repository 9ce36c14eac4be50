"""One gate as `make run` starts it, for the official SDKs: the starter model, no configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gates import RunningGate, open_gate


@pytest.fixture(scope="session")
def starter_gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGate]:
    folder: Path = tmp_path_factory.mktemp("conformance")
    with open_gate(folder) as gate:
        yield gate
