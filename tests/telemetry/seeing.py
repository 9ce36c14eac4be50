"""A request as an observer sees it, made by hand; shared by the tests of telemetry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from headgate.core.errors import ApiError
from headgate.core.observer import Observer, Passage
from headgate.core.ports import Principal

NOBODY = cast(Observer, None)
"""The tests tell the observer themselves."""
KEY = Principal("key_1", "team blue")


@dataclass
class Request:
    """The `core.observer.Seen` without a socket."""

    passage: Passage | None = None
    request_id: str = "req_1"
    started_s: float = 100.0
    method: bytes = b"POST"
    status: int = 200
    gone: bool = False
    failure: ApiError | None = None
    target: bytes = b"/v1/chat/completions"
    client: str = "192.0.2.7"
    headers: Mapping[bytes, bytes] = field(default_factory=dict)

    def header(self, name: bytes) -> bytes | None:
        return self.headers.get(name)


def passage(**known: object) -> Passage:
    """A request for a model that was answered by `up`."""
    fields: dict[str, object] = {"model": "m", "label": "m", "target": "up", "principal": KEY, "attempts": 1}
    return Passage("chat.completions", NOBODY, **(fields | known))  # type: ignore[arg-type]
