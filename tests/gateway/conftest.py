"""What the tests of this folder share: a pulse that is quick enough to wait for."""

from __future__ import annotations

import pytest

from headgate.gateway import answer
from tests.gateway.house import STEP_MS


@pytest.fixture(autouse=True)
def _quick_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "PULSE_STEP_MS", STEP_MS)
