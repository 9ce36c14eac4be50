"""From a request's head to its route, or to why it is refused before its body is read."""

from __future__ import annotations

from headgate.core.errors import BadRequest
from headgate.edge import wire
from headgate.edge.exchange import Exchange
from headgate.edge.host import Host
from headgate.edge.route import Route, parameter


def direct(exchange: Exchange, server: Host) -> None:
    """Finds the route and refuses what can be refused by the head alone."""
    head = exchange.head
    fields = head.fields
    found = server.routes.find(head.method, head.target)
    if isinstance(found, Route):
        head.route = found
        fault = wire.soft_fault(fields)
        limit_bytes = found.body_limit_bytes
        if found.takes_rest:
            head.parameter = parameter(found, exchange.path)
    else:
        fault = None if server.is_preflight(exchange) else found
        limit_bytes = 0
        if head.method == b"CONNECT":
            # The parser takes what follows for a tunnel's bytes, another one might for a body.
            exchange.keep_alive = False
    length = fields.get(b"content-length")
    if length is not None:
        try:
            exchange.remaining_bytes = announced_bytes = int(length)
        except ValueError:  # Python does not read thousands of zeros
            fault, announced_bytes = BadRequest("The content-length is too long."), 0
            exchange.keep_alive = False
        if fault is None and announced_bytes > limit_bytes:
            fault = wire.too_large(limit_bytes)
    elif b"transfer-encoding" in fields:
        exchange.remaining_bytes = None
    if fault is not None:
        exchange.refuse(fault)
