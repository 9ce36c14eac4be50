"""What a connection needs of the server that accepted it. Nothing here does anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from headgate.core.errors import ApiError
from headgate.core.observer import Observer
from headgate.core.settings import Server as Settings
from headgate.edge.exchange import Exchange, House
from headgate.edge.outflow import Clock
from headgate.edge.route import Routes

if TYPE_CHECKING:
    from headgate.edge.connection import Connection


class Host(House, Clock, Protocol):
    """What a connection needs of the server that accepted it."""

    settings: Settings
    routes: Routes
    observer: Observer | None
    connections: set[Connection]
    header_timeout_s: float
    body_timeout_s: float
    idle_timeout_s: float

    def is_preflight(self, exchange: Exchange) -> bool:
        """Whether a request without a route of its own is a browser's question before another."""

    def answer_directly(self, exchange: Exchange) -> None:
        """Answers a request that reaches no handler."""

    def answer_error(self, exchange: Exchange, error: ApiError) -> None:
        """Tells the client about an error."""

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
